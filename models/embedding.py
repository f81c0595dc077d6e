"""A map of the market: locally linear embedding of the coins in three dimensions (Roweis & Saul 2000).

The same solution as scikit-learn's ``locally_linear_embedding(eigen_solver="dense")`` up to the signs of the axes,
without its import: neighbours, barycentre weights, the smallest eigenvectors of (I - W)'(I - W) but the first.
A sign rule and a Procrustes rotation onto the map before keep pictures from jumping between fits.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse

from models.partial import strongest_columns

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

DIMENSIONS: Final = 3
_REGULARISATION: Final = 1e-3


def embed(points: Float64, neighbours: int = 20) -> Float64:
    """Return float64[n, 3] coordinates of n coins, given as their standardised returns float64[n, T].

    Axes are ordered from the coarsest structure to the finest, each of unit length over all coins and signed so that
    its largest coordinate in size is positive. With too few coins for that many neighbours (n <= ``neighbours``)
    the first three principal components, scaled alike, take their place; fewer than 4 coins all lie at 0.
    Groups of coins that have no neighbour in common each shrink to a point: there is nothing to place them by.
    The result is a function of the input alone: nothing is drawn at random.
    """
    n = len(points)
    if neighbours < 1:
        raise ValueError(f"an embedding needs at least one neighbour, not {neighbours}")
    if n < DIMENSIONS + 1:
        return np.zeros((n, DIMENSIONS))
    axes = _principal_components(points) if n <= neighbours else _locally_linear(points, neighbours)
    largest = axes[np.argmax(np.abs(axes), axis=0), np.arange(DIMENSIONS)]
    return axes * np.where(largest < 0.0, -1.0, 1.0)


def _locally_linear(points: Float64, k: int) -> Float64:
    near = _nearest(points, k)
    M = _alignment_matrix(near, _barycentre_weights(points, near))
    # the smallest eigenvalue, 0, belongs to the constant vector
    _, vectors = scipy.linalg.eigh(M, subset_by_index=(1, DIMENSIONS), overwrite_a=True, check_finite=False)
    return np.ascontiguousarray(vectors, dtype=np.float64)


def _nearest(points: Float64, k: int) -> Int64:
    """Return int64[n, k]: the nearest other coins of each, by Euclidean distance, the lower index first at a tie."""
    square = (points * points).sum(axis=1)
    distance = points @ points.T
    distance *= -2.0
    distance += square
    distance += square[:, None]
    np.maximum(distance, 0.0, out=distance)
    # a decreasing function of the distance that is never 0 or below
    distance += 1.0
    np.divide(1.0, distance, out=distance)
    return strongest_columns(distance, k)


def _barycentre_weights(points: Float64, near: Int64) -> Float64:
    """Return float64[n, k], rows sum to 1: each coin as the best combination of its neighbours."""
    n, k = near.shape
    weights = np.empty((n, k))
    ones = np.ones((1, k, 1))
    for start in range(0, n, 256):  # a block at a time: all differences at once would be n k T numbers
        rows = slice(start, min(start + 256, n))
        differences = points[near[rows]] - points[rows, None, :]
        G = differences @ differences.transpose(0, 2, 1)
        trace = np.trace(G, axis1=1, axis2=2)
        diagonal = np.arange(k)
        G[:, diagonal, diagonal] += np.where(trace > 0.0, _REGULARISATION * trace, _REGULARISATION)[:, None]
        solution = np.linalg.solve(G, np.broadcast_to(ones, (len(G), k, 1)))[:, :, 0]
        weights[rows] = solution / solution.sum(axis=1, keepdims=True)
    return weights


def _alignment_matrix(near: Int64, weights: Float64) -> Float64:
    """Return (I - W)'(I - W), W the sparse matrix of the weights, dense."""
    n, k = near.shape
    rows = np.repeat(np.arange(n), k)
    W = scipy.sparse.csr_array((weights.reshape(-1), (rows, near.reshape(-1))), shape=(n, n))
    difference = scipy.sparse.identity(n, format="csr") - W
    M: Float64 = np.asarray((difference.T @ difference).toarray())
    return M


def _principal_components(points: Float64) -> Float64:
    centred = points - points.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    axes = np.ascontiguousarray(vectors[:, : -DIMENSIONS - 1 : -1])
    # directions without any extent would be arbitrary
    axes[:, values[: -DIMENSIONS - 1 : -1] <= 1e-12 * max(float(values[-1]), 0.0)] = 0.0
    return axes


def align(points: Float64, previous: Float64 | None = None, common: tuple[Int64, Int64] | None = None) -> Float64:
    """Return the map centred, scaled to a root mean square radius of 1, and turned onto the one before.

    Parameters
    ----------
    points
        float64[n, d].
    previous
        float64[m, d], the map before, already aligned; None for the first.
    common
        Rows of ``points`` and rows of ``previous`` that are the same coins, in the same order. None: all rows.

    Returns
    -------
    float64[n, d]
        Rotated, or rotated and mirrored, to the least sum of squares over the common coins (Schönemann 1966).
        With fewer common coins than dimensions, only centred and scaled.
    """
    centred = _normalised(points)
    if previous is None:
        return centred
    here, there = common if common is not None else (np.arange(len(points)), np.arange(len(previous)))
    if len(here) != len(there):
        raise ValueError(f"{len(here)} coins of one map cannot be the {len(there)} coins of the other")
    if len(here) < points.shape[1]:
        return centred
    now, before = centred[here], previous[there]
    left, _, right = np.linalg.svd((now - now.mean(axis=0)).T @ (before - before.mean(axis=0)))
    turned: Float64 = centred @ (left @ right)
    return turned


def _normalised(points: Float64) -> Float64:
    if len(points) == 0:
        return points.copy()
    centred = points - points.mean(axis=0)
    radius = float(np.sqrt((centred * centred).sum() / len(points)))
    return np.asarray(centred / radius if radius > 0.0 else centred, dtype=np.float64)
