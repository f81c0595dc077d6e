from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.hartigan_wong import hartigan_wong
from models.r_random import RRandom


def total(X: np.ndarray, labels: np.ndarray) -> float:
    return sum(float(((X[labels == c] - X[labels == c].mean(axis=0)) ** 2).sum()) for c in np.unique(labels))


def improvable(X: np.ndarray, labels: np.ndarray, k: int) -> bool:
    """Whether moving some one point to another cluster lowers the total (brute force)."""
    now = total(X, labels)
    for i in range(len(X)):
        if (labels == labels[i]).sum() == 1:
            continue
        for c in range(k):
            moved = labels.copy()
            moved[i] = c
            if total(X, moved) < now * (1 - 1e-9) - 1e-12:
                return True
    return False


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(5, 30), st.integers(2, 4), st.integers(1, 4))
def test_no_single_move_improves_the_result(seed: int, n: int, k: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + 2.0 * rng.integers(0, 3, (n, 1))
    start = X[rng.choice(n, k, replace=False)]
    before = start.copy()
    labels, centres, iterations, converged = hartigan_wong(X, start, 100)
    np.testing.assert_array_equal(start, before)
    assert converged
    assert iterations >= 1
    assert sorted(set(labels.tolist())) == list(range(k))
    for c in range(k):
        np.testing.assert_allclose(centres[c], X[labels == c].mean(axis=0))
    assert not improvable(X, labels, k)
    # and so it is a fixed point of Lloyd's algorithm too
    distance = ((X[:, None] - centres) ** 2).sum(axis=2)
    np.testing.assert_allclose(distance[np.arange(n), labels], distance.min(axis=1), rtol=1e-9)


def test_starting_at_the_result_changes_nothing() -> None:
    X = np.random.default_rng(1).standard_normal((200, 2))
    labels, centres, _, _ = hartigan_wong(X, X[:5], 100)
    again, same, _, converged = hartigan_wong(X, centres, 100)
    np.testing.assert_array_equal(labels, again)
    np.testing.assert_allclose(centres, same)
    assert converged


def test_too_few_iterations_are_said() -> None:
    X = np.random.default_rng(2).standard_normal((500, 2))
    assert not hartigan_wong(X, X[:8], 1)[3]
    assert hartigan_wong(X, X[:8], 100)[3]


@pytest.mark.parametrize(
    ("points", "centres"),
    [
        (np.zeros((5, 2)), np.zeros((1, 2))),
        (np.zeros((2, 2)), np.zeros((2, 2))),
        (np.zeros((5, 2)), np.zeros((2, 3))),
        (np.arange(10.0).reshape(5, 2), np.array([[0.0, 1.0], [1e9, 1e9]])),
    ],
)
def test_what_cannot_be_clustered_is_refused(points: np.ndarray, centres: np.ndarray) -> None:
    with pytest.raises(ValueError, match="centre"):
        hartigan_wong(points, centres)


def test_random_numbers_are_those_of_r() -> None:
    # R 4.2: set.seed(1); runif(3) and set.seed(42); sample.int(100, 5)
    rng = RRandom(1)
    np.testing.assert_allclose([rng.uniform() for _ in range(3)], [0.2655087, 0.3721239, 0.5728534], atol=5e-8)
    assert (RRandom(42).sample(100, 5) + 1).tolist() == [49, 65, 25, 74, 18]


@given(st.integers(0, 2**31 - 1), st.integers(1, 200))
def test_samples_are_distinct_and_in_range(seed: int, n: int) -> None:
    drawn = RRandom(seed).sample(n, n)
    assert sorted(drawn.tolist()) == list(range(n))
    with pytest.raises(ValueError, match="without replacement"):
        RRandom(seed).sample(n, n + 1)
