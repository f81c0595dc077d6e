"""The distribution view on planted markets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from models.distribution import POSITIONS, DistributionConfig
from models.distribution_search import choose, chosen, cold
from models.dynamic_clustering import balanced_starts, dynamic_clustering
from models.prepare import FitInput
from models.quantiles import features, fixed_quantiles, moments, order_statistics
from models.threads import one_thread
from models.view import Prototype, ViewFit
from models.wasserstein import explained_share, total_squares

Float64 = npt.NDArray[np.float64]

CONFIG = DistributionConfig(clusters=3, winsorise_quantile=0.0, duplicates_above_correlation=1.0, exclude=())


def window(R: Float64, seed: int | None = None) -> FitInput:
    """Return closes that have these log returns; ``seed`` shuffles the coins, not their names."""
    n = R.shape[1]
    ids = np.array([f"coin-{i:03}" for i in range(n)], dtype=np.object_)
    order = np.arange(n) if seed is None else np.random.default_rng(seed).permutation(n)
    closes = np.exp(np.vstack([np.zeros(n), np.cumsum(np.where(np.isfinite(R), R, 0.0), axis=0)]))
    closes[1:][~np.isfinite(R)] = np.nan
    return FitInput(tuple(ids[order].tolist()), np.ascontiguousarray(closes[:, order]), np.zeros(n))


def market(rng: np.random.Generator, bars: int = 60, each: int = 10) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Return the returns of three groups: quiet, loud, and loud with a skew; members next to each other."""
    truth = np.arange(3 * each) % 3
    R = rng.normal(size=(bars, 3 * each)) * np.array([0.01, 0.05, 0.05])[truth]
    skewed = truth == 2
    R[:, skewed] = 0.1 * (rng.exponential(size=(bars, each)) - 1.0)
    return R, truth


def bytes_of(found: ViewFit) -> bytes:
    """Everything that a fit says, as bytes."""
    arrays = [found.labels, found.exemplars, found.silhouettes, found.distance, found.distances]
    for each in found.prototypes:
        arrays += [each.label, each.position, each.value]
    names = [found.coin_ids, found.converged, found.iterations, found.silhouette, found.diagnostics, found.excluded]
    return b"".join(array.tobytes() for array in arrays) + repr(names).encode()


def statistic(found: ViewFit, name: str) -> Prototype:
    (only,) = [each for each in found.prototypes if each.statistic == name]
    return only


def test_it_finds_the_planted_groups(rng: np.random.Generator) -> None:
    R, truth = market(rng, bars=200)
    found = CONFIG.build().fit(window(R))
    assert adjusted_rand_score(truth, found.labels) == 1.0
    assert found.converged
    assert found.excluded == {}


def test_it_is_k_means_on_sorted_returns(rng: np.random.Generator) -> None:
    R = rng.standard_t(4, size=(50, 80)) * rng.uniform(0.005, 0.1, 80)
    given_ = window(R)
    found = replace(CONFIG, clusters=4).build().fit(given_)
    X = np.sort(np.diff(np.log(given_.closes), axis=0), axis=0).T / np.sqrt(50)
    with one_thread():
        reference = KMeans(4, n_init=50, random_state=0).fit(X)
    assert found.diagnostics["inertia"] <= reference.inertia_ * (1.0 + 1e-9)
    assert found.diagnostics["explained_share"] == pytest.approx(
        explained_share(found.diagnostics["inertia"], total_squares(X))
    )
    for label in range(4):
        centre = X[found.labels == label].mean(axis=0)
        np.testing.assert_allclose(found.distances[:, label], np.sqrt(((X - centre) ** 2).sum(axis=1)), atol=1e-12)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.integers(1, 3))
def test_coins_in_another_order_change_no_bit(seed: int, as_published: bool, segments: int) -> None:
    rng = np.random.default_rng(seed)
    R = rng.normal(size=(15, 12)) * rng.uniform(0.01, 0.1, 12)
    R[rng.random(R.shape) < 0.1] = np.nan
    config = replace(CONFIG, as_published=as_published, segments=segments)
    first, second = config.build().fit(window(R)), config.build().fit(window(R, seed))
    assert bytes_of(first) == bytes_of(second)


