"""``shoal run``: feeds, dataflow, board and HTTP server in one process, with a state folder that outlives it."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec
from prometheus_client import CollectorRegistry

from connectors.errors import ConfigError, StateError
from connectors.sandbox.service import SandboxConfig, Urls, spawn
from connectors.schema import time_us
from connectors.tables import TABLES, tables_of
from dashboards.board import Board
from dashboards.server import Server
from flows.config import Config, Exchange, Feeds, Node, digest, load
from flows.engine import Ended, execute, handling
from flows.feeds import Feed, feeds_of, inputs_of
from flows.items import Gauge
from flows.monitor import Running, build, window_name
from flows.pool import Pool
from flows.results import QUARANTINED, TIMINGS, FolderLock, Rows
from flows.sinks import TableSink, publish_frames
from flows.sources import Reader, Stopping

_log = logging.getLogger("shoal")
_STATE_VERSION = 2


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How the service runs."""

    branch: str = "all"
    host: str = "127.0.0.1"
    port: int = 8787
    state: Path = Path("shoal-state")
    fresh: bool = False
    jobs: int = 1


def run(config_path: Path | None, options: RunOptions, announce: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM; a later call goes on where this one stopped.

    Raises
    ------
    ShoalError
        With one line for the person who called it.
    """
    config = load(config_path) if config_path is not None else _sandbox_config()
    settings = digest(config)
    sandboxed = not config.feeds.exchanges and not config.feeds.nodes
    if not sandboxed and not feeds_of(config, options.branch):
        raise ConfigError(
            str(config_path),
            "feeds",
            f"holds nothing that the branch {options.branch!r} listens to",
            "the market wants [[feeds.exchanges]], the chain [[feeds.nodes]]",
        )
    with ExitStack() as stack:
        lock = FolderLock(options.state)
        stack.callback(lock.release)
        _settle_state(options, settings, sandboxed=sandboxed)
        board = _board_of(options.state)
        server = Server(board, CollectorRegistry(), options.host, options.port)
        host, port = server.start()
        stack.callback(server.stop)
        announce(f"listening on http://{host}:{port}")
        if sandboxed:
            config = _with_sandbox(config, options.state, stack, announce)
        _run_flow(config, options, board, stack, settings)
    announce(f"stopped; the next run with --state {options.state} goes on from here")


def _run_flow(config: Config, options: RunOptions, board: Board, stack: ExitStack, settings: str) -> None:
    feeds = feeds_of(config, options.branch)
    has = {feed.branch for feed in feeds}
    results, frames = options.state / "results", options.state / "frames"
    _expect(board, config, feeds, settings)
    stack.callback(publish_frames, frames, results)
    pool = Pool(options.jobs)
    stack.callback(pool.close)
    stopping = Stopping()
    branches: tuple[Literal["market", "chain"], ...] = ("market", "chain")
    tables = {table.name for branch in branches if branch in has for table in tables_of(branch)}
    readers: list[Reader] = []
    stack.callback(_close_all, readers)
    flow = build(
        config,
        inputs_of(feeds, options.state, board, config.service.journal_segment_mib << 20, readers),
        Running(
            pool=pool,
            live=True,
            sink=TableSink([*sorted(tables), TIMINGS.name, QUARANTINED.name], frames, results),
            pending_fits=8,
            stopping=stopping,
            on_rows=_publisher(board),
        ),
    )
    with _signals(stopping), contextlib.suppress(Ended):
        execute(flow, options.state / "recovery", config.service.epoch_seconds)


def _expect(board: Board, config: Config, feeds: list[Feed], settings: str) -> None:
    """Tell the board what runs and what has to come before the service counts as ready."""
    has = {feed.branch for feed in feeds}
    windows = [(window.name, window.views) for window in config.windows]
    chains = [(chain, window_name(config.behaviour)) for chain in config.behaviour.chains]
    board.build(version("shoal"), version("bytewax"), settings[:12])
    board.expect(
        windows=windows if "market" in has else [],
        chains=chains if "chain" in has else [],
        feeds=[feed.name for feed in feeds],
        expose_coins={window.name for window in config.windows if window.expose_coins},
    )
    budget = config.membership.false_departures_per_coin_90d
    for name, views in windows if "market" in has else []:
        for view in views:
            board.gauge("shoal_false_departure_budget_per_90d", {"window": name, "view": view}, budget)


def _board_of(state: Path) -> Board:
    """Return a board that shows what earlier runs with this state have found."""
    board = Board()
    publish_frames(state / "frames", state / "results")
    if (state / "results").exists():
        for problem in board.prime(state / "results"):
            _log.warning("earlier results are not shown: %s", problem)
    return board


def _close_all(readers: list[Reader]) -> None:
    for reader in readers:
        reader.close()


def _publisher(board: Board) -> Callable[[object], None]:
    """Return what hands result rows to the board."""

    def publish(item: object) -> None:
        if isinstance(item, Gauge):
            board.gauge(item.name, dict(item.labels), item.value)
        if not isinstance(item, Rows):
            return
        if item.table == TIMINGS.name:
            at_us = time_us(item.rows.column("as_of")).tolist()
            jobs, seconds = item.rows.column("job").to_pylist(), item.rows.column("seconds").to_pylist()
            for job, took, as_of_us in zip(jobs, seconds, at_us, strict=True):
                board.job(job, took, as_of_us)
        elif item.table in TABLES:
            board.publish(item.table, item.rows)
            if "as_of" in item.rows.schema.names and item.rows.num_rows and item.table in ("fits", "networks"):
                branch = "market" if item.table == "fits" else "chain"
                board.watermark(branch, int(time_us(item.rows.column("as_of")).max()))

    return publish


def _sandbox_config() -> Config:
    with contextlib.ExitStack() as stack:
        from importlib.resources import as_file  # noqa: PLC0415

        return load(stack.enter_context(as_file(files("flows") / "sandbox.toml")))


def _with_sandbox(config: Config, state: Path, stack: ExitStack, announce: Callable[[str], None]) -> Config:
    """Start the sandbox in a process of its own and return the configuration that listens to it."""
    process = spawn(SandboxConfig(seed=config.seed, truth=state / "truth.json"))
    stack.callback(process.stop)
    urls: Urls = process.urls
    announce(f"sandbox: exchange {urls.exchange_ws_url}, node {urls.node_ws_url}, truth in {state / 'truth.json'}")
    exchange = Exchange(websocket_url=urls.exchange_ws_url, rest_url=urls.exchange_rest_url)
    node = Node(websocket_url=urls.node_ws_url, head_silence_seconds=10.0)
    return msgspec.structs.replace(config, feeds=Feeds(exchanges=(exchange,), nodes=(node,)))


def _settle_state(options: RunOptions, settings: str, *, sandboxed: bool) -> None:
    """Check that the state folder belongs to this configuration and version, or set the old state aside."""
    note = options.state / "state.json"
    wanted = {
        "version": _STATE_VERSION,
        "configuration": settings,
        "branch": options.branch,
        "market": "sandbox" if sandboxed else "configured",
    }
    if note.exists():
        if options.fresh:
            _set_aside(options.state)
        elif _read_json(note) == wanted:
            return
        else:
            raise StateError(
                str(options.state),
                "was made with another configuration, branch or version",
                "choose another --state, or begin anew with --fresh (the old state is kept beside)",
            )
    note.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _set_aside(state: Path) -> None:
    number = next(n for n in range(1, 10_000) if not (state / f"old-{n}").exists())
    old = state / f"old-{number}"
    old.mkdir()
    for entry in sorted(state.iterdir()):
        if entry.name != "lock" and not entry.name.startswith("old-"):
            shutil.move(str(entry), str(old / entry.name))


def _signals(stopping: Stopping) -> AbstractContextManager[None]:
    """SIGINT and SIGTERM ask for a clean stop, a second one ends at once; SIGUSR1 is how the sources say: done."""

    def ask() -> bool:
        if stopping.requested:
            return True
        _log.info("stopping: waiting for the snapshot (again to stop at once)")
        stopping.request()
        return False

    return handling({signal.SIGINT: ask, signal.SIGTERM: ask, signal.SIGUSR1: lambda: True})
