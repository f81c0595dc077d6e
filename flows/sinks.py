"""Sinks: result rows to frame files whose offsets are in the snapshot, and to the board that people watch.

The file sinks roll back on resume: exactly once. The board is idempotent by each table's key: at least once is enough.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

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
    """A live table: a frame file per UTC day, which becomes a Parquet file when the day is over.

    The frames of a day stay for some snapshots after its Parquet was written, since a resume may go back an epoch.
    """

    def __init__(self, table: Table, frames: Path, results: Path, state: Offsets | None) -> None:
        self._table, self._frames, self._results = table, frames, results
        self._offsets = dict(state or {})
        self._open: dict[str, FrameFile] = {}
        self._sealed: dict[str, int] = {}
        known = set(self._offsets)
        for path in sorted(frames.glob("*.arrows")) if frames.exists() else []:
            if path.stem not in known:
                path.unlink()

    @override
    def write_batch(self, values: list[Rows]) -> None:
        for value in values:
            for period, rows in _by_day(value.rows):
                if period not in self._open:
                    self._open[period] = FrameFile(self._path(period), self._offsets.get(period))
                self._open[period].append(rows)

    @override
    def snapshot(self) -> Offsets:
        for period, file in self._open.items():
            self._offsets[period] = file.flush()
        self._seal()
        return dict(self._offsets)

    @override
    def close(self) -> None:
        for file in self._open.values():
            file.flush()
            file.close()

    def _path(self, period: str) -> Path:
        return self._frames / f"{period}.arrows"

    def _seal(self) -> None:
        """Write days that are over as Parquet; forget their frames when no snapshot that counts names them."""
        newest = max(self._offsets, default="")
        for period in [period for period in self._offsets if period < newest and period not in self._sealed]:
            write_parquet(self._path(period), self._results / f"{period}.parquet", self._table)
            self._sealed[period] = 0
        for period in list(self._sealed):
            self._sealed[period] += 1
            if self._sealed[period] == 2:
                self._offsets.pop(period, None)
                if period in self._open:
                    self._open.pop(period).close()
            if self._sealed[period] > 4:
                self._path(period).unlink(missing_ok=True)
                del self._sealed[period]


def _by_day(rows: pa.RecordBatch) -> list[tuple[str, pa.RecordBatch]]:
    """Split rows by the UTC day of ``as_of``; a table without it (quarantine) has one period."""
    if "as_of" not in rows.schema.names:
        return [("all", rows)]
    days = time_us(rows.column("as_of")) // DAY_US
    out = []
    for day in np.unique(days):
        name = (dt.date(1970, 1, 1) + dt.timedelta(days=int(day))).isoformat()
        out.append((name, rows.filter(pa.array(days == day))))
    return out


def publish_frames(frames: Path, results: Path) -> None:
    """Write the frames of every open period as Parquet, so that readers see all that there is (at start and stop)."""
    if not frames.exists():
        return
    for folder in sorted(frames.iterdir()):
        for path in sorted(folder.glob("*.arrows")):
            write_parquet(path, results / folder.name / f"{path.stem}.parquet", OUTPUTS[folder.name])


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
