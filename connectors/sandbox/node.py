"""The Ethereum node: JSON-RPC over HTTP and over a websocket, on one port of loopback."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import msgspec
from aiohttp import WSMsgType, web

from connectors.sandbox import ethjson
from connectors.sandbox.chain import FINAL_DEPTH, SAFE_DEPTH, Branch
from connectors.sandbox.clock import Clock
from connectors.sandbox.draws import digest
from connectors.sandbox.faults import Faults
from connectors.sandbox.ledger import Block, Ledger
from connectors.sandbox.wire import CLOSING, Peer, background, pump

MAX_BATCH: Final = 1000
MAX_MESSAGE: Final = 32 * 2**20
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
CLIENT_VERSION: Final = "ShoalSandbox/v1"

_QUANTITY: Final = re.compile(r"0x(0|[1-9a-fA-F][0-9a-fA-F]{0,15})")
_HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}")


class RpcError(Exception):
    """An error of JSON-RPC: its number and its sentence."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message


class Rpc:
    """The methods of the node, each a function of its parameters and the time of asking."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._chain = ledger, ledger.chain
        self._methods: dict[str, Callable[[list[Any], int], Any]] = {
            "web3_clientVersion": lambda _, __: CLIENT_VERSION,
            "net_version": lambda _, __: str(ethjson.CHAIN_ID),
            "eth_chainId": lambda _, __: ethjson.quantity(ethjson.CHAIN_ID),
            "eth_syncing": lambda _, __: False,
            "eth_blockNumber": lambda _, now_us: ethjson.quantity(self._head(now_us)),
            "eth_getBlockByNumber": self._by_number,
            "eth_getBlockByHash": self._by_hash,
            "eth_getBlockReceipts": self._block_receipts,
            "eth_getTransactionReceipt": self._receipt,
        }

    def call(self, method: str, params: list[Any], now_us: int) -> Any:
        """Return a method's result.

        Raises
        ------
        RpcError
            If there is no such method or its parameters are wrong.
        """
        if method not in self._methods:
            raise RpcError(METHOD_NOT_FOUND, f"the method {method} does not exist/is not available")
        return self._methods[method](params, now_us)

    def _head(self, now_us: int) -> int:
        head = self._chain.head(now_us)
        return -1 if head is None else head.height

    def _by_number(self, params: list[Any], now_us: int) -> Any:
        block = self._named(_argument(params, 0, str), now_us)
        full = _argument(params, 1, bool)
        return None if block is None else ethjson.full_block(block, full)

    def _by_hash(self, params: list[Any], now_us: int) -> Any:
        block = self._hashed(_hash(params, 0), now_us)
        full = _argument(params, 1, bool)
        return None if block is None else ethjson.full_block(block, full)

    def _block_receipts(self, params: list[Any], now_us: int) -> Any:
        name = _argument(params, 0, str)
        block = self._hashed(name, now_us) if _HASH.fullmatch(name) else self._named(name, now_us)
        return None if block is None else ethjson.receipts(block)

    def _receipt(self, params: list[Any], now_us: int) -> Any:
        """Return the receipt from the block of the node's present chain that holds the transaction."""
        wanted = _hash(params, 0)
        place = self._chain.find_transaction(wanted)
        if place is None or place[0] > self._head(now_us):
            return None
        height = place[0]
        block = self._ledger.block(height, self._chain.branch_at(height, now_us))
        return next((receipt for receipt in ethjson.receipts(block) if receipt["transactionHash"] == wanted), None)

    def _named(self, name: str, now_us: int) -> Block | None:
        """Return the block of a number or tag in the node's present chain; None if it has none."""
        head = self._head(now_us)
        tags = {
            "latest": head,
            "pending": head,
            "safe": max(0, head - SAFE_DEPTH),
            "finalized": max(0, head - FINAL_DEPTH),
            "earliest": 0,
        }
        if name not in tags and _QUANTITY.fullmatch(name) is None:
            raise RpcError(INVALID_PARAMS, "invalid argument 0: hex string without 0x prefix, or no number")
        height = tags[name] if name in tags else int(name, 16)
        return self._ledger.block(height, self._chain.branch_at(height, now_us)) if 0 <= height <= head else None

    def _hashed(self, block_hash: str, now_us: int) -> Block | None:
        place = self._chain.find(block_hash)
        if place is None or not self._chain.known(*place, now_us):
            return None
        return self._ledger.block(*place)

    def head_note(self, height: int, branch: Branch, subscription: str) -> str:
        """Write a newHeads notification."""
        result = ethjson.header(self._ledger.block(height, branch))
        params = {"subscription": subscription, "result": result}
        return msgspec.json.encode({"jsonrpc": "2.0", "method": "eth_subscription", "params": params}).decode()


