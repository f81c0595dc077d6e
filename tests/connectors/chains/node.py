"""A node in memory: a chain that grows, forks and forgets, and answers JSON-RPC."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from connectors.chains.ethereum import EthereumConfig, EthereumCore
from connectors.records import Send
from tests.connectors.driver import SECOND, START_US, Driver

BLOCK_S = 12


def digest(*parts: object) -> str:
    """Return a hash that is unique to ``parts``."""
    rng = np.random.default_rng([abs(hash_part(part)) for part in parts])
    return "0x" + rng.bytes(32).hex()


def hash_part(part: object) -> int:
    return int.from_bytes(str(part).encode(), "big") % (1 << 60)


def address(number: int) -> str:
    return f"0x{number:040X}"  # upper case: readers must not care


class Node:
    """Blocks by hash, the canonical ones in order; ``first_s`` is the time of the genesis block's child."""

    def __init__(self, blocks: int = 5, start_s: int = START_US // SECOND) -> None:
        self.start_s = start_s - (blocks - 1) * BLOCK_S
        self.forks = 0
        self.canonical: list[dict[str, Any]] = [self._block(0, "0x" + "00" * 32, 0)]
        self.by_hash = {block["hash"]: block for block in self.canonical}
        self.receipts = True
        self.hidden: set[str] = set()  # hashes that it does not give yet
        self.pruned_below = 0
        self.mine(blocks - 1)

    @property
    def head(self) -> dict[str, Any]:
        return self.canonical[-1]

    def mine(self, count: int = 1) -> None:
        for _ in range(count):
            height = len(self.canonical)
            block = self._block(height, self.head["hash"], 1 + height % 3)
            self.canonical.append(block)
            self.by_hash[block["hash"]] = block

    def reorganise(self, depth: int, grow: int = 1) -> None:
        """Replace the newest ``depth`` blocks by ``depth + grow`` others."""
        self.forks += 1
        del self.canonical[len(self.canonical) - depth :]
        self.mine(depth + grow)

    def _block(self, height: int, parent: str, txs: int) -> dict[str, Any]:
        own = digest("block", height, self.forks, parent)
        transactions = [
            {
                "hash": digest("tx", own, at), "nonce": "0x0", "blockHash": own, "blockNumber": hex(height),
                "transactionIndex": hex(at), "from": address(0xA0 + height % 7),
                "to": None if (height + at) % 5 == 0 else address(0xB0 + at),
                "value": hex(10**18 * height + at), "gas": "0x5208", "input": "0x", "type": "0x2",
            }
            for at in range(txs)
        ]  # fmt: skip
        return {
            "number": hex(height), "hash": own, "parentHash": parent, "miner": address(1), "gasLimit": "0x1",
            "timestamp": hex(self.start_s + height * BLOCK_S) if height else "0x0", "transactions": transactions,
            "withdrawals": [{"index": "0x0", "validatorIndex": "0x1", "address": address(0xC0), "amount": "0x5"}],
        }  # fmt: skip

    def receipts_of(self, block: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "transactionHash": tx["hash"], "blockHash": block["hash"], "status": "0x0" if at == 1 else "0x1",
                "contractAddress": address(0xDD) if tx["to"] is None else None, "logs": [],
            }
            for at, tx in enumerate(block["transactions"])
        ]  # fmt: skip

    def note(self, block: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what a subscriber is sent of a new head."""
        header = {k: v for k, v in (block or self.head).items() if k not in ("transactions", "withdrawals")}
        return {"jsonrpc": "2.0", "method": "eth_subscription", "params": {"subscription": "0x1", "result": header}}

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        """Answer a call."""
        method, params = call["method"], call["params"]
        if method == "eth_getBlockReceipts" and not self.receipts:
            return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32601, "message": "no such method"}}
        return {"jsonrpc": "2.0", "id": call["id"], "result": self._result(method, params)}

    def _result(self, method: str, params: list[Any]) -> Any:
        if method == "eth_subscribe":
            return "0xcd0c"
        if method == "eth_getBlockReceipts":
            found = self._visible(self.by_hash.get(params[0]))
            return None if found is None else self.receipts_of(found)
        if method == "eth_getBlockByHash":
            block = self._visible(self.by_hash.get(params[0]))
        elif params[0] == "latest":
            block = self.head
        else:
            height = int(params[0], 16)
            block = self._visible(self.canonical[height]) if height < len(self.canonical) else None
        if block is None or params[1]:
            return block
        return {**block, "transactions": [tx["hash"] for tx in block["transactions"]]}

    def _visible(self, block: dict[str, Any] | None) -> dict[str, Any] | None:
        if block is None or block["hash"] in self.hidden or int(block["number"], 16) < self.pruned_below:
            return None
        return block


class Conversation(Driver):
    """A core that talks to a node; calls are answered when :meth:`answer` is called."""

    def __init__(self, node: Node, config: EthereumConfig) -> None:
        super().__init__(EthereumCore(config))
        self.node = node

    def connect(self) -> None:
        self.give("open", b"ws://node")
        self.answer()

    def answer(self, rounds: int = 1000) -> int:
        """Answer calls until there are none (or so many times); return how many were answered."""
        answered = 0
        for _ in range(rounds):
            calls = self._take(Send)
            if not calls:
                break
            for call in calls:
                answered += 1
                self.msg(self.node.answer(msgspec.json.decode(call.text)))
        return answered

    def head(self) -> None:
        """Let the node announce its head, and answer what that makes the core ask."""
        self.now_us = max(self.now_us, int(self.node.head["timestamp"], 16) * SECOND)
        self.msg(self.node.note())
        self.answer()

    def chain(self) -> list[str]:
        """Apply the rows of blocks; return the hashes that stand."""
        stack: list[dict[str, Any]] = []
        for row in self.rows("blocks"):
            if row["op"] == 1:
                assert not stack or row["parent_hash"] == stack[-1]["hash"]
                stack.append(row)
            else:
                assert stack.pop()["hash"] == row["hash"]
        return ["0x" + row["hash"].hex() for row in stack]

    def canonical(self, first: int) -> list[str]:
        return [block["hash"] for block in self.node.canonical[first:]]

    def standing(self) -> list[tuple[Any, ...]]:
        """Apply the rows of transfers; return those that stand, sorted."""
        rows: dict[tuple[Any, ...], int] = {}
        for row in self.rows("transfers"):
            op = row.pop("op")
            key = tuple(row.values())
            rows[key] = rows.get(key, 0) + op
            assert rows[key] in (0, 1)
        return sorted((key for key, count in rows.items() if count), key=str)
