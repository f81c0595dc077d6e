"""The distribution view against HistDAWass 1.0.8 (R 4.2.2) and against the market of 2021.

The random starts are R's own (set.seed(42), sample), so that the dynamic clustering is compared repetition by
repetition and label by label.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from models.distribution import DistributionConfig
from models.distribution_search import cold
from models.dynamic_clustering import DynamicClustering, balanced_starts, dynamic_clustering
from models.prepare import FitInput
from models.quantiles import (
    Distributions,
    features,
    fixed_quantiles,
    from_bounds,
    from_features,
    moments,
    order_statistics,
    quantiles_at,
    register,
    simplified,
)
from models.returns import screen_prices, winsorise
from models.threads import one_thread
from models.wasserstein import decompose, distances, explained_share, squares_about, total_squares

pytestmark = pytest.mark.data

Float64 = npt.NDArray[np.float64]
POSITIONS = np.arange(21) / 20


def as_r(X: Float64, k: int, repetitions: int) -> DynamicClustering:
    return dynamic_clustering(X, k, balanced_starts(len(X), k, repetitions, seed=42))


def results(golden: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((golden / f"histdawass_{name}_120.json").read_text())
    return found


@pytest.fixture(scope="module")
def returns(golden: Path) -> Float64:
    return pd.read_csv(golden / "logret_120x364.csv", index_col=0).to_numpy()


@pytest.fixture(scope="module")
def fixed(golden: Path) -> Distributions:
    return from_bounds(POSITIONS, np.loadtxt(golden / "histdawass_fq20_x_120.csv", delimiter=","))


@pytest.fixture(scope="module")
def default(golden: Path) -> Distributions:
    """R's default histograms (package histogram, 6 to 24 bins), read as they are stored."""
    found = results(golden, "default_hist")
    return register([(np.array(each["x"]), np.array(each["p"])) for each in found.values()])


def test_histograms_of_fixed_quantiles(golden: Path, returns: Float64) -> None:
    expected = np.loadtxt(golden / "histdawass_fq20_x_120.csv", delimiter=",")
    ours = quantiles_at(fixed_quantiles(returns), POSITIONS)
    np.testing.assert_allclose(ours, expected, rtol=0.0, atol=3e-15)


def test_moments_of_histograms(golden: Path, fixed: Distributions) -> None:
    """Mean, deviation, skewness and kurtosis: relative 1e-10 (the fourth moment of a tie loses digits)."""
    expected = np.loadtxt(golden / "histdawass_fq20_stats_120.csv", delimiter=",")
    ours = moments(fixed)
    np.testing.assert_allclose(ours.mean, expected[:, 0], rtol=0.0, atol=1e-15)
    np.testing.assert_allclose(ours.deviation, expected[:, 1], rtol=1e-12)
    np.testing.assert_allclose(ours.skewness, expected[:, 2], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours.kurtosis, expected[:, 3], rtol=1e-10)


def test_distances(golden: Path, fixed: Distributions) -> None:
    """The file holds distances, not squares: absolute 1e-15, and 1e-14 for the sum of the three parts."""
    expected = np.loadtxt(golden / "histdawass_fq20_sqw2_120.csv", delimiter=",")
    X = features(fixed)
    np.testing.assert_allclose(distances(X, X), expected, rtol=0.0, atol=1e-15)
    np.testing.assert_allclose(np.sqrt(decompose([fixed], [fixed]).total), expected, rtol=0.0, atol=1e-14)


@pytest.mark.parametrize("k", [2, 3, 4, 5, 6])
def test_dynamic_clustering_of_fixed_quantiles(golden: Path, fixed: Distributions, k: int) -> None:
    """20 repetitions: R's partition with R's numbering, criterion and quality to 1e-14, prototypes to 1e-14."""
    expected = results(golden, "whkmeans_fq20")[f"k{k}"]
    X = features(fixed)
    ours = as_r(X, k, 20)
    assert (ours.labels + 1).tolist() == expected["IDX"]
    assert ours.criterion == pytest.approx(expected["crit"], rel=1e-14)
    assert explained_share(ours.criterion, total_squares(X)) == pytest.approx(expected["quality"], rel=1e-14)
    prototypes = quantiles_at(from_features(ours.centres, fixed), POSITIONS)
    np.testing.assert_allclose(prototypes, expected["centers"], rtol=0.0, atol=1e-14)


