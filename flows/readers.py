"""Readers: archives, journals and live feeds as the sources of the dataflow want them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from connectors.archives import ArchiveReader
from connectors.feed import JournalFeed, LiveFeed
from connectors.journal import JournalReader, encode_records
from connectors.schema import Batch
from flows.sources import Opener, Position, Reader

BATCH_ROWS = 8192


@dataclass(slots=True)
class Progress:
    """How far one input has been read: shared with whoever shows it."""

    name: str
    total: int = 0
    done: int = 0


class ArchiveInput:
    """Reads an archive; the position is a row number."""

    live = False

    def __init__(self, reader: ArchiveReader, progress: Progress, batch_rows: int, position: Position | None) -> None:
        self._reader = reader
        self._reader.position = position or 0
        self._progress, self._limit = progress, batch_rows
        progress.total = reader.rows_total
        progress.done = min(self._reader.position, progress.total)

    def poll(self) -> list[Batch]:
        """Return the next batch."""
        batch = self._reader.next(self._limit)
        if batch is None:
            raise StopIteration
        self._progress.done = min(self._reader.position, self._reader.rows_total)
        return [batch]

    def position(self) -> Position:
        """Return the next row."""
        return self._reader.position

    def close(self) -> None:
        """Nothing is held open."""


class JournalInput:
    """Replays a journal; the position is a record number and the core's state.

    The end of a journal is where a run stopped and not the end of the world: a bar that was open stays open, as it
    was in the run itself. The rows of a journal that ended hold back whatever else is replayed beside it.
    """

    live = False

    def __init__(self, folder: Path, progress: Progress, batch_rows: int, position: Position | None) -> None:
        self._feed = JournalFeed.open(folder, position)
        self._progress, self._limit = progress, batch_rows
        self._ended = False
        progress.total = JournalReader(folder).end_n
        progress.done = self._feed.position

    def poll(self) -> list[Batch]:
        """Return the batches of the next records."""
        if self._ended:
            raise StopIteration
        batches = self._feed.poll(self._limit)
        self._progress.done = self._feed.position
        self._ended = self._feed.ended
        return batches

    def position(self) -> Position:
        """Return the next record and the core's state there."""
        return self._feed.position, self._feed.core_state()

    def close(self) -> None:
        """Nothing is held open."""


class LiveInput:
    """A live feed; what it says of itself goes to the board at every poll."""

    live = True

    def __init__(self, feed: LiveFeed, on_stats: Callable[[LiveFeed], None]) -> None:
        self._feed, self._on_stats = feed, on_stats

    def poll(self) -> list[Batch]:
        """Return what has come since the last poll; never waits."""
        batches = self._feed.poll(BATCH_ROWS)
        self._on_stats(self._feed)
        return batches

    def position(self) -> Position:
        """Return the next record and the core's state there."""
        return self._feed.position, self._feed.core_state()

    def close(self) -> None:
        """Disconnect."""
        self._feed.close()


def archive_opener(reader: ArchiveReader, progress: Progress, batch_rows: int) -> Opener:
    """Return what takes an open archive as an input: its faults have shown before the dataflow runs."""

    def opened(position: Position | None) -> Reader:
        return ArchiveInput(reader, progress, batch_rows, position)

    return opened


def journal_opener(folder: Path, progress: Progress, batch_rows: int) -> Opener:
    """Return what opens this journal as an input."""

    def opened(position: Position | None) -> Reader:
        return JournalInput(folder, progress, batch_rows, position)

    return opened


def journal_digest(folder: Path) -> str:
    """Return the SHA-256 of a journal's description and records, however its segments are packed."""
    reader = JournalReader(folder)
    sha = hashlib.sha256(msgspec.json.encode(reader.meta, order="sorted"))
    at = reader.first_n
    while records := reader.read(at, BATCH_ROWS):
        sha.update(encode_records(records))
        at += len(records)
    return sha.hexdigest()
