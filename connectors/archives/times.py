"""Times in whatever form a table has them, as microseconds since the epoch.

Text is ISO 8601 (date, or date and time, with or without a zone), ``dd-mm-yyyy`` as cryptocmd writes it, or digits.
Integers and digits are seconds, milliseconds, microseconds or nanoseconds by their magnitude, each value on its own:
an archive may change its unit from one month to the next. No zone means UTC.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from connectors.schema import Int64

Bools = npt.NDArray[np.bool_]

# Nothing was traded before the first block of Bitcoin; a zero, or a date in another unit, must not open a window of
# fifty years.
FIRST_US: Final = 1_230_768_000_000_000  # 2009-01-01
LAST_US: Final = 4_102_444_800_000_000  # 2100-01-01

_PER_UNIT: Final = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": -1_000}
_INTERVAL: Final = re.compile(r"([1-9]\d{0,5})\s*(s|m|min|h|d|w)")
_INTERVAL_US: Final = {
    "s": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_CLOCK: Final = (
    r"(?:[T ](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?$"
)
_YEAR_FIRST: Final = r"^(?P<year>\d{4})[-/](?P<month>\d{1,2})[-/](?P<day>\d{1,2})" + _CLOCK
_DAY_FIRST: Final = r"^(?P<day>\d{1,2})-(?P<month>\d{1,2})-(?P<year>\d{4})" + _CLOCK


def parse_times(column: pa.Array) -> tuple[Int64, Bools]:
    """Return microseconds since the epoch, and which of them are times.

    Parameters
    ----------
    column
        Arrow timestamps, dates, integers, floats or text, of shape (rows,).

    Returns
    -------
    Two arrays of shape (rows,): int64 (0 where there is no time), and bool: false for null, for what cannot be
    parsed, and for what lies outside 2009 .. 2099.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        values, present = _integers(column.cast(pa.int64()))
        return _scale(values, present, kind.unit)
    if pa.types.is_date(kind):
        values, present = _integers(column.cast(pa.date32(), safe=False).cast(pa.int32()).cast(pa.int64()))
        return _bounded(values * 86_400_000_000, present)
    if pa.types.is_integer(kind):
        return _by_magnitude(*_integers(_signed(column)))
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _from_floats(column.cast(pa.float64()))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _from_text(column)
    return np.zeros(len(column), dtype=np.int64), np.zeros(len(column), dtype=bool)


def spacing_us(stamps_us: Int64) -> int:
    """Return the most frequent difference between successive distinct stamps (the least of several); 0 if none."""
    steps, counts = np.unique(np.diff(np.unique(stamps_us)), return_counts=True)
    return int(steps[np.argmax(counts)]) if len(steps) else 0


def parse_intervals(column: pa.Array) -> tuple[Int64, Bools]:
    """Return intervals (``1m``, ``4h``, ``1d``; integers are microseconds) in microseconds, and which are intervals."""
    values = column.dictionary_encode()
    lengths = np.array([_interval(value.as_py()) for value in values.dictionary] + [0], dtype=np.int64)
    codes = values.indices.fill_null(len(values.dictionary)).to_numpy(zero_copy_only=False)
    result = lengths[codes]
    return result, result > 0


def _interval(value: object) -> int:
    if isinstance(value, int):
        return value if 0 < value < LAST_US else 0
    match = _INTERVAL.fullmatch(str(value).strip())
    return int(match[1]) * _INTERVAL_US[match[2]] if match else 0


def _signed(column: pa.Array) -> pa.Array:
    """Return integers as int64; what does not fit is no time anyway and becomes 0."""
    if column.type != pa.uint64():
        return column.cast(pa.int64())
    return pc.if_else(pc.less(column, pa.scalar(1 << 63, pa.uint64())), column, pa.scalar(0, pa.uint64())).cast(
        pa.int64()
    )


def _integers(column: pa.Array) -> tuple[Int64, Bools]:
    present = column.is_valid().to_numpy(zero_copy_only=False)
    return column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64, copy=False), present


def _bounded(us: Int64, present: Bools) -> tuple[Int64, Bools]:
    fine = present & (us >= FIRST_US) & (us < LAST_US)
    return np.where(fine, us, 0), fine


