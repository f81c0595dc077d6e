"""A peer on loopback for tests of the session: websockets that follow a script, and HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from connectors.session import Arrival, Session

Handler = Callable[[ServerConnection], Awaitable[None]]
WITHIN_S = 20.0


class Peer:
    """Serves websockets and HTTP from a thread; use as a context manager."""

    def __init__(self, handler: Handler, refusals: list[tuple[int, str | None]] | None = None) -> None:
        self._handler = handler
        self._refusals = refusals or []
        self.attempts = 0
        self.requests: list[tuple[str, str, str]] = []
        self.responses: list[tuple[int, dict[str, str], str]] = []
        self.in_flight = self.most_in_flight = 0
        self.received: list[str] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Peer:
        self._thread.start()
        assert self._ready.wait(WITHIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(WITHIN_S)

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._http)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.http_url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
        async with serve(self._handler, "127.0.0.1", 0, process_request=self._refuse, close_timeout=0.1) as server:
            self.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/stream"
            self._ready.set()
            await self._over.wait()
        await runner.cleanup()

    def _refuse(self, _: ServerConnection, request: Request) -> Response | None:
        self.attempts += 1
        if not self._refusals:
            return None
        status, after = self._refusals.pop(0)
        headers = Headers() if after is None else Headers([("Retry-After", after)])
        return Response(status, "refused", headers)

    async def _http(self, request: web.Request) -> web.Response:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        body = await request.text()
        self.requests.append((request.method, request.path_qs, body))
        await asyncio.sleep(0.01)
        self.in_flight -= 1
        if request.path == "/stall":
            await self._over.wait()
        status, headers, text = self.responses.pop(0) if self.responses else (200, {}, f"answer to {request.path_qs}")
        return web.Response(status=status, headers=headers, text=text)


class Inbox:
    """Drains a session until what is waited for has come."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.all: list[Arrival] = []

    def until(self, done: Callable[[list[Arrival]], Any], limit: int = 1000) -> list[Arrival]:
        """Drain until ``done`` of all arrivals (without ticks) is true; return those."""
        pause = threading.Event()
        for _ in range(int(WITHIN_S / 0.005)):
            self.all += [arrival for arrival in self.session.drain(limit) if arrival[1] != "tick"]
            if done(self.all):
                return self.all
            pause.wait(0.005)
        raise AssertionError(f"did not come; there is {self.all[-20:]}")

    def kinds(self) -> list[str]:
        return [arrival[1] for arrival in self.all]
