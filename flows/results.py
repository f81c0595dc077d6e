"""Result folders: frames while a replay runs, one sorted Parquet file per table when it is finished.

Parquet cannot be appended to or cut back, so sinks append length-prefixed Arrow IPC messages under ``DIR/.work`` and
remember offsets; what stands behind a remembered offset is cut away when a run resumes. The Parquet files are written
once, sorted by each table's key, with fixed row groups, and ``manifest.json`` last: its presence means finished.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connectors.errors import StateError
from connectors.schema import QUARANTINE, TIME
from connectors.tables import TABLES, Table
from models.detectors import Alarm

ROW_GROUP: Final = 131_072
MANIFEST: Final = "manifest.json"
WORK: Final = ".work"
_LENGTH: Final = struct.Struct("<Q")

TIMINGS: Final = Table(
    "timings",
    "all",
    pa.schema(
        [("as_of", TIME), ("job", pa.utf8()), ("window", pa.utf8()), ("view", pa.utf8()), ("seconds", pa.float64())]
    ),
    ("as_of", "job", "window", "view"),
)
QUARANTINED: Final = Table("quarantine", "all", QUARANTINE, ("source", "position", "column", "reason"))

OUTPUTS: Final[dict[str, Table]] = {**TABLES, TIMINGS.name: TIMINGS, QUARANTINED.name: QUARANTINED}
"""Everything that a sink may write: the result tables, the timings, and what was quarantined."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows for one output table; what flows to the sinks and to the board."""

    table: str
    rows: pa.RecordBatch


def make_rows(table: str, columns: dict[str, Any]) -> Rows:
    """Return rows of ``table`` from one value or array per column, in the types of its schema.

    A value that is not a sequence stands for all rows.
    """
    schema = OUTPUTS[table].schema
    n = max((len(value) for value in columns.values() if _is_column(value)), default=1)
    arrays = []
    for field in schema:
        value = columns[field.name]
        if isinstance(value, pa.Array):
            arrays.append(value.cast(field.type))
        elif _is_column(value):
            arrays.append(_column(value, field.type))
        else:
            arrays.append(pa.repeat(_scalar(value, field.type), n))
    return Rows(table, pa.RecordBatch.from_arrays(arrays, schema=schema))


def event_rows(
    where: dict[str, object],
    kind: str,
    evidence: Mapping[str, object],
    coin_id: str | None = None,
    shoal_from: int | None = None,
    shoal_to: int | None = None,
    margin: float | None = None,
) -> Rows:
    """Return one row of ``events``."""
    return make_rows(
        "events",
        {
            **where,
            "kind": kind,
            "coin_id": coin_id,
            "shoal_from": shoal_from,
            "shoal_to": shoal_to,
            "margin": margin,
            "evidence": json.dumps(_finite(evidence), sort_keys=True, allow_nan=False),
        },
    )


def _finite(value: Any) -> Any:
    """Replace numbers that JSON does not know (NaN, infinities) by null."""
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def drift_rows(where: dict[str, object], series: str, alarm: Alarm) -> Rows:
    """Return the ``drift`` event of a detector's alarm."""
    evidence = {
        "series": series,
        "before": round(alarm.before, 6),
        "after": round(alarm.after, 6),
        "width": alarm.width,
    }
    return event_rows(where, "drift", evidence)


def _is_column(value: object) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)


def _column(value: Any, kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind) and getattr(value, "dtype", None) is not None:
        return pa.array(value, type=pa.int64()).cast(kind)
    if pa.types.is_floating(kind):
        return pa.array(value, type=kind, from_pandas=True)  # NaN means that there is no value: null
    return pa.array(value, type=kind)


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_floating(kind) and value is not None and value != value:  # noqa: PLR0124 NaN is null, as above
        value = None
    return pa.scalar(value, type=kind)


class FrameFile:
    """An append-only file of record batches of one schema."""

    def __init__(self, path: Path, offset: int | None) -> None:
        """Open ``path`` for appending behind ``offset``; what stands there is cut away. None starts anew."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("r+b" if path.exists() else "w+b")
        size = self._file.seek(0, os.SEEK_END)
        self.offset = offset or 0
        if size < self.offset:
            raise StateError(str(path), f"holds {size} bytes where {self.offset} were written", "start anew elsewhere")
        self._file.truncate(self.offset)
        self._file.seek(self.offset)

    def append(self, rows: pa.RecordBatch) -> None:
        """Append one batch."""
        message = rows.serialize()
        self._file.write(_LENGTH.pack(message.size))
        self._file.write(message)
        self.offset += _LENGTH.size + message.size

    def flush(self) -> int:
        """Hand everything to the operating system and return the offset behind it."""
        self._file.flush()
        return self.offset

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_frames(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Read the complete batches of a frame file; a torn last one is passed over."""
    if not path.exists():
        return
    with path.open("rb") as file:
        while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
            (size,) = _LENGTH.unpack(head)
            body = file.read(size)
            if len(body) < size:
                return
            yield pa.ipc.read_record_batch(pa.py_buffer(body), schema)


