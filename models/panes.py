"""Panes: per-entity sums of one time bucket, in 64 shards of columns, exact and safe against reorgs.

A transfer makes two half-edges, one per side. A shard adds those of its keys into the pane of their bucket; a
disconnected block comes again with sign -1 and is subtracted exactly. A behaviour window is a merge of panes.
Half-edges wait in a buffer and are sorted and merged in bulk; since sums are exact, neither the sizes of the
batches nor the moments of the merges show in any result.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from models import segments
from models.addresses import NO_ADDRESS, UInt64, shard_of
from models.amounts import Int64
from models.registry import Registry
from models.segments import EdgeList, Int8, Segment

MERGE_ROWS: Final = 8192
"""Half-edges that wait at least before they are merged; more in a large shard, so that merging stays in proportion."""

_MAGIC: Final = b"panes\x00"
_VERSION: Final = 1


@dataclass(slots=True)
class HalfEdges:
    """One side of each of n transfers; arrays of equal length, in order of arrival.

    Attributes
    ----------
    key, counterparty : uint64 [n]
        The entity and the other side; counterparty 0 where there is none.
    direction : int8 [n]
        +1 the entity received, -1 it sent.
    hi, lo : int64 [n], uint64 [n]
        The amount in base units (:mod:`models.amounts`).
    ts_us : int64 [n]
        Time of the block, microseconds since the epoch.
    sign : int8 [n]
        +1 the block is connected, -1 disconnected.
    address : string column [n] or None
        Text of the entity's address; needed only where the key may be new.
    """

    key: UInt64
    counterparty: UInt64
    direction: Int8
    hi: Int64
    lo: UInt64
    ts_us: Int64
    sign: Int8
    address: pa.Array | None = None

    def __len__(self) -> int:
        return self.key.size

    def take(self, rows: Int64) -> HalfEdges:
        """Return some rows."""
        address = None if self.address is None else self.address.take(pa.array(rows))
        return HalfEdges(
            self.key[rows],
            self.counterparty[rows],
            self.direction[rows],
            self.hi[rows],
            self.lo[rows],
            self.ts_us[rows],
            self.sign[rows],
            address,
        )

    def slice(self, start: int, end: int) -> HalfEdges:
        """Return rows start to end without a copy."""
        address = None if self.address is None else self.address.slice(start, end - start)
        return HalfEdges(
            self.key[start:end],
            self.counterparty[start:end],
            self.direction[start:end],
            self.hi[start:end],
            self.lo[start:end],
            self.ts_us[start:end],
            self.sign[start:end],
            address,
        )


def concatenate(parts: Sequence[HalfEdges]) -> HalfEdges:
    """Join half-edges in their order; parts without addresses get nulls if others have them."""
    if len(parts) == 1:
        return parts[0]
    texts = [part.address for part in parts]
    address = None
    if any(text is not None for text in texts):
        kind = next(text.type for text in texts if text is not None)
        filled = [pa.nulls(len(part), kind) if part.address is None else part.address.cast(kind) for part in parts]
        address = pa.concat_arrays(filled)
    return HalfEdges(
        np.concatenate([part.key for part in parts]),
        np.concatenate([part.counterparty for part in parts]),
        np.concatenate([part.direction for part in parts]),
        np.concatenate([part.hi for part in parts]),
        np.concatenate([part.lo for part in parts]),
        np.concatenate([part.ts_us for part in parts]),
        np.concatenate([part.sign for part in parts]),
        address,
    )


def split(
    from_keys: UInt64,
    to_keys: UInt64,
    hi: Int64,
    lo: UInt64,
    ts_us: Int64,
    sign: Int8,
    from_addresses: pa.Array | None = None,
    to_addresses: pa.Array | None = None,
) -> dict[int, HalfEdges]:
    """Cut transfers into half-edges by shard.

    Parameters
    ----------
    from_keys, to_keys : uint64 [n]
        Keys of the two sides (:func:`models.addresses.hash_column`); 0 where there is none, which makes no half.
    hi, lo, ts_us, sign : [n]
        As in :class:`HalfEdges`.
    from_addresses, to_addresses : string columns [n] or None
        Texts of the two sides; both or neither.

    Returns
    -------
    dict of shard to HalfEdges
        Ascending shards that have rows; within one, transfers in the order given, the sender before the receiver.
    """
    sizes = {from_keys.size, to_keys.size, hi.size, lo.size, ts_us.size, sign.size}
    if len(sizes) > 1:
        raise ValueError(f"columns of transfers differ in length: {sorted(sizes)}")
    if (from_addresses is None) != (to_addresses is None):
        raise ValueError("give the addresses of both sides or of neither")
    address = None if from_addresses is None else pa.concat_arrays([from_addresses, to_addresses])
    n = from_keys.size
    # two rows per transfer, its sender's and its receiver's: the order does not depend on where batches end
    key, counterparty = np.empty(2 * n, np.uint64), np.empty(2 * n, np.uint64)
    key[0::2], key[1::2] = from_keys, to_keys
    counterparty[0::2], counterparty[1::2] = to_keys, from_keys
    rows = np.argsort(shard_of(key), kind="stable")
    rows = rows[key[rows] != NO_ADDRESS]
    key, transfer, received = key[rows], rows >> 1, rows & 1
    halves = HalfEdges(
        key,
        counterparty[rows],
        (2 * received - 1).astype(np.int8),
        hi[transfer],
        lo[transfer],
        ts_us[transfer],
        sign[transfer],
        None if address is None else address.take(pa.array(transfer + n * received)),
    )
    shards, starts = np.unique(shard_of(key), return_index=True)
    ends = np.append(starts, key.size)[1:]
    return {int(s): halves.slice(int(a), int(b)) for s, a, b in zip(shards, starts, ends, strict=True)}


@dataclass(frozen=True, slots=True)
class ShardWindow:
    """The sums of a window over one shard; columns in ascending order of key.

    ``lifetime`` counts interactions from the first block seen up to the end of the window. Edges are those of the
    senders of this shard. The arrays may be shared with the shard: do not write to them.
    """

    keys: UInt64
    in_degree: Int64
    out_degree: Int64
    in_hi: Int64
    in_lo: UInt64
    out_hi: Int64
    out_lo: UInt64
    lifetime: Int64
    edges_from: UInt64
    edges_to: UInt64
    edges_count: Int64


@dataclass(frozen=True, slots=True)
class PaneConfig:
    """Length of a bucket and of the window, in microseconds; what lies behind the window may be evicted."""

    bucket_us: int
    window_us: int

    def __post_init__(self) -> None:
        if self.bucket_us <= 0 or self.window_us <= 0:
            raise ValueError("bucket_us and window_us must be positive")

    def build(self, state: bytes | None = None) -> PaneShard:
        """Return a shard, empty or as it was when ``state`` was taken."""
        shard = PaneShard(self)
        if state is not None:
            shard.restore(state)
        return shard


class PaneShard:
    """The panes, lifetime degrees and addresses of one shard.

    Attributes
    ----------
    passed_over : int
        Half-edges older than the panes that were already evicted: they count in the lifetime degree alone.
    """

    def __init__(self, config: PaneConfig) -> None:
        self.config = config
        self.registry = Registry()
        self.passed_over = 0
        self._panes: dict[int, tuple[Segment, EdgeList]] = {}
        self._horizon: int | None = None  # the first bucket that is still held
        self._waiting: list[HalfEdges] = []
        self._waiting_rows = 0

    def apply(self, halves: HalfEdges) -> None:
        """Add half-edges of this shard's keys (subtract those with sign -1)."""
        if len(halves) == 0:
            return
        self._waiting.append(halves)
        self._waiting_rows += len(halves)
        if self._waiting_rows >= max(MERGE_ROWS, self.registry.keys.size // 8):
            self._merge()

    def window(self, start_us: int, end_us: int) -> ShardWindow:
        """Return the sums over the buckets that begin in [start_us, end_us)."""
        self._merge()
        first, last = -(-start_us // self.config.bucket_us), -(-end_us // self.config.bucket_us)
        inside = [self._panes[b] for b in sorted(self._panes) if first <= b < last]
        sums = segments.merge([pane for pane, _ in inside])
        edges = segments.merge_edges([edge_list for _, edge_list in inside])
        return ShardWindow(
            *sums, self._lifetime(sums.keys, last), edges.from_keys, edges.to_keys, edges.counts.astype(np.int64)
        )

    def evict(self, before_us: int) -> None:
        """Drop the panes that end at or before a time."""
        self._merge()
        horizon = before_us // self.config.bucket_us
        self._horizon = horizon if self._horizon is None else max(self._horizon, horizon)
        self._panes = {b: pane for b, pane in self._panes.items() if b >= self._horizon}

    def addresses(self, keys: UInt64) -> pa.Array:
        """Return the address of each key; null where it is not known."""
        self._merge()
        return self.registry.addresses(keys)

    @property
    def entities(self) -> int:
        """Number of entities with at least one interaction since the first block seen."""
        self._merge()
        return int(np.count_nonzero(self.registry.degree))

    @property
    def collisions(self) -> int:
        """Half-edges whose address is not the first one seen under their key."""
        self._merge()
        return self.registry.collisions

    @property
    def nbytes(self) -> int:
        """Bytes of all columns, waiting half-edges included."""
        held = sum(c.nbytes for pane in self._panes.values() for part in pane for c in part)
        waiting = sum(
            h.key.nbytes * 5 + h.sign.nbytes * 2 + (0 if h.address is None else h.address.nbytes) for h in self._waiting
        )
        return int(held) + waiting + self.registry.nbytes

    def snapshot(self) -> bytes:
        """Return the state; equal content gives equal bytes, whatever the batches were."""
        self._merge()
        buckets = sorted(self._panes)
        start, heap = self.registry.canonical_heap()
        meta = {
            "bucket_us": self.config.bucket_us,
            "buckets": buckets,
            "collisions": self.registry.collisions,
            "horizon": self._horizon,
            "passed_over": self.passed_over,
        }
        columns: list[Any] = [self.registry.keys, self.registry.degree, start, heap]
        for bucket in buckets:
            columns.extend(column for part in self._panes[bucket] for column in part)
        return _pack(meta, columns)

    def restore(self, state: bytes) -> None:
        """Take over a snapshot; ValueError says what is wrong with it."""
        meta, columns = _unpack(state)
        if meta["bucket_us"] != self.config.bucket_us:
            raise ValueError(f"the snapshot has buckets of {meta['bucket_us']} us, not {self.config.bucket_us}")
        registry = self.registry
        registry.keys, registry.degree, registry.start, registry.heap = columns[:4]
        registry.used = registry.heap.size
        registry.collisions = meta["collisions"]
        self._horizon, self.passed_over = meta["horizon"], meta["passed_over"]
        width = len(Segment._fields) + len(EdgeList._fields)
        self._panes = {}
        for k, bucket in enumerate(meta["buckets"]):
            part = columns[4 + k * width : 4 + (k + 1) * width]
            self._panes[bucket] = (Segment(*part[: len(Segment._fields)]), EdgeList(*part[len(Segment._fields) :]))
        self._waiting, self._waiting_rows = [], 0

    def _merge(self) -> None:
        """Sort what waits and merge it into panes and registry."""
        if not self._waiting:
            return
        rows = concatenate(self._waiting)
        self._waiting, self._waiting_rows = [], 0
        order = np.argsort(rows.key)
        self.registry.absorb(order, rows.key, rows.sign, rows.address)
        bucket = rows.ts_us // self.config.bucket_us
        for b in np.unique(bucket).tolist():
            chosen = order[bucket[order] == b]
            if self._horizon is not None and b < self._horizon:
                self.passed_over += chosen.size
                continue
            new = segments.reduce_rows(chosen, rows.key, rows.direction, rows.sign, rows.hi, rows.lo)
            edges = segments.reduce_edges(chosen, rows.key, rows.counterparty, rows.direction, rows.sign)
            if b in self._panes:
                old, old_edges = self._panes[b]
                new, edges = segments.merge([old, new]), segments.merge_edges([old_edges, edges])
            if new.keys.size or edges.counts.size:
                self._panes[b] = (new, edges)
            else:
                self._panes.pop(b, None)

    def _lifetime(self, keys: UInt64, last: int) -> Int64:
        """Return the lifetime degree of each key up to the end of bucket ``last`` - 1.

        What the later panes hold is taken off again: rows that came in one batch with the block that closed the
        window must not show in it.
        """
        degree = self.registry.degrees(keys)
        later = segments.merge([pane for b, (pane, _) in sorted(self._panes.items()) if b >= last])
        if later.keys.size and keys.size:
            at = np.minimum(np.searchsorted(later.keys, keys), later.keys.size - 1)
            counts = later.in_count + later.out_count
            degree -= np.where(later.keys[at] == keys, counts[at], 0)
        return degree


def _pack(meta: dict[str, Any], columns: Sequence[Any]) -> bytes:
    """Return magic, version, header (JSON), little-endian columns and a CRC-32 of all of it."""
    header = json.dumps(
        {**meta, "columns": [[c.dtype.newbyteorder("<").str, c.size] for c in columns]}, sort_keys=True
    ).encode()
    parts = [_MAGIC, struct.pack("<HI", _VERSION, len(header)), header]
    parts.extend(c.astype(c.dtype.newbyteorder("<"), copy=False).tobytes() for c in columns)
    body = b"".join(parts)
    return body + struct.pack("<I", zlib.crc32(body))


def _unpack(state: bytes) -> tuple[dict[str, Any], list[Any]]:
    at = len(_MAGIC) + 6
    if len(state) < at + 4 or not state.startswith(_MAGIC):
        raise ValueError("not a snapshot of panes")
    version, size = struct.unpack_from("<HI", state, len(_MAGIC))
    if version != _VERSION:
        raise ValueError(f"a snapshot of version {version}; this is version {_VERSION}")
    if struct.unpack("<I", state[-4:])[0] != zlib.crc32(state[:-4]):
        raise ValueError("the snapshot of panes is damaged: its checksum does not fit")
    meta = json.loads(state[at : at + size])
    at += size
    columns = []
    for kind, length in meta.pop("columns"):
        dtype = np.dtype(kind)
        # a copy: aligned, and writable like every other column, so that numba compiles one variant only
        columns.append(np.frombuffer(state, dtype, length, at).astype(dtype.newbyteorder("=")))
        at += length * dtype.itemsize
    return meta, columns
