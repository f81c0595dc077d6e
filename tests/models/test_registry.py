"""The table of entities: lifetime degrees, address texts of any kind, collisions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.addresses import hash_column
from models.registry import Registry

TEXTS = st.one_of(
    st.text(max_size=60),
    st.integers(0, 2**160 - 1).map(lambda n: f"0x{n:040x}"),
    st.integers(0, 2**160 - 1).map(lambda n: f"0x{n:040X}"),
    st.sampled_from(["0x", "0x" + "g" * 40, "x" * 253, "x" * 254, "y" * 255, "z" * 3000, "\N{FISH}" * 64]),
)


def absorb(registry: Registry, key: list[int], sign: list[int], texts: list[str | None] | None) -> None:
    keys = np.array(key, np.uint64)
    address = None if texts is None else pa.array(texts, type=pa.utf8())
    registry.absorb(np.argsort(keys), keys, np.array(sign, np.int8), address)


@settings(deadline=None)
@given(st.lists(st.lists(TEXTS, max_size=12), max_size=4))
def test_any_text_comes_back(batches: list[list[str]]) -> None:
    registry = Registry()
    for texts in batches:
        absorb(registry, hash_column(pa.array(texts, type=pa.utf8())).tolist(), [1] * len(texts), texts)
    everything = [text for texts in batches for text in texts]
    keys = hash_column(pa.array(everything, type=pa.utf8()))
    assert registry.addresses(keys).to_pylist() == everything
    assert registry.degrees(keys).tolist() == [everything.count(text) for text in everything]
    assert registry.keys.tolist() == sorted(set(keys.tolist()))
    assert registry.collisions == 0
    start, heap = registry.canonical_heap()
    registry.start, registry.heap, registry.used = start, heap, heap.size
    assert registry.addresses(keys).to_pylist() == everything


def test_an_ethereum_address_takes_21_bytes() -> None:
    registry = Registry()
    absorb(registry, [1, 2], [1, 1], ["0x" + "ab" * 20, "0x" + "AB" * 20])
    assert registry.used == 21 + 43


def test_a_colliding_address_is_counted_and_the_first_one_stays() -> None:
    registry = Registry()
    absorb(registry, [7, 7, 8, 7], [1, 1, 1, 1], ["a", "b", "c", "a"])
    absorb(registry, [7, 7], [1, -1], ["b", None])
    assert registry.collisions == 2
    assert registry.addresses(np.array([7, 8, 9], np.uint64)).to_pylist() == ["a", "c", None]
    assert registry.degrees(np.array([7, 8, 9], np.uint64)).tolist() == [3, 1, 0]


def test_degrees_without_addresses_and_an_empty_registry() -> None:
    registry = Registry()
    keys = np.array([3, 1], np.uint64)
    assert registry.degrees(keys).tolist() == [0, 0]
    assert registry.addresses(keys).to_pylist() == [None, None]
    absorb(registry, [3, 1, 3], [1, 1, -1], None)
    assert registry.keys.tolist() == [1, 3]
    assert registry.degrees(keys).tolist() == [0, 1]
    assert registry.addresses(keys[:0]).to_pylist() == []


def test_the_limits_of_the_columns_are_errors() -> None:
    registry = Registry()
    absorb(registry, [1], [1], None)
    registry.degree[0] = np.iinfo(np.int32).max
    with pytest.raises(ValueError, match="interactions"):
        absorb(registry, [1], [1], None)
    registry = Registry()
    registry.used = 0xFFFFFFFF
    with pytest.raises(ValueError, match="4 GiB"):
        absorb(registry, [1], [1], ["a"])
