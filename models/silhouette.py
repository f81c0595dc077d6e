"""How well each coin sits in its cluster, for the distance 1 - correlation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]


def silhouettes(unit: Float64, labels: Int32) -> Float64:
    """Return silhouettes (Rousseeuw 1987) for the distance 1 - correlation, without a distance matrix.

    Parameters
    ----------
    unit
        float64[T, n], columns of length 1: the mean distance to a cluster is 1 minus the product with the mean of
        its columns.
    labels
        int32[n], 0 to K - 1, each present.

    Returns
    -------
    float64[n]
        0 for coins alone in their cluster; NaN for all with fewer than two clusters.
    """
    n = len(labels)
    size = np.bincount(labels)
    if len(size) < 2:
        return np.full(n, np.nan)
    member = np.zeros((n, len(size)))
    member[np.arange(n), labels] = 1.0
    mean_distance = 1.0 - unit.T @ (unit @ member) / size
    own_size = size[labels]
    # the own cluster's mean counts the coin itself, at distance 0
    within = mean_distance[np.arange(n), labels] * own_size / np.maximum(own_size - 1, 1)
    mean_distance[np.arange(n), labels] = np.inf
    between = mean_distance.min(axis=1)
    larger = np.maximum(within, between)
    # members that are the same series but for rounding are at distance 0 of each other
    value: Float64 = np.divide(between - within, larger, out=np.zeros(n), where=larger > 1e-12)
    value[own_size == 1] = 0.0
    return value
