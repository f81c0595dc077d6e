"""Keys of addresses: XXH64 over Arrow buffers, nulls, slices, shards."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.addresses import SHARDS, hash_column, hash_strings, shard_of, string_buffers

MASK = (1 << 64) - 1
P1, P2, P3 = 11400714785074694791, 14029467366897019727, 1609587929392839161
P4, P5 = 9650029242287828579, 2870177450012600261


def rotate(x: int, r: int) -> int:
    return ((x << r) | (x >> (64 - r))) & MASK


def mix(lane: int, word: int) -> int:
    return rotate((lane + word * P2) & MASK, 31) * P1 & MASK


def xxh64(text: bytes) -> int:
    """The specification, word for word, in Python integers."""
    at = 0
    if len(text) >= 32:
        lanes = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        while at + 32 <= len(text):
            for k in range(4):
                lanes[k] = mix(lanes[k], int.from_bytes(text[at + 8 * k : at + 8 * k + 8], "little"))
            at += 32
        h = sum(rotate(lane, r) for lane, r in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            h = ((h ^ mix(0, lane)) * P1 + P4) & MASK
    else:
        h = P5
    h = (h + len(text)) & MASK
    while at + 8 <= len(text):
        h = (rotate(h ^ mix(0, int.from_bytes(text[at : at + 8], "little")), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= len(text):
        h = (rotate(h ^ (int.from_bytes(text[at : at + 4], "little") * P1 & MASK), 23) * P2 + P3) & MASK
        at += 4
    for byte in text[at:]:
        h = rotate(h ^ (byte * P5 & MASK), 11) * P1 & MASK
    h = (h ^ (h >> 33)) * P2 & MASK
    h = (h ^ (h >> 29)) * P3 & MASK
    return h ^ (h >> 32)


def test_published_vectors_and_frozen_keys() -> None:
    """A change of any of these numbers makes every stored state unreadable."""
    texts = ["", "a", "abc", "Nobody inspects the spammish repetition", "0x" + "ab" * 20]
    want = [0xEF46DB3751D8E999, 0xD24EC4F1A98C6E5B, 0x44BC2CF5AD770999, 0xFBCEA83C8A378BF1, 0xE38E69C9813B6F24]
    assert hash_column(pa.array(texts)).tolist() == want
    assert shard_of(np.array(want, np.uint64)).tolist() == [59, 52, 17, 62, 56]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.one_of(st.none(), st.text(max_size=90)), max_size=30), st.integers(0, 5), st.booleans())
def test_equals_the_specification_on_any_slice(texts: list[str | None], skip: int, large: bool) -> None:
    column = pa.array(texts, type=pa.large_utf8() if large else pa.utf8()).slice(min(skip, len(texts)))
    keys = hash_column(column)
    assert keys.dtype == np.uint64
    assert keys.tolist() == [0 if t is None else xxh64(t.encode()) for t in texts[skip:]]


def test_a_sliced_column_hashes_like_its_copy() -> None:
    column = pa.array([f"addr{i}" for i in range(100)])
    assert hash_column(column.slice(17, 50)).tolist() == hash_column(column).tolist()[17:67]


def test_an_all_null_and_an_empty_column() -> None:
    assert hash_column(pa.nulls(4, pa.utf8())).tolist() == [0, 0, 0, 0]
    assert hash_column(pa.array([], type=pa.utf8())).size == 0
    assert hash_strings(np.empty(0, np.uint8), np.zeros(1, np.int32)).size == 0


def test_shards_are_even_and_sorted_keys_are_sorted_by_shard() -> None:
    keys = np.sort(hash_column(pa.array([f"0x{i:040x}" for i in range(64_000)])))
    shards = shard_of(keys)
    assert shards.dtype == np.uint8
    assert np.all(np.diff(shards.astype(int)) >= 0)
    counts = np.bincount(shards, minlength=SHARDS)
    assert counts.size == SHARDS
    assert counts.min() > 850
    assert counts.max() < 1150
    assert np.unique(keys).size == keys.size


def test_faulty_input_is_refused() -> None:
    data = np.zeros(3, np.uint8)
    for offsets in ([0, 4], [2, 1], [-1, 2]):
        with pytest.raises(ValueError, match="ascend"):
            hash_strings(data, np.array(offsets, np.int64))
    with pytest.raises(ValueError, match="strings"):
        string_buffers(pa.array([1, 2]))
