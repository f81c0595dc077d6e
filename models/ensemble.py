"""Which of several partitions of the same coins stands for all of them: the medoid of an ensemble.

Source: the Euclidean dissimilarity and ``cl_medoid`` of the R package clue (Hornik 2005, Journal of Statistical
Software 14(12)), which Lorenzo & Arroyo 2022 use on repeated K-means runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from models.partitions import contingency

Float64 = npt.NDArray[np.float64]
Partitions = Sequence[npt.ArrayLike] | npt.NDArray[np.integer]
"""Labels of the same n coins, int[n] each, or all of them as int[m, n]."""


def dissimilarity(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return sqrt(2 (n - m)), m the most coins that a one-to-one matching of clusters can agree on.

    It is the least Euclidean distance of the two membership matrices over all renumberings of clusters.

    Parameters
    ----------
    a, b
        Labels of the same n coins, int[n]; names of labels are irrelevant.

    Raises
    ------
    ValueError
        If the two do not cover the same number of coins.
    """
    table = contingency(a, b)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(np.sqrt(2.0 * (table.sum() - table[rows, columns].sum())))


def dissimilarities(partitions: Partitions) -> Float64:
    """Return float64[m, m] dissimilarities of m partitions, symmetric with a diagonal of 0."""
    m = len(partitions)
    D = np.zeros((m, m))
    for i in range(m):
        for j in range(i):
            D[i, j] = D[j, i] = dissimilarity(partitions[i], partitions[j])
    return D


def medoid(partitions: Partitions) -> int:
    """Return the position of the partition with the least sum of dissimilarities to all; the first of equal ones.

    Raises
    ------
    ValueError
        If there is none.
    """
    if len(partitions) == 0:
        raise ValueError("an ensemble of no partitions has no medoid")
    total = dissimilarities(partitions).sum(axis=1)
    # sums of square roots of integers: what differs by rounding alone is equal
    return int(np.flatnonzero(total <= total.min() * (1.0 + 1e-12))[0])
