"""Descriptors against definitions, classes at their bounds, and the quantiles of 2021."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.descriptors import (
    DescriptorInput,
    DescriptorSettings,
    ages,
    beta_classes,
    betas,
    coin_volume,
    describe,
    percent_names,
    quantile_classes,
    sharpe_classes,
    sharpe_ratios,
    tail_classes,
    top_shares,
)
from models.index import market_index
from models.returns import bar_returns, screen_prices

Float64 = npt.NDArray[np.float64]
NAN = math.nan


def window(seed: int, coins: int = 8, days: int = 60) -> DescriptorInput:
    rng = np.random.default_rng(seed)
    index = rng.normal(0, 0.03, days)
    R = np.outer(index, rng.normal(1, 0.8, coins)) + rng.normal(0, 0.02, (days, coins))
    R[rng.random(R.shape) < 0.1] = np.nan
    index[rng.random(days) < 0.05] = np.nan
    R[:45, 0] = np.nan
    caps = rng.lognormal(15, 3, coins)
    caps[1] = 0.0
    return DescriptorInput(
        coin_ids=[f"coin-{i}" for i in rng.permutation(coins)],
        returns=R,
        index_returns=index,
        risk_free=rng.normal(1e-4, 1e-5, days),
        market_cap=caps,
        volume=rng.lognormal(10, 3, coins),
        age_days=rng.choice([0.0, 10.0, 500.0, np.nan], coins),
        technology={"Algorithm": rng.choice(["SHA-256", "Scrypt", ""], coins).tolist()},
    )


@given(st.integers(0, 2**32 - 1))
def test_beta_and_sharpe_are_their_definitions(seed: int) -> None:
    given_ = window(seed)
    assert given_.index_returns is not None
    for minimum in (2, 30):
        beta, ratio = [], []
        for column in given_.returns.T:
            both = np.isfinite(column) & np.isfinite(given_.index_returns)
            covariance = np.cov(column[both], given_.index_returns[both])
            beta.append(covariance[0, 1] / covariance[1, 1] if both.sum() >= minimum else NAN)
            excess = (column - given_.risk_free)[np.isfinite(column)]
            annual = excess.mean() / excess.std(ddof=1) * math.sqrt(365)
            ratio.append(annual if len(excess) >= minimum else NAN)
        np.testing.assert_allclose(betas(given_.returns, given_.index_returns, minimum), beta, rtol=1e-9)
        np.testing.assert_allclose(sharpe_ratios(given_.returns, given_.risk_free, 365.0, minimum), ratio, rtol=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_coins_is_irrelevant(seed: int) -> None:
    one, order = window(seed), np.random.default_rng(seed).permutation(8)
    assert one.market_cap is not None
    assert one.volume is not None
    assert one.age_days is not None
    other = DescriptorInput(
        coin_ids=[one.coin_ids[i] for i in order], returns=one.returns[:, order], index_returns=one.index_returns,
        risk_free=one.risk_free, market_cap=one.market_cap[order], volume=one.volume[order],
        age_days=one.age_days[order],
        technology={name: [own[i] for i in order] for name, own in one.technology.items()},
    )  # fmt: skip
    assert json.dumps(describe(one).columns()) == json.dumps(describe(other).columns())


def test_a_beta_of_the_index_itself_is_one(rng: np.random.Generator) -> None:
    index = rng.normal(0, 0.02, 100)
    R = np.stack([index, -2.0 * index, np.full(100, 0.01)], axis=1)
    assert betas(R, index) == pytest.approx([1.0, -2.0, 0.0], abs=1e-12)
    assert np.isnan(betas(R, np.full(100, 0.01))).all()  # the index does not vary
    flat = sharpe_ratios(R, 0.0)
    assert np.isnan(flat[2])
    assert flat[1] == pytest.approx(-flat[0])


def test_columns_have_one_row_per_coin_and_descriptor() -> None:
    found = describe(window(3))
    columns = found.columns()
    names = ["Age", "Algorithm", "Beta", "HeavyTail", "MkCap", "Sharpe", "Volume"]
    assert columns["coin_id"] == [coin for coin in sorted(window(3).coin_ids) for _ in names]
    assert columns["name"] == names * 8
    for value, level, name in zip(columns["value"], columns["class"], columns["name"], strict=True):
        assert value is None or math.isfinite(value)
        if name != "Algorithm":
            assert (value is None) == (level is None)
        else:
            assert value is None
            assert level in ("SHA-256", "Scrypt", None)
    short = found.coin_ids.index(window(3).coin_ids[0])  # 15 returns at most
    assert all(found.classes[name][short] is None for name in ("Beta", "Sharpe", "HeavyTail"))
    capless = found.coin_ids.index(window(3).coin_ids[1])
    assert found.classes["MkCap"][capless] is None


def test_only_what_is_given_is_described() -> None:
    found = describe(DescriptorInput(coin_ids=["b", "a"], returns=np.zeros((5, 2))))
    assert list(found.values) == ["HeavyTail", "Sharpe"]
    assert found.columns()["class"] == [None] * 4
    assert describe(DescriptorInput(coin_ids=[], returns=np.zeros((5, 0)))).columns()["coin_id"] == []


def test_classes_at_their_bounds() -> None:
    beta = np.array([-3.1, -3.0, -1e-9, 0.0, 0.89, 0.9, 1.1, 1.11, 3.0, 3.1, NAN])
    assert beta_classes(beta).tolist() == [
        "Extreme", "NegBeta", "NegBeta", "LowVol", "LowVol", "IndexLike", "IndexLike", "HighVol", "HighVol", "Extreme",
        None,
    ]  # fmt: skip
    ratio = np.array([-0.1, 0.0, 0.49, 0.5, 0.99, 1.0, NAN])
    assert sharpe_classes(ratio).tolist() == ["SRF", "ERP", "ERP", "ACC", "ACC", "GOOD", None]
    assert sharpe_classes(ratio, (-1.0, 0.0, 2.0))[0] == "ERP"
    assert tail_classes(np.array([1.9, 2.0, NAN])).tolist() == ["heavy", "light", None]
    assert beta_classes(np.array([1.5]), (0.0, 0.5, 2.0, 3.0)).tolist() == ["IndexLike"]


def test_quantile_classes_hold_their_shares() -> None:
    values = np.arange(1.0, 1001.0)
    names = percent_names((0.7, 0.8, 0.9, 0.99, 1.0))
    assert names == ("P70", "P80", "P90", "P99", "P100")
    found = quantile_classes(values, (0.7, 0.8, 0.9, 0.99, 1.0), names)
    assert {name: int((found == name).sum()) for name in names} == {
        "P70": 700, "P80": 100, "P90": 100, "P99": 90, "P100": 10,
    }  # fmt: skip
    assert percent_names((0.995,)) == ("P99.5",)


def test_quantiles_that_tie_are_one_class() -> None:
    values = np.array([5.0] * 40 + list(range(6, 66)))
    deciles = tuple(i / 10 for i in range(1, 11))
    found = quantile_classes(values, deciles, [f"D{i}" for i in range(1, 11)])
    # the quantile 0.4 lies between 5 and 6, so D3 is the highest of those that tie
    assert set(found[:40]) == {"D3"}
    assert sorted(set(found[40:])) == sorted(f"D{i}" for i in range(5, 11))
    assert set(quantile_classes(np.zeros(5), deciles, [f"D{i}" for i in range(1, 11)])) == {"D10"}


@given(st.lists(st.one_of(st.just(NAN), st.floats(-1e9, 1e9)), max_size=50))
def test_quantile_classes_are_monotone_and_total(values: list[float]) -> None:
    quantiles = (0.25, 0.5, 1.0)
    found = quantile_classes(np.array(values, dtype=np.float64), quantiles, "abc")
    ranked = sorted((value, level) for value, level in zip(values, found, strict=True) if level is not None)
    assert [level for _, level in ranked] == sorted(level for _, level in ranked)
    assert all((level is None) == math.isnan(value) for value, level in zip(values, found, strict=True))
    known = [value for value in values if not math.isnan(value)]
    for value, level in ranked:
        assert value <= np.quantile(known, quantiles["abc".index(level)]) or level == "c"


def test_volume_in_units_of_the_coin() -> None:
    usd = np.array([[10.0, 0.0, 5.0, NAN], [30.0, 0.0, -5.0, 4.0], [1.0, 0.0, 5.0, 4.0]])
    prices = np.array([[2.0, 1.0, 1.0, 1.0], [NAN, 1.0, 1.0, -1.0], [8.9e-46, 1.0, 1.0, 0.0]])
    np.testing.assert_array_equal(coin_volume(usd, prices), [5.0, 0.0, 5.0, NAN])


def test_ages() -> None:
    listed = np.array(["2021-01-01", "2021-12-31", "2022-01-01", "NaT"], dtype="datetime64[D]")
    np.testing.assert_array_equal(ages(listed, np.datetime64("2021-12-31")), [364.0, 0.0, NAN, NAN])
    with pytest.raises(ValueError, match="listing dates"):
        ages(np.zeros(2), np.datetime64("2021-12-31"))  # type: ignore[arg-type]


def test_top_shares() -> None:
    assert top_shares(np.array([1.0, 4.0, NAN, 3.0, 2.0])) == {3: 0.9, 5: 1.0, 10: 1.0}
    assert math.isnan(top_shares(np.zeros(3))[3])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"returns": np.zeros((5, 3))}, "2 coins, but returns"),
        ({"returns": np.zeros(2)}, "2 coins, but returns"),
        ({"market_cap": np.zeros(3)}, "market_cap has shape"),
        ({"volume": np.zeros((1, 2))}, "volume has shape"),
        ({"age_days": np.zeros(1)}, "age_days has shape"),
        ({"index_returns": np.zeros(4)}, "differ in bars"),
        ({"risk_free": np.zeros(4)}, "risk_free has shape"),
        ({"technology": {"Algorithm": ["x"]}}, "technology 'Algorithm' has 1"),
        ({"technology": {"Beta": ["x", "y"]}}, "cannot be called 'Beta'"),
        ({"coin_ids": ["a", "a"]}, "'a' stands twice"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], says: str) -> None:
    good: dict[str, Any] = {"coin_ids": ["a", "b"], "returns": np.zeros((5, 2))}
    with pytest.raises(ValueError, match=says):
        describe(DescriptorInput(**(good | change)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"beta_bounds": (0.0, 2.0, 1.0, 3.0)}, "beta_bounds"),
        ({"sharpe_bounds": (0.0, NAN, 1.0)}, "sharpe_bounds"),
        ({"minimum_returns": 1}, "minimum_returns"),
        ({"periods_per_year": 0.0}, "periods_per_year"),
        ({"percentiles": (0.5, 0.9)}, "percentiles"),
        ({"percentiles": ()}, "percentiles"),
    ],
)
def test_bad_settings_are_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DescriptorSettings(**change)


def test_bad_arrays_are_named() -> None:
    with pytest.raises(ValueError, match="one shape"):
        coin_volume(np.zeros((2, 2)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="2 quantiles have 1 names"):
        quantile_classes(np.zeros(2), (0.5, 1.0), ["a"])


@pytest.mark.data
def test_the_market_of_2021(shared_data: Path) -> None:
    """The recorded quantiles of beta (tolerance 0.02), largest daily Sharpe ratio and median annual one."""
    table = pd.read_parquet(shared_data / "prices_daily_2021_coingecko.parquet")
    pivot = {
        name: table.pivot(index="date", columns="coin_id", values=name)
        for name in ("price_usd", "market_cap_usd", "volume_usd")
    }
    prices, ids = pivot["price_usd"].to_numpy(), list(pivot["price_usd"].columns)
    days = pd.to_datetime(pivot["price_usd"].index).to_numpy().astype("datetime64[D]")
    caps = pivot["market_cap_usd"].to_numpy()
    index = market_index(ids, days, prices, caps).returns()
    kept = np.flatnonzero(screen_prices(prices).mean(axis=0) >= 0.95)
    found = describe(
        DescriptorInput(
            coin_ids=[ids[i] for i in kept], returns=bar_returns(prices[:, kept]), index_returns=index,
            market_cap=caps[-1, kept], volume=coin_volume(pivot["volume_usd"].to_numpy()[:, kept], prices[:, kept]),
        )
    )  # fmt: skip
    beta = found.values["Beta"]
    expected = [-0.008, 0.66, 0.88, 1.06, 1.37]
    np.testing.assert_allclose(np.quantile(beta, [0.01, 0.25, 0.5, 0.75, 0.99]), expected, atol=0.02)
    sharpe = found.values["Sharpe"]
    assert sharpe.max() / math.sqrt(365) == pytest.approx(0.155, abs=5e-4)
    assert np.median(sharpe) == pytest.approx(0.34, abs=0.005)
    cap = found.classes["MkCap"]
    assert sum(level is None for level in cap) == 8  # a market cap of 0 is unknown, not small
    shares = top_shares(found.values["MkCap"])
    assert top_shares(found.values["Volume"])[3] < 0.999  # a price of 8.9e-46 would make one coin all of the volume
    assert 0.5 < shares[3] < shares[5] < shares[10] < 1.0
    bitcoin = found.coin_ids.index("bitcoin")
    assert (found.classes["MkCap"][bitcoin], found.classes["HeavyTail"][bitcoin]) == ("P100", "light")
