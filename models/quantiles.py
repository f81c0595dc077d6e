"""Distributions of returns as quantile functions: exact order statistics, fixed-quantile histograms, registration.

A quantile function is held bin by bin: a bin carries the probability w and the values from c - r to c + r, on which
it rises linearly. Order statistics are bins of equal probability and no width. All distributions of one table share
their probabilities; then the l2 Wasserstein distance is Euclidean in c sqrt(w) and r sqrt(w / 3), and the mean of
quantile functions, a prototype, is the mean of these columns (Irpino & Verde 2006; Irpino, Verde & Lechevallier 2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

TIE_STEP: Final = 1e-10
"""Least width of a bin of a fixed-quantile histogram: HistDAWass wants bounds that rise."""


@dataclass(frozen=True, slots=True)
class Distributions:
    """n distributions on the same m bins."""

    weights: Float64
    """float64[m]: probability of each bin; they add up to 1."""
    centres: Float64
    """float64[n, m]: middle of each bin, not falling along a row."""
    radii: Float64 | None
    """float64[n, m]: half the width of each bin; None if no bin has a width (order statistics)."""

    def __len__(self) -> int:
        """Return the number of distributions."""
        return len(self.centres)

    @property
    def columns(self) -> int:
        """Number of columns of :func:`features`."""
        return len(self.weights) * (1 if self.radii is None else 2)


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of n distributions, each float64[n]; NaN where a ratio has no denominator."""

    mean: Float64
    deviation: Float64
    """Of the distribution itself: no correction of degrees of freedom."""
    skewness: Float64
    kurtosis: Float64
    """Fourth standardised moment: 3 for a Gaussian."""
    coefficient_of_variation: Float64
    """deviation / mean, with the mean's sign."""


def order_statistics(R: Float64) -> Distributions:
    """Return the exact distributions of returns: the sorted values, each with the same probability.

    The number of bins m is the largest number of returns that any coin has. A coin with fewer (t < m) is given m
    values of its own quantile function, piecewise linear through its sorted values at (i - 1/2) / t and level
    beyond the first and the last, at the middles (j - 1/2) / m of the bins. For t = m these are the sorted values.

    Parameters
    ----------
    R
        float64[T, n], NaN where there is no return; each coin needs one at least.
    """
    sorted_rows, count = _sorted(R)
    m = int(count.max(initial=1))
    values = sorted_rows[:, :m]
    gaps = np.flatnonzero(count < m)
    if gaps.size:
        t = count[gaps, np.newaxis]
        middle = np.arange(m) + 0.5
        values[gaps] = _between(sorted_rows[gaps], np.clip(middle * t / m - 0.5, 0.0, t - 1.0))
    return Distributions(np.full(m, 1.0 / m), np.ascontiguousarray(values), None)


def fixed_quantiles(R: Float64, bins: int = 20) -> Distributions:
    """Return histograms whose bounds are the quantiles at 0, 1 / bins, ..., 1 (``FixedQuantiles`` of HistDAWass).

    Quantiles are of type 7 (Hyndman & Fan 1996: R's and numpy's default) over each coin's own returns. A bound that
    is not above the one before is set 1e-10 above it, one after the other, as data2hist does.

    Parameters
    ----------
    R
        float64[T, n], NaN where there is no return; each coin needs one at least.
    bins
        Number of bins, at least 1.
    """
    if bins < 1:
        raise ValueError(f"a histogram needs at least one bin, not {bins}")
    sorted_rows, count = _sorted(R)
    positions = np.arange(bins + 1) / bins
    bounds = _between(sorted_rows, positions * (count[:, np.newaxis] - 1.0))
    for j in range(1, bins + 1):
        before = bounds[:, j - 1]
        bounds[:, j] = np.where(bounds[:, j] <= before, before + TIE_STEP, bounds[:, j])
    return from_bounds(positions, bounds)


def _sorted(R: Float64) -> tuple[Float64, Int64]:
    """Return float64[n, T] sorted returns, NaN last, and how many each coin has."""
    count = np.isfinite(R).sum(axis=0)
    if R.ndim != 2 or (count == 0).any():
        raise ValueError("returns must be a matrix of time x coins in which every coin has at least one return")
    # adding 0 makes negative zeros positive: they compare equal, and their order would be that of the days
    return np.sort(np.where(np.isfinite(R), R + 0.0, np.nan).T, axis=1), count


