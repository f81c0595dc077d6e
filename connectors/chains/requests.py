"""JSON-RPC to an Ethereum node: what can be asked, how a call is written, how answers and notes are read."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from connectors.chains.blocks import Block

RequestKind: TypeAlias = Literal["subscribe", "latest", "probe", "number", "hash", "receipts"]


class Request(msgspec.Struct):
    """Something asked of the node: of a block by height or hash, or of the node itself."""

    kind: RequestKind
    height: int = -1
    hash: bytes = b""
    block: Block | None = None  # what the receipts are for
    by_number: bool = False
    attempt: int = 0
    at_us: int = 0  # when sent, or when to send again


class Probe(msgspec.Struct):
    """Search for the first block at or after ``since_us``: it is above ``low`` and at most ``high``."""

    since_us: int
    low: int
    high: int
    step: int = 64
    galloping: bool = True

    def height(self) -> int:
        """Return the height to look at next."""
        return max(self.low, self.high - self.step) if self.galloping else (self.low + self.high) // 2

    def found(self, height: int, time_us: int) -> int | None:
        """Take the time of a block; return the height searched for once it is known."""
        if time_us >= self.since_us:
            self.high = height
            if self.galloping and height == self.low:
                return height
            self.step *= 2
        else:
            self.low, self.galloping = height, False
        return self.high if not self.galloping and self.high - self.low <= 1 else None


class RpcError(msgspec.Struct):
    """An error answer."""

    code: int = 0
    message: str = ""


class Note(msgspec.Struct):
    """What a subscription reports."""

    result: msgspec.Raw = msgspec.Raw()


class Envelope(msgspec.Struct):
    """A message of the node: an answer (``id``) or a note (``method``)."""

    id: int | str | None = None
    method: str | None = None
    params: Note | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: RpcError | None = None


_envelope = msgspec.json.Decoder(Envelope)
_envelopes = msgspec.json.Decoder(list[Envelope])


def decode_message(body: bytes) -> list[Envelope]:
    """Return the messages in one websocket message (a batch is an array); raises :class:`msgspec.DecodeError`."""
    return _envelopes.decode(body) if body[:1] == b"[" else [_envelope.decode(body)]


def encode_call(request: Request, number: int) -> str:
    """Return the call of a request as JSON text."""
    method, params = _call(request)
    return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).decode()


def _call(request: Request) -> tuple[str, list[Any]]:
    match request.kind:
        case "subscribe":
            return "eth_subscribe", ["newHeads"]
        case "latest":
            return "eth_getBlockByNumber", ["latest", False]
        case "probe":
            return "eth_getBlockByNumber", [hex(request.height), False]
        case "number":
            return "eth_getBlockByNumber", [hex(request.height), True]
        case "hash":
            return "eth_getBlockByHash", ["0x" + request.hash.hex(), True]
        case "receipts":
            return "eth_getBlockReceipts", ["0x" + request.hash.hex()]
