"""``shoal doctor``: what is in the way before the service is started."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec
import websockets.asyncio.client

from connectors.clock import now_us
from connectors.errors import ConfigError, StateError
from flows.config import Config, Exchange, Node, load
from flows.results import FolderLock

_PACKAGES: Final = ("bytewax", "numpy", "pyarrow", "scikit-learn", "websockets")
_LEAST_FREE_BYTES: Final = 1 << 30
_MOST_CLOCK_SKEW_S: Final = 2.0
_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    ok: bool
    what: str
    says: str


def examine(config_path: Path | None, state: Path, listen: tuple[str, int]) -> list[Finding]:
    """Look at configuration, packages, state folder, disk, port, and every endpoint that is configured."""
    findings = list(_machine(state, listen))
    try:
        config = load(config_path) if config_path is not None else Config()
    except ConfigError as error:
        return [*findings, Finding(False, "configuration", str(error))]
    where = str(config_path) if config_path is not None else "none given: the sandbox"
    findings.append(Finding(True, "configuration", where))
    return findings + asyncio.run(_endpoints(config))


def _machine(state: Path, listen: tuple[str, int]) -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding((3, 11) <= sys.version_info[:2] < (3, 13), "python", f"{python} (3.11 or 3.12 is needed)")
    for name in _PACKAGES:
        try:
            yield Finding(True, name, version(name))
        except PackageNotFoundError:
            yield Finding(False, name, "is not installed: run `make run` once")
    yield _folder(state)
    free = shutil.disk_usage(_existing(state)).free
    yield Finding(free >= _LEAST_FREE_BYTES, "disk", f"{free / 2**30:.1f} GiB free for {state}")
    yield _port(*listen)


def _existing(path: Path) -> Path:
    """Return the nearest folder above ``path`` that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def _folder(state: Path) -> Finding:
    if not state.exists():
        return Finding(True, "state", f"{state} does not exist yet: the first run makes it")
    try:
        FolderLock(state).release()
    except (StateError, OSError) as error:
        return Finding(False, "state", str(error))
    return Finding(True, "state", f"{state} is free to use")


def _port(host: str, port: int) -> Finding:
    try:
        with socket.create_server((host, port)):
            return Finding(True, "port", f"{host}:{port} is free")
    except OSError as error:
        return Finding(False, "port", f"{host}:{port}: {error.strerror or error} (choose another --listen)")


async def _endpoints(config: Config) -> list[Finding]:
    checks = [_exchange(exchange) for exchange in config.feeds.exchanges] + [_node(node) for node in config.feeds.nodes]
    return [finding for found in await asyncio.gather(*checks) for finding in found]


class _Time(msgspec.Struct):
    serverTime: int  # noqa: N815 the venue's name


async def _exchange(exchange: Exchange) -> list[Finding]:
    """Ask the exchange for its time: whether it answers, and how far the clocks are apart."""
    url = f"{exchange.rest_url}/api/v3/time"
    try:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        trusted = not _local(url)  # a proxy has no business with this machine
        async with aiohttp.ClientSession(timeout=timeout, trust_env=trusted) as session, session.get(url) as answer:
            before = now_us()
            text = await answer.read()
            if answer.status != 200:
                return [Finding(False, exchange.venue, f"{url} answers HTTP {answer.status}")]
            skew = msgspec.json.decode(text, type=_Time).serverTime / 1e3 - before / 1e6
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, msgspec.DecodeError) as error:
        return [Finding(False, exchange.venue, f"{url} cannot be reached: {_line(error)}")]
    clock = Finding(abs(skew) <= _MOST_CLOCK_SKEW_S, "clock", f"{skew:+.3f} s against {exchange.venue}")
    return [Finding(True, exchange.venue, f"{url} answers"), clock, await _opens(f"{exchange.websocket_url}/stream")]


async def _node(node: Node) -> list[Finding]:
    return [await _opens(node.websocket_url)]


async def _opens(url: str) -> Finding:
    try:
        proxy: Literal[True] | None = None if _local(url) else True
        async with websockets.asyncio.client.connect(url, proxy=proxy, open_timeout=_TIMEOUT_S, close_timeout=1.0):
            return Finding(True, "websocket", f"{url} opens")
    except (OSError, TimeoutError, ValueError, websockets.exceptions.WebSocketException) as error:
        return Finding(False, "websocket", f"{url} cannot be opened: {_line(error)}")


def _local(url: str) -> bool:
    return (urlsplit(url).hostname or "").startswith(("127.", "localhost", "::1"))


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
