"""Closed bars of all partitions to the panel of one window, behind an event-time barrier.

A bar enters the panel when every expected partition has closed it. Where two partitions have a price of the same coin
in the same bar, the partition whose name sorts first wins; what came late or twice counts in all of them. Bars without
any price count as bars: refits happen at fixed bar numbers, whatever the data do.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from bytewax.operators import StatefulBatchLogic
from typing_extensions import override

from connectors.schema import FOREVER_US
from flows.config import Window
from flows.items import CoinCounts, Int64, PanelReady, PartBars
from models.bars import ClosedBars
from models.comovement import FitInput
from models.panel import PanelConfig

_SCHEMA = 2


@dataclass(slots=True)
class _State:
    schema: int
    panel: bytes | None = None
    closed_to: dict[str, int] = field(default_factory=dict)
    pending: dict[str, list[PartBars]] = field(default_factory=dict)
    reached_us: int = -1  # how far any partition had come before it ended
    last_end_us: int = -1
    marks: list[tuple[int, tuple[str, ...], Int64, Int64]] = field(default_factory=list)


class PanelLogic(StatefulBatchLogic[PartBars, PanelReady, bytes]):
    """Keeps the panel of one window and emits it at every refit boundary.

    Parameters
    ----------
    window
        The window's configuration.
    recent_bars
        Over how many bars the recent coverage is judged (``membership.coverage_bars``).
    partitions
        The names of the partitions that a bar waits for.
    state
        What :meth:`snapshot` returned, or None.
    """

    def __init__(self, window: Window, recent_bars: int, partitions: Sequence[str], state: bytes | None) -> None:
        self._window, self._recent = window, recent_bars
        self._partitions = sorted(partitions)
        self._state: _State = pickle.loads(state) if state is not None else _State(_SCHEMA)  # noqa: S301 our own snapshot
        if self._state.schema != _SCHEMA:
            raise ValueError(f"panel state of schema {self._state.schema} does not fit schema {_SCHEMA}")
        config = PanelConfig(length_bars=window.length_bars, minimum_presence=window.minimum_presence)
        self._panel = config.build(self._state.panel)

    @override
    def on_batch(self, values: list[PartBars]) -> tuple[Iterable[PanelReady], bool]:
        state = self._state
        out: list[PanelReady] = []
        for value in values:
            state.closed_to[value.partition] = max(state.closed_to.get(value.partition, 0), value.closed_to_us)
            if value.closed_to_us < FOREVER_US:
                state.reached_us = max(state.reached_us, value.closed_to_us)
            if value.bars is not None:
                state.pending.setdefault(value.partition, []).append(value)
            out += self._release()
        return out, self.RETAIN

    @override
    def snapshot(self) -> bytes:
        state = self._state
        copy = _State(
            _SCHEMA,
            self._panel.snapshot(),
            dict(state.closed_to),
            {name: list(parts) for name, parts in state.pending.items()},
            state.reached_us,
            state.last_end_us,
            list(state.marks),
        )
        return pickle.dumps(copy)

    def _release(self) -> Iterator[PanelReady]:
        state = self._state
        if len(state.closed_to) < len(self._partitions):
            return
        to_us = min(state.closed_to[name] for name in self._partitions)
        for end_us, ids, bars in self._merged(to_us):
            yield from self._push(end_us, ids, bars)
        if state.last_end_us >= 0:
            until_us = to_us if to_us < FOREVER_US else state.reached_us
            yield from self._skip((until_us - state.last_end_us) // self._window.interval_us)

    def _merged(self, to_us: int) -> list[tuple[int, list[str], ClosedBars]]:
        """Take what has closed by ``to_us`` out of the pending bars: per bar end its coins and columns."""
        parts: list[tuple[list[str], ClosedBars]] = []
        for name in self._partitions:
            kept: list[PartBars] = []
            for part in self._state.pending.get(name, []):
                if part.bars is None:
                    continue
                n = int(np.searchsorted(part.bars.end_us, to_us, side="right"))
                if n:
                    parts.append((part.names, _rows(part.bars, slice(0, n))))
                if n < len(part.bars.end_us):
                    rest = _rows(part.bars, slice(n, None))
                    kept.append(PartBars(name, rest, part.names, part.closed_to_us))
            self._state.pending[name] = kept
        return _by_end(parts)

    def _push(self, end_us: int, ids: list[str], bars: ClosedBars) -> Iterator[PanelReady]:
        state = self._state
        if state.last_end_us >= 0:
            yield from self._skip((end_us - state.last_end_us) // self._window.interval_us - 1)
        real = np.flatnonzero(bars.rows > 0)
        self._panel.push([ids[i] for i in real], bars.close[real], bars.market_cap[real], bars.volume[real])
        state.last_end_us = end_us
        odd = np.flatnonzero((bars.late > 0) | (bars.duplicate > 0))
        if len(odd):
            coins = tuple(ids[i] for i in odd)
            self._forget_marks()
            state.marks.append((self._panel.bars, coins, bars.late[odd], bars.duplicate[odd]))
        yield from self._ready()

    def _skip(self, bars: int) -> Iterator[PanelReady]:
        """Let ``bars`` empty bars pass, stopping at refit boundaries while any coin is left."""
        state, length = self._state, self._window.length_bars
        empty = 0
        while bars > 0:
            step = bars if empty > length else min(bars, self._to_next_refit())
            self._panel.skip(step)
            state.last_end_us += step * self._window.interval_us
            bars -= step
            empty += step
            yield from self._ready()

    def _to_next_refit(self) -> int:
        """Return how many bars there are to the next refit boundary, at least 1."""
        past = self._panel.bars - (self._window.length_bars + 1)
        return -past if past < 0 else self._window.refit_every_bars - past % self._window.refit_every_bars

    def _ready(self) -> Iterator[PanelReady]:
        past = self._panel.bars - (self._window.length_bars + 1)
        if past < 0 or past % self._window.refit_every_bars:
            return
        window = self._panel.window()
        if not window.coin_ids:
            return
        here = np.searchsorted(np.array(window.all_coin_ids), np.array(window.coin_ids))
        yield PanelReady(
            as_of_us=self._state.last_end_us,
            bar=self._panel.bars,
            input=FitInput(window.coin_ids, window.closes, window.market_cap),
            coverage=window.presence,
            recent_coverage=window.recent_presence(self._recent)[here],
            dollar_volume=window.dollar_volume,
            counts=self._counts(window.all_coin_ids, window.received, window.expected),
        )

    def _counts(self, coin_ids: tuple[str, ...], received: Int64, expected: int) -> CoinCounts:
        """Return the coverage ledger of the window: what came late or twice is remembered per bar."""
        state = self._state
        self._forget_marks()
        at = {coin: i for i, coin in enumerate(coin_ids)}
        late, duplicate = np.zeros(len(at), dtype=np.int64), np.zeros(len(at), dtype=np.int64)
        for _, coins, late_rows, duplicate_rows in state.marks:
            for coin, n_late, n_duplicate in zip(coins, late_rows, duplicate_rows, strict=True):
                if coin in at:
                    late[at[coin]] += n_late
                    duplicate[at[coin]] += n_duplicate
        return CoinCounts(coin_ids, expected, received, duplicate, late)

    def _forget_marks(self) -> None:
        """Drop what came late or twice in bars that have left the window."""
        oldest = self._panel.bars - self._window.length_bars
        self._state.marks = [mark for mark in self._state.marks if mark[0] >= oldest]


def _rows(bars: ClosedBars, which: slice | Int64) -> ClosedBars:
    return ClosedBars(**{name: getattr(bars, name)[which] for name in ClosedBars.__slots__})


def _by_end(parts: list[tuple[list[str], ClosedBars]]) -> list[tuple[int, list[str], ClosedBars]]:
    """Split columns by bar end, in order; of a coin that stands in several parts the first part's row counts."""
    groups: dict[int, tuple[list[str], list[ClosedBars]]] = {}
    for names, bars in parts:
        ends, starts = np.unique(bars.end_us, return_index=True)
        for end, start, stop in zip(ends.tolist(), starts, [*starts[1:], len(bars.end_us)], strict=True):
            rows = _rows(bars, slice(int(start), int(stop)))
            ids, found = groups.setdefault(end, ([], []))
            ids += [names[code] for code in rows.code]
            found.append(rows)
    return [(end, *_unique(ids, found)) for end, (ids, found) in sorted(groups.items())]


def _unique(ids: list[str], found: list[ClosedBars]) -> tuple[list[str], ClosedBars]:
    if len(found) == 1:
        return ids, found[0]
    bars = ClosedBars(
        **{name: np.concatenate([getattr(part, name) for part in found]) for name in ClosedBars.__slots__}
    )
    first: dict[str, int] = {}
    for i, coin in enumerate(ids):
        if coin not in first or (bars.rows[first[coin]] == 0 and bars.rows[i] > 0):
            first[coin] = i
    keep = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    number = {coin: n for n, coin in enumerate(first)}
    coin_of = np.fromiter((number[coin] for coin in ids), dtype=np.int64, count=len(ids))
    late, duplicate = np.zeros(len(first), dtype=np.int64), np.zeros(len(first), dtype=np.int64)
    np.add.at(late, coin_of, bars.late)
    np.add.at(duplicate, coin_of, bars.duplicate)
    return list(first), replace(_rows(bars, keep), late=late, duplicate=duplicate)
