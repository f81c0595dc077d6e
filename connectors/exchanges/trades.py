"""Trades as columns: a builder that a core fills row by row, with the watermark in force before each row."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pyarrow as pa

from connectors.exchanges.binance_rest import Listed
from connectors.schema import TRADES, Int64, times


class TradeRows(msgspec.Struct):
    """Columns of trades; ``symbol`` is the position in the feed's list of symbols, times are microseconds."""

    symbol: list[int] = []
    trade_id: list[int] = []
    side: list[int] = []
    price: list[float] = []
    qty: list[float] = []
    event_us: list[int] = []
    recv_us: list[int] = []
    flags: list[int] = []

    def __len__(self) -> int:
        return len(self.symbol)

    def add(
        self, symbol: int, trade_id: int, side: int, price: float, qty: float, event_us: int, recv_us: int, flags: int
    ) -> None:
        """Append a row."""
        self.symbol.append(symbol)
        self.trade_id.append(trade_id)
        self.side.append(side)
        self.price.append(price)
        self.qty.append(qty)
        self.event_us.append(event_us)
        self.recv_us.append(recv_us)
        self.flags.append(flags)

    def extend(self, other: TradeRows) -> None:
        """Append all rows of ``other``."""
        for name in self.__struct_fields__:
            getattr(self, name).extend(getattr(other, name))

    def by_time(self) -> TradeRows:
        """Return the rows sorted by time of event; rows of the same time keep their order."""
        order = np.argsort(np.array(self.event_us, np.int64), kind="stable").tolist()
        return TradeRows(*([column[at] for at in order] for column in msgspec.structs.astuple(self)))

    def where(self, keep: list[bool]) -> TradeRows:
        """Return the rows for which ``keep`` is true."""
        columns = msgspec.structs.astuple(self)
        return TradeRows(*(list(itertools.compress(column, keep)) for column in columns))

    def to_arrow(self, venue: str, names: pa.Array) -> pa.RecordBatch:
        """Return the rows as a record batch of the table ``trades``."""
        rows = len(self)
        return pa.RecordBatch.from_arrays(
            [
                pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([venue])),
                pa.DictionaryArray.from_arrays(pa.array(self.symbol, pa.int32()), names),
                pa.array(self.trade_id, pa.int64()),
                pa.array(self.side, pa.int8()),
                pa.array(self.price, pa.float64()),
                pa.array(self.qty, pa.float64()),
                times(np.array(self.event_us, np.int64)),
                times(np.array(self.recv_us, np.int64)),
                pa.array(self.flags, pa.uint8()),
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

    def pass_rows(self, event_us: list[int]) -> int:
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
