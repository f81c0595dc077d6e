"""The protocol core of Binance spot: trades by websocket, history and gap filling by REST.

A connection goes through: symbols (``exchangeInfo``, once) -> SUBSCRIBE in batches -> acks -> live. Trades carry a
contiguous id per symbol; what is skipped is a gap, and is fetched as aggregate trades.

While something older than what arrives is still on its way (the klines of the first start, a gap's trades, the
first seconds after a reconnection, in which gaps show) the *gate* is shut: trades are held, the watermark stands,
and so nothing that is fetched comes too late. The gate opens when all has come, or when its time is over; what is
missing then stays missing and is reported. A feed that is silent or away lets its watermark go on by elapsed time,
so that bars close: silent for ``idle_us``, or away for ``stale_us``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter
from typing import Final

import msgspec

from connectors.exchanges.binance_rest import (
    KlineFetcher,
    KlineJob,
    KlineState,
    Listed,
    bars_of,
    parse_exchange_info,
    venue_step_us,
    venue_us,
)
from connectors.exchanges.binance_ws import STREAMS_MOST, Subscriptions, Trade, decode_control, decode_trade, stream_url
from connectors.exchanges.gaps import Gap, aggregate_trades
from connectors.exchanges.trades import EVENT_US, TradeRow, Watermark, names_of, trades_to_arrow
from connectors.incidents import UNREADABLE, Incidents
from connectors.records import Action, FeedStats, Fetch, Reconnect, Record
from connectors.schema import Batch

VENUE: Final = "binance"
__all__ = ["VENUE", "BinanceConfig", "BinanceCore", "stream_url"]
_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_NEVER: Final = 1 << 62


class BinanceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to follow, and how long to wait for what.

    ``symbols`` are the venue's names; empty means all that trade in ``quote``. ``history`` asks for bars at the
    first start: (interval in microseconds, number of bars). Spans end in ``_us``: microseconds.
    """

    feed: str
    symbols: tuple[str, ...] = ()
    quote: str = "USDT"
    allowed_lateness_us: int = 500_000
    history: tuple[tuple[int, int], ...] = ()
    idle_us: int = 5 * _SECOND
    silence_us: int = 60 * _SECOND
    stale_us: int = 60 * _SECOND
    ack_deadline_us: int = 10 * _SECOND
    settle_us: int = 3 * _SECOND
    gap_deadline_us: int = 20 * _SECOND
    history_deadline_us: int = 120 * _SECOND
    roll_us: int = 23 * 3600 * _SECOND
    held_most: int = 500_000


class _State(msgspec.Struct):
    """Everything that decisions depend on."""

    version: int = 1
    stats: FeedStats = msgspec.field(default_factory=FeedStats)
    listed: list[Listed] = []
    info_attempts: int = 0
    offset_us: int = 0  # the venue's clock less ours
    open_us: int = -1  # -1: not connected
    reconnecting: bool = False
    subscriptions: Subscriptions = msgspec.field(default_factory=Subscriptions)
    last_data_us: int = 0
    watermark_us: int = 0
    newest_us: int = 0  # newest event, and when it came
    newest_recv_us: int = 0
    last_id: list[int] = []
    last_event_us: list[int] = []
    last_recv_us: list[int] = []
    covered_us: list[int] = []  # klines hold everything before
    barren: list[int] = []  # gaps in a row that nothing could be fetched for
    history_until_us: int = -1  # -1: not asked, 0: done, else its deadline
    klines: KlineState = msgspec.field(default_factory=KlineState)
    ended: list[KlineJob] = []
    gate_shut: bool = False
    settled_us: int = 0
    gate_until_us: int = 0
    gaps: dict[str, Gap] = {}
    held: list[TradeRow] = []
    fills: list[TradeRow] = []


