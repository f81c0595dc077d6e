"""Partial correlations, and the edges of the market's network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


def partial_correlations(precision: Float64) -> Float64:
    """Return -P_ij / sqrt(P_ii P_jj), with a diagonal of 1, from a precision matrix float64[n, n]."""
    diagonal = np.diagonal(precision)
    if diagonal.size and not diagonal.min() > 0.0:
        raise ValueError("a precision matrix has a positive diagonal")
    scale = 1.0 / np.sqrt(diagonal)
    rho = precision * -scale
    rho *= scale[:, None]
    np.fill_diagonal(rho, 1.0)
    return rho


def strongest_edges(rho: Float64, per_coin: int) -> tuple[Int64, Int64, Float64]:
    """Return the union over all coins of the ``per_coin`` strongest partial correlations of each.

    Of equally strong ones (by size, whatever the sign) the lower column wins. An edge of strength 0 is none.

    Returns
    -------
    a, b : int64[m]
        Ends with a < b, sorted by (a, b), each pair once.
    value : float64[m]
        ``rho[a, b]``.
    """
    n = len(rho)
    chosen = strongest_columns(rho, per_coin)
    rows = np.repeat(np.arange(n, dtype=np.int64), chosen.shape[1])
    columns = chosen.reshape(-1)
    there = columns >= 0
    rows, columns = rows[there], columns[there]
    key = np.unique(np.minimum(rows, columns) * max(n, 1) + np.maximum(rows, columns))
    a, b = np.divmod(key, max(n, 1))
    return a, b, rho[a, b]


def edges_above(rho: Float64, threshold: float) -> tuple[Int64, Int64, Float64]:
    """Return all edges with |rho| above the threshold, as the tutorial draws them (0.02), ends a < b."""
    a, b = np.nonzero(np.triu(np.abs(rho) > threshold, 1))
    return a, b, rho[a, b]


def edge_density(rho: Float64, threshold: float) -> float:
    """Return the share of pairs with |rho| above the threshold; 0 where there is no pair."""
    n = len(rho)
    return _pairs_above(rho, threshold) / (n * (n - 1) / 2) if n > 1 else 0.0


@njit(cache=True)
def _pairs_above(rho: Float64, threshold: float) -> int:
    count = 0
    for i in range(rho.shape[0]):
        for j in range(i):
            count += abs(rho[i, j]) > threshold
    return count


@njit(cache=True)
def strongest_columns(values: Float64, k: int) -> Int64:
    """Return int64[n, k]: for each row the k columns of the largest |value|, off the diagonal, strongest first.

    The lower column wins a tie; places that no value other than 0 fills are -1.
    """
    n = values.shape[0]
    chosen = np.full((n, k), -1, dtype=np.int64)
    strength = np.zeros(k)
    if k == 0:
        return chosen
    for i in range(n):
        strength[:] = 0.0
        for j in range(n):
            size = abs(values[i, j])
            if size <= strength[k - 1] or i == j:
                continue
            place = k - 1
            while place > 0 and strength[place - 1] < size:
                strength[place] = strength[place - 1]
                chosen[i, place] = chosen[i, place - 1]
                place -= 1
            strength[place] = size
            chosen[i, place] = j
    return chosen