def write_parquet(frames: Path, target: Path, table: Table, *, merge: bool = False) -> int:
    """Write the rows of a frame file, sorted, as Parquet (also with no rows); return their number.

    With ``merge`` what ``target`` holds already stays in it: of rows with one key one is kept.
    """
    rows = pa.Table.from_batches(list(read_frames(frames, table.schema)), schema=table.schema)
    if merge and target.exists():
        rows = pa.concat_tables([rows, pq.read_table(target, schema=table.schema)])
    rows = rows.combine_chunks().sort_by([(column, "ascending") for column in table.key])
    if merge:
        rows = rows.filter(_first_of_key(rows, table.key))
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    pq.write_table(rows, partial, row_group_size=ROW_GROUP, compression="zstd", write_statistics=True)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)
    return int(rows.num_rows)


def _first_of_key(rows: pa.Table, key: tuple[str, ...]) -> pa.Array:
    """Say of each row of a sorted table whether its key differs from that of the row before."""
    n = rows.num_rows
    same = np.ones(max(n - 1, 0), dtype=np.bool_)
    for name in key:
        column = rows.column(name)
        before, after = column.slice(0, max(n - 1, 0)), column.slice(1)
        equal = pc.fill_null(pc.equal(before, after), False)
        both_null = pc.and_(pc.is_null(before), pc.is_null(after))
        same &= pc.or_(equal, both_null).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate([np.ones(min(n, 1), dtype=np.bool_), ~same]))


class FolderLock:
    """A folder that one process at a time may write: ``flock``, so that it ends with its holder."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / "lock").open("w")
        except OSError as error:
            raise StateError(
                str(folder), f"cannot be used as a folder: {error.strerror}", "choose another, or mend its permissions"
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise StateError(
                str(folder), "is in use by another shoal process", "stop it, or use another folder"
            ) from None

    def release(self) -> None:
        """Let others in."""
        self._file.close()


class ReplayFolder:
    """The result folder of one replay, from opening to manifest.

    Parameters
    ----------
    path
        ``DIR`` of the command line.
    identity
        What results depend on (hashes of configuration and inputs, version): a folder that was begun with another
        identity is refused.
    tables
        The tables that this replay writes.
    """

    def __init__(self, path: Path, identity: dict[str, Any], tables: Sequence[Table], *, overwrite: bool) -> None:
        self.path, self.identity, self.tables = path, identity, tuple(tables)
        self.work = path / WORK
        if (path / MANIFEST).exists():
            if not overwrite:
                raise StateError(str(path), "holds a finished replay", "add --overwrite, or choose another --out")
            self._clear()
        elif path.is_dir() and not self.work.exists() and any(path.iterdir()):
            raise StateError(str(path), "is neither empty nor a result folder of shoal", "choose another --out")
        self.lock = FolderLock(self.work)
        self.resumed = self._check_identity(overwrite=overwrite)

    @property
    def recovery(self) -> Path:
        """Where the dataflow keeps its snapshots."""
        return self.work / "recovery"

    def frames(self, table: str) -> Path:
        """Where the rows of a table stand while the replay runs."""
        return self.work / "frames" / f"{table}.arrows"

    def finish(self) -> dict[str, int]:
        """Write the Parquet files and the manifest, remove the working files; return rows per table."""
        rows = {table.name: write_parquet(self.frames(table.name), self.path / f"{table.name}.parquet", table)
                for table in (*self.tables, TIMINGS)}  # fmt: skip
        manifest = {
            **self.identity,
            "rows": {name: count for name, count in sorted(rows.items()) if name != TIMINGS.name},
            "quarantined": self._quarantined(),
        }
        text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
        partial = self.path / f".{MANIFEST}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.path / MANIFEST)
        self.lock.release()
        shutil.rmtree(self.work)
        return rows

    def _quarantined(self) -> list[dict[str, Any]]:
        """Sum up what was passed over: source, column, reason, how often, and the first few positions."""
        found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for batch in read_frames(self.frames(QUARANTINED.name), QUARANTINE):
            for row in batch.to_pylist():
                found.setdefault((row["source"], row["column"], row["reason"]), []).append(row)
        return [
            {
                "source": source,
                "column": column,
                "reason": reason,
                "count": len(rows),
                "first": [
                    {"position": row["position"], "detail": row["detail"]}
                    for row in sorted(rows, key=lambda row: (row["position"], row["detail"]))[:5]
                ],
            }
            for (source, column, reason), rows in sorted(found.items())
        ]

    def _check_identity(self, *, overwrite: bool) -> bool:
        """Return whether this goes on with an interrupted replay; refuse one of something else."""
        note = self.work / "identity.json"
        text = json.dumps(self.identity, indent=2, sort_keys=True)
        if note.exists():
            if note.read_text(encoding="utf-8") == text:
                return self.recovery.exists()
            if not overwrite:
                raise StateError(
                    str(self.path),
                    "holds an interrupted replay of another input, configuration or version",
                    "add --overwrite to begin anew, or choose another --out",
                )
            self._remove_tables()  # a replay that was stopped while it wrote them
            shutil.rmtree(self.recovery, ignore_errors=True)
            shutil.rmtree(self.work / "frames", ignore_errors=True)
        note.write_text(text, encoding="utf-8")
        return False

    def _clear(self) -> None:
        self._remove_tables()
        shutil.rmtree(self.work, ignore_errors=True)

    def _remove_tables(self) -> None:
        for name in (MANIFEST, *(f"{table}.parquet" for table in OUTPUTS)):
            (self.path / name).unlink(missing_ok=True)
