"""Quantile functions against their definitions, one coin at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.quantiles import (
    TIE_STEP,
    Distributions,
    features,
    fixed_quantiles,
    from_bounds,
    from_features,
    moments,
    order_statistics,
    quantiles_at,
    register,
    resampled,
    simplified,
)

Float64 = npt.NDArray[np.float64]

VALUES = st.floats(-2.0, 2.0, allow_nan=False).map(lambda x: round(x, 6))
MATRICES = st.tuples(st.integers(1, 25), st.integers(1, 6)).flatmap(lambda s: arrays(np.float64, s, elements=VALUES))


def with_gaps(R: Float64, seed: int) -> Float64:
    """Return a copy with cells missing, but never all cells of a coin."""
    rng = np.random.default_rng(seed)
    gaps = rng.random(R.shape) < 0.3
    gaps[rng.integers(0, len(R), R.shape[1]), np.arange(R.shape[1])] = False
    return np.where(gaps, np.nan, R)


def hazen(values: Float64, positions: Float64) -> Float64:
    """The quantile function through the sorted values at (i - 1/2) / t, level beyond the ends."""
    t = len(values)
    return np.interp(positions, (np.arange(t) + 0.5) / t, np.sort(values))


@given(MATRICES)
def test_order_statistics_are_the_sorted_returns(R: Float64) -> None:
    found = order_statistics(R)
    assert found.radii is None
    assert found.weights.sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(found.centres, np.sort(R.T, axis=1))


@given(MATRICES, st.integers(0, 2**32 - 1))
def test_days_in_another_order_change_no_bit(R: Float64, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(R))
    assert features(order_statistics(R)).tobytes() == features(order_statistics(R[order])).tobytes()
    assert features(fixed_quantiles(R)).tobytes() == features(fixed_quantiles(R[order])).tobytes()


@given(MATRICES, st.integers(0, 2**32 - 1))
def test_a_coin_with_gaps_is_read_off_its_own_quantile_function(R: Float64, seed: int) -> None:
    R = with_gaps(R, seed)
    found = order_statistics(R)
    m = np.isfinite(R).sum(axis=0).max()
    assert found.centres.shape == (R.shape[1], m)
    for coin, row in enumerate(found.centres):
        values = R[np.isfinite(R[:, coin]), coin]
        np.testing.assert_allclose(row, hazen(values, (np.arange(m) + 0.5) / m), rtol=0.0, atol=1e-12)
        if len(values) == m:
            np.testing.assert_array_equal(row, np.sort(values))
        assert (row[0], row[-1]) == (values.min(), values.max())
        assert (np.diff(row) >= 0.0).all()


def test_a_day_that_the_whole_market_misses_costs_nothing(rng: np.random.Generator) -> None:
    R = rng.normal(size=(30, 4))
    holes = np.insert(R, 7, np.nan, axis=0)
    np.testing.assert_array_equal(order_statistics(holes).centres, order_statistics(R).centres)


def test_masked_returns_bend_the_distribution_only_a_little(rng: np.random.Generator) -> None:
    """3 of 60 returns missing at random: the error is a small part of the deviation."""
    R = rng.standard_t(4, size=(60, 200))
    holes = R.copy()
    for coin in range(100):
        holes[rng.choice(60, 3, replace=False), coin] = np.nan
    error = features(order_statistics(holes)) - features(order_statistics(R))
    apart = np.sqrt((error**2).sum(axis=1)) / R.std(axis=0)
    assert (apart[100:] == 0.0).all()
    assert np.median(apart[:100]) < 0.2


@given(MATRICES, st.integers(0, 2**32 - 1), st.integers(1, 24))
def test_fixed_quantiles_are_those_of_type_7_made_to_rise(R: Float64, seed: int, bins: int) -> None:
    R = with_gaps(R, seed)
    found = fixed_quantiles(R, bins)
    assert found.radii is not None
    for coin in range(R.shape[1]):
        values = R[np.isfinite(R[:, coin]), coin]
        bounds = np.quantile(values, np.arange(bins + 1) / bins)
        for j in range(1, bins + 1):
            if bounds[j] <= bounds[j - 1]:
                bounds[j] = bounds[j - 1] + TIE_STEP
        # where two quantiles are closer than rounding, one may or may not be lifted
        np.testing.assert_allclose(found.centres[coin], (bounds[1:] + bounds[:-1]) / 2, rtol=0.0, atol=1e-9)
        np.testing.assert_allclose(found.radii[coin], np.diff(bounds) / 2, rtol=0.0, atol=1e-9)
    assert (found.radii > 0.0).all()


def test_ties_rise_one_after_the_other() -> None:
    found = fixed_quantiles(np.zeros((10, 1)), 4)
    assert found.radii is not None
    np.testing.assert_allclose(found.radii, TIE_STEP / 2)
    np.testing.assert_allclose(found.centres[0], TIE_STEP * (np.arange(4) + 0.5))


def random_histogram(rng: np.random.Generator) -> tuple[Float64, Float64]:
    bins = int(rng.integers(1, 9))
    inner = np.sort(rng.choice(np.arange(1, 40), bins - 1, replace=False)) / 40
    return np.cumsum(rng.random(bins + 1) + 0.01) - 2.0, np.concatenate([[0.0], inner, [1.0]])


def test_registration_changes_no_histogram(rng: np.random.Generator) -> None:
    histograms = [random_histogram(rng) for _ in range(12)]
    found = register(histograms)
    positions = np.sort(rng.random(50))
    read = quantiles_at(found, positions)
    for row, (x, p) in enumerate(histograms):
        np.testing.assert_allclose(read[row], np.interp(positions, p, x), atol=1e-12)
        alone = moments(from_bounds(p, x[np.newaxis]))
        together = moments(found)
        for name in ("mean", "deviation", "skewness", "kurtosis"):
            assert getattr(together, name)[row] == pytest.approx(getattr(alone, name)[0], abs=1e-10)


def test_the_published_example_of_a_histogram() -> None:
    """``distributionH(x = c(1, 2, 3, 10), p = c(0, 0.1, 0.5, 1))`` in HistDAWass's manual: 4.4 and 2.563851."""
    found = moments(register([(np.array([1.0, 2.0, 3.0, 10.0]), np.array([0.0, 0.1, 0.5, 1.0]))]))
    assert found.mean[0] == pytest.approx(4.4)
    assert found.deviation[0] == pytest.approx(2.563851, abs=1e-6)


