"""Exponents of power laws by maximum likelihood (Clauset, Shalizi & Newman 2009, equations 3.1, 3.2 and 3.7)."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

MINIMUM_POINTS: Final = 10


class Exponent(NamedTuple):
    """Exponent, its standard error and the number of points at or above xmin; NaN for too few points."""

    alpha: float
    error: float
    points: int


def exponent_discrete(x: npt.NDArray[Any], xmin: float = 1.0, minimum_points: int = MINIMUM_POINTS) -> Exponent:
    """Return the exponent of counts: 1 + n / sum(ln(x / (xmin - 1/2))) over x >= xmin.

    The approximation is good from xmin = 6 on, and used below it too because the reference results do so.
    """
    if xmin <= 0.5:
        raise ValueError(f"xmin of counts must be at least 1, not {xmin}")
    return _estimate(x, xmin, xmin - 0.5, minimum_points)


def exponent_continuous(x: npt.NDArray[Any], xmin: float, minimum_points: int = MINIMUM_POINTS) -> Exponent:
    """Return the exponent of positive quantities: 1 + n / sum(ln(x / xmin)) over x >= xmin."""
    if not xmin > 0.0:
        raise ValueError(f"xmin must be positive, not {xmin}")
    return _estimate(x, xmin, xmin, minimum_points)


def _estimate(x: npt.NDArray[Any], xmin: float, scale: float, minimum_points: int) -> Exponent:
    values = np.asarray(x, dtype=np.float64).ravel()
    tail = values[(values >= xmin) & np.isfinite(values)]
    logs = float(np.log(tail / scale).sum()) if tail.size else 0.0
    if tail.size < minimum_points or logs <= 0.0:
        return Exponent(math.nan, math.nan, int(tail.size))
    alpha = 1.0 + tail.size / logs
    return Exponent(alpha, (alpha - 1.0) / math.sqrt(tail.size), int(tail.size))
