"""How result rows are kept: a bounded history by key, and the newest rows of a table.

Both are idempotent: the same rows may come twice (a restart repeats what it cannot know to be finished).
"""

from __future__ import annotations

import bisect
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from connectors.errors import SchemaError
from connectors.tables import TABLES

Row: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[Any, ...]

_NO_TEXT: Final = ""


class History:
    """The newest rows by key, at most ``limit`` of them.

    What has been evicted stays known by the highest key that was: a row at or below it is taken as seen before.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._keys: list[Key] = []
        self._rows: dict[Key, Row] = {}
        self._evicted: Key | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: Key, row: Row) -> bool:
        """Put a row in its place; return whether its key is new. A known key takes the new row's values."""
        if key in self._rows:
            self._rows[key] = row
            return False
        if self._evicted is not None and key <= self._evicted:
            return False
        if self._keys and key > self._keys[-1]:
            self._keys.append(key)
        else:
            bisect.insort(self._keys, key)
        self._rows[key] = row
        if len(self._keys) > self._limit:
            self._evicted = self._keys.pop(0)
            del self._rows[self._evicted]
        return True

    def get(self, key: Key) -> Row | None:
        """Return the row of a key, if it is still kept."""
        return self._rows.get(key)

    def newest(self) -> Row | None:
        """Return the row with the highest key."""
        return self._rows[self._keys[-1]] if self._keys else None

    def rows(self) -> list[Row]:
        """Return the rows, oldest first. They must not be changed."""
        return [self._rows[key] for key in self._keys]


def conform(table: str, rows: pa.RecordBatch | pa.Table) -> pa.Table:
    """Return rows with exactly the columns and types of their table.

    Raises
    ------
    SchemaError
        If the table is unknown, a column is missing or has a type that cannot be cast.
    """
    if table not in TABLES:
        raise SchemaError(table, "", None, f"no such table; known are {', '.join(TABLES)}")
    schema = TABLES[table].schema
    data = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
    if data.schema.equals(schema):
        return data
    columns = []
    for field in schema:
        if field.name not in data.schema.names:
            raise SchemaError(table, field.name, None, "is missing")
        try:
            columns.append(data.column(field.name).cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise SchemaError(table, field.name, None, str(error).splitlines()[0]) from None
    return pa.Table.from_arrays(columns, schema=schema)


def as_dicts(data: pa.Table) -> list[Row]:
    """Return rows as dictionaries; times become integers of microseconds in columns that end in ``_us``."""
    names, columns = [], []
    for field, column in zip(data.schema, data.columns, strict=True):
        is_time = pa.types.is_timestamp(field.type)
        names.append(f"{field.name}_us" if is_time else field.name)
        columns.append((column.cast(pa.int64()) if is_time else column).to_pylist())
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def split(data: pa.Table, columns: list[str]) -> list[tuple[Key, pa.Table]]:
    """Return the rows of each distinct combination of ``columns`` (times as microseconds), in order of the keys."""
    combinations = as_dicts(data.group_by(columns, use_threads=False).aggregate([]).select(columns))
    if len(combinations) == 1:
        return [(tuple(combinations[0].values()), data)]
    parts = []
    for combination in combinations:
        mask = None
        for name, value in zip(columns, combination.values(), strict=True):
            scalar = pa.scalar(value, pa.int64()).cast(data.schema.field(name).type) if name == "as_of" else value
            here = pc.equal(data[name], scalar) if value is not None else pc.is_null(data[name])
            mask = here if mask is None else pc.and_(mask, here)
        parts.append((tuple(combination.values()), data.filter(mask)))
    return sorted(parts, key=lambda part: sortable(part[0]))


def merge(table: str, old: pa.Table | None, new: pa.Table) -> pa.Table:
    """Return both sets of rows sorted by the table's key; of two rows with one key the later stays."""
    key = list(TABLES[table].key)
    data = new if old is None else pa.concat_tables([old, new])
    numbered = data.append_column("_row", pa.array(range(len(data)), pa.int64()))
    last = (
        numbered.group_by(key, use_threads=False).aggregate([("_row", "max")]).sort_by([(k, "ascending") for k in key])
    )
    return data.take(last["_row_max"]).combine_chunks()


def sortable(key: Key) -> Key:
    """Return a key whose parts compare: a missing text as the empty one, a missing number before all others."""
    return tuple(_NO_TEXT if part is None else part for part in key)


def event_key(row: Row) -> Key:
    """Return the key of an event's row, with parts that compare."""
    number = [-(2**63) if row[name] is None else row[name] for name in ("shoal_from", "shoal_to")]
    text = [row[name] or _NO_TEXT for name in ("window", "view", "kind", "coin_id")]
    return (row["as_of_us"], *text, *number, row["evidence"] or _NO_TEXT)
