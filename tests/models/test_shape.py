from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from models.dtw import dtw_matrix
from models.medoids import calinski_harabasz, medoid, silhouettes
from models.prepare import FitInput
from models.shape import ShapeConfig, ShapeView
from models.tadpole import assign, density_peaks, tadpole
from models.view import ViewFit
from tests.conformance.check_clusterer import check_invariants, equal, market

PLAIN = ShapeConfig(winsorise_quantile=0.0, duplicates_above_correlation=1.0, exclude=())


def series(window: FitInput) -> tuple[tuple[str, ...], Any]:
    """Return the ids in order and the log returns as rows, missing ones as the coin's mean."""
    order = sorted(range(len(window.coin_ids)), key=window.coin_ids.__getitem__)
    returns = np.diff(np.log(window.closes[:, order]), axis=0)
    filled = np.where(np.isnan(returns), np.nanmean(returns, axis=0), returns)
    return tuple(window.coin_ids[i] for i in order), np.ascontiguousarray(filled.T)


def statistic(found: ViewFit, name: str) -> Any:
    return next(prototype for prototype in found.prototypes if prototype.statistic == name)


def test_a_fit_is_density_peaks_on_the_returns() -> None:
    window = market(21, n=50, gaps=0.04)
    found = PLAIN.build().fit(window)
    ids, X = series(window)
    D = dtw_matrix(X, 3)
    dc = float(np.quantile(D[np.triu_indices(50, 1)], 0.015, method="higher"))
    labels, centroids = assign(density_peaks(D, dc), 3)
    assert found.coin_ids == ids
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.exemplars, centroids)
    np.testing.assert_allclose(found.distances, D[:, centroids], atol=1e-12)
    np.testing.assert_allclose(found.silhouettes, silhouettes(D, labels), atol=1e-12)
    assert found.diagnostics["dc"] == pytest.approx(dc, rel=1e-12)
    assert found.diagnostics["calinski_harabasz"] == pytest.approx(
        calinski_harabasz(D, labels, centroids, medoid(D)), rel=1e-12
    )


def test_prototypes_describe_the_clusters() -> None:
    window = market(22, n=30)
    found = PLAIN.build().fit(window)
    _, X = series(window)
    own = [found.distance[found.labels == c] for c in range(3)]
    np.testing.assert_array_equal(statistic(found, "size").value, [len(group) for group in own])
    np.testing.assert_array_equal(statistic(found, "share").value, [len(group) / 30 for group in own])
    np.testing.assert_allclose(statistic(found, "distance_mean").value, [group.mean() for group in own])
    np.testing.assert_allclose(statistic(found, "distance_deviation").value, [group.std() for group in own])
    with np.errstate(invalid="ignore"):
        expected = [group.std() / group.mean() if group.mean() > 0 else np.nan for group in own]
    np.testing.assert_allclose(statistic(found, "distance_coefficient_of_variation").value, expected)
    curve = statistic(found, "medoid_return")
    assert curve.label.tolist() == [0] * 60 + [1] * 60 + [2] * 60
    assert curve.position[:60].tolist() == list(range(60))
    np.testing.assert_allclose(curve.value.reshape(3, 60), X[found.exemplars], atol=1e-15)


