"""Columns of Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.archives.source import UNREADABLE, Loaded, Source, unreadable, whole, without_broken_text


def inspect_parquet(path: Path) -> Source:
    """Return what the footer of a file tells."""
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            return Source(path, "parquet", tuple(schema.names), file.metadata.num_rows, types=tuple(schema.types))
    except UNREADABLE as error:
        raise unreadable(path, error) from None


def load_row_groups(source: Source, positions: Sequence[int], groups: Sequence[int] | None) -> Loaded:
    """Read columns of some row groups of a Parquet file (all: None); rows are numbered from the file's first."""
    try:
        with pq.ParquetFile(source.path) as file:
            names = [source.columns[p] for p in positions]
            table = file.read(columns=names) if groups is None else file.read_row_groups(list(groups), columns=names)
            sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
    except UNREADABLE as error:
        raise unreadable(source.path, error) from None
    first = sum(sizes[: groups[0]]) if groups else 0
    rows = np.arange(first + 1, first + 1 + table.num_rows, dtype=np.int64)
    columns = {p: whole(table.column(name)) for p, name in zip(positions, names, strict=True)}
    texts = [p for p, column in columns.items() if pa.types.is_large_string(column.type)]
    columns |= {p: columns[p].view(pa.large_binary()) for p in texts}
    return without_broken_text(columns, texts, rows, [], table.num_rows)


def time_ranges(source: Source, position: int) -> list[tuple[int, int]] | None:
    """Return (lowest, highest) of each row group of a timestamp column as raw integers; None where not recorded."""
    if any(pa.types.is_nested(kind) for kind in source.types):
        return None  # then leaves and columns are numbered differently
    ranges = []
    for group in _footer(source):
        statistics = group.column(position).statistics
        if statistics is None or not statistics.has_min_max or statistics.physical_type != "INT64":
            return None
        ranges.append((int(statistics.min_raw), int(statistics.max_raw)))
    return ranges


def row_group_sizes(source: Source) -> list[int]:
    """Return the number of rows of each row group of a Parquet file."""
    return [group.num_rows for group in _footer(source)]


def _footer(source: Source) -> list[pq.RowGroupMetaData]:
    try:
        with pq.ParquetFile(source.path) as file:
            return [file.metadata.row_group(g) for g in range(file.num_row_groups)]
    except UNREADABLE as error:
        raise unreadable(source.path, error) from None
