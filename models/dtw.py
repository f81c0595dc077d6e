"""Dynamic time warping in a band, its bounds, and matrices of them.

The distance is sqrt(min sum (x_i - y_j)^2) over warping paths with steps (1, 0), (0, 1) and (1, 1) of equal weight
("symmetric1" of Giorgino 2009, J. Stat. Softw. 31:7) inside |i - j| <= window (Sakoe & Chiba 1978). Between the bounds

    LB_Keogh(x, y) <= LB_Improved(x, y) <= DTW(x, y) <= Euclid(x, y)

(Keogh & Ratanamahatana 2005; Lemire 2009, Pattern Recognition 42:2169) the lower two are made symmetric here by the
larger of both directions, as R's dtwclust does.

One series is compared with 64 others at once: their values of one bar lie side by side, so that each step of the
recursion is a run of vector instructions, and a pair costs a tenth of what it costs alone. Each pair has its own lane
and each lane the same order of operations whatever its neighbours: results are equal in bits to the plain recursion,
exactly symmetric, and independent of the number of threads and of the width of the machine's vectors.

Series are rows: float64[n, T]. Cells outside the band are infinite, so values must be finite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[Any]  # float64 or float32
Float64 = npt.NDArray[np.float64]
Precision = Literal["float64", "float32"]

LANES: Final = 64
"""Pairs of one pass: with fewer the loop's overhead shows, with more the band leaves the first cache."""

WINDOW: Final = 3
"""Half width of the band in bars (Lorenzo & Arroyo 2022)."""


def dtw(x: npt.ArrayLike, y: npt.ArrayLike, window: int = WINDOW) -> float:
    """Return the distance of two series of equal length."""
    return float(dtw_between(np.atleast_2d(x), np.atleast_2d(y), window)[0, 0])


def dtw_between(
    A: npt.ArrayLike, B: npt.ArrayLike, window: int = WINDOW, precision: Precision = "float64", threads: int = 1
) -> Floats:
    """Return the distances of each series of A to each of B.

    Parameters
    ----------
    A, B
        Finite float[m, T] and float[n, T].
    window
        Half width of the band in bars; 0 gives the Euclidean distance.
    precision
        ``float32`` is up to twice as fast; its error is below :func:`float32_error`.
    threads
        Blocks of columns are shared between so many threads; the result is the same.

    Returns
    -------
    float[m, n], of the given precision.

    Raises
    ------
    ValueError
        If lengths differ, a value is not finite or the window is negative.
    """
    left, right = _series(A, window, precision), _series(B, window, precision)
    if left.shape[1] != right.shape[1]:
        raise ValueError(f"series of {left.shape[1]} and {right.shape[1]} bars: warping needs one length here")
    D: Floats = np.empty((len(left), len(right)), dtype=precision)

    def block(start: int) -> None:
        lanes = right[start : start + LANES]
        D[:, start : start + LANES] = _to_block(left, lanes, window)

    _each(block, range(0, len(right), LANES), threads)
    return D


def dtw_matrix(X: npt.ArrayLike, window: int = WINDOW, precision: Precision = "float64", threads: int = 1) -> Floats:
    """Return the float[n, n] distances of all pairs: exactly symmetric, 0 on the diagonal.

    Parameters, precision and errors as in :func:`dtw_between`.
    """
    series = _series(X, window, precision)

    def block(start: int, stop: int) -> Floats:
        return _to_block(series[:stop], series[start:stop], window)

    return _symmetric(len(series), block, precision, threads)


def euclid_matrix(X: npt.ArrayLike, threads: int = 1) -> Floats:
    """Return the float64[n, n] Euclidean distances of all pairs, by differences (no cancellation)."""
    return dtw_matrix(X, window=0, threads=threads)


def float32_error(x: npt.ArrayLike, y: npt.ArrayLike, distance: float) -> float:
    """Return a bound on the error of one float32 distance.

    A sum of up to 2T squares loses at most 2T + 3 roundings relative to itself, half of that after the root;
    rounding the values themselves moves the distance by at most a rounding of both norms.
    """
    half_ulp = float(np.finfo(np.float32).eps) / 2.0
    bars = np.size(x)
    norms = float(np.linalg.norm(np.asarray(x)) + np.linalg.norm(np.asarray(y)))
    return half_ulp * ((bars + 4.0) * distance + 2.0 * norms)


