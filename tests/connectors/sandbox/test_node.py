import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from connectors.sandbox.chain import CANONICAL, SIDE
from connectors.sandbox.faults import Faults
from connectors.sandbox.node import Rpc, RpcError
from connectors.sandbox.service import Running, SandboxConfig, start
from connectors.sandbox.world import World
from tests.connectors.sandbox.places import SEED, T0_US

WORLD = World(SandboxConfig(seed=SEED))
CHAIN = WORLD.chain
RPC = Rpc(WORLD.ledger)
PATIENCE_S = 60.0


def served(scenario: Callable[[Running], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        running = await start(SandboxConfig(seed=SEED, **{"start_us": T0_US, **settings}))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await scenario(running)
        finally:
            await running.stop()

    asyncio.run(run())


async def drain(socket: ClientConnection) -> None:
    """Receive until the connection ends."""
    while True:
        await socket.recv()


def step(running: Running, until_us: int) -> None:
    """From now on, let the clock jump from announcement to announcement, and stand still at ``until_us``."""
    now = [running.clock.now_us()]

    def jump(due_us: int) -> float:
        if due_us > until_us:
            return 3600.0
        now[0] = due_us
        return 0.0

    running.clock.now_us = lambda: now[0]  # type: ignore[method-assign]
    running.clock.wall_seconds_until = jump  # type: ignore[method-assign, assignment]


async def post(running: Running, body: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with aiohttp.ClientSession() as session, session.post(running.node_http_url, data=data) as answer:
        text = await answer.text()
        return json.loads(text) if text else None


def request(method: str, *params: Any, identity: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identity, "method": method, "params": list(params)}


def head() -> int:
    found = CHAIN.head(T0_US)
    assert found is not None
    return found.height


# --------------------------------------------------------------- the methods


def test_tags_name_their_blocks() -> None:
    def number(tag: str) -> int:
        return int(RPC.call("eth_getBlockByNumber", [tag, False], T0_US)["number"], 16)

    assert number("latest") == number("pending") == head() == int(RPC.call("eth_blockNumber", [], T0_US), 16)
    assert (head() - number("safe"), head() - number("finalized"), number("earliest")) == (32, 64, 0)


def test_a_block_by_number_is_the_block_by_hash() -> None:
    block = RPC.call("eth_getBlockByNumber", [hex(head() - 3), True], T0_US)
    assert RPC.call("eth_getBlockByHash", [block["hash"], True], T0_US) == block
    assert RPC.call("eth_getBlockByHash", [block["hash"].upper().replace("0X", "0x"), True], T0_US) == block
    receipts = RPC.call("eth_getBlockReceipts", [block["hash"]], T0_US)
    assert receipts == RPC.call("eth_getBlockReceipts", [block["number"]], T0_US)
    assert [receipt["transactionHash"] for receipt in receipts] == [tx["hash"] for tx in block["transactions"]]
    assert RPC.call("eth_getTransactionReceipt", [receipts[5]["transactionHash"]], T0_US) == receipts[5]


def test_what_is_not_there_is_null() -> None:
    nothing = "0x" + "ab" * 32
    assert RPC.call("eth_getBlockByNumber", [hex(head() + 1), True], T0_US) is None
    assert RPC.call("eth_getBlockByHash", [nothing, True], T0_US) is None
    assert RPC.call("eth_getBlockByHash", [CHAIN.hash_of(head() + 1, CANONICAL), True], T0_US) is None
    assert RPC.call("eth_getBlockReceipts", [nothing], T0_US) is None
    assert RPC.call("eth_getTransactionReceipt", [nothing], T0_US) is None
    assert RPC.call("eth_getTransactionReceipt", [CHAIN.transaction_hash(head() + 1, CANONICAL, 0)], T0_US) is None


def test_a_replaced_block_is_served_by_number_before_and_by_hash_ever_after() -> None:
    reorg = next(r for r in CHAIN.reorgs(T0_US, T0_US + 10**11) if r.depth == 2)
    side, canonical = CHAIN.hash_of(reorg.first, SIDE), CHAIN.hash_of(reorg.first, CANONICAL)
    number = hex(reorg.first)
    before, after = reorg.at_us - 1, reorg.at_us
    assert RPC.call("eth_getBlockByNumber", [number, False], before)["hash"] == side
    assert RPC.call("eth_getBlockByHash", [canonical, False], before) is None
    assert RPC.call("eth_getBlockByNumber", [number, False], after)["hash"] == canonical
    assert RPC.call("eth_getBlockByHash", [side, False], after)["hash"] == side
    lost = WORLD.ledger.block(reorg.first, SIDE).transactions[-1].hash
    assert RPC.call("eth_getTransactionReceipt", [lost], before)["blockHash"] == side
    assert RPC.call("eth_getTransactionReceipt", [lost], after) is None
    kept = WORLD.ledger.block(reorg.first, SIDE).transactions[0].hash
    assert RPC.call("eth_getTransactionReceipt", [kept], after)["blockHash"] == canonical


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("eth_nothing", [], -32601),
        ("eth_getBlockByNumber", [], -32602),
        ("eth_getBlockByNumber", ["0x1"], -32602),
        ("eth_getBlockByNumber", [1, True], -32602),
        ("eth_getBlockByNumber", ["12", True], -32602),
        ("eth_getBlockByNumber", ["0x01", True], -32602),
        ("eth_getBlockByNumber", ["newest", True], -32602),
        ("eth_getBlockByHash", ["0x12", True], -32602),
        ("eth_getBlockByHash", ["0x" + "ab" * 32, "yes"], -32602),
        ("eth_getTransactionReceipt", ["0x12"], -32602),
    ],
)
def test_wrong_calls_get_the_right_number(method: str, params: list[Any], code: int) -> None:
    with pytest.raises(RpcError) as fault:
        RPC.call(method, params, T0_US)
    assert fault.value.code == code


# --------------------------------------------------------------- the servers


def test_http_single_batch_and_faulty_requests() -> None:
    async def scenario(running: Running) -> None:
        assert await post(running, request("eth_chainId")) == {"jsonrpc": "2.0", "id": 1, "result": "0x539"}
        assert (await post(running, request("net_version")))["result"] == "1337"
        assert (await post(running, request("web3_clientVersion")))["result"].startswith("ShoalSandbox")
        batch = [request("eth_getBlockByNumber", hex(head() - k), True, identity=k) for k in range(20)]
        answers = await post(running, [*batch, request("eth_nothing", identity="x"), 5])
        assert [answer["id"] for answer in answers] == [*range(20), "x", None]
        assert [answer["error"]["code"] for answer in answers[20:]] == [-32601, -32600]
        for newer, older in itertools.pairwise(answers[:20]):
            assert newer["result"]["parentHash"] == older["result"]["hash"]
        assert (await post(running, b'{"jsonrpc":'))["error"]["code"] == -32700
        assert (await post(running, b"\xff\xfe"))["error"]["code"] == -32700
        assert (await post(running, []))["error"]["code"] == -32600
        assert (await post(running, [request("eth_chainId")] * 1001))["error"]["code"] == -32600
        assert (await post(running, {"id": 1, "method": "eth_chainId", "params": {}}))["error"]["code"] == -32602
        assert (await post(running, request("eth_subscribe", "newHeads")))["error"]["code"] == -32601
        assert await post(running, {"jsonrpc": "2.0", "method": "eth_chainId"}) is None
        async with aiohttp.ClientSession() as session, session.get(running.node_http_url) as answer:
            assert answer.status == 200

    served(scenario)


def test_heads_come_after_the_answer_and_end_with_the_subscription() -> None:
    async def scenario(running: Running) -> None:
        async with connect(running.node_ws_url) as socket:
            await socket.send(json.dumps(request("eth_subscribe", "newHeads")))
            answer = json.loads(await socket.recv())
            heads = [json.loads(await socket.recv()) for _ in range(4)]
            for note in heads:
                assert note["method"] == "eth_subscription"
                assert note["params"]["subscription"] == answer["result"]
            first = heads[0]["params"]["result"]
            await socket.send(json.dumps(request("eth_getBlockByHash", first["hash"], True, identity=2)))
            while (block := json.loads(await socket.recv())).get("id") != 2:
                pass
            assert {key: block["result"][key] for key in first} == first
            await socket.send(json.dumps(request("eth_unsubscribe", answer["result"], identity=3)))
            while (ended := json.loads(await socket.recv())).get("id") != 3:
                pass
            assert ended["result"] is True
            await socket.send(json.dumps(request("eth_unsubscribe", answer["result"], identity=4)))
            assert json.loads(await socket.recv())["error"]["message"] == "subscription not found"
            await socket.send(json.dumps(request("eth_subscribe", "logs", identity=5)))
            assert json.loads(await socket.recv())["error"]["code"] == -32601

    served(scenario, speed=20.0)


@pytest.mark.parametrize("how", ["longer", "sibling"])
def test_a_reorg_is_announced_as_geth_does_it(how: str) -> None:
    reorg = next(r for r in CHAIN.reorgs(T0_US, T0_US + 10**11) if (r.how, r.depth) == (how, 2))

    async def scenario(running: Running) -> None:
        async with connect(running.node_ws_url) as socket:
            await socket.send(json.dumps(request("eth_subscribe", "newHeads")))
            await socket.recv()
            step(running, CHAIN.due_us(reorg.last + 2))
            heads: list[str] = []
            while CHAIN.hash_of(reorg.last + 2, CANONICAL) not in heads:
                heads.append(json.loads(await socket.recv())["params"]["result"]["hash"])
        side = [CHAIN.hash_of(height, SIDE) for height in range(reorg.first, reorg.last + 1)]
        again = [CHAIN.hash_of(reorg.last, CANONICAL)] if how == "sibling" else []
        rest = [CHAIN.hash_of(reorg.last + k, CANONICAL) for k in (1, 2)]
        begin = heads.index(side[0])
        assert heads[begin:] == [*side, *again, *rest]

    served(scenario, start_us=CHAIN.due_us(reorg.first - 2) + 1_700_000)


def test_of_several_heads_at_once_the_last_alone_is_announced() -> None:
    async def scenario(running: Running) -> None:
        async with connect(running.node_ws_url) as socket:
            await socket.send(json.dumps(request("eth_subscribe", "newHeads")))
            await socket.recv()
            numbers = [int(json.loads(await socket.recv())["params"]["result"]["number"], 16) for _ in range(8)]
        steps = [b - a for a, b in itertools.pairwise(numbers)]
        assert max(steps) > 1

    served(scenario, speed=20_000.0)


def test_faults_of_the_node() -> None:
    async def scenario(running: Running) -> None:
        async with connect(running.node_ws_url) as socket:
            await socket.send(json.dumps(request("eth_subscribe", "newHeads")))
            await socket.recv()
            with pytest.raises(ConnectionClosed):
                await drain(socket)
        running.node_faults.refuse = True
        async with aiohttp.ClientSession() as session, session.post(running.node_http_url, data=b"{}") as answer:
            assert answer.status == 503

    served(scenario, speed=20.0, node_faults=Faults(close_after=2))
