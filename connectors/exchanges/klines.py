"""The protocol core of a price feed: closed klines of a few symbols, polled over HTTP.

Rounds: the first fetches ``lookback`` bars of each symbol, each later one what closed since, a little after the
close. A round's bars are emitted together, in order of time, when all symbols have answered or failed; the
watermark then is the boundary that the round was for. What failed is a gap, and is asked for again in the next
round; its bars then come late.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from connectors.exchanges.binance_rest import (
    KlineFetcher,
    KlineJob,
    KlineState,
    Listed,
    bars_of,
    parse_exchange_info,
    venue_step_us,
)
from connectors.incidents import UNREADABLE, Incidents
from connectors.records import Action, FeedStats, Fetch, Record
from connectors.schema import Batch, time_us

VENUE: Final = "binance"
_SECOND: Final = 1_000_000


class KlinesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which closes to follow: the venue's symbols, the interval (microseconds), bars at the first start."""

    feed: str
    symbols: tuple[str, ...]
    interval_us: int
    lookback: int = 60
    settle_us: int = 2 * _SECOND
    round_deadline_us: int = 120 * _SECOND


class _State(msgspec.Struct):
    version: int = 1
    stats: FeedStats = msgspec.field(default_factory=FeedStats)
    listed: list[Listed] = []
    info_attempts: int = 0
    offset_us: int = 0
    round_us: int = -1  # boundary of the round that runs, -1: none
    round_began_us: int = 0
    last_round_us: int = -1
    next_us: list[int] = []  # per symbol, open of the first bar that is not there yet
    watermark_us: int = 0
    klines: KlineState = msgspec.field(default_factory=KlineState)
    ended: list[KlineJob] = []


class KlinesCore:
    """Closes of a few symbols at one interval. ``feed`` returns at most one batch of bars a round."""

    def __init__(self, config: KlinesConfig, state: bytes | None = None) -> None:
        self.config = config
        self._step_us = venue_step_us(config.interval_us, config.feed)
        self._s = _State() if state is None else msgspec.msgpack.decode(state, type=_State)
        self._incidents = Incidents(config.feed)
        self._klines = KlineFetcher(lambda at: self._s.listed[at].venue, self._s.klines)
        self._actions: list[Action] = []
        self._bars: list[Batch] = []

    @property
    def stats(self) -> FeedStats:
        """Totals since the journal began."""
        return self._s.stats

    @stats.setter
    def stats(self, stats: FeedStats) -> None:
        self._s.stats = stats

    def snapshot(self) -> bytes:
        """Return the state, from which the same class restores itself."""
        return msgspec.msgpack.encode(self._s)

    def actions(self) -> list[Action]:
        """Return, once, what the shell is to do now."""
        out, self._actions = self._actions, []
        return [*out, *self._klines.actions()]

    def feed(self, records: Sequence[Record]) -> list[Batch]:
        """Consume records in order; return the batches that they complete."""
        for record in records:
            if record.kind == "tick":
                self._on_tick(record.t_us)
            elif record.kind == "reply":
                self._on_reply(record)
            elif record.kind == "open":
                self._on_open(record.t_us)
        out, self._bars = self._bars, []
        return [*out, *self._incidents.batches(self._s.watermark_us)]

    def _on_open(self, now: int) -> None:
        if not self._s.listed:
            self._ask_symbols()
        self._klines.again()
        self._on_tick(now)

    def _ask_symbols(self) -> None:
        attempts = self._s.info_attempts
        delay = 2.0 ** min(attempts, 6) if attempts else 0.0
        self._actions.append(Fetch(f"info/{attempts}", "/api/v3/exchangeInfo", None, delay))

    def _on_tick(self, now: int) -> None:
        s, interval = self._s, self.config.interval_us
        if not s.listed:
            return
        if s.round_us >= 0:
            if now - s.round_began_us > self.config.round_deadline_us:
                s.ended += self._klines.give_up()
                self._end_round()
            return
        boundary = (now + s.offset_us - self.config.settle_us) // interval * interval
        if boundary <= s.last_round_us:
            return
        s.round_us, s.round_began_us = boundary, now
        for at, since in enumerate(s.next_us):
            start = since if since >= 0 else boundary - self.config.lookback * interval
            self._klines.ask(at, interval, self._step_us, start, boundary)

    def _on_reply(self, record: Record) -> None:
        if record.tag.startswith("info/"):
            self._on_symbols(record)
            return
        job, problem = self._klines.reply(record)
        if problem:
            self._s.stats.parse_errors += 1
            self._incidents.quarantine(record.n, "klines", problem, record.body)
        elif job is not None:
            self._s.stats.up = True
        if job is not None:
            self._s.ended.append(job)
            if not self._klines.busy:
                self._end_round()

    def _on_symbols(self, record: Record) -> None:
        s = self._s
        if s.listed:
            return
        problem = "" if record.status == 200 else f"HTTP {record.status}" if record.status else "no answer"
        if not problem:
            try:
                listed, missing, now = parse_exchange_info(record.body, self.config.symbols, "")
            except UNREADABLE as error:
                problem = str(error)
        if problem:
            s.stats.parse_errors += 1
            self._incidents.quarantine(record.n, "exchangeInfo", problem, record.body)
        if problem or not listed:
            s.info_attempts += 1
            self._ask_symbols()
            return
        for name in missing:
            self._incidents.quarantine(record.n, "symbol", "does not trade at the venue", name)
        s.listed, s.next_us = listed, [-1] * len(listed)
        s.offset_us = now - record.t_us if now is not None else 0
        self._on_tick(record.t_us)

    def _end_round(self) -> None:
        s, stats = self._s, self._s.stats
        jobs, s.ended = s.ended, []
        for job in jobs:
            s.next_us[job.symbol] = max(s.next_us[job.symbol], job.reached_us)
            if job.failed:
                stats.gaps += 1
                stats.gap_events_missing += job.expected
                stats.gap_events_filled += job.received
                span = (job.start_us, job.until_us)
                symbol = s.listed[job.symbol].symbol
                self._incidents.gap(symbol, None, span, "klines", job.expected, job.received)
        if all(job.failed for job in jobs):
            stats.up = False
        bars = bars_of(jobs, s.listed, VENUE)
        before = np.full(bars.num_rows, s.watermark_us, np.int64)
        if bars.num_rows:
            closes = time_us(bars.column("ts_close"))
            stats.late += int((closes < before).sum())
            stats.events += bars.num_rows
            stats.last_event_us = max(stats.last_event_us, int(closes[-1]))
        s.watermark_us = max(s.watermark_us, s.round_us)
        self._bars.append(Batch("bars", bars, s.watermark_us, before))
        s.last_round_us, s.round_us = s.round_us, -1
