"""TADPole: density peaks among time series under dynamic time warping (Begum et al. 2015, KDD).

A series is a good centroid if many others are within ``dc`` of it (density) and the nearest denser one is far away
(delta); each other series joins the cluster of its nearest denser one (Rodriguez & Laio 2014, Science 344:1492).

Two ways to the same answer: :func:`density_peaks` on a matrix of all distances, and :func:`tadpole`, which computes a
distance only where the bounds LB_Keogh and Euclid leave a doubt. On daily returns of coins the bounds are loose (two
thirds to four fifths of all distances are computed in the end), so that the whole matrix is the cheaper way here.

``order="dtwclust"`` repeats R's dtwclust 6.0.0, exactly and with its peculiarities: "denser" means a larger product
of density and an upper bound of delta; a pair whose Euclidean distance equals ``dc`` is no neighbour even if the
warped one is smaller; a pruned pair enters with its Euclidean distance, though under this order pruning is not
admissible. ``order="rho"`` is the papers' algorithm. Ties are broken by position, here and there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from models.dtw import WINDOW, dtw_between, euclid_matrix, lb_improved_matrix, lb_keogh_matrix

Floats = npt.NDArray[Any]  # float64 or float32
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]
Order = Literal["rho", "dtwclust"]
LowerBound = Literal["keogh", "improved"]

_BOUNDS: Final = {"keogh": lb_keogh_matrix, "improved": lb_improved_matrix}


@dataclass(frozen=True, slots=True)
class Peaks:
    """What the choice of centroids and the assignment need; n series, numbered as they were given."""

    rho: Float64
    """float64[n]: number of neighbours within dc, scaled to [0, 1]; 1 for all if all have as many."""
    delta: Float64
    """float64[n]: distance to the nearest denser series, scaled likewise; the densest has the largest."""
    order: Int64
    """int64[n]: the series from dense to sparse."""
    nearest: Int64
    """int64[n]: nearest series that comes earlier in ``order``; -1 for the first."""
    computed_share: float
    """Share of all pairs whose distance was computed; 1 for :func:`density_peaks`."""

    @property
    def gamma(self) -> Float64:
        """Product of density and delta: the larger, the better a centroid."""
        return self.rho * self.delta

    @property
    def ranking(self) -> Int64:
        """The series from best to worst centroid."""
        return np.argsort(-self.gamma, kind="stable")


def density_peaks(D: Floats, dc: float) -> Peaks:
    """Return the peaks of a full matrix of distances, float[n, n].

    Raises
    ------
    ValueError
        If no pair is within ``dc``.
    """
    if D.ndim != 2 or D.shape[0] != D.shape[1] or len(D) < 2:
        raise ValueError(f"distances are a square matrix of at least two series, not {list(D.shape)}")
    rho = _density((dc >= D).sum(axis=1) - 1, dc)
    order = np.argsort(-rho, kind="stable")
    delta, nearest = _nearest_before(order, lambda i, before: D[i, before])
    return Peaks(rho, delta, order, nearest, 1.0)


def tadpole(
    X: npt.ArrayLike,
    dc: float,
    window: int = WINDOW,
    order: Order = "rho",
    lower_bound: LowerBound = "keogh",
    threads: int = 1,
    known: Floats | None = None,
) -> Peaks:
    """Return the peaks, with distances computed only where the bounds leave a doubt.

    Parameters
    ----------
    X
        Finite float[n, T], a series per row, at least two.
    dc
        Distance within which series are neighbours.
    window
        Half width of the band in bars.
    order, lower_bound
        See above; ``improved`` prunes more and costs more.
    threads
        Of the bounds.
    known
        float[n, n]: distances that are there already, to be looked up instead of computed; they count as computed.

    Raises
    ------
    ValueError
        If there are fewer than two series, no pair is within ``dc``, or an option is unknown.
    """
    series = np.ascontiguousarray(X, dtype=np.float64)
    if order not in ("rho", "dtwclust"):
        raise ValueError(f"unknown order {order!r}: rho or dtwclust")
    if lower_bound not in _BOUNDS:
        raise ValueError(f"unknown lower bound {lower_bound!r}: keogh or improved")
    if len(series) < 2:
        raise ValueError(f"at least two series, not {len(series)}")
    lower, upper = _BOUNDS[lower_bound](series, window, threads), euclid_matrix(series, threads)

    def warped(i: int, others: Int64) -> Floats:
        row: Floats = dtw_between(series[i : i + 1], series[others], window)[0] if known is None else known[i, others]
        return row

    done, neighbours, computed = _doubtful_pairs(lower, upper, dc, warped, count_ties=order == "rho")
    rho = _density(neighbours, dc)
    bound = _delta_bound(np.argsort(-rho, kind="stable"), np.where(np.isnan(done), upper, done))
    sequence = np.argsort(-(rho * bound if order == "dtwclust" else rho), kind="stable")

    def to_earlier(i: int, before: Int64) -> Floats:
        nonlocal computed
        distance: Float64 = done[i, before]
        unknown = np.isnan(distance)
        pruned = unknown & (lower[i, before] > bound[i])
        wanted = before[unknown & ~pruned]
        distance[pruned] = upper[i, before[pruned]]
        distance[unknown & ~pruned] = warped(i, wanted)
        computed += len(wanted)
        return distance

    delta, nearest = _nearest_before(sequence, to_earlier)
    return Peaks(rho, delta, sequence, nearest, computed / (len(series) * (len(series) - 1) / 2))


def assign(peaks: Peaks, k: int) -> tuple[Int32, Int64]:
    """Cut k clusters: the best centroids, and each other series with its nearest denser one.

    Returns
    -------
    labels : int32[n]
        0 to k - 1, numbered by the position of their centroids; -1 where no chain leads to a centroid. It cannot
        happen to peaks from here: the first of the order has the largest density and delta, so that it is the first
        of the ranking too (dtwclust, which asks nobody, would read memory before its array).
    centroids : int64[k]
        Ascending.
    """
    n = len(peaks.order)
    if not 1 <= k <= n:
        raise ValueError(f"{n} series make 1 to {n} clusters, not {k}")
    centroids = np.sort(peaks.ranking[:k])
    labels = np.full(n, -1, dtype=np.int32)
    labels[centroids] = np.arange(k, dtype=np.int32)
    found: list[int] = labels.tolist()
    for i, leader in zip(peaks.order.tolist(), peaks.nearest[peaks.order].tolist(), strict=True):
        if found[i] < 0 <= leader:
            found[i] = found[leader]
    return np.array(found, dtype=np.int32), centroids


def assign_nearest(D: Floats, peaks: Peaks, k: int) -> tuple[Int32, Int64]:
    """Cut k clusters around the same centroids, each other series with the nearest of them (the first of equal ones).

    Not the papers' way [ours]: a chain of denser neighbours can end at a centroid far away, and one link that changes
    takes everybody behind it along.
    """
    centroids = np.sort(peaks.ranking[:k])
    labels = np.argmin(D[:, centroids], axis=1).astype(np.int32)
    labels[centroids] = np.arange(k, dtype=np.int32)
    return labels, centroids


def knee(peaks: Peaks, most: int) -> int:
    """Return the number of clusters, 2 to ``most``, after which the sorted products of the peaks fall deepest."""
    gamma = peaks.gamma[peaks.ranking[: most + 1]]
    if len(gamma) < 3:
        return len(gamma)
    return 2 + int(np.argmax(gamma[1:-1] - gamma[2:]))


def _doubtful_pairs(
    lower: Floats, upper: Floats, dc: float, warped: Callable[[int, Int64], Floats], *, count_ties: bool
) -> tuple[Float64, Int64, int]:
    """Return the distances that had to be computed (NaN elsewhere), the numbers of neighbours, and how many."""
    n = len(lower)
    done = np.full((n, n), np.nan)
    computed = 0
    for i in range(1, n):
        others = np.flatnonzero((lower[i, :i] <= dc) & (upper[i, :i] > dc))
        done[i, others] = done[others, i] = warped(i, others)
        computed += len(others)
    certain = (upper <= dc) if count_ties else (lower <= dc) & (upper < dc)
    near = (done <= dc) | certain
    np.fill_diagonal(near, val=False)
    return done, near.sum(axis=1), computed


def _density(neighbours: Int64, dc: float) -> Float64:
    if not neighbours.any():
        raise ValueError(f"no two series are within {dc} of each other: choose a larger cutoff distance")
    return _scaled(neighbours.astype(np.float64))


def _scaled(values: Float64) -> Float64:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.ones(len(values))


def _delta_bound(by_density: Int64, at_most: Float64) -> Float64:
    """Return an upper bound of each series' distance to the nearest denser one."""
    bound = np.zeros(len(by_density))
    for rank in range(1, len(by_density)):
        bound[by_density[rank]] = at_most[by_density[rank], by_density[:rank]].min()
    bound[by_density[0]] = bound.max()
    return bound


def _nearest_before(order: Int64, distance: Callable[[int, Int64], Floats]) -> tuple[Float64, Int64]:
    """Return the scaled distance to the nearest earlier series, and which it is (the first of equal ones)."""
    delta = np.zeros(len(order))
    nearest = np.full(len(order), -1, dtype=np.int64)
    for rank in range(1, len(order)):
        to_earlier = distance(int(order[rank]), order[:rank])
        best = int(np.argmin(to_earlier))
        delta[order[rank]], nearest[order[rank]] = to_earlier[best], order[best]
    delta[order[0]] = delta.max()
    return _scaled(delta), nearest
