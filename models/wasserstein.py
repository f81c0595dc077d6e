"""l2 Wasserstein distances between distributions, their parts, and what partitions explain of them.

In the columns of :func:`models.quantiles.features` the distance is Euclidean, so that sums of squares, prototypes and
silhouettes are the ordinary ones. Several variables (segments of a window) stand side by side: squares add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from models.quantiles import Distributions, features, moments

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

_BLOCK: Final = 256

_SAME: Final = 1e-12
"""A squared distance below this share of the squared lengths of its ends is rounding: the two are the same."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Squared distances in three parts, each float64[a, b] and not negative (METHODS, Irpino & Romano 2007)."""

    location: Float64
    """(mean - mean)^2."""
    spread: Float64
    """(deviation - deviation)^2."""
    shape: Float64
    """2 s1 s2 (1 - rho), rho the correlation of the two quantile functions."""

    @property
    def total(self) -> Float64:
        """The squared distance: the exact sum of the parts."""
        return self.location + self.spread + self.shape


def distances(a: Float64, b: Float64) -> Float64:
    """Return float64[a, b] distances between two sets of features, each from the differences themselves."""
    found: Float64 = cdist(a, b)
    return found


def decompose(a: Sequence[Distributions], b: Sequence[Distributions]) -> Parts:
    """Split the squared distances between two sets of distributions into location, spread and shape.

    Parameters
    ----------
    a, b
        One :class:`Distributions` per variable, the same bins in both; parts are added over variables.
    """
    shape = (len(a[0]), len(b[0]))
    location, spread, rest = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for one, other in zip(a, b, strict=True):
        (mean_a, deviation_a, z_a), (mean_b, deviation_b, z_b) = _standardised(one), _standardised(other)
        location += np.subtract.outer(mean_a, mean_b) ** 2
        spread += np.subtract.outer(deviation_a, deviation_b) ** 2
        # |z_a - z_b|^2 = 2 (1 - rho): not negative, and without the cancellation of 1 - rho
        rest += np.multiply.outer(deviation_a, deviation_b) * cdist(z_a, z_b, "sqeuclidean")
    return Parts(location, spread, rest)


def _standardised(distributions: Distributions) -> tuple[Float64, Float64, Float64]:
    """Return means, deviations and the features of the standardised distributions (of length 1; 0 if flat)."""
    of = moments(distributions)
    centred = Distributions(distributions.weights, distributions.centres - of.mean[:, np.newaxis], distributions.radii)
    scale = np.where(of.deviation > 0.0, of.deviation, 1.0)
    return of.mean, of.deviation, features(centred) / scale[:, np.newaxis]


def squares_about(X: Float64, labels: Int32, k: int) -> Float64:
    """Return float64[k]: sum of squared distances of each cluster's members to their mean (the prototype)."""
    found = np.zeros(k)
    for label in range(k):
        members = X[labels == label]
        if len(members):
            found[label] = ((members - members.mean(axis=0)) ** 2).sum()
    return found


def total_squares(X: Float64) -> float:
    """Return the sum of squared distances of all to the mean of all; 0 if all are the same but for rounding."""
    squares = float(((X - X.mean(axis=0)) ** 2).sum())
    return squares if squares > _SAME**2 * float((X * X).sum()) else 0.0


def explained_share(within: float, total: float) -> float:
    """Return 1 - within / total (``quality`` of HistDAWass); 1 if there is nothing to explain."""
    return 1.0 - within / total if total > 0.0 else 1.0


def calinski_harabasz(within: float, total: float, n: int, k: int) -> float:
    """Return the index of Calinski & Harabasz (1974); NaN unless 1 < k < n, infinite if nothing is left within."""
    if not 1 < k < n:
        return float("nan")
    if within <= 0.0:
        return float("inf")
    return (total - within) / within * (n - k) / (k - 1)


def silhouettes(X: Float64, labellings: Sequence[Int32]) -> list[Float64]:
    """Return silhouettes (Rousseeuw 1987) for several partitions of the same distributions, in one pass over pairs.

    Parameters
    ----------
    X
        float64[n, c] features; distances are Euclidean and not squared. They are made in blocks of rows.
    labellings
        int32[n] each, 0 to K - 1, each label present.

    Returns
    -------
    list of float64[n]
        0 for members alone in their cluster; NaN for all with fewer than two clusters.
    """
    n = len(X)
    sizes = [np.bincount(labels) for labels in labellings]
    member = np.zeros((n, sum(map(len, sizes))))
    starts = np.cumsum([0, *map(len, sizes)])
    for labels, start in zip(labellings, starts, strict=False):
        member[np.arange(n), start + labels] = 1.0
    mean_distance = _distance_sums(X, member) / np.concatenate(sizes)
    return [
        _silhouettes(mean_distance[:, start : start + len(size)], labels, size)
        for labels, size, start in zip(labellings, sizes, starts, strict=False)
    ]


def _distance_sums(X: Float64, member: Float64) -> Float64:
    """Return the sums of distances to the members of each column, block by block."""
    X = X - X.mean(axis=0)  # distances stay as they are, and lose less by cancellation
    length = np.einsum("ij,ij->i", X, X)
    sums = np.empty((len(X), member.shape[1]))
    for start in range(0, len(X), _BLOCK):
        rows = slice(start, start + _BLOCK)
        ends = np.add.outer(length[rows], length)
        squared = ends - 2.0 * (X[rows] @ X.T)
        squared[squared < _SAME * ends] = 0.0
        sums[rows] = np.sqrt(squared, out=squared) @ member
    return sums


def _silhouettes(mean_distance: Float64, labels: Int32, size: npt.NDArray[np.int64]) -> Float64:
    n = len(labels)
    if len(size) < 2:
        return np.full(n, np.nan)
    own_size, everyone = size[labels], np.arange(n)
    # the own cluster's mean counts the member itself, at distance 0
    within = mean_distance[everyone, labels] * own_size / np.maximum(own_size - 1, 1)
    others = mean_distance.copy()
    others[everyone, labels] = np.inf
    between = others.min(axis=1)
    larger = np.maximum(within, between)
    value: Float64 = np.divide(between - within, larger, out=np.zeros(n), where=larger > 0.0)
    value[own_size == 1] = 0.0
    return value
