from __future__ import annotations

import decimal
import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.archives import values
from connectors.archives.values import parse_addresses, parse_amounts, parse_hashes, parse_names, parse_numbers


def reason_of(reasons: dict[str, values.Bools], row: int) -> str:
    found = [reason for reason, mask in reasons.items() if mask[row]]
    assert len(found) <= 1, "reasons must not overlap"
    return found[0] if found else ""


def test_numbers_of_text_cell_by_cell() -> None:
    cells = ["1", " 2.5 ", "1e3", "", None, "NaN", "null", "x", "1,5", "0x10", "1_000", "inf", "-3", "1e999", ".5"]
    numbers, present = parse_numbers(pa.array(cells, pa.large_string()))
    expected = [1, 2.5, 1e3, *[math.nan] * 8, math.inf, -3, math.inf, 0.5]
    for cell, number, wanted in zip(cells, numbers, expected, strict=True):
        assert number == wanted or (math.isnan(number) and math.isnan(wanted)), cell
    assert present.tolist() == [True, True, True, False, False, False, False, *[True] * 8]


@pytest.mark.parametrize("kind", [pa.float32(), pa.int16(), pa.uint64(), pa.decimal128(10, 2), pa.string()])
def test_numbers_of_every_numeric_type(kind: pa.DataType) -> None:
    numbers, present = parse_numbers(pa.array(["7", None]).cast(kind))
    assert numbers[0] == 7.0
    assert math.isnan(numbers[1])
    assert present.tolist() == [True, False]


def test_a_column_that_cannot_be_numbers_is_present_and_none() -> None:
    numbers, present = parse_numbers(pa.array([True, None]))
    assert math.isnan(numbers[0])
    assert present.tolist() == [True, False]


@given(st.lists(st.one_of(st.none(), st.text(max_size=12), st.floats().map(str), st.integers().map(str)), max_size=20))
def test_numbers_of_any_text_agree_with_float_or_are_nan(cells: list[str | None]) -> None:
    numbers, present = parse_numbers(pa.array(cells, pa.large_string()))
    for cell, number, there in zip(cells, numbers, present, strict=True):
        if not there:
            assert cell is None or cell.strip().lower() in {"", "nan", "na", "n/a", "null", "none"}
        elif not math.isnan(number):
            assert number == float(str(cell))


@pytest.mark.parametrize(
    ("cell", "amount", "reason"),
    [
        ("0", 0, ""),
        ("-0", 0, ""),
        ("00012", 12, ""),
        ("+5", 5, ""),
        ("12.000", 12, ""),
        ("9" * 38, 10**38 - 1, ""),
        ("0" * 50 + "1", 1, ""),
        ("1" + "0" * 38, None, values.TOO_LARGE),
        ("-1", None, values.NEGATIVE),
        ("-0.5", None, values.NEGATIVE),
        ("1.5", None, values.NO_INTEGER),
        ("1e18", None, values.NO_INTEGER),
        ("0x10", None, values.NO_INTEGER),
        ("one", None, values.NO_INTEGER),
        ("-", None, values.NO_INTEGER),
        ("", None, values.NO_AMOUNT),
        (None, None, values.NO_AMOUNT),
    ],
)
def test_amounts_of_text_are_exact_or_say_why_not(cell: str | None, amount: int | None, reason: str) -> None:
    amounts, reasons = parse_amounts(pa.array([cell], pa.large_string()))
    assert amounts.type == pa.decimal128(38, 0)
    assert amounts.to_pylist() == [None if amount is None else decimal.Decimal(amount)]
    assert reason_of(reasons, 0) == reason


@pytest.mark.parametrize(
    ("column", "amount", "reason"),
    [
        (pa.array([(1 << 64) - 1], pa.uint64()), (1 << 64) - 1, ""),
        (pa.array([-1], pa.int64()), None, values.NEGATIVE),
        (pa.array([None], pa.int64()), None, values.NO_AMOUNT),
        (pa.array([decimal.Decimal(10**60)], pa.decimal256(76, 0)), None, values.TOO_LARGE),
        (pa.array([decimal.Decimal("12.00")], pa.decimal128(20, 2)), 12, ""),
        (pa.array([decimal.Decimal("12.01")], pa.decimal128(20, 2)), None, values.NO_INTEGER),
        (pa.array([2.0**53]), 2**53, ""),
        (pa.array([2.0**53 + 2]), None, values.INEXACT),
        (pa.array([1.5]), None, values.NO_INTEGER),
        (pa.array([-1.0]), None, values.NEGATIVE),
        (pa.array([math.inf]), None, values.NO_INTEGER),
        (pa.array([math.nan]), None, values.NO_AMOUNT),
    ],
)
def test_amounts_of_numeric_types(column: pa.Array, amount: int | None, reason: str) -> None:
    amounts, reasons = parse_amounts(column)
    assert amounts.to_pylist() == [None if amount is None else decimal.Decimal(amount)]
    assert reason_of(reasons, 0) == reason


@given(st.lists(st.one_of(st.integers(-(10**45), 10**45).map(str), st.text(max_size=8), st.none()), max_size=20))
def test_every_amount_is_its_integer_or_has_one_reason(cells: list[str | None]) -> None:
    amounts, reasons = parse_amounts(pa.array(cells, pa.large_string()))
    for row, (cell, amount) in enumerate(zip(cells, amounts.to_pylist(), strict=True)):
        assert (amount is None) == (reason_of(reasons, row) != "")
        if amount is not None:
            assert amount == decimal.Decimal(str(cell).strip())


def test_names_are_verbatim_and_blank_ones_are_none() -> None:
    assert parse_names(pa.array([" BTC", "", "  ", None, "ß"])).to_pylist() == [" BTC", None, None, None, "ß"]
    assert parse_names(pa.array([1, None])).to_pylist() == ["1", None]
    assert parse_names(pa.array([b"\x01\xff", None])).to_pylist() == ["01ff", None]


def test_addresses_of_hexadecimal_form_are_lower_case_and_others_are_not() -> None:
    cells = ["0xABc", "0XABC", " 0xAB ", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "", None]
    expected = ["0xabc", "0xabc", "0xab", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", None, None]
    assert parse_addresses(pa.array(cells)).to_pylist() == expected


@given(st.lists(st.one_of(st.none(), st.binary(min_size=32, max_size=32), st.text("0123456789abcdefxyz", max_size=70))))
def test_hashes_are_decoded_where_they_are_hashes(items: list[bytes | str | None]) -> None:
    cells = ["0x" + item.hex().upper() if isinstance(item, bytes) else item for item in items]
    hashes = parse_hashes(pa.array(cells, pa.large_string()))
    assert hashes.type == pa.binary()
    for item, found in zip(items, hashes.to_pylist(), strict=True):
        if isinstance(item, bytes) or not item:
            assert found == (item or None)
        else:
            assert found == (
                bytes.fromhex(item)
                if len(item) == 64 and set(item) <= set("0123456789abcdef")
                else bytes.fromhex(item[2:])
                if len(item) == 66 and item.startswith("0x") and set(item[2:]) <= set("0123456789abcdef")
                else item.encode()
            )


def test_hashes_that_are_bytes_already_stay() -> None:
    assert parse_hashes(pa.array([b"\x01" * 32, None], pa.binary(32))).to_pylist() == [b"\x01" * 32, None]


def test_hashes_of_a_slice_are_those_of_its_rows() -> None:
    cells = pa.array([f"{i:064x}" for i in range(10)], pa.large_string())
    assert parse_hashes(cells.slice(4, 3)).to_pylist() == [i.to_bytes(32, "big") for i in (4, 5, 6)]
