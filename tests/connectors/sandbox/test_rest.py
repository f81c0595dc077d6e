import json
from typing import Any

import pytest

from connectors.sandbox.candles import Candles
from connectors.sandbox.market import Market
from connectors.sandbox.rest import RestApi
from tests.connectors.sandbox.places import SEED, T0_MS

MARKET = Market(SEED)
API = RestApi(MARKET, Candles(MARKET), 2 * 3_600_000)
MINUTE = 60_000
M0 = T0_MS // MINUTE * MINUTE


def get(path: str, **params: Any) -> Any:
    status, body = API.answer(f"/api/v3/{path}", {name: str(value) for name, value in params.items()}, T0_MS)
    assert status == 200, body
    return json.loads(body)


def fault(path: str, **params: Any) -> tuple[int, str]:
    status, body = API.answer(f"/api/v3/{path}", {name: str(value) for name, value in params.items()}, T0_MS)
    assert status == 400
    error = json.loads(body)
    assert set(error) == {"code", "msg"}
    return error["code"], error["msg"]


def opens(**params: Any) -> list[int]:
    return [row[0] for row in get("klines", symbol="ETHUSDT", interval="1m", **params)]


def test_klines_without_times_are_the_newest() -> None:
    assert opens(limit=3) == [M0 - 2 * MINUTE, M0 - MINUTE, M0]


def test_klines_from_a_start_are_the_oldest_first() -> None:
    assert opens(startTime=M0 - 10 * MINUTE, limit=3) == [M0 - k * MINUTE for k in (10, 9, 8)]
    assert opens(startTime=M0 - 10 * MINUTE + 1, limit=2) == [M0 - k * MINUTE for k in (9, 8)]


def test_klines_between_two_times_include_both_opens() -> None:
    assert opens(startTime=M0 - 2 * MINUTE, endTime=M0 - MINUTE) == [M0 - 2 * MINUTE, M0 - MINUTE]
    assert opens(startTime=M0, endTime=M0 - 1) == []


def test_klines_to_an_end_are_the_last_before_it() -> None:
    assert opens(endTime=M0 - 5 * MINUTE - 1, limit=2) == [M0 - 7 * MINUTE, M0 - 6 * MINUTE]


def test_klines_end_now_and_begin_where_history_begins() -> None:
    assert opens(startTime=T0_MS + MINUTE) == []
    assert opens(startTime=0, limit=1) == [-((2 * 3_600_000 - T0_MS) // MINUTE) * MINUTE]
    assert len(opens(limit=5000)) == 120


def test_a_kline_row_has_twelve_fields() -> None:
    row = get("klines", symbol="ETHUSDT", interval="1m", startTime=M0 - MINUTE, limit=1)[0]
    assert [type(value) for value in row] == [int, *[str] * 5, int, str, int, str, str, str]
    assert row[6] == row[0] + MINUTE - 1
    assert row[8] == 240
    assert float(row[3]) <= float(row[4]) <= float(row[2])


def test_agg_trades_by_id_begin_with_it() -> None:
    newest = get("aggTrades", symbol="ETHUSDT", limit=1)[0]
    assert newest["T"] <= T0_MS
    first = newest["a"] - 1500
    page = get("aggTrades", symbol="ETHUSDT", fromId=first, limit=1000)
    assert [trade["a"] for trade in page] == list(range(first, first + 1000))
    rest = get("aggTrades", symbol="ETHUSDT", fromId=page[-1]["a"] + 1, limit=1000)
    assert [trade["a"] for trade in rest] == list(range(first + 1000, newest["a"] + 1))
    assert rest[-1] == newest
    assert get("aggTrades", symbol="ETHUSDT", fromId=newest["a"] + 1) == []


def test_agg_trades_by_time_include_both_ends() -> None:
    some = get("aggTrades", symbol="ETHUSDT", startTime=M0 - MINUTE, endTime=M0 - 1, limit=1000)
    assert len(some) == 240
    times = [trade["T"] for trade in some]
    inner = get("aggTrades", symbol="ETHUSDT", startTime=times[3], endTime=times[9])
    assert [trade["T"] for trade in inner] == times[3:10]
    assert [trade["a"] for trade in get("aggTrades", symbol="ETHUSDT", endTime=times[9], limit=2)] == [
        some[8]["a"],
        some[9]["a"],
    ]
    assert len(get("aggTrades", symbol="ETHUSDT", startTime=M0 - 5 * MINUTE)) == 500


def test_exchange_info_lists_what_trades() -> None:
    info = get("exchangeInfo")
    assert len(info["symbols"]) == 42
    assert {symbol["status"] for symbol in info["symbols"]} == {"TRADING"}
    for symbol in info["symbols"]:
        assert symbol["baseAsset"] + symbol["quoteAsset"] == symbol["symbol"]
    assert info["rateLimits"][0]["rateLimitType"] == "REQUEST_WEIGHT"
    some = get("exchangeInfo", symbols='["BTCUSDT","USDCUSDT"]')["symbols"]
    assert [symbol["symbol"] for symbol in some] == ["BTCUSDT", "USDCUSDT"]


def test_time_and_ping() -> None:
    assert get("time") == {"serverTime": T0_MS}
    assert get("ping") == {}


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("klines", {"symbol": "NOPE", "interval": "1m"}, -1121),
        ("klines", {"symbol": "btcusdt", "interval": "1m"}, -1121),
        ("klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("klines", {"symbol": "BTCUSDT"}, -1102),
        ("klines", {"interval": "1m"}, -1102),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": "x"}, -1100),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": "-5"}, -1100),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": ""}, -1105),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": 0}, -1100),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "colour": "red"}, -1104),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": 1, "startTime": 1}, -1128),
        ("aggTrades", {"symbol": "NOPE"}, -1121),
        ("exchangeInfo", {"symbol": "NOPE"}, -1121),
        ("exchangeInfo", {"symbols": "NOPE"}, -1100),
        ("ping", {"symbol": "BTCUSDT"}, -1104),
    ],
)
def test_wrong_requests_get_the_documented_error(path: str, params: dict[str, Any], code: int) -> None:
    assert fault(path, **params)[0] == code
