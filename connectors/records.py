"""What passes between a connector's shell and its protocol core: records in, actions out.

A core never sees a socket or a clock. The shell (:mod:`connectors.session`) stamps whatever it receives, writes it
to the journal as a :class:`Record` and only then gives it to the core; the core answers with actions. Time reaches
a core as records of kind ``tick``, about one a second. So everything that a core decides is a function of its
journal, and a replay, which ignores the actions, decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import msgspec

from connectors.schema import Batch

RecordKind: TypeAlias = Literal["open", "close", "msg", "reply", "tick"]


class Record(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened on a feed.

    ``n`` counts up from 0 per feed without holes; ``t_us`` is when it was received (microseconds since the epoch);
    ``kind`` is ``open`` (connected; body: the URL), ``close`` (disconnected or refused; body: the reason), ``msg``
    (a websocket message as received), ``reply`` (the answer to a :class:`Fetch`; ``tag`` is the fetch's,
    ``status`` the HTTP status or 0 if none came, the body as received) or ``tick`` (a second has passed).
    """

    n: int
    t_us: int
    kind: RecordKind
    body: bytes = b""
    tag: str = ""
    status: int = 0


@dataclass(frozen=True, slots=True)
class Send:
    """Send a text message on the websocket (dropped if it is not open)."""

    text: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Do an HTTP request; the answer comes back as a record of kind ``reply`` with the same tag.

    ``path`` is relative to the feed's ``http_url``; a ``body`` makes it a POST of JSON text. ``after_s`` delays it.
    """

    tag: str
    path: str
    body: str | None = None
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Close the websocket and open it again (a stream that went silent, acks that did not come)."""

    reason: str


Action: TypeAlias = Send | Fetch | Reconnect


@dataclass(slots=True)
class FeedStats:
    """Totals of a feed since its journal began; part of the core's state, so that they survive restarts."""

    up: bool = False
    events: int = 0
    parse_errors: int = 0
    duplicates: int = 0
    late: int = 0
    gaps: int = 0
    gap_events_missing: int = 0
    gap_events_filled: int = 0
    reconnects: dict[str, int] = field(default_factory=dict)
    last_event_us: int = 0
    lag_us: int = 0
    head_height: int = -1
    final_height: int = -1
    reorgs: int = 0
    reorg_depths: list[int] = field(default_factory=list)
    unknown: int = 0  # messages of a kind that the core does not know


class Core(Protocol):
    """A protocol core: a state machine from records to batches and actions."""

    stats: FeedStats

    def feed(self, records: Sequence[Record]) -> list[Batch]:
        """Consume records in order; return the batches that they complete, in order."""

    def actions(self) -> list[Action]:
        """Return, once, what the shell is to do now."""

    def snapshot(self) -> bytes:
        """Return the state, from which the same class restores itself."""
