"""Rows of trades on their way to columns, and the watermark in force before each of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa

from connectors.exchanges.binance_rest import Listed
from connectors.schema import TRADES, Int64, times

TradeRow: TypeAlias = tuple[int, int, int, float, float, int, int, int]
"""(position of the symbol, trade id, side, price, quantity, time of event, time of receipt, flags); microseconds"""

EVENT_US: Final = 5


def trades_to_arrow(rows: list[TradeRow], venue: str, names: pa.Array) -> pa.RecordBatch:
    """Return rows as a record batch of the table ``trades``; ``names`` are the symbols by position."""
    symbol, trade_id, side, price, qty, event_us, recv_us, flags = zip(*rows, strict=True) if rows else ((),) * 8
    return pa.RecordBatch.from_arrays(
        [
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), pa.array([venue])),
            pa.DictionaryArray.from_arrays(pa.array(symbol, pa.int32()), names),
            pa.array(trade_id, pa.int64()),
            pa.array(side, pa.int8()),
            pa.array(price, pa.float64()),
            pa.array(qty, pa.float64()),
            times(np.array(event_us, np.int64)),
            times(np.array(recv_us, np.int64)),
            pa.array(flags, pa.uint8()),
        ],
        schema=TRADES,
    )


def names_of(listed: list[Listed]) -> pa.Array:
    """Return the dictionary of the symbol column."""
    return pa.array([item.symbol for item in listed], pa.utf8())


class Watermark:
    """The promise that no later row is older: the running maximum of event times, less an allowed lateness."""

    def __init__(self, lateness_us: int, us: int) -> None:
        self._lateness, self.us = lateness_us, us
        self._before: list[int] = []

    def pass_rows(self, event_us: Iterable[int]) -> int:
        """Let rows pass in order; return how many of them were late."""
        late, us, lateness, before = 0, self.us, self._lateness, self._before
        for event in event_us:
            before.append(us)
            if event < us:
                late += 1
            elif event - lateness > us:
                us = event - lateness
        self.us = us
        return late

    def raise_to(self, us: int) -> None:
        """Promise more than the rows so far do."""
        self.us = max(self.us, us)

    def take_before(self) -> Int64:
        """Return, once, the watermark in force just before each row since the last call."""
        out = np.array(self._before, np.int64)
        self._before = []
        return out
