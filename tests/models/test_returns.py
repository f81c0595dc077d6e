from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.returns import (
    bar_returns,
    by_size,
    drop_duplicates,
    market_factor,
    remove_market,
    screen_prices,
    standardise,
    unit_columns,
    winsorise,
)

ANY_PRICE = st.one_of(
    st.floats(1e-3, 1e5), st.sampled_from([0.0, -79.1, 8.9e-46, 1e-15, 1e290, float("nan"), float("inf"), -0.0])
)
CLOSES = hnp.arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(0, 5)), elements=ANY_PRICE)


def test_what_is_a_price() -> None:
    values = np.array([1.0, 1e-15, 9.9e-16, 0.0, -1.0, np.nan, np.inf, -np.inf])
    assert screen_prices(values).tolist() == [True, True, False, False, False, False, False, False]


@given(CLOSES, st.sampled_from(["log", "simple", "open_close"]))
def test_returns_exist_where_both_neighbours_are_prices(closes: np.ndarray, kind: str) -> None:
    R = bar_returns(closes, kind)
    good = screen_prices(closes)
    assert R.shape == (len(closes) - 1, closes.shape[1])
    for t, i in np.ndindex(R.shape):
        before, now = closes[t, i], closes[t + 1, i]
        if good[t, i] and good[t + 1, i]:
            expected = {
                "log": np.log(now) - np.log(before),
                "simple": now / before - 1.0,
                "open_close": (before - now) / before,
            }[kind]
            assert R[t, i] == pytest.approx(expected, rel=1e-12, abs=1e-12)
        else:
            assert np.isnan(R[t, i])


@given(CLOSES, st.integers(-40, 40))
def test_the_unit_of_price_is_irrelevant(closes: np.ndarray, power: int) -> None:
    closes = np.where(closes > 1e200, np.nan, np.where(closes > 1e-9, closes, np.nan))
    scaled = closes * 2.0**power
    scaled[~screen_prices(scaled)] = np.nan
    both = np.isfinite(scaled) == np.isfinite(closes)
    if both.all():
        np.testing.assert_array_equal(bar_returns(closes), bar_returns(scaled))


def test_unknown_kind_and_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="kind of return"):
        bar_returns(np.ones((3, 2)), "linear")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="matrix"):
        bar_returns(np.ones(3))


def test_winsorise_clips_at_the_quantiles_of_the_market(rng: np.random.Generator) -> None:
    R = rng.standard_t(2, (200, 30))
    R[rng.random(R.shape) < 0.1] = np.nan
    low, high = np.nanquantile(R, [0.01, 0.99])
    np.testing.assert_array_equal(winsorise(R, 0.01), np.clip(R, low, high))
    np.testing.assert_array_equal(winsorise(R, 0.0), R)
    assert winsorise(R, 0.0) is not R
    assert winsorise(np.full((2, 2), np.nan), 0.1).shape == (2, 2)
    assert winsorise(np.empty((0, 0)), 0.1).shape == (0, 0)
    with pytest.raises(ValueError, match="quantile"):
        winsorise(R, 0.5)


def test_standardise_equals_nan_moments(rng: np.random.Generator) -> None:
    R = rng.standard_normal((50, 8)) * 0.03 + 0.01
    R[rng.random(R.shape) < 0.2] = np.nan
    R[:, 3] = np.where(np.isnan(R[:, 3]), np.nan, 0.07)  # never varies, and its mean is not exact in binary
    R[:, 4] = np.nan
    R[1:, 5] = np.nan
    Z, usable = standardise(R)
    assert usable.tolist() == [True, True, True, False, False, False, True, True]
    kept = R[:, usable]
    expected = (kept - np.nanmean(kept, axis=0)) / np.nanstd(kept, axis=0)
    np.testing.assert_allclose(Z[:, usable], np.nan_to_num(expected), atol=1e-12)
    assert not Z[:, ~usable].any()


def factor_market(rng: np.random.Generator, bars: int = 80, n: int = 25) -> np.ndarray:
    market = rng.standard_normal(bars)
    return standardise(np.outer(market, rng.uniform(0.5, 1.5, n)) + rng.standard_normal((bars, n)))[0]


