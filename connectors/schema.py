"""The event schemas, and the batch: the only thing that moves through the dataflow.

One name and one type per concept over all tables. Times are ``timestamp[us, UTC]``; plain integers that hold a
time are microseconds since the epoch and end in ``_us``. Amounts are integers in base units (wei, satoshi) as
``decimal128(38, 0)``: exact up to the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from connectors.errors import SchemaError

Int64 = npt.NDArray[np.int64]
Kind = Literal["trades", "bars", "blocks", "transfers", "gaps", "quarantine"]

TIME: Final = pa.timestamp("us", tz="UTC")
NAME: Final = pa.dictionary(pa.int32(), pa.utf8())
AMOUNT: Final = pa.decimal128(38, 0)

FLAG_BACKFILL: Final = 1
FLAG_SNAPSHOT: Final = 2
FLAG_AFTER_GAP: Final = 4
FLAG_DUPLICATE: Final = 8
"""The row came before already: it is counted for its coin and enters no bar."""

FOREVER_US: Final = 1 << 62
"""Watermark of an input that has ended and holds nobody back."""


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


TRADES: Final = pa.schema(
    [
        _required("venue", NAME),
        _required("symbol", NAME),
        pa.field("trade_id", pa.int64()),
        _required("side", pa.int8()),  # +1 the taker bought, -1 the taker sold, 0 unknown
        _required("price", pa.float64()),
        _required("qty", pa.float64()),  # in units of the coin
        _required("ts_event", TIME),
        pa.field("ts_recv", TIME),
        _required("flags", pa.uint8()),
    ],
    metadata={"table": "trades", "schema_version": "1"},
)

BARS: Final = pa.schema(
    [
        _required("venue", NAME),
        _required("symbol", NAME),
        _required("interval_us", pa.int64()),  # 0 for a snapshot of a price
        _required("ts_close", TIME),
        pa.field("open", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("low", pa.float64()),
        _required("close", pa.float64()),
        pa.field("volume", pa.float64()),  # in units of the coin
        pa.field("market_cap", pa.float64()),
        pa.field("n_trades", pa.int64()),
        _required("flags", pa.uint8()),
    ],
    metadata={"table": "bars", "schema_version": "1"},
)

BLOCKS: Final = pa.schema(
    [
        _required("chain", NAME),
        _required("height", pa.int64()),
        _required("hash", pa.binary()),
        _required("parent_hash", pa.binary()),
        _required("ts_block", TIME),
        _required("n_tx", pa.int32()),
        _required("op", pa.int8()),  # +1 connect, -1 disconnect
        _required("final_height", pa.int64()),  # the highest final block known when this one came; -1 unknown
    ],
    metadata={"table": "blocks", "schema_version": "1"},
)

TRANSFERS: Final = pa.schema(
    [
        _required("chain", NAME),
        _required("height", pa.int64()),  # -1 where the input has none
        pa.field("tx_hash", pa.binary()),
        _required("xfer_index", pa.int32()),
        _required("kind", NAME),  # native, creation, utxo_in, utxo_out, coinbase, withdrawal, fee
        pa.field("from_addr", pa.utf8()),
        pa.field("to_addr", pa.utf8()),
        _required("amount", AMOUNT),  # base units
        pa.field("success", pa.bool_()),  # null where no receipt says
        _required("ts_block", TIME),
        _required("op", pa.int8()),
    ],
    metadata={"table": "transfers", "schema_version": "1"},
)

GAPS: Final = pa.schema(
    [
        _required("feed", NAME),
        _required("symbol", NAME),
        pa.field("from_seq", pa.int64()),
        pa.field("to_seq", pa.int64()),
        _required("ts_from", TIME),
        _required("ts_to", TIME),
        _required("reason", pa.utf8()),
        _required("missing", pa.int64()),  # what was not received
        _required("filled", pa.int64()),  # what of it was fetched afterwards
    ],
    metadata={"table": "gaps", "schema_version": "1"},
)

QUARANTINE: Final = pa.schema(
    [
        _required("source", pa.utf8()),
        _required("position", pa.int64()),  # row, line or journal number
        _required("column", pa.utf8()),
        _required("reason", pa.utf8()),
        _required("detail", pa.utf8()),
    ],
    metadata={"table": "quarantine", "schema_version": "1"},
)

SCHEMAS: Final[dict[Kind, pa.Schema]] = {
    "trades": TRADES,
    "bars": BARS,
    "blocks": BLOCKS,
    "transfers": TRANSFERS,
    "gaps": GAPS,
    "quarantine": QUARANTINE,
}


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one kind with their watermark.

    ``watermark_us`` promises that no later row of this partition is older; rows that break the promise are late.
    ``row_watermarks_us`` holds, for each row, the watermark in force just before it: with it a row is late or not
    whatever the sizes of the batches are. ``None`` means that the rows are in order and none can be late.
    ``end`` says that nothing follows.
    """

    kind: Kind
    rows: pa.RecordBatch
    watermark_us: int
    row_watermarks_us: Int64 | None = None
    end: bool = False


def empty(kind: Kind) -> pa.RecordBatch:
    """Return a record batch of ``kind`` without rows."""
    return pa.RecordBatch.from_pylist([], schema=SCHEMAS[kind])


def time_us(column: pa.Array) -> Int64:
    """Return a time column (``timestamp[us]``, no nulls) as microseconds since the epoch, without a copy."""
    return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)


def times(us: Int64) -> pa.Array:
    """Return microseconds since the epoch as a time column."""
    return pa.array(us, type=pa.int64()).cast(TIME)


def conform(kind: Kind, rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return ``rows`` with exactly the columns and types of its schema.

    Columns that may be missing are filled with nulls; a column that must be there, a type that cannot be cast and
    a null where none may be raise :class:`SchemaError` with the table, the column, the first row and the reason.
    """
    schema = SCHEMAS[kind]
    columns = []
    for field in schema:
        position = rows.schema.get_field_index(field.name)
        if position < 0:
            if not field.nullable:
                raise SchemaError(kind, field.name, None, f"missing; there is {', '.join(rows.schema.names)}")
            columns.append(pa.nulls(rows.num_rows, field.type))
            continue
        columns.append(_cast(kind, field, rows.column(position)))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(kind: Kind, field: pa.Field, column: pa.Array) -> pa.Array:
    try:
        cast = column if column.type == field.type else column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = f"{column.type} does not become {field.type}: {error}"
        raise SchemaError(kind, field.name, _first_uncastable(column, field.type), reason) from None
    if not field.nullable and cast.null_count:
        first = int(np.flatnonzero(pc.is_null(cast).to_numpy(zero_copy_only=False))[0])
        raise SchemaError(kind, field.name, first, "null where a value must be")
    return cast


def _first_uncastable(column: pa.Array, kind: pa.DataType) -> int | None:
    """Bisect for the first row that does not cast; None where the type as such does not."""
    if len(column) == 0:
        return None
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            column.slice(low, middle - low).cast(kind)
            low = middle
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            high = middle
    return low
