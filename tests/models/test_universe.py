from __future__ import annotations

import pytest

from models.universe import STABLECOINS, WRAPPED, base_symbol, exclude


def test_the_lists_find_ids_symbols_and_bases() -> None:
    coins = ["tether", "usd-coin", "USDC-USDT", "BTC-USDT", "WBTC-USD", "wrapped-bitcoin", "bitcoin", "DAI", "ETH/USDC"]
    assert exclude(coins, ["stablecoins"]).tolist() == [True, True, True, False, False, False, False, True, False]
    assert exclude(coins, ["wrapped"]).tolist() == [False, False, False, False, True, True, False, False, False]
    assert exclude(coins, ["stablecoins", "wrapped", "bitcoin", "BTC-USDT"]).tolist() == [True] * 8 + [False]
    assert exclude(coins, ["ETH"]).tolist() == [False] * 8 + [True]
    assert not exclude(coins, []).any()
    assert exclude([], ["stablecoins"]).shape == (0,)


@pytest.mark.parametrize(
    ("coin", "base"),
    [("BTC-USDT", "BTC"), ("1INCH_USDT", "1INCH"), ("BTC", "BTC"), ("usd-coin", None), ("BTCb-USD", None), ("", None),
     ("A-B-C", None)],
)  # fmt: skip
def test_the_base_of_a_pair(coin: str, base: str | None) -> None:
    assert base_symbol(coin) == base


def test_no_real_coin_of_its_own_is_on_a_list() -> None:
    for coin in ("bitcoin", "ethereum", "BTC", "ETH", "bitcoin-cash", "terra-luna", "LUNA", "maker", "MKR", "lido-dao"):
        assert coin not in STABLECOINS | WRAPPED
    assert not STABLECOINS & WRAPPED
