"""Segment files of a journal: their names, and packing them into zstd frames with an index."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zstandard

from connectors.errors import JournalError

LIVE: Final = ".jsonl.open"
PACKED: Final = ".jsonl.zst"
RECORDS_PER_FRAME: Final = 4096

_SKIPPABLE: Final = 0x184D2A5E  # a zstd frame that every decoder passes over
_FOOTER: Final = struct.Struct("<QQI8s")  # records, bytes of text, frames, mark
_ENTRY: Final = struct.Struct("<QQ")  # first record, offset in the file
_MARK: Final = b"SHOALIDX"
_LEVEL: Final = 3


def segments(folder: Path) -> list[tuple[int, Path]]:
    """Return (first record, file) of each segment in order; the packed file where both are there."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        for suffix in (LIVE, PACKED):  # "open" sorts before "zst": the packed one stays
            stem = path.name.removesuffix(suffix)
            if path.name.endswith(suffix) and len(stem) == 16 and stem.isdigit():
                found[int(stem)] = path
    return sorted(found.items())


def segment_size(path: Path) -> int:
    """Return how many bytes of text a segment holds."""
    return path.stat().st_size if path.name.endswith(LIVE) else unpack(path).text_bytes


def pack(live: Path, target: Path) -> None:
    """Write the packed form of a full segment, then remove the plain one; safe against a crash at any point."""
    fresh = target.with_suffix(".tmp")
    first = int(target.name.removesuffix(PACKED))
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    entries, records, size = [], 0, 0
    with live.open("rb") as source, fresh.open("wb") as sink:
        while lines := _next_lines(source):
            text = b"".join(lines)
            entries.append((first + records, sink.tell()))
            sink.write(compressor.compress(text))
            records += len(lines)
            size += len(text)
        body = b"".join(_ENTRY.pack(*entry) for entry in entries)
        body += _FOOTER.pack(records, size, len(entries), _MARK)
        sink.write(struct.pack("<II", _SKIPPABLE, len(body)) + body)
        sink.flush()
        os.fsync(sink.fileno())
    fresh.rename(target)
    live.unlink()


def _next_lines(source: Iterator[bytes]) -> list[bytes]:
    lines: list[bytes] = []
    for line in source:
        if line.endswith(b"\n"):
            lines.append(line)
        if len(lines) == RECORDS_PER_FRAME:
            break
    return lines


@dataclass(frozen=True, slots=True)
class PackedSegment:
    """A packed segment's index."""

    path: Path
    records: int
    text_bytes: int
    entries: tuple[tuple[int, int], ...]
    index_at: int

    def frames(self, from_n: int) -> Iterator[tuple[int, bytes]]:
        """Give (first record, text) of each frame that holds ``from_n`` or a later record."""
        decompressor = zstandard.ZstdDecompressor()
        with self.path.open("rb") as file:
            for at, (first, offset) in enumerate(self.entries):
                last = at + 1 == len(self.entries)
                if not last and self.entries[at + 1][0] <= from_n:
                    continue
                end = self.index_at if last else self.entries[at + 1][1]
                file.seek(offset)
                try:
                    yield first, decompressor.decompress(file.read(end - offset))
                except zstandard.ZstdError as error:
                    raise JournalError(
                        str(self.path), f"the frame of record {first} is damaged: {error}", "restore the file"
                    ) from None


def unpack(path: Path) -> PackedSegment:
    """Read the index of a packed segment."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size >= _FOOTER.size:
            file.seek(size - _FOOTER.size)
            records, text_bytes, count, mark = _FOOTER.unpack(file.read(_FOOTER.size))
            index_at = size - _FOOTER.size - count * _ENTRY.size - 8
            if mark == _MARK and index_at >= 0:
                file.seek(index_at + 8)
                body = file.read(count * _ENTRY.size)
                return PackedSegment(path, records, text_bytes, tuple(_ENTRY.iter_unpack(body)), index_at)
    raise JournalError(str(path), "has no index at its end", "the file was cut or damaged")
