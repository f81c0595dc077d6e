import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sandbox.market import CHUNK_MS, GENESIS_MS, Market, list_coins
from tests.connectors.sandbox.places import SEED, T0_MS

MARKET = Market(SEED)
STILL = Market(SEED, move_every_us=10**15)
NUMBER = MARKET.chunk_of(T0_MS)


def closes(market: Market, number: int, every_s: int = 1) -> np.ndarray:
    """Log of the last price in each interval of a chunk, shape (intervals, coins)."""
    chunk = market.chunk(number)
    columns = [chunk.trades.ticks[market.bounds[c] : market.bounds[c + 1]] for c in range(len(market.coins))]
    logs: np.ndarray = np.log([ticks.reshape(600 // every_s, -1)[:, -1] for ticks in columns])
    return logs.T


def residuals(market: Market, number: int) -> np.ndarray:
    returns = np.diff(closes(market, number), axis=0)[:, : market.groups.coins]
    return returns - returns.mean(axis=1, keepdims=True)


def test_a_chunk_does_not_depend_on_what_was_computed_before() -> None:
    fresh = Market(SEED)
    fresh.chunk(NUMBER + 3)
    again = fresh.chunk(NUMBER)
    for name in ("coin", "trade_id", "time_ms", "ticks", "lots", "buyer_is_maker"):
        assert np.array_equal(getattr(again.trades, name), getattr(MARKET.chunk(NUMBER).trades, name))


def test_another_seed_is_another_market() -> None:
    other = Market(SEED + 1).chunk(NUMBER).trades
    assert not np.array_equal(other.ticks, MARKET.chunk(NUMBER).trades.ticks)


def test_ids_are_contiguous_and_times_ascend_over_chunks() -> None:
    for coin, symbol in enumerate(["BTCUSDT", "SNXUSDT", "DAIUSDT"]):
        number = MARKET.index[symbol]
        parts = [MARKET.chunk(NUMBER + k).trades for k in range(2)]
        rows = slice(int(MARKET.bounds[number]), int(MARKET.bounds[number + 1]))
        ids = np.concatenate([part.trade_id[rows] for part in parts])
        times = np.concatenate([part.time_ms[rows] for part in parts])
        assert (np.diff(ids) == 1).all(), coin
        assert (np.diff(times) >= 0).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-3000, 3000), min_size=2, max_size=6))
def test_windows_that_adjoin_give_each_trade_once(offsets: list[int]) -> None:
    border = GENESIS_MS + (NUMBER + 1) * CHUNK_MS
    cuts = sorted(border + offset for offset in offsets)
    parts = [MARKET.trades_between(a, b) for a, b in itertools.pairwise(cuts)]
    whole = MARKET.trades_between(cuts[0], cuts[-1])
    for name in ("coin", "trade_id", "time_ms", "ticks", "lots", "buyer_is_maker"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    assert (np.diff(whole.time_ms) >= 0).all()
    assert ((whole.time_ms > cuts[0]) & (whole.time_ms <= cuts[-1])).all()


def test_the_whole_market_has_about_a_hundred_trades_a_second() -> None:
    trades = MARKET.trades_between(T0_MS, T0_MS + 10_000)
    assert 900 < trades.trade_id.size < 1300
    per_coin = np.bincount(trades.coin, minlength=42)
    assert per_coin.min() >= 19


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["BTCUSDT", "SNXUSDT"]), st.integers(-400, 400), st.integers(1, 900))
def test_trades_by_id_are_those_by_time(symbol: str, offset: int, count: int) -> None:
    coin = MARKET.index[symbol]
    border = GENESIS_MS + (NUMBER + 1) * CHUNK_MS
    until = border + 150_000
    first = (NUMBER + 1) * int(MARKET.per_chunk[coin]) + offset
    trades = MARKET.trades_of(symbol, first, count, until)
    everything = MARKET.trades_between(border - 400_000, until)
    own = everything.coin == coin
    wanted = own & (everything.trade_id >= first) & (everything.trade_id < first + count)
    assert trades.trade_id.tolist() == everything.trade_id[wanted].tolist()
    assert trades.ticks.tolist() == everything.ticks[wanted].tolist()
    assert MARKET.last_id(symbol, until) == int(everything.trade_id[own][-1])


def test_nothing_was_traded_before_the_world_began() -> None:
    assert MARKET.last_id("BTCUSDT", GENESIS_MS - 1) == -1
    assert MARKET.trades_of("BTCUSDT", -5, 5, GENESIS_MS + 1000).trade_id.tolist() == [0, 1, 2, 3]
    assert MARKET.trades_between(GENESIS_MS - 10_000, GENESIS_MS - 1).trade_id.size == 0


