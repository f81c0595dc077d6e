"""The websocket side of Binance spot: the messages, and subscribing in batches until all are acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from connectors.exchanges.binance_rest import VenueTime
from connectors.records import Send

STREAMS_PER_MESSAGE: Final = 200
STREAMS_MOST: Final = 1024  # on one connection


class Trade(msgspec.Struct, gc=False):
    """A trade: symbol, id, price, quantity, time, and whether the buyer had made the price."""

    s: str
    t: Annotated[int, Meta(ge=0, le=2**62)]
    p: float
    q: float
    T: VenueTime
    m: bool


class _TradeMessage(msgspec.Struct, gc=False):
    data: Trade


class Fault(msgspec.Struct):
    """An error as the venue words it."""

    code: int = 0
    msg: str = ""


class Control(msgspec.Struct):
    """Anything but a trade: an ack, an error in either of its two forms, another stream."""

    stream: str | None = None
    id: int | str | None = None
    code: int | None = None
    msg: str = ""
    error: Fault | None = None

    @property
    def fault(self) -> Fault | None:
        """The error, if it is one."""
        return self.error or (Fault(self.code, self.msg) if self.code is not None else None)


_trade = msgspec.json.Decoder(_TradeMessage, strict=False)  # prices are strings
_control = msgspec.json.Decoder(Control)


def decode_trade(body: bytes) -> Trade:
    """Return the trade in a combined-stream message; raises :class:`ValueError` if it is something else."""
    return _trade.decode(body).data


def decode_control(body: bytes) -> Control:
    """Return any other message; raises :class:`ValueError` if it is not a JSON object."""
    return _control.decode(body)


def stream_url(base: str) -> str:
    """Return the address of the combined streams below a websocket base address."""
    return base.rstrip("/") + "/stream"


class _Sent(msgspec.Struct):
    names: list[str]
    at_us: int


class Subscriptions(msgspec.Struct):
    """Subscriptions of one connection: those to ask for, and those that are asked for and not acknowledged."""

    unsent: list[list[str]] = []
    awaiting: dict[int, _Sent] = {}
    next_id: int = 1

    @property
    def complete(self) -> bool:
        """Whether everything has been acknowledged."""
        return not (self.unsent or self.awaiting)

    def begin(self, names: Sequence[str]) -> None:
        """Forget the connection before, and plan to ask for ``names``."""
        self.awaiting = {}
        self.unsent = [list(names[at : at + STREAMS_PER_MESSAGE]) for at in range(0, len(names), STREAMS_PER_MESSAGE)]

    def send_next(self, now_us: int) -> list[Send]:
        """Ask for one batch; call it once a tick: the venue takes five messages a second, pings included."""
        if not self.unsent:
            return []
        names = self.unsent.pop(0)
        request = {"method": "SUBSCRIBE", "params": names, "id": self.next_id}
        self.awaiting[self.next_id] = _Sent(names, now_us)
        self.next_id += 1
        return [Send(msgspec.json.encode(request).decode())]

    def answered(self, number: int, refused: bool) -> bool:
        """Take the answer to request ``number``; False if it is not awaited.

        A refused batch is asked for again in halves, so that one bad name costs itself alone.
        """
        sent = self.awaiting.pop(number, None)
        if sent is not None and refused and len(sent.names) > 1:
            middle = len(sent.names) // 2
            self.unsent += [sent.names[:middle], sent.names[middle:]]
        return sent is not None

    def overdue(self, now_us: int, deadline_us: int) -> bool:
        """Say whether an answer has been awaited for longer than ``deadline_us``."""
        return any(now_us - sent.at_us > deadline_us for sent in self.awaiting.values())
