"""Batches of a partition become bars that do not depend on how the rows were cut into batches."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.schema import FLAG_BACKFILL, FOREVER_US, Batch, empty
from flows.bars import BarsLogic
from flows.items import PartBars
from tests.flows.driver import Trade, bars, drive, trades

SECOND = 1_000_000
make = functools.partial(BarsLogic, [SECOND])


def cells(emitted: list[tuple[int, PartBars]], interval: int = SECOND) -> list[tuple[Any, ...]]:
    """Return the bars of an interval: (end, coin, open, high, low, close, volume, rows, late, duplicate)."""
    out = []
    for us, part in emitted:
        if us == interval and part.bars is not None:
            b = part.bars
            for i in range(len(b.end_us)):
                prices = [float(x[i]) for x in (b.open, b.high, b.low, b.close, b.volume)]
                counts = [int(x[i]) for x in (b.rows, b.late, b.duplicate)]
                out.append((int(b.end_us[i]), part.names[b.code[i]], *map(_none, prices), *counts))
    return out


def _none(value: float) -> float | None:
    return None if np.isnan(value) else value


def twin(rows: list[Trade], marks: list[int], duplicates: set[int]) -> list[tuple[Any, ...]]:
    """Build the same bars row by row."""
    found: dict[tuple[int, str], list[Any]] = {}
    for i, ((at, coin, price), mark) in enumerate(zip(rows, marks[:-1], strict=True)):
        bar, open_bar = at // SECOND, mark // SECOND
        cell = found.setdefault(((max(bar, open_bar) + 1) * SECOND, coin), [None, None, None, None, None, 0, 0, 0])
        if i in duplicates:
            cell[7] += 1
        elif bar < open_bar:
            cell[6] += 1
        else:
            if not cell[5]:
                cell[:5] = [price, price, price, price, 0.0]
            cell[1], cell[2], cell[3], cell[4] = max(cell[1], price), min(cell[2], price), price, cell[4] + 1.0
            cell[5] += 1
    return [(end, coin, *cell) for (end, coin), cell in sorted(found.items())]


def marks_of(rows: list[Trade], lateness_us: int) -> list[int]:
    """Return the watermark before each row of a feed that allows some lateness, and the one behind the last."""
    newest = itertools.accumulate((at for at, _, _ in rows), max)
    return [0, *(max(0, at - lateness_us) for at in newest)]


def batches_of(rows: list[Trade], marks: list[int], duplicates: set[int], cuts: list[int]) -> list[list[Any]]:
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    out: list[list[Any]] = []
    for a, b in itertools.pairwise(edges):
        twice = {i - a for i in duplicates if a <= i < b}
        out.append([("part", trades(rows[a:b], marks[b], marks[a:b], twice))])
    return [*out, [("part", Batch("trades", empty("trades"), FOREVER_US, end=True))]]


ROWS = st.lists(
    st.tuples(st.integers(0, 6 * SECOND), st.sampled_from("abc"), st.sampled_from([1.0, 2.0, 3.5])), max_size=25
)


@settings(max_examples=150)
@given(
    ROWS, st.integers(0, 2 * SECOND), st.sets(st.integers(0, 24), max_size=3), st.lists(st.integers(1, 24)), st.data()
)
def test_bars_equal_their_twin_for_any_batches_and_restarts(
    rows: list[Trade], lateness: int, duplicates: set[int], cuts: list[int], data: st.DataObject
) -> None:
    marks = marks_of(rows, lateness)
    batches = batches_of(rows, marks, duplicates, cuts)
    restart = data.draw(st.sets(st.integers(1, len(batches) - 1))) if len(batches) > 1 else set()
    emitted = drive(make, batches, restart)
    assert cells(emitted) == twin(rows, marks, duplicates)
    closed = [part.closed_to_us for _, part in emitted]
    assert closed == sorted(closed)
    assert closed[-1] == FOREVER_US
    before = -1
    for _, part in emitted:
        if part.bars is not None:
            assert part.bars.end_us.min() > before, "a bar that was said to be closed opened again"
            assert part.bars.end_us.max() <= part.closed_to_us
        before = part.closed_to_us


def test_every_interval_has_its_own_bars() -> None:
    rows: list[Trade] = [(at * SECOND // 2, "a", 1.0 + at) for at in range(20)]
    emitted = drive(functools.partial(BarsLogic, [SECOND, 5 * SECOND, SECOND]), batches_of(rows, [0] * 21, set(), []))
    assert [row[0] for row in cells(emitted)] == [SECOND * i for i in range(1, 11)]
    five = cells(emitted, 5 * SECOND)
    assert [(row[0], row[2], row[5], row[7]) for row in five] == [
        (5 * SECOND, 1.0, 10.0, 10),
        (10 * SECOND, 11.0, 20.0, 10),
    ]


def test_a_watermark_without_rows_closes_bars_once() -> None:
    logic = make(None)
    ((_, part),) = logic.on_batch([("part", trades([(0, "a", 1.0)], 0))])[0]
    assert (part.bars, part.closed_to_us) == (None, 0)
    ((us, part),) = logic.on_batch([("part", Batch("trades", empty("trades"), SECOND))])[0]
    assert (us, part.closed_to_us) == (SECOND, SECOND)
    assert len(cells([(us, part)])) == 1
    assert list(logic.on_batch([("part", Batch("trades", empty("trades"), SECOND + 1))])[0]) == []
    ((_, part),) = logic.on_batch([("part", Batch("trades", empty("trades"), 9 * SECOND))])[0]
    assert part.bars is None
    assert part.closed_to_us == 9 * SECOND


def test_other_kinds_of_batches_pass_by() -> None:
    logic = make(None)
    for kind in ("gaps", "quarantine", "blocks", "transfers"):
        assert list(logic.on_batch([("part", Batch(kind, empty(kind), FOREVER_US))])[0]) == []


def test_a_stamp_on_a_bars_end_belongs_to_the_bar_before() -> None:
    """A close at 2 s is the last price of the second that ends there; a trade at 2 s is the first of the next."""
    closes = drive(make, [[("part", bars([(2 * SECOND, "a", 7.0)], FOREVER_US, end=True))]])
    assert [row[0] for row in cells(closes)] == [2 * SECOND]
    traded = drive(make, [[("part", trades([(2 * SECOND, "a", 7.0)], FOREVER_US, end=True))]])
    assert [row[0] for row in cells(traded)] == [3 * SECOND]


def test_finer_bars_are_aggregated_and_gaps_in_their_columns_filled_by_the_close() -> None:
    rows = [(SECOND // 2, "a", 2.0), (SECOND, "a", 3.0)]
    batch = bars(
        rows, FOREVER_US, SECOND // 2, end=True, open=[1.0, None], high=[9.0, None], low=[0.5, None], volume=[4, 5]
    )
    assert cells(drive(make, [[("part", batch)]])) == [(SECOND, "a", 1.0, 9.0, 0.5, 3.0, 9.0, 2, 0, 0)]


@pytest.mark.parametrize(
    ("interval", "flags", "taken"),
    [
        (0, 0, True),
        (SECOND, 0, True),
        (SECOND // 2, 0, True),
        (2 * SECOND, 0, False),
        (SECOND * 2 // 3, 0, False),
        (SECOND, FLAG_BACKFILL, True),
        (SECOND // 2, FLAG_BACKFILL, False),
    ],
)
def test_which_bars_fit_an_interval(interval: int, flags: int, taken: bool) -> None:
    """Coarser bars and those that do not divide it are left out; fetched history is of one length alone."""
    emitted = drive(make, [[("part", bars([(4 * SECOND, "a", 7.0)], FOREVER_US, interval, flags=flags, end=True))]])
    assert len(cells(emitted)) == taken


def test_a_snapshot_of_another_interval_is_refused() -> None:
    logic = make(None)
    logic.on_batch([("part", trades([(0, "a", 1.0)], 0))])
    saved = logic.snapshot()
    assert isinstance(saved, bytes)
    assert BarsLogic([SECOND, 2 * SECOND], saved).snapshot() != saved, "a new window begins with no bars of its own"
