"""Wasserstein distances against optimal transport, integrals and scikit-learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import calinski_harabasz_score, silhouette_samples

from models.quantiles import Distributions, features, fixed_quantiles, moments, order_statistics, register
from models.wasserstein import (
    calinski_harabasz,
    decompose,
    distances,
    explained_share,
    silhouettes,
    squares_about,
    total_squares,
)

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

VALUES = st.floats(-2.0, 2.0, allow_nan=False).map(lambda x: round(x, 6))
MATRICES = st.tuples(st.integers(1, 20), st.integers(2, 6)).flatmap(lambda s: arrays(np.float64, s, elements=VALUES))


def both(R: Float64) -> tuple[Distributions, Distributions]:
    return order_statistics(R), fixed_quantiles(R, 7)


@given(MATRICES)
def test_distance_is_that_of_the_best_transport(R: Float64) -> None:
    """Each return of one coin is carried to one of the other, at the least mean squared way."""
    found = distances(*[features(order_statistics(R))] * 2)
    for i in range(R.shape[1]):
        for j in range(i):
            cost = np.subtract.outer(R[:, i], R[:, j]) ** 2
            best = cost[linear_sum_assignment(cost)].mean()
            assert found[i, j] ** 2 == pytest.approx(best, abs=1e-12)


def test_distance_of_histograms_is_the_integral_of_squared_differences(rng: np.random.Generator) -> None:
    """By Simpson's rule between all knots, which is exact where the integrand is quadratic."""
    histograms = []
    for _ in range(6):
        inner = np.sort(rng.random(int(rng.integers(0, 6))))
        histograms.append((np.sort(rng.normal(size=len(inner) + 2)), np.concatenate([[0.0], inner, [1.0]])))
    X = features(register(histograms))
    found = distances(X, X)
    for i, (xa, pa) in enumerate(histograms):
        for j, (xb, pb) in enumerate(histograms):
            knots = np.union1d(pa, pb)
            middle = (knots[1:] + knots[:-1]) / 2

            def squared(p: Float64, one: tuple[Float64, Float64] = (pa, xa), two=(pb, xb)) -> Float64:  # type: ignore[no-untyped-def]
                return np.asarray((np.interp(p, *one) - np.interp(p, *two)) ** 2)

            simpson = (squared(knots[:-1]) + 4 * squared(middle) + squared(knots[1:])) / 6
            assert found[i, j] ** 2 == pytest.approx(np.diff(knots) @ simpson, abs=1e-12)


@given(MATRICES)
def test_it_is_a_metric(R: Float64) -> None:
    for each in both(R):
        X = features(each)
        d = distances(X, X)
        np.testing.assert_array_equal(d, d.T)
        assert (np.diag(d) == 0.0).all()
        assert (d[:, :, None] <= d[:, None, :] + d.T[None, :, :] + 1e-12).all()


@given(MATRICES)
def test_parts_are_not_negative_and_add_up(R: Float64) -> None:
    for each in both(R):
        parts = decompose([each], [each])
        X = features(each)
        np.testing.assert_allclose(parts.total, distances(X, X) ** 2, rtol=1e-9, atol=1e-13)
        for part in (parts.location, parts.spread, parts.shape):
            assert (part >= 0.0).all()
            np.testing.assert_allclose(part, part.T, atol=1e-15)
        assert np.array_equal(parts.total, parts.location + parts.spread + parts.shape)


def test_shape_is_what_the_correlation_of_quantile_functions_leaves(rng: np.random.Generator) -> None:
    R = rng.standard_t(3, size=(50, 5))
    each = order_statistics(R)
    of, sorted_returns = moments(each), np.sort(R, axis=0)
    rho = np.corrcoef(sorted_returns.T)
    expected = 2.0 * np.multiply.outer(of.deviation, of.deviation) * (1.0 - rho)
    np.testing.assert_allclose(decompose([each], [each]).shape, expected, atol=1e-12)


@given(MATRICES, st.floats(-1.0, 1.0), st.floats(0.1, 3.0))
def test_shift_is_location_and_scale_is_spread(R: Float64, shift: float, scale: float) -> None:
    each = order_statistics(R)
    own = np.arange(len(each))
    moved = decompose([each], [order_statistics(R + shift)])
    np.testing.assert_allclose(moved.location[own, own], shift**2, atol=1e-12)
    assert np.abs(moved.spread[own, own]).max() < 1e-12
    assert np.abs(moved.shape[own, own]).max() < 1e-12
    mean = R.mean(axis=0)
    wider = decompose([each], [order_statistics(mean + scale * (R - mean))])
    np.testing.assert_allclose(wider.spread[own, own], (R.std(axis=0) * (scale - 1.0)) ** 2, atol=1e-12)
    assert np.abs(wider.location[own, own]).max() < 1e-12
    assert np.abs(wider.shape[own, own]).max() < 1e-12


