"""Columns of text: CSV and the like, plain, in gzip, or as the one member of a zip."""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from connectors.archives.source import (
    UNREADABLE,
    Container,
    Loaded,
    Malformed,
    Source,
    unreadable,
    whole,
    without_broken_text,
)
from connectors.errors import InputError
from connectors.schema import Int64

_SAMPLE_BYTES: Final = 1 << 16
_BLOCK_BYTES: Final = 1 << 24
_DELIMITERS: Final = ",\t;|"
_LINE_END: Final = re.compile("\r\n|\n|\r")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[Tt]rue|[Ff]alse")


def inspect_text(path: Path, container: Container) -> Source:
    """Return what the first lines of a file tell; raise :class:`InputError` if they are not text."""
    try:
        member, size = _member(path) if container == "zip" else ("", _text_size(path, container))
        with _open(path, container, member) as file:
            head = file.read(_SAMPLE_BYTES)
    except UNREADABLE as error:
        raise unreadable(path, error) from None
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


def load_text(source: Source, positions: Sequence[int]) -> Loaded:
    """Read columns; rows of another width, or with bytes that are not UTF-8, are malformed."""
    # with quotes every column is read: a quote that is never closed shows as a line end inside some value
    wanted = list(range(len(source.columns))) if source.quoted else list(positions)
    # where some byte is not UTF-8 the reader sees each byte as a letter, since it keeps silent about rows of another
    # width that are not UTF-8
    sound = _is_utf8(source)
    malformed: list[Malformed] = []
    table = _read_csv(source, wanted, _note(malformed, source.skip_lines), "utf-8" if sound else "latin-1")
    total = table.num_rows + len(malformed)
    keep = np.ones(total, dtype=bool)
    keep[[row - 1 for row, _, _ in malformed]] = False
    rows = np.flatnonzero(keep) + 1
    columns = {p: whole(table.column(str(p))) for p in wanted}
    if not sound:
        columns = {p: _letters_to_bytes(column) for p, column in columns.items()}
    if source.quoted:
        for column in columns.values():
            _refuse_open_quote(source, column, rows)
    loaded = without_broken_text(columns, wanted, rows, malformed, total)
    return Loaded({p: loaded.columns[p] for p in positions}, loaded.rows, loaded.malformed, total)


def _is_utf8(source: Source) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with _open(source.path, source.container, source.member) as file:
            while block := file.read(_BLOCK_BYTES):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _letters_to_bytes(column: pa.Array) -> pa.Array:
    """Undo the reading of each byte as a letter of Latin-1."""
    return pa.array([cell.decode().encode("latin-1") for cell in column.to_pylist()], pa.large_binary())


def _note(malformed: list[Malformed], skipped: int) -> Callable[[Any], str]:
    def note(row: Any) -> str:
        reason = f"{row.actual_columns} cells where {row.expected_columns} are"
        malformed.append((int(row.number) - skipped, reason, row.text))
        return "skip"

    return note


def _read_csv(source: Source, wanted: Sequence[int], note: Callable[[Any], str], encoding: str) -> pa.Table:
    names = [str(p) for p in range(len(source.columns))]
    kinds = {str(p): pa.large_binary() for p in wanted}
    if not source.sample:  # a header alone, perhaps without an end of line, which the reader takes for an error
        return pa.table({name: pa.array([], kind) for name, kind in kinds.items()})
    reading = pacsv.ReadOptions(
        use_threads=False,  # only then has a malformed row its number
        block_size=_BLOCK_BYTES,
        column_names=names,
        skip_rows=source.skip_lines,
        encoding=encoding,
    )
    parsing = pacsv.ParseOptions(
        delimiter=source.delimiter, quote_char='"' if source.quoted else False, invalid_row_handler=note
    )
    converting = pacsv.ConvertOptions(column_types=kinds, include_columns=list(kinds), strings_can_be_null=False)
    with _open(source.path, source.container, source.member) as file:
        return pacsv.read_csv(file, reading, parsing, converting)


def _refuse_open_quote(source: Source, column: pa.Array, rows: Int64) -> None:
    broken = pc.match_substring(column, "\n").to_numpy(zero_copy_only=False)
    if broken.any():
        row = int(rows[int(np.argmax(broken))])
        problem = f"a quoted value of row {row} runs over the end of its line"
        raise InputError(str(source.path), problem, "close the quote or take the line end out of the value")
