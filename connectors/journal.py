"""The journal of a feed: an append-only record of everything that was received, before anything was parsed.

A journal is a folder: ``feed.json`` says which feed it is and how its core was configured; the records stand in
segments named after their first number, one JSON line each. The live segment ends in ``.jsonl.open`` and is plain
text, so that a crash costs at most its last, incomplete line; a full one becomes ``.jsonl.zst``: independent zstd
frames of a few thousand records, closed by a skippable frame that holds their offsets (any zstd reads the file).

A record is complete once its newline is there; reader and writer agree on that, so that nothing which a reader has
handed out is ever cut away by the writer that opens the journal next.
"""

from __future__ import annotations

import base64
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from connectors.errors import JournalError
from connectors.records import Record, RecordKind
from connectors.segments import LIVE, PACKED, pack, segment_size, segments, unpack

CoreKind: TypeAlias = Literal["binance", "ethereum", "klines"]

VERSION: Final = 1
META_FILE: Final = "feed.json"
SEGMENT_BYTES: Final = 64 << 20

_CHUNK: Final = 4 << 20
_log = logging.getLogger(__name__)


class JournalMeta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``feed.json`` says: the feed's name, the kind of its core and the core's configuration."""

    feed: str
    kind: CoreKind
    config: dict[str, Any]
    version: int = VERSION


class _Line(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A record as it stands in a segment; ``m`` is the body as text, ``x`` in base64 where it is not UTF-8."""

    n: int
    t: int
    k: RecordKind
    m: str = ""
    x: str = ""
    g: str = ""
    s: int = 0


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)


def encode_records(records: Sequence[Record]) -> bytes:
    """Return the lines of ``records``, each with its newline."""
    lines = []
    for r in records:
        try:
            lines.append(_Line(r.n, r.t_us, r.kind, r.body.decode(), "", r.tag, r.status))
        except UnicodeDecodeError:
            lines.append(_Line(r.n, r.t_us, r.kind, "", base64.b64encode(r.body).decode(), r.tag, r.status))
    return _encoder.encode_lines(lines)


def decode_records(text: bytes, path: Path, first_line: int, first_n: int) -> list[Record]:
    """Return the records of whole lines; ``first_n`` is the number that the first of them must have.

    Raises
    ------
    JournalError
        At a line that is not a record, or whose number does not follow: it names file and line.
    """
    try:
        lines = _decoder.decode_lines(text)
    except msgspec.DecodeError:
        lines = _decode_singly(text, path, first_line)
    records = []
    for at, line in enumerate(lines):
        if line.n != first_n + at:
            raise JournalError(
                f"{path}:{first_line + at}", f"record {line.n} stands where {first_n + at} must", "a part is missing"
            )
        records.append(Record(line.n, line.t, line.k, _body(line, path, first_line + at), line.g, line.s))
    return records


def _body(line: _Line, path: Path, number: int) -> bytes:
    if not line.x:
        return line.m.encode()
    try:
        return base64.b64decode(line.x, validate=True)
    except ValueError:
        raise JournalError(f"{path}:{number}", "the body is not base64", "the file was damaged") from None


def _decode_singly(text: bytes, path: Path, first_line: int) -> list[_Line]:
    lines = []
    for at, line in enumerate(text.removesuffix(b"\n").split(b"\n")):
        try:
            lines.append(_decoder.decode(line))
        except msgspec.DecodeError as error:
            raise JournalError(f"{path}:{first_line + at}", f"not a record: {error}", "the file was damaged") from None
    return lines


def is_journal(path: Path) -> bool:
    """Say whether ``path`` is the folder of one feed's journal."""
    return (path / META_FILE).is_file()


def find_journals(path: Path) -> list[Path]:
    """Return the journals at ``path``: itself, or the folders in it, sorted by name."""
    if is_journal(path):
        return [path]
    if not path.is_dir():
        return []
    return sorted(child for child in path.iterdir() if is_journal(child))


def read_meta(folder: Path) -> JournalMeta:
    """Read ``feed.json``; a :class:`JournalError` says what is wrong with it."""
    path = folder / META_FILE
    try:
        meta = msgspec.json.decode(path.read_bytes(), type=JournalMeta)
    except OSError as error:
        raise JournalError(str(path), f"cannot be read: {error.strerror}", "is this the folder of a feed?") from None
    except msgspec.DecodeError as error:
        raise JournalError(str(path), f"does not describe a feed: {error}") from None
    if meta.version != VERSION:
        raise JournalError(str(path), f"has format version {meta.version}", f"this program reads version {VERSION}")
    return meta


