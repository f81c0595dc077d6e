"""The live feeds of a configuration: what each listens to, and the journal that it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from connectors.chains.ethereum import EthereumConfig
from connectors.clock import Stopwatch
from connectors.exchanges.binance import BinanceConfig
from connectors.exchanges.klines import KlinesConfig
from connectors.feed import CoreConfig, LiveFeed, meta_of
from connectors.session import Session, SessionConfig
from dashboards.board import Board
from flows.config import HOUR_US, Chain, Config, Exchange, Node, interval_us
from flows.monitor import Inputs
from flows.readers import LiveInput
from flows.sources import Opener, Position, Reader

_STATS_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Feed:
    """One live feed."""

    name: str
    branch: str
    session: SessionConfig
    core: CoreConfig


def feeds_of(config: Config, branch: str) -> list[Feed]:
    """Return the feeds that a branch (``market``, ``chain`` or ``all``) listens to."""
    feeds: list[Feed] = []
    if branch in ("market", "all"):
        feeds += [_exchange(config, exchange) for exchange in config.feeds.exchanges]
    if branch in ("chain", "all"):
        feeds += [_node(config, node) for node in config.feeds.nodes]
        if config.feeds.nodes and config.feeds.exchanges:
            feeds += _prices(config, config.feeds.exchanges[0])
    return feeds


def inputs_of(feeds: list[Feed], state: Path, board: Board, segment_bytes: int, opened: list[Reader]) -> Inputs:
    """Return the openers of live feeds by branch; each keeps its journal under ``state/journal``.

    What they open is added to ``opened``, for whoever stops the service: bytewax closes nothing when it is ended.
    """
    inputs: dict[str, dict[str, Opener]] = {"market": {}, "chain": {}, "prices": {}}
    for feed in feeds:
        inputs[feed.branch][feed.name] = _opener(feed, state / "journal" / feed.name, board, segment_bytes, opened)
    chains: dict[Chain, dict[str, Opener]] = {"ethereum": inputs["chain"]} if inputs["chain"] else {}
    return Inputs(market=inputs["market"], chains=chains, prices=inputs["prices"])


def _exchange(config: Config, exchange: Exchange) -> Feed:
    longest = {window.interval_us: 0 for window in config.windows}
    for window in config.windows:
        longest[window.interval_us] = max(longest[window.interval_us], window.length_bars + 1)
    history = tuple((span, bars + exchange.history_bars) for span, bars in sorted(longest.items()))
    core = BinanceConfig(
        feed=exchange.venue,
        symbols=exchange.symbols,
        quote=exchange.quote,
        allowed_lateness_us=exchange.allowed_lateness_ms * 1000,
        history=history,
    )
    session = SessionConfig(
        name=exchange.venue, websocket_url=f"{exchange.websocket_url}/stream", http_url=exchange.rest_url
    )
    return Feed(exchange.venue, "market", session, core)


def _node(config: Config, node: Node) -> Feed:
    core = EthereumConfig(
        feed=node.chain,
        chain=node.chain,
        history_us=min(2 * config.behaviour.window_us, round(node.history_hours * HOUR_US)),
        confirmations_final=node.confirmations_final,
        head_silence_us=round(node.head_silence_seconds * 1e6),
    )
    return Feed(node.chain, "chain", SessionConfig(name=node.chain, websocket_url=node.websocket_url), core)


def _prices(config: Config, exchange: Exchange) -> list[Feed]:
    """Return the chain branch's own partition of prices: it may run without the market branch."""
    regime = config.behaviour.regime
    every = interval_us(regime.close_every)
    names = {name for chain in config.behaviour.chains for name in regime.assets.get(chain, ())}
    symbols = tuple(sorted(name for name in names if name.endswith(exchange.quote) and "-" not in name))
    if not symbols:
        return []
    lookback = round((regime.lookback_days * 86_400e6 + 2 * config.behaviour.window_us) / every) + 2
    core = KlinesConfig(feed="prices", symbols=symbols, interval_us=every, lookback=lookback)
    return [Feed("prices", "prices", SessionConfig(name="prices", http_url=exchange.rest_url), core)]


def _opener(feed: Feed, journal: Path, board: Board, segment_bytes: int, opened: list[Reader]) -> Opener:
    def open_feed(position: Position | None) -> Reader:
        live = LiveFeed.open(Session(feed.session), journal, meta_of(feed.core), position, segment_bytes)
        opened.append(LiveInput(live, _reporter(feed, board)))
        return opened[-1]

    return open_feed


def _reporter(feed: Feed, board: Board) -> Callable[[LiveFeed], None]:
    """Return what tells the board of a feed's totals, at most twice a second."""
    last = -_STATS_EVERY_S
    watch = Stopwatch()

    def report(live: LiveFeed) -> None:
        nonlocal last
        if watch.seconds - last < _STATS_EVERY_S:
            return
        last = watch.seconds
        stats = asdict(live.core.stats)
        stats |= {"queue_depth": live.session.queue_depth, "journal_bytes": live.journal_bytes}
        if feed.branch == "chain":
            stats["chain"] = feed.name
        board.feed(feed.name, stats)

    return report
