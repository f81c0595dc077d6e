"""The barrier, the numbering of bars, refits at fixed numbers and the coverage ledger, held against a plain twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.config import Window
from flows.items import PanelReady
from models.returns import bar_returns
from tests.flows.driver import plain
from tests.flows.panels import DAY, Bar, Part, make, part_bars, run, steady, window


def twin(window: Window, parts: list[Part]) -> list[dict[str, Any]]:
    """What must come out, cell by cell: the panel as one dictionary per bar."""
    ends = sorted({bar.end for part in parts for bar in part.bars})
    if not ends:
        return []
    said = [max([0, *part.cuts, *(bar.end for bar in part.bars if not part.ends)]) for part in parts]
    open_ended = [us for us, part in zip(said, parts, strict=True) if not part.ends]
    last = min(open_ended) if open_ended else max(ends[-1], *said)
    if last < ends[0]:
        return []
    days = range(ends[0], last + 1)
    prices: list[dict[str, float]] = []
    odd: list[dict[str, list[int]]] = []
    for day in days:
        row: dict[str, float] = {}
        marks: dict[str, list[int]] = {}
        for part in sorted(parts, key=lambda part: part.name):
            for bar in (bar for bar in part.bars if bar.end == day):
                if bar.close is not None:
                    row.setdefault(bar.coin, bar.close)
                count = marks.setdefault(bar.coin, [0, 0])
                count[0] += bar.late
                count[1] += bar.duplicate
        prices.append(row)
        odd.append(marks)
    out = []
    for number in range(window.length_bars + 1, len(prices) + 1):
        if (number - window.length_bars - 1) % window.refit_every_bars:
            continue
        held, marks_held = (
            prices[number - window.length_bars - 1 : number],
            odd[number - window.length_bars - 1 : number],
        )
        coins = sorted({coin for row in held for coin in row})
        received = {coin: sum(coin in row for row in held) for coin in coins}
        enough = [coin for coin in coins if received[coin] + 1e-9 >= window.minimum_presence * len(held)]
        if not enough:
            continue
        out.append({
            "as_of": (days[0] + number - 1) * DAY,
            "bar": number,
            "coins": tuple(enough),
            "closes": [[row.get(coin) for coin in enough] for row in held],
            "coverage": [received[coin] / len(held) for coin in enough],
            "recent": [sum(coin in row for row in held[-2:]) / 2 for coin in enough],
            "ledger": [
                (coin, len(held), received[coin], sum(m.get(coin, (0, 0))[1] for m in marks_held),
                 sum(m.get(coin, (0, 0))[0] for m in marks_held))
                for coin in coins
            ],
        })  # fmt: skip
    return out


def seen(ready: list[PanelReady]) -> list[dict[str, Any]]:
    """Bring what came out into the twin's form."""
    return [
        {
            "as_of": one.as_of_us,
            "bar": one.bar,
            "coins": one.input.coin_ids,
            "closes": [[None if np.isnan(x) else x for x in row] for row in one.input.closes.tolist()],
            "coverage": one.coverage.tolist(),
            "recent": one.recent_coverage.tolist(),
            "ledger": [
                (coin, one.counts.expected, *map(int, row))
                for coin, *row in zip(
                    one.counts.coin_ids, one.counts.received, one.counts.duplicate, one.counts.late, strict=True
                )
            ],
        }
        for one in ready
    ]


BARS = st.lists(
    st.builds(
        Bar,
        end=st.integers(5, 24),
        coin=st.sampled_from("abcd"),
        close=st.none() | st.sampled_from([1.0, 2.0, 4.0]),
        late=st.integers(0, 1),
        duplicate=st.integers(0, 1),
    ),
    max_size=30,
    unique_by=lambda bar: (bar.end, bar.coin),
)
WINDOWS = st.builds(window, st.integers(3, 6), st.integers(1, 5), st.sampled_from([0.0, 0.4, 0.8, 1.0]))


def parts_of(data: st.DataObject, ends: st.SearchStrategy[bool]) -> list[Part]:
    names = data.draw(st.permutations(["binance", "coinbase", "kraken"]))[: data.draw(st.integers(1, 3))]
    cuts = st.lists(st.integers(1, 40), max_size=5)
    return [Part(name, data.draw(BARS), data.draw(cuts), data.draw(ends)) for name in names]


@settings(max_examples=200)
@given(WINDOWS, st.data())
def test_panels_equal_their_twin(window: Window, data: st.DataObject) -> None:
    """Several partitions, gaps, silences, any cut into messages, any interleaving of them, any restarts."""
    parts = parts_of(data, st.just(True))
    expected = twin(window, parts)
    assert seen(run(window, parts)) == expected
    order = data.draw(st.lists(st.integers(0, len(parts) - 1), max_size=12))
    restart = data.draw(st.sets(st.integers(1, 12)))
    assert seen(run(window, parts, order, restart=restart)) == expected


