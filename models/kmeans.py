"""K-means for the views: many starts, or one from centres of before.

The search of each start is that of Hartigan & Wong (1979), which Lorenzo & Arroyo use through R: what single transfers
of points cannot improve Lloyd's algorithm cannot either, and what Lloyd leaves they can (499.0933 instead of 499.0950
with four clusters on a real market). Of points in hundreds of dimensions scikit-learn's Lloyd does the search, being
several times faster there, and transfers end it. Rows are put into an order of their own first, so that permuting them
changes nothing.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from models.hartigan_wong import hartigan_wong
from models.threads import one_thread

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Method = Literal["hartigan_wong", "lloyd"]

_Found = tuple[Int64, int, bool]


@dataclass(frozen=True, slots=True)
class KMeansResult:
    """Clusters of n points; k may be smaller than asked for if there are fewer distinct points."""

    labels: Int32
    """int32[n], 0 to k - 1, numbered by their first row in :func:`canonical_order`."""
    centres: Float64
    """float64[k, d]: means of the points of each cluster."""
    inertia: float
    """Sum of squared distances to the own centre."""
    iterations: int
    """Of the best start; the transfers after Lloyd's algorithm are not counted."""
    converged: bool


def kmeans(
    X: Float64,
    clusters: int,
    *,
    starts: int = 50,
    seed: int = 0,
    initial: Float64 | None = None,
    max_iterations: int = 300,
    method: Method = "hartigan_wong",
) -> KMeansResult:
    """Cluster points.

    Parameters
    ----------
    X
        float64[n, d], finite, n > 0; the order of rows is irrelevant.
    clusters
        Number of clusters; with fewer distinct points each of those is a cluster.
    starts
        k-means++ starts, of which the best is kept. Ignored if ``initial`` is given.
    seed
        Of the starts.
    initial
        float64[clusters, d]: centres to start from, once.
    max_iterations
        Of each start.
    method
        ``hartigan_wong``, or ``lloyd`` for points of hundreds of dimensions, ended by transfers all the same.

    Raises
    ------
    ValueError
        If there are no points, a coordinate is not finite, or a number is out of range.
    """
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"points must be a matrix with rows and columns, not {list(X.shape)}")
    if not np.isfinite(X).all():
        raise ValueError("a coordinate is not a finite number: leave such points out first")
    if clusters < 1 or starts < 1 or max_iterations < 1:
        raise ValueError(f"clusters {clusters}, starts {starts} and iterations {max_iterations} must be at least 1")
    if initial is not None and initial.shape != (clusters, X.shape[1]):
        raise ValueError(f"centres to start from are {list(initial.shape)}, not {[clusters, X.shape[1]]}")
    order = canonical_order(X)
    points = np.ascontiguousarray(X[order]) + 0.0  # no negative zeros
    distinct = np.ones(len(points), dtype=np.bool_)
    distinct[1:] = (points[1:] != points[:-1]).any(axis=1)
    found: _Found | None
    with one_thread():
        if int(distinct.sum()) <= clusters:
            found = np.cumsum(distinct) - 1, 0, True
        elif clusters == 1:
            found = np.zeros(len(points), dtype=np.int64), 0, True
        else:
            found = None
            if method == "hartigan_wong":
                found = _transfers_from(points, clusters, starts, seed, initial, max_iterations)
            if found is None:
                found = _lloyd(points, clusters, starts, seed, initial, max_iterations)
    numbered = _numbered_by_first(found[0])
    centres = centres_of(points, numbered)
    labels = np.empty(len(points), dtype=np.int32)
    labels[order] = numbered
    return KMeansResult(labels, centres, float(np.square(points - centres[numbered]).sum()), found[1], found[2])


def canonical_order(X: Float64) -> Int64:
    """Return an order of rows that depends on their values alone: by first column, then the second, and so on."""
    if X.shape[1] <= 8:
        return np.lexsort(X.T[::-1])
    order = np.argsort(X[:, 0], kind="stable")
    first = X[order, 0]
    if (first[1:] != first[:-1]).all():
        return order
    return np.array(sorted(range(len(X)), key=lambda row: X[row].tolist()), dtype=np.int64)


def centres_of(X: Float64, labels: npt.NDArray[np.integer]) -> Float64:
    """Return float64[k, d] means of the points of each cluster; labels are 0 to k - 1, each present."""
    k = int(labels.max()) + 1
    member = np.zeros((k, len(X)))
    member[labels, np.arange(len(X))] = 1.0
    centres: Float64 = member @ X / member.sum(axis=1)[:, None]
    return centres


def _transfers_from(
    points: Float64, clusters: int, starts: int, seed: int, initial: Float64 | None, max_iterations: int
) -> _Found | None:
    """Return the best of the starts; None if none was usable."""
    rng = np.random.default_rng(seed)
    best: _Found | None = None
    least = np.inf
    for _ in range(starts if initial is None else 1):
        start = _plus_plus(points, clusters, rng) if initial is None else initial
        try:
            labels, centres, iterations, converged = hartigan_wong(points, start, max_iterations)
        except ValueError:  # a centre that is nearest to no point
            continue
        total = float(np.square(points - centres[labels]).sum())
        # what differs by rounding alone is equal, and the first of equal ones stays
        if best is None or total < least * (1.0 - 1e-12):
            best, least = (labels, iterations, converged), total
    return best


def _plus_plus(points: Float64, clusters: int, rng: np.random.Generator) -> Float64:
    """Return float64[clusters, d] of the points, far from each other by chance (Arthur & Vassilvitskii 2007)."""
    chosen = [int(rng.integers(len(points)))]
    distance = np.square(points - points[chosen[0]]).sum(axis=1)
    for _ in range(clusters - 1):
        cumulated = np.cumsum(distance)
        at = int(np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right"))
        chosen.append(min(at, int(np.flatnonzero(distance)[-1])))
        distance = np.minimum(distance, np.square(points - points[chosen[-1]]).sum(axis=1))
    return points[chosen]


def _lloyd(
    points: Float64, clusters: int, starts: int, seed: int, initial: Float64 | None, max_iterations: int
) -> _Found:
    from sklearn.cluster import KMeans  # noqa: PLC0415 - seconds, which those who need no Lloyd do not pay

    model = KMeans(
        n_clusters=clusters,
        init="k-means++" if initial is None else initial,
        n_init=starts if initial is None else 1,
        max_iter=max_iterations,
        tol=0.0,
        random_state=seed,
        algorithm="lloyd",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer clusters than asked for are found: numbered by the caller
        model.fit(points)
    labels, iterations = _numbered_by_first(model.labels_.astype(np.int64)), int(model.n_iter_)
    centres = centres_of(points, labels)
    if len(centres) > 1:
        ended = _transfers_from(points, len(centres), 1, seed, centres, max_iterations)
        if ended is not None and ended[2]:
            labels = ended[0]
    return labels, iterations, iterations < max_iterations


def _numbered_by_first(labels: Int64) -> Int64:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[inverse]
