from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, silhouette_samples

from models import covariance as cov
from models.comovement import ComovementConfig, ComovementFit, FitInput, fit
from models.partial import edge_density, partial_correlations

PLAIN = ComovementConfig(winsorise_quantile=0.0, duplicates_above_correlation=1.0, exclude=())


def market(seed: int, n: int, bars: int = 60, groups: int = 4, gaps: float = 0.0) -> tuple[FitInput, np.ndarray]:
    """Return closes of ``n`` coins with a market mode and planted groups, and the group of each."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % groups
    returns = (
        rng.standard_normal((bars, 1)) * 0.02
        + rng.standard_normal((bars, groups))[:, group] * 0.02
        + rng.standard_normal((bars, n)) * 0.015
    )
    closes = np.exp(np.vstack([np.zeros((1, n)), returns.cumsum(axis=0)])) * rng.uniform(0.001, 900.0, n)
    closes[rng.random(closes.shape) < gaps] = np.nan
    ids = tuple(f"c{i:03}" for i in rng.permutation(n))
    return FitInput(ids, closes, rng.uniform(1e6, 1e9, n)), group


def permuted(given: FitInput, order: np.ndarray) -> FitInput:
    return FitInput(tuple(given.coin_ids[i] for i in order), given.closes[:, order], given.market_cap[order])


def check_invariants(found: ComovementFit, window: FitInput) -> None:
    n = len(found.coin_ids)
    assert list(found.coin_ids) == sorted(found.coin_ids)
    assert set(found.coin_ids) | set(found.excluded) == set(window.coin_ids)
    assert not set(found.coin_ids) & set(found.excluded)
    assert list(found.excluded) == sorted(found.excluded)
    assert (
        found.labels.shape == found.distance.shape == found.silhouettes.shape == found.market_correlation.shape == (n,)
    )
    assert found.embedding.shape == (n, 3)
    assert found.Z.shape == (len(window.closes) - 1, n)
    a, b, rho = found.edges
    assert ((a < b) & (a >= 0) & (b < max(n, 1))).all()
    assert (np.abs(rho) <= 1.0 + 1e-9).all()
    assert 0.0 <= found.edge_density <= 1.0
    assert 0.0 <= found.first_share <= 1.0 + 1e-12
    assert np.isfinite(found.embedding).all()
    if not found.converged:
        assert (found.labels == -1).all()
        assert found.exemplars.size == 0
        assert np.isnan(found.distance).all()
        return
    assert sorted(set(found.labels.tolist())) == list(range(len(found.exemplars)))
    np.testing.assert_array_equal(found.labels[found.exemplars], np.arange(len(found.exemplars)))
    np.testing.assert_array_equal(found.distance[found.exemplars], 0.0)
    assert ((found.distance >= 0.0) & (found.distance <= 2.0 + 1e-12)).all()
    assert 1.0 - 1e-9 <= found.effective_rank <= n + 1e-9


def equal(a: ComovementFit, b: ComovementFit) -> None:
    for name in ComovementFit.__slots__:
        np.testing.assert_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_planted_groups_are_found() -> None:
    window, group = market(1, 60)
    found = fit(window, ComovementConfig())
    check_invariants(found, window)
    truth = dict(zip(window.coin_ids, group, strict=True))
    assert adjusted_rand_score([truth[coin] for coin in found.coin_ids], found.labels) == 1.0
    assert found.silhouette > 0.3
    assert found.first_share > 0.25
    assert found.excluded == {}


def test_edges_stay_inside_groups_when_there_is_data_enough() -> None:
    window, group = market(1, 24, bars=4_000)
    found = fit(window, ComovementConfig(market_mode="keep"))
    truth = dict(zip(window.coin_ids, group, strict=True))
    inside = [truth[found.coin_ids[a]] == truth[found.coin_ids[b]] for a, b in zip(*found.edges[:2], strict=True)]
    assert np.mean(inside) > 0.9


@pytest.mark.parametrize("covariance", ["empirical", "ledoit_wolf", "oas", "graphical_lasso"])
def test_values_equal_those_of_the_references(covariance: str) -> None:
    window, _ = market(2, 40, gaps=0.02)
    found = fit(window, replace(PLAIN, covariance=covariance, market_mode="keep"))
    check_invariants(found, window)
    C = cov.correlation(found.Z)
    distance = 1.0 - C
    np.testing.assert_allclose(
        found.silhouettes, silhouette_samples(distance, found.labels, metric="precomputed"), atol=1e-9
    )
    np.testing.assert_allclose(found.distance, distance[np.arange(40), found.exemplars[found.labels]], atol=1e-12)
    eigenvalues = np.maximum(np.linalg.eigvalsh(C), 1e-300)
    p = eigenvalues / eigenvalues.sum()
    assert found.effective_rank == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert found.mean_correlation == pytest.approx(C[~np.eye(40, dtype=bool)].mean())
    Z = found.Z / np.sqrt((found.Z**2).mean(axis=0))
    if covariance in ("ledoit_wolf", "oas"):
        S, shrinkage = getattr(cov, covariance)(Z)
        assert found.shrinkage == pytest.approx(shrinkage)
        rho = partial_correlations(np.linalg.inv(S))
        a, b, value = found.edges
        np.testing.assert_allclose(value, rho[a, b], atol=1e-9)
        assert found.edge_density == edge_density(rho, 0.02)
        assert (np.bincount(np.concatenate([a, b]), minlength=40) >= 3).all()


def test_market_correlation_is_with_the_first_factor() -> None:
    window, _ = market(3, 30)
    kept, removed = (fit(window, replace(PLAIN, market_mode=mode)) for mode in ("keep", "remove"))
    U = np.linalg.svd(kept.Z, full_matrices=False)[0][:, 0]
    expected = np.array([np.corrcoef(U, column)[0, 1] for column in kept.Z.T])
    np.testing.assert_allclose(kept.market_correlation, expected * np.sign(expected.sum()), atol=1e-9)
    np.testing.assert_array_equal(kept.market_correlation, removed.market_correlation)
    assert kept.first_share == removed.first_share
    assert kept.effective_rank == removed.effective_rank
    np.testing.assert_allclose(removed.Z.T @ U, 0.0, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 40), st.sampled_from(["keep", "remove"]))
def test_the_order_of_coins_changes_nothing_at_all(seed: int, n: int, mode: str) -> None:
    window, _ = market(seed, n, bars=30, gaps=0.05)
    config = ComovementConfig(market_mode=mode)  # type: ignore[arg-type]
    found = fit(window, config)
    check_invariants(found, window)
    order = np.random.default_rng(seed).permutation(n)
    equal(found, fit(permuted(window, order), config))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 40), st.sampled_from(["log", "simple", "open_close"]))
def test_the_unit_of_each_price_changes_nothing_at_all(seed: int, n: int, kind: str) -> None:
    window, _ = market(seed, n, bars=30, gaps=0.03)
    scale = 2.0 ** np.random.default_rng(seed).integers(-20, 20, n)
    config = ComovementConfig(returns=kind)  # type: ignore[arg-type]
    equal(fit(window, config), fit(replace(window, closes=window.closes * scale), config))


def test_a_fit_repeats_bit_for_bit_and_pickles() -> None:
    window, _ = market(4, 120)
    before = pickle.dumps(window)
    found = fit(window, ComovementConfig())
    assert pickle.dumps(window) == before
    equal(found, fit(pickle.loads(before), ComovementConfig()))  # noqa: S301 - our own
    equal(found, pickle.loads(pickle.dumps(found)))  # noqa: S301 - our own


def test_exclusions_say_why() -> None:
    window, _ = market(5, 24)
    closes = window.closes.copy()
    ids = list(window.coin_ids)
    ids[0], ids[1] = "tether", "WBTC-USDT"
    closes[:, 2] = 0.07  # a constant
    closes[:, 3] = 1.003 ** np.arange(61.0)  # a constant return
    closes[:, 4] = closes[:, 5] * 3.0
    closes[:, 6] = np.nan
    cap = np.arange(24.0)
    cap[23] = np.nan
    found = fit(FitInput(tuple(ids), closes, cap), ComovementConfig(size=10))
    check_invariants(found, FitInput(tuple(ids), closes, cap))
    reason = "on a list of exclusions"
    assert found.excluded["tether"] == found.excluded["WBTC-USDT"] == reason
    for column in (2, 3, 6):
        assert found.excluded[ids[column]] == "returns do not vary"
    assert found.excluded[ids[4]] == "duplicate of a larger coin"
    assert set(found.coin_ids) == set(ids[13:23])
    assert found.excluded[ids[23]] == "beyond the size of the universe"
    assert fit(FitInput(tuple(ids), closes, cap), replace(PLAIN, exclude=(ids[9],))).excluded[ids[9]] == reason


@pytest.mark.parametrize("covariance", ["empirical", "ledoit_wolf", "oas", "graphical_lasso"])
@pytest.mark.parametrize("mode", ["keep", "remove"])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5])
def test_few_coins(n: int, mode: str, covariance: str) -> None:
    window, _ = market(6, n, bars=20)
    found = fit(window, ComovementConfig(market_mode=mode, covariance=covariance))  # type: ignore[arg-type]
    check_invariants(found, window)
    assert len(found.coin_ids) == n
    if n == 0:
        assert not found.converged
    if n in (1, 2):
        assert found.labels.tolist() == list(range(n))
        assert found.exemplars.tolist() == list(range(n))


def test_nothing_but_equal_coins() -> None:
    closes = np.repeat(market(7, 1)[0].closes, 6, axis=1)
    window = FitInput(tuple("abcdef"), closes, np.array([1.0, 5.0, 5.0, np.nan, 0.0, 2.0]))
    one = fit(window, ComovementConfig())
    check_invariants(one, window)
    assert one.coin_ids == ("b",)
    together = fit(window, replace(PLAIN, market_mode="keep"))
    assert together.labels.tolist() == [0] * 6
    gone = fit(window, PLAIN)
    check_invariants(gone, window)
    assert set(gone.excluded.values()) == {"moves with the market alone"}
    assert not gone.converged


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 14), st.integers(1, 14), st.sampled_from(["keep", "remove"]))
def test_wild_closes_never_break_a_fit(seed: int, n: int, rows: int, mode: str) -> None:
    rng = np.random.default_rng(seed)
    wild = np.array([np.nan, np.inf, -1.0, 0.0, 1e-16, 1e-15, 1e290, 1.0, 1.0, 2.0, 3.0, 5.0])
    window = FitInput(tuple(f"c{i}" for i in range(n)), rng.choice(wild, (rows, n)), rng.choice(wild, n))
    for covariance in ("ledoit_wolf", "empirical"):
        config = ComovementConfig(market_mode=mode, covariance=covariance)  # type: ignore[arg-type]
        check_invariants(fit(window, config), window)


def test_a_fit_that_does_not_converge_says_so() -> None:
    window, _ = market(8, 40)
    found = fit(window, replace(PLAIN, max_iterations=3))
    check_invariants(found, window)
    assert not found.converged
    assert np.isnan(found.silhouette)
    assert len(found.edges[0]) > 0


def test_a_sparse_solver_that_fails_is_a_fit_that_does_not_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise FloatingPointError("Non SPD result")

    monkeypatch.setattr(cov, "graphical_lasso", fail)
    window, _ = market(8, 10)
    found = fit(window, replace(PLAIN, covariance="graphical_lasso"))
    check_invariants(found, window)
    assert not found.converged


def test_wrong_input_is_refused() -> None:
    window, _ = market(9, 5)
    with pytest.raises(ValueError, match="5 coins"):
        fit(replace(window, closes=window.closes[:, :4]), PLAIN)
    with pytest.raises(ValueError, match="market caps"):
        fit(replace(window, market_cap=np.ones(3)), PLAIN)
    with pytest.raises(ValueError, match="twice"):
        fit(replace(window, coin_ids=("a", "b", "a", "d", "e")), PLAIN)
    with pytest.raises(ValueError, match="unknown covariance"):
        fit(window, replace(PLAIN, covariance="guess"))  # type: ignore[arg-type]