def envelope(X: npt.ArrayLike, window: int = WINDOW) -> tuple[Float64, Float64]:
    """Return the lower and upper envelopes float64[n, T]: extremes of each series within +-window bars."""
    series = _series(X, window, "float64")
    lower, upper = series.copy(), series.copy()
    for shift in range(1, min(window, series.shape[1] - 1) + 1):
        np.minimum(lower[:, shift:], series[:, :-shift], out=lower[:, shift:])
        np.minimum(lower[:, :-shift], series[:, shift:], out=lower[:, :-shift])
        np.maximum(upper[:, shift:], series[:, :-shift], out=upper[:, shift:])
        np.maximum(upper[:, :-shift], series[:, shift:], out=upper[:, :-shift])
    return lower, upper


def lb_keogh_matrix(X: npt.ArrayLike, window: int = WINDOW, threads: int = 1) -> Floats:
    """Return float64[n, n]: the larger of both directions' LB_Keogh, 0 on the diagonal."""
    series = _series(X, window, "float64")
    lower, upper = envelope(series, window)

    def block(start: int, stop: int) -> Floats:
        packed = [_packed(values[start:stop], 0) for values in (series, lower, upper)]
        return _keogh_block(series[:stop], lower, upper, packed[0], packed[1], packed[2])[:, : stop - start]

    return _symmetric(len(series), block, "float64", threads)


def lb_improved_matrix(X: npt.ArrayLike, window: int = WINDOW, threads: int = 1, *, symmetric: bool = True) -> Floats:
    """Return float64[n, n]: the larger of both directions' LB_Improved, or that of series i to the envelope of j.

    Tighter than LB_Keogh by the distance of y to the envelope of x's projection onto y's envelope. Each pair has an
    envelope of its own, so this costs more than the distances themselves by :func:`dtw_matrix`.
    """
    series = _series(X, window, "float64")
    lower, upper = envelope(series, window)
    one_way = np.empty((len(series), len(series)))

    def row(i: int) -> None:
        _improved_row(series, lower, upper, i, min(window, series.shape[1] - 1), one_way[i])

    _each(row, range(len(series)), threads)
    return np.maximum(one_way, one_way.T) if symmetric else one_way


def _series(X: npt.ArrayLike, window: int, precision: Precision) -> Floats:
    if window < 0:
        raise ValueError(f"the window is a number of bars on either side, not {window}")
    if precision not in ("float64", "float32"):
        raise ValueError(f"unknown precision {precision!r}: float64 or float32")
    series: Floats = np.ascontiguousarray(X, dtype=precision)
    if series.ndim != 2 or series.shape[1] < 1:
        raise ValueError(f"series are the rows of a matrix with at least one bar, not {list(series.shape)}")
    if not np.isfinite(series).all():
        raise ValueError("series must be finite: fill or drop missing returns first")
    return series


def _symmetric(n: int, block: Callable[[int, int], Floats], precision: Precision, threads: int) -> Floats:
    """Return the matrix whose columns start to stop, down to row stop, are ``block(start, stop)``."""
    D: Floats = np.empty((n, n), dtype=precision)

    def fill(start: int) -> None:
        stop = min(start + LANES, n)
        D[:stop, start:stop] = block(start, stop)
        D[start:stop, :start] = D[:start, start:stop].T

    # the last blocks are the longest: first, so that no thread is left alone with one
    _each(fill, reversed(range(0, n, LANES)), threads)
    return D


def _each(work: Callable[[int], None], items: Iterable[int], threads: int) -> None:
    """Do the work for each item; the kernels release the interpreter's lock."""
    if threads < 1:
        raise ValueError(f"at least one thread, not {threads}")
    if threads == 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, items):
            pass


