"""From a window of closes to the returns that every view clusters: one rule for which coins take part, and why not.

Coins are sorted by id first, so that their order in the window is irrelevant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.returns import LEAST_PRICE, ReturnKind, bar_returns, by_size, drop_duplicates, standardise, winsorise
from models.universe import exclude

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FitInput:
    """One window: coin ids, float64[T + 1, n] closes (NaN missing), float64[n] market caps (0 or NaN unknown)."""

    coin_ids: tuple[str, ...]
    closes: Float64
    market_cap: Float64


class UniverseSettings(Protocol):
    """What a view's settings must say about its coins; the names are those of the configuration file."""

    @property
    def returns(self) -> ReturnKind:
        """Kind of return."""

    @property
    def winsorise_quantile(self) -> float:
        """Quantile of the whole market at which returns are clipped, both ends; 0 clips nothing."""

    @property
    def duplicates_above_correlation(self) -> float:
        """Of two coins that are correlated above this the smaller one is left out; 1 leaves all in."""

    @property
    def exclude(self) -> tuple[str, ...]:
        """Named lists, or ids, of coins that are left out."""

    @property
    def size(self) -> int:
        """Number of coins by market capitalisation, counted after the exclusions; 0: all."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The coins of one window that take part, n of them sorted by id, over T bars."""

    coin_ids: tuple[str, ...]
    returns: Float64
    """float64[T, n], clipped; NaN where there is none."""
    Z: Float64
    """float64[T, n], zero mean and unit deviation (ddof 0) over the real cells; 0 in masked ones and of flat coins."""
    excluded: dict[str, str]
    """Coins of the window that do not take part, and why, sorted by id."""


def prepare(
    given: FitInput, settings: UniverseSettings, *, keep_flat: bool = False, least_price: float = LEAST_PRICE
) -> Prepared:
    """Screen, clip and standardise one window.

    Parameters
    ----------
    given
        The window.
    settings
        Which coins, and what is done to their returns.
    keep_flat
        Whether coins whose returns do not vary take part. They have no correlation, but they have a mean, a
        distribution and a shape.
    least_price
        What is below is no price; 0 takes any positive number for one (Lorenzo & Arroyo remove NaN and Inf alone).

    Raises
    ------
    ValueError
        If shapes disagree, an id stands twice or a setting is out of range.
    """
    n = len(given.coin_ids)
    if given.closes.ndim != 2 or given.closes.shape[1] != n or given.market_cap.shape != (n,):
        raise ValueError(f"{n} coins, but closes {given.closes.shape} and market caps {given.market_cap.shape}")
    if len(set(given.coin_ids)) != n:
        raise ValueError("a coin id stands twice in one window")
    order = np.array(sorted(range(n), key=given.coin_ids.__getitem__), dtype=np.int64)
    ids = np.array([given.coin_ids[i] for i in order], dtype=np.object_)
    cap = given.market_cap[order]
    excluded: dict[str, str] = {}

    def leave_out(keep: Bool, reason: str) -> npt.NDArray[np.int64]:
        excluded.update(dict.fromkeys(ids[~keep].tolist(), reason))
        return np.flatnonzero(keep)

    kept = leave_out(~exclude(ids.tolist(), settings.exclude), "on a list of exclusions")
    ids, cap = ids[kept], cap[kept]
    R = bar_returns(given.closes[:, order[kept]], settings.returns, least_price)
    R = winsorise(R, settings.winsorise_quantile)
    Z, usable = standardise(R)
    if keep_flat:
        kept = leave_out(np.isfinite(R).sum(axis=0) >= 2, "fewer than two returns")
    else:
        kept = leave_out(usable, "returns do not vary")
    ids, cap, R, Z = ids[kept], cap[kept], R[:, kept], Z[:, kept]
    distinct = drop_duplicates(Z, ids.tolist(), cap, settings.duplicates_above_correlation)
    kept = leave_out(distinct, "duplicate of a larger coin")
    ids, cap, R, Z = ids[kept], cap[kept], R[:, kept], Z[:, kept]
    kept = leave_out(_largest(ids, cap, settings.size), "beyond the size of the universe")
    returns, Z = np.ascontiguousarray(R[:, kept]), np.ascontiguousarray(Z[:, kept])
    return Prepared(tuple(ids[kept].tolist()), returns, Z, dict(sorted(excluded.items())))


def _largest(ids: npt.NDArray[np.object_], cap: Float64, size: int) -> Bool:
    keep = np.ones(len(ids), dtype=np.bool_)
    if size:
        keep[by_size(ids.tolist(), cap)[size:]] = False
    return keep