@pytest.mark.parametrize(("bars", "n"), [(80, 25), (20, 60), (10, 3)])
def test_the_market_is_the_first_singular_vector(rng: np.random.Generator, bars: int, n: int) -> None:
    Z = factor_market(rng, bars, n)
    residual, factor, share = remove_market(Z)
    U, s, Vt = np.linalg.svd(Z, full_matrices=False)
    np.testing.assert_allclose(np.abs(factor), np.abs(U[:, 0]) * np.sqrt(bars), atol=1e-9)
    assert share == pytest.approx(s[0] ** 2 / (s**2).sum())
    assert (factor @ Z).sum() > 0
    rest = Z - s[0] * np.outer(U[:, 0], Vt[0])
    np.testing.assert_allclose(residual, standardise(rest)[0], atol=1e-8)
    np.testing.assert_allclose(market_factor(-Z)[0], -factor, atol=1e-9)


def test_masked_cells_stay_zero_without_the_market(rng: np.random.Generator) -> None:
    R = factor_market(rng)
    R[rng.random(R.shape) < 0.1] = np.nan
    Z, _ = standardise(R)
    residual, _, _ = remove_market(Z, np.isfinite(R))
    assert not residual[np.isnan(R)].any()
    for column, real in zip(residual.T, np.isfinite(R).T, strict=True):
        assert column[real].mean() == pytest.approx(0.0, abs=1e-12)
        assert column[real].std() == pytest.approx(1.0)


def test_coins_that_are_the_market_leave_nothing() -> None:
    Z, _ = standardise(np.repeat(np.random.default_rng(1).standard_normal((30, 1)), 4, axis=1))
    residual, _, share = remove_market(Z)
    assert not residual.any()
    assert share == pytest.approx(1.0)


def test_a_market_of_nothing() -> None:
    for shape in ((5, 0), (0, 0), (4, 3)):
        residual, factor, share = remove_market(np.zeros(shape))
        assert residual.shape == shape
        assert not factor.any()
        assert share == 0.0


def brute_force_duplicates(Z: np.ndarray, ids: list[str], cap: np.ndarray, threshold: float) -> set[str]:
    C = np.corrcoef(Z.T)
    kept: list[int] = []
    for i in sorted(range(len(ids)), key=lambda i: (-np.nan_to_num(cap[i]), ids[i])):
        if all(C[i, j] <= threshold for j in kept):
            kept.append(i)
    return {ids[i] for i in kept}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.sampled_from([0.2, 0.5, 0.9, 0.995]))
def test_duplicates_by_brute_force_in_any_order(seed: int, n: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((40, max(n // 3, 1)))
    Z, _ = standardise(
        base[:, rng.integers(0, base.shape[1], n)] + rng.choice([1e-3, 0.5], n) * rng.standard_normal((40, n))
    )
    ids = [f"c{i}" for i in range(n)]
    cap = rng.choice([np.nan, 0.0, 1.0, 2.0, 3.0], n)
    keep = drop_duplicates(Z, ids, cap, threshold)
    assert {coin for coin, kept in zip(ids, keep, strict=True) if kept} == brute_force_duplicates(
        Z, ids, cap, threshold
    )
    order = rng.permutation(n)
    again = drop_duplicates(Z[:, order], [ids[i] for i in order], cap[order], threshold)
    np.testing.assert_array_equal(again, keep[order])


def test_duplicates_over_several_blocks(rng: np.random.Generator) -> None:
    n = 1_200
    half = rng.standard_normal((30, n // 2))
    Z, _ = standardise(np.hstack([half, half]))
    ids = [f"c{i:04}" for i in range(n)]
    assert drop_duplicates(Z, ids, np.ones(n), 0.995).tolist() == [True] * (n // 2) + [False] * (n // 2)
    assert drop_duplicates(Z, ids, np.arange(n) + 1.0, 0.995).tolist() == [False] * (n // 2) + [True] * (n // 2)
    assert drop_duplicates(Z, ids, np.ones(n), 1.0).all()
    assert drop_duplicates(np.empty((30, 0)), [], np.empty(0), 0.9).shape == (0,)


def test_size_puts_unknown_caps_last_by_id() -> None:
    assert by_size(["d", "c", "b", "a"], np.array([np.nan, 0.0, 5.0, -1.0])).tolist() == [2, 3, 1, 0]


def test_unit_columns_keep_zeros() -> None:
    np.testing.assert_allclose(unit_columns(np.array([[3.0, 0.0], [4.0, 0.0]])), [[0.6, 0.0], [0.8, 0.0]])


def test_a_jump_beyond_the_range_of_numbers_is_no_return() -> None:
    closes = np.array([[1e-15], [1e300], [1e-15], [1.0]])
    assert np.isfinite(bar_returns(closes)).ravel().tolist() == [False, True, True]