class BinanceCore:
    """Trades of many symbols over one combined-stream connection. See the module's description.

    ``feed`` returns at most one batch per kind, bars before trades. It never raises for anything that a peer sent.
    """

    def __init__(self, config: BinanceConfig, state: bytes | None = None) -> None:
        self.config = config
        self._steps = {interval: venue_step_us(interval, config.feed) for interval, _ in config.history}
        self._s = _State() if state is None else msgspec.msgpack.decode(state, type=_State)
        self._incidents = Incidents(config.feed)
        self._watermark = Watermark(config.allowed_lateness_us, self._s.watermark_us)
        self._klines = KlineFetcher(lambda at: self._s.listed[at].venue, self._s.klines)
        self._actions: list[Action] = []
        self._rows: list[TradeRow] = []
        self._passed = 0
        self._bars: list[Batch] = []
        self._told_us = self._s.watermark_us
        self._index_symbols()

    @property
    def stats(self) -> FeedStats:
        """Totals since the journal began."""
        return self._s.stats

    @stats.setter
    def stats(self, stats: FeedStats) -> None:
        self._s.stats = stats

    @property
    def symbols(self) -> list[str]:
        """The symbols that are followed (BASE-QUOTE); empty until the venue has listed them."""
        return [item.symbol for item in self._s.listed]

    def snapshot(self) -> bytes:
        """Return the state, from which the same class restores itself."""
        self._s.watermark_us = self._watermark.us
        return msgspec.msgpack.encode(self._s)

    def actions(self) -> list[Action]:
        """Return, once, what the shell is to do now."""
        out, self._actions = self._actions, []
        return [*out, *self._klines.actions()]

    def feed(self, records: Sequence[Record]) -> list[Batch]:
        """Consume records in order; return the batches that they complete."""
        for record in records:
            kind = record.kind
            if kind == "msg":
                try:
                    trade = decode_trade(record.body)
                except UNREADABLE:
                    self._on_other(record)
                else:
                    self._on_trade(record, trade)
            elif kind == "tick":
                self._on_tick(record.t_us)
            elif kind == "reply":
                self._on_reply(record)
            elif kind == "open":
                self._on_open(record.t_us)
            else:
                self._on_close(record)
        return self._emit()

    def _emit(self) -> list[Batch]:
        self._let_pass()
        out, self._bars = self._bars, []
        us = self._watermark.us
        if self._rows or us > self._told_us:
            rows, self._rows, self._passed = self._rows, [], 0
            out.append(Batch("trades", trades_to_arrow(rows, VENUE, self._names), us, self._watermark.take_before()))
            self._told_us = us
        return [*out, *self._incidents.batches(us)]

    def _let_pass(self) -> None:
        """Let the rows pass the watermark that did not yet; needed before anything else moves it."""
        fresh = self._rows[self._passed :]
        self._passed += len(fresh)
        self._s.stats.events += len(fresh)
        self._s.stats.late += self._watermark.pass_rows(row[EVENT_US] for row in fresh)

    # trades

    def _on_trade(self, record: Record, trade: Trade) -> None:
        s = self._s
        at = self._index.get(trade.s, -1)
        us, now = venue_us(trade.T), record.t_us
        if at < 0 or not (0.0 < trade.p < math.inf and 0.0 < trade.q < math.inf):
            self._reject(
                record, "s" if at < 0 else "p", "no such symbol" if at < 0 else "price or quantity is no number"
            )
            return
        if us > max(now + s.offset_us, s.newest_us) + _DAY:
            self._reject(record, "T", "more than a day in the future")  # it would make everything after it late
            return
        last = s.last_id[at]
        if trade.t != last + 1 and last >= 0:
            if trade.t > last:
                self._open_gap(at, last + 1, trade.t - 1, us, now)
            elif us > s.last_event_us[at]:
                # a lower id at a later time is no duplicate: the venue numbers anew
                self._note_gap(at, None, (s.last_event_us[at], us), "renumbered", 0, 0)
            else:
                s.stats.duplicates += 1
                return
        s.last_id[at], s.last_event_us[at], s.last_recv_us[at] = trade.t, us, now
        s.last_data_us = now
        if us > s.newest_us:
            s.newest_us, s.newest_recv_us = us, now
        stats = s.stats
        stats.lag_us, stats.last_event_us = now - us, s.newest_us
        if us < s.covered_us[at]:
            stats.duplicates += 1
            return
        side = -1 if trade.m else 1  # m: the buyer made the price, so the taker sold
        row = (at, trade.t, side, trade.p, trade.q, us, now, 0)
        if not s.gate_shut:
            self._rows.append(row)
            return
        s.held.append(row)
        if len(s.held) >= self.config.held_most:
            self._open_gate(now)

    def _reject(self, record: Record, column: str, reason: str) -> None:
        self._s.stats.parse_errors += 1
        self._incidents.quarantine(record.n, column, reason, record.body)

    # the other messages

    def _on_other(self, record: Record) -> None:
        s = self._s
        try:
            message = decode_control(record.body)
        except UNREADABLE as error:
            self._reject(record, "message", f"cannot be read: {error}")
            return
        fault = message.fault
        if message.stream is not None:
            if message.stream.endswith("@trade"):
                self._reject(record, "message", "not a trade")
            elif message.stream == "!serverShutdown":
                self._reconnect("server_shutdown")
            else:
                s.stats.unknown += 1
        elif isinstance(message.id, int) and s.subscriptions.answered(message.id, fault is not None):
            if fault is not None:
                self._reject(record, "id", f"subscription refused: {fault.msg}")
            self._check_live(record.t_us)
        elif fault is not None:
            self._reject(record, "code", f"error {fault.code}: {fault.msg}")
        else:
            s.stats.unknown += 1

    # the connection

    def _on_open(self, now: int) -> None:
        s = self._s
        s.open_us = now
        s.subscriptions.begin([])
        s.reconnecting, s.stats.up = False, False
        if not s.listed:
            self._ask_symbols()
            return
        if any(last >= 0 for last in s.last_id):
            self._shut_gate(now, settle=True)
        self._klines.again()
        for tag, gap in s.gaps.items():
            self._actions.append(gap.fetch(tag, s.listed[gap.symbol].venue))
        self._subscribe(now)

    def _ask_symbols(self) -> None:
        attempts = self._s.info_attempts
        delay = 2.0 ** min(attempts, 6) if attempts else 0.0
        self._actions.append(Fetch(f"info/{attempts}", "/api/v3/exchangeInfo", None, delay))

    def _subscribe(self, now: int) -> None:
        if self._s.open_us >= 0:
            self._s.subscriptions.begin([f"{item.venue.lower()}@trade" for item in self._s.listed])
            self._actions += self._s.subscriptions.send_next(now)

    def _check_live(self, now: int) -> None:
        s = self._s
        if not s.subscriptions.complete:
            return
        s.stats.up, s.last_data_us = True, now
        if self.config.history and s.history_until_us < 0:
            self._ask_history(now)

    def _reconnect(self, reason: str) -> None:
        if not self._s.reconnecting and self._s.open_us >= 0:
            self._s.reconnecting = True
            self._actions.append(Reconnect(reason))

    def _on_close(self, record: Record) -> None:
        s = self._s
        reason = record.body.partition(b":")[0].decode("utf-8", "replace")
        s.stats.reconnects[reason] = s.stats.reconnects.get(reason, 0) + 1
        s.stats.up = False
        s.open_us = -1
        s.subscriptions.begin([])

    def _on_tick(self, now: int) -> None:
        s, config = self._s, self.config
        if not s.reconnecting:
            self._actions += s.subscriptions.send_next(now)
        if s.subscriptions.overdue(now, config.ack_deadline_us):
            self._reconnect("no_ack")
        elif s.stats.up and now - s.last_data_us > config.silence_us:
            self._reconnect("silence")
        elif s.stats.up and now - s.open_us > config.roll_us:
            self._reconnect("roll")  # the venue ends a connection after 24 hours
        if 0 < s.history_until_us <= now:
            self._end_history(now)
        self._try_gate(now)
        self._pass_time(now)

    def _pass_time(self, now: int) -> None:
        """Let the watermark go on without trades, by the time that has passed here since the newest one came."""
        s = self._s
        if s.gate_shut or not s.newest_us:
            return
        away = not s.stats.up and now - s.newest_recv_us > self.config.stale_us
        idle = s.stats.up and now - s.last_data_us >= self.config.idle_us
        if away or idle:
            venue_now = s.newest_us + now - s.newest_recv_us
            self._let_pass()
            self._watermark.raise_to(venue_now - self.config.idle_us - self.config.allowed_lateness_us)

    # symbols and history

    def _on_reply(self, record: Record) -> None:
        topic = record.tag.partition("/")[0]
        if topic == "info":
            self._on_symbols(record)
        elif topic == "klines":
            job, problem = self._klines.reply(record)
            if problem:
                self._reject(record, "klines", problem)
            if job is not None:
                self._s.ended.append(job)
                if not self._klines.busy:
                    self._end_history(record.t_us)
        elif record.tag in self._s.gaps:
            self._on_fill(record)
        self._try_gate(record.t_us)

    def _on_symbols(self, record: Record) -> None:
        s = self._s
        if s.listed:
            return
        problem = "" if record.status == 200 else f"HTTP {record.status}" if record.status else "no answer"
        if not problem:
            try:
                listed, missing, now = parse_exchange_info(record.body, self.config.symbols, self.config.quote)
            except UNREADABLE as error:
                problem = str(error)
        if problem:
            self._reject(record, "exchangeInfo", problem)
        if problem or not listed:
            s.info_attempts += 1
            self._ask_symbols()
            return
        for name in missing:
            self._incidents.quarantine(record.n, "symbol", "does not trade at the venue", name)
        for item in listed[STREAMS_MOST:]:
            self._incidents.quarantine(record.n, "symbol", "one connection carries no more streams", item.venue)
        s.listed = listed[:STREAMS_MOST]
        s.offset_us = now - record.t_us if now is not None else 0
        count = len(s.listed)
        s.last_id, s.barren, s.covered_us = [-1] * count, [0] * count, [0] * count
        s.last_event_us, s.last_recv_us = [0] * count, [0] * count
        self._index_symbols()
        if self.config.history:
            s.gate_shut, s.gate_until_us = True, _NEVER  # until the history is asked for
        self._subscribe(record.t_us)

    def _index_symbols(self) -> None:
        self._index = {item.venue: at for at, item in enumerate(self._s.listed)}
        self._names = names_of(self._s.listed)

    def _ask_history(self, now: int) -> None:
        s = self._s
        s.history_until_us = now + self.config.history_deadline_us
        s.gate_shut, s.gate_until_us = True, s.history_until_us
        for interval, bars in self.config.history:
            until = (now + s.offset_us) // interval * interval
            for at in range(len(s.listed)):
                self._klines.ask(at, interval, self._steps[interval], until - bars * interval, until)

    def _end_history(self, now: int) -> None:
        """Emit the bars, report what did not come, and let the trades follow that the bars do not hold."""
        s = self._s
        jobs = [*s.ended, *self._klines.give_up()]
        s.ended, s.history_until_us = [], 0
        for job in jobs:
            if job.failed:
                span = (job.start_us, job.until_us)
                self._note_gap(job.symbol, None, span, "history", job.expected, job.received)
        finest = min(interval for interval, _ in self.config.history)
        for job in jobs:
            if job.interval_us == finest and job.rows:
                s.covered_us[job.symbol] = job.reached_us
        known = [us for us in s.covered_us if us]
        bars = bars_of(jobs, s.listed, VENUE)
        if known:
            self._watermark.raise_to(min(known))
            if max(known) > s.newest_us:
                s.newest_us, s.newest_recv_us = max(known), now
        if bars.num_rows:
            s.stats.events += bars.num_rows
            self._told_us = max(self._told_us, self._watermark.us)
            self._bars.append(Batch("bars", bars, self._watermark.us))
        held = [row for row in s.held if row[EVENT_US] >= s.covered_us[row[0]]]
        s.stats.duplicates += len(s.held) - len(held)
        s.held = held
        s.gate_until_us = now + self.config.gap_deadline_us

    # gaps and the gate

    def _note_gap(
        self, at: int, seq: tuple[int, int] | None, span: tuple[int, int], reason: str, missing: int, filled: int
    ) -> None:
        stats = self._s.stats
        stats.gaps += 1
        stats.gap_events_missing += missing
        stats.gap_events_filled += filled
        self._incidents.gap(self._s.listed[at].symbol, seq, span, reason, missing, filled)

    def _open_gap(self, at: int, first: int, last: int, us: int, now: int) -> None:
        s = self._s
        reason = "reconnect" if s.last_recv_us[at] < s.open_us else "skipped"
        gap = Gap(at, first, last, s.last_event_us[at], us, reason, s.last_event_us[at])
        if s.barren[at] >= 3:  # its ids are not contiguous: count, and ask no more
            self._note_gap(at, (first, last), (gap.from_us, us), reason, last - first + 1, 0)
            return
        tag = f"gap/{at}/{first}"
        s.gaps[tag] = gap
        self._actions.append(gap.fetch(tag, s.listed[at].venue))
        self._shut_gate(now, settle=False)

    def _on_fill(self, record: Record) -> None:
        s = self._s
        gap = s.gaps[record.tag]
        self._let_pass()
        try:
            rows, more = aggregate_trades(gap, record, self._watermark.us)
        except UNREADABLE as error:
            self._reject(record, "aggTrades", str(error))
            rows, more = [], gap.fail()
        s.fills.extend(rows)
        if more:
            self._actions.append(gap.fetch(record.tag, s.listed[gap.symbol].venue))
        else:
            self._close_gap(record.tag)

    def _close_gap(self, tag: str) -> None:
        gap = self._s.gaps.pop(tag)
        self._s.stats.late += gap.late
        self._s.barren[gap.symbol] = 0 if gap.filled or gap.late else self._s.barren[gap.symbol] + 1
        missing = gap.last - gap.first + 1
        self._note_gap(gap.symbol, (gap.first, gap.last), (gap.from_us, gap.to_us), gap.reason, missing, gap.filled)

    def _shut_gate(self, now: int, settle: bool) -> None:
        s = self._s
        if not s.gate_shut:
            s.gate_shut, s.gate_until_us = True, now + self.config.gap_deadline_us
        if settle:
            s.settled_us = now + self.config.settle_us

    def _try_gate(self, now: int) -> None:
        s = self._s
        if not s.gate_shut:
            return
        waiting = (self.config.history and s.history_until_us != 0) or s.gaps or now < s.settled_us
        if not waiting or now >= s.gate_until_us:
            self._open_gate(now)

    def _open_gate(self, now: int) -> None:
        """Let everything that was fetched and held pass, in the order of its time."""
        s = self._s
        if self.config.history and s.history_until_us != 0:
            self._end_history(now)
        for tag in list(s.gaps):
            self._close_gap(tag)
        self._rows += sorted([*s.fills, *s.held], key=itemgetter(EVENT_US))  # those of one time keep their order
        s.held, s.fills, s.gate_shut = [], [], False
