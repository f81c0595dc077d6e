"""Dynamic clustering of distributions as published: the algorithm of HistDAWass's ``WH_kmeans``, start for start.

Each repetition starts from a random balanced partition, takes the means of its quantile functions as prototypes and
assigns anew until the criterion moves by less than 1e-10 of its first value; the best repetition counts (Irpino,
Verde & Lechevallier 2006; HistDAWass 1.0.8). It is Lloyd's k-means on :func:`models.quantiles.features` with a poorer
start than k-means++; given the partitions that R draws, its results are R's own, label by label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from models.r_random import RRandom
from models.wasserstein import squares_about

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

TOLERANCE: Final = 1e-10
"""Least change of the criterion, as a share of its first value, that goes on."""

_MOST_STEPS: Final = 1000

_EQUAL: Final = 1e-12
"""Criteria closer than this share are those of one partition, numbered in another way."""


@dataclass(frozen=True, slots=True)
class DynamicClustering:
    """The best of all repetitions."""

    labels: Int32
    """int32[n], 0 to k - 1."""
    centres: Float64
    """float64[k, c]: features of the prototypes."""
    criterion: float
    """Sum of squared distances to the own prototype."""
    iterations: int
    """Of the best repetition."""
    converged: bool


def balanced_starts(n: int, k: int, repetitions: int, seed: int) -> Iterator[Int32]:
    """Yield the random partitions, of sizes that differ by one at most, from which R starts after ``set.seed``."""
    random, labels = RRandom(seed), np.arange(n, dtype=np.int32) % k
    for _ in range(repetitions):
        yield labels[random.sample(n, n)]


def dynamic_clustering(X: Float64, k: int, starts: Iterable[Int32]) -> DynamicClustering:
    """Cluster distributions from each of the given partitions and return the best result, the first of equals.

    Parameters
    ----------
    X
        float64[n, c] features.
    k
        Number of clusters, 1 to n.
    starts
        int32[n] partitions, each of 0 to k - 1 with every label present.
    """
    if not 1 <= k <= len(X):
        raise ValueError(f"{len(X)} distributions cannot make {k} clusters")
    best: DynamicClustering | None = None
    for start in starts:
        found = _one_repetition(X, k, start)
        if best is None or found.criterion < best.criterion * (1.0 - _EQUAL):
            best = found
    if best is None:
        raise ValueError("dynamic clustering needs one start at least")
    return best


def _one_repetition(X: Float64, k: int, start: Int32) -> DynamicClustering:
    labels = start
    centres, criterion = _prototypes(X, labels, k)
    threshold, step, converged = TOLERANCE * criterion, 0, False
    while not converged and step < _MOST_STEPS:
        step += 1
        labels = _assigned(X, centres)
        before = criterion
        centres, criterion = _prototypes(X, labels, k)
        # the published rule never ends where the first criterion is 0: equal distributions
        converged = abs(criterion - before) < threshold or criterion == before
    return DynamicClustering(labels, centres, criterion, step, converged)


def _assigned(X: Float64, centres: Float64) -> Int32:
    """Return the nearest prototype of each; an empty cluster is given the one that is farthest from any prototype.

    R may take the only member of another cluster, and then has a prototype of nothing; here it is left there.
    """
    distance = cdist(X, centres, "sqeuclidean")
    labels: Int32 = distance.argmin(axis=1).astype(np.int32)
    farthest = distance.max(axis=1)
    for label in range(len(centres)):
        size = np.bincount(labels, minlength=len(centres))
        if size[label] == 0:
            moved = int(np.where(size[labels] > 1, farthest, -1.0).argmax())
            labels[moved] = label
            farthest[moved] = 0.0
    return labels


def _prototypes(X: Float64, labels: Int32, k: int) -> tuple[Float64, float]:
    """Return the means of the clusters and the criterion."""
    centres = np.array([X[labels == label].mean(axis=0) for label in range(k)])
    return centres, float(squares_about(X, labels, k).sum())
