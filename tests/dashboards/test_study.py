"""Pictures and page of a study: deterministic, self-contained, legible."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dashboards.study import alluvial, charts, labels, maps, paper, planes, prototypes, style
from dashboards.study.page import Document, Section, figure_block, page, shown, table_block

RNG = np.random.default_rng(11)


def a_map(n: int = 12) -> maps.MarketMap:
    rng = np.random.default_rng(n)
    a = np.arange(n - 1, dtype=np.int64)
    return maps.MarketMap(
        [f"coin-{i}" for i in range(n)], rng.normal(size=(n, 3)), np.arange(n) % 3, np.full(n, 0.8), (a, a + 1),
        rng.uniform(-0.2, 0.4, n - 1),
    )  # fmt: skip


PICTURES = {
    "grid": lambda: charts.price_grid([f"c{i}" for i in range(7)], np.exp(RNG.normal(size=(30, 7)) * 0)),
    "histogram": lambda: charts.partial_histogram(np.linspace(-0.1, 0.1, 500), 0.02),
    "no histogram": lambda: charts.partial_histogram(np.empty(0), 0.02),
    "matrix": lambda: charts.association_matrix(("a", "b"), np.array([[np.nan, 0.001], [0.001, np.nan]])),
    "bars": lambda: charts.share_bars(("0-0", "0-1"), (120, 3), 4),
    "map": lambda: maps.flat(a_map()),
    "space": lambda: maps.solid(a_map()),
    "two coins": lambda: maps.flat(a_map(2)),
    "alluvial": lambda: alluvial.alluvial(("x", "y"), {"x": np.array([0, 0, 1, -1]), "y": np.array([1, 0, 1, 1])}),
    "plane": lambda: planes.plane(
        [f"c{i}" for i in range(40)], np.column_stack([np.linspace(-0.01, 0.02, 40), np.linspace(0.01, 0.5, 40)]),
        np.arange(40) % 2, np.arange(40.0),
    ),
    "plane of one point": lambda: planes.plane(["a", "b"], np.zeros((2, 2)), np.array([0, 0]), np.array([1.0, np.nan])),
    "plane without clusters": lambda: planes.plane(
        ["a", "b", "c"], np.array([[0.0, 0.1], [0.01, 0.2], [0.02, 0.1]]), np.full(3, -1), np.ones(3)
    ),
    "prototypes": lambda: prototypes.prototypes(
        [
            prototypes.DistributionPrototype(
                0, 3, np.linspace(0, 1, 11), np.linspace(-0.1, 0.1, 11), [("mean", 0.0)], ["a"]
            )
        ]
    ),
    "medoids": lambda: prototypes.medoids(
        [prototypes.MedoidSeries(0, 2, "a", np.sin(np.arange(40.0)), ["a", "b"])], [("Q1", slice(0, 20))]
    ),
    "medoid that stands still": lambda: prototypes.medoids(
        [prototypes.MedoidSeries(0, 1, "a", np.zeros(5), [])], [("Q1", slice(0, 5))]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PICTURES))
def test_a_picture_is_the_same_each_time_and_leaves_no_trace(name: str) -> None:
    before = dict(mpl.rcParams)
    first, second = (style.svg(PICTURES[name]()) for _ in range(2))
    assert first == second
    assert dict(mpl.rcParams) == before
    assert first.startswith("<svg")
    assert "<dc:date>" not in first
    assert "Matplotlib v" not in first


@pytest.mark.parametrize("name", ["map", "space", "plane", "matrix", "alluvial"])
def test_a_picture_in_a_page_takes_its_colours_from_it(name: str) -> None:
    text = style.inline(style.svg(PICTURES[name]()), 7)
    assert re.findall(r"#[0-9a-f]{6}\b", text) == []
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert all(one.endswith("-p7") for one in ids)
    assert [one for one, n in Counter(ids).items() if n > 1] == []
    for used in re.findall(r"url\(#([^)]*)\)", text) + re.findall(r'href="#([^"]*)"', text):
        assert used in ids


def test_every_colour_is_one_of_the_page() -> None:
    known = style.tokens()
    own = [getattr(style, name) for name in dir(style) if name.isupper() and str(getattr(style, name)).startswith("#")]
    assert {*own, *style.COLOURS} <= known.keys()
    assert style.colour(0) != style.colour(1)
    assert style.colour(99) == style.COLOURS[-1]


def test_a_grid_shows_every_coin() -> None:
    names = [f"coin-{i}" for i in range(13)]
    text = style.svg(charts.price_grid(names, np.exp(np.cumsum(RNG.normal(0, 0.1, (50, 13)), axis=0))))
    for name in names:
        assert f">{name}<" in text


@given(
    points=arrays(np.float64, st.tuples(st.integers(1, 25), st.just(2)), elements=st.floats(0, 500)),
)
def test_names_stand_near_their_points(points: np.ndarray) -> None:
    names = ["name"] * len(points)
    found = labels.place(points, names, np.full(len(points), 3.0), 8.0)
    assert found.shape == points.shape
    assert (np.hypot(*(found - points).T) < 90).all()


def test_names_of_far_points_do_not_touch() -> None:
    points = np.array([[x, y] for x in range(0, 600, 100) for y in range(0, 300, 50)], dtype=np.float64)
    found = labels.place(points, ["some-coin"] * len(points), np.full(len(points), 4.0), 8.0)
    for i, a in enumerate(found):
        for b in found[i + 1 :]:
            assert abs(a[0] - b[0]) > 40 or abs(a[1] - b[1]) > 8


@given(labels=arrays(np.int64, st.integers(1, 60), elements=st.integers(-1, 5)))
def test_clusters_come_by_size(labels: np.ndarray) -> None:
    found = planes.clusters_by_size(labels)
    sizes = [len(members) for _, members in found]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == int((labels >= 0).sum())
    for number, members in found:
        assert (labels[members] == number).all()


def test_a_hull_has_all_points_inside() -> None:
    points = RNG.normal(size=(50, 2))
    corners = points[planes.hull(points)]
    area = 0.0
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        edge, to = b - a, points - a
        assert (edge[0] * to[:, 1] - edge[1] * to[:, 0] >= -1e-9).all()
        area += a[0] * b[1] - b[0] * a[1]
    assert area > 0
    assert planes.hull(points[:2]).size == 0
    assert planes.hull(np.zeros((5, 2))).size == 0


@given(points=arrays(np.float64, st.tuples(st.integers(1, 40), st.just(2)), elements=st.floats(-1e3, 1e3)))
def test_spread_keeps_the_order_and_the_square(points: np.ndarray) -> None:
    found = maps.spread(points)
    assert (found >= 0).all()
    assert (found <= 1).all()
    for axis in range(2):
        order = np.argsort(points[:, axis], kind="stable")
        assert (np.diff(found[order, axis]) >= -1e-12).all()


def test_strong_edges_are_red_and_solid() -> None:
    shown_map = maps.MarketMap(
        ["a", "b", "c"], np.zeros((3, 3)), np.array([0, 0, 1]), np.ones(3),
        (np.array([0, 0, 1]), np.array([1, 2, 2])), np.array([0.02, 0.1, 0.4]),
    )  # fmt: skip
    shades, widths, solid, order = shown_map.edges()
    assert order.tolist() == [0, 1, 2]
    assert shades == [style.COLOURS[0], style.EDGE, style.BAD]
    assert solid == [True, False, True]
    assert widths.tolist() == pytest.approx([0.3, 0.3 + 3.2 * 0.08 / 0.38, 3.5])


def test_flows_of_an_alluvial_fill_both_bars() -> None:
    labels_of = {"x": RNG.integers(0, 4, 200), "y": RNG.integers(0, 3, 200)}
    text = style.svg(alluvial.alluvial(("x", "y"), labels_of))
    pairs = len(set(zip(labels_of["x"].tolist(), labels_of["y"].tolist(), strict=True)))
    assert text.count("opacity: 0.32") == pairs


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (float("nan"), "-"), (3, "3"), (12_345, "12,345"), (0.123456, "0.1235"), (2000.0, "2,000"),
     (-1.5, "-1.5"), ("<b>", "<b>"), (123_456.7, "123,457")],
)  # fmt: skip
def test_values_are_shown_as_a_reader_wants_them(value: str | float | None, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0001, "<.001"), (0.05, ".050"), (1.0, "1.000")])
def test_p_values_are_shown_as_in_the_paper(value: float, text: str) -> None:
    assert charts.p_text(value) == text


def test_changes_are_shown_as_text() -> None:
    assert charts.percent(0.5) == "+50%"
    assert charts.percent(-0.25) == "-25%"
    assert charts.percent(113.0) == "x 114"
    assert charts.shortened("a-long-name-of-a-coin", 8) == "a-long…"


class Tags(HTMLParser):
    """Counts tags that are opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            assert name not in ("src", "onclick"), (tag, value)
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_is_well_formed_and_escapes_what_it_is_given() -> None:
    blocks = [
        table_block(("name", "value"), [("<script>alert(1)</script>", 1.5), ("b & c", None)], "A <table>"),
        figure_block(style.svg(PICTURES["map"]()), 0, "A 'picture'", "of <coins>"),
    ]
    text = page(Document("A <title>", "x", (("Coins", "2"),), (Section("s", "S", "words", blocks),), "end"))
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert '<td class="n">1.5</td>' in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text


def test_the_figures_of_the_paper_have_names_of_their_own() -> None:
    keys = [key for key, _, _ in paper.FIGURES]
    assert len(keys) == len(set(keys))
    assert ("cells", "Intersections that hold a coin", "24 of 45") in paper.FIGURES
    assert set(paper.REPLICATION) == {"moments", "distribution", "shape"}
