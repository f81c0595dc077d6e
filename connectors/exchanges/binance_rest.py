"""The REST side of Binance spot: symbols, and closed klines fetched page by page.

Nothing here does a request: jobs give :class:`~connectors.records.Fetch` actions and take the replies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from msgspec import Meta

from connectors.errors import ConfigError
from connectors.incidents import UNREADABLE
from connectors.records import Fetch, Record
from connectors.schema import BARS, FLAG_BACKFILL, times

PAGE: Final = 1000
ATTEMPTS: Final = 5
OUTSTANDING: Final = 40

VenueTime: TypeAlias = Annotated[int, Meta(ge=0, le=10**17)]
"""Milliseconds, or microseconds where the value is too large for milliseconds."""

_MINUTE: Final = 60_000_000
_NAMES: Final = {"1s": 1 / 60, "1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240,
                 "6h": 360, "8h": 480, "12h": 720, "1d": 1440}  # fmt: skip
INTERVALS: Final = {round(minutes * _MINUTE): name for name, minutes in _NAMES.items()}


def venue_us(value: int) -> int:
    """Return a time of the venue in microseconds: it sends milliseconds unless asked for more (below the year 5138)."""
    return value * 1000 if value < 10**14 else value


class Listed(msgspec.Struct, frozen=True):
    """A symbol that trades: the venue's name and ours (BASE-QUOTE)."""

    venue: str
    symbol: str


class _Symbol(msgspec.Struct):
    symbol: str
    status: str
    base: str = msgspec.field(name="baseAsset")
    quote: str = msgspec.field(name="quoteAsset")


class _Info(msgspec.Struct):
    symbols: list[_Symbol]
    server_time: VenueTime | None = msgspec.field(name="serverTime", default=None)


_info = msgspec.json.Decoder(_Info)


def parse_exchange_info(body: bytes, wanted: tuple[str, ...], quote: str) -> tuple[list[Listed], list[str], int | None]:
    """Return the symbols to follow, the wanted ones that do not trade, and the venue's time (microseconds).

    ``wanted`` empty means every symbol in ``quote`` that trades. Raises :class:`msgspec.DecodeError`.
    """
    info = _info.decode(body)
    trading = {s.symbol: Listed(s.symbol, f"{s.base}-{s.quote}") for s in info.symbols if s.status == "TRADING"}
    names = wanted or [s.symbol for s in info.symbols if s.quote == quote and s.symbol in trading]
    now = None if info.server_time is None else venue_us(info.server_time)
    return [trading[name] for name in names if name in trading], [n for n in names if n not in trading], now


class _Kline(msgspec.Struct, array_like=True):
    open_time: VenueTime
    open: float
    high: float
    low: float
    close: float
    volume: float
    close_time: VenueTime
    quote_volume: float = 0.0
    n_trades: Annotated[int, Meta(ge=0, le=2**53)] = 0


_klines = msgspec.json.Decoder(list[_Kline], strict=False)  # prices are strings

Row: TypeAlias = tuple[int, float, float, float, float, float, int]
"""(open time in microseconds, open, high, low, close, volume, number of trades)"""


class KlineJob(msgspec.Struct):
    """Closed bars of one symbol from ``start_us`` up to ``until_us``; ``step_us`` is the venue's interval."""

    symbol: int
    interval_us: int
    step_us: int
    start_us: int
    until_us: int
    next_us: int
    attempts: int = 0
    failed: bool = False
    rows: list[Row] = []

    @property
    def expected(self) -> int:
        """How many bars were asked for."""
        return (self.until_us - self.start_us) // self.interval_us

    @property
    def reached_us(self) -> int:
        """Open of the first bar that the job did not bring; of a bar that came in part, nothing counts."""
        return self.next_us // self.interval_us * self.interval_us if self.failed else self.until_us

    @property
    def received(self) -> int:
        """How many of the bars asked for came."""
        return (self.reached_us - self.start_us) // self.interval_us


class KlineState(msgspec.Struct):
    """Jobs that wait, and those with a request on its way, by tag."""

    waiting: list[KlineJob] = []
    asked: dict[str, KlineJob] = {}


def venue_step_us(interval_us: int, feed: str) -> int:
    """Return the longest kline interval of the venue that divides ``interval_us``."""
    steps = [step for step in INTERVALS if interval_us > 0 and interval_us % step == 0]
    if not steps:
        raise ConfigError(feed, "interval_us", f"{interval_us} is not a number of whole seconds")
    return max(steps)


