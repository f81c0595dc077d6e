"""The search for clusters of distributions: new starts, a start from the prototypes before, the number of clusters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from models.dynamic_clustering import balanced_starts, dynamic_clustering
from models.kmeans import KMeansResult, centres_of, kmeans
from models.wasserstein import calinski_harabasz, explained_share, silhouettes, total_squares

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

LOST_SHARE: Final = 1e-3
"""Share of all squares that the search may do without: 1 year of 1,052 coins is 39 columns then, not 364."""

_MANY_COINS: Final = 100
_MANY_COLUMNS: Final = 32


@dataclass(frozen=True, slots=True)
class Found:
    """A partition of n distributions."""

    labels: Int32
    """int32[n], 0 to k - 1."""
    centres: Float64
    """float64[k, c]: features of the prototypes; k may be smaller than asked for if there are fewer distinct ones."""
    inertia: float
    """Sum of squared distances to the own prototype."""
    iterations: int
    converged: bool


def cold(X: Float64, clusters: int, starts: int, seed: int, *, as_published: bool = False) -> Found:
    """Cluster features float64[n, c] from new starts.

    The starts run on the leading principal components, which hold all but a thousandth of the squares (quantile
    functions differ in few ways); the best of them is then finished on all columns, so that the result is an optimum
    of the distances themselves.
    """
    if as_published:
        k = min(clusters, len(np.unique(X, axis=0)))
        published = dynamic_clustering(X, k, balanced_starts(len(X), k, starts, seed))
        return Found(
            published.labels, published.centres, published.criterion, published.iterations, published.converged
        )
    if len(X) <= _MANY_COINS or X.shape[1] <= _MANY_COLUMNS:
        return _kept(kmeans(X, clusters, starts=starts, seed=seed))
    sought = kmeans(_leading_components(X), clusters, starts=starts, seed=seed)
    finished = warm(X, centres_of(X, sought.labels))
    return replace(finished, iterations=sought.iterations + finished.iterations)


def warm(X: Float64, centres: Float64) -> Found:
    """Cluster features float64[n, c] from given prototypes."""
    return _kept(kmeans(X, len(centres), initial=centres))


def _kept(found: KMeansResult) -> Found:
    return Found(found.labels, found.centres, found.inertia, found.iterations, found.converged)


def _leading_components(X: Float64) -> Float64:
    """Return the coordinates along the fewest principal axes that lose no more than the share above."""
    centred = X - X.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    held = np.cumsum(values[::-1])
    count = int(np.searchsorted(held, held[-1] * (1.0 - LOST_SHARE))) + 1
    return np.ascontiguousarray(centred @ axes[:, ::-1][:, :count])


def choose(
    X: Float64, most: int, least_gain: float, starts: int, seed: int, *, as_published: bool = False
) -> tuple[Found, dict[str, float]]:
    """Return the clusters in a number that the data choose, from 2 to ``most``, and the figures behind it.

    The curve of the explained share says where: it ends at the first k after which one more cluster explains less
    than ``least_gain`` of all squares. The indices of Calinski & Harabasz and the silhouette say which: of that k
    and its two neighbours the one with the best sum of ranks in both, the smaller one of equals.
    """
    total, tried = total_squares(X), dict[int, Found]()
    for k in range(2, max(min(most, len(X) - 1), 2) + 1):
        found = cold(X, k, starts, seed, as_published=as_published)
        tried[len(found.centres)] = found
        if len(found.centres) < k:  # fewer distinct distributions than clusters
            break
    explained = {k: explained_share(found.inertia, total) for k, found in tried.items()}
    ch = {k: calinski_harabasz(found.inertia, total, len(X), k) for k, found in tried.items()}
    mean = [float(each.mean()) for each in silhouettes(X, [found.labels for found in tried.values()])]
    silhouette = dict(zip(tried, mean, strict=True))
    figures = {f"explained_share_{k}": value for k, value in explained.items()}
    figures |= {f"calinski_harabasz_{k}": value for k, value in ch.items()}
    figures |= {f"silhouette_{k}": value for k, value in silhouette.items()}
    return tried[chosen(explained, ch, silhouette, least_gain)], figures


def chosen(explained: dict[int, float], ch: dict[int, float], silhouette: dict[int, float], least_gain: float) -> int:
    """Return the number of clusters by the rule of :func:`choose`, from its figures per number tried."""
    tried = sorted(explained)
    flat = (k for k, after in pairwise(tried) if explained[after] - explained[k] < least_gain)
    end = next(flat, tried[-1])
    near = [k for k in tried if abs(k - end) <= 1]

    def rank(values: dict[int, float], k: int) -> int:
        return sum(values[other] > values[k] or np.isnan(values[k]) for other in near)

    return min(near, key=lambda k: (rank(ch, k) + rank(silhouette, k), k))
