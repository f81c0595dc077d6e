"""What a file is, and its columns once read."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from connectors.errors import InputError
from connectors.schema import Int64

Container = Literal["parquet", "text", "gzip", "zip"]
Malformed = tuple[int, str, str]

UNREADABLE: Final = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    OverflowError,
    pa.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
)
"""What the readers of Parquet, gzip and zip raise over a file that is damaged."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file and what its first bytes tell.

    ``columns`` are the names as written; empty if the first line of a text is data. ``rows`` is exact for Parquet
    and a guess for text. ``types`` are Arrow's for Parquet. ``sample`` holds the first lines of a text as cells.
    """

    path: Path
    container: Container
    columns: tuple[str, ...]
    rows: int
    types: tuple[pa.DataType, ...] = ()
    sample: tuple[tuple[str, ...], ...] = ()
    member: str = ""
    delimiter: str = ","
    quoted: bool = False
    skip_lines: int = 0

    @property
    def name(self) -> str:
        """The file's name, without the folder."""
        return self.path.name

    def position(self, *names: str) -> int | None:
        """Return the position of the first of ``names`` that is a column; case, outer blanks and inner ones aside.

        Raises :class:`InputError` if two columns answer to it, or if it is a list or a struct.
        """
        plain = [normal(column) for column in self.columns]
        for name in names:
            found = [i for i, column in enumerate(self.columns) if column == name]
            found = found or [i for i, column in enumerate(plain) if column == name]
            if len(found) > 1:
                raise InputError(str(self.path), f"has {len(found)} columns named {name!r}", "keep one of them")
            if found:
                if self.types and pa.types.is_nested(self.types[found[0]]):
                    kind = self.types[found[0]]
                    raise InputError(str(self.path), f"column {name!r} is of type {kind}", "write it as a flat column")
                return found[0]
        return None


@dataclass(frozen=True, slots=True)
class Loaded:
    """Columns of a file by position; ``rows`` are the numbers of their rows in the file, from 1.

    ``malformed`` are the rows that are no rows: number and what is wrong. ``total`` counts both.
    """

    columns: dict[int, pa.Array]
    rows: Int64
    malformed: tuple[Malformed, ...]
    total: int


def normal(column: str) -> str:
    """Return a column name in lower case with underscores for blanks."""
    return re.sub(r"\s+", "_", column.strip().lower())


def unreadable(path: Path, error: BaseException) -> InputError:
    """Return the error to raise for a file that its container's reader gave up on."""
    reason = (str(error) or type(error).__name__).splitlines()[0][:200]
    return InputError(str(path), f"cannot be read, it is damaged, cut off or not accessible: {reason}", "get it again")


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array; text gets 64-bit offsets, so that it fits."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind):
        # by way of bytes: whether they are text is for without_broken_text to say
        column = pa.chunked_array([c.view(pa.binary()) for c in column.chunks], pa.binary()).cast(pa.large_binary())
        column = pa.chunked_array([c.view(pa.large_string()) for c in column.chunks], pa.large_string())
    elif pa.types.is_binary(kind):
        column = column.cast(pa.large_binary())
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def without_broken_text(
    columns: dict[int, pa.Array], texts: Sequence[int], rows: Int64, malformed: Sequence[Malformed], total: int
) -> Loaded:
    """Return the columns, those of ``texts`` made text of bytes; rows whose bytes are not UTF-8 are malformed."""
    fine = np.ones(len(rows), dtype=bool)
    found = list(malformed)
    for position in texts:
        raw = columns[position]
        columns[position], bad = _decode(raw)
        found += [(int(rows[i]), "not UTF-8 text", repr(raw[i].as_py())) for i in bad if fine[i]]
        fine[bad] = False
    if not fine.all():
        mask = pa.array(fine)
        columns = {position: column.filter(mask) for position, column in columns.items()}
    return Loaded(columns, rows[fine], tuple(sorted(found)), total)


def _decode(column: pa.Array) -> tuple[pa.Array, list[int]]:
    """Return bytes as text, and the positions of what is not UTF-8."""
    try:
        return column.cast(pa.large_string()), []
    except pa.ArrowInvalid:
        values: list[str | None] = []
        bad: list[int] = []
        for i, raw in enumerate(column.to_pylist()):
            try:
                values.append(None if raw is None else raw.decode())
            except UnicodeDecodeError:
                values.append(None)
                bad.append(i)
        return pa.array(values, pa.large_string()), bad
