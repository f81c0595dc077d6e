"""The one tree of errors.

::

    ShoalError
    ├── ConfigError         a setting that cannot be used: file, key, problem, remedy
    ├── InputError          a file that cannot be read: path, line, problem, remedy
    ├── SchemaError         rows that do not fit their schema: table, column, row, reason
    ├── JournalError        a journal that cannot be written or read
    ├── FeedError           a peer that cannot be reached or that broke its protocol
    ├── StateError          a state or result folder that cannot be used (locked, other version, finished)
    └── ServiceError        something of this machine that is in the way (a port in use, a missing permission)

Each error has fields and builds its own one-line text; the command line prints that line and exits with 2.
``models`` imports nothing of this project and raises :class:`ValueError`.
"""

from __future__ import annotations


class ShoalError(Exception):
    """Root of the tree: anything that Shoal itself reports to a person."""


class ConfigError(ShoalError):
    """A setting that cannot be used."""

    def __init__(self, source: str, key: str, problem: str, remedy: str = "") -> None:
        super().__init__(source, key, problem, remedy)
        self.source, self.key, self.problem, self.remedy = source, key, problem, remedy

    def __str__(self) -> str:
        where = f"{self.source}: {self.key}: " if self.key else f"{self.source}: "
        return where + self.problem + (f" ({self.remedy})" if self.remedy else "")


class InputError(ShoalError):
    """A file or folder that cannot be read as what it should be."""

    def __init__(self, path: str, problem: str, remedy: str = "", line: int | None = None) -> None:
        super().__init__(path, problem, remedy, line)
        self.path, self.problem, self.remedy, self.line = path, problem, remedy, line

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}: " if self.line is not None else f"{self.path}: "
        return where + self.problem + (f" ({self.remedy})" if self.remedy else "")


class SchemaError(ShoalError):
    """Rows that do not fit their schema."""

    def __init__(self, table: str, column: str, row: int | None, reason: str) -> None:
        super().__init__(table, column, row, reason)
        self.table, self.column, self.row, self.reason = table, column, row, reason

    def __str__(self) -> str:
        at = f", row {self.row}" if self.row is not None else ""
        return f"{self.table}: column {self.column!r}{at}: {self.reason}"


class JournalError(ShoalError):
    """A journal that cannot be written, or whose content is not a journal."""

    def __init__(self, path: str, problem: str, remedy: str = "") -> None:
        super().__init__(path, problem, remedy)
        self.path, self.problem, self.remedy = path, problem, remedy

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}" + (f" ({self.remedy})" if self.remedy else "")


class FeedError(ShoalError):
    """A peer that cannot be reached, or that broke its protocol."""

    def __init__(self, endpoint: str, problem: str, remedy: str = "") -> None:
        super().__init__(endpoint, problem, remedy)
        self.endpoint, self.problem, self.remedy = endpoint, problem, remedy

    def __str__(self) -> str:
        return f"{self.endpoint}: {self.problem}" + (f" ({self.remedy})" if self.remedy else "")


class StateError(ShoalError):
    """A state or result folder that cannot be used as it is."""

    def __init__(self, path: str, problem: str, remedy: str = "") -> None:
        super().__init__(path, problem, remedy)
        self.path, self.problem, self.remedy = path, problem, remedy

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}" + (f" ({self.remedy})" if self.remedy else "")


class ServiceError(ShoalError):
    """Something of this machine that is in the way: a port in use, a permission that is missing."""

    def __init__(self, what: str, problem: str, remedy: str = "") -> None:
        super().__init__(what, problem, remedy)
        self.what, self.problem, self.remedy = what, problem, remedy

    def __str__(self) -> str:
        return f"{self.what}: {self.problem}" + (f" ({self.remedy})" if self.remedy else "")
