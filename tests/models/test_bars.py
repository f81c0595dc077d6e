"""Bars against a plain dictionary, and their independence of how rows are cut into batches."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bars import BarBuilder, BarRows, ClosedBars

NAMES = ["ADA", "BTC", "ETH"]


def none(n: int) -> np.ndarray:
    return np.zeros(n, dtype=bool)


def rows_of(events: list[tuple[int, int, float, float]], lateness: int) -> BarRows:
    """Make rows (time, coin, price, quantity) with the running watermark of everything before each."""
    t = np.array([event[0] for event in events], dtype=np.int64)
    seen = np.maximum.accumulate(np.concatenate([[-(10**9)], t]))[:-1] if len(t) else t
    price = np.array([event[2] for event in events])
    qty = np.array([event[3] for event in events])
    nan = np.full(len(t), np.nan)
    code = np.array([event[1] for event in events], dtype=np.int64)
    return BarRows(t, seen - lateness, code, price, price, price, price, qty, nan, none(len(t)))


def twin(
    events: list[tuple[int, int, float, float]], interval: int, lateness: int
) -> dict[tuple[int, str], list[float]]:
    """The same bars by a loop over a dictionary: open, high, low, close, volume, rows, late."""
    bars: dict[tuple[int, str], list[float]] = {}
    watermark = -(10**9) - lateness
    for time, coin, price, qty in events:
        end = (time // interval + 1) * interval
        late = end <= watermark
        at = (watermark // interval + 1) * interval if late else end
        bar = bars.setdefault((at, NAMES[coin]), [math.nan] * 4 + [math.nan, 0, 0])
        if late:
            bar[6] += 1
        else:
            if bar[5] == 0:
                bar[:5] = [price, price, price, price, 0.0]
            bar[1], bar[2], bar[3] = max(bar[1], price), min(bar[2], price), price
            bar[4] += qty
            bar[5] += 1
        watermark = max(watermark, time - lateness)
    return bars


def collected(builder: BarBuilder, closed: list[ClosedBars]) -> dict[tuple[int, str], list[float]]:
    out: dict[tuple[int, str], list[float]] = {}
    for bars in closed:
        for i in range(len(bars.end_us)):
            key = (int(bars.end_us[i]), builder.names[bars.code[i]])
            assert key not in out, "a bar is closed once"
            columns = (bars.open, bars.high, bars.low, bars.close, bars.volume, bars.rows, bars.late)
            out[key] = [float(column[i]) for column in columns]
    return out


def cut(rows: BarRows, at: list[int]) -> list[BarRows]:
    edges = [0, *sorted({min(a, len(rows.event_us)) for a in at}), len(rows.event_us)]
    return [
        BarRows(*(getattr(rows, name)[a:b] for name in BarRows.__slots__))
        for a, b in itertools.pairwise(edges)
        if b > a
    ]


events = st.lists(
    st.tuples(
        st.integers(0, 400), st.integers(0, 2), st.sampled_from([1.0, 2.0, 3.5]), st.sampled_from([0.5, 1.0, 2.0])
    ),
    max_size=60,
)


@given(events, st.integers(1, 40), st.integers(0, 60), st.lists(st.integers(0, 60), max_size=4))
@settings(max_examples=200, deadline=None)
def test_bars_equal_a_dictionary_for_any_batches(
    rows: list[tuple[int, int, float, float]], interval: int, lateness: int, cuts: list[int]
) -> None:
    builder = BarBuilder(interval)
    builder.codes(NAMES)
    closed: list[ClosedBars] = []
    for part in cut(rows_of(rows, lateness), cuts):
        after = max(-(10**9), *part.event_us.tolist()) - lateness
        closed += builder.add(part, max(after, int(part.watermark_us[-1])))
        builder_state = builder.snapshot()
        builder = BarBuilder(interval, builder_state)
    closed += builder.finish()
    np.testing.assert_equal(collected(builder, closed), twin(rows, interval, lateness))


def test_bars_come_in_order_of_end_and_name() -> None:
    builder = BarBuilder(10)
    builder.codes(["b", "a"])
    nan = np.full(3, np.nan)
    one = np.ones(3)
    at, before, code = np.array([1, 2, 11]), np.array([0, 0, 0]), np.array([0, 1, 0])
    first = builder.add(BarRows(at, before, code, one, one, one, one, one, nan, none(3)), 11)
    closed = [*first, *builder.advance(20)]
    assert [(int(e), builder.names[c]) for b in closed for e, c in zip(b.end_us, b.code, strict=True)] == [
        (10, "a"),
        (10, "b"),
        (20, "b"),
    ]
    assert builder.closed_to_us == 20


def test_a_long_silence_costs_no_memory() -> None:
    builder = BarBuilder(1)
    builder.codes(["a"])
    one = np.ones(2)
    far = np.array([0, 10**12], dtype=np.int64)
    closed = builder.add(
        BarRows(far, np.array([-1, 0]), np.zeros(2, np.int64), one, one, one, one, one, np.full(2, np.nan), none(2)),
        10**12,
    )
    closed += builder.finish()
    assert [int(end) for bars in closed for end in bars.end_us] == [1, 10**12 + 1]


def test_foreign_state_is_refused() -> None:
    with pytest.raises(ValueError, match="interval"):
        BarBuilder(5, BarBuilder(10).snapshot())


def test_duplicates_are_counted_and_change_nothing_else() -> None:
    builder = BarBuilder(10)
    builder.codes(["a"])
    price = np.array([1.0, 9.0])
    qty, nan = np.ones(2), np.full(2, np.nan)
    rows = BarRows(
        np.array([1, 2]),
        np.array([0, 1]),
        np.zeros(2, np.int64),
        price,
        price,
        price,
        price,
        qty,
        nan,
        np.array([0, 1]) > 0,
    )
    (bars,) = [*builder.add(rows, 2), *builder.finish()]
    assert (bars.close[0], bars.high[0], bars.rows[0], bars.duplicate[0]) == (1.0, 1.0, 1, 1)
