from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.kmeans import kmeans
from models.moments import MomentsConfig, moments, standardised
from models.partitions import adjusted_rand
from models.prepare import FitInput, prepare
from models.returns import bar_returns
from models.view import ViewFit

PLAIN = MomentsConfig(winsorise_quantile=0.0, duplicates_above_correlation=1.0, exclude=())


def market(seed: int, sizes: tuple[int, ...], spreads: tuple[float, ...], bars: int = 200) -> FitInput:
    """Return coins whose deviations come in groups; ids name the group."""
    rng = np.random.default_rng(seed)
    spread = np.repeat(spreads, sizes)
    returns = rng.standard_normal((bars, spread.size)) * spread
    closes = np.exp(np.vstack([np.zeros((1, spread.size)), returns.cumsum(axis=0)]))
    ids = tuple(f"g{g}-{i:03}" for g, size in enumerate(sizes) for i in range(size))
    return FitInput(ids, closes, np.ones(spread.size))


def values(found: ViewFit, statistic: str) -> np.ndarray:
    return next(prototype.value for prototype in found.prototypes if prototype.statistic == statistic)


@given(st.integers(0, 10_000), st.integers(3, 30), st.integers(1, 8))
def test_moments_are_those_of_the_returns_that_exist(seed: int, bars: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    R = rng.standard_normal((bars, n)) * 0.1 + 0.01
    R[rng.random(R.shape) < 0.3] = np.nan
    R[:2] = rng.standard_normal((2, n))
    found = moments(R)
    np.testing.assert_allclose(found[:, 0], np.nanmean(R, axis=0), atol=1e-15)
    np.testing.assert_allclose(found[:, 1], np.nanstd(R, axis=0, ddof=1), rtol=1e-12)


def test_a_series_that_stands_still_has_no_deviation() -> None:
    R = np.column_stack([np.full(50, 0.1), np.zeros(50), np.full(50, 0.1) + 1e-3 * np.arange(50)])
    found = moments(R)
    assert found[:2, 1].tolist() == [0.0, 0.0]
    assert found[2, 1] > 0.0


@given(st.integers(0, 10_000), st.integers(2, 50))
def test_standardising_is_that_of_r(seed: int, n: int) -> None:
    features = np.random.default_rng(seed).standard_normal((n, 2)) * [1e-3, 0.2] + [5.0, 0.1]
    points, middle, scale = standardised(features)
    np.testing.assert_allclose(points.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(points.std(axis=0, ddof=1), 1.0)
    np.testing.assert_allclose(points * scale + middle, features)
    flat = np.column_stack([features[:, 0], np.full(n, 0.1) + 1e-17 * np.arange(n)])
    np.testing.assert_array_equal(standardised(flat)[0][:, 1], 0.0)


def test_planted_groups_are_found_and_described() -> None:
    window = market(1, (30, 20, 10), (0.01, 0.05, 0.2))
    # means are alike but for sampling: the deviation carries the clusters
    steady = replace(window, closes=window.closes / window.closes[-1] ** (np.arange(201)[:, None] / 200))
    found = PLAIN.build().fit(steady)
    truth = [int(coin[1]) for coin in found.coin_ids]
    assert found.converged
    assert adjusted_rand(found.labels, truth) == 1.0
    R = bar_returns(steady.closes)
    for label, group in enumerate(found.labels[found.exemplars]):
        members = [i for i, coin in enumerate(steady.coin_ids) if found.labels[found.coin_ids.index(coin)] == group]
        assert values(found, "size")[label] == len(members)
        assert values(found, "deviation")[label] == pytest.approx(R[:, members].std(axis=0, ddof=1).mean())
        assert values(found, "mean")[label] == pytest.approx(R[:, members].mean(), abs=1e-12)
    assert values(found, "share").sum() == pytest.approx(1.0)
    assert found.diagnostics["chosen_k"] == 3.0
    assert 0.5 < found.diagnostics["explained_share"] < 1.0
    assert found.diagnostics["hopkins"] < 0.3
    assert found.diagnostics["ensemble_dissimilarity"] == 0.0


@pytest.mark.parametrize("published", [False, True])
def test_distances_are_those_of_standardised_moments(published: bool) -> None:
    window = market(2, (20, 15, 15), (0.01, 0.03, 0.1))
    found = replace(PLAIN, as_published=published).build().fit(window)
    points = standardised(moments(bar_returns(window.closes)))[0]
    order = np.argsort(window.coin_ids)
    rival = kmeans(points[order], 3)
    assert adjusted_rand(found.labels, rival.labels) == 1.0
    centre = np.array([points[order][found.labels == c].mean(axis=0) for c in range(3)])
    expected = np.linalg.norm(points[order][:, None] - centre, axis=2)
    np.testing.assert_allclose(found.distances, expected, atol=1e-9)
    assert found.diagnostics["inertia"] == pytest.approx((found.distance**2).sum())


def test_the_number_is_chosen_where_none_is_set() -> None:
    rng = np.random.default_rng(3)
    group = np.arange(60) % 3
    returns = rng.standard_normal((400, 60)) * 0.002 * np.array([1.0, 10.0, 20.0])[group]
    returns += np.array([0.0, 0.01, -0.02])[group] - returns.mean(axis=0)
    closes = np.exp(np.vstack([np.zeros((1, 60)), returns.cumsum(axis=0)]))
    window = FitInput(tuple(f"c{i:02}" for i in range(60)), closes, np.ones(60))
    found = replace(PLAIN, clusters=0).build().fit(window)
    assert found.diagnostics["chosen_k"] == 3.0
    assert adjusted_rand(found.labels, group) == 1.0
    assert found.diagnostics["vote_silhouette"] == 3.0
    assert {name for name in found.diagnostics if name.startswith("vote_")} == {
        f"vote_{name}" for name in ("silhouette", "dunn", "cop", "davies_bouldin", "calinski_harabasz", "score")
    }
    published = replace(PLAIN, clusters=0, as_published=True).build().fit(window)
    assert 2.0 <= published.diagnostics["chosen_k"] <= 8.0  # one random start is no good judge
    assert len([name for name in published.diagnostics if name.startswith("vote_")]) >= 20


def test_without_structure_all_coins_are_one_cluster_if_the_gate_says_so() -> None:
    window = market(4, (80,), (0.05,))
    gated = replace(PLAIN, clusters=0, hopkins_gate=0.01).build().fit(window)
    assert gated.diagnostics["chosen_k"] == 1.0
    assert gated.converged
    assert np.isnan(gated.silhouette)
    assert replace(PLAIN, clusters=0, hopkins_gate=1.0).build().fit(window).diagnostics["chosen_k"] > 1.0
    assert replace(PLAIN, clusters=3, hopkins_gate=0.01).build().fit(window).diagnostics["chosen_k"] == 3.0


def windows(seed: int, count: int = 12, bars: int = 60) -> list[FitInput]:
    whole = market(seed, (25, 25, 25), (0.02, 0.03, 0.05), bars + count)
    return [replace(whole, closes=whole.closes[at : at + bars + 1]) for at in range(count)]


def test_fits_are_warm_and_audited_at_the_interval() -> None:
    view = replace(PLAIN, audit_every_fits=5).build()
    fits = [view.fit(window) for window in windows(5)]
    assert fits[0].diagnostics["warm"] == 0.0
    for number, found in enumerate(fits):
        audited = number > 0 and number % 5 == 0
        assert ("audit_ari" in found.diagnostics) == audited
        if audited:
            assert found.diagnostics["audit_inertia_ratio"] > 0.9
            assert found.diagnostics["audit_ari"] <= 1.0
        elif number:
            assert found.diagnostics["warm"] == 1.0
    cold = [replace(PLAIN, warm_start=False).build().fit(window) for window in windows(5)]
    for found, rival in zip(fits, cold, strict=True):
        assert found.diagnostics["inertia"] < 1.1 * rival.diagnostics["inertia"]
    assert np.mean([adjusted_rand(a.labels, b.labels) for a, b in pairwise(fits)]) > 0.8


def test_an_audit_never_makes_a_fit_worse() -> None:
    for seed in range(2):
        series = windows(seed, 6)
        audited = replace(PLAIN, audit_every_fits=1, runs=2, starts=10).build()
        cold = replace(PLAIN, warm_start=False, runs=2, starts=10).build()
        for window in series:
            a, b = audited.fit(window), cold.fit(window)
            assert a.diagnostics["inertia"] <= b.diagnostics["inertia"] * (1 + 1e-9)


def test_a_cold_view_depends_on_its_window_alone() -> None:
    series = windows(6, 4)
    for config in (replace(PLAIN, warm_start=False), replace(PLAIN, as_published=True)):
        running = config.build()
        for window in series:
            np.testing.assert_array_equal(running.fit(window).labels, config.build().fit(window).labels)


def test_a_window_of_few_coins_does_not_set_the_number_for_later_ones() -> None:
    whole = market(7, (10, 10, 10), (0.01, 0.04, 0.1))
    few = FitInput(whole.coin_ids[:2], whole.closes[:, :2], whole.market_cap[:2])
    for config in (PLAIN, replace(PLAIN, clusters=0)):
        view = config.build()
        assert len(view.fit(few).exemplars) == 2
        assert view.fit(whole).diagnostics["warm"] == 0.0


def test_what_is_published_is_not_clipped() -> None:
    window = market(8, (40,), (0.02,))
    closes = window.closes.copy()
    closes[100:, 0] *= 1e6  # one return of 13.8
    wild = replace(window, closes=closes)
    coin = sorted(window.coin_ids).index(window.coin_ids[0])
    clipped = MomentsConfig(winsorise_quantile=0.001).build().fit(wild)
    published = MomentsConfig(winsorise_quantile=0.001, as_published=True).build().fit(wild)
    assert values(published, "size")[published.labels[coin]] == 1.0
    assert values(published, "deviation").max() > 0.9
    assert values(clipped, "deviation").max() < 0.1


def test_coins_that_stand_still_take_part() -> None:
    window = market(9, (20,), (0.02,))
    closes = window.closes.copy()
    closes[:, 3] = 7.0
    still = replace(window, closes=closes)
    found = PLAIN.build().fit(still)
    assert found.excluded == {}
    assert prepare(still, PLAIN).excluded == {window.coin_ids[3]: "returns do not vary"}


@pytest.mark.parametrize(
    "bad", [{"clusters": -1}, {"most_clusters": 1}, {"starts": 0}, {"runs": 0}, {"audit_every_fits": 0}]
)
def test_bad_settings_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        MomentsConfig(**bad)  # type: ignore[arg-type]


def test_the_state_of_another_view_is_refused() -> None:
    for state in (b'{"view": "shape", "fits": 1, "centres": null}', b'{"view": "moments", "fits": 1}', b""):
        with pytest.raises(ValueError, match="moments"):
            PLAIN.build(state)


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(0, 12), st.integers(1, 12), st.integers(0, 4), st.booleans())
def test_any_small_window_is_fitted(seed: int, n: int, bars: int, clusters: int, published: bool) -> None:
    rng = np.random.default_rng(seed)
    closes = np.exp(np.round(rng.standard_normal((bars, n)), 1))
    closes[rng.random(closes.shape) < 0.2] = rng.choice([np.nan, 0.0, np.inf, -1.0])
    window = FitInput(tuple(f"c{i}" for i in range(n)), closes, np.ones(n))
    config = replace(PLAIN, clusters=clusters, as_published=published, starts=3, runs=2)
    found = config.build().fit(window)
    assert set(found.coin_ids) | set(found.excluded) == set(window.coin_ids)
    assert found.converged == bool(found.coin_ids)
    assert all(reason == "fewer than two returns" for reason in found.excluded.values())
