"""Transfers of one chain to half-edges by shard, and the boundaries at which every shard closes its window.

A boundary is a multiple of ``refit_every_hours`` since the epoch; it fires when every input of the chain has passed
it, by a row or by its watermark (blocks without transfers). Rows from behind a boundary wait until it has fired, so
that nothing depends on how the inputs are interleaved or cut into batches. A row that comes after its boundary (an
older block, connected or disconnected late) enters its own pane and shows in the next window.
"""

from __future__ import annotations

import datetime as dt
import math
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.operators import StatefulBatchLogic
from typing_extensions import override

from connectors.schema import FOREVER_US, Batch, Int64, time_us
from flows.config import DAY_US, Behaviour
from flows.items import Boundary, ShardItem
from models import panes
from models.addresses import SHARDS, hash_column
from models.amounts import from_decimal128

_SCHEMA = 2
_TRADED = pa.array(["native", "creation"])
_PANES_PER_REFIT = 60


@dataclass(slots=True)
class _Queue:
    """What one partition has sent and no boundary has let through."""

    rows: list[tuple[pa.RecordBatch, Int64]] = field(default_factory=list)  # with how far each row says the input is
    reached_us: int = -1  # how far the last row said
    watermark_us: int = -1  # of the last batch

    def append(self, batch: Batch) -> None:
        """Add a batch: a row comes after all that was before it, whatever its own time."""
        if batch.rows.num_rows:
            promised = _block_us(batch.rows)
            if batch.row_watermarks_us is not None:
                promised = np.maximum(promised, batch.row_watermarks_us)
            reached = np.maximum.accumulate(np.maximum(promised, self.reached_us))
            self.rows.append((batch.rows, reached))
            self.reached_us = int(reached[-1])
        self.watermark_us = max(self.watermark_us, batch.watermark_us)


@dataclass(slots=True)
class _State:
    schema: int
    queues: dict[str, _Queue]
    next_us: int = -1
    first_us: int = -1
    last_us: int = -1
    fired_us: int = -1
    ended: bool = False


