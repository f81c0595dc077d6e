import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from connectors.sandbox import candles
from connectors.sandbox import exchange as module
from connectors.sandbox.faults import MALFORMED, Faults
from connectors.sandbox.service import Running, SandboxConfig, start
from tests.connectors.sandbox.places import SEED, T0_US

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
PATIENCE_S = 60.0


def served(scenario: Callable[[Running], Awaitable[None]], **settings: Any) -> None:
    """Run a scenario against a sandbox of its own."""

    async def run() -> None:
        running = await start(SandboxConfig(seed=SEED, start_us=T0_US, **settings))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await scenario(running)
        finally:
            await running.stop()

    asyncio.run(run())


async def ask(socket: ClientConnection, **message: Any) -> Any:
    await socket.send(json.dumps(message))
    while True:
        answer = json.loads(await socket.recv())
        if "id" in answer or "code" in answer:
            return answer


async def drain(socket: ClientConnection, into: list[str] | None = None) -> None:
    """Receive until the connection ends."""
    while True:
        text = str(await socket.recv())
        if into is not None:
            into.append(text)


async def rest(running: Running, path: str, **params: Any) -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.get(running.exchange_rest_url + path, params=params) as answer,
    ):
        return await answer.json()


def test_combined_streams_after_a_subscription() -> None:
    async def scenario(running: Running) -> None:
        async with connect(running.exchange_ws_url + "/stream") as socket:
            names = ["btcusdt@trade", "ethusdt@aggTrade", "nobody@trade"]
            assert await ask(socket, method="SUBSCRIBE", params=names, id=1) == {"result": None, "id": 1}
            assert (await ask(socket, method="LIST_SUBSCRIPTIONS", id=2))["result"] == names
            kinds: set[str] = set()
            while kinds != {"trade", "aggTrade"}:
                message = json.loads(await socket.recv())
                assert set(message) == {"stream", "data"}
                event = message["data"]
                assert message["stream"] == f"{event['s'].lower()}@{event['e']}"
                assert event["T"] <= running.clock.now_us() // 1000
                kinds.add(event["e"])

    served(scenario, speed=5.0)


@pytest.mark.parametrize("path", ["/ws/btcusdt@trade", "/ws", "/stream?streams=btcusdt@trade"])
def test_each_way_to_connect(path: str) -> None:
    async def scenario(running: Running) -> None:
        async with connect(running.exchange_ws_url + path) as socket:
            if path == "/ws":
                await ask(socket, method="SUBSCRIBE", params=["btcusdt@trade"], id=1)
            message = json.loads(await socket.recv())
            event = message["data"] if path.startswith("/stream") else message
            assert event["s"] == "BTCUSDT"
            assert event["e"] == "trade"

    served(scenario, speed=5.0)


