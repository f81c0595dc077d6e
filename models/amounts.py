"""Amounts as 128-bit signed integers in two columns: exact sums of wei and satoshi.

An amount is ``hi * 2**64 + lo`` with ``hi`` int64 and ``lo`` uint64 (two's complement). Arithmetic is modulo
2**128, hence sums do not depend on their order and a subtraction undoes an addition exactly; real supplies
(about 2**87 wei) leave 40 bits of room.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

Int64: TypeAlias = npt.NDArray[np.int64]
UInt64: TypeAlias = npt.NDArray[np.uint64]
Float64: TypeAlias = npt.NDArray[np.float64]

_MASK: Final = (1 << 64) - 1
_TWO_64: Final = 18446744073709551616.0


@njit(cache=True, inline="always")
def add128(hi_a, lo_a, hi_b, lo_b):  # type: ignore[no-untyped-def]
    """Return the sum of two amounts; for use inside numba kernels."""
    lo = lo_a + lo_b
    carry = np.int64(1) if lo < lo_a else np.int64(0)
    return hi_a + hi_b + carry, lo


@njit(cache=True, inline="always")
def negate128(hi, lo):  # type: ignore[no-untyped-def]
    """Return minus an amount; for use inside numba kernels."""
    if lo == np.uint64(0):
        return -hi, lo
    return ~hi, ~lo + np.uint64(1)


@njit(cache=True)
def _add(hi_a, lo_a, hi_b, lo_b):  # type: ignore[no-untyped-def]
    hi, lo = np.empty_like(hi_a), np.empty_like(lo_a)
    for i in range(hi.size):
        hi[i], lo[i] = add128(hi_a[i], lo_a[i], hi_b[i], lo_b[i])
    return hi, lo


@njit(cache=True)
def _negate(hi_a, lo_a):  # type: ignore[no-untyped-def]
    hi, lo = np.empty_like(hi_a), np.empty_like(lo_a)
    for i in range(hi.size):
        hi[i], lo[i] = negate128(hi_a[i], lo_a[i])
    return hi, lo


@njit(cache=True)
def _segment_sums(hi, lo, starts):  # type: ignore[no-untyped-def]
    out_hi, out_lo = np.zeros(starts.size, np.int64), np.zeros(starts.size, np.uint64)
    for s in range(starts.size):
        end = starts[s + 1] if s + 1 < starts.size else hi.size
        sum_hi, sum_lo = np.int64(0), np.uint64(0)
        for i in range(starts[s], end):
            sum_hi, sum_lo = add128(sum_hi, sum_lo, hi[i], lo[i])
        out_hi[s], out_lo[s] = sum_hi, sum_lo
    return out_hi, out_lo


def from_decimal128(column: pa.Array) -> tuple[Int64, UInt64]:
    """Return a ``decimal128(p, 0)`` column as (hi [n], lo [n]); nulls become 0.

    Raises ValueError for another type or a scale other than 0: base units are whole.
    """
    if not pa.types.is_decimal128(column.type) or column.type.scale != 0:
        raise ValueError(f"amounts must be decimal128 with scale 0, not {column.type}")
    if len(column) == 0:
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    words = np.frombuffer(column.buffers()[1], "<u8").reshape(-1, 2)[column.offset : column.offset + len(column)]
    lo = words[:, 0].astype(np.uint64)
    hi = words[:, 1].astype(np.uint64).view(np.int64)
    if column.null_count:
        absent = column.is_null().to_numpy(zero_copy_only=False)
        hi[absent], lo[absent] = 0, 0
    return hi, lo


def from_ints(values: Iterable[int]) -> tuple[Int64, UInt64]:
    """Return Python integers as (hi, lo), modulo 2**128. Slow: for tests and single values."""
    listed = list(values)
    lo = np.array([value & _MASK for value in listed], dtype=np.uint64)
    hi = np.array([(value >> 64) & _MASK for value in listed], dtype=np.uint64).view(np.int64)
    return hi, lo


def to_ints(hi: Int64, lo: UInt64) -> list[int]:
    """Return amounts as Python integers. Slow: for tests and single values."""
    return [(int(h) << 64) + int(low) for h, low in zip(hi.tolist(), lo.tolist(), strict=True)]


def add(hi_a: Int64, lo_a: UInt64, hi_b: Int64, lo_b: UInt64) -> tuple[Int64, UInt64]:
    """Return the elementwise sums of two columns of amounts, all [n]."""
    _same_length(hi_a, lo_a, hi_b, lo_b)
    hi, lo = _add(hi_a, lo_a, hi_b, lo_b)
    return hi, lo


def subtract(hi_a: Int64, lo_a: UInt64, hi_b: Int64, lo_b: UInt64) -> tuple[Int64, UInt64]:
    """Return the elementwise differences a - b of two columns of amounts, all [n]."""
    hi, lo = negate(hi_b, lo_b)
    return add(hi_a, lo_a, hi, lo)


def negate(hi: Int64, lo: UInt64) -> tuple[Int64, UInt64]:
    """Return minus each amount, all [n]."""
    _same_length(hi, lo)
    minus_hi, minus_lo = _negate(hi, lo)
    return minus_hi, minus_lo


def segment_sums(hi: Int64, lo: UInt64, starts: Int64) -> tuple[Int64, UInt64]:
    """Return the sums of runs of rows.

    Parameters
    ----------
    hi, lo : int64 [n], uint64 [n]
        The amounts.
    starts : int64 [m]
        Ascending first rows; run ``s`` ends where the next begins, the last with the column.

    Returns
    -------
    int64 [m], uint64 [m]
        The exact sum of each run; 0 for an empty one.
    """
    _same_length(hi, lo)
    if starts.size and (starts[0] < 0 or starts[-1] > hi.size or bool(np.any(starts[1:] < starts[:-1]))):
        raise ValueError("starts must ascend within the column")
    sum_hi, sum_lo = _segment_sums(hi, lo, starts)
    return sum_hi, sum_lo


def total(hi: Int64, lo: UInt64) -> int:
    """Return the exact sum of a column as a Python integer, without wrapping."""
    half = np.uint64(32)
    low = int((lo & np.uint64(0xFFFFFFFF)).sum()) + (int((lo >> half).sum()) << 32)
    bits = hi.view(np.uint64)
    high = int((bits & np.uint64(0xFFFFFFFF)).sum()) + (int((hi >> np.int64(32)).sum()) << 32)
    return low + (high << 64)


def to_float(hi: Int64, lo: UInt64) -> Float64:
    """Return amounts as float64, within one unit in the last place.

    The magnitude is converted, not the two words: -1 is (hi -1, lo 2**64 - 1), whose words cancel to 0 in floats.
    """
    minus_hi, minus_lo = negate(hi, lo)
    negative = hi < 0
    high = np.where(negative, minus_hi, hi).astype(np.float64)
    low = np.where(negative, minus_lo, lo).astype(np.float64)
    size = np.abs(high) * _TWO_64 + low  # abs: -2**127 is its own negative
    return np.where(negative, -size, size)


def _same_length(*columns: npt.NDArray[np.int64] | npt.NDArray[np.uint64]) -> None:
    if len({column.size for column in columns}) > 1:
        raise ValueError(f"columns differ in length: {[column.size for column in columns]}")
