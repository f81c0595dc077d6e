import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sandbox import candles as module
from connectors.sandbox.candles import INTERVALS_MS, Bars, Candles
from connectors.sandbox.market import CHUNK_MS, GENESIS_MS, Market
from tests.connectors.sandbox.places import SEED, T0_MS

MARKET = Market(SEED)
CANDLES = Candles(MARKET)


def by_hand(symbol: str, interval: str, first_open: int, last_open: int, now_ms: int) -> list[tuple[int, ...]]:
    """The slow way: one trade after the other."""
    length = INTERVALS_MS[interval]
    trades = MARKET.trades_between(first_open - 1, min(last_open + length - 1, now_ms))
    coin = MARKET.index[symbol]
    bars: dict[int, list[int]] = {}
    for who, t, ticks, lots, maker in zip(
        trades.coin, trades.time_ms, trades.ticks, trades.lots, trades.buyer_is_maker, strict=True
    ):
        if who != coin:
            continue
        p, q = int(ticks), int(lots)
        bar = bars.setdefault(int(t) // length * length, [p, p, p, p, 0, 0, 0, 0, 0])
        bar[1], bar[2], bar[3] = max(bar[1], p), min(bar[2], p), p
        taker = 0 if maker else q
        for column, amount in zip(range(4, 9), (q, p * q, taker, p * taker, 1), strict=True):
            bar[column] += amount
    return [(opened, *bar) for opened, bar in sorted(bars.items())]


def as_rows(bars: Bars) -> list[tuple[int, ...]]:
    columns = [
        bars.open_ms, bars.open, bars.high, bars.low, bars.close, bars.volume, bars.quote,
        bars.taker_volume, bars.taker_quote, bars.count,
    ]  # fmt: skip
    return [tuple(int(value) for value in row) for row in zip(*columns, strict=True)]


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["BTCUSDT", "SNXUSDT", "USDCUSDT"]),
    st.sampled_from(["1s", "1m", "3m", "5m", "15m"]),
    st.integers(-900_000, 900_000),
    st.integers(0, 3),
    st.integers(0, 2_000_000),
)
def test_bars_are_those_of_the_trades(symbol: str, interval: str, start: int, more: int, now: int) -> None:
    length = INTERVALS_MS[interval]
    first = (T0_MS + start) // length * length
    last = first + more * length
    now_ms = first + now
    bars = CANDLES.bars(symbol, interval, first, last, now_ms)
    assert as_rows(bars) == by_hand(symbol, interval, first, last, now_ms)


def test_a_bar_that_has_no_trade_yet_is_left_out() -> None:
    first = T0_MS // 60_000 * 60_000
    assert CANDLES.bars("BTCUSDT", "1m", first, first, first - 1).open_ms.size == 0


def test_nothing_lies_before_the_world_began() -> None:
    bars = CANDLES.bars("BTCUSDT", "1m", GENESIS_MS - 120_000, GENESIS_MS + 60_000, GENESIS_MS + 200_000)
    assert bars.open_ms.tolist() == [GENESIS_MS, GENESIS_MS + 60_000]


def test_rolling_day_is_the_sum_of_its_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DAY_CHUNKS", 3)
    candles = Candles(MARKET)
    now = GENESIS_MS + MARKET.chunk_of(T0_MS) * CHUNK_MS + 123_456
    start = now - 123_456 - 2 * CHUNK_MS
    trades = MARKET.trades_between(start - 1, now)
    day = candles.day(now)
    for coin in (0, 17, 41):
        ticks, lots = trades.ticks[trades.coin == coin], trades.lots[trades.coin == coin]
        expected = [ticks[0], ticks.max(), ticks.min(), ticks[-1], lots.sum(), (ticks * lots).sum()]
        assert day[:6, coin].tolist() == [int(value) for value in expected]
        assert day[8, coin] == ticks.size
    assert np.array_equal(candles.day(now), day)