def test_days_in_another_order_change_nothing_but_segments(rng: np.random.Generator) -> None:
    R, _ = market(rng)
    order = rng.permutation(len(R))
    for config in (CONFIG, replace(CONFIG, as_published=True)):
        one, other = config.build().fit(window(R)), config.build().fit(window(R[order]))
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_allclose(one.distances, other.distances, atol=1e-12)
    cut = replace(CONFIG, segments=4)
    one, other = cut.build().fit(window(R)), cut.build().fit(window(R[order]))
    assert not np.allclose(one.distance, other.distance)


def test_the_unit_of_a_price_is_irrelevant(rng: np.random.Generator) -> None:
    R, _ = market(rng)
    given_ = window(R)
    scaled = replace(given_, closes=given_.closes * 10.0 ** rng.integers(-6, 6, R.shape[1]))
    one, other = CONFIG.build().fit(given_), CONFIG.build().fit(scaled)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_allclose(one.distances, other.distances, atol=1e-12)


def test_gaps_and_flat_coins_take_part_and_the_rest_is_named(rng: np.random.Generator) -> None:
    R, truth = market(rng, bars=200)
    R[rng.random(R.shape) < 0.03] = np.nan
    R[:, 4] = 0.0
    R[:, 5] = np.nan
    found = CONFIG.build().fit(window(R))
    assert found.excluded == {"coin-005": "fewer than two returns"}
    kept = np.arange(30) != 5
    clear = np.arange(30)[kept] != 4
    assert adjusted_rand_score(truth[kept][clear], found.labels[clear]) == 1.0
    assert found.labels[found.coin_ids.index("coin-004")] == found.labels[truth[kept] == 0][0]


def test_a_coin_without_a_return_in_one_segment_is_left_out(rng: np.random.Generator) -> None:
    R, _ = market(rng)
    R[15:30, 7] = np.nan
    assert CONFIG.build().fit(window(R)).excluded == {}
    found = replace(CONFIG, segments=4).build().fit(window(R))
    assert found.excluded == {"coin-007": "no return in one of the segments"}
    assert "coin-007" not in found.coin_ids
    with pytest.raises(ValueError, match="cannot be cut into 70 segments"):
        replace(CONFIG, segments=70).build().fit(window(R))


def test_segments_add_squared_distances(rng: np.random.Generator) -> None:
    """A coin that is quiet, then loud, and one that is the other way round: alike over the year, not by quarters."""
    loud = np.repeat([1.0, 5.0], 40)
    swings = np.where(np.arange(20) < 10, loud[:, None], loud[::-1, None])
    R = 0.01 * rng.normal(size=(80, 20)) * swings
    two = replace(CONFIG, clusters=2)
    cut = replace(two, segments=2).build().fit(window(R))
    assert adjusted_rand_score(np.arange(20) < 10, cut.labels) == 1.0
    assert adjusted_rand_score(np.arange(20) < 10, two.build().fit(window(R)).labels) < 0.5
    X = np.hstack([features(order_statistics(part)) for part in np.split(R, 2)])
    for label in range(2):
        centre = X[cut.labels == label].mean(axis=0)
        np.testing.assert_allclose(cut.distances[:, label], np.sqrt(((X - centre) ** 2).sum(axis=1)), atol=1e-10)
    names = {each.statistic for each in cut.prototypes}
    assert {"quantile", "segment_1_quantile", "segment_2_quantile", "segment_2_kurtosis"} <= names
    assert "segment_3_mean" not in names
    halves = [statistic(cut, f"segment_{number}_deviation").value for number in (1, 2)]
    assert (np.abs(halves[0] - halves[1]) > 0.02).all()
    whole = statistic(cut, "deviation").value
    assert ((whole > np.minimum(*halves)) & (whole < np.maximum(*halves))).all()


def test_exemplars_are_the_nearest_members_and_number_the_clusters(rng: np.random.Generator) -> None:
    R, _ = market(rng)
    found = CONFIG.build().fit(window(R))
    assert (np.diff(found.exemplars) > 0).all()
    for label, exemplar in enumerate(found.exemplars):
        members = np.flatnonzero(found.labels == label)
        assert exemplar == members[found.distances[members, label].argmin()]
    np.testing.assert_array_equal(found.labels, found.distances.argmin(axis=1))
    np.testing.assert_array_equal(found.distance, found.distances.min(axis=1))
    assert found.silhouette == found.silhouettes.mean()


