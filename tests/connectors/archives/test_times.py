from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.archives.times import FIRST_US, LAST_US, parse_intervals, parse_times, spacing_us

DAY_US = 86_400_000_000
NEW_YEAR_US = 1_609_459_200_000_000  # 2021-01-01


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("2021-01-01", NEW_YEAR_US),
        ("2021/01/01", NEW_YEAR_US),
        ("2021-1-1", NEW_YEAR_US),
        ("01-01-2021", NEW_YEAR_US),
        ("31-12-2020", NEW_YEAR_US - DAY_US),
        (" 2021-01-01 ", NEW_YEAR_US),
        ("2021-01-01 00:00", NEW_YEAR_US),
        ("2021-01-01T00:00:00", NEW_YEAR_US),
        ("2021-01-01T00:00:00Z", NEW_YEAR_US),
        ("2021-01-01 00:00:00 UTC", NEW_YEAR_US),
        ("2021-01-01T00:00:00.000001Z", NEW_YEAR_US + 1),
        ("2021-01-01T00:00:00.000001999", NEW_YEAR_US + 1),
        ("2021-01-01T00:00:00.5", NEW_YEAR_US + 500_000),
        ("2021-01-01T02:00:00+02:00", NEW_YEAR_US),
        ("2021-01-01T02:00:00+0200", NEW_YEAR_US),
        ("2020-12-31T18:30:00-05:30", NEW_YEAR_US),
        ("2020-02-29", 1_582_934_400_000_000),
        ("1609459200", NEW_YEAR_US),
        ("1609459200.25", NEW_YEAR_US + 250_000),
        ("1609459200000", NEW_YEAR_US),
        ("1609459200000000", NEW_YEAR_US),
        ("1609459200000000000", NEW_YEAR_US),
    ],
)
def test_every_form_of_text_is_the_time_that_it_says(text: str, us: int) -> None:
    times, fine = parse_times(pa.array([text], pa.large_string()))
    assert fine.tolist() == [True]
    assert times.tolist() == [us]


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2021-13-01", "2021-02-29", "2021-00-10", "2021-01-00", "32-01-2021", "01/02/2021"),
        *("2021-01-01T24:00:00", "2021-01-01T10:60:00", "2021-01-01T10:00:00+15:00", "2021-01-01T", "2021-01"),
        *("0", "-5", "20210101", "99999999999999999999", "9999999999999999999", "1e9", "nan", "2008-12-31"),
        *("2100-01-01", "2021-01-01\x00", "\uff12021-01-01"),
    ],
)
def test_what_is_no_time_is_marked_and_not_guessed(text: str) -> None:
    times, fine = parse_times(pa.array([text], pa.large_string()))
    assert not fine[0]
    assert times[0] == 0


@pytest.mark.parametrize(
    "column",
    [
        pa.array([dt.date(2021, 1, 1)], pa.date32()),
        pa.array([dt.date(2021, 1, 1)], pa.date64()),
        pa.array([1_609_459_200], pa.timestamp("s")),
        pa.array([1_609_459_200_000], pa.timestamp("ms", "UTC")),
        pa.array([NEW_YEAR_US], pa.timestamp("us", "America/New_York")),
        pa.array([NEW_YEAR_US * 1_000 + 999], pa.timestamp("ns")),
        pa.array([1_609_459_200], pa.int32()),
        pa.array([1_609_459_200], pa.uint32()),
        pa.array([NEW_YEAR_US * 1_000], pa.uint64()),
        pa.array([NEW_YEAR_US], pa.int64()),
        pa.array([1_609_459_200.0]),
        pa.array([1_609_459_200_000.0]),
        pa.array(["2021-01-01"]),
    ],
    ids=lambda column: str(column.type),
)
def test_every_type_gives_microseconds(column: pa.Array) -> None:
    times, fine = parse_times(column)
    assert fine.tolist() == [True]
    assert times.tolist() == [NEW_YEAR_US]


def test_nulls_and_extremes_of_every_type_are_no_times() -> None:
    low, high = -(1 << 63), (1 << 63) - 1
    for kind, values in (
        (pa.int64(), [None, low, high, 0]),
        (pa.uint64(), [None, (1 << 64) - 1, 1 << 63]),
        (pa.float64(), [None, float("nan"), float("inf"), -1.0, 1e300]),
        (pa.bool_(), [None, True]),
        (pa.date32(), [None, -1]),
    ):
        times, fine = parse_times(pa.array(values, kind))
        assert not fine.any(), kind
        assert not times.any(), kind
    for unit in ("s", "ms", "us", "ns"):
        _, fine = parse_times(pa.array([None, low, high, 0], pa.int64()).cast(pa.timestamp(unit)))
        assert not fine.any(), unit


@given(st.integers(FIRST_US, LAST_US - 1), st.sampled_from([1_000_000, 1_000, 1]))
def test_integers_tell_their_unit_by_their_size(us: int, per_unit: int) -> None:
    whole = us // per_unit * per_unit
    for column in (pa.array([whole // per_unit]), pa.array([str(whole // per_unit)])):
        times, fine = parse_times(column)
        assert fine.tolist() == [whole >= FIRST_US]
        assert times[0] in (whole, 0)
    times, fine = parse_times(pa.array([us * 1_000 + 7], pa.int64()))
    assert (times[0], fine[0]) == (us, True)


@given(
    st.datetimes(dt.datetime.fromisoformat("2009-01-02"), dt.datetime.fromisoformat("2099-12-30")),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["T", " "]),
)
def test_text_agrees_with_the_standard_library(moment: dt.datetime, minutes: int, between: str) -> None:
    zone = dt.timezone(dt.timedelta(minutes=minutes))
    text = moment.replace(tzinfo=zone).isoformat(between)
    expected = (moment.replace(tzinfo=zone) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    times, fine = parse_times(pa.array([text, None, moment.isoformat(between)]))
    assert fine.tolist() == [True, False, True]
    assert times[0] == expected
    assert times[2] == expected + minutes * 60_000_000


@given(st.lists(st.text(max_size=30), max_size=20))
def test_any_text_is_a_time_or_not_and_never_an_error(texts: list[str]) -> None:
    times, fine = parse_times(pa.array(texts, pa.large_string()))
    assert times.shape == fine.shape == (len(texts),)
    assert (times[~fine] == 0).all()
    assert ((times[fine] >= FIRST_US) & (times[fine] < LAST_US)).all()


def test_spacing_is_the_most_frequent_step_and_the_least_of_equals() -> None:
    assert spacing_us(np.array([10, 10, 20, 30, 90])) == 10
    assert spacing_us(np.array([30, 20, 0])) == 10
    assert spacing_us(np.array([5, 5])) == 0
    assert spacing_us(np.array([], dtype=np.int64)) == 0


def test_intervals_are_read_from_text_and_integers() -> None:
    lengths, fine = parse_intervals(pa.array(["1m", "4h", " 1d ", "1w", "15min", "x", None, "0m"]))
    assert fine.tolist() == [True] * 5 + [False] * 3
    assert lengths[:5].tolist() == [60_000_000, 14_400_000_000, DAY_US, 7 * DAY_US, 900_000_000]
    lengths, fine = parse_intervals(pa.array([60_000_000, -1, None]))
    assert (lengths[0], fine.tolist()) == (60_000_000, [True, False, False])
