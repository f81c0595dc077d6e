"""The panel: a ring of the last closes of every coin, with what was really received.

One bar is one row. A coin without a price in a bar is missing there (NaN): a filled-forward bar has no return, and
neither has the first price after a gap. Memory is bounded: a coin with no price left in the ring gives up its
column as soon as room is needed; results do not depend on when that happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.returns import screen_prices

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

SNAPSHOT_VERSION: Final = 1
_LEAST_COLUMNS: Final = 64


@dataclass(frozen=True, slots=True)
class PanelWindow:
    """What the panel holds at one moment; coins are sorted by id.

    The first five describe the coins above the presence floor (n of them), the rest all coins with at least one
    price in the window. ``rows`` is length_bars + 1, or less while the window fills.
    """

    coin_ids: tuple[str, ...]
    closes: Float64
    """float64[rows, n], oldest first; NaN where there was no price."""
    presence: Float64
    """float64[n]: real prices over rows."""
    market_cap: Float64
    """float64[n]: the last one known in the window, NaN if none."""
    dollar_volume: Float64
    """float64[n]: sum of close x volume over the window's bars, the first close apart; 0 where none was given."""
    all_coin_ids: tuple[str, ...]
    all_presence: Float64
    received: Int64
    """int64[all]: real prices in the window."""
    expected: int
    """Rows of the window: what a coin without a gap has received."""
    real: Bool
    """bool[rows, all]: where there was a price."""

    def recent_presence(self, bars: int) -> Float64:
        """Return float64[all]: the share of real prices in the last ``bars`` bars (fewer if there are fewer)."""
        if bars < 1:
            raise ValueError(f"presence is judged over at least one bar, not {bars}")
        last = self.real[-bars:]
        return np.asarray(last.sum(axis=0) / max(len(last), 1), dtype=np.float64)


class _State(msgspec.Struct, frozen=True):
    """A snapshot: the live columns in order of id, rows oldest first, whatever the ring looked like inside."""

    version: int
    length_bars: int
    bars: int
    coin_ids: list[str]
    closes: bytes
    market_cap: bytes
    market_cap_bar: bytes
    dollar_volume: bytes


@dataclass(frozen=True, slots=True)
class PanelConfig:
    """Length of the window in returns (one more close than that), and the presence that a coin needs to take part."""

    length_bars: int
    minimum_presence: float = 0.95

    def __post_init__(self) -> None:
        if self.length_bars < 1:
            raise ValueError(f"a window needs at least one return, not {self.length_bars}")
        if not 0.0 <= self.minimum_presence <= 1.0:
            raise ValueError(f"presence is a share in [0, 1], not {self.minimum_presence}")

    def build(self, state: bytes | None = None) -> Panel:
        """Return an empty panel, or the one that :meth:`Panel.snapshot` saved.

        Raises
        ------
        ValueError
            If the snapshot is of another version or window length, or no snapshot at all.
        """
        panel = Panel(self)
        if state is not None:
            panel._restore(state)  # noqa: SLF001 - one module, two halves of one thing
        return panel


