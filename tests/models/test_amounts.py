"""128-bit amounts against Python's integers."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import amounts

WIDE = st.integers(-(2**127), 2**127 - 1)
DECIMAL = st.integers(-(10**38) + 1, 10**38 - 1)


def wrap(value: int) -> int:
    return (value + 2**127) % 2**128 - 2**127


@settings(deadline=None)  # the first call compiles
@given(st.lists(WIDE, max_size=20))
def test_integers_go_in_and_come_out(values: list[int]) -> None:
    hi, lo = amounts.from_ints(values)
    assert (hi.dtype, lo.dtype) == (np.int64, np.uint64)
    assert amounts.to_ints(hi, lo) == values
    assert amounts.total(hi, lo) == sum(values)
    assert amounts.to_ints(*amounts.negate(hi, lo)) == [wrap(-v) for v in values]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.tuples(WIDE, WIDE), max_size=20))
def test_sums_and_differences_are_exact_modulo_2_to_128(pairs: list[tuple[int, int]]) -> None:
    a = amounts.from_ints([x for x, _ in pairs])
    b = amounts.from_ints([y for _, y in pairs])
    assert amounts.to_ints(*amounts.add(*a, *b)) == [wrap(x + y) for x, y in pairs]
    assert amounts.to_ints(*amounts.subtract(*a, *b)) == [wrap(x - y) for x, y in pairs]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.one_of(st.none(), DECIMAL), max_size=20), st.integers(0, 4), st.integers(0, 4))
def test_decimal_columns_with_nulls_and_slices(values: list[int | None], skip: int, cut: int) -> None:
    column = pa.array([None if v is None else Decimal(v) for v in values], type=pa.decimal128(38, 0))
    kept = values[skip : len(values) - cut] if len(values) > skip + cut else []
    hi, lo = amounts.from_decimal128(column.slice(min(skip, len(values)), len(kept)))
    assert amounts.to_ints(hi, lo) == [v or 0 for v in kept]


@settings(deadline=None)  # the first call compiles
@given(st.lists(WIDE, max_size=30), st.lists(st.integers(0, 30), max_size=6))
def test_segment_sums(values: list[int], cuts: list[int]) -> None:
    starts = sorted(min(c, len(values)) for c in cuts)
    hi, lo = amounts.segment_sums(*amounts.from_ints(values), np.array(starts, np.int64))
    ends = [*starts[1:], len(values)]
    assert amounts.to_ints(hi, lo) == [wrap(sum(values[a:b])) for a, b in zip(starts, ends, strict=False)]


@settings(deadline=None)  # the first call compiles
@given(st.lists(WIDE, min_size=1, max_size=20))
def test_floats_are_within_one_unit_in_the_last_place(values: list[int]) -> None:
    for value, got in zip(values, amounts.to_float(*amounts.from_ints(values)).tolist(), strict=True):
        assert abs(Fraction(got) - value) <= Fraction(np.spacing(abs(float(value))).item())
        assert (got > 0) - (got < 0) == (value > 0) - (value < 0)


def test_small_negatives_do_not_cancel() -> None:
    values = [-1, 1, 0, -(2**64), 2**64, -(2**64) - 1, -(2**127)]
    assert amounts.to_float(*amounts.from_ints(values)).tolist() == [float(v) for v in values]


def test_faulty_input_is_refused() -> None:
    with pytest.raises(ValueError, match="scale 0"):
        amounts.from_decimal128(pa.array([Decimal("1.5")], type=pa.decimal128(10, 1)))
    with pytest.raises(ValueError, match="decimal128"):
        amounts.from_decimal128(pa.array([1]))
    hi, lo = amounts.from_ints([1, 2])
    with pytest.raises(ValueError, match="length"):
        amounts.add(hi, lo, hi[:1], lo[:1])
    for starts in ([1, 0], [3], [-1]):
        with pytest.raises(ValueError, match="starts"):
            amounts.segment_sums(hi, lo, np.array(starts, np.int64))
