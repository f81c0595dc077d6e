"""Cells as values: prices, amounts in base units, names, addresses and hashes, a column at a time."""

from __future__ import annotations

import binascii
import math
import re
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from connectors.schema import AMOUNT

Bools = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]

LEAST_PRICE: Final = 1e-15
"""Below it stands rubbish: published tables go down to 8.9e-46 (METHODS section 2)."""

_MISSING: Final = pa.array(["", "nan", "na", "n/a", "null", "none"], pa.large_string())
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
_HASH: Final = "^[0-9a-fA-F]{64}$"
_EXACT_FLOAT: Final = 2**53

NEGATIVE: Final = "negative"
NO_INTEGER: Final = "not an integer"
TOO_LARGE: Final = "more than 38 digits"
NO_AMOUNT: Final = "no amount"
INEXACT: Final = "a float beyond 2^53 is not exact"


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type is text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def text_of(column: pa.Array) -> pa.Array:
    """Return any column as text, for names and for the details of quarantine; what has no text becomes null."""
    kind = column.type
    if is_text(kind):
        return column.cast(pa.large_string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([None if v is None else v.hex() for v in column.to_pylist()], pa.large_string())
    try:
        return column.cast(pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.large_string())


def parse_names(column: pa.Array) -> pa.Array:
    """Return names verbatim as text; null where there is none or nothing but blanks."""
    text = text_of(column)
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(text), ""), pa.scalar(None, pa.large_string()), text)


def parse_numbers(column: pa.Array) -> tuple[Float64, Bools]:
    """Return numbers (NaN where there is none or where it cannot be parsed), and which cells hold anything."""
    if is_text(column.type):
        return _numbers_of_text(column.cast(pa.large_string()))
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_decimal(column.type)):
        return np.full(len(column), np.nan), column.is_valid().to_numpy(zero_copy_only=False)
    floats = column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
    return floats, ~np.isnan(floats)


def _numbers_of_text(column: pa.Array) -> tuple[Float64, Bools]:
    text = pc.utf8_trim_whitespace(column)
    missing = pc.or_kleene(pc.is_null(text), pc.is_in(pc.utf8_lower(text), _MISSING))
    present = ~missing.to_numpy(zero_copy_only=False)
    text = pc.if_else(missing, pa.scalar(None, pa.large_string()), text)
    try:
        numbers = text.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # some cell is no number: then, and only then, one by one
        numbers = np.array([_number(cell) for cell in text.to_pylist()], dtype=np.float64)
    return numbers, present


def _number(cell: str | None) -> float:
    return float(cell) if cell is not None and _NUMBER.fullmatch(cell) else math.nan


def not_a_price(price: Float64) -> Bools:
    """Return which numbers are no prices: missing, infinite, not positive, or absurdly small."""
    return ~(np.isfinite(price) & (price >= LEAST_PRICE))


def parse_amounts(column: pa.Array) -> tuple[pa.Array, dict[str, Bools]]:
    """Return amounts in base units as ``decimal128(38, 0)``, exactly, and the reasons of the nulls in it.

    The reasons are masks of shape (rows,) that do not overlap: no amount, negative, not an integer, more than 38
    digits, and for floats: beyond 2^53, where a float no longer says which integer was meant.
    """
    if pa.types.is_floating(column.type):
        return _amounts_of_floats(column.cast(pa.float64()))
    # decimals print their scale ("12.00"), which the text form takes
    return _amounts_of_text(pc.utf8_trim_whitespace(text_of(column)))


