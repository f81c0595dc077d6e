"""How good a partition is, by six indices, and their vote on the number of clusters.

The six are those that the text of Lorenzo & Arroyo 2022 lists, as Arbelaitz et al. 2013 (Pattern Recognition 46)
define them: Silhouette (Rousseeuw 1987), Dunn (1974), COP (Gurrutxaga et al. 2010), Davies-Bouldin (1979),
Calinski-Harabasz (1974) and the score function (Saitta et al. 2007). Points are in Euclidean space; labels are 0 to
k - 1, each present. With fewer than two clusters no index says anything: NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from models.kmeans import centres_of

Float64 = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer]


class Distances:
    """What the indices need of n points, computed once for all partitions of them: n^2 distances."""

    def __init__(self, X: Float64) -> None:
        from scipy.spatial.distance import cdist  # noqa: PLC0415 - not needed by those who only import the view

        self.X = np.ascontiguousarray(X, dtype=np.float64)
        self.D: Float64 = cdist(self.X, self.X)


def silhouettes(D: Float64, labels: Labels) -> Float64:
    """Return float64[n] silhouettes of a distance matrix; 0 for a point alone, NaN for all with one cluster."""
    n, size = len(labels), np.bincount(labels)
    if len(size) < 2:
        return np.full(n, np.nan)
    rows = np.arange(n)
    mean = np.add.reduceat(D[:, np.argsort(labels, kind="stable")], _starts(size), axis=1)
    own = size[labels]
    within = mean[rows, labels] / np.maximum(own - 1, 1)
    mean /= size
    mean[rows, labels] = np.inf
    between = mean.min(axis=1)
    larger = np.maximum(within, between)
    value: Float64 = np.divide(between - within, larger, out=np.zeros(n), where=larger > 0.0)
    value[own == 1] = 0.0
    return value


def silhouette(given: Distances, labels: Labels) -> float:
    """Return the mean silhouette; more is better."""
    return float(silhouettes(given.D, labels).mean())


def dunn(given: Distances, labels: Labels) -> float:
    """Return the least distance between clusters over the largest within one; more is better."""
    size = np.bincount(labels)
    if len(size) < 2:
        return np.nan
    order = np.argsort(labels, kind="stable")
    sorted_labels = labels[order]
    blocks = given.D[np.ix_(order, order)]
    nearest = np.minimum.reduceat(blocks, _starts(size), axis=1)
    farthest = np.maximum.reduceat(blocks, _starts(size), axis=1)
    rows = np.arange(len(labels))
    diameter = float(farthest[rows, sorted_labels].max())
    nearest[rows, sorted_labels] = np.inf
    gap = float(nearest.min())
    return gap / diameter if diameter > 0.0 else np.inf


def cop(given: Distances, labels: Labels) -> float:
    """Return the mean over points of (mean distance to the cluster's centroid) / (separation); less is better.

    The separation of a cluster is the least, over points outside, of the largest distance to a point inside.
    """
    size = np.bincount(labels)
    if len(size) < 2:
        return np.nan
    inside = _mean_distance_to_centre(given.X, labels)
    order = np.argsort(labels, kind="stable")
    farthest = np.maximum.reduceat(given.D[:, order], _starts(size), axis=1)
    farthest[np.arange(len(labels)), labels] = np.inf
    separation = farthest.min(axis=0)
    ratio = np.divide(inside, separation, out=np.where(inside > 0.0, np.inf, 0.0), where=separation > 0.0)
    return float((size * ratio).sum() / len(labels))


def davies_bouldin(given: Distances, labels: Labels) -> float:
    """Return the mean over clusters of the worst (scatter + scatter) / (distance of centres); less is better."""
    k = int(labels.max()) + 1
    if k < 2:
        return np.nan
    scatter = _mean_distance_to_centre(given.X, labels)
    centres = centres_of(given.X, labels)
    apart = np.sqrt(np.square(centres[:, None] - centres[None]).sum(axis=2))
    together = scatter[:, None] + scatter[None]
    ratio = np.divide(together, apart, out=np.where(together > 0.0, np.inf, 0.0), where=apart > 0.0)
    np.fill_diagonal(ratio, -np.inf)
    return float(ratio.max(axis=1).mean())


def calinski_harabasz(given: Distances, labels: Labels) -> float:
    """Return (between / (k - 1)) / (within / (n - k)), sums of squares; more is better."""
    n, k = len(labels), int(labels.max()) + 1
    if not 1 < k < n:
        return np.nan
    within = float(np.square(given.X - centres_of(given.X, labels)[labels]).sum())
    total = float(np.square(given.X - given.X.mean(axis=0)).sum())
    return (total - within) / (k - 1) / (within / (n - k)) if within > 0.0 else np.inf


def score_function(given: Distances, labels: Labels) -> float:
    """Return 1 - 1 / exp(exp(between - within)); more is better.

    Between is the mean over points of the distance of their centre to the mean of all, over k; within the sum over
    clusters of the mean distance to their centre. Meant for data of unit scale: the double exponential saturates.
    """
    size = np.bincount(labels)
    k = len(size)
    if k < 2:
        return np.nan
    centres = centres_of(given.X, labels)
    off = np.sqrt(np.square(centres - given.X.mean(axis=0)).sum(axis=1))
    between = float((size * off).sum()) / (len(labels) * k)
    within = float(_mean_distance_to_centre(given.X, labels).sum())
    return float(-np.expm1(-np.exp(between - within)))


_INDICES: Final[dict[str, tuple[Callable[[Distances, Labels], float], bool]]] = {
    "silhouette": (silhouette, True),
    "dunn": (dunn, True),
    "cop": (cop, False),
    "davies_bouldin": (davies_bouldin, False),
    "calinski_harabasz": (calinski_harabasz, True),
    "score": (score_function, True),
}

INDICES: Final = tuple(_INDICES)
"""The names of the six."""


def indices(given: Distances, labels: Labels) -> dict[str, float]:
    """Return all six by name."""
    return {name: index(given, labels) for name, (index, _) in _INDICES.items()}


def votes(values: Mapping[int, Mapping[str, float]]) -> dict[str, int]:
    """Return the number of clusters that each index prefers.

    Parameters
    ----------
    values
        Per number of clusters what :func:`indices` returned. Among equal values the smallest number wins; an index
        that is NaN throughout has no vote.
    """
    chosen = {}
    for name, (_, more_is_better) in _INDICES.items():
        sign = 1.0 if more_is_better else -1.0
        known = [(sign * values[k][name], -k) for k in values if not np.isnan(values[k][name])]
        if known:
            chosen[name] = -max(known)[1]
    return chosen


def majority(chosen: Mapping[str, int]) -> int:
    """Return the number with most votes, the smallest of equal ones.

    Raises
    ------
    ValueError
        If nobody voted.
    """
    if not chosen:
        raise ValueError("no index has a vote: two clusters at least and more points than clusters are needed")
    ballots = list(chosen.values())
    return max(set(ballots), key=lambda k: (ballots.count(k), -k))


def _starts(size: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(size)[:-1]]).astype(np.int64)


def _mean_distance_to_centre(X: Float64, labels: Labels) -> Float64:
    distance = np.sqrt(np.square(X - centres_of(X, labels)[labels]).sum(axis=1))
    return np.bincount(labels, weights=distance) / np.bincount(labels)
