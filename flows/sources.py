"""Sources: one partition per input stream; batches with watermarks out, positions in the snapshot.

A partition reads either an archive, a journal, or a live feed. A websocket cannot be rewound, so a live feed writes
its journal before anything is emitted, and its position is a place in that journal.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from typing_extensions import override

from connectors.clock import in_seconds
from connectors.schema import Batch

Position: TypeAlias = Any
"""What a reader goes on from; a plain picklable value."""

IDLE_SECONDS = 0.02


class Reader(Protocol):
    """One input stream."""

    live: bool

    def poll(self) -> list[Batch]:
        """Return the next batches; nothing if there are none yet. Raise StopIteration when there are no more."""

    def position(self) -> Position:
        """Return where to go on after the batches returned so far."""

    def close(self) -> None:
        """Let go of files, sockets and threads."""


Opener: TypeAlias = Callable[[Position | None], Reader]


class Stopping:
    """A clean stop: sources fall silent, one more snapshot is taken of each, then the process is signalled.

    bytewax has no such call of its own: SIGTERM would end the process at once, and ending the sources would close
    windows early. So each partition waits until its snapshot has been taken *and* it was asked for a next batch, which
    says that the epoch with everything it emitted is closed.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._open: set[str] = set()
        self._lock = threading.Lock()

    @property
    def requested(self) -> bool:
        """Whether sources are to fall silent."""
        return self._requested.is_set()

    def request(self) -> None:
        """Ask for a clean stop."""
        self._requested.set()

    def enter(self, partition: str) -> None:
        """Count a partition in."""
        with self._lock:
            self._open.add(partition)

    def leave(self, partition: str) -> None:
        """Count a partition out; after the last one the process is told to end, if a stop was asked for."""
        with self._lock:
            if partition not in self._open:
                return
            self._open.discard(partition)
            last = not self._open
        if last and self.requested:
            os.kill(os.getpid(), signal.SIGUSR1)


class StreamSource(FixedPartitionedSource[tuple[str, Batch], Position]):
    """Input streams by partition name."""

    def __init__(self, openers: Mapping[str, Opener], stopping: Stopping | None = None) -> None:
        self._openers, self._stopping = dict(openers), stopping

    @override
    def list_parts(self) -> list[str]:
        return sorted(self._openers)

    @override
    def build_part(
        self, step_id: str, for_part: str, resume_state: Position | None
    ) -> StatefulSourcePartition[tuple[str, Batch], Position]:
        return _Partition(for_part, self._openers[for_part](resume_state), self._stopping)


class _Partition(StatefulSourcePartition[tuple[str, Batch], Position]):
    def __init__(self, name: str, reader: Reader, stopping: Stopping | None) -> None:
        self._name, self._reader, self._stopping = name, reader, stopping
        self._idle = False
        self._snapshot_since_stop = False
        if stopping is not None:
            stopping.enter(name)

    @override
    def next_batch(self) -> list[tuple[str, Batch]]:
        if self._stopping is not None and self._stopping.requested:
            self._idle = True
            if self._snapshot_since_stop:
                self._stopping.leave(self._name)
            return []
        batches = self._reader.poll()
        self._idle = self._reader.live and not batches
        return [(self._name, batch) for batch in batches]

    @override
    def next_awake(self) -> dt.datetime | None:
        return in_seconds(IDLE_SECONDS) if self._idle else None

    @override
    def snapshot(self) -> Position:
        if self._stopping is not None and self._stopping.requested:
            self._snapshot_since_stop = True
        return self._reader.position()

    @override
    def close(self) -> None:
        if self._stopping is not None:
            self._stopping.leave(self._name)
        self._reader.close()
