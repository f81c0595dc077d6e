"""Bars: open, high, low, close and volume of each coin per interval, built from columns of trades or of finer bars.

A row belongs to the bar that ends at ``(event // interval + 1) * interval``. It is late if that bar had closed
before the row came, which is judged by the watermark in force just before it: so the bars do not depend on how the
rows were cut into batches. Only bars in which something happened are returned; the caller knows that every bar up
to :attr:`BarBuilder.closed_to_us` is closed, whether it holds anything or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
from numba import njit

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

_OPEN, _HIGH, _LOW, _CLOSE, _VOLUME, _CAP, _REALS = 0, 1, 2, 3, 4, 5, 6
_ROWS, _LATE, _TWICE, _COUNTS = 0, 1, 2, 3
_CELLS_AT_MOST = 1 << 22
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class BarRows:
    """Rows to aggregate: equal-length columns.

    ``event_us`` is a trade's time, or a bar's close less one microsecond; ``watermark_us`` the watermark in force
    just before the row; ``code`` indexes the names given to :meth:`BarBuilder.codes`; what came before already is
    marked ``duplicate`` and only counted.
    """

    event_us: Int64
    watermark_us: Int64
    code: Int64
    open: Float64
    high: Float64
    low: Float64
    close: Float64
    volume: Float64
    market_cap: Float64
    duplicate: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ClosedBars:
    """Closed bars in order of (end, name): equal-length columns.

    ``close`` is NaN where only late rows and duplicates came.
    """

    end_us: Int64
    code: Int64
    open: Float64
    high: Float64
    low: Float64
    close: Float64
    volume: Float64
    market_cap: Float64
    rows: Int64
    late: Int64
    duplicate: Int64


class _State(msgspec.Struct):
    schema: int
    interval_us: int
    names: list[str]
    first: int
    watermark_us: int
    started: bool
    reals: bytes
    counts: bytes
    bars: int


class BarBuilder:
    """Aggregates rows of one partition into bars of one interval.

    Parameters
    ----------
    interval_us
        Length of a bar in microseconds.
    state
        What :meth:`snapshot` returned, or None.
    """

    def __init__(self, interval_us: int, state: bytes | None = None) -> None:
        self.interval_us = interval_us
        self.names: list[str] = []
        self._index: dict[str, int] = {}
        self._first = 0
        self._started = False
        self._watermark_us = -(1 << 62)
        self._reals = np.full((0, 0, _REALS), np.nan)
        self._counts = np.zeros((0, 0, _COUNTS), dtype=np.int64)
        if state is not None:
            self._restore(msgspec.msgpack.decode(state, type=_State))

    @property
    def closed_to_us(self) -> int:
        """Every bar that ends at or before this time is closed."""
        return self._watermark_us // self.interval_us * self.interval_us

    def codes(self, names: list[str]) -> Int64:
        """Return the number of each name, giving new names the next numbers."""
        index = self._index
        for name in names:
            if name not in index:
                index[name] = len(self.names)
                self.names.append(name)
        return np.fromiter((index[name] for name in names), dtype=np.int64, count=len(names))

    def add(self, rows: BarRows, watermark_us: int) -> list[ClosedBars]:
        """Aggregate ``rows`` and return, in order, the bars that they and ``watermark_us`` after them close."""
        closed: list[ClosedBars] = []
        bar = rows.event_us // self.interval_us
        start, n = 0, len(bar)
        if n and not self._started:
            self._first, self._started = int(bar[0]), True
        while start < n:
            closed += self.advance(int(rows.watermark_us[start]))
            if bar[start] - self._first > self._room:
                # A jump far ahead. The row raises the watermark itself and is not late for it: close what it leaves
                # behind first, and the silence in between needs no room.
                closed += self.advance(int(rows.watermark_us[start + 1]) if start + 1 < n else watermark_us)
            stop = self._chunk(bar, rows.watermark_us, start)
            open_bar = rows.watermark_us[start:stop] // self.interval_us
            cell = np.maximum(bar[start:stop], open_bar)
            self._grow(int(cell.min()), int(cell.max()))
            _aggregate(
                bar[start:stop],
                open_bar,
                rows.code[start:stop],
                rows.open[start:stop],
                rows.high[start:stop],
                rows.low[start:stop],
                rows.close[start:stop],
                rows.volume[start:stop],
                rows.market_cap[start:stop],
                rows.duplicate[start:stop],
                self._first,
                self._reals,
                self._counts,
            )
            start = stop
        closed += self.advance(watermark_us)
        return [bars for bars in closed if len(bars.end_us)]

    def advance(self, watermark_us: int) -> list[ClosedBars]:
        """Raise the watermark and return the bars that this closes."""
        if watermark_us <= self._watermark_us:
            return []
        self._watermark_us = watermark_us
        if not self._started:
            return []
        return [self._close(min(watermark_us // self.interval_us, self._first + len(self._reals)), watermark_us)]

    def finish(self) -> list[ClosedBars]:
        """Close every bar that holds something: the input has ended, and nothing can come late any more."""
        return self.advance((1 << 62) // self.interval_us * self.interval_us)

    def snapshot(self) -> bytes:
        """Return the state as bytes."""
        return msgspec.msgpack.encode(
            _State(
                _SCHEMA,
                self.interval_us,
                self.names,
                self._first,
                self._watermark_us,
                self._started,
                self._reals.tobytes(),
                self._counts.tobytes(),
                len(self._reals),
            )
        )

    def _restore(self, state: _State) -> None:
        if state.schema != _SCHEMA or state.interval_us != self.interval_us:
            raise ValueError(f"bar state of schema {state.schema} and interval {state.interval_us} us does not fit")
        self.names = list(state.names)
        self._index = {name: i for i, name in enumerate(self.names)}
        self._first, self._watermark_us, self._started = state.first, state.watermark_us, state.started
        reals = np.frombuffer(state.reals, dtype=np.float64)
        width = len(reals) // (state.bars * _REALS) if state.bars else 0
        self._reals = reals.reshape(state.bars, width, _REALS).copy()
        self._counts = np.frombuffer(state.counts, dtype=np.int64).reshape(state.bars, width, _COUNTS).copy()

    @property
    def _room(self) -> int:
        """How many bars the dense block may span."""
        return max(_CELLS_AT_MOST // max(1, len(self.names)), 1)

    def _chunk(self, bar: Int64, watermark_us: Int64, start: int) -> int:
        """Return how far from ``start`` the rows fit into a dense block of open bars of bounded size.

        The block is closed up to a row's watermark before its chunk begins, so a chunk also ends where the
        watermark has moved on by many bars.
        """
        top = np.maximum.accumulate(np.maximum(bar[start:], watermark_us[start:] // self.interval_us)) - self._first
        return start + max(1, int(np.searchsorted(top, self._room, side="right")))

    def _grow(self, first_bar: int, last_bar: int) -> None:
        """Make room for all names and for bars from ``first_bar`` to ``last_bar``."""
        bars, width, _ = self._reals.shape
        before = max(0, self._first - first_bar)
        needed_bars = before + max(bars, last_bar - self._first + 1, 1)
        needed_width = max(width, len(self.names))
        if needed_bars == bars and needed_width == width:
            return
        reals = np.full((needed_bars, needed_width, _REALS), np.nan)
        counts = np.zeros((needed_bars, needed_width, _COUNTS), dtype=np.int64)
        reals[before : before + bars, :width] = self._reals
        counts[before : before + bars, :width] = self._counts
        self._reals, self._counts = reals, counts
        self._first -= before

    def _close(self, to_bar: int, watermark_us: int) -> ClosedBars:
        """Take the bars before ``to_bar`` out of the block, ordered by (end, name)."""
        n = max(0, to_bar - self._first)
        reals, counts = self._reals[:n], self._counts[:n]
        at_bar, code = np.nonzero(counts.any(axis=2))
        names = np.array(self.names, dtype=object)
        order = np.lexsort((_ranks(names)[code], at_bar)) if len(code) else np.zeros(0, dtype=np.int64)
        at_bar, code = at_bar[order], code[order]
        cells, numbers = reals[at_bar, code], counts[at_bar, code]
        end_us = (self._first + at_bar + 1) * self.interval_us
        self._reals, self._counts = self._reals[n:].copy(), self._counts[n:].copy()
        self._first = max(self._first, watermark_us // self.interval_us)
        return ClosedBars(
            end_us=end_us.astype(np.int64),
            code=code.astype(np.int64),
            open=cells[:, _OPEN].copy(),
            high=cells[:, _HIGH].copy(),
            low=cells[:, _LOW].copy(),
            close=cells[:, _CLOSE].copy(),
            volume=cells[:, _VOLUME].copy(),
            market_cap=cells[:, _CAP].copy(),
            rows=numbers[:, _ROWS].copy(),
            late=numbers[:, _LATE].copy(),
            duplicate=numbers[:, _TWICE].copy(),
        )


def _ranks(names: npt.NDArray[np.object_]) -> Int64:
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[np.argsort(names, kind="stable")] = np.arange(len(names))
    return ranks


@njit(cache=True, nogil=True)
def _aggregate(  # type: ignore[no-untyped-def]
    bar, open_bar, code, open_, high, low, close, volume, cap, duplicate, first, reals, counts
):
    """Add rows to the dense block; a late row is counted in the first bar that was still open when it came."""
    for i in range(len(bar)):
        c = code[i]
        if duplicate[i]:
            counts[max(bar[i], open_bar[i]) - first, c, 2] += 1
            continue
        if bar[i] < open_bar[i]:
            counts[open_bar[i] - first, c, 1] += 1
            continue
        b = bar[i] - first
        cell = reals[b, c]
        if counts[b, c, 0] == 0:
            cell[0], cell[1], cell[2], cell[4] = open_[i], high[i], low[i], 0.0
        else:
            cell[1] = max(cell[1], high[i])
            cell[2] = min(cell[2], low[i])
        cell[3] = close[i]
        if not np.isnan(volume[i]):
            cell[4] += volume[i]
        if not np.isnan(cap[i]):
            cell[5] = cap[i]
        counts[b, c, 0] += 1