def _packed(B: Floats, window: int) -> Floats:
    """Return up to LANES series side by side: float[(T + 2 window) * LANES], infinite outside the series."""
    packed = np.full((B.shape[1] + 2 * window, LANES), np.inf, dtype=B.dtype)
    inside = packed[window : window + B.shape[1]]
    inside[:, : len(B)] = B.T
    inside[:, len(B) :] = 0.0  # lanes without a series
    return packed.reshape(-1)


def _to_block(A: Floats, B: Floats, window: int) -> Floats:
    """Return the distances of each row of A to up to LANES rows of B."""
    window = min(window, A.shape[1] - 1)
    D: Floats = _dtw_block(A, _packed(B, window), window, A.dtype.type(np.inf))
    return D[:, : len(B)]


@njit(nogil=True, cache=True)
def _dtw_block(A: Floats, packed: Floats, window: int, infinite: np.floating[Any]) -> Floats:
    """Return the distances of each row of A to the packed series, float[m, LANES].

    ``band`` holds one row of the recursion, cell after cell, between two that are always infinite: before cell k
    is computed, it and the one after it are of the row above, the one before it of this row.
    """
    cells = 2 * window + 1
    band = np.empty((cells + 2) * LANES, dtype=A.dtype)
    out = np.empty((A.shape[0], LANES), dtype=A.dtype)
    for a in range(A.shape[0]):
        band[:] = infinite
        band[(window + 1) * LANES : (window + 2) * LANES] = 0.0
        for i in range(A.shape[1]):
            x = A[a, i]
            for k in range(cells):
                y = packed[(i + k) * LANES : (i + k + 1) * LANES]
                near = band[k * LANES : (k + 3) * LANES]
                for lane in range(LANES):
                    d = x - y[lane]
                    best = near[LANES + lane]
                    above = near[2 * LANES + lane]
                    left = near[lane]
                    near[LANES + lane] = d * d + min(best, above, left)
        last = band[(window + 1) * LANES : (window + 2) * LANES]
        for lane in range(LANES):
            out[a, lane] = np.sqrt(last[lane])
    return out


@njit(nogil=True, cache=True)
def _keogh_block(X: Float64, lower: Float64, upper: Float64, packed: Float64, packed_lower: Float64,
                 packed_upper: Float64) -> Float64:  # fmt: skip
    """Return LB_Keogh of each row of X and the packed series, the larger direction, float64[m, LANES]."""
    out = np.empty((X.shape[0], LANES))
    to_packed, from_packed = np.empty(LANES), np.empty(LANES)
    for a in range(X.shape[0]):
        to_packed[:] = 0.0
        from_packed[:] = 0.0
        for i in range(X.shape[1]):
            x, low, high = X[a, i], lower[a, i], upper[a, i]
            y = packed[i * LANES : (i + 1) * LANES]
            y_low = packed_lower[i * LANES : (i + 1) * LANES]
            y_high = packed_upper[i * LANES : (i + 1) * LANES]
            for lane in range(LANES):
                d = max(x - y_high[lane], y_low[lane] - x, 0.0)
                to_packed[lane] += d * d
            for lane in range(LANES):
                d = max(y[lane] - high, low - y[lane], 0.0)
                from_packed[lane] += d * d
        for lane in range(LANES):
            out[a, lane] = np.sqrt(max(to_packed[lane], from_packed[lane]))
    return out


@njit(nogil=True, cache=True)
def _improved_row(X: Float64, lower: Float64, upper: Float64, i: int, window: int, out: Float64) -> None:
    """LB_Improved of series i to the envelope of each other one."""
    bars = X.shape[1]
    projection = np.empty(bars)
    for j in range(X.shape[0]):
        total = 0.0
        for t in range(bars):
            p = min(max(X[i, t], lower[j, t]), upper[j, t])
            projection[t] = p
            total += (X[i, t] - p) ** 2
        for t in range(bars):
            low = high = projection[t]
            for s in range(max(t - window, 0), min(t + window + 1, bars)):
                low = min(low, projection[s])
                high = max(high, projection[s])
            d = max(X[j, t] - high, low - X[j, t], 0.0)
            total += d * d
        out[j] = np.sqrt(total)
