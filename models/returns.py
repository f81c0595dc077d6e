"""From closes to standardised returns: screening, masking, clipping, the market's first factor, duplicates.

Matrices are time x coins. A missing value is NaN in closes and returns, and 0 in standardised returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import scipy.linalg

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
ReturnKind = Literal["log", "simple", "open_close"]

LEAST_PRICE: Final = 1e-15
"""Anything below is no price: real tables hold 8.9e-46 (a log return of 85 follows), zeros and negative ones."""

_FLAT: Final = 1e-12
"""A deviation below this (plus 1e-9 of the mean's size) is rounding, not movement."""

_BLOCK: Final = 512


def screen_prices(prices: Float64, least: float = LEAST_PRICE) -> Bool:
    """Return which values are prices: finite, positive and not absurdly small (any shape)."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(prices) & (prices >= least) & (prices > 0.0)


def bar_returns(closes: Float64, kind: ReturnKind = "log", least: float = LEAST_PRICE) -> Float64:
    """Return bar-to-bar returns, NaN wherever one of the two neighbouring closes is missing.

    Parameters
    ----------
    closes
        float64[T + 1, n]; what :func:`screen_prices` rejects counts as missing.
    kind
        ``log`` ln(P_t / P_{t-1}), ``simple`` P_t / P_{t-1} - 1, ``open_close`` the tutorial's (open - close) / open,
        which is minus the simple return when a bar opens at the close before it.
    least
        The least price; 0 takes any positive number for one.

    Returns
    -------
    float64[T, n]
        The first price after a gap has no return: it would span several bars.
    """
    if closes.ndim != 2 or closes.shape[0] < 1:
        raise ValueError(f"closes must be a matrix of time x coins with at least one row, not {list(closes.shape)}")
    prices = np.where(screen_prices(closes, least), closes, np.nan)
    with np.errstate(over="ignore", under="ignore"):
        ratio = prices[1:] / prices[:-1]
    ratio[np.isinf(ratio) | (ratio == 0.0)] = np.nan
    if kind == "log":
        return np.log(ratio)
    if kind == "simple":
        return ratio - 1.0
    if kind == "open_close":
        return 1.0 - ratio
    raise ValueError(f"unknown kind of return {kind!r}: log, simple or open_close")


def winsorise(R: Float64, q: float) -> Float64:
    """Clip returns at the q and 1 - q quantiles of all finite cells together; 0 clips nothing.

    One pair of bounds for the whole market, so that a coin that is wilder than the others loses its outliers and
    a quiet one keeps all of its own.
    """
    if not 0.0 <= q < 0.5:
        raise ValueError(f"the quantile to clip at must be in [0, 0.5), not {q}")
    finite = R[np.isfinite(R)]
    if q == 0.0 or finite.size == 0:
        return R.copy()
    low, high = np.quantile(finite, [q, 1.0 - q])
    return np.clip(R, low, high)


def standardise(R: Float64) -> tuple[Float64, Bool]:
    """Scale each coin to zero mean and unit deviation (ddof 0) over its finite cells.

    Returns
    -------
    Z : float64[T, n]
        0 in masked cells, and all through for coins that cannot be used.
    usable : bool[n]
        False where fewer than two returns exist or they do not vary.
    """
    return _standardise(R, np.isfinite(R))


def _standardise(R: Float64, real: Bool) -> tuple[Float64, Bool]:
    count = real.sum(axis=0)
    Z = np.where(real, R, 0.0)
    mean = Z.sum(axis=0) / np.maximum(count, 1)
    Z -= mean
    Z[~real] = 0.0
    deviation = np.sqrt((Z * Z).sum(axis=0) / np.maximum(count, 1))
    usable = (count >= 2) & (deviation > _FLAT + 1e-9 * np.abs(mean))
    Z /= np.where(usable, deviation, 1.0)
    Z[:, ~usable] = 0.0
    return Z, usable


def small_gram(Z: Float64) -> Float64:
    """Return Z Z' or Z' Z, whichever is smaller: they share their eigenvalues other than 0, and their norm."""
    gram: Float64 = Z @ Z.T if Z.shape[0] <= Z.shape[1] else Z.T @ Z
    return gram


def market_factor(Z: Float64) -> tuple[Float64, float]:
    """Return the first factor of standardised returns and the share of all variance that it carries.

    Returns
    -------
    factor : float64[T]
        Unit deviation about 0, signed so that the sum of its correlations with the coins is positive; zeros if
        nothing varies.
    share : float
        First squared singular value over the sum of all; 0 if nothing varies.
    """
    total = float((Z * Z).sum())
    if total == 0.0:
        return np.zeros(len(Z)), 0.0
    gram = small_gram(Z)
    last = len(gram) - 1
    values, vectors = scipy.linalg.eigh(gram, subset_by_index=(last, last), check_finite=False)
    factor = vectors[:, 0] if len(gram) == len(Z) else Z @ vectors[:, 0] / np.sqrt(values[0])
    loading = float((factor @ Z).sum())
    # loadings that cancel out leave the sign to the first element that is not 0
    leaning = loading if abs(loading) > 1e-9 * np.sqrt(total) else float(factor[np.flatnonzero(factor)[0]])
    return factor * (np.copysign(1.0, leaning) * np.sqrt(len(Z))), min(float(values[0]) / total, 1.0)


def remove_market(Z: Float64, real: Bool | None = None) -> tuple[Float64, Float64, float]:
    """Remove the first factor from standardised returns and standardise what is left.

    Parameters
    ----------
    Z
        float64[T, n] from :func:`standardise`.
    real
        bool[T, n], True where a return exists; masked cells stay 0. None: all exist.

    Returns
    -------
    residual : float64[T, n]
        Zeros for a coin of which nothing is left.
    factor : float64[T]
    share : float
        As in :func:`market_factor`.
    """
    factor, share = market_factor(Z)
    residual = Z - np.outer(factor, factor @ Z) / max(len(Z), 1)
    real = np.ones(Z.shape, dtype=np.bool_) if real is None else real
    residual[~real] = 0.0
    # Z has unit deviation: what is below 1e-6 of it is the factor itself, up to rounding
    residual[:, (residual * residual).sum(axis=0) < 1e-12 * len(Z)] = 0.0
    return _standardise(residual, real)[0], factor, share


def unit_columns(Z: Float64) -> Float64:
    """Return Z with columns of length 1, so that correlations are inner products; zero columns stay zero."""
    length = np.sqrt((Z * Z).sum(axis=0))
    return Z / np.where(length > 0.0, length, 1.0)


def drop_duplicates(Z: Float64, coin_ids: Sequence[str], market_cap: Float64, threshold: float) -> Bool:
    """Return which coins to keep so that no two of them are correlated above ``threshold``.

    Coins are taken by market capitalisation (largest first; unknown ones last; equal ones by id), and a coin stays
    if no coin taken before it is its duplicate. The order of the columns is irrelevant. 1 or more keeps all.
    """
    n = Z.shape[1]
    keep = np.ones(n, dtype=np.bool_)
    if threshold >= 1.0:
        return keep
    order = by_size(coin_ids, market_cap)
    unit = unit_columns(Z)[:, order]
    for start in range(0, n, _BLOCK):
        block = unit[:, start : start + _BLOCK].T @ unit[:, start:]
        for row, column in enumerate(_rows_with_pairs(block, threshold)):
            if column.size and keep[order[start + row]]:
                keep[order[start + column]] = False
    return keep


def _rows_with_pairs(block: Float64, threshold: float) -> list[npt.NDArray[np.int64]]:
    """Return, for each row of an upper-triangle block, the columns right of the diagonal above the threshold."""
    rows, columns = np.nonzero(block > threshold)
    after = columns > rows
    rows, columns = rows[after], columns[after]
    return np.split(columns, np.searchsorted(rows, np.arange(1, len(block))))


def by_size(coin_ids: Sequence[str], market_cap: Float64) -> npt.NDArray[np.int64]:
    """Return the order of coins by market capitalisation, largest first; unknown (0, NaN) last, equal ones by id."""
    cap = np.where(np.isfinite(market_cap) & (market_cap > 0.0), market_cap, 0.0)
    return np.lexsort((np.asarray(coin_ids, dtype=np.str_), -cap))
