"""One websocket of a sandbox server: a bounded queue, pings, and the seam where faults enter."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

from aiohttp import WSMsgType, web

from connectors.sandbox.faults import CLOSE, Faults

log = logging.getLogger(__name__)

QUEUE_LIMIT: Final = 10_000
"""Messages that may wait for a slow reader before its connection is cut (geth's limit for notifications)."""


class Peer:
    """The server's side of one websocket.

    ``push`` is for what a venue sends on its own and passes through the faults; ``reply`` is for answers.
    """

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, faults: Faults) -> None:
        self._transport = request.transport
        self._socket = socket
        self._faults = faults
        self._queue: deque[str] = deque()
        self._wake = asyncio.Event()
        self._pushed = 0
        self._pong_at = asyncio.get_running_loop().time()

    def push(self, text: str) -> None:
        """Queue a message that nobody asked for one by one."""
        self._pushed += 1
        passed = self._faults.pass_on(self._pushed, text)
        if passed is CLOSE:
            self.abort()
        elif passed:
            self.reply(passed)

    def reply(self, text: str) -> None:
        """Queue an answer."""
        if len(self._queue) >= QUEUE_LIMIT:
            log.warning("a reader is %d messages behind: its connection is cut", QUEUE_LIMIT)
            self.abort()
            return
        self._queue.append(text)
        self._wake.set()

    def abort(self) -> None:
        """Cut the connection without a closing handshake."""
        self._queue.clear()
        if self._transport is not None:
            self._transport.abort()

    def ponged(self) -> None:
        """Note that the other side answered a ping."""
        self._pong_at = asyncio.get_running_loop().time()

    async def write(self) -> None:
        """Send what is queued, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._socket.send_str(self._queue.popleft())

    async def keep_alive(self, every_s: float, patience_s: float) -> None:
        """Ping every ``every_s`` seconds; cut the connection if no pong came for ``patience_s``."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(every_s)
            if loop.time() - self._pong_at > every_s + patience_s:
                self.abort()
                return
            await self._socket.ping(str(int(loop.time() * 1000)).encode("ascii"))


class RateLimit:
    """At most ``limit`` events in any ``span_s`` seconds."""

    def __init__(self, limit: int, span_s: float) -> None:
        self._times: deque[float] = deque(maxlen=limit)
        self._limit, self._span_s = limit, span_s

    def exceeded(self, now_s: float) -> bool:
        """Count an event; return whether it is one too many."""
        full = len(self._times) == self._limit and now_s - self._times[0] < self._span_s
        self._times.append(now_s)
        return full


CLOSING: Final = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)
"""Kinds of received messages after which nothing follows."""


def pump(peer: Peer, every_s: float | None, patience_s: float) -> list[asyncio.Task[None]]:
    """Start a peer's writer, and its pings where ``every_s`` is given; the caller cancels what it gets."""
    tasks = [asyncio.create_task(_quietly(peer.write()))]
    if every_s is not None:
        tasks.append(asyncio.create_task(_quietly(peer.keep_alive(every_s, patience_s))))
    return tasks


async def _quietly(job: Coroutine[Any, Any, None]) -> None:
    """Run a peer's job; a connection that goes away ends it."""
    try:
        await job
    except ConnectionError as error:
        log.debug("connection gone: %s", error)


def background(job: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a task that should never end by itself; if it fails, that is logged at once."""
    task = asyncio.create_task(job, name=name)
    task.add_done_callback(_report)
    return task


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("the sandbox's %s has failed", task.get_name(), exc_info=task.exception())
