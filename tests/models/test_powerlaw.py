"""Exponents against planted ones and against the formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import zipf

from models.powerlaw import exponent_continuous, exponent_discrete


def test_the_formula_by_hand() -> None:
    x = np.array([1, 1, 2, 4, 1, 1, 1, 8, 1, 3])
    got = exponent_discrete(x)
    want = 1 + 10 / sum(math.log(v / 0.5) for v in x.tolist())
    assert got.alpha == pytest.approx(want, rel=1e-14)
    assert got.error == pytest.approx((want - 1) / math.sqrt(10), rel=1e-14)
    assert got.points == 10


@pytest.mark.parametrize("alpha", [1.7, 2.2, 3.0])
def test_a_planted_exponent_is_found(rng: np.random.Generator, alpha: float) -> None:
    x = 3.0 * (1.0 - rng.random(50_000)) ** (-1.0 / (alpha - 1.0))
    got = exponent_continuous(np.append(x, [0.5, 1.0, np.nan]), 3.0)
    assert abs(got.alpha - alpha) < 4 * got.error
    assert got.error == pytest.approx((alpha - 1) / math.sqrt(50_000), rel=0.05)
    assert got.points == 50_000


def test_a_planted_discrete_exponent_is_found_in_the_tail(rng: np.random.Generator) -> None:
    got = exponent_discrete(zipf.rvs(2.2, size=100_000, random_state=rng), xmin=6)
    assert abs(got.alpha - 2.2) < 4 * got.error + 0.01


def test_too_few_or_equal_points_have_no_exponent() -> None:
    for got in (
        exponent_discrete(np.empty(0)),
        exponent_discrete(np.arange(1, 10)),
        exponent_continuous(np.full(100, 2.0), 2.0),
        exponent_continuous(np.full(100, 1.0), 2.0),
    ):
        assert math.isnan(got.alpha)
        assert math.isnan(got.error)
    assert exponent_discrete(np.arange(1, 10), minimum_points=2).points == 9
    for call in (lambda: exponent_discrete(np.ones(20), 0.5), lambda: exponent_continuous(np.ones(20), 0.0)):
        with pytest.raises(ValueError, match="xmin"):
            call()
