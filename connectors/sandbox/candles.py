"""Klines: what a venue's REST and its kline streams make of the very same trades.

Trades are summed once per chunk into cells (a second or a minute) and bars are folded from cells; since every coin
trades exactly once per slot, a cell holds a fixed number of trades and the sums are reshapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from connectors.sandbox.draws import Int64
from connectors.sandbox.market import CHUNK_MS, GENESIS_MS, Market, Trades

INTERVALS_MS: Final = {
    "1s": 1_000,
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "6h": 21_600_000,
    "8h": 28_800_000,
    "12h": 43_200_000,
    "1d": 86_400_000,
}
"""The venue's interval names up to a day."""

_DAY_CHUNKS: Final = 86_400_000 // CHUNK_MS


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of one coin as columns; prices in ticks, volumes in lots, quote volumes in ticks x lots."""

    open_ms: Int64
    open: Int64
    high: Int64
    low: Int64
    close: Int64
    volume: Int64
    quote: Int64
    taker_volume: Int64
    taker_quote: Int64
    count: Int64


_COLUMNS: Final = ("open", "high", "low", "close", "volume", "quote", "taker_volume", "taker_quote", "count")
_FOLD: Final = {"high": np.maximum, "low": np.minimum}


class Candles:
    """Bars of a market, each a pure function of (coin, interval, time of asking)."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._cells = lru_cache(maxsize=512)(self._make_cells)
        self._past_day = lru_cache(maxsize=2)(self._make_past_day)

    def _make_cells(self, number: int, cell_ms: int) -> Int64:
        """Return a chunk's cells, shape (columns, coins, cells)."""
        market = self._market
        trades = market.chunk(number).trades
        count = CHUNK_MS // cell_ms
        cells = np.empty((len(_COLUMNS), len(market.coins), count), dtype=np.int64)
        for coin in range(len(market.coins)):
            rows = slice(int(market.bounds[coin]), int(market.bounds[coin + 1]))
            ticks, lots = trades.ticks[rows].reshape(count, -1), trades.lots[rows].reshape(count, -1)
            taker = np.where(trades.buyer_is_maker[rows].reshape(count, -1), 0, lots)
            cells[0, coin], cells[3, coin] = ticks[:, 0], ticks[:, -1]
            cells[1, coin], cells[2, coin] = ticks.max(axis=1), ticks.min(axis=1)
            cells[4, coin], cells[5, coin] = lots.sum(axis=1), (ticks * lots).sum(axis=1)
            cells[6, coin], cells[7, coin] = taker.sum(axis=1), (ticks * taker).sum(axis=1)
            cells[8, coin] = ticks.shape[1]
        return cells

    def bars(self, symbol: str, interval: str, first_open_ms: int, last_open_ms: int, now_ms: int) -> Bars:
        """Return the bars whose open lies in ``[first_open_ms, last_open_ms]``, the forming one at ``now_ms`` included.

        Both ends are multiples of the interval. Bars without a trade yet are left out.
        """
        length = INTERVALS_MS[interval]
        cell_ms = 1_000 if length < 60_000 else 60_000
        stop_ms = min(last_open_ms + length, now_ms + 1)
        complete_ms = stop_ms // cell_ms * cell_ms
        start_ms = max(first_open_ms, GENESIS_MS)
        opens, cells = self._complete(symbol, cell_ms, start_ms, complete_ms)
        if complete_ms < stop_ms:
            partial = self._partial(symbol, max(complete_ms, start_ms), stop_ms)
            if partial is not None:
                opens = np.append(opens, complete_ms)
                cells = np.concatenate([cells, partial[:, None]], axis=1)
        return _fold(opens // length * length, cells)

    def _complete(self, symbol: str, cell_ms: int, start_ms: int, stop_ms: int) -> tuple[Int64, Int64]:
        market = self._market
        coin = market.index[symbol]
        none = np.empty((len(_COLUMNS), 0), dtype=np.int64)
        if stop_ms <= start_ms:
            return none[0], none
        parts = []
        for number in range(market.chunk_of(start_ms), market.chunk_of(stop_ms - 1) + 1):
            begin = GENESIS_MS + number * CHUNK_MS
            first = max(0, start_ms - begin) // cell_ms
            last = min(CHUNK_MS, stop_ms - begin) // cell_ms
            parts.append(self._cells(number, cell_ms)[:, coin, first:last])
        return np.arange(start_ms, stop_ms, cell_ms, dtype=np.int64), np.concatenate([none, *parts], axis=1)

    def _partial(self, symbol: str, start_ms: int, stop_ms: int) -> Int64 | None:
        """Return the columns of the trades with ``start_ms <= time < stop_ms`` (inside one chunk); None if none."""
        market = self._market
        coin = market.index[symbol]
        trades = market.chunk(market.chunk_of(start_ms)).trades
        begin, end = int(market.bounds[coin]), int(market.bounds[coin + 1])
        first, last = np.searchsorted(trades.time_ms[begin:end], [start_ms, stop_ms])
        return None if first == last else _sum(trades, slice(begin + int(first), begin + int(last)))

    def day(self, now_ms: int) -> Int64:
        """Return each coin's rolling day at ``now_ms``, shape (columns, coins).

        The window is the current chunk so far and the 143 chunks before it: between 23 h 50 min and 24 h.
        """
        market = self._market
        number = market.chunk_of(now_ms)
        past = self._past_day(number)
        day = past.copy()
        for symbol, coin in market.index.items():
            now = self._partial(symbol, GENESIS_MS + number * CHUNK_MS, now_ms + 1)
            if now is None:
                continue
            day[3, coin] = now[3]
            day[1, coin], day[2, coin] = max(past[1, coin], now[1]), min(past[2, coin], now[2])
            day[4:, coin] = past[4:, coin] + now[4:]
        return day

    def _make_past_day(self, number: int) -> Int64:
        spans = [self._cells(past, 60_000) for past in range(max(0, number - _DAY_CHUNKS + 1), number)]
        cells = np.concatenate(spans, axis=2)
        first, last = cells[0, :, :1].T, cells[3, :, -1:].T
        high, low = cells[1].max(axis=1)[None, :], cells[2].min(axis=1)[None, :]
        return np.concatenate([first, high, low, last, cells[4:].sum(axis=2)])


def _sum(trades: Trades, rows: slice) -> Int64:
    ticks, lots = trades.ticks[rows], trades.lots[rows]
    taker = np.where(trades.buyer_is_maker[rows], 0, lots)
    sums = [lots.sum(), (ticks * lots).sum(), taker.sum(), (ticks * taker).sum(), ticks.size]
    return np.array([ticks[0], ticks.max(), ticks.min(), ticks[-1], *sums], dtype=np.int64)


def _fold(bar_open: Int64, cells: Int64) -> Bars:
    """Fold consecutive cells of the same bar."""
    if bar_open.size == 0:
        return Bars(*(np.empty(0, dtype=np.int64) for _ in range(1 + len(_COLUMNS))))
    starts = np.flatnonzero(np.diff(bar_open, prepend=bar_open[0] - 1))
    ends = np.append(starts[1:], bar_open.size) - 1
    folded = [bar_open[starts]]
    for name, column in zip(_COLUMNS, cells, strict=True):
        if name == "open":
            folded.append(column[starts])
        elif name == "close":
            folded.append(column[ends])
        else:
            folded.append(_FOLD.get(name, np.add).reduceat(column, starts))
    return Bars(*folded)
