"""The shape view against R's dtwclust 6.0.0: bounds, distances, clusters, pruning and validity indices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from models import dtwclust
from models.dtw import dtw_matrix, euclid_matrix, lb_keogh_matrix
from models.prepare import FitInput
from models.shape import ShapeConfig
from models.tadpole import Peaks, assign, tadpole

pytestmark = pytest.mark.data

Float64 = npt.NDArray[np.float64]


def returns_of(golden: Path, name: str) -> Float64:
    """Return a golden table of log returns (time x coins) as one series per row."""
    return np.ascontiguousarray(pd.read_csv(golden / name, index_col=0).to_numpy().T)


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("dtwclust_lbk_40x60_w3.csv", lb_keogh_matrix),
        ("dtwclust_dtw_40x60_w3.csv", dtw_matrix),
        ("dtwclust_l2_40x60.csv", lambda X, window: euclid_matrix(X)),
    ],
)
def test_bounds_and_distances(golden: Path, name: str, matrix: Any) -> None:
    found = matrix(returns_of(golden, "logret_40x60.csv"), 3)
    np.testing.assert_allclose(found, np.loadtxt(golden / name, delimiter=","), rtol=0, atol=1e-12)


def test_the_distances_are_dtwclusts_to_the_last_bit(golden: Path) -> None:
    expected = np.loadtxt(golden / "dtwclust_dtw_40x60_w3.csv", delimiter=",")
    np.testing.assert_array_equal(dtw_matrix(returns_of(golden, "logret_40x60.csv"), 3), expected)


@pytest.mark.parametrize("pruned", [True, False])
@pytest.mark.parametrize("shape", ["40x60", "120x364"])
def test_tadpole(golden: Path, shape: str, pruned: bool) -> None:
    """Labels, centroids and shares of computed distances of all 35 runs: equal."""
    X = returns_of(golden, f"logret_{shape}.csv")
    known = None if pruned else dtw_matrix(X)
    peaks: dict[str, Peaks] = {}
    runs = json.loads((golden / f"dtwclust_tadpole_{shape}_w3.json").read_text())
    assert len(runs) == (20 if shape == "40x60" else 15)
    for name, expected in runs.items():
        dc, k = name.removeprefix("dc").split("_k")
        if dc not in peaks:
            peaks[dc] = tadpole(X, float(dc), 3, order="dtwclust", known=known)
        labels, centroids = assign(peaks[dc], int(k))
        assert (labels + 1).tolist() == expected["cl"], name
        assert (centroids + 1).tolist() == expected["centroids"], name
        assert 100 * peaks[dc].computed_share == pytest.approx(expected["pct"], abs=1e-11), name


INDICES = {
    "CH": "calinski_harabasz",
    "Sil": "silhouette",
    "D": "dunn",
    "DB": "davies_bouldin",
    "DBstar": "davies_bouldin_star",
    "COP": "cop",
    "SF": "score",
}


def test_validity_indices(golden: Path) -> None:
    """All seven of ``cvi`` for k = 2 to 6, and the sizes and mean distances of the clusters, to 1e-12."""
    X = returns_of(golden, "logret_120x364.csv")
    peaks = tadpole(X, 2.0, 3, order="dtwclust")
    runs = json.loads((golden / "dtwclust_tsclust_tadpole_cvi_120x364.json").read_text())
    best = {}
    for name, expected in runs.items():
        labels, centroids = assign(peaks, int(name.removeprefix("k")))
        assert (labels + 1).tolist() == expected["cl"]
        found = dtwclust.indices(X, labels, centroids)
        for theirs, ours in INDICES.items():
            assert getattr(found, ours) == pytest.approx(expected["cvi"][theirs], rel=1e-12, abs=1e-12), (name, theirs)
        own = dtwclust.symmetric2(X, X[centroids])[np.arange(len(X)), labels]
        size = np.bincount(labels)
        assert size.tolist() == [cluster["size"] for cluster in expected["clusinfo"]]
        mean = [cluster["av_dist"] for cluster in expected["clusinfo"]]
        np.testing.assert_allclose(np.bincount(labels, weights=own) / size, mean, rtol=1e-12)
        best[name] = dtwclust.calinski_harabasz(X, labels, centroids)
    assert max(best, key=best.__getitem__) == "k2"


def test_the_view_as_published(golden: Path) -> None:
    """From closes to labels: the paper's cutoff of 2, k given and chosen."""
    table = pd.read_csv(golden / "logret_120x364.csv", index_col=0)
    closes = np.exp(np.vstack([np.zeros((1, 120)), table.to_numpy().cumsum(axis=0)]))
    window = FitInput(tuple(table.columns), closes, np.ones(120))
    settings = {"as_published": True, "duplicates_above_correlation": 1.0, "exclude": ()}
    runs = json.loads((golden / "dtwclust_tadpole_120x364_w3.json").read_text())
    in_order = np.argsort(np.array(table.columns), kind="stable")
    assert in_order.tolist() == list(range(120))
    for k in range(2, 7):
        found = ShapeConfig(clusters=k, **settings).build().fit(window)  # type: ignore[arg-type]
        assert (found.labels + 1).tolist() == runs[f"dc2_k{k}"]["cl"]
        assert (found.exemplars + 1).tolist() == runs[f"dc2_k{k}"]["centroids"]
    chosen = ShapeConfig(clusters=0, **settings).build().fit(window)  # type: ignore[arg-type]
    assert chosen.diagnostics["clusters"] == 2.0


