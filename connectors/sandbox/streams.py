"""Binance's websocket protocol without a socket: control messages in, answers out, and how events are written."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from connectors.sandbox.candles import INTERVALS_MS, Bars
from connectors.sandbox.draws import Int64
from connectors.sandbox.market import Coin

MAX_STREAMS: Final = 1024
_METHODS: Final = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,36}")


class TooManyStreamsError(Exception):
    """A connection asked for more streams than it may have; the venue disconnects it."""


class Session:
    """What one connection listens to. Unknown streams are accepted and stay silent, as the venue does it."""

    def __init__(self, streams: list[str], combined: bool) -> None:
        self.streams: dict[str, None] = {}
        self.combined = combined
        self._add(streams)

    def _add(self, streams: list[str]) -> None:
        self.streams.update(dict.fromkeys(streams))
        if len(self.streams) > MAX_STREAMS:
            raise TooManyStreamsError(f"{len(self.streams)} streams")

    def handle(self, text: str) -> str:
        """Answer a control message.

        Raises
        ------
        TooManyStreamsError
            If the connection is to be closed.
        """
        try:
            message = json.loads(text)
        except ValueError as error:
            line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
            return _error(3, f"Invalid JSON: expected value at line {line} column {column}")
        fault = _fault(message)
        if fault is not None:
            return fault
        method, params, identity = message["method"], message.get("params", []), message["id"]
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            return self._change(method, params, identity)
        if method == "LIST_SUBSCRIPTIONS":
            return _answer(list(self.streams), identity)
        return self._property(method, params, identity)

    def _change(self, method: str, params: list[Any], identity: Any) -> str:
        if not params or not all(isinstance(name, str) for name in params):
            return _error(2, "Invalid request: invalid type, expected a sequence of strings", identity)
        if method == "SUBSCRIBE":
            self._add(params)
        else:
            for name in params:
                self.streams.pop(name, None)
        return _answer(None, identity)

    def _property(self, method: str, params: list[Any], identity: Any) -> str:
        wanted = 2 if method == "SET_PROPERTY" else 1
        if len(params) > wanted:
            return _error(2, "Invalid request: too many parameters", identity)
        if len(params) < wanted or not isinstance(params[0], str):
            return _error(2, "Invalid request: property name must be a string", identity)
        if params[0] != "combined":
            return _error(0, "Unknown property", identity)
        if method == "GET_PROPERTY":
            return _answer(self.combined, identity)
        if not isinstance(params[1], bool):
            return _error(1, "Invalid value type: expected Boolean", identity)
        self.combined = params[1]
        return _answer(None, identity)


def _fault(message: Any) -> str | None:
    """Return the answer to a control message that has the wrong form; None if its form is right."""
    if not isinstance(message, dict) or "method" not in message:
        return _error(2, "Invalid request: missing field `method` at line 1 column 2")
    if message["method"] not in _METHODS:
        known = ", ".join(f"`{name}`" for name in _METHODS)
        unknown = f"unknown variant `{message['method']}`"
        return _error(2, f"Invalid request: {unknown}, expected one of {known} at line 1 column 2")
    if not _is_id(message.get("id", ...)):
        return _error(2, "Invalid request: request ID must be an unsigned integer")
    if not isinstance(message.get("params", []), list):
        return _error(2, "Invalid request: invalid type, expected a sequence", message["id"])
    return None


def _is_id(identity: Any) -> bool:
    if identity is None:
        return True
    if isinstance(identity, str):
        return _WORD.fullmatch(identity) is not None
    return isinstance(identity, int) and not isinstance(identity, bool) and -(1 << 63) <= identity < 1 << 63


def _answer(result: Any, identity: Any) -> str:
    return json.dumps({"result": result, "id": identity}, separators=(",", ":"))


def _error(code: int, message: str, identity: Any = ...) -> str:
    error = {"code": code, "msg": message}
    return json.dumps(error if identity is ... else {**error, "id": identity}, separators=(",", ":"))


def kline_stream(name: str) -> tuple[str, str] | None:
    """Return (symbol, interval) of a kline stream's name; None if it is none."""
    symbol, _, kind = name.partition("@")
    interval = kind.removeprefix("kline_")
    return (symbol.upper(), interval) if kind != interval and interval in INTERVALS_MS else None


