from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.ensemble import dissimilarities, dissimilarity, medoid


def brute(a: list[int], b: list[int], k: int) -> float:
    """The least distance of the membership matrices over all renumberings of one of them."""
    A, B = np.eye(k)[a], np.eye(k)[b]
    return min(float(np.linalg.norm(A - B[:, list(order)])) for order in permutations(range(k)))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=25))
def test_it_is_the_distance_of_matched_memberships(pairs: list[tuple[int, int]]) -> None:
    a, b = (list(side) for side in zip(*pairs, strict=True))
    assert dissimilarity(a, b) == pytest.approx(brute(a, b, 4), abs=1e-12)
    assert dissimilarity(a, b) == dissimilarity(b, a)
    assert dissimilarity(a, [7 - label for label in a]) == 0.0


@given(st.integers(0, 10_000), st.integers(1, 8))
def test_the_medoid_is_nearest_to_all(seed: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    partitions = [rng.integers(0, 3, 20) for _ in range(m)]
    D = dissimilarities(partitions)
    np.testing.assert_array_equal(D, D.T)
    np.testing.assert_array_equal(np.diag(D), 0.0)
    sums = D.sum(axis=1)
    best = medoid(partitions)
    assert sums[best] == pytest.approx(sums.min())
    assert all(sums[i] > sums[best] - 1e-9 for i in range(best))
    triangle = D[:, :, None] + D[None, :, :]
    assert (D[:, None, :] <= triangle + 1e-9).all()


def test_the_first_of_equal_ones_is_the_medoid() -> None:
    assert medoid([[0, 0, 1], [0, 1, 1], [1, 1, 0]]) == 0
    assert medoid([[0, 1, 1], [0, 0, 1], [1, 1, 0]]) == 1
    assert medoid(np.zeros((4, 3), dtype=int)) == 0


def test_bad_ensembles_are_refused() -> None:
    with pytest.raises(ValueError, match="no partitions"):
        medoid([])
    with pytest.raises(ValueError, match="align"):
        dissimilarity([0, 1], [0, 1, 1])
