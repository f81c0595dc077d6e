"""The seven features, the noisy rule, the log form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.features import BALANCE, FEATURES, feature_columns, features, log_form, noisy
from tests.models.chain_data import TRANSFERS, Transfer, Truth, apply, brute_force


@settings(deadline=None)
@given(TRANSFERS)
def test_features_equal_the_dictionary(transfers: list[Transfer]) -> None:
    sums, _, _ = brute_force(transfers, 0, 1000)
    for shard in apply({}, transfers).values():
        window = shard.window(0, 1000)
        X = features(window, 1e18)
        for row, name in zip(X.tolist(), shard.addresses(window.keys).to_pylist(), strict=True):
            t: Truth = sums[name]
            want = [
                t.in_count + t.out_count, t.in_count, t.out_count,
                t.out / 10**18, t.into / 10**18, (t.into - t.out) / 10**18, (t.into + t.out) / 10**18,
            ]  # fmt: skip
            assert row == pytest.approx(want, rel=1e-15, abs=0.0)


def test_the_balance_is_exact_before_it_is_a_float() -> None:
    """2**70 + 1 in and 2**70 out: floats would leave nothing."""
    (shard,) = apply({}, [Transfer(None, "a", 2**70 + 1, 0), Transfer("a", None, 2**70, 0)]).values()
    assert features(shard.window(0, 100), 1.0)[0, BALANCE] == 1.0
    with pytest.raises(ValueError, match="unit"):
        features(shard.window(0, 100), 0.0)


def test_the_readings_of_the_noisy_rule() -> None:
    lifetime, value = np.array([1, 1, 5, 5]), np.array([0.5, 100.0, 0.5, 99.0])
    assert noisy(lifetime, value).tolist() == [True, False, False, False]
    assert noisy(lifetime, value, rule="degree").tolist() == [True, True, False, False]
    assert noisy(lifetime, value, rule="value").tolist() == [True, False, True, False]
    assert noisy(lifetime, value, rule="degree_or_value").tolist() == [True, True, True, False]
    assert noisy(lifetime, value, transacted=20_000.0).tolist() == [True, True, False, False]
    assert noisy(lifetime, value, 0.004).tolist() == [False, False, False, False]
    with pytest.raises(ValueError, match="length"):
        noisy(lifetime, value[:2])
    with pytest.raises(ValueError, match="rule"):
        noisy(lifetime, value, rule="other")  # type: ignore[arg-type]


def test_the_feature_sets_are_those_of_the_paper() -> None:
    def names(chain: str, number: int) -> list[str]:
        return [FEATURES[c] for c in feature_columns(chain, number)]  # type: ignore[arg-type]

    assert names("ethereum", 1) == names("bitcoin", 1) == list(FEATURES)
    assert sorted(set(FEATURES) - set(names("ethereum", 2))) == ["total_degree", "total_value"]
    assert names("ethereum", 0) == names("ethereum", 2) == names("bitcoin", 2) == names("bitcoin", 0)
    assert sorted(names("ethereum", 3)) == ["balance", "in_degree", "out_degree", "total_value"]
    assert sorted(names("bitcoin", 3)) == ["balance", "total_degree", "total_value"]
    for chain, number in (("ethereum", 4), ("ethereum", -1), ("dogecoin", 1)):
        with pytest.raises(ValueError, match="feature set"):
            feature_columns(chain, number)  # type: ignore[arg-type]


@settings(deadline=None)
@given(hnp.arrays(np.float64, (5, 7), elements=st.floats(-1e12, 1e12)))
def test_log_form_equals_its_formula(X: np.ndarray) -> None:
    got = log_form(X)
    for i in range(5):
        for j in range(7):
            x = X[i, j]
            if j == BALANCE:
                want = math.copysign(1.0, x) * math.log(max(abs(x) / 1e-8, 1.0)) if x else 0.0
            else:
                want = math.log(max(x, 1e-8))
            assert got[i, j] == pytest.approx(want, rel=1e-14, abs=1e-14)


def test_log_form_refuses_what_is_not_features() -> None:
    with pytest.raises(ValueError, match="7"):
        log_form(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="floor"):
        log_form(np.zeros((3, 7)), 0.0)
