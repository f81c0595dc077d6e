"""The protocol core of an Ethereum node: the canonical chain, followed by JSON-RPC over one websocket.

A new head is only a trigger (nodes skip heights when blocks come fast, and announce only the last block of a
reorganisation): the block is fetched by its hash, and its ancestors too until one is known; then the blocks of the
old branch are taken back, newest first and with exactly the rows that they came with, and those of the new one are
connected in order. Far behind (first start, reconnection) blocks are fetched by number, several at once, and
connected the same way. Requests of a connection that ended are void; what is needed is asked for again.

Per call of ``feed``: a batch of transfers, then one of blocks (so that a boundary that a block passes finds the
block's transfers there), then gaps and quarantine. The watermark is the time of the newest block so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from connectors.chains.blocks import (
    Block,
    add_receipts,
    blocks_to_arrow,
    parse_block,
    parse_header,
    transfers_to_arrow,
)
from connectors.chains.requests import Envelope, Probe, Request, RequestKind, RpcError, decode_message, encode_call
from connectors.incidents import UNREADABLE, Incidents
from connectors.records import Action, FeedStats, Reconnect, Record, Send
from connectors.schema import Batch

_SECOND: Final = 1_000_000
_NEAR: Final = 4  # heads closer than this are reached from parent to parent
_NO_SUCH_METHOD: Final = (-32601, -32004)


class EthereumConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which chain, how much of it at the first start, and how long to wait for what (``_us``: microseconds)."""

    feed: str
    chain: str = "ethereum"
    history_us: int = 0
    confirmations_final: int = 64
    max_reorg: int = 64
    outstanding: int = 16
    attempts: int = 6
    head_silence_us: int = 36 * _SECOND
    answer_deadline_us: int = 30 * _SECOND


class _Head(msgspec.Struct):
    height: int
    hash: bytes
    time_us: int


class _State(msgspec.Struct):
    version: int = 1
    stats: FeedStats = msgspec.field(default_factory=FeedStats)
    open_us: int = -1
    reconnecting: bool = False
    receipts: bool = True
    next_id: int = 1
    pending: dict[int, Request] = {}
    again: list[Request] = []
    head: _Head | None = None  # the newest one announced
    head_us: int = 0  # when
    chain: list[Block] = []  # the last ``max_reorg`` connected blocks
    branch: list[Block] = []  # newest first, down to one whose parent is still unknown
    since_us: int = -1  # search for the first block at or after it; -1: the history is settled
    probe: Probe | None = None
    base: int = -1  # where to begin while nothing is connected
    fill_next: int = -1  # next height to ask for by number
    fill_end: int = -1  # last one; -1: not filling
    ready: dict[int, Block] = {}
    watermark_us: int = 0


