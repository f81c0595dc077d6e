"""The price regime of a chain's coin, by which compositions of behaviours are compared."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from models.amounts import Float64

Regime: TypeAlias = Literal["rising", "stable", "falling", "unknown"]


def price_regime(closes: Float64, rising_above: float = 0.10, falling_below: float = -0.10) -> Regime:
    """Return the regime of a lookback.

    Parameters
    ----------
    closes : float64 [n]
        Closes in order of time; what is not finite and positive is passed over.
    rising_above, falling_below : float
        Bounds on P_end / P_start - 1; beyond them the mean of P_t / P_{t-1} - 1 must have the same sign.

    Returns
    -------
    str
        ``rising``, ``falling`` or ``stable``; ``unknown`` with fewer than two closes.
    """
    if falling_below > rising_above:
        raise ValueError(f"falling_below {falling_below} is above rising_above {rising_above}")
    good = closes[np.isfinite(closes) & (closes > 0.0)]
    if good.size < 2:
        return "unknown"
    change = float(good[-1] / good[0]) - 1.0
    mean = float(np.mean(good[1:] / good[:-1] - 1.0))
    if change > rising_above and mean > 0.0:
        return "rising"
    if change < falling_below and mean < 0.0:
        return "falling"
    return "stable"
