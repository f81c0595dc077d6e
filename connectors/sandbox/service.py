"""Both servers of a sandbox: in this process, or in a child that ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

import msgspec
from aiohttp import web

from connectors.errors import ConfigError, ServiceError
from connectors.sandbox.clock import Clock
from connectors.sandbox.exchange import Exchange
from connectors.sandbox.faults import Faults
from connectors.sandbox.node import Node
from connectors.sandbox.truth import write_truth
from connectors.sandbox.world import EARLIEST_START_US, SandboxConfig, World

__all__ = ["Running", "SandboxConfig", "SandboxProcess", "Urls", "run_process", "spawn", "start"]

_START_WITHIN_S: Final = 30.0
_STOP_WITHIN_S: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1


class Urls(msgspec.Struct, frozen=True):
    """Where a sandbox listens."""

    exchange_ws_url: str
    exchange_rest_url: str
    node_ws_url: str
    node_http_url: str


@dataclass(slots=True)
class Running:
    """A sandbox that runs in this event loop. The faults may be changed while it does."""

    config: SandboxConfig
    world: World
    clock: Clock
    urls: Urls
    exchange_faults: Faults
    node_faults: Faults
    runners: list[web.AppRunner]

    @property
    def exchange_ws_url(self) -> str:
        """``ws://`` address of the exchange; ``/ws`` and ``/stream`` follow it."""
        return self.urls.exchange_ws_url

    @property
    def exchange_rest_url(self) -> str:
        """``http://`` address of the exchange; ``/api/v3/...`` follows it."""
        return self.urls.exchange_rest_url

    @property
    def node_ws_url(self) -> str:
        """``ws://`` address of the node."""
        return self.urls.node_ws_url

    @property
    def node_http_url(self) -> str:
        """``http://`` address of the node."""
        return self.urls.node_http_url

    async def stop(self) -> None:
        """Close all connections and both ports."""
        for runner in self.runners:
            await runner.cleanup()


async def start(config: SandboxConfig) -> Running:
    """Start a sandbox in the running event loop.

    Raises
    ------
    ConfigError
        If the settings do not fit each other.
    ServiceError
        If a port is in use or the truth file cannot be written.
    """
    try:
        world = World(config)
        clock = Clock(config.speed, config.start_us)
    except ValueError as error:
        raise ConfigError("sandbox", "", str(error)) from None
    if clock.start_us < EARLIEST_START_US:
        raise ConfigError("sandbox", "start_us", "lies before 2024-01-03", "the sandbox's world begins on 2024-01-01")
    _write_truth(config, world, clock.start_us)
    exchange = Exchange(world.market, clock, config.exchange_faults, round(config.history_hours * 3_600_000))
    node = Node(world.ledger, clock, config.node_faults)
    runners: list[web.AppRunner] = []
    try:
        exchange_port = await _listen(exchange.application, "exchange", config.host, config.exchange_port, runners)
        node_port = await _listen(node.application, "node", config.host, config.node_port, runners)
    except BaseException:
        for runner in runners:
            await runner.cleanup()
        raise
    host = f"[{config.host}]" if ":" in config.host else config.host
    urls = Urls(
        f"ws://{host}:{exchange_port}", f"http://{host}:{exchange_port}",
        f"ws://{host}:{node_port}", f"http://{host}:{node_port}",
    )  # fmt: skip
    return Running(config, world, clock, urls, config.exchange_faults, config.node_faults, runners)


def _write_truth(config: SandboxConfig, world: World, start_us: int) -> None:
    if config.truth is None:
        return
    span_us = round(config.truth_hours * 3.6e9)
    try:
        write_truth(config.truth, world, start_us - span_us, start_us + span_us)
    except OSError as error:
        raise ServiceError("sandbox", f"cannot write {config.truth}: {error.strerror}") from None


async def _listen(app: web.Application, what: str, host: str, port: int, runners: list[web.AppRunner]) -> int:
    """Serve an application; return its port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    runners.append(runner)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        reason = error.strerror or str(error)
        key = f"{what}_port"
        raise ServiceError("sandbox", f"{host}:{port} cannot be opened: {reason}", f"set another {key}") from None
    bound: int = runner.addresses[0][1]
    return bound


# ------------------------------------------------------------- as a child process


class SandboxProcess:
    """A sandbox in a child process."""

    def __init__(self, process: Any, pipe: Connection, urls: Urls) -> None:
        self._process, self._pipe = process, pipe
        self.urls = urls

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return int(self._process.pid)

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return bool(self._process.is_alive())

    def stop(self) -> None:
        """End the child: asked first, killed after five seconds."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.join(_STOP_WITHIN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def spawn(config: SandboxConfig) -> SandboxProcess:
    """Start a sandbox in a child process that ends with this one; call it from a thread that stays.

    Raises
    ------
    ConfigError, ServiceError
        As :func:`start` does.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=run_process, args=(config, there), daemon=True)
    process.start()
    there.close()
    kind, text = "died", "the process ended before it was ready"
    try:
        if here.poll(_START_WITHIN_S):
            kind, text = here.recv()
        else:
            kind, text = "late", f"was not ready within {_START_WITHIN_S:.0f} s"
    except EOFError:
        pass
    if kind == "ready":
        return SandboxProcess(process, here, msgspec.json.decode(text, type=Urls))
    here.close()
    process.kill()
    process.join()
    if kind == "ConfigError":
        raise ConfigError("sandbox", "", text)
    raise ServiceError("sandbox", text)


def run_process(config: SandboxConfig, pipe: Connection) -> None:
    """Run a sandbox until the pipe closes: what the child process does."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the whole group; the parent decides
        signal.signal(number, signal.SIG_IGN)
    _die_with_parent()
    asyncio.run(_run(config, pipe))


async def _run(config: SandboxConfig, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    try:
        running = await start(config)
    except (ConfigError, ServiceError) as error:
        pipe.send((type(error).__name__, str(error).removeprefix("sandbox: ")))
        return
    # a plain thread: it blocks in the pipe's read, and must not hold up the end of the process
    threading.Thread(target=_watch, args=(pipe, loop, over), daemon=True).start()
    pipe.send(("ready", msgspec.json.encode(running.urls)))
    await over.wait()
    await running.stop()


def _watch(pipe: Connection, loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    """Wait until the parent closes its end of the pipe, or is gone."""
    with contextlib.suppress(OSError, EOFError):
        pipe.poll(None)
        pipe.recv()
    with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
        loop.call_soon_threadsafe(over.set)


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends, even if that was killed itself."""
    if not sys.platform.startswith("linux"):
        return
    parent = multiprocessing.parent_process()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)  # it was gone before the request
