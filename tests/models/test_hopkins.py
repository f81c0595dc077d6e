from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.hopkins import hopkins


def test_uniform_points_are_at_one_half_and_clusters_far_below() -> None:
    rng = np.random.default_rng(1)
    uniform = [hopkins(rng.random((500, 2)), seed=seed) for seed in range(40)]
    assert np.mean(uniform) == pytest.approx(0.5, abs=0.03)
    blobs = rng.standard_normal((500, 2)) * 0.01 + rng.random((5, 2))[np.arange(500) % 5]
    assert np.mean([hopkins(blobs, seed=seed) for seed in range(10)]) < 0.1
    grid = np.stack(np.meshgrid(np.arange(22.0), np.arange(22.0)), axis=-1).reshape(-1, 2)
    assert np.mean([hopkins(grid, seed=seed) for seed in range(10)]) > 0.6


def test_it_is_the_share_of_nearest_distances() -> None:
    """Against a plain computation with the same draws."""
    X = np.random.default_rng(2).standard_normal((60, 3))
    rng = np.random.default_rng(9)
    ordered = X[np.lexsort(X.T[::-1])]
    uniform = rng.uniform(X.min(axis=0), X.max(axis=0), size=(6, 3))
    drawn = rng.choice(60, size=6, replace=False)
    apart = np.linalg.norm(ordered[:, None] - ordered[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    of_data = apart[drawn].min(axis=1).sum()
    of_uniform = np.linalg.norm(uniform[:, None] - ordered[None], axis=2).min(axis=1).sum()
    assert hopkins(X, seed=9) == pytest.approx(of_data / (of_data + of_uniform))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 60), st.booleans())
def test_it_is_a_share_whatever_the_order(seed: int, n: int, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2))
    X = np.round(X) if coarse else X
    value = hopkins(X, seed=seed)
    assert math.isnan(value) or 0.0 <= value <= 1.0
    assert math.isnan(value) == (len(np.unique(X, axis=0)) == 1)
    np.testing.assert_equal(hopkins(X[rng.permutation(n)], seed=seed), value)


def test_what_says_nothing() -> None:
    assert math.isnan(hopkins(np.zeros((1, 2))))
    assert math.isnan(hopkins(np.zeros((0, 2))))
    assert math.isnan(hopkins(np.ones((30, 2))))
    with pytest.raises(ValueError, match="at most 5"):
        hopkins(np.ones((5, 2)), points=6)
