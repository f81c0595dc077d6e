"""Which feeds a configuration means, and what each of them fetches at its first start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors.chains.ethereum import EthereumConfig
from connectors.exchanges.binance import BinanceConfig
from connectors.exchanges.klines import KlinesConfig
from connectors.feed import LiveFeed
from connectors.journal import read_meta
from dashboards.board import Board
from flows.config import Behaviour, Config, Exchange, Feeds, Node, Regime, Window
from flows.feeds import feeds_of, inputs_of
from flows.readers import LiveInput
from flows.sources import Reader

BOTH = Feeds(exchanges=(Exchange(history_bars=10),), nodes=(Node(head_silence_seconds=7.5, confirmations_final=3),))


@pytest.mark.parametrize(
    ("branch", "feeds", "names"),
    [
        ("all", BOTH, ["binance", "ethereum", "prices"]),
        ("market", BOTH, ["binance"]),
        ("chain", BOTH, ["ethereum", "prices"]),
        ("chain", Feeds(nodes=(Node(),)), ["ethereum"]),
        ("chain", Feeds(exchanges=(Exchange(),)), []),
        ("all", Feeds(exchanges=(Exchange(),)), ["binance"]),
        ("market", Feeds(nodes=(Node(),)), []),
    ],
)
def test_feeds_of_a_branch(branch: str, feeds: Feeds, names: list[str]) -> None:
    """The chain branch has prices of its own, since it may run alone; without an exchange there are none."""
    found = feeds_of(Config(feeds=feeds), branch)
    assert [feed.name for feed in found] == names
    expected = {"binance": "market", "ethereum": "chain", "prices": "prices"}
    assert {feed.name: feed.branch for feed in found} == {name: expected[name] for name in names}


def test_an_exchange_fetches_the_longest_window_of_each_interval() -> None:
    windows = (
        Window(name="a", bar_interval="1m", length_bars=60),
        Window(name="b", bar_interval="1m", length_bars=1440),
        Window(name="c", bar_interval="1d", length_bars=30),
    )
    (feed,) = feeds_of(Config(windows=windows, feeds=BOTH), "market")
    assert isinstance(feed.core, BinanceConfig)
    assert feed.core.history == ((60_000_000, 1451), (86_400_000_000, 41))
    assert feed.core.allowed_lateness_us == 500_000
    assert feed.session.websocket_url == "wss://data-stream.binance.vision/stream"


@pytest.mark.parametrize(("window_days", "hours"), [(0.25, 12), (2, 24)])
def test_a_node_is_asked_for_two_windows_of_blocks_but_a_day_at_most(window_days: float, hours: int) -> None:
    feed = feeds_of(Config(behaviour=Behaviour(window_days=window_days), feeds=BOTH), "chain")[0]
    assert isinstance(feed.core, EthereumConfig)
    assert feed.core.history_us == hours * 3_600_000_000
    assert (feed.core.head_silence_us, feed.core.confirmations_final) == (7_500_000, 3)


def test_prices_are_of_the_chains_assets_in_the_exchanges_quote() -> None:
    regime = Regime(lookback_days=1, close_every="1h")
    behaviour = Behaviour(chains=("ethereum", "bitcoin"), window_days=2, regime=regime)
    prices = feeds_of(Config(behaviour=behaviour, feeds=BOTH), "chain")[-1]
    assert isinstance(prices.core, KlinesConfig)
    assert prices.core.symbols == ("BTCUSDT", "ETHUSDT")
    assert prices.core.interval_us == 3_600_000_000
    assert prices.core.lookback == 24 + 2 * 48 + 2
    assert prices.session.websocket_url is None
    other = Feeds(exchanges=(Exchange(quote="EUR"),), nodes=(Node(),))
    assert [feed.name for feed in feeds_of(Config(feeds=other), "chain")] == ["ethereum"], "no asset is quoted in it"


def test_each_feed_keeps_a_journal_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board, opened, told = Board(), [], []  # type: ignore[var-annotated]
    monkeypatch.setattr(Board, "feed", lambda _, name, stats: told.append((name, stats)))
    feeds = feeds_of(Config(feeds=BOTH), "all")
    inputs = inputs_of(feeds, tmp_path, board, 1 << 20, opened)
    assert (sorted(inputs.market), sorted(inputs.chains["ethereum"]), sorted(inputs.prices)) == (
        ["binance"],
        ["ethereum"],
        ["prices"],
    )
    assert opened == [], "nothing is opened before the dataflow asks for it"
    openers: dict[str, Any] = {**inputs.market, **inputs.chains["ethereum"], **inputs.prices}
    for name, opener in openers.items():
        reader: Reader = opener(None)
        assert isinstance(reader, LiveInput)
        assert reader.live
        assert opened[-1] is reader
        meta = read_meta(tmp_path / "journal" / name)
        assert meta.feed == name
        assert reader.position()[0] == 0
        reader.close()
    assert len(opened) == 3


def test_the_board_hears_of_a_feed_at_every_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(Board, "feed", lambda _, name, stats: told.append((name, stats)))
    monkeypatch.setattr(LiveFeed, "poll", lambda *_: [])
    opened: list[Reader] = []
    inputs = inputs_of(feeds_of(Config(feeds=BOTH), "chain"), tmp_path, Board(), 1 << 20, opened)
    reader = inputs.chains["ethereum"]["ethereum"](None)
    for _ in range(5):
        reader.poll()
    reader.close()
    assert [name for name, _ in told] == ["ethereum"], "not at every poll"
    assert told[0][1]["chain"] == "ethereum"
    assert {"queue_depth", "journal_bytes", "parse_errors", "up"} <= set(told[0][1])


def test_a_chain_alone_has_no_market() -> None:
    config = msgspec.structs.replace(Config(), feeds=Feeds(nodes=(Node(),)))
    inputs = inputs_of(feeds_of(config, "all"), Path("unused"), Board(), 1, [])
    assert inputs.market == {}
    assert inputs.prices == {}
