"""What a format is: what it needs of a file, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from connectors.archives.reader import ArchiveReader, Options
from connectors.archives.source import Source
from connectors.schema import Kind

Branch: TypeAlias = Literal["market", "chain"]

TIME_NAMES: Final = ("date", "time", "timestamp", "open_time")


@dataclass(frozen=True, slots=True)
class Need:
    """A column that a format cannot do without: what it is, and the names it may have."""

    what: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.what} ({', '.join(self.names)})"


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file.

    ``fits`` tells whether a file that has all ``needs`` is of this format; ``opener`` reads files of it as one
    table; ``chains`` names the chains in them.
    """

    name: str
    branch: Branch
    kind: Kind
    needs: tuple[Need, ...]
    opener: Callable[[Sequence[Source], Options, int], ArchiveReader]
    fits: Callable[[Source], bool] = lambda _: True
    chains: Callable[[Sequence[Source]], tuple[str, ...]] = lambda _: ()

    def missing(self, source: Source) -> list[Need]:
        """Return the needs that a file does not meet."""
        return [need for need in self.needs if source.position(*need.names) is None]
