"""Sinks: result rows to frame files whose offsets are in the snapshot, and to the board that people watch.

The file sinks roll back on resume: exactly once. The board is idempotent by each table's key: at least once is enough.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
from bytewax.outputs import DynamicSink, FixedPartitionedSink, StatefulSinkPartition, StatelessSinkPartition
from typing_extensions import override

from connectors.schema import time_us
from connectors.tables import Table
from flows.config import DAY_US
from flows.results import OUTPUTS, FrameFile, Rows, write_parquet

Offsets: TypeAlias = dict[str, int]
"""Per period (empty for a replay) the offset behind the last row."""

_ALL: Final = "all"
_NAMED: Final = 3
"""For how many snapshots after its Parquet was written a day is named in them."""
_HELD: Final = 4
"""For how many more its frames stay on the disk."""
_SEALED_AT_ONCE: Final = 4
"""Days written at one snapshot: a long history must not hold up the dataflow."""


class TableSink(FixedPartitionedSink[Rows, Offsets]):
    """One partition per output table; ``path_of`` says where a table's frames of a period stand."""

    def __init__(self, tables: list[str], frames: Path, results: Path | None) -> None:
        self._tables, self._frames, self._results = sorted(tables), frames, results

    @override
    def list_parts(self) -> list[str]:
        return self._tables

    @override
    def part_fn(self, item_key: str) -> int:
        return self._tables.index(item_key)

    @override
    def build_part(
        self, step_id: str, for_part: str, resume_state: Offsets | None
    ) -> StatefulSinkPartition[Rows, Offsets]:
        if self._results is None:
            return _WholeTable(self._frames / f"{for_part}.arrows", resume_state)
        return _PeriodTable(OUTPUTS[for_part], self._frames / for_part, self._results / for_part, resume_state)


class _WholeTable(StatefulSinkPartition[Rows, Offsets]):
    """A replay's table: one frame file."""

    def __init__(self, path: Path, state: Offsets | None) -> None:
        self._file = FrameFile(path, state[""] if state else None)

    @override
    def write_batch(self, values: list[Rows]) -> None:
        for value in values:
            self._file.append(value.rows)

    @override
    def snapshot(self) -> Offsets:
        return {"": self._file.flush()}

    @override
    def close(self) -> None:
        self._file.close()


class _PeriodTable(StatefulSinkPartition[Rows, Offsets]):
    """A live table: a frame file per UTC day, which is written as Parquet when a later day has begun.

    A day may still get rows after that (a fit that took long, the history of the other branch): it is then written
    again, merged by key with what its file holds. Its frames stay for some snapshots after the last row, first
    named by the snapshot and then only on the disk, since a resume may go back to one that names them.
    """

    def __init__(self, table: Table, frames: Path, results: Path, state: Offsets | None) -> None:
        self._table, self._frames, self._results = table, frames, results
        self._offsets = dict(state or {})
        self._written: dict[str, int] = {}  # days whose rows all stand in their Parquet: for how many snapshots
        self._file: FrameFile | None = None  # of the day that was written to last; one at a time may be open
        self._period = ""
        for path in sorted(frames.glob("*.arrows")) if frames.exists() else []:
            if path.stem not in self._offsets:
                path.unlink()
        for period, offset in self._offsets.items():
            FrameFile(self._path(period), offset).close()

    @override
    def write_batch(self, values: list[Rows]) -> None:
        for value in values:
            for period, rows in _by_day(value.rows):
                self._open(period).append(rows)
                self._written.pop(period, None)

    @override
    def snapshot(self) -> Offsets:
        self._flush()
        self._seal()
        return {period: offset for period, offset in self._offsets.items() if self._written.get(period, 0) < _NAMED}

    @override
    def close(self) -> None:
        self._flush()
        if self._file is not None:
            self._file.close()

    def _path(self, period: str) -> Path:
        return self._frames / f"{period}.arrows"

    def _open(self, period: str) -> FrameFile:
        if self._file is None or period != self._period:
            self.close()
            self._file, self._period = FrameFile(self._path(period), self._offsets.get(period)), period
        return self._file

    def _flush(self) -> None:
        if self._file is not None:
            self._offsets[self._period] = self._file.flush()

    def _seal(self) -> None:
        """Write days that are over as Parquet, a few at a time; forget frames that no snapshot names any more."""
        over = sorted(self._offsets)[:-1]
        for period in [period for period in over if period not in self._written][:_SEALED_AT_ONCE]:
            write_parquet(self._path(period), self._results / f"{period}.parquet", self._table, merge=True)
            self._written[period] = -1
        for period in list(self._written):
            self._written[period] += 1
            if self._written[period] >= _NAMED + _HELD:
                if period == self._period and self._file is not None:
                    self._file.close()
                    self._file = None
                self._path(period).unlink(missing_ok=True)
                del self._written[period], self._offsets[period]


def _by_day(rows: pa.RecordBatch) -> list[tuple[str, pa.RecordBatch]]:
    """Split rows by the UTC day of ``as_of``; a table without it (quarantine) has one period."""
    if "as_of" not in rows.schema.names:
        return [(_ALL, rows)]
    days = time_us(rows.column("as_of")) // DAY_US
    out = []
    for day in np.unique(days):
        name = (dt.date(1970, 1, 1) + dt.timedelta(days=int(day))).isoformat()
        out.append((name, rows.filter(pa.array(days == day))))
    return out


def publish_frames(frames: Path, results: Path) -> None:
    """Write the frames of every period as Parquet, so that readers see all that there is (at start and stop)."""
    if not frames.exists():
        return
    for folder in sorted(frames.iterdir()):
        table = OUTPUTS[folder.name]
        for path in sorted(folder.glob("*.arrows")):
            by_day = path.stem != _ALL
            write_parquet(path, results / folder.name / f"{path.stem}.parquet", table, merge=by_day)


class CallSink(DynamicSink[object]):
    """Gives every item to a function: how the board of this process hears of results."""

    def __init__(self, call: Callable[[object], None]) -> None:
        self._call = call

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSinkPartition[object]:
        return _Call(self._call)


class _Call(StatelessSinkPartition[object]):
    def __init__(self, call: Callable[[object], None]) -> None:
        self._call = call

    @override
    def write_batch(self, items: list[object]) -> None:
        for item in items:
            self._call(item)