def test_a_mirrored_distribution_differs_in_shape_alone(rng: np.random.Generator) -> None:
    R = rng.exponential(size=(40, 1))
    R -= R.mean()
    parts = decompose([order_statistics(R)], [order_statistics(-R)])
    assert parts.location[0, 0] + parts.spread[0, 0] < 1e-25
    assert parts.shape[0, 0] > 0.1


def test_flat_distributions_have_no_shape_part() -> None:
    parts = decompose(
        [order_statistics(np.array([[0.0, 1.0], [0.0, 3.0]]))] * 2, [order_statistics(np.zeros((2, 1)))] * 2
    )
    np.testing.assert_allclose(parts.location[:, 0], [0.0, 8.0])
    np.testing.assert_allclose(parts.spread[:, 0], [0.0, 2.0])
    np.testing.assert_array_equal(parts.shape, 0.0)


def test_squared_distances_add_over_variables(rng: np.random.Generator) -> None:
    a, b = order_statistics(rng.normal(size=(9, 4))), order_statistics(rng.normal(size=(13, 4)))
    together = np.hstack([features(a), features(b)])
    np.testing.assert_allclose(
        decompose([a, b], [a, b]).total, distances(together, together) ** 2, rtol=1e-10, atol=1e-14
    )
    with pytest.raises(ValueError, match="zip"):
        decompose([a, b], [a])


def labellings(rng: np.random.Generator, n: int, ks: list[int]) -> list[Int32]:
    return [np.concatenate([np.arange(k), rng.integers(0, k, n - k)]).astype(np.int32) for k in ks]


@pytest.mark.parametrize("n", [5, 40, 600])
def test_silhouettes_are_those_of_scikit_learn(rng: np.random.Generator, n: int) -> None:
    X = rng.normal(size=(n, 12)) + 5.0
    given_ = labellings(rng, n, [2, 3, 4])
    for labels, found in zip(given_, silhouettes(X, given_), strict=True):
        np.testing.assert_allclose(found, silhouette_samples(X, labels), atol=1e-9)


def test_silhouettes_at_the_edges() -> None:
    X = np.array([[1.0, 2.0], [1.0, 2.0], [7.0, 2.0]])
    one, alone, same = silhouettes(
        X, [np.zeros(3, np.int32), np.array([0, 0, 1], np.int32), np.array([0, 1, 0], np.int32)]
    )
    assert np.isnan(one).all()
    np.testing.assert_array_equal(alone, [1.0, 1.0, 0.0])
    assert same[0] == -1.0
    equal = silhouettes(np.full((4, 3), 0.1), [np.array([0, 0, 1, 1], np.int32)])[0]
    np.testing.assert_array_equal(equal, 0.0)


def test_squares_within_and_between_are_all_squares(rng: np.random.Generator) -> None:
    X, labels = rng.normal(size=(60, 5)), labellings(rng, 60, [4])[0]
    within = squares_about(X, labels, 4)
    centres = np.array([X[labels == k].mean(axis=0) for k in range(4)])
    between = np.bincount(labels) @ ((centres - X.mean(axis=0)) ** 2).sum(axis=1)
    assert within.sum() + between == pytest.approx(total_squares(X))
    assert explained_share(within.sum(), total_squares(X)) == pytest.approx(between / total_squares(X))
    assert calinski_harabasz(within.sum(), total_squares(X), 60, 4) == pytest.approx(calinski_harabasz_score(X, labels))


def test_indices_without_an_answer() -> None:
    assert explained_share(0.0, 0.0) == 1.0
    assert np.isnan(calinski_harabasz(1.0, 2.0, 5, 1))
    assert np.isnan(calinski_harabasz(0.0, 2.0, 5, 5))
    assert calinski_harabasz(0.0, 2.0, 5, 2) == float("inf")
    assert squares_about(np.ones((2, 1)), np.zeros(2, np.int32), 3).tolist() == [0.0, 0.0, 0.0]