def _between(values: Float64, place: Float64) -> Float64:
    """Return the rows of ``values`` at fractional column numbers, float64[n, m], by linear interpolation."""
    low = np.floor(place).astype(np.int64)
    high = np.ceil(place).astype(np.int64)
    share = place - low
    below, above = np.take_along_axis(values, low, axis=1), np.take_along_axis(values, high, axis=1)
    between: Float64 = below * (1.0 - share) + above * share
    # equal neighbours stay equal, and nothing leaves their interval by rounding
    return np.clip(between, below, above)


def from_bounds(positions: Float64, bounds: Float64) -> Distributions:
    """Return histograms from float64[m + 1] cumulated probabilities (0 to 1) and float64[n, m + 1] bounds of bins."""
    return Distributions(np.diff(positions), (bounds[:, 1:] + bounds[:, :-1]) / 2.0, np.diff(bounds) / 2.0)


def register(histograms: Sequence[tuple[Float64, Float64]]) -> Distributions:
    """Bring histograms with bins of their own onto common bins, without changing them.

    Parameters
    ----------
    histograms
        Per distribution its bounds float64[b + 1] and the cumulated probabilities at them, from 0 to 1, rising.

    Returns
    -------
    Distributions
        On the union of all probabilities, so that every quantile function is linear in every bin.
    """
    if not histograms:
        raise ValueError("no histogram to register")
    positions = np.unique(np.concatenate([p for _, p in histograms]))
    return from_bounds(positions, np.array([np.interp(positions, p, x) for x, p in histograms]))


def simplified(distributions: Distributions, bins: int = 20) -> Distributions:
    """Return histograms of equal probabilities with the same quantiles (``simplify`` of HistDAWass).

    HistDAWass also computes a correction that would keep mean and deviation, and does not apply it.
    """
    positions = np.arange(bins + 1) / bins
    return from_bounds(positions, quantiles_at(distributions, positions))


def features(distributions: Distributions) -> Float64:
    """Return float64[n, m or 2 m] columns whose Euclidean distances are the l2 Wasserstein distances."""
    scale = np.sqrt(distributions.weights)
    if distributions.radii is None:
        return distributions.centres * scale
    return np.hstack([distributions.centres * scale, distributions.radii * (scale / np.sqrt(3.0))])


def from_features(columns: Float64, like: Distributions) -> Distributions:
    """Return the distributions, on the bins of ``like``, that have these :func:`features`."""
    m, scale = len(like.weights), np.sqrt(like.weights)
    radii = None if like.radii is None else columns[:, m:] / (scale / np.sqrt(3.0))
    return Distributions(like.weights, columns[:, :m] / scale, radii)


def moments(distributions: Distributions) -> Moments:
    """Return the moments of each distribution (values are uniform within a bin)."""
    w, c, r = distributions.weights, distributions.centres, distributions.radii
    mean = c @ w
    centred = c - mean[:, np.newaxis]
    c2, r2 = centred * centred, np.zeros_like(centred) if r is None else r * r
    deviation = np.sqrt((c2 + r2 / 3.0) @ w)
    third, fourth = (centred * (c2 + r2)) @ w, (c2 * c2 + 2.0 * c2 * r2 + r2 * r2 / 5.0) @ w
    return Moments(mean, deviation, _ratio(third, deviation**3), _ratio(fourth, deviation**4), _ratio(deviation, mean))


def _ratio(above: Float64, below: Float64) -> Float64:
    """Return above / below, NaN where below is 0."""
    ratio: Float64 = np.divide(above, below, out=np.full(len(above), np.nan), where=below != 0.0)
    return ratio


def quantiles_at(distributions: Distributions, positions: Float64) -> Float64:
    """Return float64[n, p]: the quantile functions at float64[p] probabilities.

    Histograms are piecewise linear between their bounds. Order statistics are read as in :func:`order_statistics`,
    so that the median is the usual one and the ends are the least and the largest value.
    """
    w, c, r = distributions.weights, distributions.centres, distributions.radii
    after = np.cumsum(w)
    if r is None:
        knots, values = after - w / 2.0, c
    else:
        # a bound may be absent by rounding in its sum: 1 is 1
        knots = np.concatenate([[0.0], after[:-1], [1.0]])
        values = np.hstack([c - r, c[:, -1:] + r[:, -1:]])
    place = np.interp(positions, knots, np.arange(len(knots), dtype=np.float64))
    return _between(values, np.broadcast_to(place, (len(c), len(positions))))


def resampled(distributions: Distributions, bins: int) -> Distributions:
    """Return order statistics read at the middles of another number of bins of equal probability."""
    middles = (np.arange(bins) + 0.5) / bins
    return Distributions(np.full(bins, 1.0 / bins), quantiles_at(distributions, middles), None)
