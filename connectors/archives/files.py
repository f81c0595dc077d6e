"""Files as columns: which container a file is, what columns it has, and those columns read.

A file is known by its content alone: Parquet by its magic bytes, text (plain, gzip, or one member of a zip) by its
first line. Text comes back as text: what a cell means, and whether it can be read, is decided by the format, row by
row, so that one bad cell costs one row and not the file.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from connectors.errors import InputError
from connectors.schema import Int64

Container = Literal["parquet", "text", "gzip", "zip"]

_SAMPLE_BYTES: Final = 1 << 16
_BLOCK_BYTES: Final = 1 << 24
_DELIMITERS: Final = ",\t;|"
_LINE_END: Final = re.compile("\r\n|\n|\r")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[Tt]rue|[Ff]alse")
_UNREADABLE: Final = (
    OSError,
    EOFError,
    pa.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
)


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
    malformed: tuple[tuple[int, str, str], ...]
    total: int


def normal(column: str) -> str:
    """Return a column name in lower case with underscores for blanks."""
    return re.sub(r"\s+", "_", column.strip().lower())


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, reading in blocks."""
    state = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                state.update(block)
    except OSError as error:
        raise _unreadable(path, error) from None
    return state.hexdigest()


def inspect(path: Path) -> Source:
    """Return what ``path`` is; raise :class:`InputError` if it is neither Parquet nor text."""
    if not path.exists():
        raise InputError(str(path), "does not exist", "check the spelling of the path")
    if not path.is_file():
        raise InputError(str(path), "is not a file", "give a file or a folder of files")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise _unreadable(path, error) from None
    if not magic:
        raise InputError(str(path), "is empty", "download or export it again")
    if magic == b"PAR1":
        return _inspect_parquet(path)
    if magic[:2] == b"\x1f\x8b":
        return _inspect_text(path, "gzip")
    if magic == b"PK\x03\x04":
        return _inspect_text(path, "zip")
    return _inspect_text(path, "text")


def load(source: Source, positions: Sequence[int]) -> Loaded:
    """Read the columns at ``positions``; raise :class:`InputError` if the file is damaged or truncated."""
    try:
        if source.container == "parquet":
            return load_row_groups(source, positions, None)
        return _load_text(source, sorted(set(positions)))
    except _UNREADABLE as error:
        raise _unreadable(source.path, error) from None


def load_row_groups(source: Source, positions: Sequence[int], groups: Sequence[int] | None) -> Loaded:
    """Read columns of some row groups of a Parquet file (all: None); rows are numbered from the file's first."""
    try:
        with pq.ParquetFile(source.path) as file:
            names = [source.columns[p] for p in positions]
            table = file.read(columns=names) if groups is None else file.read_row_groups(list(groups), columns=names)
            sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
    except _UNREADABLE as error:
        raise _unreadable(source.path, error) from None
    first = sum(sizes[: groups[0]]) if groups else 0
    columns = {p: _whole(table.column(name)) for p, name in zip(positions, names, strict=True)}
    return Loaded(columns, np.arange(first + 1, first + 1 + table.num_rows, dtype=np.int64), (), table.num_rows)


def time_ranges(source: Source, position: int) -> list[tuple[int, int]] | None:
    """Return (lowest, highest) of each row group of a timestamp column as raw integers; None where not recorded."""
    if any(pa.types.is_nested(kind) for kind in source.types):
        return None  # then leaves and columns are numbered differently
    ranges = []
    with pq.ParquetFile(source.path) as file:
        for group in range(file.num_row_groups):
            statistics = file.metadata.row_group(group).column(position).statistics
            if statistics is None or not statistics.has_min_max or statistics.physical_type != "INT64":
                return None
            ranges.append((int(statistics.min_raw), int(statistics.max_raw)))
    return ranges


def row_group_sizes(source: Source) -> list[int]:
    """Return the number of rows of each row group of a Parquet file."""
    with pq.ParquetFile(source.path) as file:
        return [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]


def _unreadable(path: Path, error: BaseException) -> InputError:
    reason = (str(error) or type(error).__name__).splitlines()[0][:200]
    return InputError(str(path), f"cannot be read, it is damaged, cut off or not accessible: {reason}", "get it again")


def _inspect_parquet(path: Path) -> Source:
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            return Source(path, "parquet", tuple(schema.names), file.metadata.num_rows, types=tuple(schema.types))
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None


def _inspect_text(path: Path, container: Container) -> Source:
    try:
        member, size = _member(path) if container == "zip" else ("", _text_size(path, container))
        with _open(path, container, member) as file:
            head = file.read(_SAMPLE_BYTES)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None
    if b"\0" in head:
        raise InputError(str(path), "is neither Parquet nor text", "give Parquet, CSV or TSV, plain, .gz or .zip")
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    lines = _LINE_END.split(text)
    if len(head) == _SAMPLE_BYTES and len(lines) > 1:
        lines.pop()  # it may be cut
    blank = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
    if blank == len(lines):
        raise InputError(str(path), "holds nothing but blank lines", "download or export it again")
    if "\ufffd" in lines[blank]:
        raise InputError(str(path), "its first line is not UTF-8 text", "give Parquet, CSV or TSV as UTF-8")
    quoted = '"' in text
    delimiter = max(_DELIMITERS, key=lambda mark: len(_cells([lines[blank]], mark, quoted)[0]))
    filled = [line for line in lines[blank:] if line.strip()]
    sample = _cells(filled[:50], delimiter, quoted)
    header = not all(_NUMBER.fullmatch(cell.strip()) for cell in sample[0])
    mean = max(1.0, len("\n".join(filled)) / len(filled) + 1)
    return Source(
        path,
        container,
        sample[0] if header else (),
        max(1, round(size / mean) - header),
        sample=sample[header:],
        member=member,
        delimiter=delimiter,
        quoted=quoted,
        skip_lines=blank + header,
    )


