"""The HTTP service: the page, ``/metrics``, health, the API and the stream of what is published.

It runs in a thread and an event loop of its own, beside the dataflow. It only reads: any method but GET and HEAD is
refused. Answers hold no stack traces; what went wrong is in the log.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import mimetypes
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry

from connectors.errors import ServiceError
from dashboards import api
from dashboards.board import Board
from dashboards.exposition import Exposition
from dashboards.state import Names
from dashboards.stream import Message, Subscription

LOG = logging.getLogger(__name__)

PAGE: Final = Path(__file__).parent / "page"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "shoal",
}
_TYPES: Final = {".js": "text/javascript", ".woff2": "font/woff2", ".svg": "image/svg+xml", ".md": "text/plain"}
_QUERY_LENGTH: Final = 1_024
_PATH_LENGTH: Final = 512
_STREAMS: Final = 64
_HEARTBEAT_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0


class Server:
    """The service over a board.

    Parameters
    ----------
    board
        What is shown.
    registry
        Gets the board's families; whatever else is registered in it is served as well. Never the global one.
    host, port
        Where to listen; port 0 takes a free one.
    """

    def __init__(self, board: Board, registry: CollectorRegistry, host: str = "127.0.0.1", port: int = 8787) -> None:
        self._board = board
        self._exposition = Exposition(board, registry)
        self._host, self._port = host, port
        self._files = _page_files()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._runner: web.AppRunner | None = None
        self._streams: set[Subscription] = set()

    def start(self) -> tuple[str, int]:
        """Listen, in a thread of its own; return host and port.

        Raises
        ------
        ServiceError
            If the address cannot be listened on.
        """
        if self._thread is not None:
            raise RuntimeError("the server has been started already")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(self._loop,), name="shoal-http", daemon=True)
        self._thread.start()
        try:
            return asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except (OSError, OverflowError) as error:
            self.stop()
            raise _in_the_way(self._host, self._port, error) from None

    def stop(self) -> None:
        """End the streams, close the socket, and end the thread. Harmless if it does not run."""
        if self._loop is None or self._thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_STOP_SECONDS)
        except TimeoutError:
            LOG.warning("the HTTP service did not end within %s s", _STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)
        self._loop = self._thread = None

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    async def _listen(self) -> tuple[str, int]:
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(_secure)
        app.router.add_get("/", self._index)
        app.router.add_get("/static/{path:.+}", self._static)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/api/openapi.json", self._openapi)
        app.router.add_get("/api/v1/stream", self._stream)
        for endpoint in api.ENDPOINTS:
            app.router.add_get(f"/api/v1/{endpoint.path.replace('{id}', '{id:.+}')}", self._answer(endpoint))
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        address = self._runner.addresses[0]
        return str(address[0]), int(address[1])

    async def _close(self) -> None:
        for subscription in self._streams:
            subscription.close()
        if self._runner is not None:
            await self._runner.cleanup()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Refuse what is too long or not a read, and answer every fault with a line of JSON."""
        try:
            return _refusal(request) or await handler(request)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            if not isinstance(error, (api.NotFound, api.BadQuery, web.HTTPException)):
                LOG.exception("%s failed", request.path)
            return _fault(error)

    async def _index(self, request: web.Request) -> web.StreamResponse:
        return self._file(request, "index.html")

    async def _static(self, request: web.Request) -> web.StreamResponse:
        return self._file(request, request.match_info["path"])

    def _file(self, request: web.Request, path: str) -> web.Response:
        found = self._files.get(path)
        if found is None:
            raise web.HTTPNotFound
        body, kind, etag = found
        headers = {"ETag": etag, "Cache-Control": "no-cache", "Content-Type": kind}
        if etag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        body, kind = self._exposition.render(request.headers.get("Accept", ""))
        response = web.Response(body=body, headers={"Content-Type": kind, "Vary": "Accept"})
        response.enable_compression(strategy=None)
        return response

    async def _healthz(self, _: web.Request) -> web.StreamResponse:
        return _json({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.StreamResponse:
        ready, missing = self._board.ready()
        return _json({"ready": ready, "missing": missing}, 200 if ready else 503)

    async def _openapi(self, _: web.Request) -> web.StreamResponse:
        return _json(api.openapi())

    def _answer(self, endpoint: api.Endpoint) -> _Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            return _json(endpoint.answer(self._board, {**request.query, **request.match_info}))

        return answer

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Send what is published, as server-sent events, until either side ends it."""
        if len(self._streams) >= _STREAMS:
            return _json({"error": "too many streams are open"}, 503, {"Retry-After": "10"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        if request.method == "HEAD":
            return response
        subscription = self._board.subscribe()
        self._streams.add(subscription)
        try:
            await response.prepare(request)
            await response.write(b"retry: 2000\n: connected\n\n")
            while True:
                message = await subscription.next(_HEARTBEAT_SECONDS)
                if message is None and subscription.closed:
                    break
                text = b": beat\n\n" if message is None else wire(message, self._board.snapshot().names)
                await response.write(text)
        except ConnectionError:
            LOG.debug("a stream's reader has gone")
        finally:
            self._streams.discard(subscription)
            self._board.unsubscribe(subscription)
        return response


def wire(message: Message, names: Names) -> bytes:
    """Return a message as a server-sent event."""
    body = message.body
    if message.kind == "event":
        body = api.event(body, names)
    elif message.kind == "composition":
        body = api.composition(body)
    elif message.kind == "feed":
        body = api.feed(body["feed"], body)
    else:
        body = api.public(body)
    return b"event: " + message.kind.encode() + b"\ndata: " + msgspec.json.encode(body) + b"\n\n"


def _refusal(request: web.Request) -> web.Response | None:
    if request.method not in ("GET", "HEAD"):
        return _json({"error": "read-only: GET or HEAD"}, 405, {"Allow": "GET, HEAD"})
    if len(request.rel_url.raw_path) > _PATH_LENGTH or len(request.rel_url.raw_query_string) > _QUERY_LENGTH:
        return _json({"error": "the address is too long"}, 414)
    return None


def _fault(error: Exception) -> web.Response:
    """Return the answer to what a handler raised: never more than one sentence."""
    if isinstance(error, api.NotFound):
        problem = f"no {error.what} {error.asked!r}" if error.asked else f"no {error.what} yet"
        return _json({"error": problem, "known": error.known}, 404)
    if isinstance(error, api.BadQuery):
        return _json({"error": f"{error.name} {error.problem}"}, 400)
    if isinstance(error, web.HTTPException):
        return _json({"error": error.reason.lower()}, error.status)
    return _json({"error": "internal error; the log has the details"}, 500)


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _json(tree: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return an answer; a number that is not finite becomes null."""
    kept = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store", **(headers or {})}
    return web.Response(body=msgspec.json.encode(tree), status=status, headers=kept)


def _page_files() -> dict[str, tuple[bytes, str, str]]:
    """Return the page's files by their path: body, content type, entity tag. Only these are served."""
    files = {}
    for path in sorted(PAGE.rglob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        body = path.read_bytes()
        kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        kind += "; charset=utf-8" if kind.startswith("text/") else ""
        files[path.relative_to(PAGE).as_posix()] = (body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return files


def _in_the_way(host: str, port: int, error: OSError | OverflowError) -> ServiceError:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(error, OverflowError):
        return ServiceError(where, "no such port", "ports go from 0 to 65535")
    if isinstance(error, socket.gaierror):
        return ServiceError(where, "no such host", "--listen HOST:PORT with an address of this machine")
    if error.errno == errno.EADDRINUSE:
        return ServiceError(where, "port in use", "--listen HOST:PORT or stop the other one")
    if error.errno in (errno.EACCES, errno.EPERM):
        return ServiceError(where, "not permitted", "--listen HOST:PORT with a port above 1023")
    if error.errno == errno.EADDRNOTAVAIL:
        return ServiceError(where, "not an address of this machine", "--listen HOST:PORT")
    return ServiceError(where, error.strerror or str(error), "--listen HOST:PORT")
