"""K-means by transfers of single points (Hartigan & Wong 1979, Applied Statistics 28, algorithm AS 136).

A point moves to another cluster when that lowers the total sum of squares, the shift of both centres counted. Every
partition that no such move improves is also a fixed point of Lloyd's algorithm, but not the other way round, so that
a few moves can improve what Lloyd's algorithm left. The order of points, of comparisons and of sums is that of the
published algorithm, since ``as_published`` has to reproduce partitions of R's ``kmeans``, which uses it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

_QUICK_STEPS = 50
"""Quick transfers stop after this many passes over the points, as in R: ties can make them go round for ever."""


def hartigan_wong(X: Float64, centres: Float64, max_iterations: int = 10) -> tuple[Int64, Float64, int, bool]:
    """Cluster points from given centres.

    Parameters
    ----------
    X
        float64[n, d].
    centres
        float64[k, d], 1 < k < n; left as they are.
    max_iterations
        Rounds of an optimal-transfer and a quick-transfer stage; R's default is 10.

    Returns
    -------
    labels : int64[n]
    centres : float64[k, d]
        Means of the points of each cluster.
    iterations : int
    converged : bool
        False if points still moved in the last round, or the quick transfers went round in circles.

    Raises
    ------
    ValueError
        If shapes do not fit, or a centre is nearest to no point.
    """
    n, k = len(X), len(centres)
    if X.ndim != 2 or centres.ndim != 2 or X.shape[1] != centres.shape[1] or not 1 < k < n:
        raise ValueError(f"{n} points {X.shape} cannot be clustered from centres {centres.shape}: 1 < k < n is needed")
    points, moved = np.ascontiguousarray(X, dtype=np.float64), np.array(centres, dtype=np.float64)
    labels, iterations, fault = _cluster(points, moved, max_iterations)
    if fault == 1:
        raise ValueError("a centre is nearest to no point: start from centres that are points")
    return labels, moved, int(iterations), fault == 0


@njit(cache=True)
def _squared(a: Float64, b: Float64) -> float:
    total = 0.0
    for j in range(a.size):
        total += (a[j] - b[j]) * (a[j] - b[j])
    return total


@njit(cache=True)
def _two_nearest(X: Float64, centres: Float64, first: Int64, second: Int64) -> None:
    for i in range(len(X)):
        near, next_near = _squared(X[i], centres[0]), _squared(X[i], centres[1])
        first[i], second[i] = 0, 1
        if near > next_near:
            first[i], second[i], near, next_near = 1, 0, next_near, near
        for c in range(2, len(centres)):
            distance = _squared(X[i], centres[c])
            if distance >= next_near:
                continue
            if distance >= near:
                next_near, second[i] = distance, c
            else:
                next_near, second[i], near, first[i] = near, first[i], distance, c


@njit(cache=True)
def _means(X: Float64, labels: Int64, centres: Float64, size: Int64) -> bool:
    """Set the centres to their points' means; False if one has none."""
    centres[:] = 0.0
    size[:] = 0
    for i in range(len(X)):
        size[labels[i]] += 1
        centres[labels[i]] += X[i]
    for c in range(len(centres)):
        if size[c] == 0:
            return False
        centres[c] /= size[c]
    return True


@njit(cache=True)
def _set_weights(c: int, size: Int64, leave: Float64, enter: Float64) -> None:
    """Set what a squared distance is multiplied by when a point leaves cluster ``c``, and when one enters it."""
    count = float(size[c])
    enter[c] = count / (count + 1.0)
    leave[c] = count / (count - 1.0) if count > 1.0 else np.inf


@njit(cache=True)
def _transfer(
    i: int, X: Float64, old: int, new: int, centres: Float64, size: Int64, leave: Float64, enter: Float64
) -> None:
    before, after = float(size[old]), float(size[new])
    for j in range(X.shape[1]):
        centres[old, j] = (centres[old, j] * before - X[i, j]) / (before - 1.0)
        centres[new, j] = (centres[new, j] * after + X[i, j]) / (after + 1.0)
    size[old] -= 1
    size[new] += 1
    _set_weights(old, size, leave, enter)
    _set_weights(new, size, leave, enter)


