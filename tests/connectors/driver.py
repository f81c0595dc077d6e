"""Drives a protocol core by hand: gives it records one by one and keeps what it wants and what it emits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from connectors.records import Action, Core, Fetch, Reconnect, Record, RecordKind, Send
from connectors.schema import SCHEMAS, Batch, Kind

SECOND = 1_000_000
START_US = 1_700_000_000 * SECOND


class Driver:
    """A core, the clock of its records, and all that came of them."""

    def __init__(self, core: Core, now_us: int = START_US) -> None:
        self.core, self.now_us = core, now_us
        self.records: list[Record] = []
        self.batches: list[Batch] = []
        self.wishes: list[Action] = []

    def give(self, kind: RecordKind, body: Any = b"", tag: str = "", status: int = 0) -> list[Batch]:
        text = body if isinstance(body, bytes) else msgspec.json.encode(body)
        record = Record(len(self.records), self.now_us, kind, text, tag, status)
        self.records.append(record)
        batches = self.core.feed([record])
        self.batches += batches
        self.wishes += self.core.actions()
        return batches

    def msg(self, body: Any) -> list[Batch]:
        return self.give("msg", body)

    def reply(self, tag: str, body: Any, status: int = 200) -> list[Batch]:
        return self.give("reply", body, tag, status)

    def ticks(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_us += SECOND
            self.give("tick")

    def sends(self) -> list[Any]:
        """Take the messages that the core wants to send."""
        return [msgspec.json.decode(wish.text) for wish in self._take(Send)]

    def fetches(self) -> list[Fetch]:
        return self._take(Fetch)

    def reconnects(self) -> list[str]:
        return [wish.reason for wish in self._take(Reconnect)]

    def _take(self, kind: type[Any]) -> list[Any]:
        taken = [wish for wish in self.wishes if isinstance(wish, kind)]
        self.wishes = [wish for wish in self.wishes if not isinstance(wish, kind)]
        return taken

    def rows(self, kind: Kind) -> list[dict[str, Any]]:
        """All rows of a kind so far."""
        return table_of(self.batches, kind).to_pylist()


def table_of(batches: Sequence[Batch], kind: Kind) -> pa.Table:
    """Join the rows of a kind; each batch is checked against its schema on the way."""
    parts = [batch.rows for batch in batches if batch.kind == kind]
    for part in parts:
        part.validate(full=True)
        assert part.schema.equals(SCHEMAS[kind])
    return pa.Table.from_batches(parts, SCHEMAS[kind]).unify_dictionaries()


def watermarks_of(batches: Sequence[Batch], kind: Kind) -> list[int]:
    """Join the watermarks before each row of a kind."""
    return [
        int(us) for b in batches if b.kind == kind and b.row_watermarks_us is not None for us in b.row_watermarks_us
    ]


def last_watermark(batches: Sequence[Batch]) -> int:
    """Return the watermark after everything; it never went back on the way."""
    marks = [batch.watermark_us for batch in batches]
    return max(marks, default=0)


def feed_in_chunks(core: Core, records: Sequence[Record], chunk: int) -> list[Batch]:
    """Feed all records, ``chunk`` at a time, ignoring what the core wants."""
    batches: list[Batch] = []
    for at in range(0, len(records), chunk):
        batches += core.feed(records[at : at + chunk])
        core.actions()
    return batches


def assert_same_in_any_chunks(build: Callable[[bytes | None], Core], records: Sequence[Record], restart: int) -> None:
    """Hold that rows, watermarks and totals depend on the records alone: not on chunks, not on a restart between."""
    kinds: tuple[Kind, ...] = ("trades", "bars", "blocks", "transfers", "gaps", "quarantine")
    whole = build(None)
    expected = feed_in_chunks(whole, records, max(len(records), 1))
    for chunk in (1, 7):
        core = build(None)
        batches = feed_in_chunks(core, records[:restart], chunk)
        core = build(core.snapshot())
        batches += feed_in_chunks(core, records[restart:], chunk)
        for kind in kinds:
            assert table_of(batches, kind).to_pylist() == table_of(expected, kind).to_pylist()
            assert watermarks_of(batches, kind) == watermarks_of(expected, kind)
        assert last_watermark(batches) == last_watermark(expected)
        assert core.stats == whole.stats
        assert core.snapshot() == whole.snapshot()
