"""Heavy tails of returns: the tail index of each coin, and whether it is below 2.

Lorenzo & Arroyo 2022 call a coin heavy-tailed if its tail index is below 2 (citing Newman 2005) and do not say which
estimator gives it. Three are offered; the Hill estimator on the top tenth of absolute returns is the default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

Float64 = npt.NDArray[np.float64]
TailMethod: TypeAlias = Literal["hill", "tail_exponent", "pdf_exponent"]

METHODS: Final = ("hill", "tail_exponent", "pdf_exponent")


@dataclass(frozen=True, slots=True)
class TailSettings:
    """How a tail index is estimated, and below which one a tail is heavy.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    method: TailMethod = "hill"
    """``hill``: Hill (1975) on a fixed share of |r|. ``pdf_exponent``: the exponent of the density, with the start of
    the tail that fits best (Clauset, Shalizi & Newman 2009). ``tail_exponent``: that less 1, the tail's exponent."""
    top: float = 0.10
    """Share of absolute returns that are the tail, for ``hill``."""
    minimum_tail: int = 20
    """A tail with fewer points says nothing: the index is missing."""
    below: float = 2.0
    """Indices below this are heavy: the variance is infinite."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r} of the tail index: {', '.join(METHODS)}")
        if not 0.0 < self.top < 1.0:
            raise ValueError(f"the share of returns in the tail must be in (0, 1), not {self.top}")
        if self.minimum_tail < 2:
            raise ValueError(f"a tail needs at least 2 points, not {self.minimum_tail}")


def tail_index(R: Float64, settings: TailSettings | None = None) -> Float64:
    """Return the tail index of each coin's absolute returns.

    Parameters
    ----------
    R
        float64[T, n], unclipped returns; NaN and infinite ones are missing. Returns of zero count as returns.
    settings
        Estimator; None: the defaults.

    Returns
    -------
    float64[n]; NaN where the tail has too few points or does not vary.
    """
    settings = settings or TailSettings()
    if R.ndim != 2:
        raise ValueError(f"returns must be a matrix of time x coins, not {list(R.shape)}")
    size = np.where(np.isfinite(R), np.abs(R), np.nan)
    if settings.method == "hill":
        return hill(size, settings.top, settings.minimum_tail)
    exponent: Float64 = _best_exponents(np.ascontiguousarray(np.sort(size, axis=0).T), settings.minimum_tail)
    return exponent if settings.method == "pdf_exponent" else exponent - 1.0


def is_heavy(index: Float64, below: float = 2.0) -> npt.NDArray[np.bool_]:
    """Return bool[n]: indices below the bound; missing ones are not."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(index) & (index < below)


def hill(size: Float64, top: float, minimum_tail: int) -> Float64:
    """Return Hill's estimate k / sum(ln(x_(i) / x_(k+1))) over the k = floor(top m) largest of m values.

    Parameters
    ----------
    size
        float64[T, n], absolute returns, NaN missing.
    top, minimum_tail
        As in :class:`TailSettings`.

    Returns
    -------
    float64[n]; NaN with fewer than ``minimum_tail`` points in the tail, if the value below the tail is 0, or if all
    of the tail equals it.
    """
    count = np.isfinite(size).sum(axis=0)
    # 1e-9 keeps a tenth of 30 from being 2.9999999999999996
    k = np.floor(top * count + 1e-9).astype(np.int64)
    descending = -np.sort(-size, axis=0)  # NaN last
    logs = np.full((len(size) + 1, size.shape[1]), -math.inf)
    np.log(descending, out=logs[:-1], where=descending > 0.0)
    start = np.take_along_axis(logs, k[None, :], axis=0)[0]
    known = (k >= minimum_tail) & np.isfinite(start)
    inside = (np.arange(len(logs))[:, None] < k) & known
    excess = np.where(inside, logs - np.where(known, start, 0.0), 0.0).sum(axis=0)
    index = np.full(len(k), math.nan)
    np.divide(k, excess, out=index, where=known & (excess > 0.0))
    return index


@njit(cache=True)
def _best_exponents(ascending: Float64, minimum_tail: int) -> Float64:
    """Return the exponent of each row (ascending, NaN last) at the start of the tail with the least KS distance."""
    n, width = ascending.shape
    best = np.full(n, np.nan)
    logs = np.empty(width)
    for coin in range(n):
        m = 0
        for t in range(width):
            if ascending[coin, t] > 0.0:  # NaN is not
                logs[m] = math.log(ascending[coin, t])
                m += 1
        least = np.inf
        total = 0.0
        for start in range(m - 1, -1, -1):
            total += logs[start]
            points = m - start
            spread = total - points * logs[start]
            # equal values are one start, the first of them, and a tail of equal ones has no slope;
            # of equal distances the longest tail is taken
            if points < minimum_tail or spread <= 1e-12 * points or (start > 0 and logs[start - 1] == logs[start]):
                continue
            slope = points / spread
            distance = _distance(logs, start, m, slope, least)
            if distance <= least:
                least = distance
                best[coin] = 1.0 + slope
    return best


@njit(cache=True)
def _distance(logs: Float64, start: int, m: int, slope: float, least: float) -> float:
    """Return the Kolmogorov-Smirnov distance of a tail to its power law, or a bound of it above ``least``."""
    points = m - start
    worst = 0.0
    for i in range(start, m):
        model = 1.0 - math.exp(-slope * (logs[i] - logs[start]))
        below, above = (i - start) / points, (i - start + 1) / points
        worst = max(worst, abs(model - below), abs(model - above))
        if worst > least:
            break
    return worst