def test_shifted_coins_find_each_other() -> None:
    """What the view is for: a group that moves a bar or two late is the same shape, which no correlation sees."""
    rng = np.random.default_rng(4)
    leaders = 0.05 * rng.standard_normal((2, 124))
    rows = [np.roll(leaders[g], shift)[3:-3] for g in (0, 1) for shift in (0, 1, 2, 3) for _ in range(8)]
    returns = np.array(rows).T + 0.004 * rng.standard_normal((118, 64))
    closes = np.exp(np.vstack([np.zeros((1, 64)), returns.cumsum(axis=0)]))
    window = FitInput(tuple(f"c{i:02}" for i in range(64)), closes, np.ones(64))
    found = replace(PLAIN, clusters=2, window=6, dc_quantile=0.3).build().fit(window)
    assert len({(i // 32, label) for i, label in enumerate(found.labels.tolist())}) == 2
    same_day = replace(PLAIN, clusters=2, window=0, dc_quantile=0.3).build().fit(window)
    assert found.silhouette > same_day.silhouette + 0.3


def test_series_of_three_kinds() -> None:
    window = market(23, n=25, gaps=0.05)
    kinds = ("returns", "standardised", "residual")
    fits = {kind: replace(PLAIN, series=kind).build().fit(window) for kind in kinds}
    loud = replace(window, closes=window.closes ** np.linspace(0.5, 3.0, 25))
    standardised = replace(PLAIN, series="standardised").build().fit(loud)
    np.testing.assert_allclose(standardised.distances, fits["standardised"].distances, atol=1e-9)
    assert not np.allclose(PLAIN.build().fit(loud).distances, fits["returns"].distances)
    assert not np.allclose(fits["residual"].distances, fits["standardised"].distances)
    flat = replace(window, closes=window.closes.copy())
    flat.closes[:, 3] = 2.0
    assert not replace(PLAIN, series="returns").build().fit(flat).excluded
    for kind in ("standardised", "residual"):
        assert list(replace(PLAIN, series=kind).build().fit(flat).excluded) == [flat.coin_ids[3]]


def test_coins_that_only_follow_the_market_have_no_residual() -> None:
    rng = np.random.default_rng(6)
    common = rng.standard_normal(40)
    closes = np.exp(0.01 * np.vstack([np.zeros((1, 6)), (common[:, None] * np.arange(1, 7)).cumsum(axis=0)]))
    found = replace(PLAIN, series="residual").build().fit(FitInput(tuple("abcdef"), closes, np.ones(6)))
    assert not found.coin_ids
    assert set(found.excluded.values()) == {"moves with the market alone"}


def test_a_missing_return_is_the_mean() -> None:
    window = market(24, n=10)
    holed = replace(window, closes=window.closes.copy())
    holed.closes[20, 4] = np.nan  # two returns are masked: into the gap and out of it
    ids, X = series(window)
    row = ids.index(window.coin_ids[4])
    X[row, 19:21] = np.delete(X[row], [19, 20]).mean()
    found = PLAIN.build().fit(holed)
    np.testing.assert_allclose(found.distances, dtw_matrix(X)[:, found.exemplars], atol=1e-9)


def test_the_order_of_dtwclust_and_its_bounds() -> None:
    window = market(25, n=40)
    _, X = series(window)
    found = replace(PLAIN, order="dtwclust", dc_quantile=0.1).build().fit(window)
    dc = found.diagnostics["dc"]
    peaks = tadpole(X, dc, order="dtwclust")
    labels, centroids = assign(peaks, 3)
    np.testing.assert_array_equal(found.exemplars, centroids)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.diagnostics["computed_share"] == pytest.approx(peaks.computed_share)
    tighter = replace(PLAIN, order="dtwclust", dc_quantile=0.1, lower_bound="improved").build().fit(window)
    assert tighter.diagnostics["computed_share"] <= found.diagnostics["computed_share"]


def test_a_fixed_cutoff_that_nobody_meets_is_no_fit() -> None:
    window = market(26, n=8)
    found = replace(PLAIN, dc=1e-9).build().fit(window)
    assert not found.converged
    check_invariants(found, window)
    assert found.diagnostics["dc"] == 1e-9


def test_coins_may_go_to_the_nearest_medoid() -> None:
    window = market(34, n=60, gaps=0.02)
    denser = PLAIN.build().fit(window)
    nearest = replace(PLAIN, assignment="nearest").build().fit(window)
    np.testing.assert_array_equal(denser.exemplars, nearest.exemplars)
    np.testing.assert_array_equal(nearest.labels, nearest.distances.argmin(axis=1))
    assert (nearest.labels != denser.labels).any()
    check_invariants(nearest, window)
    twins = replace(window, closes=np.repeat(window.closes[:, :20], 3, axis=1))
    found = replace(PLAIN, assignment="nearest", clusters=5).build().fit(twins)
    check_invariants(found, twins)


def test_as_published_are_the_settings_of_the_paper() -> None:
    window = market(27, n=30)
    window = replace(window, closes=window.closes**4)
    published = (
        ShapeConfig(
            as_published=True, assignment="nearest", precision="float32", duplicates_above_correlation=1.0, exclude=()
        )
        .build()
        .fit(window)
    )
    assert published.diagnostics["dc"] == 2.0
    by_hand = replace(PLAIN, dc=2.0, order="dtwclust").build().fit(window)
    equal(published, by_hand)


def test_the_number_chosen_is_held_between_choices() -> None:
    windows = [market(seed, n=30) for seed in range(12)]
    chosen = replace(PLAIN, clusters=0, choose_by="knee")
    fresh = [chosen.build().fit(window).diagnostics["clusters"] for window in windows]
    assert len(set(fresh)) > 1, "markets that call for one number of clusters show nothing"
    running = replace(chosen, choose_every_fits=4).build()
    held = [running.fit(window).diagnostics["clusters"] for window in windows]
    assert held == [fresh[at - at % 4] for at in range(12)]
    anew = replace(chosen, choose_every_fits=1).build()
    assert [anew.fit(window).diagnostics["clusters"] for window in windows] == fresh


def test_the_number_chosen_has_the_largest_index() -> None:
    window = market(28, n=35)
    found = replace(PLAIN, clusters=0, most_clusters=8).build().fit(window)
    values = {k: replace(PLAIN, clusters=k).build().fit(window).diagnostics["calinski_harabasz"] for k in range(2, 9)}
    assert found.diagnostics["clusters"] == max(values, key=values.__getitem__)
    by_knee = replace(PLAIN, clusters=0, choose_by="knee", most_clusters=8).build().fit(window)
    assert 2 <= by_knee.diagnostics["clusters"] <= 8


def corrected(window: FitInput, coins: int) -> FitInput:
    """Return the window with a late correction of the closes of its first coins."""
    closes = window.closes.copy()
    closes[30, :coins] *= 1.01
    return replace(window, closes=closes)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("series_kind", ["returns", "standardised"])
def test_distances_are_used_again_only_where_nothing_changed(precision: Any, series_kind: Any) -> None:
    config = replace(PLAIN, precision=precision, series=series_kind)
    window = market(29, n=80, gaps=0.02)
    shares = []
    running = config.build()
    for other in (window, window, corrected(window, 7), corrected(window, 60), corrected(window, 61)):
        found = running.fit(other)
        shares.append(found.diagnostics["reused_share"])
        cold = config.build().fit(other)
        found.diagnostics.pop("reused_share")
        cold.diagnostics.pop("reused_share")
        equal(found, cold)
    assert shares == [0.0, 1.0, 73 / 80, 0.0, 79 / 80]


def test_coins_that_come_and_go_keep_their_distances() -> None:
    window = market(30, n=70)
    less = FitInput(window.coin_ids[10:], window.closes[:, 10:], window.market_cap[10:])
    running = PLAIN.build()
    running.fit(less)
    found = running.fit(window)
    assert found.diagnostics["reused_share"] == 60 / 70
    assert running.fit(less).diagnostics["reused_share"] == 1.0
    cold = PLAIN.build().fit(window)
    np.testing.assert_array_equal(found.distances, cold.distances)


def test_distances_wait_where_they_should() -> None:
    window = market(31, n=20)
    sizes = {}
    for where in ("no", "memory", "snapshot"):
        running = replace(PLAIN, keep_distances=where).build()
        running.fit(window)
        state = running.snapshot()
        sizes[where] = len(state)
        again = replace(PLAIN, keep_distances=where).build(state).fit(window)
        assert again.diagnostics["reused_share"] == (1.0 if where == "snapshot" else 0.0)
        assert running.fit(window).diagnostics["reused_share"] == (0.0 if where == "no" else 1.0)
    assert sizes["no"] == sizes["memory"] < 200
    assert 20 * 19 // 2 * 8 < sizes["snapshot"] < 20 * 19 // 2 * 8 + 20 * 20 + 200


def test_states_of_another_kind_are_refused() -> None:
    running = replace(PLAIN, keep_distances="snapshot").build()
    running.fit(market(32, n=6))
    state = running.snapshot()
    decoded = msgspec.msgpack.decode(state)
    for change, message in (
        ({"version": 2}, "version"),
        ({"clusters": -1}, "speaks of -1 clusters"),
        ({"kept": decoded["kept"] | {"distances": b"1234"}}, "do not fit"),
        ({"kept": decoded["kept"] | {"digests": [b"short"] * 6}}, "do not fit"),
        ({"kept": decoded["kept"] | {"window": 4}}, "of window 4 and float64, not of 3"),
        ({"kept": 1}, "not a state"),
    ):
        with pytest.raises(ValueError, match=message):
            PLAIN.build(msgspec.msgpack.encode(decoded | change))
    for other in (replace(PLAIN, window=2), replace(PLAIN, precision="float32")):
        with pytest.raises(ValueError, match="state's distances are of window 3"):
            other.build(state)
    assert isinstance(PLAIN.build(b""), ShapeView)


def test_threads_and_precision() -> None:
    window = market(33, n=90)
    found = PLAIN.build().fit(window)
    equal(found, replace(PLAIN, threads=2).build().fit(window))
    rounded = replace(PLAIN, precision="float32").build().fit(window)
    np.testing.assert_array_equal(found.labels, rounded.labels)
    np.testing.assert_allclose(found.distances, rounded.distances, atol=1e-5)
    assert rounded.distances.dtype == np.float64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clusters": -1}, "clusters"),
        ({"most_clusters": 1}, "most_clusters"),
        ({"window": -1}, "window"),
        ({"threads": 0}, "threads"),
        ({"choose_every_fits": 0}, "choose_every_fits"),
        ({"dc": -0.1}, "dc"),
        ({"dc": float("nan")}, "dc"),
        ({"dc_quantile": 0.0}, "dc_quantile"),
        ({"choose_by": "gap"}, "choose_by is one of calinski_harabasz, knee, not 'gap'"),
        ({"series": "prices"}, "series"),
        ({"assignment": "furthest"}, "assignment"),
        ({"order": "delta"}, "order"),
        ({"lower_bound": "yi"}, "lower_bound"),
        ({"precision": "float16"}, "precision"),
        ({"keep_distances": "disk"}, "keep_distances"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PLAIN, **change)
