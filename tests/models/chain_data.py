"""Small random transfers, their half-edges, and what a plain dictionary makes of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from models.addresses import hash_column
from models.amounts import from_ints
from models.panes import HalfEdges, PaneConfig, PaneShard, split

BUCKET_US = 100
CONFIG = PaneConfig(bucket_us=BUCKET_US, window_us=1000)


@dataclass(frozen=True)
class Transfer:
    """One transfer; sender or receiver may be missing."""

    source: str | None
    target: str | None
    amount: int
    ts_us: int
    sign: int = 1

    def undone(self) -> Transfer:
        return Transfer(self.source, self.target, self.amount, self.ts_us, -1)


NAMES = st.one_of(
    st.none(), st.sampled_from([f"0x{i:040x}" for i in range(12)] + ["bc1qabc", "1Boat", "0xAB" * 10 + "zz"])
)
TRANSFERS = st.lists(
    st.builds(Transfer, NAMES, NAMES, st.one_of(st.just(0), st.integers(0, 10**27)), st.integers(0, 999)), max_size=40
)


def halves_of(transfers: list[Transfer]) -> dict[int, HalfEdges]:
    """Hash and split."""
    source = pa.array([t.source for t in transfers], type=pa.utf8())
    target = pa.array([t.target for t in transfers], type=pa.utf8())
    hi, lo = from_ints(t.amount for t in transfers)
    ts = np.array([t.ts_us for t in transfers], dtype=np.int64)
    sign = np.array([t.sign for t in transfers], dtype=np.int8)
    return split(hash_column(source), hash_column(target), hi, lo, ts, sign, source, target)


def apply(shards: dict[int, PaneShard], transfers: list[Transfer], batch: int = 0) -> dict[int, PaneShard]:
    """Apply transfers in batches (0: all at once); shards appear as they are needed."""
    for start in range(0, len(transfers), batch or max(len(transfers), 1)):
        part = transfers[start : start + (batch or len(transfers))]
        for shard, halves in halves_of(part).items():
            shards.setdefault(shard, CONFIG.build()).apply(halves)
    return shards


@dataclass
class Truth:
    """Sums of an address: counts, values, and each target's count."""

    in_count: int = 0
    out_count: int = 0
    into: int = 0
    out: int = 0


def brute_force(
    transfers: list[Transfer], start: int, end: int
) -> tuple[dict[str, Truth], dict[tuple[str, str], int], dict[str, int]]:
    """Return sums and edges within [start, end), and lifetime degrees before ``end``, by plain dictionaries."""
    sums: dict[str, Truth] = defaultdict(Truth)
    edges: dict[tuple[str, str], int] = defaultdict(int)
    lifetime: dict[str, int] = defaultdict(int)
    for t in transfers:
        for name in (t.source, t.target):
            if name is not None and t.ts_us < end:
                lifetime[name] += t.sign
        if not start <= t.ts_us < end:
            continue
        if t.source is not None:
            sums[t.source].out_count += t.sign
            sums[t.source].out += t.sign * t.amount
        if t.target is not None:
            sums[t.target].in_count += t.sign
            sums[t.target].into += t.sign * t.amount
        if t.source is not None and t.target is not None:
            edges[t.source, t.target] += t.sign
    return (
        {k: v for k, v in sums.items() if v != Truth()},
        {k: v for k, v in edges.items() if v},
        {k: v for k, v in lifetime.items() if v},
    )