def _amounts_of_text(text: pa.Array) -> tuple[pa.Array, dict[str, Bools]]:
    if pc.all(pc.match_substring_regex(text, r"^\d{1,38}$"), skip_nulls=False).as_py():  # as nearly always
        return text.cast(AMOUNT), {}
    text = text.fill_null("")
    missing = pc.is_in(pc.utf8_lower(text), _MISSING)
    minus = pc.and_(pc.match_substring_regex(text, r"^-\d"), pc.match_substring_regex(text, "[1-9]"))
    whole = pc.match_substring_regex(text, r"^[+-]?\d+(\.0*)?$")
    digits = pc.replace_substring_regex(text, r"^[+-]?0*(\d*)(\.0*)?$", r"\1")
    long = pc.greater(pc.utf8_length(digits), 38)
    masks = [m.to_numpy(zero_copy_only=False) for m in (missing, minus, pc.invert(whole), long)]
    reasons, taken = {}, np.zeros(len(text), dtype=bool)
    for reason, mask in zip((NO_AMOUNT, NEGATIVE, NO_INTEGER, TOO_LARGE), masks, strict=True):
        reasons[reason] = mask & ~taken
        taken |= mask
    filled = pc.if_else(pc.equal(digits, ""), "0", digits)
    return pc.if_else(pa.array(taken), pa.scalar(None, pa.large_string()), filled).cast(AMOUNT), reasons


def _amounts_of_floats(column: pa.Array) -> tuple[pa.Array, dict[str, Bools]]:
    values = column.fill_null(np.nan).to_numpy(zero_copy_only=False)
    missing = np.isnan(values)
    minus = values < 0
    broken = ~missing & ~minus & (np.isinf(values) | (values != np.rint(values)))
    vague = ~missing & ~minus & ~broken & (values > _EXACT_FLOAT)
    bad = missing | minus | broken | vague
    amounts = pa.array(np.where(bad, 0, values).astype(np.int64), mask=bad).cast(pa.decimal128(19, 0)).cast(AMOUNT)
    return amounts, {NO_AMOUNT: missing, NEGATIVE: minus, NO_INTEGER: broken, INEXACT: vague}


def parse_addresses(column: pa.Array) -> pa.Array:
    """Return addresses as text, those of hexadecimal form in lower case; null where there is none."""
    text = parse_names(pc.utf8_trim_whitespace(text_of(column)))
    lower = pc.utf8_lower(text)
    return pc.if_else(pc.starts_with(lower, "0x"), lower, text)


def parse_hashes(column: pa.Array) -> pa.Array:
    """Return transaction hashes as bytes: 64 hexadecimal digits (``0x`` or not) decoded, anything else as it is."""
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return column.cast(pa.binary())
    text = parse_names(pc.utf8_trim_whitespace(text_of(column)))
    prefixed = pc.starts_with(text, "0x", ignore_case=True)
    bare = pc.if_else(prefixed, pc.utf8_slice_codeunits(text, 2), text).cast(pa.large_binary())
    sized = pc.equal(pc.binary_length(bare), 64).fill_null(False)
    decoded = _decode_hex(bare.filter(sized))
    if decoded is None:  # some of that length are no hashes
        sized = pc.and_(sized, pc.match_substring_regex(bare, _HASH).fill_null(False))
        decoded = _decode_hex(bare.filter(sized))
    verbatim = text.cast(pa.large_binary()).cast(pa.binary())
    hits = sized.to_numpy(zero_copy_only=False)
    if decoded is None or not hits.any():
        return verbatim
    if hits.all():
        return decoded
    place = np.where(hits, np.cumsum(hits) - 1, np.arange(len(text)) + len(decoded))
    return pa.concat_arrays([decoded, verbatim]).take(pa.array(place))


def _decode_hex(text: pa.Array) -> pa.Array | None:
    """Decode texts of 64 hexadecimal digits all at once; None if one of them is something else."""
    offsets = np.frombuffer(text.buffers()[1], dtype=np.int64)
    start = int(offsets[text.offset]) if len(text) else 0
    try:
        raw = binascii.unhexlify(text.buffers()[2].slice(start, 64 * len(text)) if len(text) else b"")
    except binascii.Error:
        return None
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(text), [None, pa.py_buffer(raw)])
    return fixed.cast(pa.binary())
