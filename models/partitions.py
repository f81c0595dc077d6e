"""Comparison of two partitions of the same coins: how far apart two clusterings are.

Everything comes from one contingency table. Two labels that are equal mean the same cluster *within* a partition;
between the partitions nothing is assumed about the names of labels.

Degenerate inputs are defined: no coin, one coin, or one cluster on both sides count as perfect agreement
(adjusted Rand 1, adjusted mutual information 1, variation of information 0).

Sources: Hubert & Arabie 1985 (adjusted Rand); Vinh, Epps & Bailey 2010 (adjusted mutual information, arithmetic mean);
Meila 2007 (variation of information).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PartitionDrift:
    """How far two partitions of the same coins are apart."""

    ari: float
    """Adjusted Rand index: 1 for equal partitions, 0 on average for unrelated ones."""
    ami: float
    """Adjusted mutual information, with the arithmetic mean of the entropies: 1 and 0 as above."""
    vi: float
    """Variation of information in nats: 0 for equal partitions, at most log(n)."""


def contingency(a: npt.ArrayLike, b: npt.ArrayLike) -> Ints:
    """Count the coins in each pair of clusters.

    Parameters
    ----------
    a, b
        Labels of the same n coins, int[n]. Any integer is a label; callers drop coins without one.

    Returns
    -------
    int64[ka, kb], rows and columns in ascending order of label.

    Raises
    ------
    ValueError
        If the two are not one-dimensional and of one length.
    """
    a, b = _labels(a), _labels(b)
    if a.shape != b.shape:
        raise ValueError(f"the partitions cover {a.size} and {b.size} coins: align them first")
    rows, row = np.unique(a, return_inverse=True)
    columns, column = np.unique(b, return_inverse=True)
    counts = np.bincount(row * columns.size + column, minlength=rows.size * columns.size)
    return counts.reshape(rows.size, columns.size).astype(np.int64, copy=False)


def adjusted_rand(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return the adjusted Rand index of two partitions, int[n] each (Hubert & Arabie 1985)."""
    return _adjusted_rand(contingency(a, b))


