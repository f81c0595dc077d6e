from __future__ import annotations

import decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import SchemaError, ShoalError
from connectors.schema import AMOUNT, QUARANTINE, SCHEMAS, TIME, Kind, conform, empty, time_us, times

SOME_US = 1_609_459_200_000_001


def record(columns: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def trade(**changes: Any) -> dict[str, Any]:
    row = {
        "venue": ["v"],
        "symbol": ["A"],
        "side": [1],
        "price": [1.5],
        "qty": [2.0],
        "ts_event": [SOME_US],
        "flags": [0],
    }
    return row | changes


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_an_empty_batch_has_its_schema_and_conforms(kind: Kind) -> None:
    rows = empty(kind)
    assert rows.num_rows == 0
    assert rows.schema.equals(SCHEMAS[kind], check_metadata=True)
    assert conform(kind, rows).equals(rows)
    assert SCHEMAS[kind].metadata[b"table"] == kind.encode()


def test_one_name_has_one_type_over_all_tables() -> None:
    types: dict[str, pa.DataType] = {}
    for schema in SCHEMAS.values():
        for field in schema:
            if (field.name, schema) == ("reason", QUARANTINE):
                continue
            assert types.setdefault(field.name, field.type) == field.type, field.name


def test_rows_are_cast_ordered_and_filled() -> None:
    rows = conform("trades", record(dict(reversed(trade(extra=["?"]).items()))))
    assert rows.schema.equals(SCHEMAS["trades"], check_metadata=True)
    found = rows.to_pylist()[0]
    assert (found["venue"], found["side"], found["trade_id"], found["ts_recv"]) == ("v", 1, None, None)
    assert time_us(rows.column("ts_event")).tolist() == [SOME_US]


def test_a_column_that_is_missing_is_named_with_those_that_are_there() -> None:
    columns = trade()
    del columns["price"]
    with pytest.raises(SchemaError) as caught:
        conform("trades", record(columns))
    error = caught.value
    assert (error.table, error.column, error.row) == ("trades", "price", None)
    assert "venue, symbol, side" in error.reason
    assert str(error).startswith("trades: column 'price': missing")
    assert isinstance(error, ShoalError)


def test_a_null_where_none_may_be_is_named_with_its_row() -> None:
    columns = {name: values * 3 for name, values in trade().items()} | {"price": [1.0, 2.0, None]}
    with pytest.raises(SchemaError, match=r"^trades: column 'price', row 2: null") as caught:
        conform("trades", record(columns))
    assert caught.value.row == 2


def test_a_cell_that_does_not_cast_is_named_with_its_row() -> None:
    columns = {name: values * 5 for name, values in trade().items()} | {"qty": ["1", "2", "3", "x", "y"]}
    with pytest.raises(SchemaError) as caught:
        conform("trades", record(columns))
    assert (caught.value.column, caught.value.row) == ("qty", 3)
    assert "string does not become double" in caught.value.reason


def test_a_type_that_cannot_be_cast_at_all_is_said_so() -> None:
    with pytest.raises(SchemaError) as caught:
        conform("trades", record(trade(price=[{"a": 1}])))
    assert caught.value.column == "price"
    assert "struct" in caught.value.reason


def test_an_overflow_is_an_error_and_never_wraps() -> None:
    for column, value in (("side", 200), ("flags", -1), ("flags", 256)):
        with pytest.raises(SchemaError) as caught:
            conform("trades", record(trade(**{column: [value]})))
        assert (caught.value.column, caught.value.row) == (column, 0)


def test_amounts_are_exact_to_38_digits() -> None:
    top = decimal.Decimal(10**38 - 1)
    assert pa.array([top], AMOUNT).to_pylist() == [top]
    with pytest.raises(pa.ArrowInvalid):
        pa.array([top + 1], AMOUNT)


@given(st.lists(st.integers(-(1 << 62), 1 << 62), max_size=20))
def test_times_and_microseconds_are_inverse(us: list[int]) -> None:
    column = times(np.array(us, dtype=np.int64))
    assert column.type == TIME
    assert time_us(column).tolist() == us


CELLS = st.one_of(st.none(), st.integers(-(1 << 40), 1 << 40), st.floats(), st.text(max_size=6), st.booleans())


@st.composite
def any_rows(draw: st.DrawFn) -> tuple[Kind, pa.RecordBatch]:
    """Rows that have some columns of a table, of any type."""
    kind = draw(st.sampled_from(list(SCHEMAS)))
    count = draw(st.integers(0, 4))
    columns = {}
    for field in SCHEMAS[kind]:
        style = draw(st.integers(0, 9))
        if style == 0:
            continue
        if style == 1:
            cell = draw(st.sampled_from([st.integers(-5, 300), st.floats(), st.text(max_size=4), st.booleans()]))
            cells = draw(st.lists(st.one_of(st.none(), cell), min_size=count, max_size=count))
            columns[field.name] = pa.array(cells)
        else:
            columns[field.name] = pa.nulls(count, field.type) if style == 2 else pa.array([0] * count).cast(pa.int64())
    return kind, pa.RecordBatch.from_pydict(columns) if columns else pa.RecordBatch.from_pydict({"x": [0] * count})


@given(any_rows())
def test_whatever_comes_conforms_or_is_an_error_that_names_its_column(case: tuple[Kind, pa.RecordBatch]) -> None:
    kind, rows = case
    refusal: SchemaError | None = None
    try:
        fitted = conform(kind, rows)
    except SchemaError as error:
        refusal = error
    if refusal is not None:
        assert refusal.table == kind
        assert refusal.column in SCHEMAS[kind].names
        assert refusal.row is None or 0 <= refusal.row < max(rows.num_rows, 1)
        return
    fitted.validate(full=True)
    assert fitted.schema.equals(SCHEMAS[kind], check_metadata=True)
    assert fitted.num_rows == rows.num_rows
    for field, column in zip(fitted.schema, fitted.columns, strict=True):
        assert field.nullable or column.null_count == 0
    assert conform(kind, fitted).equals(fitted)