class JournalWriter:
    """Appends records to a journal, which it makes or continues.

    Opening cuts an incomplete last line away; a second writer on the same folder is refused. ``append`` is one
    write; the disk is told to keep it at most once a second, on :meth:`sync` and on :meth:`close`. Full segments
    are packed by a thread beside.
    """

    def __init__(
        self,
        folder: Path,
        meta: JournalMeta,
        segment_bytes: int = SEGMENT_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self._segment_bytes, self._monotonic = folder, segment_bytes, monotonic
        self._packer: threading.Thread | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder, os.O_RDONLY)
        except OSError as error:
            raise JournalError(str(folder), f"cannot be opened: {error.strerror}") from None
        try:
            self._take_lock()
            self._settle_meta(meta)
            self._open_tail()
        except BaseException:
            os.close(self._lock)
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise JournalError(str(self.folder), "another process writes to it", "stop that one first") from None

    def _settle_meta(self, meta: JournalMeta) -> None:
        path = self.folder / META_FILE
        text = msgspec.json.format(msgspec.json.encode(meta, order="sorted"), indent=1) + b"\n"
        if path.exists():
            if msgspec.to_builtins(read_meta(self.folder)) != msgspec.json.decode(text):
                raise JournalError(
                    str(path), "the feed has other settings than this journal", "use another state folder"
                )
            return
        fresh = path.with_suffix(".tmp")
        with fresh.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
        os.fsync(self._lock)

    def _open_tail(self) -> None:
        found = segments(self.folder)
        for first, path in found:
            if path.name.endswith(PACKED):  # a crash may have left the plain one beside it
                (self.folder / f"{first:016d}{LIVE}").unlink(missing_ok=True)
        self._packed_bytes = sum(segment_size(path) for _, path in found[:-1])
        for first, path in found[:-1]:
            if path.name.endswith(LIVE):
                pack(path, self.folder / f"{first:016d}{PACKED}")
        if found and found[-1][1].name.endswith(LIVE):
            first, path = found[-1]
            count, size = _whole_lines(path)
            self._start(path, first, count, size)
        elif found:
            first, path = found[-1]
            self._packed_bytes += segment_size(path)
            self._start_fresh(first + unpack(path).records)
        else:
            self._start_fresh(0)

    def _start_fresh(self, first: int) -> None:
        self._start(self.folder / f"{first:016d}{LIVE}", first, 0, 0)

    def _start(self, path: Path, first: int, count: int, size: int) -> None:
        self._path, self._first, self.next_n, self._size = path, first, first + count, size
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        os.ftruncate(self._file, size)
        os.fsync(self._lock)
        self._synced_at, self._unsynced = self._monotonic(), False

    @property
    def bytes_total(self) -> int:
        """Bytes of text appended since the journal began."""
        return self._packed_bytes + self._size

    def append(self, records: Sequence[Record]) -> None:
        """Append ``records``, whose numbers must go on from ``next_n``; all of them or, on an error, none."""
        if not records:
            return
        for at, record in enumerate(records):
            if record.n != self.next_n + at:
                raise JournalError(str(self._path), f"record {record.n} does not follow {self.next_n + at - 1}")
        text = memoryview(encode_records(records))
        written = 0
        try:
            while written < len(text):
                written += os.write(self._file, text[written:])
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise JournalError(str(self._path), f"cannot be written: {error.strerror}", "free disk space") from None
        self._size += written
        self.next_n += len(records)
        self._unsynced = True
        if self._size >= self._segment_bytes:
            self._rotate()
        elif self._monotonic() - self._synced_at >= 1.0:
            self.sync()

    def sync(self) -> None:
        """Make sure that everything appended survives a loss of power."""
        if self._unsynced:
            os.fsync(self._file)
            self._unsynced = False
        self._synced_at = self._monotonic()

    def _rotate(self) -> None:
        self.sync()
        os.close(self._file)
        self._packed_bytes += self._size
        full, target = self._path, self.folder / f"{self._first:016d}{PACKED}"
        self._start_fresh(self.next_n)
        if self._packer is not None:
            self._packer.join()
        self._packer = threading.Thread(target=_pack_beside, args=(full, target), name="journal-pack", daemon=True)
        self._packer.start()

    def close(self) -> None:
        """Write everything to the disk and let go of the folder; a second call does nothing."""
        if self._lock < 0:
            return
        self.sync()
        os.close(self._file)
        if self._packer is not None:
            self._packer.join()
        os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pack_beside(full: Path, target: Path) -> None:
    try:
        pack(full, target)
    except OSError as error:
        # nothing is lost: the plain segment stays, readers take it, and the next start packs it
        _log.warning("segment %s stays unpacked: %s", full, error)