def test_moments_of_histograms_are_their_integrals(rng: np.random.Generator) -> None:
    """A thousand points per bin, by the midpoint rule on the quantile function."""
    x, p = random_histogram(rng)
    found = moments(from_bounds(p, x[np.newaxis]))
    positions = (np.arange(400_000) + 0.5) / 400_000
    values = np.interp(positions, p, x)
    assert found.mean[0] == pytest.approx(values.mean(), abs=1e-6)
    assert found.deviation[0] == pytest.approx(values.std(), rel=1e-6)
    assert found.skewness[0] == pytest.approx(scipy.stats.skew(values), abs=1e-5)
    assert found.kurtosis[0] == pytest.approx(scipy.stats.kurtosis(values, fisher=False), rel=1e-5)
    assert found.coefficient_of_variation[0] == pytest.approx(values.std() / values.mean(), rel=1e-5)


def test_moments_of_order_statistics_are_those_of_the_sample(rng: np.random.Generator) -> None:
    R = rng.standard_t(5, size=(80, 7))
    found = moments(order_statistics(R))
    np.testing.assert_allclose(found.mean, R.mean(axis=0), atol=1e-15)
    np.testing.assert_allclose(found.deviation, R.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.skewness, scipy.stats.skew(R), atol=1e-12)
    np.testing.assert_allclose(found.kurtosis, scipy.stats.kurtosis(R, fisher=False), rtol=1e-12)


def test_a_flat_distribution_has_no_shape() -> None:
    found = moments(order_statistics(np.zeros((5, 1))))
    assert (found.mean[0], found.deviation[0]) == (0.0, 0.0)
    assert np.isnan([found.skewness[0], found.kurtosis[0], found.coefficient_of_variation[0]]).all()


@given(MATRICES, st.integers(1, 20))
def test_features_hold_the_whole_distribution(R: Float64, bins: int) -> None:
    for given_ in (order_statistics(R), fixed_quantiles(R, bins)):
        columns = features(given_)
        assert columns.shape == (len(given_), given_.columns)
        back = from_features(columns, given_)
        np.testing.assert_allclose(back.centres, given_.centres, atol=1e-14)
        if given_.radii is not None:
            assert back.radii is not None
            np.testing.assert_allclose(back.radii, given_.radii, atol=1e-14)


@given(MATRICES)
def test_quantiles_of_order_statistics(R: Float64) -> None:
    found = order_statistics(R)
    positions = np.linspace(0.0, 1.0, 41)
    read = quantiles_at(found, positions)
    np.testing.assert_array_equal(read[:, 0], R.min(axis=0))
    np.testing.assert_array_equal(read[:, -1], R.max(axis=0))
    np.testing.assert_allclose(read[:, 20], np.median(R, axis=0), atol=1e-12)
    assert (np.diff(read, axis=1) >= -1e-12).all()
    for row in range(R.shape[1]):
        np.testing.assert_allclose(read[row], hazen(R[:, row], positions), atol=1e-10)


@given(MATRICES, st.integers(1, 40))
def test_resampling_to_the_same_bins_is_the_identity(R: Float64, bins: int) -> None:
    found = order_statistics(R)
    np.testing.assert_allclose(resampled(found, len(R)).centres, found.centres, atol=1e-12)
    other = resampled(found, bins)
    assert other.centres.shape == (R.shape[1], bins)
    assert other.centres.min() >= R.min()
    assert other.centres.max() <= R.max()


def test_simplified_histograms_keep_their_quantiles(rng: np.random.Generator) -> None:
    found = register([random_histogram(rng) for _ in range(5)])
    positions = np.arange(11) / 10
    np.testing.assert_allclose(
        quantiles_at(simplified(found, 10), positions), quantiles_at(found, positions), atol=1e-12
    )


@pytest.mark.parametrize("R", [np.full((3, 2), np.nan), np.array([[np.inf], [np.nan]])])
def test_a_coin_without_returns_is_refused(R: Float64) -> None:
    with pytest.raises(ValueError, match="at least one return"):
        order_statistics(R)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one bin"):
        fixed_quantiles(np.zeros((3, 2)), 0)
    with pytest.raises(ValueError, match="no histogram"):
        register([])


def test_length_is_the_number_of_distributions() -> None:
    assert len(Distributions(np.ones(1), np.zeros((3, 1)), None)) == 3
