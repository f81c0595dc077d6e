from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.archives import NEVER_US, ArchiveReader
from connectors.archives.reader import Section
from connectors.schema import BARS, FOREVER_US, QUARANTINE, Batch

from .conftest import drain


def section(bad: int, marks: list[int], before: int = NEVER_US) -> Section:
    reasons = [{"source": "s", "position": i, "column": "c", "reason": "r", "detail": ""} for i in range(bad)]
    bars = [
        {"venue": "t", "symbol": "A", "interval_us": 0, "ts_close": mark + 1, "close": 1.0, "flags": 0}
        for mark in marks
    ]
    return Section(
        pa.RecordBatch.from_pylist(reasons, schema=QUARANTINE),
        pa.RecordBatch.from_pylist(bars, schema=BARS),
        np.array(marks, dtype=np.int64),
        before,
    )


@st.composite
def archives(draw: st.DrawFn) -> list[Section]:
    sections, before = [], NEVER_US
    for _ in range(draw(st.integers(0, 4))):
        steps = draw(st.lists(st.integers(0, 3), max_size=6))
        marks = (np.cumsum(steps) + max(before, 0)).astype(int).tolist()
        sections.append(section(draw(st.integers(0, 4)), marks, before))
        before = max([before, *marks])
    return sections


def reader_of(sections: list[Section], position: int = 0) -> ArchiveReader:
    sizes = [s.bad.num_rows + s.rows.num_rows for s in sections]
    return ArchiveReader("bars", sizes, lambda i: sections[i], position)


@given(archives(), st.lists(st.integers(1, 5), min_size=30, max_size=30), st.data())
def test_rows_and_watermarks_do_not_depend_on_the_batches(
    sections: list[Section], limits: list[int], data: st.DataObject
) -> None:
    def collect(reader: ArchiveReader, limits: list[int]) -> tuple[list[object], list[object]]:
        bad, good = [], []
        for limit in limits:
            batch = reader.next(limit)
            if batch is None or batch.end:
                break
            if batch.kind == "quarantine":
                bad += batch.rows.to_pylist()
            else:
                assert batch.row_watermarks_us is not None
                good += list(zip(batch.rows.to_pylist(), batch.row_watermarks_us.tolist(), strict=True))
                assert batch.watermark_us >= batch.row_watermarks_us.max()
        return bad, good

    whole = collect(reader_of(sections), [1_000] * 20)
    ones = collect(reader_of(sections), [1] * 100)
    assert whole == ones
    # interrupted anywhere, and gone on from the position
    first = reader_of(sections)
    begun = collect(first, limits[: data.draw(st.integers(0, len(limits)))])
    rest = collect(reader_of(sections, first.position), [7] * 100)
    assert (begun[0] + rest[0], begun[1] + rest[1]) == whole


@given(archives())
def test_a_row_carries_the_greatest_promise_of_the_rows_before_it(sections: list[Section]) -> None:
    expected, top = [], NEVER_US
    for part in sections:
        for mark in part.marks_us.tolist():
            expected.append(top)
            top = max(top, mark)
    read: list[int] = []
    reader = reader_of(sections)
    while (batch := reader.next(3)) is not None:
        if batch.row_watermarks_us is not None:
            read += batch.row_watermarks_us.tolist()
    # an empty section may promise for the rows of quarantine that it is made of, never for data
    assert read == expected


def test_the_end_comes_once_and_nothing_after_it() -> None:
    reader = ArchiveReader.of("bars", section(1, [5, 6]))
    assert reader.rows_total == 3
    kinds: list[Batch | None] = [reader.next(10) for _ in range(4)]
    assert [batch and (batch.kind, batch.rows.num_rows, batch.watermark_us, batch.end) for batch in kinds] == [
        ("quarantine", 1, NEVER_US, False),
        ("bars", 2, 6, False),
        ("bars", 0, FOREVER_US, True),
        None,
    ]
    assert reader.position == 4
    assert reader.next(10) is None
    again = reader.read(1, 1)
    assert again is not None
    assert again.rows.num_rows == 1
    assert reader.position == 2


def test_positions_and_limits_that_make_no_sense_are_refused() -> None:
    reader = ArchiveReader.of("bars", section(0, [5]))
    for from_row, limit in ((-1, 1), (0, 0)):
        with pytest.raises(ValueError, match="limit"):
            reader.read(from_row, limit)


def test_one_section_is_held_at_a_time() -> None:
    asked: list[int] = []
    sections = [section(0, [1, 2]), section(0, [3, 4], 2)]

    def load(number: int) -> Section:
        asked.append(number)
        return sections[number]

    reader = ArchiveReader("bars", [2, 2], load)
    drain(reader, 1)
    assert asked == [0, 1]
    reader.read(0, 1)
    assert asked == [0, 1, 0]
