"""The core of Binance, driven by hand and by recordings."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.exchanges.binance import BinanceConfig, BinanceCore, stream_url
from connectors.records import Record
from connectors.schema import FLAG_BACKFILL, time_us
from tests.connectors.driver import (
    SECOND,
    START_US,
    Driver,
    assert_same_in_any_chunks,
    feed_in_chunks,
    last_watermark,
    table_of,
    watermarks_of,
)

CONFIG = BinanceConfig(feed="binance")
NAMES = ("BTC", "ETH", "XRP")


def info(names: tuple[str, ...] = NAMES, now_us: int = START_US) -> dict[str, Any]:
    symbols = [
        {"symbol": f"{n}USDT", "status": "TRADING", "baseAsset": n, "quoteAsset": "USDT", "filters": []} for n in names
    ]
    symbols.append({"symbol": "OLDUSDT", "status": "BREAK", "baseAsset": "OLD", "quoteAsset": "USDT"})
    symbols.append({"symbol": "ETHBTC", "status": "TRADING", "baseAsset": "ETH", "quoteAsset": "BTC"})
    return {"timezone": "UTC", "serverTime": now_us // 1000, "symbols": symbols}


def trade(name: str, number: int, us: int, price: float = 100.0, qty: float = 1.0, maker: bool = False) -> Any:
    data = {
        "e": "trade", "E": us // 1000 + 1, "s": f"{name}USDT", "t": number, "p": f"{price:.8f}", "q": f"{qty:.8f}",
        "T": us // 1000, "m": maker, "M": True,
    }  # fmt: skip
    return {"stream": f"{name.lower()}usdt@trade", "data": data}


def aggregate(number: int, first: int, last: int, us: int, price: str = "99.0", qty: str = "3.0") -> dict[str, Any]:
    return {"a": number, "p": price, "q": qty, "f": first, "l": last, "T": us // 1000, "m": True, "M": True}


def kline(open_us: int, step_us: int, close: float = 10.0) -> list[Any]:
    return [
        open_us // 1000, "9.0", "12.0", "8.0", f"{close}", "5.0", (open_us + step_us) // 1000 - 1, "50.0", 7,
        "1.0", "1.0", "0",
    ]  # fmt: skip


def connected(config: BinanceConfig = CONFIG, names: tuple[str, ...] = NAMES) -> Driver:
    """A core that has listed, subscribed and been acknowledged."""
    driver = Driver(BinanceCore(config))
    driver.give("open", b"ws://venue")
    assert [fetch.path for fetch in driver.fetches()] == ["/api/v3/exchangeInfo"]
    driver.reply("info/0", info(names))
    acknowledge(driver)
    return driver


def acknowledge(driver: Driver) -> None:
    for request in driver.sends():
        assert request["method"] == "SUBSCRIBE"
        driver.msg({"result": None, "id": request["id"]})


def test_subscribes_to_what_trades_in_the_quote() -> None:
    driver = Driver(BinanceCore(CONFIG))
    driver.give("open", b"ws://venue")
    assert not driver.core.stats.up
    driver.reply("info/0", info())
    (request,) = driver.sends()
    assert request == {"method": "SUBSCRIBE", "params": ["btcusdt@trade", "ethusdt@trade", "xrpusdt@trade"], "id": 1}
    driver.msg({"result": None, "id": 1})
    assert driver.core.stats.up
    assert isinstance(driver.core, BinanceCore)
    assert driver.core.symbols == ["BTC-USDT", "ETH-USDT", "XRP-USDT"]
    assert stream_url("wss://data-stream.binance.vision/") == "wss://data-stream.binance.vision/stream"


def test_configured_symbols_that_do_not_trade_are_quarantined() -> None:
    config = BinanceConfig(feed="binance", symbols=("ETHBTC", "OLDUSDT", "NONE", "BTCUSDT"))
    driver = Driver(BinanceCore(config))
    driver.give("open")
    driver.reply("info/0", info())
    assert driver.sends()[0]["params"] == ["ethbtc@trade", "btcusdt@trade"]
    assert [row["detail"] for row in driver.rows("quarantine")] == ["OLDUSDT", "NONE"]


def test_subscriptions_go_out_in_batches_of_200_one_a_second() -> None:
    names = tuple(f"C{n}" for n in range(450))
    driver = Driver(BinanceCore(CONFIG))
    driver.give("open")
    driver.reply("info/0", info(names))
    sizes = [[len(request["params"]) for request in driver.sends()]]
    for _ in range(4):
        driver.ticks(1)
        sizes.append([len(request["params"]) for request in driver.sends()])
    assert sizes == [[200], [200], [50], [], []]


def test_symbol_list_is_asked_for_until_it_comes() -> None:
    driver = Driver(BinanceCore(CONFIG))
    driver.give("open")
    delays = []
    for attempt, answer in enumerate([(0, b""), (502, b"<html>"), (200, b"{}"), (200, {"symbols": []})]):
        (fetch,) = driver.fetches()
        assert fetch.tag == f"info/{attempt}"
        delays.append(fetch.after_s)
        driver.reply(fetch.tag, answer[1], answer[0])
    assert delays == [0.0, 2.0, 4.0, 8.0]
    driver.reply(driver.fetches()[0].tag, info())
    assert len(driver.sends()) == 1


def test_trade_becomes_a_row_with_the_takers_side() -> None:
    driver = connected()
    driver.msg(trade("BTC", 7, START_US, 61837.63, 0.02, maker=True))
    driver.msg(trade("ETH", 1, START_US + 1000, 2683.8, 2.5, maker=False))
    first, second = driver.rows("trades")
    assert (first["venue"], first["symbol"], first["trade_id"]) == ("binance", "BTC-USDT", 7)
    assert (first["side"], first["price"], first["qty"], first["flags"]) == (-1, 61837.63, 0.02, 0)
    assert (second["symbol"], second["side"]) == ("ETH-USDT", 1)
    assert time_us(driver.batches[0].rows.column("ts_event"))[0] == START_US
    assert driver.core.stats.events == 2
    assert driver.core.stats.last_event_us == START_US + 1000


def test_times_in_microseconds_are_recognised() -> None:
    driver = connected()
    message = trade("BTC", 1, START_US)
    message["data"]["T"] = START_US + 123
    driver.msg(message)
    assert time_us(driver.batches[-1].rows.column("ts_event"))[0] == START_US + 123


def test_watermark_is_the_running_maximum_less_lateness() -> None:
    driver = connected()
    offsets = [0, 3, 1, 2, 5, 1]
    for number, offset in enumerate(offsets):
        driver.msg(trade("BTC", number + 1, START_US + offset * SECOND))
    lateness = CONFIG.allowed_lateness_us
    newest = [max(offsets[:n], default=None) for n in range(len(offsets))]
    assert watermarks_of(driver.batches, "trades") == [
        0 if n is None else START_US + n * SECOND - lateness for n in newest
    ]
    assert driver.core.stats.late == 3  # 1, 2 after 3, and 1 after 5


def test_duplicates_are_dropped_and_counted() -> None:
    driver = connected()
    for number in (5, 6, 6, 5, 7):
        driver.msg(trade("BTC", number, START_US + number * 1000))
    assert [row["trade_id"] for row in driver.rows("trades")] == [5, 6, 7]
    assert driver.core.stats.duplicates == 2
    assert driver.core.stats.gaps == 0


def test_gap_is_filled_before_what_follows_it() -> None:
    driver = connected()
    driver.msg(trade("BTC", 10, START_US))
    driver.msg(trade("BTC", 15, START_US + 2 * SECOND))
    driver.msg(trade("ETH", 1, START_US + 2 * SECOND))
    assert len(driver.rows("trades")) == 1  # the gate is shut
    (fetch,) = driver.fetches()
    assert fetch.path == (
        f"/api/v3/aggTrades?symbol=BTCUSDT&limit=1000&startTime={START_US // 1000}&endTime={START_US // 1000 + 2000}"
    )
    page = [
        aggregate(4, 9, 11, START_US + SECOND, qty="3.0"),  # ids 9 and 10 came already: a third of it was missing
        aggregate(5, 12, 12, START_US + SECOND, qty="0.5"),
        aggregate(6, 13, 16, START_US + 2 * SECOND, qty="4.0"),  # 15 came already, 16 is to come
    ]
    driver.reply(fetch.tag, page)
    rows = driver.rows("trades")
    assert [(r["symbol"], r["trade_id"], r["qty"], r["flags"]) for r in rows] == [
        ("BTC-USDT", 10, 1.0, 0),
        ("BTC-USDT", 11, 1.0, FLAG_BACKFILL),
        ("BTC-USDT", 12, 0.5, FLAG_BACKFILL),
        ("BTC-USDT", 14, 2.0, FLAG_BACKFILL),
        ("BTC-USDT", 15, 1.0, 0),
        ("ETH-USDT", 1, 1.0, 0),
    ]
    (gap,) = driver.rows("gaps")
    assert (gap["symbol"], gap["from_seq"], gap["to_seq"], gap["missing"], gap["filled"]) == ("BTC-USDT", 11, 14, 4, 4)
    assert gap["reason"] == "skipped"
    stats = driver.core.stats
    assert (stats.gaps, stats.gap_events_missing, stats.gap_events_filled, stats.late) == (1, 4, 4, 0)


def test_gap_goes_on_page_by_page() -> None:
    driver = connected()
    driver.msg(trade("BTC", 1, START_US))
    driver.msg(trade("BTC", 2502, START_US + SECOND))
    (fetch,) = driver.fetches()
    pages = 0
    at = 2
    while True:
        pages += 1
        page = [aggregate(n + 5000, n, n, START_US + n) for n in range(at, min(at + 1000, 2600))]
        at += 1000
        driver.reply(fetch.tag, page)
        wanted = driver.fetches()
        if not wanted:
            break
        (fetch,) = wanted
        assert fetch.path.endswith(f"fromId={5000 + at}")
    assert pages == 3
    assert driver.core.stats.gap_events_filled == 2500
    assert [row["trade_id"] for row in driver.rows("trades")] == list(range(1, 2503))


def test_what_is_fetched_too_late_stays_missing_and_is_counted() -> None:
    driver = connected()
    driver.msg(trade("BTC", 1, START_US))
    driver.msg(trade("ETH", 1, START_US + 10 * SECOND))
    driver.msg(trade("BTC", 4, START_US + 10 * SECOND))
    (fetch,) = driver.fetches()
    page = [aggregate(1, 2, 2, START_US + SECOND), aggregate(2, 3, 3, START_US + 10 * SECOND)]
    driver.reply(fetch.tag, page)
    assert [row["trade_id"] for row in driver.rows("trades")] == [1, 1, 3, 4]
    (gap,) = driver.rows("gaps")
    assert (gap["missing"], gap["filled"]) == (2, 1)
    assert driver.core.stats.late == 1


def test_gap_that_cannot_be_filled_opens_the_gate_at_its_deadline() -> None:
    driver = connected()
    driver.msg(trade("BTC", 1, START_US))
    driver.msg(trade("BTC", 3, START_US + 1000))
    (fetch,) = driver.fetches()
    driver.ticks(CONFIG.gap_deadline_us // SECOND)
    assert [row["trade_id"] for row in driver.rows("trades")] == [1, 3]
    (gap,) = driver.rows("gaps")
    assert (gap["missing"], gap["filled"]) == (1, 0)
    driver.reply(fetch.tag, [aggregate(2, 2, 2, START_US)])  # too late: nothing more happens
    assert len(driver.rows("trades")) == 2


def test_gap_that_fails_three_times_is_given_up() -> None:
    driver = connected()
    driver.msg(trade("BTC", 1, START_US))
    driver.msg(trade("BTC", 3, START_US + 1000))
    for status, body in ((500, b""), (200, b"[1,2]"), (0, b"timeout")):
        (fetch,) = driver.fetches()
        driver.reply(fetch.tag, body, status)
    assert driver.fetches() == []
    assert [row["trade_id"] for row in driver.rows("trades")] == [1, 3]
    assert driver.core.stats.parse_errors == 3


def test_ids_that_are_not_contiguous_are_counted_and_not_asked_for_for_ever() -> None:
    driver = connected()
    asked = 0
    for number in range(0, 40, 2):
        driver.msg(trade("BTC", number, START_US + number * 1000))
        for fetch in driver.fetches():
            asked += 1
            driver.reply(fetch.tag, [])
    assert asked == 3
    assert driver.core.stats.gaps == 19
    assert [row["trade_id"] for row in driver.rows("trades")] == list(range(0, 40, 2))


def test_venue_that_numbers_anew_goes_on() -> None:
    driver = connected()
    driver.msg(trade("BTC", 900, START_US))
    driver.msg(trade("BTC", 1, START_US + SECOND))
    driver.msg(trade("BTC", 2, START_US + 2 * SECOND))
    assert [row["trade_id"] for row in driver.rows("trades")] == [900, 1, 2]
    assert [row["reason"] for row in driver.rows("gaps")] == ["renumbered"]


def test_reconnection_shows_its_gap_and_fills_it_in_time() -> None:
    driver = connected()
    driver.msg(trade("BTC", 1, START_US))
    driver.msg(trade("ETH", 1, START_US))
    driver.now_us += 30 * SECOND
    driver.give("close", b"closed: 1006 lost")
    assert not driver.core.stats.up
    driver.now_us += SECOND
    driver.give("open", b"ws://venue")
    assert len(driver.fetches()) == 0  # the symbols are known
    acknowledge(driver)
    now = driver.now_us
    driver.msg(trade("ETH", 2, now))
    assert len(driver.rows("trades")) == 2  # held: other symbols may show gaps
    driver.msg(trade("BTC", 4, now))
    (fetch,) = driver.fetches()
    driver.reply(fetch.tag, [aggregate(2, 2, 3, START_US + 10 * SECOND)])
    driver.ticks(3)
    rows = driver.rows("trades")
    assert [(r["symbol"][:3], r["trade_id"]) for r in rows] == [
        ("BTC", 1),
        ("ETH", 1),
        ("BTC", 3),
        ("ETH", 2),
        ("BTC", 4),
    ]
    (gap,) = driver.rows("gaps")
    assert (gap["reason"], gap["missing"], gap["filled"]) == ("reconnect", 2, 2)
    assert driver.core.stats.late == 0
    assert driver.core.stats.reconnects == {"closed": 1}
    assert driver.core.stats.up


HISTORY = BinanceConfig(feed="binance", history=((60 * SECOND, 3), (120 * SECOND, 2)))
MINUTE_US = START_US // (60 * SECOND) * 60 * SECOND


def answer_klines(driver: Driver, fetch: Any, skip: tuple[str, ...] = ()) -> None:
    query = dict(part.split("=") for part in fetch.path.partition("?")[2].split("&"))
    step = {"1s": SECOND, "1m": 60 * SECOND, "5m": 300 * SECOND}[query["interval"]]
    start = int(query["startTime"]) * 1000
    if query["symbol"] in skip:
        driver.reply(fetch.tag, b"", 500)
        return
    driver.reply(fetch.tag, [kline(start + n * step, step, 10.0 + n % 5 / 2) for n in range(int(query["limit"]))])


def test_first_start_emits_bars_then_the_trades_they_do_not_hold() -> None:
    driver = connected(HISTORY, NAMES[:2])
    fetches = driver.fetches()
    assert {f.path.partition("interval=")[2][:2] for f in fetches} == {"1m"}  # two minutes are joined of one
    assert len(fetches) == 4
    driver.msg(trade("BTC", 1, MINUTE_US - SECOND))  # before the last close: a kline holds it
    driver.msg(trade("BTC", 2, MINUTE_US + SECOND))
    driver.msg(trade("ETH", 1, MINUTE_US + 2 * SECOND))
    for fetch in fetches:
        assert driver.batches == []
        answer_klines(driver, fetch)
    assert [batch.kind for batch in driver.batches] == ["bars", "trades"]
    bars = driver.rows("bars")
    stamps = [(int(r["ts_close"].timestamp()) * SECOND, r["interval_us"], r["symbol"]) for r in bars]
    assert stamps == sorted(stamps)
    minutes = [r for r in bars if r["interval_us"] == 60 * SECOND and r["symbol"] == "BTC-USDT"]
    assert len(minutes) == 3
    assert [r["close"] for r in minutes] == [10.0, 10.5, 11.0]
    assert int(minutes[-1]["ts_close"].timestamp()) * SECOND == MINUTE_US
    doubles = [r for r in bars if r["interval_us"] == 120 * SECOND and r["symbol"] == "ETH-USDT"]
    assert [r["n_trades"] for r in doubles] == [14, 14]
    assert [r["volume"] for r in doubles] == [10.0, 10.0]
    assert all(r["ts_close"].timestamp() % 120 == 0 for r in doubles)
    assert {r["flags"] for r in bars} == {FLAG_BACKFILL}
    assert driver.batches[0].watermark_us == MINUTE_US
    assert [row["trade_id"] for row in driver.rows("trades")] == [2, 1]
    assert (driver.core.stats.duplicates, driver.core.stats.late) == (1, 0)
    driver.msg(trade("ETH", 2, MINUTE_US + 3 * SECOND))
    assert len(driver.rows("trades")) == 3


def test_history_longer_than_a_page_is_fetched_page_by_page() -> None:
    config = BinanceConfig(feed="binance", history=((60 * SECOND, 2500),))
    driver = connected(config, NAMES[:1])
    while fetches := driver.fetches():
        answer_klines(driver, fetches[0])
    bars = driver.rows("bars")
    assert len(bars) == 2500
    closes = time_us(table_of(driver.batches, "bars").column("ts_close").combine_chunks())
    assert np.all(np.diff(closes) == 60 * SECOND)
    assert closes[-1] == MINUTE_US


def test_interval_that_the_venue_does_not_have_is_joined_of_seconds() -> None:
    config = BinanceConfig(feed="binance", history=((5 * SECOND, 10),))
    driver = connected(config, NAMES[:1])
    (fetch,) = driver.fetches()
    assert "interval=1s" in fetch.path
    assert "limit=50" in fetch.path
    answer_klines(driver, fetch)
    bars = driver.rows("bars")
    assert len(bars) == 10
    assert bars[0]["close"] == 12.0  # the fifth second's
    assert {(r["open"], r["high"], r["low"], r["volume"]) for r in bars} == {(9.0, 12.0, 8.0, 25.0)}


def test_history_that_fails_is_a_gap_and_does_not_hold_the_rest() -> None:
    driver = connected(HISTORY, NAMES[:2])
    driver.msg(trade("ETH", 1, MINUTE_US + SECOND))
    for _ in range(10):
        for fetch in driver.fetches():
            answer_klines(driver, fetch, skip=("ETHUSDT",))
    assert {row["symbol"] for row in driver.rows("bars")} == {"BTC-USDT"}
    gaps = driver.rows("gaps")
    assert [(g["symbol"], g["reason"], g["missing"], g["filled"]) for g in gaps] == [
        ("ETH-USDT", "history", 3, 0),
        ("ETH-USDT", "history", 2, 0),
    ]
    assert len(driver.rows("trades")) == 1


def test_history_that_never_comes_is_given_up_at_its_deadline() -> None:
    driver = connected(HISTORY, NAMES[:1])
    driver.msg(trade("BTC", 1, MINUTE_US + SECOND))
    driver.ticks(HISTORY.history_deadline_us // SECOND - 1)
    assert driver.rows("trades") == []
    driver.ticks(1)
    assert len(driver.rows("trades")) == 1
    assert len(driver.rows("gaps")) == 2


def test_reconnection_during_history_asks_again() -> None:
    driver = connected(HISTORY, NAMES[:1])
    first = driver.fetches()
    driver.give("close", b"closed: 1006")
    driver.give("open")
    again = driver.fetches()
    assert [f.path for f in again] == [f.path for f in first]
    acknowledge(driver)
    assert driver.fetches() == []
    for fetch in [*again, *first]:  # answers that come twice count once
        answer_klines(driver, fetch)
    driver.ticks(3)
    assert len(driver.rows("bars")) == 5


def test_held_trades_are_bounded() -> None:
    config = BinanceConfig(feed="binance", history=((60 * SECOND, 3),), held_most=10)
    driver = connected(config, NAMES[:1])
    for number in range(1, 13):
        driver.msg(trade("BTC", number, MINUTE_US + number * 1000))
    assert len(driver.rows("trades")) == 12
    assert [row["reason"] for row in driver.rows("gaps")] == ["history"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not json", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[1]", "cannot be read"),
        (b"", "cannot be read"),
        (trade("DOGE", 1, START_US), "no such symbol"),
        (trade("BTC", 1, START_US, price=0.0), "price or quantity"),
        (trade("BTC", 1, START_US, qty=-1.0), "price or quantity"),
        (trade("BTC", 1, START_US + 2 * 86_400 * SECOND), "in the future"),
        ({"stream": "btcusdt@trade", "data": {"s": "BTCUSDT", "p": "abc"}}, "not a trade"),
        ({"stream": "btcusdt@trade", "data": {**trade("BTC", 1, START_US)["data"], "t": 2**63}}, "not a trade"),
        ({"stream": "btcusdt@trade", "data": {**trade("BTC", 1, START_US)["data"], "p": "nan"}}, "no"),
        ({"code": 2, "msg": "Invalid request"}, "error 2: Invalid request"),
        ({"error": {"code": 3, "msg": "bad"}, "id": "x"}, "error 3: bad"),
    ],
)
def test_bad_message_is_quarantined_and_the_feed_goes_on(body: Any, reason: str) -> None:
    driver = connected()
    position = len(driver.records)
    driver.msg(body)
    (row,) = driver.rows("quarantine")
    assert reason in row["reason"]
    assert (row["source"], row["position"]) == ("binance", position)
    assert driver.core.stats.parse_errors == 1
    driver.msg(trade("BTC", 1, START_US))
    assert len(driver.rows("trades")) == 1


def test_unknown_messages_are_counted() -> None:
    driver = connected()
    driver.msg({"stream": "btcusdt@bookTicker", "data": {"u": 1}})
    driver.msg({"e": "something"})
    driver.msg({"result": None, "id": 99})
    assert driver.core.stats.unknown == 3
    assert driver.core.stats.parse_errors == 0


def test_refused_subscription_is_halved_down_to_the_bad_name() -> None:
    driver = Driver(BinanceCore(CONFIG))
    driver.give("open")
    driver.reply("info/0", info())
    subscribed: list[str] = []
    for _ in range(10):
        for request in driver.sends():
            if "ethusdt@trade" in request["params"]:
                driver.msg({"code": 2, "msg": "Invalid request", "id": request["id"]})
            else:
                subscribed += request["params"]
                driver.msg({"result": None, "id": request["id"]})
        driver.ticks(1)
    assert sorted(subscribed) == ["btcusdt@trade", "xrpusdt@trade"]
    assert driver.core.stats.up
    assert driver.core.stats.parse_errors == 3  # all three, then two, then it alone


def test_missing_acks_silence_shutdown_and_age_ask_for_another_connection() -> None:
    driver = Driver(BinanceCore(CONFIG))
    driver.give("open")
    driver.reply("info/0", info())
    driver.ticks(10)
    assert driver.reconnects() == []
    driver.ticks(3)
    assert driver.reconnects() == ["no_ack"]  # once
    driver.give("close", b"no_ack: asked by the core")
    driver.give("open")
    acknowledge(driver)
    driver.ticks(60)
    assert driver.reconnects() == []
    driver.ticks(2)
    assert driver.reconnects() == ["silence"]
    driver.give("close", b"silence: asked by the core")
    driver.give("open")
    acknowledge(driver)
    driver.msg({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}})
    assert driver.reconnects() == ["server_shutdown"]
    driver.give("close", b"server_shutdown: asked by the core")
    driver.give("open")
    acknowledge(driver)
    driver.now_us += CONFIG.roll_us
    driver.msg(trade("BTC", 1, driver.now_us))
    driver.ticks(1)
    assert driver.reconnects() == ["roll"]
    assert driver.core.stats.reconnects == {"no_ack": 1, "silence": 1, "server_shutdown": 1}


def test_idle_market_still_closes_its_bars() -> None:
    driver = connected()
    driver.msg(trade("BTC", 1, START_US - 7 * SECOND))  # the venue's clock is seven seconds behind
    base = START_US - 7 * SECOND
    assert last_watermark(driver.batches) == base - CONFIG.allowed_lateness_us
    driver.ticks(4)
    assert last_watermark(driver.batches) == base - CONFIG.allowed_lateness_us
    driver.ticks(6)
    assert last_watermark(driver.batches) == base + 10 * SECOND - CONFIG.idle_us - CONFIG.allowed_lateness_us
    assert driver.batches[-1].kind == "trades"
    assert driver.batches[-1].rows.num_rows == 0


def test_watermark_waits_for_a_lost_connection_but_not_for_ever() -> None:
    driver = connected()
    driver.msg(trade("BTC", 1, START_US))
    driver.give("close", b"closed: 1006")
    before = last_watermark(driver.batches)
    driver.ticks(30)
    driver.give("open")
    driver.give("close", b"closed: 1006")  # opens and closes: still away
    driver.ticks(CONFIG.gap_deadline_us // SECOND + 5)
    assert last_watermark(driver.batches) == before
    driver.ticks(10)
    assert last_watermark(driver.batches) == driver.now_us - CONFIG.idle_us - CONFIG.allowed_lateness_us


events = st.one_of(
    st.tuples(st.just("trade"), st.integers(0, 2), st.integers(-1, 3), st.integers(-2000, 3000)),
    st.tuples(st.just("tick"), st.integers(0, 9), st.just(0), st.just(0)),
    st.tuples(st.just("drop"), st.just(0), st.just(0), st.just(0)),
    st.tuples(st.just("answer"), st.integers(0, 9), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("junk"), st.integers(0, 3), st.just(0), st.just(0)),
)


def play(script: list[tuple[str, int, int, int]], config: BinanceConfig) -> list[Record]:
    """Let a venue that drops, repeats, disorders and fails play a script; return the records."""
    driver = connected(config)
    last = [0, 0, 0]
    wanted: list[Any] = []
    for what, a, b, c in script:
        wanted += driver.fetches()
        acknowledge(driver)
        if what == "trade":
            last[a] = max(last[a] + b, 0)
            driver.now_us += 50_000
            driver.msg(trade(NAMES[a], last[a], driver.now_us + c * 1000))
        elif what == "tick":
            driver.ticks(a + 1)
        elif what == "drop":
            driver.give("close", b"closed: 1006")
            driver.now_us += 5 * SECOND
            driver.give("open")
        elif what == "junk":
            driver.msg([b"{}", b"nonsense", b'{"stream":"x"}', b'{"code":1}'][a])
        elif wanted:
            fetch = wanted.pop(a % len(wanted))
            if fetch.tag.startswith("klines") and b:
                answer_klines(driver, fetch)
            elif b:
                at = int(fetch.tag.rpartition("/")[2])
                driver.reply(fetch.tag, [aggregate(at + n, at + n, at + n, driver.now_us - SECOND) for n in range(b)])
            else:
                driver.reply(fetch.tag, b"", 503)
    return driver.records


@settings(deadline=None, max_examples=200)
@given(script=st.lists(events, min_size=8, max_size=60), history=st.booleans(), cut=st.floats(0, 1))
def test_rows_depend_on_the_records_alone(script: list[tuple[str, int, int, int]], history: bool, cut: float) -> None:
    config = HISTORY if history else CONFIG
    records = play(script, config)
    assert_same_in_any_chunks(lambda state: BinanceCore(config, state), records, int(cut * len(records)))


@settings(deadline=None, max_examples=60)
@given(script=st.lists(events, max_size=80))
def test_no_trade_twice_and_watermarks_hold(script: list[tuple[str, int, int, int]]) -> None:
    core = BinanceCore(CONFIG)
    batches = feed_in_chunks(core, play(script, CONFIG), 5)
    table = table_of(batches, "trades")
    marks = np.array(watermarks_of(batches, "trades"), np.int64)
    stamps = time_us(table.column("ts_event").combine_chunks()) if len(table) else np.array([], np.int64)
    assert np.all(np.diff(marks) >= 0)
    assert int((stamps < marks).sum()) <= core.stats.late  # which counts what was fetched too late as well
    backfilled = np.array(table["flags"].to_pylist(), bool)
    assert not np.any(backfilled & (stamps < marks))
    # brute force: never less than the rows demand
    newest = 0
    for stamp, mark in zip(stamps.tolist(), marks.tolist(), strict=True):
        assert mark >= newest
        newest = max(newest, stamp - CONFIG.allowed_lateness_us)
    assert core.stats.events == len(table)
    if not table_of(batches, "gaps").num_rows:
        keys = list(zip(table["symbol"].to_pylist(), table["trade_id"].to_pylist(), strict=True))
        assert len(keys) == len(set(keys))


@settings(deadline=None, max_examples=300)
@given(
    kind=st.sampled_from(["msg", "reply", "open", "close", "tick"]),
    body=st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.one_of(st.none(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=4), st.floats(allow_nan=False)),
            lambda child: st.one_of(
                st.lists(child, max_size=3),
                st.dictionaries(
                    st.sampled_from(["data", "stream", "id", "code", "error", "s", "t", "p", "q", "T", "m", "symbols"]),
                    child,
                    max_size=6,
                ),
            ),
            max_leaves=8,
        ),
    ),
    tag=st.sampled_from(["", "info/0", "klines/0/60000000/1/2/0", "gap/0/2", "x"]),
    status=st.sampled_from([0, 200, 429]),
)
def test_nothing_that_a_peer_sends_is_fatal(kind: Any, body: Any, tag: str, status: int) -> None:
    text = body if isinstance(body, bytes) else msgspec.json.encode(body)
    driver = connected(HISTORY)
    driver.msg(trade("BTC", 1, START_US))
    driver.msg(trade("BTC", 3, START_US))
    for fetch in driver.fetches():
        driver.reply(fetch.tag, text, status)
    driver.give(kind, text, tag, status)
    driver.ticks(2)
    BinanceCore(HISTORY, driver.core.snapshot())
    fresh = Driver(BinanceCore(CONFIG))
    fresh.give("open")
    fresh.reply("info/0", text)
    fresh.ticks(1)


def test_deep_nesting_is_not_fatal() -> None:
    driver = connected()
    for body in (b"[" * 100_000, b'{"x":' * 100_000, b'{"data":' + b"[" * 100_000):
        driver.msg(body)
    assert driver.core.stats.parse_errors == 3


@pytest.mark.data
def test_recordings_come_out_complete(shared_data: Path) -> None:
    folder = shared_data / "ws_raw" / "hftbacktest"
    expected = pq.read_table(shared_data / "trades_binance_6streams_20240808.parquet")
    driver = connected(BinanceConfig(feed="binance", symbols=("BTCUSDT", "ETHUSDT")))
    lines = []
    for path in sorted(folder.glob("spot_*.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            stamp, _, body = line.partition(b" ")
            lines.append((int(stamp) // 1000, body))
    lines.sort(key=lambda item: item[0])
    first = len(driver.records)
    records = [Record(first + n, us, "msg", body) for n, (us, body) in enumerate(lines)]
    batches = feed_in_chunks(driver.core, records, 5000)
    stats = driver.core.stats
    assert (stats.parse_errors, stats.gaps, stats.duplicates) == (0, 0, 0)
    table = table_of(batches, "trades")
    for venue, ours in (("btcusdt", "BTC-USDT"), ("ethusdt", "ETH-USDT")):
        market = pc.and_(pc.equal(expected["market"], "spot"), pc.equal(pc.utf8_lower(expected["symbol"]), venue))
        truth = expected.filter(market).sort_by("trade_id")
        got = table.filter(pc.equal(table["symbol"].cast("string"), ours))
        assert got.num_rows == truth.num_rows > 10_000
        assert got["trade_id"].to_pylist() == truth["trade_id"].to_pylist()
        assert got["price"].to_pylist() == truth["price"].to_pylist()
        assert got["qty"].to_pylist() == truth["qty"].to_pylist()
        assert [side == -1 for side in got["side"].to_pylist()] == truth["buyer_is_maker"].to_pylist()
        stamps = time_us(got["ts_event"].combine_chunks())
        assert (stamps // 1000).tolist() == truth["trade_ms"].to_pylist()
