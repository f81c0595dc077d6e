"""Which archive a path is, told by content alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from connectors.archives import binance, prices, trades, transfers
from connectors.archives.files import digest, inspect
from connectors.archives.formats import Branch, Format
from connectors.archives.reader import ArchiveReader, Options
from connectors.archives.source import Source
from connectors.errors import InputError
from connectors.schema import Kind

# The first that fits is taken: formats with more needs stand before the general ones.
FORMATS: Final[tuple[Format, ...]] = (*binance.FORMATS, *trades.FORMATS, *transfers.FORMATS, *prices.FORMATS)

_NEEDED: Final = "prices need a time, a coin and a price; transfers a sender, a receiver, an amount and a time"
_SHOWN_COLUMNS: Final = 12


@dataclass(frozen=True, slots=True)
class Archive:
    """One or several files of one format, read as one table in the order of time.

    ``path`` is what was asked for; ``unknown`` are the files of a folder that were left out, each with the reason.
    """

    path: Path
    sources: tuple[Source, ...]
    definition: Format
    unknown: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        """Name of the format."""
        return self.definition.name

    @property
    def branch(self) -> Branch:
        """The branch of the dataflow that it feeds."""
        return self.definition.branch

    @property
    def kind(self) -> Kind:
        """Kind of its data batches."""
        return self.definition.kind

    @property
    def rows_estimate(self) -> int:
        """Rows of the files: exact for Parquet, a guess by size for text."""
        return sum(source.rows for source in self.sources)

    @property
    def chains(self) -> tuple[str, ...]:
        """The chains that the files name, sorted; empty where they name none. Reads that column."""
        return self.definition.chains(self.sources)

    def digest(self) -> str:
        """Return the SHA-256 of the file's bytes; of several files, that of their names and digests."""
        if self.sources[0].path == self.path:
            return digest(self.path)
        lines = "".join(f"{digest(source.path)}  {source.name}\n" for source in self.sources)
        return hashlib.sha256(lines.encode()).hexdigest()

    def open(self, options: Options | None = None, *, chain: str | None = None, position: int = 0) -> ArchiveReader:
        """Read the files; raise :class:`InputError` if they are damaged or hold nothing usable."""
        chosen = options or Options()
        return self.definition.opener(self.sources, replace(chosen, chain=chain) if chain else chosen, position)


def recognise(path: Path) -> Archive:
    """Return the archive at ``path``, a file or a folder of files of one format.

    Raises :class:`InputError` that names the file, what was found in it, what is needed and the remedy.
    """
    archives = recognise_all(path)
    if len(archives) > 1:
        found = "; ".join(f"{a.format}: {_listed([s.name for s in a.sources])}" for a in archives)
        raise InputError(str(path), f"holds files of {len(archives)} formats ({found})", "give them one by one")
    return archives[0]


def recognise_all(path: Path) -> list[Archive]:
    """Return the archives at ``path``: one for a file, one for each format in a folder (not in folders below it)."""
    if not path.is_dir():
        source, kind = _recognise_file(path)
        return [Archive(path, (source,), kind)]
    groups: dict[str, tuple[Format, list[Source]]] = {}
    unknown: list[str] = []
    try:
        entries = sorted(path.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(str(path), f"cannot be listed: {error.strerror}", "check its permissions") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            source, kind = _recognise_file(entry)
        except InputError as error:
            unknown.append(f"{entry.name}: {error.problem}")
            continue
        groups.setdefault(kind.name, (kind, []))[1].append(source)
    if not groups:
        problem = "is an empty folder" if not unknown else f"holds no file that can be read: {'; '.join(unknown[:3])}"
        raise InputError(str(path), problem, _NEEDED)
    return [Archive(path, tuple(sources), kind, tuple(unknown)) for kind, sources in groups.values()]


def _recognise_file(path: Path) -> tuple[Source, Format]:
    source = binance.named(inspect(path))
    if not source.columns:
        problem = f"has no header; its first row is {_listed(source.sample[0])}"
        raise InputError(str(path), problem, f"write the names of the columns in the first line; {_NEEDED}")
    for kind in FORMATS:
        if not kind.missing(source) and kind.fits(source):
            return source, kind
    raise _unfit(source)


def _unfit(source: Source) -> InputError:
    """Say what is missing for the format that comes nearest."""
    found = f"its columns are {_listed(source.columns)}"
    nearest = max(FORMATS, key=lambda kind: _met(kind, source))
    missing = nearest.missing(source)
    if not missing or _met(nearest, source) <= 0.5:
        return InputError(str(source.path), f"has no format that is known here; {found}", _NEEDED)
    lacks = " and ".join(str(need) for need in missing)
    return InputError(str(source.path), f"looks like {nearest.name} but lacks {lacks}; {found}", "rename or add it")


def _met(kind: Format, source: Source) -> float:
    return 1 - len(kind.missing(source)) / len(kind.needs) if kind.needs else 0.0


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
    return ", ".join(" ".join(name.split())[:40] for name in names[:_SHOWN_COLUMNS]) + more