def adjusted_mutual_information(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return the adjusted mutual information of two partitions, int[n] each (Vinh, Epps & Bailey 2010)."""
    return _adjusted_mutual_information(contingency(a, b))


def variation_of_information(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return H(a) + H(b) - 2 I(a, b) in nats of two partitions, int[n] each (Meila 2007)."""
    return _variation_of_information(contingency(a, b))


def compare(a: npt.ArrayLike, b: npt.ArrayLike) -> PartitionDrift:
    """Compare two partitions of the same coins, from one contingency table.

    Parameters
    ----------
    a, b
        Labels of the same n coins, int[n]. A coin whose label is negative in either takes no part.
    """
    a, b = _labels(a), _labels(b)
    if a.shape == b.shape:
        both = (a >= 0) & (b >= 0)
        a, b = a[both], b[both]
    table = contingency(a, b)
    return PartitionDrift(_adjusted_rand(table), _adjusted_mutual_information(table), _variation_of_information(table))


def churn(before: npt.ArrayLike, after: npt.ArrayLike) -> float:
    """Return the share of coins whose shoal is another one than before.

    Unlike the other measures this one compares the numbers themselves, so both must come from matched identities.

    Parameters
    ----------
    before, after
        Shoal numbers of the same n coins, int[n]. A coin with a negative number in either takes no part.

    Returns
    -------
    Ratio in [0, 1]; 0 if no coin takes part.
    """
    before, after = _labels(before), _labels(after)
    if before.shape != after.shape:
        raise ValueError(f"the rounds cover {before.size} and {after.size} coins: align them first")
    both = (before >= 0) & (after >= 0)
    moved = int(np.count_nonzero(both & (before != after)))
    return moved / max(int(np.count_nonzero(both)), 1)


def _labels(values: npt.ArrayLike) -> Ints:
    labels = np.asarray(values)
    if labels.ndim != 1:
        raise ValueError(f"labels have {labels.ndim} dimensions, not 1")
    if labels.size and not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are {labels.dtype}, not integers")
    return labels.astype(np.int64, copy=False)


def _adjusted_rand(table: Ints) -> float:
    # Pair counts reach n^2; Python's integers have room for their products.
    n = int(table.sum())
    same_both = int((table**2).sum())
    same_a = int((table.sum(axis=1) ** 2).sum())
    same_b = int((table.sum(axis=0) ** 2).sum())
    together, only_b, only_a = same_both - n, same_b - same_both, same_a - same_both
    if only_a == 0 and only_b == 0:
        return 1.0
    apart = n * n - same_a - same_b + same_both
    agreement = 2 * (together * apart - only_a * only_b)
    return agreement / ((together + only_a) * (only_a + apart) + (together + only_b) * (only_b + apart))


def _entropy(sizes: Ints) -> float:
    share = sizes[sizes > 0] / sizes.sum()
    return float(-(share * np.log(share)).sum())


def _mutual_information(table: Ints) -> float:
    row, column = np.nonzero(table)
    cell = table[row, column].astype(np.float64)
    n = cell.sum()
    expected = table.sum(axis=1)[row] * (table.sum(axis=0)[column] / n)
    return max(float((cell / n * np.log(cell / expected)).sum()), 0.0)


def _variation_of_information(table: Ints) -> float:
    if table.size == 0:
        return 0.0
    if np.count_nonzero(table) == table.shape[0] == table.shape[1]:
        return 0.0  # one partition with its labels renamed: exactly 0, not the rounding error of the sum
    distance = _entropy(table.sum(axis=1)) + _entropy(table.sum(axis=0)) - 2.0 * _mutual_information(table)
    return max(distance, 0.0)


def _adjusted_mutual_information(table: Ints) -> float:
    if table.shape[0] <= 1 or table.shape[1] <= 1:
        return float(table.shape[0] == table.shape[1])
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    by_chance = _expected_mutual_information(rows, columns)
    tiny = float(np.finfo(np.float64).eps)
    room = (_entropy(rows) + _entropy(columns)) / 2.0 - by_chance
    gain = _mutual_information(table) - by_chance
    # The room is never negative but for rounding, and equals the gain for equal partitions.
    return math.copysign(max(abs(gain), tiny), gain) / math.copysign(max(abs(room), tiny), room)


def _expected_mutual_information(rows: Ints, columns: Ints) -> float:
    """Return the mean mutual information of random tables with these sums, in nats (Vinh, Epps & Bailey 2010)."""
    n = int(rows.sum())
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    row_sizes, row_counts = np.unique(rows, return_counts=True)
    column_sizes, column_counts = np.unique(columns, return_counts=True)
    return float(_expected_kernel(row_sizes, row_counts, column_sizes, column_counts, log_factorial))


@njit(cache=True)
def _expected_kernel(
    row_sizes: Ints,
    row_counts: Ints,
    column_sizes: Ints,
    column_counts: Ints,
    log_factorial: npt.NDArray[np.float64],
) -> float:
    # Clusters of one size are alike, so each pair of sizes is summed once: that is what makes it fast.
    n = log_factorial.size - 1
    total = 0.0
    for i in range(row_sizes.size):
        a = row_sizes[i]
        for j in range(column_sizes.size):
            b = column_sizes[j]
            fixed = log_factorial[a] + log_factorial[b] + log_factorial[n - a] + log_factorial[n - b] - log_factorial[n]
            mean = 0.0
            for cell in range(max(1, a + b - n), min(a, b) + 1):
                log_chance = (
                    fixed
                    - log_factorial[cell]
                    - log_factorial[a - cell]
                    - log_factorial[b - cell]
                    - log_factorial[n - a - b + cell]
                )
                mean += cell / n * math.log(n * cell / (a * b)) * math.exp(log_chance)
            total += row_counts[i] * column_counts[j] * mean
    return total