def test_prototypes_are_the_mean_quantile_functions(rng: np.random.Generator) -> None:
    R, _ = market(rng)
    found = CONFIG.build().fit(window(R))
    for name in ("mean", "median", "deviation", "skewness", "kurtosis", "minimum", "maximum"):
        each = statistic(found, name)
        assert each.label.tolist() == [0, 1, 2]
        assert (each.position == 0.0).all()
    quantile = statistic(found, "quantile")
    assert quantile.value.shape == (303,)
    for label in range(3):
        members = np.sort(R[:, found.labels == label], axis=0)
        mean = members.mean(axis=1)
        rows = quantile.label == label
        np.testing.assert_array_equal(quantile.position[rows], POSITIONS)
        expected = np.interp(POSITIONS, (np.arange(60) + 0.5) / 60, mean)
        np.testing.assert_allclose(quantile.value[rows], expected, atol=1e-12)
        for name, value in (
            ("mean", mean.mean()),
            ("median", np.median(mean)),
            ("deviation", mean.std()),
            ("coefficient_of_variation", mean.std() / mean.mean()),
            ("minimum", mean[0]),
            ("maximum", mean[-1]),
            ("wasserstein_variance", ((members.T - mean) ** 2).mean(axis=1).mean()),
        ):
            assert statistic(found, name).value[label] == pytest.approx(value, rel=1e-9), name


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, as_published=True), replace(CONFIG, segments=4)])
def test_squares_are_split_without_remainder(rng: np.random.Generator, config: DistributionConfig) -> None:
    R, _ = market(rng)
    found = config.build().fit(window(R))
    variance = statistic(found, "wasserstein_variance").value
    parts = [statistic(found, f"wasserstein_variance_{name}").value for name in ("location", "spread", "shape")]
    np.testing.assert_allclose(sum(parts), variance, rtol=1e-10)
    squared = [(found.distance[found.labels == label] ** 2).mean() for label in range(3)]
    np.testing.assert_allclose(variance, squared, rtol=1e-10)
    shares = [value for name, value in found.diagnostics.items() if name.startswith(("within_", "between_"))]
    assert len(shares) == 6
    assert sum(shares) == pytest.approx(1.0)
    within = sum(value for name, value in found.diagnostics.items() if name.startswith("within_"))
    assert 1.0 - within == pytest.approx(found.diagnostics["explained_share"])
    assert list(found.diagnostics) == sorted(found.diagnostics)


def test_as_published(rng: np.random.Generator) -> None:
    """Histograms of 20 quantiles, R's starts, nothing clipped whatever the setting, every fit anew."""
    R, _ = market(rng)
    R[3, 0] = 2.0
    config = replace(CONFIG, as_published=True, winsorise_quantile=0.05, seed=42)
    given_ = window(R)
    view = config.build()
    found = view.fit(given_)
    X = features(fixed_quantiles(np.diff(np.log(given_.closes), axis=0), 20))
    expected = dynamic_clustering(X, 3, balanced_starts(30, 3, 20, seed=42))
    assert adjusted_rand_score(expected.labels, found.labels) == 1.0
    assert found.diagnostics["inertia"] == pytest.approx(expected.criterion, rel=1e-12)
    own = found.labels[0]
    assert statistic(found, "maximum").value[own] >= 2.0 / np.bincount(found.labels)[own]
    assert bytes_of(view.fit(given_)) == bytes_of(found)
    assert view.snapshot() == b""


@pytest.mark.parametrize(("n", "clusters"), [(1, 1), (2, 2), (3, 3), (5, 3)])
def test_few_coins(rng: np.random.Generator, n: int, clusters: int) -> None:
    for config in (CONFIG, replace(CONFIG, as_published=True)):
        found = config.build().fit(window(rng.normal(size=(20, n))))
        assert found.labels.max() + 1 == len(found.exemplars) == clusters
        assert np.isnan(found.silhouette) == (n == 1)


@pytest.mark.parametrize("clusters", [0, 3])
@pytest.mark.parametrize("as_published", [False, True])
def test_coins_that_are_all_the_same_are_one_cluster(clusters: int, as_published: bool) -> None:
    R = np.repeat(np.linspace(-0.1, 0.1, 12)[:, np.newaxis], 6, axis=1)
    found = replace(CONFIG, clusters=clusters, as_published=as_published).build().fit(window(R))
    assert found.labels.tolist() == [0] * 6
    assert found.diagnostics["explained_share"] == 1.0
    assert np.isnan(found.silhouettes).all()
    np.testing.assert_allclose(found.distance, 0.0, atol=1e-12)


