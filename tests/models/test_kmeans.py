from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from models.kmeans import canonical_order, centres_of, kmeans


def blobs(seed: int, n: int, k: int, d: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) * 0.3 + rng.standard_normal((k, d))[np.arange(n) % k] * 3.0


def least_inertia(X: np.ndarray, k: int) -> float:
    """The optimum over all partitions (brute force)."""
    best = np.inf
    for labels in product(range(k), repeat=len(X)):
        at = np.array(labels)
        if len(set(labels)) == k:
            best = min(best, sum(((X[at == c] - X[at == c].mean(axis=0)) ** 2).sum() for c in range(k)))
    return best


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(4, 7), st.sampled_from(["hartigan_wong", "lloyd"]))
def test_it_finds_the_optimum_of_small_problems(seed: int, n: int, method: str) -> None:
    X = np.random.default_rng(seed).standard_normal((n, 2))
    for k in (2, 3):
        found = kmeans(X, k, starts=30, method=method)  # type: ignore[arg-type]
        assert found.inertia == pytest.approx(least_inertia(X, k))


@pytest.mark.parametrize("method", ["hartigan_wong", "lloyd"])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_it_is_not_worse_than_scikit_learn_where_the_optimum_is_clear(k: int, method: str) -> None:
    for seed in range(3):
        X = blobs(seed, 150, 4, 3)
        found = kmeans(X, k, starts=20, method=method)  # type: ignore[arg-type]
        assert found.converged
        rival = KMeans(k, n_init=20, random_state=seed, tol=0.0).fit(X)
        assert found.inertia <= rival.inertia_ * (1 + 1e-9)
        np.testing.assert_allclose(found.centres, centres_of(X, found.labels))
        assert found.inertia == pytest.approx(((X - found.centres[found.labels]) ** 2).sum())


@settings(max_examples=40)
@given(
    st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 6), st.integers(1, 12),
    st.booleans(), st.sampled_from(["hartigan_wong", "lloyd"]),
)  # fmt: skip
def test_the_order_of_rows_changes_nothing(seed: int, n: int, k: int, d: int, coarse: bool, method: str) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    if coarse:  # many equal points and equal coordinates
        X = np.round(X)
    found = kmeans(X, k, starts=3, seed=seed, method=method)  # type: ignore[arg-type]
    order = rng.permutation(n)
    other = kmeans(X[order], k, starts=3, seed=seed, method=method)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.labels[order], other.labels)
    assert found.inertia == other.inertia
    distinct = len(np.unique(X, axis=0))
    assert len(found.centres) == min(k, distinct)
    assert sorted(set(found.labels.tolist())) == list(range(len(found.centres)))
    if distinct <= k:
        assert found.inertia == pytest.approx(0.0, abs=1e-20)
    _, inverse = np.unique(X, axis=0, return_inverse=True)
    if distinct <= k:
        assert len(set(zip(inverse.ravel().tolist(), found.labels.tolist(), strict=True))) == distinct


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 12))
def test_the_canonical_order_depends_on_values_alone(seed: int, n: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    X = np.round(rng.standard_normal((n, d)), 0 if seed % 2 else 3)
    ordered = X[canonical_order(X)]
    np.testing.assert_array_equal(ordered, X[(shuffle := rng.permutation(n))][canonical_order(X[shuffle])])
    assert ordered.tolist() == sorted(X.tolist())


@pytest.mark.parametrize("method", ["hartigan_wong", "lloyd"])
def test_it_goes_on_from_given_centres(method: str) -> None:
    X = blobs(3, 200, 4)
    cold = kmeans(X, 4, method=method)  # type: ignore[arg-type]
    warm = kmeans(X, 4, initial=cold.centres, method=method)  # type: ignore[arg-type]
    np.testing.assert_array_equal(cold.labels, warm.labels)
    assert warm.iterations <= max(cold.iterations, 2)
    far = np.vstack([cold.centres[:3], [[1e6, 1e6]]])  # nearest to no point
    assert kmeans(X, 4, initial=far, method=method).converged  # type: ignore[arg-type]


def test_a_seed_gives_the_same_bits_and_another_one_other_starts() -> None:
    X = np.random.default_rng(5).standard_normal((80, 2))
    runs = [kmeans(X, 6, starts=1, seed=seed) for seed in (1, 1, *range(2, 12))]
    np.testing.assert_array_equal(runs[0].labels, runs[1].labels)
    assert len({run.inertia for run in runs}) > 1


@pytest.mark.parametrize(
    ("X", "k", "more"),
    [
        (np.empty((0, 2)), 2, {}),
        (np.empty((3, 0)), 2, {}),
        (np.zeros(3), 2, {}),
        (np.array([[1.0, np.nan]]), 1, {}),
        (np.array([[1.0, np.inf]]), 1, {}),
        (np.zeros((3, 2)), 0, {}),
        (np.zeros((3, 2)), 2, {"starts": 0}),
        (np.zeros((3, 2)), 2, {"max_iterations": 0}),
        (np.zeros((3, 2)), 2, {"initial": np.zeros((3, 2))}),
    ],
)
def test_bad_input_is_refused(X: np.ndarray, k: int, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        kmeans(X, k, **more)
