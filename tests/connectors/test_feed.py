"""Feeds: the journal first, then the core; live equals replay, whatever happens in between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.chains.ethereum import EthereumConfig, EthereumCore
from connectors.errors import JournalError
from connectors.exchanges.binance import BinanceConfig, BinanceCore, stream_url
from connectors.exchanges.klines import KlinesConfig, KlinesCore
from connectors.feed import CoreConfig, JournalFeed, LiveFeed, build_core, meta_of
from connectors.journal import JournalMeta, JournalReader, JournalWriter, find_journals
from connectors.records import Action, Record
from connectors.sandbox.service import SandboxConfig, spawn
from connectors.schema import Batch, Kind
from connectors.session import Arrival, Session, SessionConfig
from tests.connectors.driver import last_watermark, table_of, watermarks_of
from tests.connectors.exchanges.test_binance import connected, trade

CONFIG = BinanceConfig(feed="binance")
KINDS: tuple[Kind, ...] = ("trades", "bars", "blocks", "transfers", "gaps", "quarantine")


class Script:
    """A session that has received what it was given."""

    def __init__(self, arrivals: Sequence[Arrival] = ()) -> None:
        self.arrivals = list(arrivals)
        self.submitted: list[Action] = []
        self.running = False

    @property
    def queue_depth(self) -> int:
        return len(self.arrivals)

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def drain(self, limit: int) -> list[Arrival]:
        assert self.running
        out, self.arrivals = self.arrivals[:limit], self.arrivals[limit:]
        return out

    def submit(self, actions: Sequence[Action]) -> None:
        self.submitted += actions


def arrivals_of(records: Sequence[Record]) -> list[Arrival]:
    return [(r.t_us, r.kind, r.body, r.tag, r.status) for r in records]


def session_of_trades(count: int) -> list[Arrival]:
    driver = connected(CONFIG)
    for number in range(1, count + 1):
        driver.now_us += 100_000
        driver.msg(trade("BTC", number, driver.now_us - (number % 7) * 300_000))
        if number % 10 == 0:
            driver.give("tick")
    return arrivals_of(driver.records)


def drain(feed: LiveFeed, limit: int) -> list[Batch]:
    batches: list[Batch] = []
    while not feed.live or feed.session.queue_depth:
        batches += feed.poll(limit)
    return batches


def replayed(folder: Path, limit: int) -> tuple[list[Batch], JournalFeed]:
    feed = JournalFeed.open(folder)
    batches: list[Batch] = []
    while not feed.ended:
        batches += feed.poll(limit)
    return batches, feed


def assert_same(left: Sequence[Batch], right: Sequence[Batch]) -> None:
    for kind in KINDS:
        assert table_of(left, kind).to_pylist() == table_of(right, kind).to_pylist()
        assert watermarks_of(left, kind) == watermarks_of(right, kind)
    assert last_watermark(left) == last_watermark(right)


def test_record_is_in_the_journal_before_the_core_sees_it(tmp_path: Path) -> None:
    feed = LiveFeed.open(Script(session_of_trades(20)), tmp_path, meta_of(CONFIG))
    seen: list[int] = []
    consume = feed.core.feed

    def spy(records: Sequence[Record]) -> list[Batch]:
        assert JournalReader(tmp_path).end_n > records[-1].n
        seen.extend(record.n for record in records)
        return consume(records)

    feed.core.feed = spy  # type: ignore[method-assign]
    drain(feed, 6)
    assert seen == list(range(feed.position))
    assert feed.journal_bytes == (tmp_path / "0000000000000000.jsonl.open").stat().st_size
    feed.close()


def test_wishes_go_to_the_session_when_live_and_nowhere_in_a_replay(tmp_path: Path) -> None:
    script = Script(session_of_trades(5))
    feed = LiveFeed.open(script, tmp_path, meta_of(CONFIG))
    assert not script.running
    drain(feed, 3)
    feed.close()
    assert not script.running
    assert [type(action).__name__ for action in script.submitted] == ["Fetch", "Send"]
    again = Script()
    feed = LiveFeed.open(again, tmp_path, meta_of(CONFIG))
    drain(feed, 3)
    assert again.submitted == []
    assert feed.core.actions() == []
    feed.close()


@pytest.mark.parametrize("limit", [1, 7, 10_000])
def test_replay_equals_live(tmp_path: Path, limit: int) -> None:
    live = LiveFeed.open(Script(session_of_trades(100)), tmp_path, meta_of(CONFIG), segment_bytes=5000)
    batches = drain(live, 13)
    live.close()
    again, feed = replayed(tmp_path, limit)
    assert_same(batches, again)
    assert feed.core.stats == live.core.stats
    assert feed.core.snapshot() == live.core.snapshot()
    assert feed.position == live.position
    assert feed.poll(limit) == []


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(snapshot=st.integers(0, 60), crash=st.integers(0, 60), torn=st.integers(0, 30))
def test_restart_goes_on_exactly(
    tmp_path_factory: pytest.TempPathFactory, snapshot: int, crash: int, torn: int
) -> None:
    """State saved after some records, killed after some more; then the journal fills the distance."""
    folder = tmp_path_factory.mktemp("feed")
    arrivals = session_of_trades(50)
    crash = max(snapshot, min(crash, len(arrivals)))
    snapshot = min(snapshot, crash)
    feed = LiveFeed.open(Script(arrivals[:snapshot]), folder, meta_of(CONFIG))
    kept = drain(feed, 5)
    saved = (feed.position, feed.core_state())
    assert isinstance(feed.session, Script)
    feed.session.arrivals = list(arrivals[snapshot:crash])
    drain(feed, 4)  # emitted, and lost by the crash
    feed.close()
    with (folder / "0000000000000000.jsonl.open").open("ab") as file:
        file.write(b'{"n":999,"t":1700000000000000,"k"'[:torn])

    feed = LiveFeed.open(Script(arrivals[crash:]), folder, meta_of(CONFIG), saved)
    kept += drain(feed, 3)
    feed.close()
    again, replay = replayed(folder, 1000)
    assert [r.body for r in JournalReader(folder)] == [arrival[2] for arrival in arrivals]
    assert_same(kept, again)
    assert replay.core.stats == feed.core.stats


def test_state_beyond_the_journal_is_refused(tmp_path: Path) -> None:
    feed = LiveFeed.open(Script(session_of_trades(5)), tmp_path, meta_of(CONFIG))
    drain(feed, 100)
    saved = (feed.position, feed.core_state())
    feed.close()
    (tmp_path / "0000000000000000.jsonl.open").write_bytes(b"")
    with pytest.raises(JournalError, match="the state is at"):
        LiveFeed.open(Script(), tmp_path, meta_of(CONFIG), saved)
    JournalWriter(tmp_path, meta_of(CONFIG)).close()  # the refused one let go of it


def test_replay_goes_on_where_it_stopped(tmp_path: Path) -> None:
    live = LiveFeed.open(Script(session_of_trades(60)), tmp_path, meta_of(CONFIG))
    batches = drain(live, 100)
    live.close()
    feed = JournalFeed.open(tmp_path)
    first = feed.poll(20)
    feed = JournalFeed.open(tmp_path, (feed.position, feed.core_state()))
    rest: list[Batch] = []
    while not feed.ended:
        rest += feed.poll(9)
    assert_same(batches, [*first, *rest])


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (BinanceConfig(feed="b", symbols=("BTCUSDT",), history=((60_000_000, 5),)), BinanceCore),
        (EthereumConfig(feed="e", history_us=5), EthereumCore),
        (KlinesConfig(feed="k", symbols=("BTCUSDT",), interval_us=60_000_000), KlinesCore),
    ],
)
def test_journal_knows_its_core(tmp_path: Path, config: CoreConfig, kind: type) -> None:
    JournalWriter(tmp_path, meta_of(config)).close()
    core = build_core(JournalReader(tmp_path).meta)
    assert type(core) is kind
    assert core.config == config  # type: ignore[attr-defined]
    assert type(build_core(meta_of(config), core.snapshot())) is kind


def test_journal_with_settings_of_another_kind_is_an_error() -> None:
    meta = JournalMeta(feed="x", kind="klines", config={"feed": "x", "symbols": ["A"], "depth": 3})
    with pytest.raises(JournalError, match="not one of a klines feed"):
        build_core(meta)


def until(feeds: dict[str, LiveFeed], batches: dict[str, list[Batch]], done: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(4000):
        for name, feed in feeds.items():
            batches[name] += feed.poll(500)
        if done():
            return
        pause.wait(0.005)
    raise AssertionError({name: feed.core.stats for name, feed in feeds.items()})


def test_sandbox_end_to_end(tmp_path: Path) -> None:
    """Real sockets: first start, a restart with a gap, and a replay of all of it."""
    sandbox = spawn(SandboxConfig(coins=12, block_seconds=1))
    urls = sandbox.urls
    configs: dict[str, CoreConfig] = {
        "binance": BinanceConfig(feed="binance", history=((1_000_000, 30), (60_000_000, 3))),
        "ethereum": EthereumConfig(feed="ethereum", history_us=30_000_000),
        "prices": KlinesConfig(feed="prices", symbols=("BTCUSDT", "ETHUSDT"), interval_us=1_000_000, lookback=20),
    }
    sessions = {
        "binance": {"websocket_url": stream_url(urls.exchange_ws_url), "http_url": urls.exchange_rest_url},
        "ethereum": {"websocket_url": urls.node_ws_url},
        "prices": {"http_url": urls.exchange_rest_url},
    }

    def open_all(saved: dict[str, tuple[int, bytes]]) -> dict[str, LiveFeed]:
        return {
            name: LiveFeed.open(
                Session(SessionConfig(name=name, **sessions[name])),  # type: ignore[arg-type]
                tmp_path / name,
                meta_of(config),
                saved.get(name),
            )
            for name, config in configs.items()
        }

    batches: dict[str, list[Batch]] = {name: [] for name in configs}
    try:
        feeds = open_all({})
        until(
            feeds,
            batches,
            lambda: (
                all(feed.core.stats.up for feed in feeds.values())
                and sum(b.rows.num_rows for b in batches["binance"] if b.kind == "trades") > 50
                and sum(b.rows.num_rows for b in batches["ethereum"] if b.kind == "blocks") > 20
            ),
        )
        saved = {name: (feed.position, feed.core_state()) for name, feed in feeds.items()}
        for feed in feeds.values():
            feed.close()
        threading.Event().wait(1.0)  # trades that nobody hears
        feeds = open_all(saved)
        exchange = feeds["binance"].core.stats
        until(feeds, batches, lambda: exchange.gap_events_filled > 5 and feeds["ethereum"].core.stats.up)
        for feed in feeds.values():
            feed.close()
    finally:
        sandbox.stop()
    assert len(find_journals(tmp_path)) == 3
    for name, feed in feeds.items():
        again, replay = replayed(tmp_path / name, 333)
        assert_same(batches[name], again)
        assert replay.core.stats == feed.core.stats
        assert feed.core.stats.parse_errors == 0
    ids: dict[str, list[int]] = {}
    for row in table_of(batches["binance"], "trades").to_pylist():
        ids.setdefault(row["symbol"], []).append(row["trade_id"])
    spans = sum(max(numbers) - min(numbers) + 1 for numbers in ids.values())
    received = sum(len(set(numbers)) for numbers in ids.values())
    assert received == sum(len(numbers) for numbers in ids.values())
    assert spans - received == exchange.gap_events_missing - exchange.gap_events_filled
    assert {row["symbol"] for row in table_of(batches["prices"], "bars").to_pylist()} == {"BTC-USDT", "ETH-USDT"}