@njit(cache=True)
def _cluster(X: Float64, centres: Float64, max_iterations: int) -> tuple[Int64, int, int]:
    """Return labels, iterations and a fault: 0 none, 1 an empty cluster, 2 too many iterations, 4 too many steps."""
    n, k = len(X), len(centres)
    first, second, size = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(k, np.int64)
    _two_nearest(X, centres, first, second)
    if not _means(X, first, centres, size):
        return first, 0, 1
    leave, enter = np.empty(k), np.empty(k)
    for c in range(k):
        _set_weights(c, size, leave, enter)
    # the step of the last change of each cluster in the running stage, -1 at first: all distances are to be computed
    changed = np.full(k, -1, np.int64)
    quick = np.ones(k, np.bool_)
    live = np.zeros(k, np.int64)
    loss = np.zeros(n)
    idle, fault, rounds = 0, 2, 0
    while rounds < max_iterations:
        rounds += 1
        idle = _optimal(X, centres, first, second, size, leave, enter, changed, loss, quick, live, idle)
        if idle == n:
            fault = 0
            break
        idle, in_time = _quick(X, centres, first, second, size, leave, enter, changed, loss, quick, idle)
        if not in_time:
            fault = 4
            break
        if k == 2:  # no third cluster that an optimal transfer could find
            fault = 0
            break
        changed[:] = 0
    _means(X, first, centres, size)
    return first, rounds, fault


@njit(cache=True)
def _optimal(
    X: Float64, centres: Float64, first: Int64, second: Int64, size: Int64, leave: Float64, enter: Float64,
    changed: Int64, loss: Float64, quick: npt.NDArray[np.bool_], live: Int64, idle: int,
) -> int:  # fmt: skip
    """Give each point to the cluster that lowers the total most; return the steps since the last transfer."""
    n, k = len(X), len(centres)
    for c in range(k):
        if quick[c]:
            live[c] = n + 1
    for i in range(n):
        idle += 1
        old, kept = first[i], second[i]
        if size[old] > 1:
            if changed[old] != 0:
                loss[i] = _squared(X[i], centres[old]) * leave[old]
            new = kept
            gain = _squared(X[i], centres[kept]) * enter[kept]
            for c in range(k):
                if (i + 1 >= live[old] and i + 1 >= live[c]) or c in (old, kept):
                    continue
                limit = gain / enter[c]
                distance = _squared(X[i], centres[c])
                if distance < limit:
                    gain, new = distance * enter[c], c
            if gain >= loss[i]:
                second[i] = new
            else:
                idle = 0
                live[old] = live[new] = n + i + 1
                changed[old] = changed[new] = i + 1
                _transfer(i, X, old, new, centres, size, leave, enter)
                first[i], second[i] = new, old
        if idle == n:
            return idle
    for c in range(k):
        quick[c] = False
        live[c] -= n
    return idle


@njit(cache=True)
def _quick(
    X: Float64, centres: Float64, first: Int64, second: Int64, size: Int64, leave: Float64, enter: Float64,
    changed: Int64, loss: Float64, quick: npt.NDArray[np.bool_], idle: int,
) -> tuple[int, bool]:  # fmt: skip
    """Swap points between their two nearest clusters until a whole pass changes nothing."""
    n = len(X)
    quiet, step = 0, 0
    while True:
        for i in range(n):
            quiet += 1
            step += 1
            if step > _QUICK_STEPS * n:
                return idle, False
            old, new = first[i], second[i]
            if size[old] > 1:
                if step <= changed[old]:
                    loss[i] = _squared(X[i], centres[old]) * leave[old]
                if (step < changed[old] or step < changed[new]) and (
                    _squared(X[i], centres[new]) < loss[i] / enter[new]
                ):
                    quiet = idle = 0
                    quick[old] = quick[new] = True
                    changed[old] = changed[new] = step + n
                    _transfer(i, X, old, new, centres, size, leave, enter)
                    first[i], second[i] = new, old
            if quiet == n:
                return idle, True