def _scale(values: Int64, present: Bools, unit: str) -> tuple[Int64, Bools]:
    factor = _PER_UNIT[unit]
    if factor < 0:
        return _bounded(values // -factor, present)
    near = present & (values >= FIRST_US // factor) & (values <= LAST_US // factor)  # else the product overflows
    return _bounded(np.where(near, values, 0) * factor, near)


def _by_magnitude(values: Int64, present: Bools) -> tuple[Int64, Bools]:
    result = np.zeros(len(values), dtype=np.int64)
    fine = np.zeros(len(values), dtype=bool)
    for low, high, unit in (
        (0, 10**11, "s"),
        (10**11, 10**14, "ms"),
        (10**14, 10**17, "us"),
        (10**17, 1 << 63, "ns"),
    ):
        mine = present & (values >= low) & (values <= high - 1)
        us, ok = _scale(np.where(mine, values, 0), mine, unit)
        result, fine = np.where(ok, us, result), fine | ok
    return result, fine


def _from_floats(column: pa.Array) -> tuple[Int64, Bools]:
    """Return times of floats: seconds may have a fraction, the finer units are whole."""
    values = column.fill_null(np.nan).to_numpy(zero_copy_only=False)
    present = np.isfinite(values) & (values >= 0) & (values < 9e18)
    values = np.where(present, values, 0.0)
    seconds = values < 1e11
    us, fine = _by_magnitude(np.where(seconds, 0.0, values).astype(np.int64), present & ~seconds)
    with_fraction, near = _bounded(np.rint(np.where(seconds, values, 0.0) * 1e6).astype(np.int64), present & seconds)
    return np.where(near, with_fraction, us), fine | near


def _from_text(column: pa.Array) -> tuple[Int64, Bools]:
    """Parse each distinct text once: a table of prices repeats its dates for every coin."""
    encoded = pc.utf8_trim_whitespace(column).dictionary_encode()
    distinct = encoded.dictionary
    us = np.zeros(len(distinct) + 1, dtype=np.int64)
    fine = np.zeros(len(distinct) + 1, dtype=bool)
    for parse, pattern in (
        (_digits, r"^\d{1,19}$"),
        (_decimals, r"^\d{1,11}\.\d+$"),
        (_calendar(_YEAR_FIRST), _YEAR_FIRST),
        (_calendar(_DAY_FIRST), _DAY_FIRST),
    ):
        hits = np.flatnonzero(pc.match_substring_regex(distinct, pattern).to_numpy(zero_copy_only=False))
        if len(hits):
            us[hits], fine[hits] = parse(distinct.take(pa.array(hits)))
    codes = encoded.indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False)
    return us[codes], fine[codes]


def _digits(text: pa.Array) -> tuple[Int64, Bools]:
    return _by_magnitude(*_integers(_signed(text.cast(pa.uint64()))))


def _decimals(text: pa.Array) -> tuple[Int64, Bools]:
    return _from_floats(text.cast(pa.float64()))


class _calendar:  # noqa: N801 - a parser made from a pattern; reads as a function where it is used
    """Parse texts that match a pattern with named parts year, month, day and, perhaps, a clock and a zone."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __call__(self, text: pa.Array) -> tuple[Int64, Bools]:
        parts = pc.extract_regex(text, self.pattern)
        year, month, day = (self._number(parts, name) for name in ("year", "month", "day"))
        hour, minute, second = (self._number(parts, name) for name in ("hour", "minute", "second"))
        fraction = pc.utf8_rpad(pc.struct_field(parts, "fraction"), 9, padding="0")
        nanos = pc.if_else(pc.equal(fraction, ""), "0", fraction).cast(pa.int64()).to_numpy(zero_copy_only=False)
        months = (year - 1970) * 12 + month - 1
        start = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        length = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) - start
        fine = (month >= 1) & (month <= 12) & (day >= 1) & (day <= length)
        fine &= (hour < 24) & (minute < 60) & (second < 60)
        shift, known = self._zone(pc.struct_field(parts, "zone"))
        seconds = (start + day - 1) * 86_400 + hour * 3_600 + minute * 60 + second - shift
        return _bounded(seconds * 1_000_000 + nanos // 1_000, fine & known)

    @staticmethod
    def _number(parts: pa.Array, name: str) -> Int64:
        field = pc.struct_field(parts, name)
        filled = pc.if_else(pc.equal(field, ""), "0", field)
        return np.asarray(filled.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)

    @staticmethod
    def _zone(zones: pa.Array) -> tuple[Int64, Bools]:
        """Return seconds east of Greenwich, and which zones exist (at most 14 hours)."""
        encoded = zones.dictionary_encode()
        shifts = []
        for zone in encoded.dictionary.to_pylist():
            digits = zone[1:].replace(":", "") if zone[:1] in {"+", "-"} else ""
            seconds = int(digits[:2] or 0) * 3_600 + int(digits[2:] or 0) * 60
            shifts.append(-seconds if zone.startswith("-") else seconds)
        shift = np.array(shifts, dtype=np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]
        return shift, np.abs(shift) <= 14 * 3_600