class KlineFetcher:
    """Fetches closed klines, a bounded number of requests at a time, each page up to five times."""

    def __init__(self, symbols: Callable[[int], str], state: KlineState) -> None:
        self._symbol, self.state = symbols, state
        self._actions: list[Fetch] = []

    @property
    def busy(self) -> bool:
        """Whether any job is unfinished."""
        return bool(self.state.waiting or self.state.asked)

    def ask(self, symbol: int, interval_us: int, step_us: int, start_us: int, until_us: int) -> None:
        """Add a job."""
        self.state.waiting.append(KlineJob(symbol, interval_us, step_us, start_us, until_us, start_us))
        self._issue()

    def again(self) -> None:
        """Forget which requests are on their way (their replies may never come) and ask again."""
        self.state.waiting[:0] = self.state.asked.values()
        self.state.asked = {}
        self._issue()

    def give_up(self) -> list[KlineJob]:
        """End all jobs as failed, with what they got so far."""
        jobs = [*self.state.asked.values(), *self.state.waiting]
        self.state.waiting, self.state.asked = [], {}
        for job in jobs:
            job.failed = True
        return jobs

    def actions(self) -> list[Fetch]:
        """Return, once, the requests to do now. Changes nothing else: decisions fall while records are taken."""
        out, self._actions = self._actions, []
        return out

    def _issue(self) -> None:
        while self.state.waiting and len(self.state.asked) < OUTSTANDING:
            job = self.state.waiting.pop(0)
            # until when is in the tag: an older answer to the same page may end in a bar that was still forming
            tag = f"klines/{job.symbol}/{job.interval_us}/{job.next_us}/{job.until_us}/{job.attempts}"
            limit = min(PAGE, (job.until_us - job.next_us) // job.step_us)
            path = (
                f"/api/v3/klines?symbol={self._symbol(job.symbol)}&interval={INTERVALS[job.step_us]}"
                f"&startTime={job.next_us // 1000}&limit={max(limit, 1)}"
            )
            delay = 2.0**job.attempts if job.attempts else 0.0
            self._actions.append(Fetch(tag, path, None, delay))
            self.state.asked[tag] = job

    def reply(self, record: Record) -> tuple[KlineJob | None, str]:
        """Take a reply; return the job that it ended, if any, and what was wrong with the reply, if anything."""
        job = self.state.asked.pop(record.tag, None)
        if job is None:
            return None, ""
        ended, problem = self._take_reply(job, record)
        self._issue()
        return (job if ended else None), problem

    def _take_reply(self, job: KlineJob, record: Record) -> tuple[bool, str]:
        problem = "" if record.status == 200 else f"HTTP {record.status}" if record.status else "no answer"
        page: list[_Kline] = []
        if not problem:
            try:
                page = _klines.decode(record.body)
            except UNREADABLE as error:
                problem = str(error)
        if problem:
            job.attempts += 1
            job.failed = job.attempts >= ATTEMPTS or record.status in (400, 404)
            if not job.failed:
                self.state.waiting.append(job)
            return job.failed, problem
        job.attempts = 0
        more, problem = _take(job, page)
        if more:
            self.state.waiting.insert(0, job)
        return not more, problem


def _take(job: KlineJob, page: list[_Kline]) -> tuple[bool, str]:
    """Append the closed klines of a page to the job; say whether there are more, and what was wrong with any."""
    limit = max(min(PAGE, (job.until_us - job.next_us) // job.step_us), 1)
    rows: list[Row] = []
    at, problem = job.next_us, ""
    for k in page:
        opened = venue_us(k.open_time)
        if opened + job.step_us > job.until_us:  # still forming, or newer than asked for
            break
        if opened < at or opened % job.step_us:
            problem = f"kline at {opened} is out of order or off the grid"
            continue
        at = opened + job.step_us
        inside = k.low <= k.open <= k.high and k.low <= k.close <= k.high
        if not (inside and k.low > 0.0 and k.high < math.inf and 0.0 <= k.volume < math.inf):
            problem = f"the prices of the kline at {opened} contradict each other"
            continue
        rows.append((opened, k.open, k.high, k.low, k.close, k.volume, k.n_trades))
    more = at > job.next_us and len(page) >= limit and at < job.until_us
    job.rows = [*job.rows, *rows]
    job.next_us = at
    return more, problem


def bars_of(jobs: list[KlineJob], symbols: list[Listed], venue: str) -> pa.RecordBatch:
    """Return the bars of finished jobs, sorted by close, interval and symbol.

    Klines of a finer interval than asked for are joined; a bar counts once all of its time has passed, also if the
    venue left out klines within it.
    """
    parts = [_join(job) for job in jobs if job.rows]
    if not any(len(part[0]) for part in parts):
        return pa.RecordBatch.from_pylist([], schema=BARS)
    columns: list[npt.NDArray[Any]] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.lexsort((columns[0], columns[1], columns[2]))
    symbol, interval, close_us, opened, high, low, close, volume, n = (column[order] for column in columns)
    rows = len(order)
    return pa.RecordBatch.from_arrays(
        [
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([venue])),
            pa.DictionaryArray.from_arrays(pa.array(symbol, pa.int32()), pa.array([s.symbol for s in symbols])),
            pa.array(interval), times(close_us), pa.array(opened), pa.array(high), pa.array(low), pa.array(close),
            pa.array(volume), pa.nulls(rows, pa.float64()), pa.array(n),
            pa.array(np.full(rows, FLAG_BACKFILL, np.uint8)),
        ],
        schema=BARS,
    )  # fmt: skip


def _join(job: KlineJob) -> tuple[npt.NDArray[Any], ...]:
    kept = [row for row in job.rows if row[0] < job.reached_us]
    opens = np.array([row[0] for row in kept], np.int64)
    o, h, low, c, v = (np.array([row[at] for row in kept], np.float64) for at in range(1, 6))
    n = np.array([row[6] for row in kept], np.int64)
    bucket = opens // job.interval_us
    first = np.flatnonzero(np.r_[True, bucket[1:] != bucket[:-1]][: len(opens)])
    last = np.r_[first[1:], len(opens)][: len(first)] - 1
    rows = len(first)
    return (
        np.full(rows, job.symbol, np.int32), np.full(rows, job.interval_us, np.int64),
        (bucket[first] + 1) * job.interval_us, o[first], _fold(np.maximum, h, first),
        _fold(np.minimum, low, first), c[last], _fold(np.add, v, first), _fold(np.add, n, first),
    )  # fmt: skip


def _fold(what: np.ufunc, values: npt.NDArray[Any], first: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Fold ``values`` from each of ``first`` to the next (``reduceat`` takes no empty ``first``)."""
    return what.reduceat(values, first) if len(first) else values[:0]
