"""Fits followed one after the other: rows of every table, identities that last, and a snapshot at any point."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.tables import TABLES
from flows.combine import CombineLogic
from flows.config import Config, View, Window
from flows.items import PanelReady, ViewLabels
from flows.members import MembersLogic
from flows.results import Rows
from flows.views import Fitted, comovement_config, fit_comovement, fit_prototypes, prototype_config
from models.comovement import ComovementFit
from tests.flows.driver import drive, plain
from tests.flows.panels import Bar, Part, run

LENGTH, DAYS, COINS = 16, 26, 12
WINDOW = Window(length_bars=LENGTH, minimum_presence=0.5)
CONFIG = Config(windows=(WINDOW,))
VIEWS: tuple[View, ...] = ("comovement", "moments", "distribution", "shape")


@functools.cache
def panels() -> list[PanelReady]:
    """Return the panels of three groups of coins; one coin is listed late."""
    rng = np.random.default_rng(11)
    factors = rng.normal(0, 0.03, (DAYS, 3))
    price = 10 * np.exp(np.cumsum(factors[:, np.arange(COINS) % 3] + rng.normal(0, 0.01, (DAYS, COINS)), axis=0))
    price[:, 6:] *= np.exp(np.cumsum(rng.normal(0, 0.05, (DAYS, 6)), axis=0))  # half of them are wilder
    bars = [Bar(day + 1, f"coin-{c:02d}", float(price[day, c])) for day in range(DAYS) for c in range(COINS)]
    return run(WINDOW, [Part("x", [bar for bar in bars if bar.coin != "coin-05" or bar.end > 12])])


@functools.cache
def fitted(view: View) -> list[Fitted]:
    out, state = [], None
    for panel in panels():
        if view == "comovement":
            result = fit_comovement(panel, comovement_config(CONFIG, WINDOW))
        else:
            result = fit_prototypes((panel, state), prototype_config(view, CONFIG, WINDOW))
            state = result.state
        out.append(Fitted(panel, result, 0.5))
    return out


def make(view: View) -> Any:
    return functools.partial(MembersLogic, WINDOW, view, CONFIG)


def rows(out: list[Any], table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in out:
        if isinstance(one, Rows) and one.table == table:
            if table in TABLES:
                assert one.rows.schema.equals(TABLES[table].schema)
            found += one.rows.to_pylist()
    if table in TABLES:
        keys = [str([row[name] for name in TABLES[table].key]) for row in found]
        assert len(set(keys)) == len(keys), f"{table}: its key is not unique"
    return found


@pytest.mark.parametrize("view", VIEWS)
def test_every_fit_has_its_rows(view: View) -> None:
    out = drive(make(view), [[one] for one in fitted(view)])
    fits, members = rows(out, "fits"), rows(out, "memberships")
    assert len(fits) == len(panels()) == 10
    assert len(rows(out, "drift")) == len(rows(out, "timings")) == 10
    assert all(row["seconds"] == 0.5 and row["job"] == "fit" for row in rows(out, "timings"))
    assert sum(row["coins"] for row in fits) == len(members)
    assert {row["view"] for row in fits} == {view}
    converged = {row["as_of"] for row in fits if row["converged"]}
    assert converged, "the market is easy"
    assert all((row["shoal"] is not None) == (row["as_of"] in converged) for row in members)
    exemplars = [row for row in members if row["is_exemplar"]]
    assert len(exemplars) == sum(row["clusters"] or 0 for row in fits)
    assert all(
        row["distance"] == pytest.approx(0.0) or row["distance"] > 0 for row in members if row["shoal"] is not None
    )
    labels = [one for one in out if isinstance(one, ViewLabels)]
    assert [one.as_of_us for one in labels] == [panel.as_of_us for panel in panels()]
    events = rows(out, "events")
    assert {row["kind"] for row in events} >= {"born"}


def test_tables_of_the_network_are_of_comovement_alone() -> None:
    out = {view: drive(make(view), [[one] for one in fitted(view)]) for view in VIEWS}
    for table in ("edges", "embedding"):
        assert rows(out["comovement"], table)
        assert not any(rows(out[view], table) for view in VIEWS[1:])
    assert not rows(out["comovement"], "prototypes")
    for view in VIEWS[1:]:
        prototypes, members = rows(out[view], "prototypes"), rows(out[view], "memberships")
        assert prototypes, view
        assert {row["shoal"] for row in prototypes} <= {row["shoal"] for row in members}
    assert all(row["coin_a"] < row["coin_b"] for row in rows(out["comovement"], "edges"))
    assert all(row["effective_rank"] is None for row in rows(out["shape"], "drift"))


@pytest.mark.parametrize("view", VIEWS)
@settings(max_examples=8)
@given(data=st.data())
def test_a_snapshot_at_any_point_goes_on_alike(view: View, data: st.DataObject) -> None:
    batches = [[one] for one in fitted(view)]
    restart = data.draw(st.sets(st.integers(1, len(batches) - 1), min_size=1))
    assert plain(drive(make(view), batches, restart)) == plain(drive(make(view), [fitted(view)]))


def again(one: Fitted, day: int, **fit: Any) -> Fitted:
    """Return a fit once more at a later day, with some of its fields changed."""
    later = replace(one.panel, as_of_us=one.panel.as_of_us + day * 86_400_000_000, bar=one.panel.bar + day)
    return replace(one, panel=later, result=replace(one.result, fit=replace(one.result.fit, **fit)))


def test_the_same_fit_again_agrees_with_itself() -> None:
    one = fitted("comovement")[0]
    out = drive(make("comovement"), [[one, again(one, 1)]])
    first, second = rows(out, "drift")
    assert (first["ari"], first["vi"], first["churn"]) == (None, None, None), "there is nothing to compare with"
    assert (second["ari"], second["vi"], second["churn"]) == (1.0, 0.0, 0.0)
    assert second["ami"] == pytest.approx(1.0)
    members = rows(out, "memberships")
    half = len(members) // 2
    assert [row["shoal"] for row in members[:half]] == [row["shoal"] for row in members[half:]]
    assert [row["home"] for row in members[:half]] == [row["home"] for row in members[half:]]
    points = [(row["x"], row["y"], row["z"]) for row in rows(out, "embedding")]
    assert np.allclose(points[:half], points[half:])
    assert rows(out, "events") == [], "nothing happened"


def test_a_fit_that_did_not_converge_moves_nothing() -> None:
    one = fitted("comovement")[0]
    n = len(one.result.fit.coin_ids)
    nothing = {
        "converged": False, "labels": np.full(n, -1, np.int32), "exemplars": np.empty(0, np.int64),
        "silhouette": float("nan"), "distance": np.full(n, np.nan),
    }  # fmt: skip
    failed = again(one, 1, **nothing)
    out = drive(make("comovement"), [[one, failed, again(one, 2)]])
    fits, members, drift = (rows(out, table) for table in ("fits", "memberships", "drift"))
    assert (fits[1]["converged"], fits[1]["clusters"], fits[1]["silhouette"]) == (False, None, None)
    homes = [[row["home"] for row in members[i * n : (i + 1) * n]] for i in range(3)]
    assert homes[0] == homes[1] == homes[2]
    assert all(row["shoal"] is None and not row["is_exemplar"] for row in members[n : 2 * n])
    assert drift[1]["ari"] is None
    assert drift[2]["ari"] == 1.0, "it is compared with the last that converged"
    assert len(rows(out, "shoals")) == 2 * fits[0]["clusters"]
    labels = [one for one in out if isinstance(one, ViewLabels)]
    assert labels[1].shoal.tolist() == [-1] * n


def test_a_fit_without_coins() -> None:
    """All coins of the window may be on a list of exclusions."""
    config = replace(comovement_config(CONFIG, WINDOW), exclude=tuple(panels()[0].input.coin_ids))
    found = fit_comovement(panels()[0], config)
    assert isinstance(found.fit, ComovementFit)
    out = drive(make("comovement"), [[Fitted(panels()[0], found, 0.0)], [fitted("comovement")[1]]])
    assert [row["coins"] for row in rows(out, "fits")] == [0, COINS - 1]
    assert len(rows(out, "memberships")) == COINS - 1


def test_a_coin_that_is_listed_late_joins_when_it_has_prices_enough() -> None:
    members = rows(drive(make("comovement"), [[one] for one in fitted("comovement")]), "memberships")
    first = min(row["as_of"] for row in members if row["coin_id"] == "coin-05")
    assert first.day > min(row["as_of"] for row in members).day
    assert all(row["coverage"] == 1.0 for row in members if row["coin_id"] == "coin-05")


# ------------------------------------------------------------------------------------------------ views side by side


@settings(max_examples=30)
@given(st.data())
def test_agreement_of_views_waits_for_all_of_them(data: st.DataObject) -> None:
    labels = {
        view: [one for one in drive(make(view), [fitted(view)]) if isinstance(one, ViewLabels)][:3] for view in VIEWS
    }
    combine = functools.partial(CombineLogic, "w", VIEWS)
    expected = drive(combine, [[one for view in VIEWS for one in labels[view]]])
    turns = data.draw(st.permutations([view for view in VIEWS for _ in range(3)]))
    queues = {view: list(found) for view, found in labels.items()}
    arrivals = [[queues[view].pop(0)] for view in turns]
    restart = data.draw(st.sets(st.integers(1, len(arrivals) - 1)))
    assert plain(drive(combine, arrivals, restart)) == plain(expected)
    agreement, cells = rows(expected, "agreement"), rows(expected, "intersections")
    assert len(agreement) == 3 * 6
    assert all(row["view_a"] < row["view_b"] and -1 <= row["ari"] <= 1 for row in agreement)
    assert len(cells) == 3 * len({row["coin_id"] for row in cells})
    assert {(row["as_of"], row["rank"]) for row in cells if row["rank"] == 1}, "the largest cell comes first"
