"""Panes against a plain dictionary; reorgs, batch sizes, windows, eviction, snapshots."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import panes
from models.addresses import hash_column, shard_of
from models.amounts import from_ints, to_ints, total
from models.panes import HalfEdges, PaneConfig, PaneShard, ShardWindow, concatenate, split
from tests.models.chain_data import (
    BUCKET_US,
    CONFIG,
    TRANSFERS,
    Transfer,
    Truth,
    apply,
    brute_force,
    halves_of,
)

BOUNDS = st.tuples(st.integers(0, 10), st.integers(0, 10)).map(lambda b: (min(b) * BUCKET_US, max(b) * BUCKET_US))


def key_of(name: str) -> int:
    return int(hash_column(pa.array([name]))[0])


def contents(window: ShardWindow) -> dict[int, Truth]:
    columns = (
        window.keys.tolist(),
        window.in_degree.tolist(),
        window.out_degree.tolist(),
        to_ints(window.in_hi, window.in_lo),
        to_ints(window.out_hi, window.out_lo),
    )
    return {k: Truth(a, b, c, d) for k, a, b, c, d in zip(*columns, strict=True)}


def check(shards: dict[int, PaneShard], transfers: list[Transfer], start: int, end: int) -> None:
    sums, edges, lifetime = brute_force(transfers, start, end)
    got: dict[int, Truth] = {}
    got_edges: dict[tuple[int, int], int] = {}
    for shard, panes_of in shards.items():
        window = panes_of.window(start, end)
        assert np.all(window.keys[1:] > window.keys[:-1])
        assert np.all(shard_of(window.keys) == shard)
        texts = panes_of.addresses(window.keys).to_pylist()
        assert [key_of(text) for text in texts] == window.keys.tolist()
        assert window.lifetime.tolist() == [lifetime.get(text, 0) for text in texts]
        pairs = list(zip(window.edges_from.tolist(), window.edges_to.tolist(), strict=True))
        assert pairs == sorted(set(pairs))
        got |= contents(window)
        got_edges |= dict(zip(pairs, window.edges_count.tolist(), strict=True))
    assert got == {key_of(name): truth for name, truth in sums.items()}
    assert got_edges == {(key_of(a), key_of(b)): n for (a, b), n in edges.items()}


@settings(deadline=None)
@given(TRANSFERS, BOUNDS, st.integers(0, 7))
def test_a_window_equals_the_dictionary(transfers: list[Transfer], bounds: tuple[int, int], batch: int) -> None:
    check(apply({}, transfers, batch), transfers, *bounds)


@settings(deadline=None)
@given(TRANSFERS, TRANSFERS, st.integers(0, 40), st.integers(1, 9), BOUNDS)
def test_a_reorg_of_any_depth_leaves_no_trace(
    first: list[Transfer], other: list[Transfer], depth: int, batch: int, bounds: tuple[int, int]
) -> None:
    """Connect, disconnect the last ``depth`` in reverse order, connect others: as if only the rest had been."""
    kept, gone = first[: max(len(first) - depth, 0)], first[max(len(first) - depth, 0) :]
    shards = apply({}, first, batch)
    apply(shards, [t.undone() for t in reversed(gone)], batch)
    apply(shards, other)
    direct = apply({}, kept + other)
    check(shards, kept + other, *bounds)
    for shard, one in shards.items():
        if shard in direct:
            same_columns(one.window(*bounds), direct[shard].window(*bounds))
            assert one.entities == direct[shard].entities
        else:
            assert one.entities == 0
            assert one.window(0, 1000).keys.size == 0


@settings(deadline=None)
@given(TRANSFERS, TRANSFERS, st.integers(0, 40))
def test_apply_undo_apply_equals_apply(before: list[Transfer], block: list[Transfer], batch: int) -> None:
    """With the addresses known, the very bytes of the state are those of the direct way."""
    direct = apply({}, before + block)
    detour = apply({}, before + block, batch)
    apply(detour, [t.undone() for t in reversed(block)], batch)
    apply(detour, block, batch)
    assert {s: p.snapshot() for s, p in detour.items()} == {s: p.snapshot() for s, p in direct.items()}


@settings(deadline=None)
@given(TRANSFERS, st.integers(1, 9), st.integers(1, 6), st.integers(0, 10))
def test_the_sizes_of_batches_and_merges_do_not_show(
    transfers: list[Transfer], batch: int, merge_rows: int, evict: int
) -> None:
    def state(size: int, rows: int) -> dict[int, bytes]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(panes, "MERGE_ROWS", rows)
            shards = apply({}, transfers, size)
            for shard in shards.values():
                shard.evict(evict * BUCKET_US)
            apply(shards, transfers[::2], size)
            return {s: p.snapshot() for s, p in shards.items()}

    assert state(batch, merge_rows) == state(0, 10_000)


def same_columns(a: ShardWindow, b: ShardWindow) -> None:
    for name in ShardWindow.__dataclass_fields__:
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


@settings(deadline=None)
@given(TRANSFERS, TRANSFERS, BOUNDS)
def test_a_restored_shard_goes_on_as_if_nothing_had_been(
    first: list[Transfer], second: list[Transfer], bounds: tuple[int, int]
) -> None:
    shards = apply({}, first)
    again = {s: CONFIG.build(p.snapshot()) for s, p in shards.items()}
    for group in (shards, again):
        apply(group, second)
    for s, shard in shards.items():
        assert again[s].snapshot() == shard.snapshot()
        same_columns(again[s].window(*bounds), shard.window(*bounds))


def test_rows_after_the_window_do_not_show_in_its_lifetime_degree() -> None:
    """A batch may hold the block that closes the window and later ones."""
    a, b = "0x" + "1" * 40, "0x" + "2" * 40
    early = [Transfer(a, b, 5, 50), Transfer(b, a, 5, 150)]
    late = [Transfer(a, b, 1, 250), Transfer(a, b, 1, 260)]
    both, one = apply({}, early + late), apply({}, early)
    for s, shard in both.items():
        same_columns(shard.window(0, 200), one[s].window(0, 200))
        assert shard.window(0, 300).lifetime.tolist() == [4]
        shard.evict(200)
        assert shard.window(200, 300).lifetime.tolist() == [4]


def test_evicted_panes_take_no_more_rows_but_the_lifetime_counts_them() -> None:
    a = "0x" + "1" * 40
    rows = [Transfer(a, None, 5, 50), Transfer(a, None, 7, 150)]
    (shard,) = apply({}, rows).values()
    shard.evict(199)
    assert shard.window(0, 1000).out_degree.tolist() == [2 - 1]
    shard.evict(100)  # the horizon never goes back
    shard.apply(next(iter(halves_of(rows[:1]).values())))
    window = shard.window(0, 1000)
    assert window.out_degree.tolist() == [1]
    assert window.lifetime.tolist() == [3]
    assert shard.passed_over == 1


def test_buckets_before_the_epoch_and_windows_that_are_not_aligned() -> None:
    rows = [Transfer("a", None, 1, -1), Transfer("a", None, 1, 0), Transfer("a", None, 1, 199)]
    (shard,) = apply({}, rows).values()
    assert shard.window(-100, 0).out_degree.tolist() == [1]
    assert shard.window(0, 150).out_degree.tolist() == [2]  # the bucket that begins at 100 is in
    assert shard.window(1, 100).out_degree.tolist() == []


def test_a_transfer_to_oneself_makes_both_halves() -> None:
    (shard,) = apply({}, [Transfer("a", "a", 9, 0)]).values()
    window = shard.window(0, 100)
    assert contents(window) == {key_of("a"): Truth(1, 1, 9, 9)}
    assert window.lifetime.tolist() == [2]
    assert window.edges_from.tolist() == window.edges_to.tolist() == [key_of("a")]


def test_split_keeps_the_order_of_arrival_and_needs_no_address() -> None:
    key = np.array([5, 0, 5], np.uint64)
    to = np.array([6, 5, 0], np.uint64)
    hi, lo = from_ints([1, 2, 3])
    halves = split(key, to, hi, lo, np.arange(3), np.ones(3, np.int8))
    assert list(halves) == [0]
    assert halves[0].key.tolist() == [5, 6, 5, 5]
    assert halves[0].counterparty.tolist() == [6, 5, 0, 0]
    assert halves[0].direction.tolist() == [-1, 1, 1, -1]
    assert halves[0].lo.tolist() == [1, 1, 2, 3]
    shard = CONFIG.build()
    shard.apply(halves[0])
    window = shard.window(0, 100)
    assert shard.addresses(window.keys).to_pylist() == [None, None]
    assert contents(window) == {5: Truth(1, 2, 2, 4), 6: Truth(1, 0, 1, 0)}
    with pytest.raises(ValueError, match="length"):
        split(key, to[:2], hi, lo, np.arange(3), np.ones(3, np.int8))
    with pytest.raises(ValueError, match="both sides"):
        split(key, to, hi, lo, np.arange(3), np.ones(3, np.int8), pa.array(["a", "b", "c"]))


def test_the_address_may_come_later_and_from_other_string_types() -> None:
    (named,) = halves_of([Transfer("a", None, 1, 0)]).values()
    bare = HalfEdges(*(getattr(named, n) for n in HalfEdges.__dataclass_fields__ if n != "address"))
    large = HalfEdges(**{n: getattr(named, n) for n in HalfEdges.__dataclass_fields__})
    large.address = named.address.cast(pa.large_utf8())
    assert concatenate([bare, named]).address.to_pylist() == [None, "a"]
    shard = CONFIG.build()
    shard.apply(bare)
    assert shard.addresses(named.key).to_pylist() == [None]
    shard.apply(large)
    assert shard.addresses(named.key).to_pylist() == ["a"]
    assert shard.collisions == 0


def test_half_edges_travel_between_processes() -> None:
    (halves,) = halves_of([Transfer("a", None, 1, 0)]).values()
    again = pickle.loads(pickle.dumps(halves))  # noqa: S301 - our own bytes
    assert again.address.to_pylist() == ["a"]
    assert again.key.tolist() == halves.key.tolist()


def test_faulty_snapshots_are_refused() -> None:
    (shard,) = apply({}, [Transfer("a", None, 1, 0)]).values()
    good = shard.snapshot()
    for bad in (b"", b"panes\x00", b"nonsense" * 9, good[:-7]):
        with pytest.raises(ValueError, match="snapshot"):
            CONFIG.build(bad)
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        CONFIG.build(bytes(flipped))
    other = bytearray(good)
    other[6] = 99
    with pytest.raises(ValueError, match="version 99"):
        CONFIG.build(bytes(other))
    with pytest.raises(ValueError, match="buckets of 100 us, not 7"):
        PaneConfig(7, 70).build(good)
    with pytest.raises(ValueError, match="positive"):
        PaneConfig(0, 10)


def test_many_entities_and_hubs_take_few_bytes(rng: np.random.Generator) -> None:
    """Runs longer than the insertion sort takes, several merges, and the target of 64 bytes an entity and pane."""
    n, people = 60_000, 9_000
    names = pa.array([f"0x{i * 7919:040x}" for i in range(people)])
    source = (people * rng.random(n) ** 3).astype(np.int64)
    target = (people * rng.random(n) ** 2).astype(np.int64)
    value = rng.integers(0, 2**63, n)
    f, t = names.take(pa.array(source)), names.take(pa.array(target))
    lo, ts = value.astype(np.uint64), np.zeros(n, np.int64)
    halves = split(hash_column(f), hash_column(t), np.zeros(n, np.int64), lo, ts, np.ones(n, np.int8), f, t)
    shard = CONFIG.build()  # a shard does not mind keys of others
    for part in halves.values():
        shard.apply(part)
    window = shard.window(0, 100)
    keys = hash_column(names)
    order = np.argsort(keys)
    seen = order[(np.bincount(source, minlength=people) + np.bincount(target, minlength=people))[order] > 0]
    assert window.keys.tolist() == keys[seen].tolist()
    assert window.out_degree.tolist() == np.bincount(source, minlength=people)[seen].tolist()
    assert window.in_degree.tolist() == np.bincount(target, minlength=people)[seen].tolist()
    assert total(window.in_hi, window.in_lo) == total(window.out_hi, window.out_lo) == sum(value.tolist())
    edges, counts = np.unique(np.stack([keys[source], keys[target]], axis=1), axis=0, return_counts=True)
    assert window.edges_from.tolist() == edges[:, 0].tolist()
    assert window.edges_to.tolist() == edges[:, 1].tolist()
    assert window.edges_count.tolist() == counts.tolist()
    assert shard.addresses(window.keys).to_pylist() == names.take(pa.array(seen)).to_pylist()
    columns = shard._panes[0][0]
    assert sum(c.nbytes for c in columns) <= 64 * shard.entities
    assert shard.registry.nbytes <= 48 * shard.entities
    assert shard.nbytes == shard.registry.nbytes + sum(c.nbytes for part in shard._panes[0] for c in part)


@pytest.mark.data
def test_value_is_conserved_on_the_real_chain_of_2015(shared_data: Path) -> None:
    table = pq.read_table(shared_data / "eth_txs_mainnet_2015_481k.parquet").combine_chunks()
    source, target = table["from_address"].chunk(0), table["to_address"].chunk(0)
    values = [int(v) for v in table["value_wei"].to_pylist()]
    hi, lo = from_ints(values)
    day = 86_400_000_000
    ts = np.array(table["block_timestamp"].to_pylist(), np.int64) * 1_000_000
    halves = split(hash_column(source), hash_column(target), hi, lo, ts, np.ones(len(values), np.int8), source, target)
    shards = {s: PaneConfig(day, 30 * day).build() for s in range(64)}
    for s, part in halves.items():
        shards[s].apply(part)
    windows = [shard.window(0, int(ts.max()) + 1) for shard in shards.values()]
    balances = sum(total(w.in_hi, w.in_lo) - total(w.out_hi, w.out_lo) for w in windows)
    created = sum(v for v, receiver in zip(values, target.to_pylist(), strict=True) if receiver is None)
    assert balances == -created
    assert sum(total(w.out_hi, w.out_lo) for w in windows) == sum(values)
    assert sum(int(w.out_degree.sum()) for w in windows) == 28_426
    assert sum(int(w.in_degree.sum()) for w in windows) == 28_426 - target.null_count
    assert sum(w.keys.size for w in windows) == sum(s.entities for s in shards.values()) == 3_201
    assert sum(s.collisions for s in shards.values()) == 0
    texts = [t for s, w in zip(shards.values(), windows, strict=True) for t in s.addresses(w.keys).to_pylist()]
    assert sorted(texts) == sorted(set(source.to_pylist()) | set(target.drop_null().to_pylist()))