class Panel:
    """Ring of closes; invariant: cells of a free column, and of bars not yet seen, are NaN (volumes 0)."""

    def __init__(self, config: PanelConfig) -> None:
        self.config = config
        self.bars = 0
        self._rows = config.length_bars + 1
        self._code_of: dict[str, int] = {}
        self._ids: list[str] = []
        self._column_of = np.empty(0, dtype=np.int64)  # by code; -1: none
        self._closes = np.full((self._rows, 0), np.nan)
        self._volume: Float64 | None = None  # made when the first volumes come
        self._real = np.zeros((self._rows, 0), dtype=np.bool_)
        self._received = np.zeros(0, dtype=np.int64)
        self._cap = np.empty(0)
        self._cap_bar = np.empty(0, dtype=np.int64)  # bar number (from 1) of the last market cap; 0: none
        self._free: list[int] = []  # columns without a coin, last one first
        self._order: Int64 | None = None  # codes that hold a column, by coin id; None: to be sorted again

    @property
    def full(self) -> bool:
        """Whether length_bars + 1 closes exist: as many returns as the window asks for."""
        return self.bars >= self._rows

    def codes(self, coin_ids: Iterable[str]) -> Int64:
        """Return the number of each coin, new ones numbered as they come; numbers hold for the life of this object."""
        code_of = self._code_of
        wanted = coin_ids.tolist() if isinstance(coin_ids, np.ndarray) else list(coin_ids)
        try:
            return np.array([code_of[coin] for coin in wanted], dtype=np.int64)
        except KeyError:
            for coin in wanted:
                if code_of.setdefault(coin, len(self._ids)) == len(self._ids):
                    self._ids.append(coin)
            new = len(self._ids) - len(self._column_of)
            self._column_of = np.concatenate([self._column_of, np.full(new, -1, dtype=np.int64)])
            return np.array([code_of[coin] for coin in wanted], dtype=np.int64)

    def push(
        self,
        coin_ids: Sequence[str] | npt.NDArray[np.object_],
        closes: Float64,
        market_caps: Float64 | None = None,
        volumes: Float64 | None = None,
    ) -> None:
        """Add one closed bar: the coins that really had a price in it.

        Values that are no prices (see :func:`models.returns.screen_prices`) are passed over as if not given. Of
        a coin given twice the last price counts. ``market_caps`` in US dollars, unknown where not positive;
        ``volumes`` in units of the coin.
        """
        self.push_codes(self.codes(coin_ids), closes, market_caps, volumes)

    def push_codes(
        self, codes: Int64, closes: Float64, market_caps: Float64 | None = None, volumes: Float64 | None = None
    ) -> None:
        """Add one closed bar, its coins given as :meth:`codes` numbered them."""
        for values in (closes, market_caps, volumes):
            if values is not None and len(values) != len(codes):
                raise ValueError(f"{len(values)} values for {len(codes)} coins")
        good = screen_prices(closes)
        if not good.all():
            codes, closes = codes[good], closes[good]
            market_caps = None if market_caps is None else market_caps[good]
            volumes = None if volumes is None else volumes[good]
        row = self._open_row()
        columns = self._columns(codes)
        self._closes[row, columns] = closes
        self._real[row, columns] = True
        self._received += self._real[row]
        if market_caps is not None:
            known = np.isfinite(market_caps) & (market_caps > 0.0)
            self._cap[columns[known]] = market_caps[known]
            self._cap_bar[columns[known]] = self.bars
        if volumes is not None:
            self._volume = np.zeros_like(self._closes) if self._volume is None else self._volume
            self._volume[row, columns] = np.where(np.isfinite(volumes) & (volumes > 0.0), volumes * closes, 0.0)

    def skip(self, n: int) -> None:
        """Add ``n`` bars in which no coin had a price."""
        if n < 0:
            raise ValueError(f"bars cannot be taken back: {n}")
        for _ in range(min(n, self._rows)):
            self._open_row()
        # the ring is empty by then: more bars change nothing but the count
        self.bars += max(n - self._rows, 0)

    def _open_row(self) -> int:
        """Clear the row of the next bar and return it; its old content leaves the window."""
        row = self.bars % self._rows
        self._received -= self._real[row]
        self._real[row] = False
        self._closes[row] = np.nan
        if self._volume is not None:
            self._volume[row] = 0.0
        self.bars += 1
        return row

    def _columns(self, codes: Int64) -> Int64:
        """Return the column of each coin, giving one to those that have none."""
        columns = self._column_of[codes]
        if columns.size and columns.min() < 0:
            newcomers = np.unique(codes[columns < 0])
            if len(newcomers) > len(self._free):
                self._release_idle()
                # a coin that comes back in this very bar may have lost its column just now
                newcomers = np.unique(codes[self._column_of[codes] < 0])
                if len(self._free) < max(len(newcomers), self._closes.shape[1] // 4):
                    self._widen(len(newcomers))
            for code in newcomers.tolist():
                self._column_of[code] = self._free.pop()
            self._order = None
            columns = self._column_of[codes]
        return columns

    def _release_idle(self) -> None:
        """Take the columns of coins that have no price left in the ring."""
        held = np.flatnonzero(self._column_of >= 0)
        idle = held[self._received[self._column_of[held]] == 0]
        freed = self._column_of[idle]
        self._cap_bar[freed] = 0
        self._column_of[idle] = -1
        self._free.extend(freed.tolist())

    def _widen(self, wanted: int) -> None:
        """At least double the ring, so that this is rare."""
        width = self._closes.shape[1]
        new = max(width, 2 * wanted, _LEAST_COLUMNS)
        self._closes = np.hstack([self._closes, np.full((self._rows, new), np.nan)])
        self._real = np.hstack([self._real, np.zeros((self._rows, new), dtype=np.bool_)])
        if self._volume is not None:
            self._volume = np.hstack([self._volume, np.zeros((self._rows, new))])
        self._received = np.concatenate([self._received, np.zeros(new, dtype=np.int64)])
        self._cap = np.concatenate([self._cap, np.full(new, np.nan)])
        self._cap_bar = np.concatenate([self._cap_bar, np.zeros(new, dtype=np.int64)])
        self._free.extend(range(width + new - 1, width - 1, -1))

    def _live(self) -> tuple[tuple[str, ...], Int64]:
        """Return the coins with a price in the window, sorted by id, and their columns."""
        if self._order is None:
            held = np.flatnonzero(self._column_of >= 0).tolist()
            self._order = np.array(sorted(held, key=self._ids.__getitem__), dtype=np.int64)
        order = self._order
        columns = self._column_of[order]
        live = self._received[columns] > 0
        return tuple(self._ids[code] for code in order[live].tolist()), columns[live]

    def _row_order(self) -> Int64:
        """Return the rows of the bars in the window, oldest first."""
        count = min(self.bars, self._rows)
        return (self.bars - count + np.arange(count, dtype=np.int64)) % self._rows

    def _caps(self, columns: Int64) -> Float64:
        """Return the market caps that are no older than the window, NaN elsewhere."""
        oldest = max(self.bars - self._rows, 0) + 1
        return np.where(self._cap_bar[columns] >= oldest, self._cap[columns], np.nan)

    def _dollar_volume(self, rows: Int64, columns: Int64) -> Float64:
        """Return close x volume of these cells (rows x columns)."""
        if self._volume is None:
            return np.zeros((len(rows), len(columns)))
        return self._volume[np.ix_(rows, columns)]

    def recent_presence(self, bars: int) -> Float64:
        """Return the share of real prices in the last ``bars`` bars, for :attr:`PanelWindow.all_coin_ids`."""
        if bars < 1:
            raise ValueError(f"presence is judged over at least one bar, not {bars}")
        rows = self._row_order()[-bars:]
        _, columns = self._live()
        return np.asarray(self._real[np.ix_(rows, columns)].sum(axis=0) / max(len(rows), 1), dtype=np.float64)

    def window(self) -> PanelWindow:
        """Return the window as it stands, also before it is full; its arrays are copies."""
        rows = self._row_order()
        all_ids, all_columns = self._live()
        received = self._received[all_columns]
        presence = received / max(len(rows), 1)
        # the tolerance is for products like 0.95 x 20, which binary fractions miss by a hair
        enough = np.flatnonzero(received + 1e-9 >= self.config.minimum_presence * len(rows))
        columns = all_columns[enough]
        returns_only = rows[max(len(rows) - self.config.length_bars, 0) :]
        return PanelWindow(
            coin_ids=tuple(all_ids[i] for i in enough.tolist()),
            closes=self._closes[np.ix_(rows, columns)],
            presence=presence[enough],
            market_cap=self._caps(columns),
            dollar_volume=self._dollar_volume(returns_only, columns).sum(axis=0),
            all_coin_ids=all_ids,
            all_presence=presence,
            received=received,
            expected=len(rows),
            real=self._real[np.ix_(rows, all_columns)],
        )

    def snapshot(self) -> bytes:
        """Return the state as bytes: equal for equal contents, however the panel came to hold them."""
        rows = self._row_order()
        ids, columns = self._live()
        volume = self._dollar_volume(rows, columns)
        oldest = max(self.bars - self._rows, 0) + 1
        bar = np.where(self._cap_bar[columns] >= oldest, self._cap_bar[columns], 0)
        state = _State(
            version=SNAPSHOT_VERSION,
            length_bars=self.config.length_bars,
            bars=self.bars,
            coin_ids=list(ids),
            closes=self._closes[np.ix_(rows, columns)].tobytes(),
            market_cap=self._caps(columns).tobytes(),
            market_cap_bar=bar.tobytes(),
            dollar_volume=volume.tobytes() if volume.any() else b"",
        )
        return msgspec.msgpack.encode(state)

    def _restore(self, saved: bytes) -> None:
        try:
            state = msgspec.msgpack.decode(saved, type=_State)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f"not a snapshot of a panel: {error}") from None
        if state.version != SNAPSHOT_VERSION:
            raise ValueError(f"the panel's snapshot has version {state.version}; this is version {SNAPSHOT_VERSION}")
        if state.length_bars != self.config.length_bars:
            raise ValueError(f"the snapshot's window is {state.length_bars} bars long, not {self.config.length_bars}")
        self.bars = state.bars
        rows, n = self._row_order(), len(state.coin_ids)
        columns = self._columns(self.codes(state.coin_ids)) if n else np.empty(0, dtype=np.int64)
        cells = np.ix_(rows, columns)
        self._closes[cells] = np.frombuffer(state.closes).reshape(len(rows), n)
        self._real[cells] = np.isfinite(self._closes[cells])
        self._received = self._real.sum(axis=0, dtype=np.int64)
        self._cap[columns] = np.frombuffer(state.market_cap)
        self._cap_bar[columns] = np.frombuffer(state.market_cap_bar, dtype=np.int64)
        if state.dollar_volume:
            self._volume = np.zeros_like(self._closes)
            self._volume[cells] = np.frombuffer(state.dollar_volume).reshape(len(rows), n)
