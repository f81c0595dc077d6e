"""Clusters around medoids in a matrix of distances: silhouettes and the indices that judge a partition.

The indices are those of Arbelaitz et al. 2013 (Pattern Recognition 46:243) as R's dtwclust has them: with the
clustering's own distance, not squared, in place of the squared Euclidean one, and medoids in place of means. The
score function is that of Saitta et al. 2007. Sums run in one order: equal input gives equal bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[Any]  # float64 or float32
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class MedoidIndices:
    """Indices of one partition; NaN where they have no meaning (a single cluster, or one for each series)."""

    calinski_harabasz: float
    """More is better."""
    silhouette: float
    """More is better."""
    dunn: float
    """More is better."""
    davies_bouldin: float
    """Less is better."""
    davies_bouldin_star: float
    """Less is better."""
    cop: float
    """Less is better."""
    score: float
    """More is better."""


def medoid(D: Floats) -> int:
    """Return the series with the least sum of distances to all, the first of equal ones."""
    return int(np.argmin(cluster_sums(D, np.zeros(len(D), dtype=np.int32), 1)[:, 0]))


def silhouettes(D: Floats, labels: Int32) -> Float64:
    """Return float64[n] silhouettes (Rousseeuw 1987); 0 for a series alone in its cluster, NaN with one cluster.

    Parameters
    ----------
    D
        float[n, n] distances, 0 on the diagonal.
    labels
        int32[n], 0 to k - 1, each present.
    """
    n = len(labels)
    size = np.bincount(labels)
    if len(size) < 2:
        return np.full(n, np.nan)
    sums = cluster_sums(D, labels, len(size))
    own_size = size[labels]
    within = sums[np.arange(n), labels] / np.maximum(own_size - 1, 1)
    mean = sums / size
    mean[np.arange(n), labels] = np.inf
    between = mean.min(axis=1)
    larger = np.maximum(within, between)
    value: Float64 = np.divide(between - within, larger, out=np.zeros(n), where=larger > 0.0)
    value[own_size == 1] = 0.0
    return value


def calinski_harabasz(D: Floats, labels: Int32, exemplars: Int64, centre: int) -> float:
    """Return (n - k) / (k - 1) x sum of n_c d(exemplar c, centre) / sum of d(series, own exemplar).

    NaN unless 2 <= k < n; infinite if all series are at distance 0 of their exemplars.
    """
    n, k = len(labels), len(exemplars)
    if not 2 <= k < n:
        return float("nan")
    between = float((np.bincount(labels, minlength=k) * D[exemplars, centre]).sum(dtype=np.float64))
    within = float(D[np.arange(n), exemplars[labels]].sum(dtype=np.float64))
    return (n - k) / (k - 1) * between / within if within > 0.0 else float("inf")


def medoid_indices(D: Floats, labels: Int32, exemplars: Int64) -> MedoidIndices:
    """Return all indices of one partition.

    Parameters
    ----------
    D
        float[n, n] distances, 0 on the diagonal.
    labels
        int32[n], 0 to k - 1, each present.
    exemplars
        int64[k], the series that stands for each cluster, a member of it.
    """
    own = D[np.arange(len(labels)), exemplars[labels]]
    return indices_from(D, labels, exemplars, own, D[exemplars, medoid(D)])


def indices_from(
    D: Floats,
    labels: Int32,
    exemplars: Int64,
    own: Floats,
    from_centre: Floats,
    for_silhouette: Floats | None = None,
) -> MedoidIndices:
    """Return the indices from distances that need not be of one kind.

    Parameters
    ----------
    D, labels, exemplars
        As in :func:`medoid_indices`; D may lack symmetry.
    own
        float[n]: of each series to its exemplar.
    from_centre
        float[k]: of each exemplar to the centre of all.
    for_silhouette
        float[n, n] in place of D.
    """
    n, k = len(labels), len(exemplars)
    if not 2 <= k < n:
        nan = float("nan")
        return MedoidIndices(nan, nan, nan, nan, nan, nan, nan)
    size = np.bincount(labels, minlength=k)
    to_own = np.bincount(labels, weights=own, minlength=k)
    between = float((size * from_centre).sum(dtype=np.float64))
    nearest, farthest = _extremes(D, labels, k)
    ratio, ratio_star = _davies_bouldin(to_own / size, D[np.ix_(exemplars, exemplars)].astype(np.float64))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        dunn = nearest[~np.eye(k, dtype=bool)].min() / np.diag(farthest).max()
        cop = (to_own / _nearest_farthest(D, labels, k)).sum() / n
        score = 1.0 - 1.0 / np.exp(np.exp(between / (n * k) - (to_own / size).sum()))
        ch = np.float64((n - k) / (k - 1) * between) / to_own.sum()
    return MedoidIndices(
        calinski_harabasz=float(ch),
        silhouette=float(silhouettes(D if for_silhouette is None else for_silhouette, labels).mean()),
        dunn=float(dunn),
        davies_bouldin=ratio,
        davies_bouldin_star=ratio_star,
        cop=float(cop),
        score=float(score),
    )


def _davies_bouldin(spread: Float64, apart: Float64) -> tuple[float, float]:
    """Return both forms: the worst ratio of spreads to distance, and the worst spreads over the least distance."""
    both = spread[:, None] + spread[None, :]
    np.fill_diagonal(both, -np.inf)
    least = apart.copy()
    np.fill_diagonal(least, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = both / least
        np.fill_diagonal(ratio, -np.inf)
        return float(ratio.max(axis=1).mean()), float((both.max(axis=1) / least.min(axis=1)).mean())


@njit(cache=True)
def cluster_sums(D: Floats, labels: Int32, k: int) -> Float64:
    """Return float64[n, k]: the sum of each series' distances to the members of each cluster."""
    sums = np.zeros((D.shape[0], k))
    for i in range(D.shape[0]):
        for j in range(D.shape[0]):
            sums[i, labels[j]] += D[i, j]
    return sums


@njit(cache=True)
def _extremes(D: Floats, labels: Int32, k: int) -> tuple[Float64, Float64]:
    """Return the least and largest distance between the members of each two clusters (of one: 0 included)."""
    nearest, farthest = np.full((k, k), np.inf), np.zeros((k, k))
    for i in range(D.shape[0]):
        for j in range(D.shape[0]):
            a, b = labels[i], labels[j]
            nearest[a, b] = min(nearest[a, b], D[i, j])
            farthest[a, b] = max(farthest[a, b], D[i, j])
    return nearest, farthest


@njit(cache=True)
def _nearest_farthest(D: Floats, labels: Int32, k: int) -> Float64:
    """Return, for each cluster, the least over its members of the largest distance of a series outside to them."""
    largest = np.zeros(D.shape[0])
    for i in range(D.shape[0]):
        for j in range(D.shape[0]):
            if labels[j] != labels[i]:
                largest[j] = max(largest[j], D[i, j])
    least = np.full(k, np.inf)
    for j in range(D.shape[0]):
        least[labels[j]] = min(least[labels[j]], largest[j])
    return least