class EthereumCore:
    """The canonical chain of one node. See the module's description; it never raises for what a peer sent."""

    def __init__(self, config: EthereumConfig, state: bytes | None = None) -> None:
        self.config = config
        self._s = _State() if state is None else msgspec.msgpack.decode(state, type=_State)
        self._incidents = Incidents(config.feed)
        self._actions: list[Action] = []
        self._moves: list[tuple[Block, int, int]] = []
        self._before: list[int] = []
        self._now = 0
        self._n = 0

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
        return out

    def feed(self, records: Sequence[Record]) -> list[Batch]:
        """Consume records in order; return the batches that they complete."""
        for record in records:
            self._now, self._n = record.t_us, record.n
            if record.kind == "msg":
                self._on_message(record.body)
            elif record.kind == "tick":
                self._on_tick()
            elif record.kind == "open":
                self._on_open()
            elif record.kind == "close":
                self._on_close(record.body)
        return self._emit()

    def _emit(self) -> list[Batch]:
        s, out = self._s, []
        if self._moves:
            moves, before = self._moves, np.array(self._before, np.int64)
            counts = [len(block.transfers) for block, _, _ in moves]
            transfers = transfers_to_arrow(self.config.chain, moves)
            blocks = blocks_to_arrow(self.config.chain, moves)
            out.append(Batch("transfers", transfers, s.watermark_us, np.repeat(before, counts)))
            out.append(Batch("blocks", blocks, s.watermark_us, before))
            self._moves, self._before = [], []
        return [*out, *self._incidents.batches(s.watermark_us)]

    # the connection

    def _on_open(self) -> None:
        s = self._s
        s.open_us, s.reconnecting, s.receipts = self._now, False, True
        s.pending, s.again, s.ready, s.branch, s.probe = {}, [], {}, [], None
        s.head, s.fill_end = None, -1
        if not s.chain and s.base < 0 and s.since_us < 0 and self.config.history_us > 0:
            s.since_us = 0  # settled once the head's time is known
        self._ask(Request("subscribe"))
        self._ask(Request("latest"))

    def _on_close(self, body: bytes) -> None:
        s = self._s
        reason = body.partition(b":")[0].decode("utf-8", "replace")
        s.stats.reconnects[reason] = s.stats.reconnects.get(reason, 0) + 1
        s.stats.up, s.open_us = False, -1
        s.pending, s.again = {}, []

    def _on_tick(self) -> None:
        s = self._s
        if s.open_us < 0:
            return
        due = [request for request in s.again if request.at_us <= self._now]
        s.again = [request for request in s.again if request.at_us > self._now]
        for request in due:
            self._ask(request)
        if any(self._now - request.at_us > self.config.answer_deadline_us for request in s.pending.values()):
            if not s.reconnecting:
                s.reconnecting = True
                self._actions.append(Reconnect("no_answer"))
        elif self._now - s.head_us > self.config.head_silence_us and not self._has("latest"):
            self._ask(Request("latest"))

    def _has(self, kind: RequestKind) -> bool:
        return any(r.kind == kind for r in (*self._s.pending.values(), *self._s.again))

    def _ask(self, request: Request) -> None:
        s = self._s
        self._actions.append(Send(encode_call(request, s.next_id)))
        request.at_us = self._now
        s.pending[s.next_id] = request
        s.next_id += 1

    def _retry(self, request: Request) -> bool:
        """Ask again later, each time twice as late; False when it has been tried often enough."""
        request.attempt += 1
        if request.attempt >= self.config.attempts and request.kind != "latest":
            return False
        request.at_us = self._now + _SECOND * 2 ** min(request.attempt - 1, 5)
        self._s.again.append(request)
        return True

    # messages

    def _reject(self, column: str, reason: str, detail: bytes | str) -> None:
        self._s.stats.parse_errors += 1
        self._incidents.quarantine(self._n, column, reason, detail)

    def _on_message(self, body: bytes) -> None:
        try:
            envelopes = decode_message(body)
        except UNREADABLE as error:
            self._reject("message", f"cannot be read: {error}", body)
            return
        for envelope in envelopes:
            request = self._s.pending.pop(envelope.id, None) if isinstance(envelope.id, int) else None
            if request is not None:
                self._on_answer(request, envelope)
            elif envelope.method == "eth_subscription" and envelope.params is not None:
                self._on_note(envelope.params.result)
            elif envelope.error is not None:
                self._reject("error", f"error {envelope.error.code}: {envelope.error.message}", body)
            else:
                self._s.stats.unknown += 1

    def _on_note(self, text: msgspec.Raw) -> None:
        try:
            height, own, _, time_us = parse_header(text)
        except UNREADABLE as error:
            self._reject("newHeads", str(error), bytes(text))
            return
        self._on_head(_Head(height, own, time_us))

    def _on_answer(self, request: Request, envelope: Envelope) -> None:
        error, text = envelope.error, envelope.result
        if error is not None and request.kind == "receipts" and error.code in _NO_SUCH_METHOD:
            self._s.receipts = False  # this node has none: whether transactions succeeded stays unknown
            self._arrived(request, request.block)
            return
        if error is not None:
            self._reject(request.kind, f"error {error.code}: {error.message}", "")
        elif bytes(text) in (b"null", b""):
            error = RpcError(0, "null")  # a node behind a balancer may not have the block yet
        else:
            try:
                self._take(request, text)
            except UNREADABLE as problem:
                self._reject(request.kind, str(problem), bytes(text))
                error = RpcError(0, str(problem))
        if error is not None and not self._retry(request):
            self._on_failure(request, error.message)

    def _on_failure(self, request: Request, why: str) -> None:
        """Go on without an answer that did not come after all attempts."""
        s = self._s
        if request.kind == "receipts":
            self._arrived(request, request.block)
        elif request.kind == "hash":
            s.branch, s.head, s.head_us = [], None, 0  # the next tick asks for the newest head
        elif request.kind == "number" and (s.fill_end < 0 or (s.head is not None and request.height > s.head.height)):
            s.fill_end, s.ready = -1, {}  # the chain has become shorter: it is reached by its head's hash
            self._go_on()
        elif request.kind in ("number", "probe"):
            self._skip_to_head(why)

    def _take(self, request: Request, text: msgspec.Raw) -> None:
        """Take a result; raises :class:`ValueError` where it is not what was asked for."""
        match request.kind:
            case "subscribe":
                pass  # without a subscription, silence makes the ticks ask for heads
            case "latest":
                height, own, _, time_us = parse_header(text)
                self._on_head(_Head(height, own, time_us))
            case "probe":
                self._answer_probe(text)
            case "number" | "hash":
                self._answer_block(request, text)
            case "receipts":
                if request.block is not None:
                    add_receipts(request.block, text)
                self._arrived(request, request.block)

    def _answer_probe(self, text: msgspec.Raw) -> None:
        s = self._s
        height, _, _, time_us = parse_header(text)
        if s.probe is None or height != s.probe.height():
            raise ValueError("another block than asked for")
        base = s.probe.found(height, time_us)
        if base is None:
            self._ask(Request("probe", s.probe.height()))
        else:
            s.probe, s.since_us = None, -1
            self._begin(base)

    def _answer_block(self, request: Request, text: msgspec.Raw) -> None:
        block = parse_block(text)
        if (request.kind == "number" and block.height != request.height) or (
            request.kind == "hash" and block.hash != request.hash
        ):
            raise ValueError("another block than asked for")
        request.by_number = request.kind == "number"
        if block.n_tx and self._s.receipts:
            self._ask(Request("receipts", block.height, block.hash, block, request.by_number))
        else:
            self._arrived(request, block)

    def _arrived(self, request: Request, block: Block | None) -> None:
        """Take a block with all that is to be known of it."""
        if block is None:
            return
        if request.by_number:
            if self._s.fill_end >= 0:
                self._s.ready[block.height] = block
        else:
            self._on_branch(block)
        self._go_on()

    # where to go

    def _on_head(self, head: _Head) -> None:
        s = self._s
        s.head, s.head_us, s.stats.up = head, self._now, True
        if s.fill_end >= 0:
            s.fill_end = head.height
        self._go_on()

    def _go_on(self) -> None:
        """Do the next thing on the way to the announced head."""
        s = self._s
        self._connect_ready()
        head = s.head
        if head is None or s.branch or s.probe is not None or self._has("hash") or self._has_branch_receipts():
            return
        if s.fill_end >= 0:
            self._fill()
        elif not s.chain:
            self._start(head)
        elif head.height > s.chain[-1].height + _NEAR:
            self._begin(s.chain[-1].height + 1)
        elif all(block.hash != head.hash for block in s.chain):
            self._ask(Request("hash", head.height, head.hash))

    def _has_branch_receipts(self) -> bool:
        requests = (*self._s.pending.values(), *self._s.again)
        return any(r.kind == "receipts" and not r.by_number for r in requests)

    def _start(self, head: _Head) -> None:
        """Find the block to begin with."""
        s = self._s
        if s.base >= 0:
            self._begin(min(s.base, head.height))
            return
        if s.since_us == 0:
            s.since_us = head.time_us - self.config.history_us
        if s.since_us < 0 or s.since_us > head.time_us or head.height < 2:
            s.since_us = -1
            self._begin(head.height)
            return
        s.probe = Probe(s.since_us, 1, head.height)  # not the genesis block: its time may be 0
        self._ask(Request("probe", s.probe.height()))

    def _begin(self, height: int) -> None:
        """Fetch by number from ``height`` up to the head."""
        s = self._s
        if not s.chain:
            s.base = height
        s.fill_next, s.fill_end = height, max(height, s.head.height if s.head is not None else height)
        self._fill()

    def _fill(self) -> None:
        s = self._s
        done = s.chain[-1].height if s.chain else s.base - 1
        if done >= s.fill_end:
            s.fill_end, s.ready = -1, {}
            self._go_on()
            return
        s.fill_next = max(s.fill_next, done + 1)
        while s.fill_next <= min(s.fill_end, done + self.config.outstanding):
            self._ask(Request("number", s.fill_next))
            s.fill_next += 1

    def _skip_to_head(self, why: str) -> None:
        """Leave out blocks that the node does not give: a gap; what is connected stays."""
        s = self._s
        head = s.head
        first = s.chain[-1].height + 1 if s.chain else max(s.base, 0)
        if head is not None:
            since = s.chain[-1].time_us if s.chain else max(s.since_us, 0)
            self._note_gap((first, head.height - 1), (since, head.time_us), f"unavailable: {why}")
        s.pending = {at: r for at, r in s.pending.items() if r.kind in ("subscribe", "latest")}
        s.again = [r for r in s.again if r.kind in ("subscribe", "latest")]
        s.chain, s.branch, s.ready, s.probe, s.since_us, s.base, s.fill_end = [], [], {}, None, -1, -1, -1
        self._go_on()

    def _note_gap(self, seq: tuple[int, int], span_us: tuple[int, int], reason: str) -> None:
        missing = max(seq[1] - seq[0] + 1, 0)
        stats = self._s.stats
        stats.gaps += 1
        stats.gap_events_missing += missing
        self._incidents.gap(self.config.chain, seq, span_us, reason, missing, 0)

    # the canonical chain

    def _connect_ready(self) -> None:
        s = self._s
        while not s.branch:
            height = s.chain[-1].height + 1 if s.chain else s.base
            block = s.ready.pop(height, None)
            if block is None:
                return
            if not s.chain or block.parent == s.chain[-1].hash:
                self._connect(block)
            else:
                self._on_branch(block)

    def _on_branch(self, block: Block) -> None:
        """Add a block whose parent may be unknown; connect the branch once it reaches the chain."""
        s = self._s
        if s.branch and (block.hash != s.branch[-1].parent or block.height != s.branch[-1].height - 1):
            return  # of a walk that was given up
        s.branch.append(block)
        known = next((at for at, own in enumerate(s.chain) if own.hash == block.parent), None)
        if known is not None:
            branch, s.branch = s.branch, []
            self._disconnect(len(s.chain) - known - 1)
            for new in reversed(branch):
                self._connect(new)
        elif not s.chain or block.height <= s.chain[0].height:
            self._resync(block)
        else:
            self._ask(Request("hash", block.height - 1, block.parent))

    def _resync(self, block: Block) -> None:
        """Take back all that is still known and fetch its span again: the reorganisation is deeper than that."""
        s = self._s
        if s.chain:
            since, first, last = s.chain[0].time_us, s.chain[0].height, s.chain[-1].height
            self._disconnect(len(s.chain))
            self._note_gap((min(first, block.height), last), (since, max(since, block.time_us)), "deep_reorg")
            s.since_us = since
        s.branch, s.ready, s.base, s.fill_end, s.stats.final_height = [], {}, -1, -1, -1
        s.pending = {at: r for at, r in s.pending.items() if r.kind in ("subscribe", "latest")}
        s.again = [r for r in s.again if r.kind in ("subscribe", "latest")]

    def _connect(self, block: Block) -> None:
        s, stats = self._s, self._s.stats
        for column, reason, detail in block.rejected:
            self._reject(column, reason, detail)
        block.rejected = []
        stats.head_height = block.height
        stats.final_height = max(stats.final_height, block.height - self.config.confirmations_final, -1)
        stats.events += len(block.transfers)
        stats.last_event_us, stats.lag_us = block.time_us, self._now - block.time_us
        self._moves.append((block, 1, stats.final_height))
        self._before.append(s.watermark_us)
        s.watermark_us = max(s.watermark_us, block.time_us)
        s.chain.append(block)
        del s.chain[: -self.config.max_reorg]

    def _disconnect(self, count: int) -> None:
        """Take back the newest ``count`` blocks."""
        if not count:
            return
        s, stats = self._s, self._s.stats
        stats.reorgs += 1
        stats.reorg_depths.append(count)
        for block in reversed(s.chain[-count:]):
            self._moves.append((block, -1, stats.final_height))
            self._before.append(s.watermark_us)
        del s.chain[-count:]
        if s.chain:
            stats.head_height = s.chain[-1].height
