"""Cluster validity of TADPole exactly as R's ``dtwclust::tsclust`` and ``cvi`` compute it (version 6.0.0).

The clusters come from one distance, the indices from three others:

- a series and its centroid, and a centroid and the centre of all, are apart by a dynamic time warping whose diagonal
  step counts twice ("symmetric2", the default of ``dtw_basic``), not by the "symmetric1" of the clustering;
- two series, and two centroids, are apart by a one-way LB_Improved, since ``dtw_lb`` without a second set of series
  returns its lower bounds as they are. That matrix is not symmetric, and ``cvi`` warns so; the silhouette reads its
  lower triangle alone;
- the centre of all is the first centroid.

The figures are of use to repeat a published choice of k; :mod:`models.medoids` has them with one distance throughout.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from models.dtw import WINDOW, lb_improved_matrix
from models.medoids import MedoidIndices, indices_from

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


def symmetric2(A: npt.ArrayLike, B: npt.ArrayLike, window: int = WINDOW) -> Float64:
    """Return float64[m, n]: distances of each row of A to each of B, diagonal steps counted twice."""
    left, right = np.ascontiguousarray(A, dtype=np.float64), np.ascontiguousarray(B, dtype=np.float64)
    D: Float64 = _symmetric2(left, right, min(window, left.shape[1] - 1))
    return D


def calinski_harabasz(X: npt.ArrayLike, labels: Int32, centroids: Int64, window: int = WINDOW) -> float:
    """Return the index by which Lorenzo & Arroyo 2022 choose k; NaN unless 2 <= k < n."""
    series = np.asarray(X, dtype=np.float64)
    n, k = len(labels), len(centroids)
    if not 2 <= k < n:
        return float("nan")
    own, from_centre = _to_centroids(series, labels, centroids, window)
    within = float(own.sum())
    between = float((np.bincount(labels, minlength=k) * from_centre).sum())
    return (n - k) / (k - 1) * between / within if within > 0.0 else float("inf")


def indices(X: npt.ArrayLike, labels: Int32, centroids: Int64, window: int = WINDOW) -> MedoidIndices:
    """Return all seven internal indices of ``cvi``.

    Parameters
    ----------
    X
        Finite float[n, T], a series per row.
    labels, centroids
        int32[n], 0 to k - 1, and the index of each cluster's centroid.
    window
        Half width of the band in bars.
    """
    series = np.asarray(X, dtype=np.float64)
    apart = lb_improved_matrix(series, window, symmetric=False)
    own, from_centre = _to_centroids(series, labels, centroids, window)
    lower = np.tril(apart, -1)
    return indices_from(apart, labels, centroids, own, from_centre, for_silhouette=lower + lower.T)


def _to_centroids(X: Float64, labels: Int32, centroids: Int64, window: int) -> tuple[Float64, Float64]:
    to_all = symmetric2(X, X[centroids], window)
    return to_all[np.arange(len(X)), labels], to_all[centroids, 0]


@njit(cache=True)
def _symmetric2(A: Float64, B: Float64, window: int) -> Any:
    bars = A.shape[1]
    out = np.empty((A.shape[0], B.shape[0]))
    row = np.empty(bars + 1)  # row[j + 1] is cell j
    for a in range(A.shape[0]):
        for b in range(B.shape[0]):
            row[:] = np.inf
            for i in range(bars):
                first, last = max(i - window, 0), min(i + window, bars - 1)
                diagonal = row[first]  # of the row above: cell first - 1, infinite outside the band
                row[first] = np.inf
                for j in range(first, last + 1):
                    cost = (A[a, i] - B[b, j]) ** 2
                    above = row[j + 1]
                    if i == 0 and j == 0:
                        row[1] = cost
                    else:
                        row[j + 1] = min(diagonal + 2.0 * cost, above + cost, row[j] + cost)
                    diagonal = above
            out[a, b] = np.sqrt(row[bars])
    return out