@settings(max_examples=100)
@given(WINDOWS, st.data())
def test_an_input_that_has_not_ended_holds_the_others_back(window: Window, data: st.DataObject) -> None:
    """What has come out by then is the twin's, up to where the slowest partition is; bars without prices count too."""
    parts = parts_of(data, st.just(False))
    order = data.draw(st.lists(st.integers(0, len(parts) - 1), max_size=12))
    assert plain(run(window, parts)) == plain(run(window, parts, order))
    slowest = min(max([0, *part.cuts, *(bar.end for bar in part.bars)]) for part in parts)
    kept = [
        Part(p.name, [bar for bar in p.bars if bar.end <= slowest], [slowest] if slowest else [], False) for p in parts
    ]
    assert seen(run(window, parts, order)) == twin(window, kept)


def test_no_bar_passes_before_every_partition_has_closed_it() -> None:
    first, second = steady("x", range(1, 9)), steady("y", range(1, 9), "c")
    logic = make(window(), ["x", "y"])(None)
    assert list(logic.on_batch(first.messages())[0]) == [], "the other partition has said nothing"
    assert list(logic.on_batch([part_bars("y", second.bars[:2], 2 * DAY)])[0]) == [], "two bars are no window"
    out = list(logic.on_batch([part_bars("y", second.bars[2:5], 5 * DAY)])[0])
    assert [ready.as_of_us // DAY for ready in out] == [4, 5]
    assert out[-1].input.coin_ids == ("a", "b", "c")


def test_the_first_name_wins_where_two_partitions_have_a_coin() -> None:
    cheap, dear = steady("kraken", range(1, 6), "a", 100.0), steady("binance", range(1, 6), "a", 200.0)
    dear.bars[2] = Bar(3, "a", None, late=1)
    (*_, last) = run(window(4), [cheap, dear])
    assert last.input.closes[:, 0].tolist() == [201.0, 202.0, 103.0, 204.0, 205.0]
    assert last.counts.received.tolist() == [5]
    assert last.counts.late.tolist() == [1], "what was late at the partition that had no price is still counted"


def test_refits_come_at_fixed_bar_numbers() -> None:
    out = run(window(3, every=4), [steady("x", range(1, 20))])
    assert [ready.bar for ready in out] == [4, 8, 12, 16]
    silent = [*steady("x", range(1, 3)).bars, *steady("x", range(9, 20)).bars]
    gapped = run(window(3, every=4, presence=0.6), [Part("x", silent)])
    assert [ready.bar for ready in gapped] == [12, 16], "the grid stays where it was; the empty windows say nothing"


def test_a_silence_of_years_costs_no_more_than_a_short_one() -> None:
    part = Part("x", [*steady("x", range(1, 6)).bars, *steady("x", range(3_000_000, 3_000_006)).bars])
    out = run(window(3, every=7, presence=0.3), [part])
    assert [ready.as_of_us // DAY for ready in out] == [4, 3_000_001], "every seventh day from the fourth on"
    assert [ready.bar for ready in out] == [4, 3_000_001]


def test_the_first_return_after_a_gap_is_masked() -> None:
    bars = [Bar(day, coin, float(2**day)) for day in range(1, 8) for coin in "ab" if (day, coin) != (4, "a")]
    (*_, last) = run(window(6, presence=0.5), [Part("x", bars)])
    returns = bar_returns(last.input.closes, "log")
    assert last.input.coin_ids == ("a", "b")
    assert np.isnan(returns[:, 0]).tolist() == [False, False, True, True, False, False]
    assert np.isfinite(returns[:, 1]).all()
    assert last.coverage.tolist() == [6 / 7, 1.0]


def test_the_ledger_forgets_what_has_left_the_window() -> None:
    bars = steady("x", range(1, 12), "a").bars
    bars[4] = Bar(5, "a", 6.0, late=2, duplicate=3)
    out = run(window(3), [Part("x", bars)])
    counts = {ready.as_of_us // DAY: (int(ready.counts.late[0]), int(ready.counts.duplicate[0])) for ready in out}
    assert counts == {day: (2, 3) if 5 <= day <= 8 else (0, 0) for day in range(4, 12)}


def test_marks_do_not_pile_up_where_no_window_is_published() -> None:
    bars = [Bar(day, "abcdefgh"[day % 8], 1.0, late=1) for day in range(1, 400)]
    logic = make(window(3, presence=1.0), ["x"])(None)
    assert list(logic.on_batch([part_bars("x", bars, 399 * DAY)])[0]) == []
    assert len(logic._state.marks) <= 4


def test_a_snapshot_is_a_copy_and_of_its_own_schema() -> None:
    logic = make(window(), ["x"])(None)
    logic.on_batch([part_bars("x", steady("x", range(1, 4)).bars, 3 * DAY)])
    saved = logic.snapshot()
    logic.on_batch([part_bars("x", steady("x", range(4, 9)).bars, 8 * DAY)])
    again = make(window(), ["x"])(saved)
    assert again.snapshot() == saved
    with pytest.raises(ValueError, match="window is 3 bars long, not 4"):
        make(window(4), ["x"])(saved)
