"""The mix of behaviours in a window, and how it moves from one window to the next."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.amounts import Float64, Int64, UInt64
from models.segments import Int8

TYPES: Final = 4


def shares(labels: Int8, k: int = TYPES) -> tuple[Int64, Float64]:
    """Return how many entities carry each label and their share.

    Parameters
    ----------
    labels : int8 [n]
        0 to k - 1; a negative label (not classified) counts nowhere.

    Returns
    -------
    int64 [k], float64 [k]
        Counts, and shares that sum to 1, or all 0 without entities.
    """
    classified = labels[labels >= 0]
    if classified.size and int(classified.max()) >= k:
        raise ValueError(f"label {int(classified.max())} of {k} types")
    counts = np.bincount(classified, minlength=k).astype(np.int64)
    return counts, counts / max(int(counts.sum()), 1)


def entropy(p: Float64) -> float:
    """Return the Shannon entropy of a distribution in bits: 0 for one type, log2(k) for all alike.

    An all-zero vector (no entities) has entropy 0.
    """
    q = _distribution(p)
    positive = q[q > 0.0]
    return max(0.0, -float(np.sum(positive * np.log2(positive))))


def jensen_shannon(p: Float64, q: Float64) -> float:
    """Return the Jensen-Shannon divergence in bits: 0 for equal distributions, 1 for disjoint ones (Lin 1991).

    NaN where one of them is all zero: there is nothing to compare.
    """
    if p.shape != q.shape:
        raise ValueError(f"distributions of {p.size} and {q.size} types")
    a, b = _distribution(p), _distribution(q)
    if not a.any() or not b.any():
        return float("nan")
    divergence = entropy((a + b) / 2.0) - (entropy(a) + entropy(b)) / 2.0
    return min(1.0, max(0.0, divergence))


def transitions(keys_a: UInt64, labels_a: Int8, keys_b: UInt64, labels_b: Int8, k: int = TYPES) -> Int64:
    """Return how many entities went from each type to each other.

    Parameters
    ----------
    keys_a, labels_a : uint64 [n], int8 [n]
        Entities of the earlier window in strictly ascending order of key, with their labels.
    keys_b, labels_b : uint64 [m], int8 [m]
        Those of the later window.

    Returns
    -------
    int64 [k + 1, k + 1]
        Rows: earlier type, columns: later type; index k stands for "none": absent or not classified.
    """
    full_a, full_b = _padded(keys_a, labels_a, k), _padded(keys_b, labels_b, k)
    at = np.searchsorted(keys_b, keys_a)
    both = at < keys_b.size
    both[both] = keys_b[at[both]] == keys_a[both]
    after = np.full(keys_a.size, k, np.int64)
    after[both] = full_b[at[both]]
    new = np.ones(keys_b.size, np.bool_)
    new[at[both]] = False
    cells = np.concatenate([full_a * (k + 1) + after, k * (k + 1) + full_b[new]])
    table = np.bincount(cells, minlength=(k + 1) ** 2).reshape(k + 1, k + 1).astype(np.int64)
    table[k, k] = 0
    return table


def _padded(keys: UInt64, labels: Int8, k: int) -> Int64:
    if keys.shape != labels.shape:
        raise ValueError(f"{keys.size} keys with {labels.size} labels")
    if bool(np.any(keys[1:] <= keys[:-1])):
        raise ValueError("keys must ascend strictly")
    if labels.size and int(labels.max()) >= k:
        raise ValueError(f"label {int(labels.max())} of {k} types")
    return np.where(labels < 0, k, labels).astype(np.int64)


def _distribution(p: Float64) -> Float64:
    if bool(np.any(~np.isfinite(p) | (p < 0.0))):
        raise ValueError("shares must be finite and not negative")
    total = float(np.sum(p))
    return p / total if total > 0.0 else np.zeros(p.shape, np.float64)