def test_prices_go_on_smoothly_from_chunk_to_chunk() -> None:
    paths = np.concatenate([closes(MARKET, NUMBER + k) for k in range(3)])
    steps = np.abs(np.diff(paths, axis=0))
    for border in (599, 1199):
        assert (steps[border] < 12 * steps.std(axis=0) + 1e-4).all()


def test_prices_stay_near_their_level_over_years() -> None:
    start = np.log([coin.price * 10**coin.tick_decimals for coin in MARKET.coins])
    for years in (0, 1, 3, 10):
        level = closes(MARKET, 300 + years * 52_560)[0]
        assert np.abs(level - start).max() < 1.5


def test_stablecoins_hardly_move_and_the_others_have_heavy_tails() -> None:
    returns = np.diff(np.concatenate([closes(STILL, NUMBER + k) for k in range(4)]), axis=0)
    assert returns[:, 40:].std() < 0.2 * returns[:, :40].std()
    assert np.abs(closes(STILL, NUMBER)[:, 40:] - np.log(1e5)).max() < 0.003
    standard = (returns[:, :40] - returns[:, :40].mean(axis=0)) / returns[:, :40].std(axis=0)
    assert (standard**4).mean() > 3.5


def test_groups_can_be_told_apart_once_the_market_mode_is_removed() -> None:
    correlation = np.corrcoef(residuals(STILL, NUMBER).T)
    now_us = (GENESIS_MS + NUMBER * CHUNK_MS) * 1000
    group = STILL.groups.matrix(np.array([now_us], dtype=np.int64))[0]
    same = group[:, None] == group[None, :]
    within = correlation[same & ~np.eye(40, dtype=bool)]
    assert 0.5 < within.mean() < 0.65
    assert within.min() > correlation[~same].max() + 0.1
    raw = np.corrcoef(np.diff(closes(STILL, NUMBER)[:, :40], axis=0).T)[~same].mean()
    assert 0.1 < raw < 0.5  # the market mode: there, but not all


def test_a_planted_move_shows_in_the_correlations() -> None:
    market = Market(SEED, move_every_us=300_000_000)
    start = (GENESIS_MS + NUMBER * CHUNK_MS) * 1000
    seen = 0
    for move in market.groups.moves(start + 150_000_000, start + 3 * CHUNK_MS * 1000 - 150_000_000):
        returns = np.concatenate([residuals(market, NUMBER + k) for k in range(3)])
        at = (move.at_us - start) // 1_000_000 - (move.at_us - start) // (CHUNK_MS * 1000)  # a return less per chunk
        groups = np.array([market.groups.group_of(coin, move.at_us) for coin in range(40)])
        groups[move.coin] = -1

        def likeness(part: np.ndarray, group: int, coin: int = move.coin, groups: np.ndarray = groups) -> float:
            return float(np.corrcoef(part[:, coin], part[:, groups == group].mean(axis=1))[0, 1])

        before, after = returns[at - 140 : at], returns[at + 1 : at + 141]
        assert likeness(before, move.from_group) > 0.4
        assert likeness(before, move.to_group) < 0.25
        assert likeness(after, move.to_group) > 0.4
        assert likeness(after, move.from_group) < 0.25
        seen += 1
    assert seen >= 3


def test_trend_is_stronger_than_the_noise_of_five_minutes() -> None:
    """With a look-back of five minutes, +-1% names the regimes once they have lasted that long."""
    right = total = 0
    for k in range(48):
        number = NUMBER + k
        price = closes(MARKET, number)[:, :2]
        end_us = (GENESIS_MS + (number + 1) * CHUNK_MS - 1) * 1000
        begin_us = end_us - 300_000_000
        spans = MARKET.regimes.spans(begin_us, end_us)
        if len(spans) > 1:
            continue
        change = price[-1] - price[299]
        named = np.where(change > 0.01, "rising", np.where(change < -0.01, "falling", "stable"))
        right += int((named == spans[0].regime).sum())
        total += 2
    assert total >= 20
    assert right / total > 0.9


def test_more_coins_than_names_can_be_had() -> None:
    coins = list_coins(120)
    assert len({coin.symbol for coin in coins}) == 122
    assert [coin.base for coin in coins if coin.stable] == ["USDC", "DAI"]
    assert coins[0].symbol == "BTCUSDT"


def test_steps_that_do_not_fit_a_second_are_refused() -> None:
    with pytest.raises(ValueError, match="two steps must divide a second"):
        Market(SEED, step_ms=300)
