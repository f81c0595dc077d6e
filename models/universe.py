"""Named lists of coins that are left out of clustering, and how a coin is found on them.

Both lists hold CoinGecko ids (lower case) and ticker symbols (upper case). A symbol matches the base of a pair
(``USDC-USDT``), never its quote, and a coin id that is itself an upper-case symbol.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


STABLECOINS: Final = _names(
    """
    tether usd-coin binance-usd terrausd dai magic-internet-money frax true-usd paxos-standard liquity-usd fei-usd
    neutrino husd gemini-dollar nusd celo-dollar musd mimatic usdk reserve e-money-eur zusd sai tether-eurt
    stasis-eurs celo-euro iron-bank-euro seur alchemix-usd vai usdx qcash bitusd usdd first-digital-usd paypal-usd
    ethena-usde gho crvusd origin-dollar float-protocol-float just-stablecoin usdp rupiah-token bidr binance-vnd
    xsgd true-gbp trueaud truehkd truecad jpyc sperax-usd ausd dola-usd cdai compound-usd-coin compound-usdt
    compound-sai tether-gold pax-gold
    USDT USDC BUSD TUSD DAI USDP PAX GUSD USDD FDUSD PYUSD USDE FRAX LUSD SUSD HUSD UST USTC MIM FEI USDN CUSD MUSD
    USDK DOLA GHO CRVUSD OUSD EURS EURT EURC AEUR EURI XSGD BIDR IDRT BVND TGBP BKRW USDS USD1 XUSD RLUSD UUSD
    XAUT PAXG EUR GBP AUD BRL TRY RUB UAH NGN ZAR JPY
    """
)
"""Coins that are pegged to a currency or to gold, in themselves or as receipts of deposits of such coins."""

WRAPPED: Final = _names(
    """
    wrapped-bitcoin wrapped-steth wrapped-eeth wrapped-beacon-eth wrapped-bnb wrapped-avax wrapped-fantom
    wrapped-near wrapped-solana wrapped-tron wrapped-nxm wrapped-centrifuge wrapped-ampleforth wrapped-dgld
    wrapped-origin-axie weth wmatic wbnb renbtc huobi-btc huobi-ethereum tbtc sbtc ptokens-btc boringdao-btc
    interest-bearing-bitcoin mirrored-bitcoin mirrored-ether mstable-btc binance-bitcoin bitcoin-bep2 btcb
    coinbase-wrapped-btc coinbase-wrapped-staked-eth staked-ether rocket-pool-eth frax-ether staked-frax-ether
    mantle-staked-ether ankreth seth seth2 lido-staked-sol lido-staked-matic marinade-staked-sol msol
    socean-staked-sol jito-staked-sol binance-staked-sol benqi-liquid-staked-avax compound-ether
    compound-wrapped-btc compound-0x compound-uniswap compound-basic-attention-token compound-augur
    compound-chainlink-token
    WBTC WETH WBETH WSTETH STETH CBBTC CBETH RETH FRXETH METH BETH ANKRETH BTCB RENBTC HBTC TBTC SBTC PBTC OBTC
    IBBTC SETH SETH2 WBNB WAVAX WFTM WMATIC WNEAR WSOL WTRX WNXM WCFG WAMPL STSOL MSOL JITOSOL BNSOL STMATIC SAVAX
    CETH CWBTC
    """
)
"""Receipts for another coin: wrapped, bridged, staked or deposited."""

LISTS: Final = {"stablecoins": STABLECOINS, "wrapped": WRAPPED}

_PAIR: Final = re.compile(r"([A-Z0-9]+)(?:[-_/][A-Z0-9]+)?")


def exclude(coin_ids: Sequence[str], names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return bool[n]: which coins are named, by ``stablecoins``, ``wrapped`` or their own id.

    A pair may be named by the whole of it (``LUNA-USDT``) or by its base (``LUNA``).
    """
    named = frozenset[str]().union(*(LISTS.get(name, frozenset([name])) for name in names))
    return np.fromiter((coin in named or base_symbol(coin) in named for coin in coin_ids), np.bool_, len(coin_ids))


def base_symbol(coin_id: str) -> str | None:
    """Return the base of a pair written ``BASE-QUOTE``, an upper-case symbol itself, None for any other id."""
    match = _PAIR.fullmatch(coin_id)
    return match[1] if match else None
