"""Positions in an archive, and the batches at them.

An archive is a sequence of sections; a section holds first what is quarantined of it and then its data in the order
of time. A position counts rows over both. So what :meth:`ArchiveReader.read` returns is a function of the position
and the limit alone, and a run that was interrupted goes on at the position that it had reached.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from connectors.schema import FOREVER_US, Batch, Int64, Kind, empty

NEVER_US: Final = -FOREVER_US
"""Watermark of an input of which nothing has been seen."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to read an archive.

    ``chain`` names the chain of transfers that do not say it (and picks one of several); ``interval_us`` is the
    length of the bars of a table of open stamps, where it cannot be inferred.
    """

    chain: str = ""
    interval_us: int = 0


@dataclass(frozen=True, slots=True)
class Section:
    """Rows in the order of time, with their watermarks.

    ``marks_us`` (shape (rows,)) is what a row, once read, promises about later ones; it never falls.
    ``before_us`` is the promise of all earlier sections.
    """

    bad: pa.RecordBatch
    rows: pa.RecordBatch
    marks_us: Int64
    before_us: int = NEVER_US


class ArchiveReader:
    """Reads an archive in batches.

    Parameters
    ----------
    kind
        Kind of the data batches.
    sizes
        Rows of each section, data and quarantine together.
    load
        Returns a section by its number; the last one is kept.
    position
        Where :meth:`next` begins.
    spacing_us
        The table's own interval, in microseconds; 0 where it has none. Bars cannot be finer.
    """

    def __init__(
        self,
        kind: Kind,
        sizes: Sequence[int],
        load: Callable[[int], Section],
        position: int = 0,
        spacing_us: int = 0,
    ) -> None:
        self.kind: Kind = kind
        self.spacing_us = spacing_us
        self.position = position
        self._starts = [0, *np.cumsum(np.asarray(sizes, dtype=np.int64)).tolist()]
        self._load = load
        self._held: tuple[int, Section] | None = None

    @classmethod
    def of(cls, kind: Kind, section: Section, position: int = 0, spacing_us: int = 0) -> ArchiveReader:
        """Return a reader of a single section."""
        return cls(kind, [section.bad.num_rows + section.rows.num_rows], lambda _: section, position, spacing_us)

    @property
    def rows_total(self) -> int:
        """Rows of the archive, quarantined ones included: ``position`` is this once all of them are read."""
        return int(self._starts[-1])

    def next(self, limit: int) -> Batch | None:
        """Read at most ``limit`` rows at :attr:`position`."""
        return self.read(self.position, limit)

    def read(self, from_row: int, limit: int) -> Batch | None:
        """Return at most ``limit`` rows from a position on, all of one kind, and move :attr:`position` behind them.

        At :attr:`rows_total` stands a last batch without rows, with ``end`` set and a watermark that holds nobody
        back; after it comes ``None``.
        """
        if from_row < 0 or limit < 1:
            raise ValueError(f"from_row {from_row} must be 0 or more, limit {limit} 1 or more")
        if from_row > self.rows_total:
            return None
        if from_row == self.rows_total:
            self.position = from_row + 1
            return Batch(self.kind, empty(self.kind), FOREVER_US, end=True)
        number = bisect_right(self._starts, from_row) - 1
        batch = _cut(self.kind, self._section(number), from_row - self._starts[number], limit)
        self.position = from_row + batch.rows.num_rows
        return batch

    def _section(self, number: int) -> Section:
        if self._held is None or self._held[0] != number:
            self._held = None  # the memory of one is free before the next is read
            self._held = (number, self._load(number))
        return self._held[1]


def _cut(kind: Kind, section: Section, offset: int, limit: int) -> Batch:
    if offset < section.bad.num_rows:
        return Batch("quarantine", section.bad.slice(offset, limit), section.before_us)
    first = offset - section.bad.num_rows
    rows = section.rows.slice(first, limit)
    marks = np.maximum(section.marks_us[max(first - 1, 0) : first + rows.num_rows], section.before_us)
    earlier = marks[:-1] if first else np.concatenate(([section.before_us], marks[:-1]))
    return Batch(kind, rows, int(marks[-1]), earlier.astype(np.int64))
