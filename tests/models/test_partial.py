from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.partial import edge_density, edges_above, partial_correlations, strongest_columns, strongest_edges


def test_partial_correlation_is_the_correlation_of_what_regression_leaves(rng: np.random.Generator) -> None:
    X = rng.standard_normal((400, 5)) @ rng.standard_normal((5, 5))
    X -= X.mean(axis=0)
    rho = partial_correlations(np.linalg.inv(X.T @ X))
    for i, j in ((0, 1), (2, 4)):
        others = X[:, [k for k in range(5) if k not in (i, j)]]
        left = X[:, [i, j]] - others @ np.linalg.lstsq(others, X[:, [i, j]], rcond=None)[0]
        assert rho[i, j] == pytest.approx(np.corrcoef(left.T)[0, 1])
    np.testing.assert_array_equal(np.diag(rho), np.ones(5))


def test_partial_correlations_of_little() -> None:
    assert partial_correlations(np.empty((0, 0))).shape == (0, 0)
    assert partial_correlations(np.array([[4.0]])).tolist() == [[1.0]]
    with pytest.raises(ValueError, match="positive diagonal"):
        partial_correlations(np.zeros((2, 2)))


@given(st.integers(0, 5_000), st.integers(0, 12), st.integers(0, 4))
def test_strongest_edges_by_brute_force_with_ties(seed: int, n: int, per_coin: int) -> None:
    rng = np.random.default_rng(seed)
    rho = rng.choice([-0.5, -0.25, 0.0, 0.25, 0.5], (n, n))
    rho = np.triu(rho, 1) + np.triu(rho, 1).T + np.eye(n)
    expected = set()
    for i in range(n):
        ranked = sorted((j for j in range(n) if j != i and rho[i, j] != 0.0), key=lambda j: (-abs(rho[i, j]), j))
        expected |= {(min(i, j), max(i, j)) for j in ranked[:per_coin]}
    a, b, value = strongest_edges(rho, per_coin)
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == sorted(expected)
    assert value.tolist() == [rho[i, j] for i, j in sorted(expected)]
    assert a.dtype == b.dtype == np.int64


@given(st.integers(0, 1_000), st.integers(0, 9), st.sampled_from([0.1, 0.25, 0.4]))
def test_edges_above_and_their_density(seed: int, n: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    rho = rng.choice([-0.5, -0.25, 0.0, 0.25, 0.5], (n, n))
    rho = np.triu(rho, 1) + np.triu(rho, 1).T + np.eye(n)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n) if abs(rho[i, j]) > threshold]
    a, b, value = edges_above(rho, threshold)
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == pairs
    assert value.tolist() == [rho[pair] for pair in pairs]
    assert edge_density(rho, threshold) == pytest.approx(len(pairs) / (n * (n - 1) / 2) if n > 1 else 0.0)


def test_more_columns_than_there_are_leave_places_empty() -> None:
    assert strongest_columns(np.array([[1.0, 0.5], [0.0, 1.0]]), 3).tolist() == [[1, -1, -1], [-1, -1, -1]]
