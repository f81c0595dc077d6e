import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connectors.errors import ConfigError, ServiceError
from connectors.sandbox.service import Running, SandboxConfig, spawn, start
from connectors.sandbox.truth import read_truth, truth
from connectors.sandbox.world import World
from tests.connectors.sandbox.places import SEED, T0_US

HOUR_US = 3_600_000_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def get(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.json()


async def block(running: Running, number: int) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": [hex(number), True]}
    async with aiohttp.ClientSession() as session, session.post(running.node_http_url, json=body) as answer:
        return (await answer.json())["result"]


def test_a_sandbox_started_again_goes_on_with_the_same_world() -> None:
    async def life(later_us: int) -> tuple[Any, Any, Any]:
        running = await start(SandboxConfig(seed=SEED, start_us=T0_US + later_us))
        try:
            head = running.world.chain.head(T0_US)
            assert head is not None
            end = T0_US // 1000 - 1000
            url = f"{running.exchange_rest_url}/api/v3"
            rows = await get(f"{url}/klines?symbol=SOLUSDT&interval=1s&endTime={end}&limit=100")
            trades = await get(f"{url}/aggTrades?symbol=SOLUSDT&endTime={end}&limit=100")
            return rows, trades, await block(running, head.height - 5)
        finally:
            await running.stop()

    first, second = asyncio.run(life(0)), asyncio.run(life(1_234_567_890))
    assert first == second
    assert len(first[0]) == len(first[1]) == 100
    assert first[2] is not None


def test_a_port_in_use_is_one_clear_line() -> None:
    async def scenario() -> None:
        running = await start(SandboxConfig())
        taken = int(running.node_http_url.rsplit(":", 1)[1])
        try:
            with pytest.raises(ServiceError) as fault:
                await start(SandboxConfig(exchange_port=free_port(), node_port=taken))
            assert f"127.0.0.1:{taken} cannot be opened" in str(fault.value)
            assert "set another node_port" in str(fault.value)
            assert "\n" not in str(fault.value)
        finally:
            await running.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"coins": 3, "groups": 5}, "a coin for each"),
        ({"step_ms": 300}, "two steps must divide a second"),
        ({"reorg_every_blocks": 5}, "at least 16"),
        ({"start_us": 5}, "lies before 2024-01-03"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        asyncio.run(start(SandboxConfig(**settings)))


def test_truth_is_written_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"

    async def scenario() -> None:
        running = await start(SandboxConfig(seed=SEED, start_us=T0_US, truth=path, truth_hours=2))
        await running.stop()

    asyncio.run(scenario())
    content = read_truth(path)
    world = World(SandboxConfig(seed=SEED))
    assert content == json.loads(json.dumps(truth(world, T0_US - 2 * HOUR_US, T0_US + 2 * HOUR_US)))
    assert [file.name for file in tmp_path.iterdir()] == ["truth.json"]


def test_truth_says_what_the_world_does() -> None:
    world = World(SandboxConfig(seed=SEED))
    content = truth(world, T0_US, T0_US + HOUR_US)
    assert len(content["coins"]) == 40
    assert content["stablecoins"] == ["USDCUSDT", "DAIUSDT"]
    assert abs(len(content["moves"]) - 24) <= 1
    group = {symbol: coin["group"] for symbol, coin in content["coins"].items()}
    for move in content["moves"]:
        assert group[move["symbol"]] == move["from_group"]
        group[move["symbol"]] = move["to_group"]
    end = {coin.symbol: world.market.group_of(coin.symbol, T0_US + HOUR_US - 1) for coin in world.market.coins[:40]}
    assert group == end
    assert world.market.group_of("USDCUSDT", T0_US) is None
    assert {"BTCUSDT", "ETHUSDT"}.isdisjoint(move["symbol"] for move in content["moves"])
    assert sum(len(found) for found in content["agents"].values()) == 1500
    assert {span["regime"] for span in content["regimes"]} == {"rising", "stable", "falling"}
    assert len(content["reorgs"]) in (11, 12, 13)


def test_a_truth_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="cannot write"):
        asyncio.run(start(SandboxConfig(truth=tmp_path / "nowhere" / "truth.json")))


def test_child_process_serves_and_stops(tmp_path: Path) -> None:
    process = spawn(SandboxConfig(seed=SEED, truth=tmp_path / "truth.json"))
    try:
        assert process.alive
        info = asyncio.run(get(process.urls.exchange_rest_url + "/api/v3/exchangeInfo"))
        assert len(info["symbols"]) == 42
        assert read_truth(tmp_path / "truth.json")["seed"] == SEED
        with pytest.raises(ServiceError, match="cannot be opened"):
            spawn(SandboxConfig(node_port=int(process.urls.node_http_url.rsplit(":", 1)[1])))
    finally:
        process.stop()
    assert not process.alive
    process.stop()


def test_child_process_hands_on_wrong_settings() -> None:
    with pytest.raises(ConfigError, match="a coin for each"):
        spawn(SandboxConfig(coins=3, groups=5))


_PARENT = """
import time
from connectors.sandbox.service import SandboxConfig, spawn
if __name__ == "__main__":
    process = spawn(SandboxConfig())
    print(process.pid, process.urls.exchange_ws_url.rsplit(":", 1)[1], flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_child_process_ends_with_its_parent(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    root = Path(__file__).resolve().parents[3]
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    )
    try:
        assert parent.stdout is not None
        child, port = (int(word) for word in parent.stdout.readline().split())
        with socket.create_connection(("127.0.0.1", port), 5):
            pass
    finally:
        parent.send_signal(how)
        parent.wait(10)
    # its output pipe closes when the last process that holds it has gone: nothing to poll for
    assert parent.stdout.read() == ""
    parent.stdout.close()
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", port), 5):
        pass
    assert not _runs(child)


def _runs(pid: int) -> bool:
    """Whether a process still runs; one that waits to be collected does not."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        if state in "ZX":
            return False
    return True
