"""The rule of the price regime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.regime import price_regime


@pytest.mark.parametrize(
    ("closes", "want"),
    [
        ([], "unknown"),
        ([100.0], "unknown"),
        ([100.0, np.nan, 0.0, -5.0, np.inf], "unknown"),
        ([100.0, 111.0], "rising"),
        ([100.0, 109.0], "stable"),
        ([100.0, 89.0], "falling"),
        ([100.0, 91.0], "stable"),
        ([100.0, np.nan, 120.0], "rising"),
        ([100.0, 300.0, 85.0], "stable"),  # fell by 15%, but the mean change is positive
        ([100.0, 80.0, 60.0, 85.0], "falling"),
    ],
)
def test_the_rule(closes: list[float], want: str) -> None:
    assert price_regime(np.array(closes), 0.1, -0.1) == want


def test_the_bound_itself_is_not_beyond() -> None:
    assert price_regime(np.array([4.0, 5.0]), 0.25, -0.25) == "stable"
    assert price_regime(np.array([4.0, 3.0]), 0.25, -0.25) == "stable"


@given(st.lists(st.floats(0.01, 1e6), min_size=2, max_size=30))
def test_a_regime_does_not_depend_on_the_unit(closes: list[float]) -> None:
    assert price_regime(np.array(closes), 0.1, -0.1) == price_regime(np.array(closes) * 1024.0, 0.1, -0.1)


@given(st.floats(1.0, 1e3), st.floats(-0.5, 0.5), st.integers(2, 20))
def test_a_constant_drift_is_what_it_is(start: float, drift: float, n: int) -> None:
    closes = start * (1.0 + drift) ** np.arange(n)
    change = closes[-1] / closes[0] - 1.0
    want = "rising" if change > 0.1 else "falling" if change < -0.1 else "stable"
    assert price_regime(closes, 0.1, -0.1) == want


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="falling_below"):
        price_regime(np.ones(3), -0.1, 0.1)