class LedgerLogic(StatefulBatchLogic[tuple[str, Batch], ShardItem, bytes]):
    """Cuts the transfers of one chain at boundaries; emits half edges and boundaries per shard."""

    def __init__(self, chain: str, config: Behaviour, partitions: Sequence[str], state: bytes | None) -> None:
        self._chain, self._config = chain, config
        fresh = _State(_SCHEMA, {name: _Queue() for name in sorted(partitions)})
        self._state: _State = pickle.loads(state) if state is not None else fresh  # noqa: S301 our own snapshot
        if self._state.schema != _SCHEMA:
            raise ValueError(f"ledger state of schema {self._state.schema} does not fit schema {_SCHEMA}")

    @override
    def on_batch(self, values: list[tuple[str, Batch]]) -> tuple[Iterable[ShardItem], bool]:
        out: list[ShardItem] = []
        for partition, batch in values:
            if batch.kind != "transfers":
                continue
            self._state.queues[partition].append(batch)
            out += self._advance()
        return out, self.RETAIN

    @override
    def snapshot(self) -> bytes:
        return pickle.dumps(self._state)

    def _advance(self) -> Iterator[ShardItem]:
        state = self._state
        if not self._begun():
            return
        while True:
            for queue in state.queues.values():
                yield from self._let_through(queue)
            if any(self._passed(queue) < state.next_us for queue in state.queues.values()):
                return
            if all(not queue.rows and queue.watermark_us >= FOREVER_US for queue in state.queues.values()):
                yield from self._end()
                return
            yield from self._fire(state.next_us)
            state.next_us += self._config.refit_us

    def _begun(self) -> bool:
        """Fix the first boundary once no input can begin any earlier."""
        state = self._state
        if state.next_us >= 0:
            return True
        starts = [int(_block_us(queue.rows[0][0])[0]) for queue in state.queues.values() if queue.rows]
        if not starts or any(queue.watermark_us < min(starts) for queue in state.queues.values() if not queue.rows):
            return False
        state.first_us = min(starts)
        state.next_us = (state.first_us // self._config.refit_us + 1) * self._config.refit_us
        return True

    def _let_through(self, queue: _Queue) -> Iterator[ShardItem]:
        """Pass on rows up to the first that reaches the next boundary."""
        state = self._state
        while queue.rows:
            rows, reached = queue.rows[0]
            cut = int(np.searchsorted(reached, state.next_us))
            if cut:
                state.last_us = max(state.last_us, int(_block_us(rows)[:cut].max()))
                yield from self._halves(rows.slice(0, cut))
            if cut < rows.num_rows:
                queue.rows[0] = rows.slice(cut), reached[cut:]
                return
            queue.rows.pop(0)

    def _passed(self, queue: _Queue) -> int:
        """Return up to when this input is complete: a waiting row has reached the boundary."""
        return self._state.next_us if queue.rows else queue.watermark_us

    def _end(self) -> Iterator[ShardItem]:
        """Close the window at the last block of an input that has ended, unless a boundary just did."""
        state = self._state
        if not state.ended and state.last_us > state.fired_us:
            yield from self._fire(state.last_us, end_us=state.last_us + 1)
        state.ended = True

    def _fire(self, as_of_us: int, end_us: int | None = None) -> Iterator[ShardItem]:
        state = self._state
        start_us, length_us = self._window(as_of_us)
        held_us = as_of_us - max(start_us, state.first_us)
        boundary = Boundary(
            chain=self._chain,
            as_of_us=as_of_us,
            start_us=start_us,
            end_us=as_of_us if end_us is None else end_us,
            fill=min(1.0, max(0.0, held_us / length_us)),
        )
        state.fired_us = as_of_us
        for shard in range(SHARDS):
            yield ShardItem(shard, boundary)

    def _window(self, as_of_us: int) -> tuple[int, int]:
        """Return start (on a bucket) and length of the window that ends at ``as_of_us``."""
        if self._config.window is None:
            length = self._config.window_us
            bucket = bucket_us(self._config)
            return (as_of_us - length) // bucket * bucket, length
        last = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=as_of_us - 1)
        start = last.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        following = (start + dt.timedelta(days=32)).replace(day=1)
        return round(start.timestamp() * 1e6), round((following - start).total_seconds() * 1e6)

    def _halves(self, rows: pa.RecordBatch) -> Iterator[ShardItem]:
        rows = rows.filter(pc.is_in(rows.column("kind").cast(pa.utf8()), value_set=_TRADED))
        if not rows.num_rows:
            return
        hi, lo = from_decimal128(rows.column("amount"))
        failed = pc.fill_null(pc.invert(rows.column("success")), False).to_numpy(zero_copy_only=False)
        hi, lo = np.where(failed, 0, hi), np.where(failed, np.uint64(0), lo)  # a failed transaction moves no value
        keep = np.ones(len(hi), dtype=bool) if self._config.count_zero_value else (hi != 0) | (lo != 0)
        sender, receiver = rows.column("from_addr"), rows.column("to_addr")
        if not keep.all():
            mask = pa.array(keep)
            rows, sender, receiver = rows.filter(mask), sender.filter(mask), receiver.filter(mask)
            hi, lo = hi[keep], lo[keep]
        sign = np.asarray(rows.column("op").to_numpy(zero_copy_only=False), dtype=np.int8)
        ts_us = _block_us(rows)
        found = panes.split(hash_column(sender), hash_column(receiver), hi, lo, ts_us, sign, sender, receiver)
        for shard, edges in found.items():
            yield ShardItem(shard, edges)


def bucket_us(config: Behaviour) -> int:
    """Return the length of a pane: it divides the distance of boundaries and, where that is not too fine, the window.

    Where no such length is coarse enough, a window begins at the pane before: it is longer by less than a pane.
    """
    refit = config.refit_us
    shared = math.gcd(refit, DAY_US if config.window is not None else config.window_us)
    if refit // shared <= _PANES_PER_REFIT:
        return shared
    return next(refit // parts for parts in range(_PANES_PER_REFIT, 0, -1) if refit % parts == 0)


def _block_us(rows: pa.RecordBatch) -> Int64:
    return time_us(rows.column("ts_block"))
