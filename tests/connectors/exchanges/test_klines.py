"""The core of a price feed: rounds of closed klines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import ConfigError
from connectors.exchanges.klines import KlinesConfig, KlinesCore
from connectors.records import Fetch, Record
from connectors.schema import FLAG_BACKFILL
from tests.connectors.driver import SECOND, START_US, Driver, assert_same_in_any_chunks
from tests.connectors.exchanges.test_binance import info, kline

MINUTE = 60 * SECOND
CONFIG = KlinesConfig(feed="prices", symbols=("BTCUSDT", "ETHUSDT"), interval_us=MINUTE, lookback=5)
FIRST = (START_US - CONFIG.settle_us) // MINUTE * MINUTE


def started(config: KlinesConfig = CONFIG) -> Driver:
    driver = Driver(KlinesCore(config))
    driver.give("open", b"http://venue")
    (fetch,) = driver.fetches()
    assert fetch.path == "/api/v3/exchangeInfo"
    driver.reply(fetch.tag, info())
    return driver


def answer(driver: Driver, fetch: Fetch, forming: bool = True) -> None:
    query = dict(part.split("=") for part in fetch.path.partition("?")[2].split("&"))
    start, count = int(query["startTime"]) * 1000, int(query["limit"])
    driver.reply(fetch.tag, [kline(start + n * MINUTE, MINUTE, 9.0 + n % 3) for n in range(count + forming)])


def closes(driver: Driver) -> list[tuple[int, str]]:
    return [(int(row["ts_close"].timestamp()) * SECOND, row["symbol"]) for row in driver.rows("bars")]


def test_first_round_brings_the_lookback_of_all_symbols_together() -> None:
    driver = started()
    btc, eth = driver.fetches()
    answer(driver, btc)
    assert driver.batches == []
    answer(driver, eth)
    (batch,) = driver.batches
    assert batch.watermark_us == FIRST
    assert closes(driver) == [
        (FIRST - n * MINUTE, symbol) for n in (4, 3, 2, 1, 0) for symbol in ("BTC-USDT", "ETH-USDT")
    ]
    assert {(row["venue"], row["interval_us"], row["flags"]) for row in driver.rows("bars")} == {
        ("binance", MINUTE, FLAG_BACKFILL)
    }
    assert driver.core.stats.up
    assert driver.core.stats.events == 10


def test_each_close_makes_a_round() -> None:
    driver = started()
    for n in range(3):
        for fetch in driver.fetches():
            answer(driver, fetch)
        assert driver.batches[-1].watermark_us == FIRST + n * MINUTE
        driver.ticks(60)
    fetches = driver.fetches()
    assert len(fetches) == 2
    assert all("limit=1" in fetch.path for fetch in fetches)
    assert closes(driver)[-1] == (FIRST + 2 * MINUTE, "ETH-USDT")
    assert len(closes(driver)) == len(set(closes(driver))) == 14


def test_symbol_that_fails_is_a_gap_and_comes_late_in_the_next_round() -> None:
    driver = started()
    for _ in range(5):
        for fetch in driver.fetches():
            if "ETHUSDT" in fetch.path:
                driver.reply(fetch.tag, b"", 500)
            else:
                answer(driver, fetch)
    assert {symbol for _, symbol in closes(driver)} == {"BTC-USDT"}
    (gap,) = driver.rows("gaps")
    assert (gap["symbol"], gap["reason"], gap["missing"], gap["filled"]) == ("ETH-USDT", "klines", 5, 0)
    driver.ticks(60)
    for fetch in driver.fetches():
        answer(driver, fetch)
    eth = [us for us, symbol in closes(driver) if symbol == "ETH-USDT"]
    assert eth == [FIRST - n * MINUTE for n in (4, 3, 2, 1, 0)] + [FIRST + MINUTE]
    batch = driver.batches[-1]
    assert batch.row_watermarks_us is not None
    assert set(batch.row_watermarks_us.tolist()) == {FIRST}
    assert driver.core.stats.late == 4


def test_round_without_answers_ends_at_its_deadline() -> None:
    driver = started()
    first = driver.fetches()
    driver.ticks(CONFIG.round_deadline_us // SECOND + 1)
    assert len(driver.rows("gaps")) == 2
    assert not driver.core.stats.up
    driver.ticks(1)
    assert len(driver.fetches()) == 2
    for fetch in first:
        answer(driver, fetch)  # of a round that is over
    assert driver.rows("bars") == []


def test_restart_asks_again_for_what_was_on_its_way() -> None:
    driver = started()
    first = driver.fetches()
    core = KlinesCore(CONFIG, driver.core.snapshot())
    again = Driver(core)
    again.give("open")
    assert [f.path for f in again.fetches()] == [f.path for f in first]


def test_forming_and_spoiled_klines_are_left_out() -> None:
    driver = started()
    btc, eth = driver.fetches()
    start = FIRST - 5 * MINUTE
    page = [kline(start + n * MINUTE, MINUTE) for n in range(6)]
    page[1][2] = "1.0"  # high below the low
    page[3][4] = "nan"
    driver.reply(btc.tag, page)
    answer(driver, eth)
    assert [us for us, symbol in closes(driver) if symbol == "BTC-USDT"] == [start + n * MINUTE for n in (1, 3, 5)]
    assert len(driver.rows("quarantine")) == 1


def test_interval_below_a_second_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a number of whole seconds"):
        KlinesCore(KlinesConfig(feed="prices", symbols=(), interval_us=1_500_000))


def test_venue_clock_decides_what_has_closed() -> None:
    driver = Driver(KlinesCore(CONFIG))
    driver.give("open")
    driver.reply(driver.fetches()[0].tag, info(now_us=START_US + 1000 * MINUTE))
    for fetch in driver.fetches():
        answer(driver, fetch)
    assert closes(driver)[-1][0] == FIRST + 1000 * MINUTE


steps = st.one_of(
    st.tuples(st.just("tick"), st.integers(1, 150)),
    st.tuples(st.just("answer"), st.integers(0, 3)),
    st.tuples(st.just("fail"), st.integers(0, 3)),
    st.tuples(st.just("open"), st.just(0)),
)


@settings(deadline=None, max_examples=60)
@given(script=st.lists(steps, max_size=20), cut=st.floats(0, 1))
def test_rows_depend_on_the_records_alone(script: list[tuple[str, int]], cut: float) -> None:
    driver = started()
    wanted: list[Any] = []
    for what, n in script:
        wanted += driver.fetches()
        if what == "tick":
            driver.ticks(n)
        elif what == "open":
            driver.give("open")
        elif wanted:
            fetch = wanted.pop(n % len(wanted))
            if what == "fail":
                driver.reply(fetch.tag, b"[", 200)
            else:
                answer(driver, fetch)
    marks = [batch.watermark_us for batch in driver.batches]
    assert marks == sorted(marks)
    stamps = closes(driver)
    assert len(stamps) == len(set(stamps))
    records: list[Record] = driver.records
    assert_same_in_any_chunks(lambda state: KlinesCore(CONFIG, state), records, int(cut * len(records)))
