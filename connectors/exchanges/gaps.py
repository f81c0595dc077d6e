"""A gap in a symbol's trade ids, and filling it from aggregate trades.

An aggregate trade stands for the trades ``f`` to ``l`` of one taker at one price. Where it reaches over the edge of
the gap, its quantity counts in the share of ids that lie within: price and ids are exact, the quantity is the mean.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from connectors.exchanges.binance_rest import PAGE, VenueTime, venue_us
from connectors.exchanges.trades import TradeRow
from connectors.records import Fetch, Record
from connectors.schema import FLAG_BACKFILL

ATTEMPTS: Final = 3
PAGES_MOST: Final = 50
_HOUR_US: Final = 3_600_000_000  # the longest span that the venue takes in one request

_Id: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]


class Gap(msgspec.Struct):
    """Trades ``first`` to ``last`` of a symbol (its position), between two that came at ``from_us`` and ``to_us``."""

    symbol: int
    first: int
    last: int
    from_us: int
    to_us: int
    reason: str
    next_us: int
    next_id: int = -1  # aggregate id to go on from, -1: by time
    reached: int = -1  # highest trade id seen in a page
    pages: int = 0
    attempts: int = 0
    filled: int = 0
    late: int = 0  # fetched, but older than the watermark by then

    def fetch(self, tag: str, venue_symbol: str) -> Fetch:
        """Return the request for the next page."""
        path = f"/api/v3/aggTrades?symbol={venue_symbol}&limit={PAGE}"
        if self.next_id >= 0:
            path += f"&fromId={self.next_id}"
        else:
            path += f"&startTime={self.next_us // 1000}&endTime={self._end_us() // 1000}"
        return Fetch(tag, path, None, 2.0**self.attempts / 2 if self.attempts else 0.0)

    def _end_us(self) -> int:
        return min(self.to_us + 999, self.next_us + _HOUR_US - 1000)

    def fail(self) -> bool:
        """Note that a page did not come; say whether to try again."""
        self.attempts += 1
        return self.attempts < ATTEMPTS


class _Aggregate(msgspec.Struct):
    a: _Id
    p: float
    q: float
    f: _Id
    l: _Id  # noqa: E741 (the venue's name)
    T: VenueTime
    m: bool


_decoder = msgspec.json.Decoder(list[_Aggregate], strict=False)


def aggregate_trades(gap: Gap, record: Record, watermark_us: int) -> tuple[list[TradeRow], bool]:
    """Take a page for ``gap``; return the trades of it that were missing, and whether another page is needed.

    Trades older than ``watermark_us`` come too late to be of use: they are counted and left out.

    Raises
    ------
    ValueError
        If there is no such page (``msgspec.DecodeError`` is one too); the gap is as before.
    """
    if record.status != 200:
        raise ValueError(f"HTTP {record.status}" if record.status else "no answer")
    page = _decoder.decode(record.body)
    rows: list[TradeRow] = []
    reached = max(gap.reached, gap.first - 1)
    for item in page:
        low, high = max(item.f, reached + 1), min(item.l, gap.last)
        if not (0.0 < item.p < math.inf and 0.0 < item.q < math.inf) or low > high:
            continue
        reached = high
        if venue_us(item.T) < watermark_us:
            gap.late += high - low + 1
            continue
        share = (high - low + 1) / (item.l - item.f + 1)
        side = -1 if item.m else 1
        rows.append((gap.symbol, high, side, item.p, item.q * share, venue_us(item.T), record.t_us, FLAG_BACKFILL))
        gap.filled += high - low + 1
    gap.reached = reached
    gap.attempts = 0
    gap.pages += 1
    if reached >= gap.last or gap.pages >= PAGES_MOST or (page and page[-1].f > gap.last):
        return rows, False
    if len(page) >= PAGE:
        gap.next_id = page[-1].a + 1
        return rows, True
    if gap.next_id >= 0 or gap.next_us + _HOUR_US > gap.to_us:
        return rows, False
    gap.next_us += _HOUR_US
    return rows, True
