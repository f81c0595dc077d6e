"""Shares, entropy, divergence and transitions."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from models.composition import entropy, jensen_shannon, shares, transitions

LABELS = st.lists(st.integers(-1, 3), max_size=50).map(lambda x: np.array(x, np.int8))
COUNTS = st.lists(st.integers(0, 10**6), min_size=4, max_size=4).map(lambda x: np.array(x, np.float64))
LABELLED = st.dictionaries(st.integers(0, 2**64 - 1), st.integers(-1, 3), max_size=30)
CLOSE = st.dictionaries(st.integers(0, 12), st.integers(-1, 3), max_size=12)


@given(LABELS)
def test_shares_sum_to_one_or_are_all_zero(labels: np.ndarray) -> None:
    counts, share = shares(labels)
    assert counts.tolist() == [int((labels == k).sum()) for k in range(4)]
    assert share.size == 4
    assert share.sum() == pytest.approx(1.0 if counts.any() else 0.0, abs=1e-12)


@given(COUNTS, COUNTS)
def test_divergence_equals_scipy_is_symmetric_and_bounded(p: np.ndarray, q: np.ndarray) -> None:
    got = jensen_shannon(p, q)
    if not p.any() or not q.any():
        assert math.isnan(got)
        return
    assert got == jensen_shannon(q, p)
    assert 0.0 <= got <= 1.0
    assert got == pytest.approx(float(jensenshannon(p, q, base=2)) ** 2, abs=1e-9)
    assert jensen_shannon(p, p * 2.0) == pytest.approx(0.0, abs=1e-12)


def test_the_ends_of_the_scales_in_bits() -> None:
    assert entropy(np.array([1.0, 1.0, 1.0, 1.0])) == 2.0
    assert entropy(np.array([0.0, 3.0, 0.0, 0.0])) == 0.0
    assert entropy(np.zeros(4)) == 0.0
    assert jensen_shannon(np.array([1.0, 0, 0, 0]), np.array([0, 1.0, 0, 0])) == 1.0


def columns(labelled: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    keys = sorted(labelled)
    return np.array(keys, np.uint64), np.array([labelled[k] for k in keys], np.int8)


@given(st.one_of(st.tuples(LABELLED, LABELLED), st.tuples(CLOSE, CLOSE)))
def test_transitions_equal_the_dictionary(pair: tuple[dict[int, int], dict[int, int]]) -> None:
    before, after = pair
    moves = Counter((before.get(k, -1) % 5, after.get(k, -1) % 5) for k in before.keys() | after.keys())
    got = transitions(*columns(before), *columns(after))
    assert got.dtype == np.int64
    assert got.tolist() == [[moves[a, b] if (a, b) != (4, 4) else 0 for b in range(5)] for a in range(5)]


def test_faulty_input_is_refused() -> None:
    keys, labels = np.array([1, 2], np.uint64), np.array([0, 1], np.int8)
    with pytest.raises(ValueError, match="ascend"):
        transitions(keys[::-1], labels, keys, labels)
    with pytest.raises(ValueError, match="2 keys with 1 labels"):
        transitions(keys, labels[:1], keys, labels)
    for call in (lambda: shares(np.array([4], np.int8)), lambda: transitions(keys, labels + np.int8(3), keys, labels)):
        with pytest.raises(ValueError, match="label 4"):
            call()
    with pytest.raises(ValueError, match="types"):
        jensen_shannon(np.ones(3), np.ones(4))
    for bad in (np.array([0.5, -0.1]), np.array([np.nan, 1.0])):
        with pytest.raises(ValueError, match="shares"):
            entropy(bad)
