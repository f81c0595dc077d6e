"""The shell of a feed: one supervised websocket and HTTP requests, in a thread of their own.

It knows no protocol. It stamps whatever arrives and queues it; a full queue makes the reader pause, so that the
peer feels it, and nothing is dropped. It connects again for ever: full jitter, at least as long as the peer asked
for, and from the short delays again only after a connection has delivered data for a while. (The reconnect loop of
``websockets`` forgets its delay as soon as a connection opens, and gives up at 429, 418, 403 and 451.)
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from connectors.clock import now_us
from connectors.errors import FeedError
from connectors.records import Action, Fetch, Reconnect, RecordKind, Send

Arrival: TypeAlias = tuple[int, RecordKind, bytes, str, int]
"""A record without its number: (t_us, kind, body, tag, status)."""

_log = logging.getLogger(__name__)

_FLOORS_S: Final = {403: 60.0, 418: 120.0, 429: 10.0, 451: 60.0}
"""Shortest delay after a refusal that names none: bans and filters answer haste with longer bans."""
_LONGEST_FLOOR_S: Final = 4 * 86_400.0
_LOOPBACK: Final = ("127.", "localhost", "::1")


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a peer. Without ``websocket_url`` the session only fetches."""

    name: str
    websocket_url: str | None = None
    http_url: str | None = None
    compression: Literal["deflate"] | None = None
    max_message_bytes: int = 64 << 20
    queue_records: int = 200_000
    queue_bytes: int = 256 << 20
    open_timeout_s: float = 10.0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 20.0
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    connect_spacing_s: float = 1.0
    healthy_after_s: float = 10.0
    tick_s: float = 1.0
    http_concurrency: int = 4
    http_per_s: float = 20.0
    http_burst: int = 100
    http_timeout_s: float = 30.0
    user_agent: str = "shoal"


class Backoff:
    """Delays between attempts: full jitter under a doubling cap, never under the floor the peer asked for.

    ``uniform(a, b)`` draws the jitter. The n-th delay after a reset is uniform on [0, min(cap, base * 2**n)].
    """

    def __init__(self, base_s: float, cap_s: float, uniform: Callable[[float, float], float]) -> None:
        self._base, self._cap, self._uniform = base_s, cap_s, uniform
        self._attempt = 0

    def next(self, floor_s: float = 0.0) -> float:
        """Return the next delay in seconds."""
        ceiling = min(self._cap, self._base * 2.0 ** min(self._attempt, 32))
        self._attempt += 1
        # jitter on top of a floor too, or everybody comes back in the same second
        return floor_s + self._uniform(0.0, ceiling)

    def reset(self) -> None:
        """Begin with the short delays again."""
        self._attempt = 0