def test_streamed_trades_have_contiguous_ids_and_make_the_klines_of_rest() -> None:
    async def scenario(running: Running) -> None:
        symbols = ["BTCUSDT", "SNXUSDT", "USDCUSDT"]
        trades: dict[str, list[dict[str, Any]]] = {symbol: [] for symbol in symbols}
        streams = "/".join(f"{symbol.lower()}@trade" for symbol in symbols)
        async with connect(f"{running.exchange_ws_url}/stream?streams={streams}", max_queue=None) as socket:
            while min(len(known) for known in trades.values()) < 60:
                event = json.loads(await socket.recv())["data"]
                trades[event["s"]].append(event)
        for symbol, events in trades.items():
            ids = [event["t"] for event in events]
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            first, last = events[0]["T"] // 1000 + 1, events[-1]["T"] // 1000 - 1
            rows = await rest(
                running, "/api/v3/klines", symbol=symbol, interval="1s", startTime=first * 1000, endTime=last * 1000
            )
            assert len(rows) == last - first + 1 >= 20
            for row in rows:
                inside = [event for event in events if event["T"] // 1000 * 1000 == row[0]]
                prices = [event["p"] for event in inside]
                assert row[1] == prices[0]
                assert row[4] == prices[-1]
                assert row[2] == max(prices, key=float)
                assert row[3] == min(prices, key=float)
                assert row[8] == len(inside)
                assert exact(row[5]) == sum(exact(event["q"]) for event in inside)
            filled = await rest(running, "/api/v3/aggTrades", symbol=symbol, fromId=ids[0], limit=len(ids))
            assert [(t["a"], t["p"], t["q"], t["T"], t["m"]) for t in filled] == [
                (t["t"], t["p"], t["q"], t["T"], t["m"]) for t in events
            ]

    served(scenario, speed=40.0)


def exact(text: str) -> int:
    return int(text.replace(".", ""))


def test_kline_streams_close_each_bar_once_and_as_rest_says() -> None:
    async def scenario(running: Running) -> None:
        closed: list[dict[str, Any]] = []
        forming = 0
        async with connect(running.exchange_ws_url + "/ws/btcusdt@kline_1m/btcusdt@kline_1s") as socket:
            while len([bar for bar in closed if bar["i"] == "1m"]) < 3:
                bar = json.loads(await socket.recv())["k"]
                if bar["x"]:
                    closed.append(bar)
                else:
                    forming += 1
        assert forming
        for interval, length in (("1m", 60_000), ("1s", 1_000)):
            bars = [bar for bar in closed if bar["i"] == interval]
            opens = [bar["t"] for bar in bars]
            assert opens == list(range(opens[0], opens[0] + len(opens) * length, length))
            rows = await rest(
                running, "/api/v3/klines", symbol="BTCUSDT", interval=interval, startTime=opens[0], limit=len(opens)
            )
            for bar, row in zip(bars, rows, strict=True):
                assert [bar[key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")] == row[:11]
                assert bar["L"] - bar["f"] + 1 == bar["n"]

    served(scenario, speed=200.0)


def test_mini_tickers_come_for_all_and_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candles, "_DAY_CHUNKS", 3)

    async def scenario(running: Running) -> None:
        async with connect(running.exchange_ws_url + "/ws/!miniTicker@arr") as socket:
            everything = json.loads(await socket.recv())
            assert len(everything) == 42
            assert set(everything[0]) == {"e", "E", "s", "c", "o", "h", "l", "v", "q"}
            assert all(float(one["l"]) <= float(one["c"]) <= float(one["h"]) for one in everything)
            await ask(socket, method="UNSUBSCRIBE", params=["!miniTicker@arr"], id=1)
            await ask(socket, method="SUBSCRIBE", params=["ethusdt@miniTicker"], id=2)
            assert json.loads(await socket.recv())["s"] == "ETHUSDT"

    served(scenario, speed=2.0)


def test_every_connection_is_pinged_and_a_silent_one_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(module, "PONG_WITHIN_S", 0.1)
    monkeypatch.setattr(module, "INCOMING_PER_SECOND", 10_000)

    async def scenario(running: Running) -> None:
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(running.exchange_ws_url + "/ws", autoping=False) as socket:
                for _ in range(6):  # answered, it lives on
                    ping = await socket.receive()
                    assert ping.type is aiohttp.WSMsgType.PING
                    assert ping.data
                    await socket.pong(ping.data)
            async with session.ws_connect(running.exchange_ws_url + "/ws", autoping=False) as socket:
                while (await socket.receive()).type is aiohttp.WSMsgType.PING:
                    pass

    served(scenario)


def test_our_own_pings_are_answered() -> None:
    async def scenario(running: Running) -> None:
        async with connect(running.exchange_ws_url + "/ws") as socket:
            await (await socket.ping())

    served(scenario)


def test_more_than_five_messages_a_second_end_the_connection() -> None:
    async def scenario(running: Running) -> None:
        async with connect(running.exchange_ws_url + "/ws") as socket:
            for k in range(6):
                await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": k}))
            with pytest.raises(ConnectionClosed) as closed:
                await drain(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008

    served(scenario)


def test_more_than_1024_streams_end_the_connection() -> None:
    async def scenario(running: Running) -> None:
        async with connect(running.exchange_ws_url + "/ws") as socket:
            await socket.send(
                json.dumps({"method": "SUBSCRIBE", "params": [f"x{k}@trade" for k in range(1025)], "id": 1})
            )
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008

    served(scenario)


def test_rest_over_http_counts_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WEIGHT_PER_MINUTE", 25)

    async def scenario(running: Running) -> None:
        async with aiohttp.ClientSession(running.exchange_rest_url) as session:
            seen = []
            for path in ("/api/v3/exchangeInfo", "/api/v3/time", "/api/v3/klines?symbol=X&interval=1s"):
                async with session.get(path) as answer:
                    seen.append((answer.status, answer.headers["X-MBX-USED-WEIGHT-1M"]))
                    body = await answer.json()
            assert body == {"code": -1121, "msg": "Invalid symbol."}
            status = 200
            while status == 200:  # at most one more minute's budget, should the minute turn just now
                async with session.get("/api/v3/aggTrades?symbol=BTCUSDT&limit=1") as answer:
                    status = answer.status
            assert status == 429
            assert 0 < int(answer.headers["Retry-After"]) <= 60
            async with session.get("/api/v3/nothing") as answer:
                assert answer.status == 404
            assert [status for status, _ in seen] == [200, 200, 400]

    served(scenario)


def test_faults_lost_and_malformed_messages() -> None:
    async def scenario(running: Running) -> None:
        async with connect(running.exchange_ws_url + "/ws/btcusdt@trade") as socket:
            texts = [str(await socket.recv()) for _ in range(12)]
        assert texts.count(MALFORMED) >= 1
        ids = [json.loads(text)["t"] for text in texts if text != MALFORMED]
        steps = [b - a for a, b in itertools.pairwise(ids)]
        assert max(steps) > 1
        assert min(steps) >= 1

    served(scenario, speed=10.0, exchange_faults=Faults(drop_every=3, malformed_every=5))


def test_fault_disconnect_without_a_closing_handshake() -> None:
    async def scenario(running: Running) -> None:
        async with connect(running.exchange_ws_url + "/ws/btcusdt@trade") as socket:
            received: list[str] = []
            with pytest.raises(ConnectionClosed) as closed:
                await drain(socket, received)
        assert len(received) <= 3
        assert closed.value.rcvd is None
        async with connect(running.exchange_ws_url + "/ws/btcusdt@trade") as socket:
            await socket.recv()

    served(scenario, speed=10.0, exchange_faults=Faults(close_after=4))


def test_fault_refused_and_then_served_again() -> None:
    async def scenario(running: Running) -> None:
        running.exchange_faults.refuse = True
        with pytest.raises(InvalidStatus) as refused:
            await connect(running.exchange_ws_url + "/ws", proxy=None).__aenter__()
        assert refused.value.response.status_code == 503
        async with (
            aiohttp.ClientSession() as session,
            session.get(running.exchange_rest_url + "/api/v3/ping") as answer,
        ):
            assert answer.status == 503
        running.exchange_faults.refuse = False
        async with connect(running.exchange_ws_url + "/ws") as socket:
            await ask(socket, method="LIST_SUBSCRIPTIONS", id=1)

    served(scenario)


def test_fault_stalled_stream_still_answers() -> None:
    async def scenario(running: Running) -> None:
        async with connect(running.exchange_ws_url + "/ws/btcusdt@trade") as socket:
            # a silence cannot be awaited: five event seconds are some twenty trades that do not come
            await asyncio.sleep(running.clock.wall_seconds_until(running.clock.now_us() + 5_000_000))
            await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 9}))
            assert json.loads(await socket.recv()) == {"result": ["btcusdt@trade"], "id": 9}

    served(scenario, speed=20.0, exchange_faults=Faults(stall=True))
