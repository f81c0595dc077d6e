from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.prepare import FitInput, prepare
from models.returns import ReturnKind, bar_returns


@dataclass(frozen=True)
class Settings:
    returns: ReturnKind = "log"
    winsorise_quantile: float = 0.0
    duplicates_above_correlation: float = 1.0
    exclude: tuple[str, ...] = ()
    size: int = 0


def window(seed: int, n: int, bars: int = 30) -> FitInput:
    rng = np.random.default_rng(seed)
    closes = np.exp(rng.standard_normal((bars, n)).cumsum(axis=0) * 0.05)
    return FitInput(tuple(f"c{i:02}" for i in rng.permutation(n)), closes, rng.uniform(1.0, 9.0, n))


@given(st.integers(0, 10_000), st.integers(0, 20))
def test_coins_are_sorted_and_each_is_in_or_out(seed: int, n: int) -> None:
    given_window = window(seed, n)
    found = prepare(given_window, Settings(size=7, exclude=("c03",), winsorise_quantile=0.01))
    assert list(found.coin_ids) == sorted(found.coin_ids)
    assert sorted([*found.coin_ids, *found.excluded]) == sorted(given_window.coin_ids)
    assert list(found.excluded) == sorted(found.excluded)
    assert found.returns.shape == found.Z.shape == (29, len(found.coin_ids))
    assert len(found.coin_ids) == min(7, n - (n > 3))
    np.testing.assert_allclose(found.Z.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(found.Z.std(axis=0), 1.0)


def test_each_exclusion_has_its_reason() -> None:
    base = window(1, 6)
    closes = base.closes.copy()
    closes[:, 1] = 5.0
    closes[1:, 2] = np.nan
    closes[:, 4] = closes[:, 3] * 2.0
    given_window = FitInput(
        ("a", "flat", "empty", "twin-large", "twin-small", "USDT"), closes, np.array([6, 5, 4, 3, 2, 1.0])
    )
    settings = Settings(duplicates_above_correlation=0.99, exclude=("stablecoins",))
    found = prepare(given_window, settings)
    assert found.coin_ids == ("a", "twin-large")
    assert found.excluded == {
        "USDT": "on a list of exclusions",
        "empty": "returns do not vary",
        "flat": "returns do not vary",
        "twin-small": "duplicate of a larger coin",
    }
    with_flat = prepare(given_window, settings, keep_flat=True)
    assert with_flat.coin_ids == ("a", "flat", "twin-large")
    assert with_flat.excluded["empty"] == "fewer than two returns"
    assert (with_flat.Z[:, 1] == 0.0).all()
    assert (with_flat.returns[:, 1] == 0.0).all()


def test_the_least_price_can_be_lifted() -> None:
    base = window(2, 2)
    closes = base.closes.copy()
    closes[10, 0] = 1e-40
    closes[20, 0] = -1.0
    closes[25, 0] = 0.0
    tiny = FitInput(base.coin_ids, closes, base.market_cap)
    column = sorted(base.coin_ids).index(base.coin_ids[0])
    assert np.isnan(prepare(tiny, Settings()).returns[:, column]).sum() == 6
    lifted = prepare(tiny, Settings(), least_price=0.0).returns[:, column]
    assert np.isnan(lifted).sum() == 4
    assert lifted[9] == pytest.approx(np.log(1e-40 / closes[9, 0]))
    np.testing.assert_array_equal(lifted, bar_returns(closes, least=0.0)[:, 0])