def test_no_coins() -> None:
    view = CONFIG.build()
    found = view.fit(FitInput((), np.empty((5, 0)), np.empty(0)))
    assert (found.coin_ids, found.converged, len(found.labels)) == ((), False, 0)
    assert view.snapshot() == b""


def steps(rng: np.random.Generator, count: int, bars: int = 40) -> list[FitInput]:
    """Return windows of one market, a bar apart."""
    R = rng.standard_t(4, size=(bars + count, 150)) * rng.uniform(0.005, 0.1, 150)
    return [window(R[i : i + bars]) for i in range(count)]


def test_warm_starts_go_on_and_are_audited(rng: np.random.Generator) -> None:
    view = replace(CONFIG, clusters=6, audit_every_fits=3).build()
    fits = [view.fit(each) for each in steps(rng, 8)]
    assert [found.diagnostics["warm"] for found in fits[:3]] == [0.0, 1.0, 1.0]
    audits = [i for i, found in enumerate(fits) if "audit_ari" in found.diagnostics]
    assert audits == [3, 6]
    for i in audits:
        figures = fits[i].diagnostics
        assert figures["audit_inertia_ratio"] > 0.9
        assert -0.1 <= figures["audit_ari"] <= 1.0
        assert figures["warm"] == float(figures["audit_inertia_ratio"] <= 1.0 + 1e-9)


def test_the_better_of_both_stays_after_an_audit(rng: np.random.Generator) -> None:
    settings_ = replace(CONFIG, clusters=6, starts=30)
    windows = steps(rng, 6)
    audited, anew = replace(settings_, audit_every_fits=1).build(), settings_
    for each in windows:
        ours, cold_ = audited.fit(each), anew.build().fit(each)
        assert ours.diagnostics["inertia"] <= cold_.diagnostics["inertia"] * (1.0 + 1e-9)


def test_the_same_window_again_changes_nothing(rng: np.random.Generator) -> None:
    view, (each,) = replace(CONFIG, clusters=5).build(), steps(rng, 1)
    first, second = view.fit(each), view.fit(each)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert second.diagnostics["warm"] == 1.0


def test_without_warm_starts_the_past_is_forgotten(rng: np.random.Generator) -> None:
    config = replace(CONFIG, clusters=6, warm_start=False)
    view = config.build()
    for each in steps(rng, 3):
        assert bytes_of(view.fit(each)) == bytes_of(config.build().fit(each))
    assert view.snapshot() == b""


@pytest.mark.parametrize("clusters", [0, 5])
@pytest.mark.parametrize("segments", [1, 3])
def test_a_restored_view_goes_on_as_the_other_would(rng: np.random.Generator, clusters: int, segments: int) -> None:
    config = replace(CONFIG, clusters=clusters, segments=segments, starts=3, audit_every_fits=3, most_clusters=5)
    view = config.build()
    for each in steps(rng, 6):
        other = config.build(view.snapshot())
        assert bytes_of(view.fit(each)) == bytes_of(other.fit(each))
        assert view.snapshot() == other.snapshot()


def test_prototypes_are_carried_to_windows_of_another_length(rng: np.random.Generator) -> None:
    R, truth = market(rng, bars=200)
    view = CONFIG.build()
    view.fit(window(R[:150]))
    found = view.fit(window(R))
    assert found.diagnostics["warm"] == 1.0
    assert adjusted_rand_score(truth, found.labels) == 1.0


def test_coins_come_and_go(rng: np.random.Generator) -> None:
    R, truth = market(rng, bars=200)
    view = CONFIG.build()
    view.fit(window(R[:, :21]))
    found = view.fit(window(R))
    assert found.diagnostics["warm"] == 1.0
    assert adjusted_rand_score(truth, found.labels) == 1.0
    two = view.fit(window(R[:, :2]))
    assert (two.diagnostics["warm"], len(two.exemplars)) == (0.0, 2)
    again = view.fit(window(R))
    assert (again.diagnostics["warm"], len(again.exemplars)) == (0.0, 3)


