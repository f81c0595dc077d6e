from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from connectors.archives.sieve import Sieve, codes, occurrence, paired, quarantine, repeated

KEYS = st.lists(st.integers(0, 4), max_size=30)


def test_a_row_has_one_reason_the_first() -> None:
    sieve = Sieve(np.zeros(4, np.int64), np.arange(1, 5))
    sieve.reject(np.array([True, False, True, False]), "price", "not a price", pa.array([0.0, 1.0, -1.0, 2.0]))
    sieve.reject(np.array([True, True, False, False]), "time", "not a time")
    sieve.reject_malformed(0, [(9, "3 cells where 2 are", "a,b,c")])
    assert sieve.keep.tolist() == [False, False, False, True]
    rows = quarantine(["a.csv"], sieve.pieces).to_pylist()
    assert [(r["position"], r["column"], r["reason"], r["detail"]) for r in rows] == [
        (1, "price", "not a price", "0"),
        (2, "time", "not a time", ""),
        (3, "price", "not a price", "-1"),
        (9, "", "3 cells where 2 are", "a,b,c"),
    ]


def test_quarantine_stands_in_the_order_of_files_and_rows() -> None:
    sieve = Sieve(np.array([1, 0, 0]), np.array([1, 7, 2]))
    sieve.reject(np.ones(3, bool), pa.array(["p", "q", "r"], pa.large_string()), "bad", pa.array(["x" * 500] * 3))
    rows = quarantine(["z.csv", "a.csv"], sieve.pieces).to_pylist()
    assert [(r["source"], r["position"], r["column"]) for r in rows] == [
        ("z.csv", 2, "r"),
        ("z.csv", 7, "q"),
        ("a.csv", 1, "p"),
    ]
    assert {len(r["detail"]) for r in rows} == {120}
    assert quarantine([], []).num_rows == 0


@given(KEYS)
def test_repeats_point_to_the_first_row_of_their_key(keys: list[int]) -> None:
    again, first = repeated(np.array(keys, dtype=np.int64))
    found = dict(zip(again.tolist(), first.tolist(), strict=True))
    assert found == {i: keys.index(key) for i, key in enumerate(keys) if key in keys[:i]}


@given(KEYS)
def test_occurrence_counts_how_often_a_key_came_before(keys: list[int]) -> None:
    assert occurrence(np.array(keys, dtype=np.int64)).tolist() == [keys[:i].count(key) for i, key in enumerate(keys)]


@given(st.lists(st.tuples(st.integers(-(10**18), 10**18), st.integers(0, 3)), max_size=30))
def test_pairs_have_the_same_number_if_and_only_if_they_are_equal(pairs: list[tuple[int, int]]) -> None:
    left, right = (np.array([pair[i] for pair in pairs], dtype=np.int64) for i in (0, 1))
    numbers = paired(left, right).tolist()
    assert all((a == b) == (numbers[i] == numbers[j]) for i, a in enumerate(pairs) for j, b in enumerate(pairs))


def test_codes_tell_values_apart_and_null_is_one() -> None:
    found = codes(pa.array(["a", None, "b", "a", None])).tolist()
    assert found[0] == found[3] != found[2]
    assert found[1] == found[4] == -1