def _whole_lines(path: Path) -> tuple[int, int]:
    """Count the complete lines of a live segment; return their number and their bytes."""
    count = size = offset = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            count += chunk.count(b"\n")
            end = chunk.rfind(b"\n")
            if end >= 0:
                size = offset + end + 1
            offset += len(chunk)
    return count, size


class JournalReader:
    """Reads a journal from any record on, also while it is being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta = read_meta(folder)
        self._next = 0
        self._blocks: Iterator[tuple[int, list[Record]]] = iter(())
        self._ready: list[Record] = []
        self._at = 0

    @property
    def first_n(self) -> int:
        """Number of the first record that is still there (0 in an empty journal)."""
        found = segments(self.folder)
        return found[0][0] if found else 0

    @property
    def end_n(self) -> int:
        """Number that the next record will have."""
        found = segments(self.folder)
        if not found:
            return 0
        first, path = found[-1]
        return first + (_whole_lines(path)[0] if path.name.endswith(LIVE) else unpack(path).records)

    def read(self, from_n: int, limit: int) -> list[Record]:
        """Return at most ``limit`` records from number ``from_n`` on; none where the journal ends.

        Raises
        ------
        JournalError
            At a hole, a damaged line or a segment that cannot be read; it names file and line.
        """
        if from_n != self._next:
            self._blocks, self._ready, self._at, self._next = iter(()), [], 0, from_n
        out: list[Record] = []
        while len(out) < limit:
            if self._at >= len(self._ready) and not self._advance():
                break
            take = self._ready[self._at : self._at + limit - len(out)]
            self._at += len(take)
            self._next += len(take)
            out += take
        return out

    def _advance(self) -> bool:
        """Make the next block of records ready; False at the end of the journal."""
        for attempt in (self._blocks, None):
            if attempt is None:
                self._blocks = self._scan(self._next)
            for first, block in self._blocks:
                if first + len(block) > self._next:
                    self._ready, self._at = block, self._next - first
                    return True
        return False

    def _scan(self, from_n: int) -> Iterator[tuple[int, list[Record]]]:
        found = segments(self.folder)
        if found and from_n < found[0][0]:
            raise JournalError(str(self.folder), f"begins with record {found[0][0]}, wanted is {from_n}")
        starts = [at for at, (first, _) in enumerate(found) if first <= from_n]
        for at in range(starts[-1] if starts else len(found), len(found)):
            first, path = found[at]
            last = at + 1 == len(found)
            end = first
            for block_first, block in _blocks_of(path, first, from_n, last):
                yield block_first, block
                end = block_first + len(block)
            if not last and end != found[at + 1][0]:
                raise JournalError(
                    f"{path}:{end - first + 1}", f"ends before record {end}, the next segment begins with "
                    f"{found[at + 1][0]}", "a part is missing",
                )  # fmt: skip

    def __iter__(self) -> Iterator[Record]:
        """Give every record, from the first on."""
        position = self.first_n
        while block := self.read(position, 8192):
            yield from block
            position += len(block)


def _blocks_of(path: Path, first: int, from_n: int, last: bool) -> Iterator[tuple[int, list[Record]]]:
    """Give the records of a segment in blocks, leaving out blocks that end before ``from_n``."""
    if path.name.endswith(PACKED):
        index = unpack(path)
        for frame_first, text in index.frames(from_n):
            yield frame_first, decode_records(text, path, frame_first - first + 1, frame_first)
        if not index.records:
            return
        yield first + index.records, []
        return
    n, rest = first, b""
    try:
        file = path.open("rb")
    except FileNotFoundError:  # packed in this moment
        yield from _blocks_of(path.with_name(f"{first:016d}{PACKED}"), first, from_n, last)
        return
    with file:
        while chunk := file.read(_CHUNK):
            text = rest + chunk
            cut = text.rfind(b"\n") + 1
            text, rest = text[:cut], text[cut:]
            count = text.count(b"\n")
            if count and n + count > from_n:
                yield n, decode_records(text, path, n - first + 1, n)
            elif count:
                yield n + count, []
            n += count
    if rest and not last:
        raise JournalError(f"{path}:{n - first + 1}", "the line is cut off", "the file was damaged")