@pytest.fixture(scope="module")
def year(golden: Path, shared_data: Path) -> tuple[tuple[str, ...], Float64]:
    """The 1,053 coins with a price on every day of 2021, and log returns float64[364, 1053].

    The reference results were made from a table whose last day held other prices. Each coin's mean return tells
    what they were.
    """
    reference = pd.read_csv(golden / "mean_std_all_full.csv", index_col=0)
    prices = pd.read_parquet(shared_data / "prices_daily_2021_coingecko.parquet")
    closes = prices.pivot(index="date", columns="coin_id", values="price_usd")[list(reference.index)].to_numpy()
    R = np.diff(np.log(closes), axis=0)
    R[-1] = 364 * reference["mean"].to_numpy() - R[:-1].sum(axis=0)
    np.testing.assert_allclose(R.std(axis=0, ddof=1), reference["std"], atol=1e-12)
    return tuple(reference.index), R


@pytest.mark.parametrize(
    ("quantile", "dc", "sizes", "computed"),
    [
        (0.001, 1.0, [570, 322, 161], None),
        (0.0, 1.0, [558, 325, 170], None),
        (0.0, 2.0, [1050, 2, 1], 0.815),
    ],
)
def test_the_whole_market_of_2021(
    year: tuple[tuple[str, ...], Float64], quantile: float, dc: float, sizes: list[int], computed: float | None
) -> None:
    coins, R = year
    # prices from 1: the one real price below the least that counts as one is not the subject here
    closes = np.exp(np.vstack([np.zeros((1, len(coins))), R.cumsum(axis=0)]))
    closes *= 1e-6 / closes.min(axis=0)
    config = ShapeConfig(
        dc=dc, order="dtwclust", winsorise_quantile=quantile, duplicates_above_correlation=1.0, exclude=()
    )
    found = config.build().fit(FitInput(coins, closes, np.ones(len(coins))))
    assert len(found.coin_ids) == 1053
    assert sorted(np.bincount(found.labels).tolist(), reverse=True) == sizes
    if computed is not None:
        assert found.diagnostics["computed_share"] == pytest.approx(computed, abs=5e-4)


def test_a_quantile_keeps_the_market_from_falling_into_one_cluster(year: tuple[tuple[str, ...], Float64]) -> None:
    coins, R = year
    closes = np.exp(np.vstack([np.zeros((1, len(coins))), R.cumsum(axis=0)]))
    closes *= 1e-6 / closes.min(axis=0)
    window = FitInput(coins, closes, np.ones(len(coins)))
    found = ShapeConfig(exclude=()).build().fit(window)
    sizes = np.bincount(found.labels)
    assert 0.9 < found.diagnostics["dc"] < 1.1
    assert sizes.max() < 0.9 * len(found.labels)
    rounded = ShapeConfig(exclude=(), precision="float32").build().fit(window)
    np.testing.assert_array_equal(found.labels, rounded.labels)