def decimal(value: int, decimals: int) -> str:
    """Write an integer of ``10**-decimals`` units as the venue does, with eight places."""
    if decimals > 8:
        value, decimals = value // 10 ** (decimals - 8), 8
    text = str(value * 10 ** (8 - decimals)).rjust(9, "0")
    return f"{text[:-8]}.{text[-8:]}"


def _flag(value: bool) -> str:
    return "true" if value else "false"


def trade(coin: Coin, trade_id: int, time_ms: int, ticks: int, lots: int, maker: bool) -> str:
    """Write a ``trade`` event."""
    return (
        f'{{"e":"trade","E":{time_ms},"s":"{coin.symbol}","t":{trade_id},"p":"{decimal(ticks, coin.tick_decimals)}",'
        f'"q":"{decimal(lots, coin.lot_decimals)}","T":{time_ms},"m":{_flag(maker)},"M":true}}'
    )


def agg_trade(coin: Coin, trade_id: int, time_ms: int, ticks: int, lots: int, maker: bool) -> str:
    """Write an ``aggTrade`` event; every trade is an aggregate of its own."""
    return (
        f'{{"e":"aggTrade","E":{time_ms},"s":"{coin.symbol}","a":{trade_id},"p":"{decimal(ticks, coin.tick_decimals)}",'
        f'"q":"{decimal(lots, coin.lot_decimals)}","f":{trade_id},"l":{trade_id},"T":{time_ms},"m":{_flag(maker)},'
        f'"M":true}}'
    )


def mini_ticker(coin: Coin, time_ms: int, day: Int64) -> str:
    """Write a ``24hrMiniTicker`` event from a coin's column of :meth:`Candles.day`."""
    opened, high, low, close, volume, quote = (int(value) for value in day[:6])
    tick, lot = coin.tick_decimals, coin.lot_decimals
    return (
        f'{{"e":"24hrMiniTicker","E":{time_ms},"s":"{coin.symbol}","c":"{decimal(close, tick)}",'
        f'"o":"{decimal(opened, tick)}","h":"{decimal(high, tick)}","l":"{decimal(low, tick)}",'
        f'"v":"{decimal(volume, lot)}","q":"{decimal(quote, tick + lot)}"}}'
    )


def kline(coin: Coin, interval: str, bars: Bars, row: int, first_id: int, now_ms: int) -> str:
    """Write a ``kline`` event for one bar; ``x`` says whether it is closed at ``now_ms``."""
    opened, close_ms, values = kline_values(coin, interval, bars, row)
    count = values["n"]
    body = {
        "t": opened,
        "T": close_ms,
        "s": coin.symbol,
        "i": interval,
        "f": first_id,
        "L": first_id + count - 1,
        **values,
        "x": now_ms > close_ms,
        "B": "0",
    }
    return json.dumps({"e": "kline", "E": now_ms, "s": coin.symbol, "k": body}, separators=(",", ":"))


def kline_values(coin: Coin, interval: str, bars: Bars, row: int) -> tuple[int, int, dict[str, Any]]:
    """Return a bar's open time, close time and its numbers under the venue's letters."""
    tick, lot = coin.tick_decimals, coin.lot_decimals
    opened = int(bars.open_ms[row])
    values = {
        "o": decimal(int(bars.open[row]), tick),
        "c": decimal(int(bars.close[row]), tick),
        "h": decimal(int(bars.high[row]), tick),
        "l": decimal(int(bars.low[row]), tick),
        "v": decimal(int(bars.volume[row]), lot),
        "n": int(bars.count[row]),
        "q": decimal(int(bars.quote[row]), tick + lot),
        "V": decimal(int(bars.taker_volume[row]), lot),
        "Q": decimal(int(bars.taker_quote[row]), tick + lot),
    }
    return opened, opened + INTERVALS_MS[interval] - 1, values