@pytest.mark.parametrize("name", ["k3", "k5", "k3_simpl20", "k5_simpl20"])
def test_dynamic_clustering_of_default_histograms(golden: Path, default: Distributions, name: str) -> None:
    """Five repetitions here (R's default), not 20: at k = 3 simplified the fifteenth would have been better.

    Partition and numbering equal, criterion and quality to 1e-13; ``simpl20`` reads 20 quantiles off each histogram.
    """
    expected = results(golden, "whkmeans_default")[name]
    X = features(simplified(default, 20) if name.endswith("simpl20") else default)
    ours = as_r(X, int(name[1]), 5)
    assert (ours.labels + 1).tolist() == expected["IDX"]
    assert ours.criterion == pytest.approx(expected["crit"], rel=1e-13)
    assert explained_share(ours.criterion, total_squares(X)) == pytest.approx(expected["quality"], rel=1e-13)


def test_variance_of_the_members_adds_up_to_the_criterion(golden: Path, fixed: Distributions) -> None:
    expected = results(golden, "whkmeans_fq20")["k5"]
    X, labels = features(fixed), np.array(expected["IDX"], dtype=np.int32) - 1
    centres = np.array([X[labels == label].mean(axis=0) for label in range(5)])
    variance = np.array([(distances(X[labels == j], centres[j : j + 1]) ** 2).mean() for j in range(5)])
    np.testing.assert_allclose(squares_about(X, labels, 5), variance * np.bincount(labels), rtol=1e-12)
    assert variance @ np.bincount(labels) == pytest.approx(expected["crit"], rel=1e-13)


@pytest.fixture(scope="module")
def closes(shared_data: Path) -> pd.DataFrame:
    """Closes of 2021, day x coin, of the coins that were listed all year."""
    prices = pd.read_parquet(shared_data / "prices_daily_2021_coingecko.parquet")
    return prices.pivot(index="date", columns="coin_id", values="price_usd").dropna(axis=1)


def test_market_of_2021(closes: pd.DataFrame) -> None:
    """The 1,053 coins with positive prices all year, clipped, k = 5: sizes and quality of METHODS section 6.

    These are Lloyd's; transfers of single coins move three more of them and explain a little more.
    """
    prices = closes.loc[:, (closes > 0.0).all()].to_numpy()
    X = features(order_statistics(winsorise(np.diff(np.log(prices), axis=0), 0.001)))
    assert X.shape == (1053, 364)
    with one_thread():
        lloyd = KMeans(5, n_init=20, random_state=0).fit(X)
    assert sorted(np.bincount(lloyd.labels_).tolist(), reverse=True) == [625, 268, 100, 52, 8]
    assert explained_share(lloyd.inertia_, total_squares(X)) == pytest.approx(0.715, abs=5e-4)
    ours = cold(X, 5, starts=20, seed=0)
    assert ours.inertia <= lloyd.inertia_
    assert ours.inertia == pytest.approx(lloyd.inertia_, rel=5e-4)
    assert adjusted_rand_score(lloyd.labels_, ours.labels) > 0.98


def test_view_on_the_market_of_2021(closes: pd.DataFrame) -> None:
    """Chosen by the rule the number is the paper's, 5; as published its extreme cluster is there (deviation above 2).

    1,052 coins: one of the 1,053 has a price of 8.9e-46, which the screening takes for none.
    """
    kept = closes.loc[:, screen_prices(closes.to_numpy()).all(axis=0)]
    window = FitInput(tuple(kept.columns), kept.to_numpy(), np.zeros(kept.shape[1]))
    settings = DistributionConfig(clusters=0, exclude=(), duplicates_above_correlation=1.0)
    found = settings.build().fit(window)
    assert len(found.coin_ids) == 1052
    assert found.diagnostics["chosen_k"] == 5.0
    assert found.diagnostics["explained_share"] == pytest.approx(0.715, abs=5e-4)
    sizes = np.sort(np.bincount(found.labels))[::-1]
    assert np.abs(sizes - [625, 268, 100, 52, 8]).max() <= 3
    published = DistributionConfig(as_published=True, exclude=(), duplicates_above_correlation=1.0).build().fit(window)
    (deviation,) = [each.value for each in published.prototypes if each.statistic == "deviation"]
    assert deviation.max() > 2.0
    assert adjusted_rand_score(found.labels, published.labels) < 0.8
