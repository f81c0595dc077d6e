"""Tiny files in every form that an archive may have, and ways to read them through."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.archives import NEVER_US, ArchiveReader
from connectors.schema import FOREVER_US, SCHEMAS, Batch

Write = Callable[..., Path]


@dataclass
class Read:
    """All that a reader gave: rows as dictionaries, and the watermark in force before each."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    last: Batch | None = None


def drain(reader: ArchiveReader, limit: int = 1_000) -> Read:
    """Read to the end, holding every batch against what a batch promises."""
    read, watermark = Read(), NEVER_US
    while (batch := reader.next(limit)) is not None:
        assert read.last is None or not read.last.end, "a batch after the end"
        assert batch.rows.schema.equals(SCHEMAS[batch.kind], check_metadata=True)
        batch.rows.validate(full=True)
        assert batch.rows.num_rows <= limit
        assert batch.watermark_us >= watermark
        if batch.kind == "quarantine":
            assert not read.rows, "quarantine comes before the data of its section"
            read.quarantined += batch.rows.to_pylist()
        elif batch.rows.num_rows:
            assert batch.kind == reader.kind
            assert batch.row_watermarks_us is not None
            assert batch.row_watermarks_us.dtype == np.int64
            assert len(batch.row_watermarks_us) == batch.rows.num_rows
            read.rows += batch.rows.to_pylist()
            read.marks += batch.row_watermarks_us.tolist()
        watermark, read.last = batch.watermark_us, batch
    assert read.last is not None
    assert read.last.end
    assert read.last.rows.num_rows == 0
    assert read.last.watermark_us == FOREVER_US
    assert len(read.rows) + len(read.quarantined) == reader.rows_total
    return read


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write text as a file, compressed if its name says so."""

    def write(text: str | bytes, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = text.encode() if isinstance(text, str) else text
        if name.endswith(".gz"):
            raw = gzip.compress(raw)
        if name.endswith(".zip"):
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(name.removesuffix(".zip") + ".csv", raw)
        else:
            path.write_bytes(raw)
        return path

    return write


@pytest.fixture
def write_parquet(tmp_path: Path) -> Write:
    """Write columns as Parquet."""

    def write(columns: dict[str, Any] | pa.Table, name: str = "table.parquet", **options: Any) -> Path:
        path = tmp_path / name
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        pq.write_table(table, path, **options)
        return path

    return write
