"""Files as columns: which container a file is, what columns it has, and those columns read.

A file is known by its content alone: Parquet by its magic bytes, text (plain, gzip, or one member of a zip) by its
first line. Text comes back as text: what a cell means, and whether it can be read, is decided by the format, row by
row, so that one bad cell costs one row and not the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from connectors.archives.parquet import inspect_parquet, load_row_groups
from connectors.archives.source import UNREADABLE, Loaded, Source, unreadable
from connectors.archives.text import inspect_text, load_text
from connectors.errors import InputError


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, reading in blocks."""
    state = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                state.update(block)
    except OSError as error:
        raise unreadable(path, error) from None
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
        raise unreadable(path, error) from None
    if not magic:
        raise InputError(str(path), "is empty", "download or export it again")
    if magic == b"PAR1":
        return inspect_parquet(path)
    if magic[:2] == b"\x1f\x8b":
        return inspect_text(path, "gzip")
    if magic == b"PK\x03\x04":
        return inspect_text(path, "zip")
    return inspect_text(path, "text")


def load(source: Source, positions: Sequence[int]) -> Loaded:
    """Read the columns at ``positions``; raise :class:`InputError` if the file is damaged or truncated."""
    try:
        if source.container == "parquet":
            return load_row_groups(source, positions, None)
        return load_text(source, sorted(set(positions)))
    except UNREADABLE as error:
        raise unreadable(source.path, error) from None