def retry_after_s(value: str | None, wall_s: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for (a number, or a date), None if it asks nothing."""
    if value is None:
        return None
    text = value.strip()
    with contextlib.suppress(ValueError):
        seconds = float(text)
        return min(max(seconds, 0.0), _LONGEST_FLOOR_S) if seconds == seconds else None  # noqa: PLR0124 (not a number)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return min(max(at.timestamp() - wall_s, 0.0), _LONGEST_FLOOR_S)


def endpoint(url: str) -> str:
    """Return scheme, host and port of ``url``: paths and queries may hold keys, and the journal keeps what it gets."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


class Session:
    """A peer's connection, in a daemon thread.

    ``drain``, ``submit`` and ``queue_depth`` belong to one consumer thread; none of them waits.
    """

    def __init__(
        self,
        config: SessionConfig,
        clock_us: Callable[[], int] = now_us,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        if config.websocket_url is None and config.http_url is None:
            raise FeedError(config.name, "has neither a websocket_url nor an http_url")
        self.config = config
        self._clock_us = clock_us
        self._backoff = Backoff(config.backoff_base_s, config.backoff_cap_s, uniform)
        self._queue: deque[Arrival] = deque()
        self._queued_bytes = 0
        self._bytes_lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        # actions belong to the connection that the core knew of: opens that were queued, opens that were drained
        self._opens_queued = 0
        self._opens_drained = 0
        self._socket: ClientConnection | None = None
        self._pause_http_until = 0.0
        self._next_http = 0.0
        self._rtt_s: float | None = None

    # the consumer's side

    @property
    def queue_depth(self) -> int:
        """Records received and not yet drained."""
        return len(self._queue)

    @property
    def ping_rtt_s(self) -> float | None:
        """Round trip of the last keepalive ping in seconds; None before the first."""
        return self._rtt_s

    def start(self) -> None:
        """Start the thread; it connects for ever until :meth:`stop`."""
        if self._thread is not None:
            raise FeedError(self.config.name, "was started before")
        self._thread = threading.Thread(target=self._main, name=f"session-{self.config.name}", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Disconnect and end the thread; what is queued can still be drained."""
        self._stopping.set()
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop closed meanwhile
                loop.call_soon_threadsafe(self._ending.set)
        if self._thread is not None:
            self._thread.join(timeout_s)

    def drain(self, limit: int) -> list[Arrival]:
        """Return at most ``limit`` received records, oldest first, without waiting.

        Raises
        ------
        FeedError
            If the thread has died of a fault of its own and everything before it has been drained.
        """
        queue = self._queue
        out: list[Arrival] = []
        size = 0
        while queue and len(out) < limit:
            arrival = queue.popleft()
            size += len(arrival[2])
            if arrival[1] == "open":
                self._opens_drained += 1
            out.append(arrival)
        if out:
            with self._bytes_lock:
                self._queued_bytes -= size
            self._call(self._make_room)
        elif self._failure is not None:
            raise FeedError(self.config.name, f"its thread ended: {self._failure!r}") from self._failure
        return out

    def submit(self, actions: Sequence[Action]) -> None:
        """Do what the core wants; what concerns a connection that is gone meanwhile is dropped."""
        generation, todo = self._opens_drained, list(actions)
        self._call(lambda: self._accept(generation, todo))

    def _call(self, function: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function)

    # the thread's side

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # noqa: BLE001 (handed to the consumer by drain)
            self._failure = error

    async def _run(self) -> None:
        self._ending = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._reconnect_reason: str | None = None
        self._requests: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(self.config.http_concurrency)
        self._loop = asyncio.get_running_loop()
        if self._stopping.is_set():
            return
        local = (urlsplit(self.config.http_url or "").hostname or "").startswith(_LOOPBACK)
        timeout = aiohttp.ClientTimeout(total=self.config.http_timeout_s)
        headers = {"User-Agent": self.config.user_agent}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers, trust_env=not local) as self._http:
            if self.config.websocket_url is None:
                self._put("open", endpoint(self.config.http_url or "").encode())
            jobs: list[Coroutine[Any, Any, None]] = [self._tick()]
            if self.config.websocket_url is not None:
                jobs.append(self._connect_for_ever(self.config.websocket_url))
            tasks = [asyncio.create_task(job) for job in jobs]
            ending = asyncio.create_task(self._ending.wait())
            done, _ = await asyncio.wait([*tasks, ending], return_when=asyncio.FIRST_COMPLETED)
            rest = [*tasks, ending, *self._requests]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            for task in done - {ending}:
                task.result()  # a job ends only by a fault of ours: let it be seen

    def _put(self, kind: RecordKind, body: bytes = b"", tag: str = "", status: int = 0) -> None:
        self._queue.append((self._clock_us(), kind, body, tag, status))
        with self._bytes_lock:
            self._queued_bytes += len(body)
        if len(self._queue) >= self.config.queue_records or self._queued_bytes >= self.config.queue_bytes:
            self._room.clear()

    def _make_room(self) -> None:
        if len(self._queue) < self.config.queue_records and self._queued_bytes < self.config.queue_bytes:
            self._room.set()

    async def _tick(self) -> None:
        due = time.monotonic()
        while True:
            due = max(due + self.config.tick_s, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            self._put("tick")

    async def _connect_for_ever(self, url: str) -> None:
        earliest = 0.0
        while True:
            await asyncio.sleep(max(earliest - time.monotonic(), 0.0))
            earliest = time.monotonic() + self.config.connect_spacing_s
            reason, floor_s = await self._one_connection(url)
            self._put("close", reason.encode())
            delay = self._backoff.next(floor_s)
            _log.info("%s: %s; next attempt in %.1f s", self.config.name, reason, delay)
            earliest = max(earliest, time.monotonic() + delay)

    async def _one_connection(self, url: str) -> tuple[str, float]:
        """Connect and read until it ends; return why ("word: detail") and how long to wait at least."""
        host = urlsplit(url).hostname or ""
        try:
            async with connect(
                url,
                proxy=None if host.startswith(_LOOPBACK) else True,
                compression=self.config.compression,
                max_size=self.config.max_message_bytes,
                open_timeout=self.config.open_timeout_s,
                ping_interval=self.config.ping_interval_s,
                ping_timeout=self.config.ping_timeout_s,
                close_timeout=2.0,
                user_agent_header=self.config.user_agent,
            ) as socket:
                return await self._converse(socket, endpoint(url)), 0.0
        except InvalidStatus as error:
            status = error.response.status_code
            asked = retry_after_s(error.response.headers.get("Retry-After"), self._clock_us() / 1e6)
            return f"http_{status}: connection refused", asked if asked is not None else _FLOORS_S.get(status, 0.0)
        except TimeoutError:
            return "timeout: no answer to the opening handshake", 0.0
        except InvalidURI:
            return "address: not a websocket address", self.config.backoff_cap_s
        except (InvalidHandshake, EOFError) as error:
            return f"handshake: {type(error).__name__}", 0.0
        except OSError as error:
            return f"unreachable: {error.strerror or error}", 0.0

    async def _converse(self, socket: ClientConnection, name: str) -> str:
        self._outgoing = asyncio.Queue()
        self._reconnect_reason = None
        self._socket = socket
        self._opens_queued += 1
        self._put("open", name.encode())
        sender = asyncio.create_task(self._send(socket, self._outgoing))
        try:
            await self._read(socket)
        except ConnectionClosed as error:
            frame = error.rcvd or error.sent
            reason = f"closed: {frame.code} {frame.reason}" if frame is not None else "closed: 1006 lost"
        else:
            reason = "closed: ended"
        finally:
            self._socket = None
            sender.cancel()
        return self._reconnect_reason or reason.rstrip()

    async def _read(self, socket: ClientConnection) -> None:
        first: float | None = None
        healthy = False
        while True:
            body = await socket.recv(decode=False)
            self._put("msg", body)
            if not healthy:
                now = time.monotonic()
                first = now if first is None else first
                if now - first >= self.config.healthy_after_s:
                    healthy = True
                    self._backoff.reset()
            self._rtt_s = socket.latency or self._rtt_s
            if not self._room.is_set():
                await self._room.wait()

    async def _send(self, socket: ClientConnection, outgoing: asyncio.Queue[str]) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.send(await outgoing.get())

    def _accept(self, generation: int, actions: list[Action]) -> None:
        current = self._socket is not None and generation == self._opens_queued
        for action in actions:
            if isinstance(action, Fetch):
                task = asyncio.create_task(self._fetch(action))
                self._requests.add(task)
                task.add_done_callback(self._requests.discard)
            elif not current:
                continue
            elif isinstance(action, Send):
                self._outgoing.put_nowait(action.text)
            elif isinstance(action, Reconnect) and self._reconnect_reason is None:
                self._reconnect_reason = f"{action.reason}: asked by the core"
                task = asyncio.create_task(self._close(self._socket))
                self._requests.add(task)
                task.add_done_callback(self._requests.discard)

    async def _close(self, socket: ClientConnection | None) -> None:
        if socket is not None:
            self._room.set()  # a reader that waits for room would not see the end
            await socket.close()

    async def _fetch(self, fetch: Fetch) -> None:
        """Do one request; whatever comes of it becomes a reply."""
        if fetch.after_s > 0:
            await asyncio.sleep(fetch.after_s)
        async with self._slots:
            await self._pace()
            url = (self.config.http_url or "").rstrip("/") + fetch.path
            status, body = 0, b""
            try:
                status, body = await self._request(url, fetch.body)
            except TimeoutError:
                body = b"timeout"
            except (aiohttp.ClientError, OSError, ValueError) as error:
                body = f"{type(error).__name__}: {error}".encode()
            if not self._room.is_set():
                await self._room.wait()
            self._put("reply", body, fetch.tag, status)

    async def _request(self, url: str, text: str | None) -> tuple[int, bytes]:
        json = {"Content-Type": "application/json"} if text is not None else None
        async with self._http.request("GET" if text is None else "POST", url, data=text, headers=json) as response:
            if response.status in (418, 429):
                asked = retry_after_s(response.headers.get("Retry-After"), self._clock_us() / 1e6)
                floor = asked if asked is not None else _FLOORS_S[response.status]
                self._pause_http_until = max(self._pause_http_until, time.monotonic() + floor)
            return response.status, await response.read()

    async def _pace(self) -> None:
        """Wait for this request's turn: a burst, then ``http_per_s``; and not while the peer asked for a pause."""
        spacing = 1.0 / self.config.http_per_s
        while True:
            now = time.monotonic()
            start = max(self._next_http - self.config.http_burst * spacing, self._pause_http_until, now)
            if start <= now:
                self._next_http = max(self._next_http, now) + spacing
                return
            await asyncio.sleep(start - now)