def _cells(lines: list[str], delimiter: str, quoted: bool) -> tuple[tuple[str, ...], ...]:
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    # line by line: a quote that is never closed must not swallow the lines after it
    rows = (next(csv.reader([line], delimiter=delimiter, quoting=quoting), []) for line in lines)
    return tuple(tuple(row) for row in rows)


def _member(path: Path) -> tuple[str, int]:
    with zipfile.ZipFile(path) as archive:
        members = [item for item in archive.infolist() if not item.is_dir()]
    if len(members) != 1:
        raise InputError(str(path), f"is a zip of {len(members)} files where one is needed", "unpack it")
    return members[0].filename, members[0].file_size


def _text_size(path: Path, container: Container) -> int:
    """Return the size of the text in bytes; a gzip says it in its last four, modulo 4 GiB."""
    if container == "text":
        return path.stat().st_size
    with path.open("rb") as file:
        file.seek(-min(4, path.stat().st_size), 2)
        tail = file.read().rjust(4, b"\0")
    return max(int(struct.unpack("<I", tail)[0]), path.stat().st_size)


@contextlib.contextmanager
def _open(path: Path, container: Container, member: str) -> Iterator[IO[bytes] | Any]:
    if container == "zip":
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            yield file
        return
    with pa.input_stream(str(path), compression="gzip" if container == "gzip" else None) as stream:
        yield stream


def _load_text(source: Source, positions: Sequence[int]) -> Loaded:
    width = len(source.columns)
    # with quotes every column is read: a quote that is never closed shows as a line end inside some value
    wanted = list(range(width)) if source.quoted else list(positions)
    malformed: list[tuple[int, str, str]] = []
    table = _read_csv(source, wanted, _note(malformed, source.skip_lines))
    total = table.num_rows + len(malformed)
    keep = np.ones(total, dtype=bool)
    keep[[row - 1 for row, _, _ in malformed]] = False
    rows = np.flatnonzero(keep) + 1
    columns = {p: _whole(table.column(str(p))) for p in wanted}
    fine = np.ones(len(rows), dtype=bool)
    for p, raw in columns.items():
        text, bad = _decode(raw)
        columns[p] = text
        for i in bad:
            if fine[i]:
                malformed.append((int(rows[i]), "not UTF-8 text", repr(raw[int(i)].as_py())))
            fine[i] = False
        if source.quoted:
            _refuse_open_quote(source, text, rows)
    if not fine.all():
        mask = pa.array(fine)
        columns = {p: column.filter(mask) for p, column in columns.items()}
    return Loaded({p: columns[p] for p in positions}, rows[fine], tuple(sorted(malformed)), total)


def _note(malformed: list[tuple[int, str, str]], skipped: int) -> Callable[[Any], str]:
    def note(row: Any) -> str:
        reason = f"{row.actual_columns} cells where {row.expected_columns} are"
        malformed.append((int(row.number) - skipped, reason, row.text))
        return "skip"

    return note


def _read_csv(source: Source, wanted: Sequence[int], note: Callable[[Any], str]) -> pa.Table:
    names = [str(p) for p in range(len(source.columns))]
    kinds = {str(p): pa.large_binary() for p in wanted}
    if not source.sample:  # a header alone, perhaps without an end of line, which the reader takes for an error
        return pa.table({name: pa.array([], kind) for name, kind in kinds.items()})
    # one thread: only then has a malformed row its number
    with _open(source.path, source.container, source.member) as file:
        return pacsv.read_csv(
            file,
            pacsv.ReadOptions(
                use_threads=False, block_size=_BLOCK_BYTES, column_names=names, skip_rows=source.skip_lines
            ),
            pacsv.ParseOptions(
                delimiter=source.delimiter, quote_char='"' if source.quoted else False, invalid_row_handler=note
            ),
            pacsv.ConvertOptions(column_types=kinds, include_columns=list(kinds), strings_can_be_null=False),
        )


def _refuse_open_quote(source: Source, column: pa.Array, rows: Int64) -> None:
    broken = pc.match_substring(column, "\n").to_numpy(zero_copy_only=False)
    if broken.any():
        row = int(rows[int(np.argmax(broken))])
        problem = f"a quoted value of row {row} runs over the end of its line"
        raise InputError(str(source.path), problem, "close the quote or take the line end out of the value")


def _decode(column: pa.Array) -> tuple[pa.Array, list[int]]:
    """Return bytes as text, and the positions of what is not UTF-8."""
    try:
        return column.cast(pa.large_string()), []
    except pa.ArrowInvalid:
        values, bad = [], []
        for i, raw in enumerate(column.to_pylist()):
            try:
                values.append(raw.decode())
            except UnicodeDecodeError:
                values.append("")
                bad.append(i)
        return pa.array(values, pa.large_string()), bad


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array; text gets 64-bit offsets, so that it fits."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind):
        column = column.cast(pa.large_string())
    elif pa.types.is_binary(kind):
        column = column.cast(pa.large_binary())
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
