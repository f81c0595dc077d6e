"""Affinity propagation (Frey & Dueck 2007, Science 315:972): exemplars by message passing, fused into one pass.

The updates, the convergence rule and the final refinement are those of scikit-learn's ``affinity_propagation``,
operation by operation, so that labels and numbers of iterations agree with it. What differs:

- One iteration reads similarities, responsibilities and availabilities once: row *i* first receives the
  availabilities of the iteration before, then yields its two largest sums, its new responsibilities and its part
  of the column sums. Nothing else of size n x n is touched.
- Exact ties are broken by noise from a hash of (row, column), of the size that scikit-learn draws at random
  (the rounding error of each similarity). Equal input gives equal output, and no generator is involved. Of centres
  that serve a cluster equally well (always so with two members and symmetric similarities) the first is taken.
- A run that does not converge is tried once more with the damping ``retry_damping`` (oscillation is what damping
  cures), twice the iterations, and a convergence window longer by as much as the messages are slower, so that
  standing still is not taken for having arrived; if that fails too, all labels are -1: half a result is none.

Items that are equal in everything are a known weakness of the method (here as there, the two may end as two
exemplars): duplicates are best removed before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]

_EPSILON: Final = float(np.finfo(np.float64).eps)
_TINY: Final = float(np.finfo(np.float64).tiny) * 100.0
_TIE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class AffinityResult:
    """Clusters of one run.

    ``labels`` number the clusters by the index of their exemplar, so ``exemplars[labels[i]]`` is the exemplar of
    item *i*; all are -1, and there are no exemplars, if the run did not converge. ``iterations`` and ``damping``
    are those of the attempt that counted (0 iterations: all similarities were equal, or there was one item).
    """

    labels: Int32
    exemplars: Int64
    converged: bool
    iterations: int
    damping: float


def affinity_propagation(
    S: Float64,
    preference: float,
    damping: float = 0.5,
    max_iterations: int = 200,
    convergence_iterations: int = 15,
    *,
    retry_damping: float = 0.9,
    overwrite: bool = False,
) -> AffinityResult:
    """Cluster by affinity propagation.

    Parameters
    ----------
    S
        float64[n, n], finite similarities; ``S[i, k]`` says how well *k* would serve as the exemplar of *i*.
    preference
        Put on the diagonal: the higher, the more clusters. The median of ``S`` is the usual choice.
    damping
        Share of the old message that is kept, in [0.5, 1).
    max_iterations, convergence_iterations
        A run has converged when the set of exemplars was the same, and not empty, over the last
        ``convergence_iterations`` iterations, of ``max_iterations`` at most.
    retry_damping
        Damping of the second attempt, below 1; none is made if it does not exceed ``damping``.
    overwrite
        Work on ``S`` itself (its diagonal is lost) instead of a copy.

    Raises
    ------
    ValueError
        If ``S`` is not square, a value of it or the preference is not finite, or a parameter is out of range.
    """
    _check(S, preference, damping, retry_damping, max_iterations, convergence_iterations)
    n = S.shape[0]
    if n == 0:
        return _unconverged(0, 0, damping)
    if n == 1 or _all_equal(S):
        return _indifferent(n, preference > S[0, n - 1], damping)
    work = S if overwrite and S.flags.c_contiguous and S.flags.writeable else S.copy(order="C")
    np.fill_diagonal(work, preference)
    _break_ties(work, _EPSILON, _TINY)

    attempts = [(damping, max_iterations, convergence_iterations)]
    if retry_damping > damping:
        slower = (1.0 - damping) / (1.0 - retry_damping)
        attempts.append((retry_damping, 2 * max_iterations, round(convergence_iterations * slower)))
    A, R = np.empty_like(work), np.empty_like(work)
    iterations = 0
    for damping, limit, window in attempts:  # noqa: PLR1704 - the damping that counts is the last one
        A.fill(0.0)
        R.fill(0.0)
        iterations, is_exemplar, converged = _pass_messages(work, A, R, damping, limit, window)
        if converged:
            labels, exemplars = _assign(work, np.flatnonzero(is_exemplar))
            return AffinityResult(labels, exemplars, True, iterations, damping)
    return _unconverged(n, iterations, damping)


def _check(
    S: Float64,
    preference: float,
    damping: float,
    retry_damping: float,
    max_iterations: int,
    convergence_iterations: int,
) -> None:
    if S.ndim != 2 or S.shape[0] != S.shape[1] or S.dtype != np.float64:
        raise ValueError(f"similarities must be a square float64 matrix, not {S.dtype}{list(S.shape)}")
    if not 0.5 <= damping < 1.0:
        raise ValueError(f"damping must be in [0.5, 1), not {damping}")
    if not retry_damping < 1.0:
        raise ValueError(f"the second damping must be below 1, not {retry_damping}")
    if max_iterations < 1 or convergence_iterations < 1:
        raise ValueError(f"iterations must be positive, not {max_iterations} and {convergence_iterations}")
    if not (np.isfinite(preference) and np.isfinite(S.sum())):
        raise ValueError("similarities and preference must be finite")


def _all_equal(S: Float64) -> bool:
    """Return whether all similarities between different items are equal."""
    n = S.shape[0]
    # without its last entry, the matrix cut into rows of n + 1 has the diagonal as its first column
    between = S.reshape(-1)[:-1].reshape(n - 1, n + 1)[:, 1:] if S.flags.c_contiguous else S[~np.eye(n, dtype=bool)]
    first = between.flat[0]
    return bool(S[0, n - 1] == S[n - 1, 0] == first and np.all(between == first))


def _indifferent(n: int, prefers_itself: bool, damping: float) -> AffinityResult:
    """Return the answer where no pair stands out: each for itself, or all together around the first."""
    exemplars = np.arange(n if prefers_itself else 1, dtype=np.int64)
    labels = exemplars.astype(np.int32) if prefers_itself else np.zeros(n, dtype=np.int32)
    return AffinityResult(labels, exemplars, True, 0, damping)


def _unconverged(n: int, iterations: int, damping: float) -> AffinityResult:
    return AffinityResult(np.full(n, -1, dtype=np.int32), np.empty(0, dtype=np.int64), False, iterations, damping)


def _assign(S: Float64, exemplars: Int64) -> tuple[Int32, Int64]:
    """Give each item to its most similar exemplar, once more after each cluster has chosen its best centre."""
    numbers = np.arange(len(exemplars))
    nearest = np.argmax(S[:, exemplars], axis=1)
    nearest[exemplars] = numbers
    centres = exemplars.copy()
    for number in numbers:
        members = np.flatnonzero(nearest == number)
        fit = S[np.ix_(members, members)].sum(axis=0)
        # two items that are all alone serve each other equally well: the first, or noise would choose
        centres[number] = members[np.argmax(fit >= fit.max() - _TIE * np.abs(fit).max())]
    nearest = np.argmax(S[:, centres], axis=1)
    nearest[centres] = numbers
    exemplars, labels = np.unique(centres[nearest], return_inverse=True)
    return labels.astype(np.int32), exemplars


@njit(cache=True)
def _break_ties(S: Float64, relative: float, absolute: float) -> None:
    """Move each similarity by its rounding error times noise of unit variance, a hash of its place (splitmix64)."""
    n = S.shape[0]
    for i in range(n):
        for k in range(n):
            z = np.uint64(i * n + k + 1) * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
            uniform = np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)
            S[i, k] += (relative * S[i, k] + absolute) * (3.4641016151377544 * (uniform - 0.5))


# nnan and nsz let the compiler vectorise the searches for a maximum; sums keep their order, so bits stay the same
@njit(cache=True, fastmath={"nnan", "nsz"})
def _maximum(values: Float64) -> float:
    best = -np.inf
    for k in range(len(values)):
        best = max(best, values[k])
    return best


@njit(cache=True, fastmath={"nnan", "nsz"})
def _receive(a: Float64, r: Float64, s: Float64, i: int, column_sum: Float64, damping: float, total: Float64) -> None:
    """Update the availabilities of row i from the last responsibilities; total = availability + similarity."""
    diagonal = damping * a[i] - (1.0 - damping) * (r[i] - column_sum[i])
    for k in range(len(a)):
        surplus = max(r[k], 0.0) - column_sum[k]
        a[k] = a[k] * damping - max(surplus, 0.0) * (1.0 - damping)
        total[k] = a[k] + s[k]
    a[i] = diagonal
    total[i] = a[i] + s[i]


@njit(cache=True, fastmath={"nnan", "nsz"})
def _respond(r: Float64, s: Float64, i: int, best: float, winner: int, second: float, damping: float,
             column_sum: Float64) -> None:  # fmt: skip
    """Update the responsibilities of row i and add their positive parts (of i itself: all) to the column sums."""
    of_winner = r[winner] * damping + (s[winner] - second) * (1.0 - damping)
    before = column_sum[winner]
    before_diagonal = column_sum[i]
    for k in range(len(r)):
        r[k] = r[k] * damping + (s[k] - best) * (1.0 - damping)
        column_sum[k] += max(r[k], 0.0)
    r[winner] = of_winner
    column_sum[winner] = before + max(of_winner, 0.0)
    column_sum[i] = before_diagonal + r[i]


@njit(cache=True)
def _pass_messages(
    S: Float64, A: Float64, R: Float64, damping: float, max_iterations: int, convergence_iterations: int
) -> tuple[int, npt.NDArray[np.bool_], bool]:
    """Run until the exemplars stand; return the iterations, who is an exemplar, and whether it converged."""
    n = S.shape[0]
    column_sum, next_sum, total = np.zeros(n), np.zeros(n), np.empty(n)
    is_exemplar = np.zeros(n, dtype=np.bool_)
    unchanged = np.zeros(n, dtype=np.int64)
    for iteration in range(max_iterations):
        next_sum[:] = 0.0
        for i in range(n):
            a, r, s = A[i], R[i], S[i]
            _receive(a, r, s, i, column_sum, damping, total)
            best = _maximum(total)
            winner = 0
            while total[winner] != best:
                winner += 1
            total[winner] = -np.inf
            _respond(r, s, i, best, winner, _maximum(total), damping, next_sum)
        column_sum, next_sum = next_sum, column_sum

        exemplars, settled = 0, True
        for i in range(n):
            own = A[i, i] * damping - (R[i, i] - column_sum[i]) * (1.0 - damping)
            now = own + R[i, i] > 0.0
            unchanged[i] = unchanged[i] + 1 if now == is_exemplar[i] and iteration > 0 else 1
            is_exemplar[i] = now
            exemplars += now
            settled &= unchanged[i] >= convergence_iterations
        if settled and exemplars > 0 and iteration >= convergence_iterations:
            return iteration + 1, is_exemplar, True
    return max_iterations, is_exemplar, False
