"""The exchange: Binance's websocket streams and REST on one port of loopback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from typing import Final

from aiohttp import WSMsgType, web

from connectors.sandbox import streams
from connectors.sandbox.candles import INTERVALS_MS, Candles
from connectors.sandbox.clock import Clock
from connectors.sandbox.faults import Faults
from connectors.sandbox.market import Market, Trades
from connectors.sandbox.rest import WEIGHT_PER_MINUTE, WEIGHTS, RestApi
from connectors.sandbox.wire import CLOSING, Peer, RateLimit, background, pump

log = logging.getLogger(__name__)

PING_EVERY_S: Final = 20.0
PONG_WITHIN_S: Final = 60.0
INCOMING_PER_SECOND: Final = 5
ALL_TICKERS: Final = "!miniTicker@arr"
_PUBLISH_EVERY_S: Final = 0.05
_POLICY_VIOLATION: Final = 1008


class Exchange:
    """The exchange of one world; ``application`` serves it."""

    def __init__(self, market: Market, clock: Clock, faults: Faults, history_ms: int) -> None:
        self._market, self._clock, self._faults = market, clock, faults
        self._candles = Candles(market)
        self._api = RestApi(market, self._candles, history_ms)
        self._peers: dict[Peer, streams.Session] = {}
        self._computing = asyncio.Lock()
        self._minute, self._weight = 0, 0
        self.application = web.Application()
        self.application.add_routes(
            [
                web.get("/ws", self._raw),
                web.get("/ws/{streams:.*}", self._raw),
                web.get("/stream", self._combined),
                *(web.get(path, self._rest) for path in WEIGHTS),
            ]
        )
        self.application.cleanup_ctx.append(self._lifetime)

    async def _lifetime(self, _: web.Application) -> AsyncGenerator[None, None]:
        publisher = background(self._publish(), "publisher")
        yield
        publisher.cancel()
        await asyncio.gather(publisher, return_exceptions=True)

    # ------------------------------------------------------------------ REST

    async def _rest(self, request: web.Request) -> web.Response:
        if self._faults.refuse:
            return web.Response(status=503)
        wall = asyncio.get_running_loop().time()
        minute = int(wall // 60)
        if minute != self._minute:
            self._minute, self._weight = minute, 0
        self._weight += WEIGHTS[request.path]
        headers = {"X-MBX-USED-WEIGHT": str(self._weight), "X-MBX-USED-WEIGHT-1M": str(self._weight)}
        if self._weight > WEIGHT_PER_MINUTE:
            headers["Retry-After"] = str(60 - int(wall % 60))
            return web.json_response({"code": -1003, "msg": _TOO_MUCH}, status=429, headers=headers)
        async with self._computing:
            # long histories take a second or two: the streams go on meanwhile
            now_ms = self._clock.now_us() // 1000
            status, body = await asyncio.to_thread(self._api.answer, request.path, request.query, now_ms)
        return web.Response(body=body, status=status, headers=headers, content_type="application/json")

    # ------------------------------------------------------------- websocket

    async def _raw(self, request: web.Request) -> web.StreamResponse:
        names = [name for name in request.match_info.get("streams", "").split("/") if name]
        return await self._serve(request, names, combined=False)

    async def _combined(self, request: web.Request) -> web.StreamResponse:
        names = [name for name in request.query.get("streams", "").split("/") if name]
        return await self._serve(request, names, combined=True)

    async def _serve(self, request: web.Request, names: list[str], *, combined: bool) -> web.StreamResponse:
        if self._faults.refuse:
            return web.Response(status=503)
        socket = web.WebSocketResponse(autoping=False, compress=False)
        await socket.prepare(request)
        peer = Peer(request, socket, self._faults)
        jobs = pump(peer, PING_EVERY_S, PONG_WITHIN_S)
        try:
            session = streams.Session(names, combined)
            self._peers[peer] = session
            await self._converse(socket, peer, session)
        except streams.TooManyStreamsError:
            await socket.close(code=_POLICY_VIOLATION, message=b"too many streams")
        finally:
            self._peers.pop(peer, None)
            for job in jobs:
                job.cancel()
        return socket

    async def _converse(self, socket: web.WebSocketResponse, peer: Peer, session: streams.Session) -> None:
        """Answer control messages until the connection ends."""
        limit = RateLimit(INCOMING_PER_SECOND, 1.0)
        loop = asyncio.get_running_loop()
        while True:
            message = await socket.receive()
            if message.type in CLOSING:
                return
            if limit.exceeded(loop.time()):
                await socket.close(code=_POLICY_VIOLATION, message=b"Too many requests")
                return
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                peer.ponged()
            elif message.type is WSMsgType.TEXT:
                peer.reply(session.handle(message.data))

    # -------------------------------------------------------------- publishing

    async def _publish(self) -> None:
        """Send what the event time has reached, some twenty times a second."""
        until = self._clock.now_us() // 1000
        second = until // 1000
        while True:
            await asyncio.sleep(_PUBLISH_EVERY_S)
            after, until = until, self._clock.now_us() // 1000
            wanted = self._wanted()
            if not wanted or until <= after:
                second = until // 1000
                continue
            self._publish_trades(wanted, self._market.trades_between(after, until))
            if until // 1000 > second:
                await self._publish_seconds(wanted, second * 1000, until)
                second = until // 1000

    def _wanted(self) -> dict[str, list[tuple[Peer, streams.Session]]]:
        wanted: dict[str, list[tuple[Peer, streams.Session]]] = {}
        for peer, session in self._peers.items():
            for name in session.streams:
                wanted.setdefault(name, []).append((peer, session))
        return wanted

    def _publish_trades(self, wanted: _Wanted, trades: Trades) -> None:
        coins = self._market.coins
        for number, trade_id, time_ms, ticks, lots, maker in _rows(trades):
            coin = coins[number]
            name = coin.symbol.lower()
            for kind, write in (("trade", streams.trade), ("aggTrade", streams.agg_trade)):
                listeners = wanted.get(f"{name}@{kind}")
                if listeners:
                    _send(listeners, f"{name}@{kind}", write(coin, trade_id, time_ms, ticks, lots, maker))

    async def _publish_seconds(self, wanted: _Wanted, before_ms: int, now_ms: int) -> None:
        """Send what comes once a second: tickers and klines."""
        if any(name.endswith(("@miniTicker", ALL_TICKERS)) for name in wanted):
            # the first rolling day takes two seconds to compute
            day = await asyncio.to_thread(self._candles.day, now_ms)
            texts = [streams.mini_ticker(coin, now_ms, day[:, n]) for n, coin in enumerate(self._market.coins)]
            if ALL_TICKERS in wanted:
                _send(wanted[ALL_TICKERS], ALL_TICKERS, f"[{','.join(texts)}]")
            for coin, text in zip(self._market.coins, texts, strict=True):
                name = f"{coin.symbol.lower()}@miniTicker"
                _send(wanted.get(name, []), name, text)
        for name, listeners in wanted.items():
            parsed = streams.kline_stream(name)
            if parsed is not None and parsed[0] in self._market.index:
                for text in self._klines(*parsed, before_ms, now_ms):
                    _send(listeners, name, text)

    def _klines(self, symbol: str, interval: str, before_ms: int, now_ms: int) -> Iterator[str]:
        """Yield the bars that closed after ``before_ms``, and the forming one in every second (1s) or other second."""
        length = INTERVALS_MS[interval]
        coin = self._market.coins[self._market.index[symbol]]
        first, last = before_ms // length * length, now_ms // length * length
        due = interval == "1s" or now_ms // 2000 > before_ms // 2000
        bars = self._candles.bars(symbol, interval, first, last, now_ms)
        for row, opened in enumerate(bars.open_ms):
            if int(opened) + length <= now_ms or due:
                first_id = self._market.last_id(symbol, int(opened) - 1) + 1
                yield streams.kline(coin, interval, bars, row, first_id, now_ms)


_Wanted = dict[str, list[tuple[Peer, streams.Session]]]
_TOO_MUCH: Final = (
    f"Too much request weight used; current limit is {WEIGHT_PER_MINUTE} request weight per 1 MINUTE. "
    "Please use WebSocket Streams for live updates to avoid polling the API."
)


def _rows(trades: Trades) -> Iterator[tuple[int, int, int, int, int, bool]]:
    return zip(
        trades.coin.tolist(),
        trades.trade_id.tolist(),
        trades.time_ms.tolist(),
        trades.ticks.tolist(),
        trades.lots.tolist(),
        trades.buyer_is_maker.tolist(),
        strict=True,
    )


def _send(listeners: list[tuple[Peer, streams.Session]], name: str, text: str) -> None:
    """Send one event to all who listen; it is wrapped once."""
    wrapped = f'{{"stream":"{name}","data":{text}}}'
    for peer, session in listeners:
        peer.push(wrapped if session.combined else text)