class _Link:
    """A websocket and the subscriptions that it opened in the message being answered."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.opened: list[str] = []


class Node:
    """The node of one world; ``application`` serves it."""

    def __init__(self, ledger: Ledger, clock: Clock, faults: Faults) -> None:
        self._chain, self._clock, self._faults = ledger.chain, clock, faults
        self._rpc = Rpc(ledger)
        self._subscriptions: dict[str, Peer] = {}
        self._made = 0
        self.application = web.Application(client_max_size=MAX_MESSAGE)
        self.application.add_routes([web.post("/", self._post), web.get("/", self._get)])
        self.application.cleanup_ctx.append(self._lifetime)

    async def _lifetime(self, _: web.Application) -> AsyncGenerator[None, None]:
        announcer = background(self._announce(), "announcer")
        yield
        announcer.cancel()
        await asyncio.gather(announcer, return_exceptions=True)

    async def _announce(self) -> None:
        """Announce heads; if several came at once, the last one only."""
        now_us = self._clock.now_us()
        while True:
            due = self._chain.next_head(now_us)
            await asyncio.sleep(self._clock.wall_seconds_until(due.at_us))
            now_us = max(self._clock.now_us(), due.at_us)
            head = self._chain.head(now_us)
            if head is None:
                continue
            for subscription, peer in list(self._subscriptions.items()):
                peer.push(self._rpc.head_note(head.height, head.branch, subscription))

    async def _post(self, request: web.Request) -> web.Response:
        if self._faults.refuse:
            return web.Response(status=503)
        text = await asyncio.to_thread(self._answer, await request.read(), None)
        return web.Response(body=text, content_type="application/json")

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if self._faults.refuse:
            return web.Response(status=503)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response()
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=MAX_MESSAGE)
        await socket.prepare(request)
        link = _Link(Peer(request, socket, self._faults))
        jobs = pump(link.peer, None, 0.0)
        try:
            await self._converse(socket, link)
        finally:
            self._subscriptions = {name: who for name, who in self._subscriptions.items() if who is not link.peer}
            for job in jobs:
                job.cancel()
        return socket

    async def _converse(self, socket: web.WebSocketResponse, link: _Link) -> None:
        while True:
            message = await socket.receive()
            if message.type in CLOSING:
                return
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                data = message.data.encode() if isinstance(message.data, str) else message.data
                answer = await asyncio.to_thread(self._answer, data, link)
                if answer:
                    link.peer.reply(answer.decode())
                # only now: the answer that names a subscription comes before its first head
                self._subscriptions |= dict.fromkeys(link.opened, link.peer)
                link.opened.clear()

    # ------------------------------------------------------------- JSON-RPC

    def _answer(self, data: bytes, link: _Link | None) -> bytes:
        """Answer a request or a batch of them; nothing for notifications."""
        try:
            message = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.encode(_failure(None, RpcError(PARSE_ERROR, "parse error")))
        if not isinstance(message, list):
            answer = self._one(message, link)
            return b"" if answer is None else msgspec.json.encode(answer)
        if not message or len(message) > MAX_BATCH:
            fault = RpcError(INVALID_REQUEST, "batch too large" if message else "empty batch")
            return msgspec.json.encode(_failure(None, fault))
        answers = [answer for one in message if (answer := self._one(one, link)) is not None]
        return msgspec.json.encode(answers) if answers else b""

    def _one(self, request: Any, link: _Link | None) -> dict[str, Any] | None:
        identity = request.get("id") if isinstance(request, dict) else None
        try:
            method, params = _checked(request)
            result = self._call(method, params, link)
        except RpcError as error:
            return _failure(identity, error)
        return None if "id" not in request else {"jsonrpc": "2.0", "id": identity, "result": result}

    def _call(self, method: str, params: list[Any], link: _Link | None) -> Any:
        if method == "eth_subscribe":
            return self._subscribe(params, link)
        if method == "eth_unsubscribe":
            return self._unsubscribe(params, link)
        return self._rpc.call(method, params, self._clock.now_us())

    def _subscribe(self, params: list[Any], link: _Link | None) -> str:
        if link is None:
            raise RpcError(METHOD_NOT_FOUND, "notifications not supported")
        kind = _argument(params, 0, str)
        if kind != "newHeads":
            raise RpcError(METHOD_NOT_FOUND, f'no "{kind}" subscription in eth namespace')
        self._made += 1
        subscription = "0x" + digest(self._chain.seed, "subscription", self._made)[:16].hex()
        link.opened.append(subscription)
        return subscription

    def _unsubscribe(self, params: list[Any], link: _Link | None) -> bool:
        subscription = _argument(params, 0, str)
        if link is None or self._subscriptions.get(subscription) is not link.peer:
            raise RpcError(-32000, "subscription not found")
        del self._subscriptions[subscription]
        return True


def _checked(request: Any) -> tuple[str, list[Any]]:
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        raise RpcError(INVALID_REQUEST, "invalid request")
    params = request.get("params")
    if params is not None and not isinstance(params, list):
        raise RpcError(INVALID_PARAMS, "non-array args")
    return request["method"], params or []


def _argument(params: list[Any], position: int, kind: type) -> Any:
    if len(params) <= position:
        raise RpcError(INVALID_PARAMS, f"missing value for required argument {position}")
    value = params[position]
    if not isinstance(value, kind):
        raise RpcError(INVALID_PARAMS, f"invalid argument {position}: a {kind.__name__} is expected")
    return value


def _hash(params: list[Any], position: int) -> str:
    text: str = _argument(params, position, str)
    if _HASH.fullmatch(text) is None:
        raise RpcError(INVALID_PARAMS, f"invalid argument {position}: 32 bytes in hex are expected")
    return text.lower()


def _failure(identity: Any, error: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identity, "error": {"code": error.code, "message": error.message}}
