"""A market index in the manner of CCI30: the largest coins by smoothed market capitalisation, rebalanced monthly.

On the first row of each month the ``members`` largest coins by exponentially smoothed capitalisation are bought in
proportion to a power of it, and held to the next rebalancing; the blocks are chained. Weights formed at a row earn
from the row after it, so nothing is known before its time. The rules of the real CCI30 were not checked: members,
span and exponent are documented choices, and an index file can replace the result (:func:`align_index`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.intersections import id_order
from models.returns import ReturnKind, bar_returns, by_size, screen_prices
from models.universe import exclude

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Times = npt.NDArray[np.datetime64]

STABLE: Final = ("stablecoins",)


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How the index is built.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    members: int = 30
    """Number of coins."""
    span: float = 10.0
    """Span of the smoothing of market capitalisation in rows (days): alpha = 2 / (span + 1)."""
    exponent: float = 0.5
    """Weights are capitalisation to this power: 0.5 keeps the largest coins from being the index, 1 is plain."""

    def __post_init__(self) -> None:
        if self.members < 1:
            raise ValueError(f"an index needs at least one member, not {self.members}")
        if not self.span >= 1.0:
            raise ValueError(f"the span of the smoothing must be at least 1 row, not {self.span}")
        if not 0.0 <= self.exponent <= 1.0:
            raise ValueError(f"the exponent of the weights must be in [0, 1], not {self.exponent}")


@dataclass(frozen=True, slots=True)
class MarketIndex:
    """Levels of an index over T + 1 rows, and what it held."""

    times: Times
    levels: Float64
    """float64[T + 1], 1 at the first rebalancing; NaN before it."""
    rebalanced: Int64
    """int64[m]: rows at which weights were formed."""
    members: tuple[tuple[str, ...], ...]
    """Coins of each rebalancing, sorted by id."""
    weights: tuple[Float64, ...]
    """Their weights, which sum to 1."""

    def returns(self, kind: ReturnKind = "log") -> Float64:
        """Return float64[T], row-to-row returns of the levels; NaN where one of two rows has no level."""
        return bar_returns(self.levels[:, None], kind)[:, 0]


def smoothed_caps(market_cap: Float64, span: float) -> Float64:
    """Return exponentially weighted means of market capitalisation along time.

    Parameters
    ----------
    market_cap
        float64[T + 1, n], USD; 0, negative and not finite ones are missing.
    span
        Span in rows; weights fall by 1 - 2 / (span + 1) per row, missing rows included, and are normalised.

    Returns
    -------
    float64[T + 1, n], NaN before a coin's first value.
    """
    keep = 1.0 - 2.0 / (span + 1.0)
    total, weight = np.zeros(market_cap.shape[1]), np.zeros(market_cap.shape[1])
    smooth = np.full(market_cap.shape, np.nan)
    real = np.isfinite(market_cap) & (market_cap > 0.0)
    for row in range(len(market_cap)):
        total = total * keep + np.where(real[row], market_cap[row], 0.0)
        weight = weight * keep + real[row]
        np.divide(total, weight, out=smooth[row], where=weight > 0.0)
    return smooth


def market_index(
    coin_ids: Sequence[str],
    times: Times,
    prices: Float64,
    market_cap: Float64,
    settings: IndexSettings | None = None,
    excluded: Collection[str] = STABLE,
) -> MarketIndex:
    """Compute the index.

    Parameters
    ----------
    coin_ids
        Ids of the n coins.
    times
        datetime64[T + 1], ascending; a new month begins a new holding period.
    prices, market_cap
        float64[T + 1, n] in USD. A member without a price keeps its last one until it has one again.
    settings
        How the index is built; None: the defaults.
    excluded
        Ids or named lists (``stablecoins``, ``wrapped``) that cannot be members.

    Returns
    -------
    MarketIndex
        All NaN if no coin ever has a price and a market capitalisation.

    Raises
    ------
    ValueError
        If shapes disagree, times do not ascend or an id stands twice.
    """
    settings = settings or IndexSettings()
    order = id_order(coin_ids)
    months = _months(times)
    shape = (len(times), len(order))
    for name, values in (("prices", prices), ("market_cap", market_cap)):
        if values.shape != shape:
            raise ValueError(f"{name} must be time x coins {list(shape)}, not {list(values.shape)}")
    sorted_ids = [coin_ids[i] for i in order.tolist()]
    order = order[~exclude(sorted_ids, sorted(excluded))]
    ids = [coin_ids[i] for i in order.tolist()]
    P = np.where(screen_prices(prices[:, order]), prices[:, order], np.nan)
    smooth = smoothed_caps(market_cap[:, order], settings.span)
    levels = np.full(len(times), np.nan)
    rows: list[int] = []
    members: list[tuple[str, ...]] = []
    weights: list[Float64] = []
    starts = _first_rows(months, np.isfinite(P) & np.isfinite(smooth))
    for start, end in zip(starts, [*starts[1:], len(times) - 1], strict=False):
        cap = np.where(np.isfinite(P[start]), smooth[start], 0.0)
        held = np.sort(by_size(ids, cap)[: settings.members])
        held = held[np.isfinite(cap[held]) & (cap[held] > 0.0)]
        if held.size:
            rows.append(start)
            members.append(tuple(ids[i] for i in held.tolist()))
            weight = (cap[held] / cap[held].max()) ** settings.exponent
            weights.append(weight / weight.sum())
            at_start = levels[start] if np.isfinite(levels[start]) else 1.0
            levels[start : end + 1] = at_start * _held(P[start : end + 1][:, held], weights[-1])
        else:
            levels[start : end + 1] = levels[start]  # nobody has a price at the turn: nothing is bought
    return MarketIndex(times, levels, np.array(rows, dtype=np.int64), tuple(members), tuple(weights))


def align_index(times: Times, index_times: Times, index_levels: Float64, kind: ReturnKind = "log") -> Float64:
    """Return the returns of an index that was given, on the rows of a market.

    Parameters
    ----------
    times
        datetime64[T + 1] of the market's rows, ascending.
    index_times, index_levels
        datetime64[m], in any order, and float64[m].
    kind
        Kind of return.

    Returns
    -------
    float64[T]; NaN where the index has no level at one of two neighbouring rows.

    Raises
    ------
    ValueError
        If a time stands twice in the index, or no row of the market has a level.
    """
    _months(times)
    if index_times.shape != index_levels.shape or index_times.ndim != 1:
        raise ValueError(f"the index has {index_times.shape} times and {index_levels.shape} levels")
    order = np.argsort(index_times, kind="stable")
    own, levels = index_times[order], index_levels[order]
    twice = np.flatnonzero(own[1:] == own[:-1])
    if twice.size:
        raise ValueError(f"the index has two levels at {own[twice[0]]}")
    place = np.searchsorted(own, times)
    hit = place < len(own)
    hit[hit] = own[place[hit]] == times[hit]
    on_rows = np.full(len(times), np.nan)
    on_rows[hit] = levels[place[hit]]
    if not hit.any():
        raise ValueError("no time of the index is a time of the market: do both use the same days and zone?")
    return bar_returns(on_rows[:, None], kind)[:, 0]


def _months(times: Times) -> npt.NDArray[Any]:
    if times.ndim != 1 or times.dtype.kind != "M" or len(times) == 0:
        raise ValueError(f"times must be datetime64 in one dimension and not empty, not {times.dtype} {times.shape}")
    if np.isnat(times).any() or (times[1:] <= times[:-1]).any():
        raise ValueError("times must ascend, each one once")
    return times.astype("datetime64[M]")


def _first_rows(months: npt.NDArray[Any], candidate: npt.NDArray[np.bool_]) -> list[int]:
    """Return the rows at which weights are formed: the first with a candidate, and the first of each later month."""
    ready = np.flatnonzero(candidate.any(axis=1))
    if ready.size == 0:
        return []
    turn = np.flatnonzero(months[1:] != months[:-1]) + 1
    return [int(ready[0]), *turn[turn > ready[0]].tolist()]


def _held(P: Float64, weight: Float64) -> Float64:
    """Return float64[rows], the worth of a basket bought at the first row, 1 there; a missing price is the last one."""
    last = np.where(np.isfinite(P), np.arange(len(P))[:, None], 0)
    last = np.maximum.accumulate(last, axis=0)
    filled = np.take_along_axis(P, last, axis=0)
    # contiguous rows: a sum must not depend, in its last bit, on how many rows there are
    worth = np.ascontiguousarray((filled / filled[0]) * weight).sum(axis=1)
    relative: Float64 = worth / worth[0]
    return relative