def test_a_snapshot_of_something_else_is_refused(rng: np.random.Generator) -> None:
    view = CONFIG.build()
    view.fit(window(market(rng)[0]))
    saved = view.snapshot()
    with pytest.raises(ValueError, match="state is not one of the distribution view"):
        CONFIG.build(b"\xc1 nonsense")
    with pytest.raises(ValueError, match="3 clusters over 1 segments, not 4 over 1"):
        replace(CONFIG, clusters=4).build(saved)
    with pytest.raises(ValueError, match="not 3 over 2"):
        replace(CONFIG, segments=2).build(saved)
    with pytest.raises(ValueError, match="version 9"):
        CONFIG.build(saved.replace(b"\xa7version\x01", b"\xa7version\x09"))
    with pytest.raises(ValueError, match="do not fit their bins"):
        CONFIG.build(saved.replace(b"\xa4bins\x91\x3c", b"\xa4bins\x91\x3b"))
    replace(CONFIG, clusters=0).build(saved)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_snapshot_or_an_error(saved: bytes) -> None:
    try:
        CONFIG.build(saved)
    except ValueError as error:
        assert "distribution view's state" in str(error) or "the state is not one" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "wrong",
    [{"starts": 0}, {"segments": 0}, {"bins": 0}, {"audit_every_fits": 0}, {"clusters": -1}, {"most_clusters": 1}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(CONFIG, **wrong)


def test_the_number_of_clusters_is_chosen(rng: np.random.Generator) -> None:
    R, truth = market(rng, bars=200)
    found = replace(CONFIG, clusters=0, most_clusters=6).build().fit(window(R))
    assert found.diagnostics["chosen_k"] == 3.0
    assert adjusted_rand_score(truth, found.labels) == 1.0
    for k in range(2, 7):
        assert {f"explained_share_{k}", f"calinski_harabasz_{k}", f"silhouette_{k}"} <= found.diagnostics.keys()


def test_the_rule_for_the_number_of_clusters() -> None:
    """The figures of 1,052 coins of 2021: the curve ends at 5, and of 4 to 6 the silhouette wants 5."""
    explained = dict(zip(range(2, 11), [0.418, 0.590, 0.660, 0.715, 0.749, 0.780, 0.798, 0.813, 0.825], strict=True))
    ch = dict(zip(range(2, 11), [753.0, 753.9, 678.0, 656.4, 625.9, 617.9, 588.7, 568.5, 547.2], strict=True))
    silhouette = dict(zip(range(2, 11), [0.564, 0.408, 0.279, 0.340, 0.299, 0.269, 0.248, 0.248, 0.232], strict=True))
    assert chosen(explained, ch, silhouette, 0.05) == 5
    assert chosen(explained, ch, silhouette, 0.0) == 9  # never flat: the last three are compared
    assert chosen(explained, ch, silhouette, 0.2) == 2
    nan = float("nan")
    assert chosen({1: 1.0}, {1: nan}, {1: nan}, 0.05) == 1
    assert chosen({2: 0.9, 3: 1.0}, {2: 5.0, 3: nan}, {2: 0.5, 3: 0.0}, 0.05) == 2


def test_choice_stops_at_the_number_of_distinct_distributions() -> None:
    X = np.repeat(np.eye(3), 4, axis=0)
    found, figures = choose(X, 10, 0.05, 5, 0)
    assert len(found.centres) == 3
    assert "silhouette_4" not in figures
    two, _ = choose(np.eye(2), 10, 0.05, 5, 0)
    assert len(two.centres) == 2


def test_the_search_on_few_columns_ends_in_an_optimum_of_all(rng: np.random.Generator) -> None:
    R = rng.standard_t(4, size=(120, 300)) * rng.uniform(0.005, 0.1, 300)
    X = features(order_statistics(R))
    found = cold(X, 5, 20, 0)
    with one_thread():
        reference = KMeans(5, n_init=20, random_state=1).fit(X)
        again = KMeans(5, init=found.centres, n_init=1, tol=0.0).fit(X)
    assert found.inertia <= reference.inertia_ * 1.001
    np.testing.assert_array_equal(again.labels_, found.labels)


def test_moments_of_prototypes_survive_flat_groups() -> None:
    R = np.zeros((10, 4))
    R[:, 2:] = np.array([0.1, -0.1] * 5)[:, np.newaxis]
    found = replace(CONFIG, clusters=2).build().fit(window(R))
    flat = found.labels[0]
    assert np.isnan(statistic(found, "kurtosis").value[flat])
    assert moments(order_statistics(R)).deviation[2] == pytest.approx(statistic(found, "deviation").value[1 - flat])
