"""Binance's REST without a server: path and parameters in, status, weight and JSON out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from connectors.sandbox.candles import INTERVALS_MS, Bars, Candles
from connectors.sandbox.market import Coin, Market, Trades
from connectors.sandbox.streams import decimal, kline_values

WEIGHT_PER_MINUTE: Final = 6000
WEIGHTS: Final = {
    "/api/v3/ping": 1,
    "/api/v3/time": 1,
    "/api/v3/klines": 2,
    "/api/v3/aggTrades": 4,
    "/api/v3/exchangeInfo": 20,
}
_KNOWN: Final = {
    "/api/v3/ping": frozenset[str](),
    "/api/v3/time": frozenset[str](),
    "/api/v3/klines": frozenset({"symbol", "interval", "startTime", "endTime", "limit"}),
    "/api/v3/aggTrades": frozenset({"symbol", "fromId", "startTime", "endTime", "limit"}),
    "/api/v3/exchangeInfo": frozenset({"symbol", "symbols"}),
}
_MAX_ROWS: Final = 1000
_DEFAULT_ROWS: Final = 500
_NUMBER: Final = "^[0-9]{1,20}$"


class RestError(Exception):
    """An error of the venue's documented list; answered with status 400."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message


class RestApi:
    """The public market data of one exchange.

    ``history_ms`` is how far back klines are served: the world itself has no end, but every ten minutes of it cost
    some 15 ms to compute.
    """

    def __init__(self, market: Market, candles: Candles, history_ms: int) -> None:
        self._market, self._candles, self._history_ms = market, candles, history_ms

    def answer(self, path: str, params: Mapping[str, str], now_ms: int) -> tuple[int, bytes]:
        """Return status and body for a request to one of the paths in ``WEIGHTS``."""
        try:
            _check_known(path, params)
            return 200, msgspec.json.encode(self._route(path, params, now_ms))
        except RestError as error:
            return 400, msgspec.json.encode({"code": error.code, "msg": error.message})

    def _route(self, path: str, params: Mapping[str, str], now_ms: int) -> Any:
        if path == "/api/v3/klines":
            return self._klines(params, now_ms)
        if path == "/api/v3/aggTrades":
            return self._agg_trades(params, now_ms)
        if path == "/api/v3/exchangeInfo":
            return self._exchange_info(params, now_ms)
        return {"serverTime": now_ms} if path == "/api/v3/time" else {}

    def _coin(self, params: Mapping[str, str]) -> Coin:
        symbol = _mandatory(params, "symbol")
        if symbol not in self._market.index:
            raise RestError(-1121, "Invalid symbol.")
        return self._market.coins[self._market.index[symbol]]

    def _klines(self, params: Mapping[str, str], now_ms: int) -> list[list[Any]]:
        coin = self._coin(params)
        interval = _mandatory(params, "interval")
        if interval not in INTERVALS_MS:
            raise RestError(-1120, "Invalid interval.")
        length, rows = INTERVALS_MS[interval], _rows(params)
        start, end = _number(params, "startTime"), _number(params, "endTime")
        last_open = (now_ms if end is None else min(end, now_ms)) // length * length
        oldest = -((self._history_ms - now_ms) // length) * length
        if start is None:
            first_open = max(oldest, last_open - (rows - 1) * length)
        else:
            first_open = max(oldest, -(-start // length) * length)
            last_open = min(last_open, first_open + (rows - 1) * length)
        if first_open > last_open:
            return []
        bars = self._candles.bars(coin.symbol, interval, first_open, last_open, now_ms)
        return [_kline_row(coin, interval, bars, row) for row in range(bars.open_ms.size)]

    def _agg_trades(self, params: Mapping[str, str], now_ms: int) -> list[dict[str, Any]]:
        coin, rows = self._coin(params), _rows(params)
        first_id = _number(params, "fromId")
        start, end = _number(params, "startTime"), _number(params, "endTime")
        if first_id is not None and (start is not None or end is not None):
            raise RestError(-1128, "Combination of optional parameters invalid.")
        until = now_ms if end is None else min(end, now_ms)
        if first_id is None:
            if start is None:
                first_id = self._market.last_id(coin.symbol, until) - rows + 1
            else:
                first_id = self._market.last_id(coin.symbol, min(start, now_ms + 1) - 1) + 1
        trades = self._market.trades_of(coin.symbol, first_id, rows, until)
        return [_agg_trade_row(coin, trades, row) for row in range(trades.trade_id.size)]

    def _exchange_info(self, params: Mapping[str, str], now_ms: int) -> dict[str, Any]:
        coins = self._market.coins
        if "symbol" in params:
            coins = [self._coin(params)]
        elif "symbols" in params:
            try:
                names = msgspec.json.decode(params["symbols"], type=list[str])
            except msgspec.DecodeError:
                raise RestError(-1100, "Illegal characters found in parameter 'symbols'.") from None
            coins = [self._coin({"symbol": name}) for name in names]
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT_PER_MINUTE}
        return {
            "timezone": "UTC",
            "serverTime": now_ms,
            "rateLimits": [limit],
            "exchangeFilters": [],
            "symbols": [_symbol(coin) for coin in coins],
        }


def _check_known(path: str, params: Mapping[str, str]) -> None:
    read = sum(name in _KNOWN[path] for name in params)
    if read < len(params):
        counts = f"read '{read}' parameter(s) but was sent '{len(params)}'."
        raise RestError(-1104, f"Not all sent parameters were read; {counts}")


def _mandatory(params: Mapping[str, str], name: str) -> str:
    if not params.get(name):
        raise RestError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return params[name]


def _number(params: Mapping[str, str], name: str) -> int | None:
    text = params.get(name)
    if text is None:
        return None
    if text == "":
        raise RestError(-1105, f"Parameter '{name}' was empty.")
    if re.fullmatch(_NUMBER, text, re.ASCII) is None:
        raise RestError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{_NUMBER}'.")
    return min(int(text), (1 << 62))


def _rows(params: Mapping[str, str]) -> int:
    limit = _number(params, "limit")
    if limit is None:
        return _DEFAULT_ROWS
    if limit < 1:
        raise RestError(-1100, "Illegal characters found in parameter 'limit'; legal range is '^[1-9][0-9]*$'.")
    return min(limit, _MAX_ROWS)


def _kline_row(coin: Coin, interval: str, bars: Bars, row: int) -> list[Any]:
    opened, closed, v = kline_values(coin, interval, bars, row)
    return [opened, v["o"], v["h"], v["l"], v["c"], v["v"], closed, v["q"], v["n"], v["V"], v["Q"], "0"]


def _agg_trade_row(coin: Coin, trades: Trades, row: int) -> dict[str, Any]:
    trade_id = int(trades.trade_id[row])
    return {
        "a": trade_id,
        "p": decimal(int(trades.ticks[row]), coin.tick_decimals),
        "q": decimal(int(trades.lots[row]), coin.lot_decimals),
        "f": trade_id,
        "l": trade_id,
        "T": int(trades.time_ms[row]),
        "m": bool(trades.buyer_is_maker[row]),
        "M": True,
    }


def _symbol(coin: Coin) -> dict[str, Any]:
    tick, lot = decimal(1, coin.tick_decimals), decimal(1, coin.lot_decimals)
    return {
        "symbol": coin.symbol,
        "status": "TRADING",
        "baseAsset": coin.base,
        "baseAssetPrecision": 8,
        "quoteAsset": coin.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "1000000000.00000000", "stepSize": lot},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }
