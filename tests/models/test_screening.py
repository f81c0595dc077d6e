"""Screening against a plain loop over coins, its recipes, and bad input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.associations import AssociationSettings, associate
from models.descriptors import BETA_CLASSES, SHARPE_CLASSES, DescriptorInput, Descriptors, describe
from models.intersections import intersect
from models.screening import (
    best_sharpe,
    cell_universe,
    coin_table,
    largest_cell,
    liquid_coins,
    screen,
)

Table = dict[str, npt.NDArray[Any]]
CAPS = ("P70", "P80", "P90", "P99", "P100")


def random_table(seed: int, coins: int = 50) -> Table:
    rng = np.random.default_rng(seed)

    def choice(levels: tuple[str | None, ...]) -> npt.NDArray[Any]:
        return rng.choice(np.array([*levels, None], dtype=np.object_), coins)

    sharpe = rng.normal(0.3, 0.6, coins).round(1)
    sharpe[rng.random(coins) < 0.1] = np.nan
    return {
        "coin_id": np.array([f"coin-{i}" for i in rng.permutation(coins)], dtype=np.object_),
        "cell": choice(("0-0", "0-1", "1-0", "10-0", "2-0")),
        "Beta": choice(BETA_CLASSES),
        "Sharpe": choice(SHARPE_CLASSES),
        "Sharpe.value": sharpe,
        "MkCap": choice(CAPS),
        "MkCap.value": np.where(rng.random(coins) < 0.1, np.nan, rng.lognormal(10, 3, coins)),
        "Volume": choice(CAPS),
        "Volume.value": rng.lognormal(10, 3, coins),
        "moments": choice(("0", "1", "10", "2")),
    }


def rows_of(table: Table) -> list[dict[str, Any]]:
    return [
        dict(zip(table, values, strict=True)) for values in zip(*(own.tolist() for own in table.values()), strict=True)
    ]


def names(table: Table) -> list[str]:
    coins: list[str] = table["coin_id"].tolist()
    return coins


@given(st.integers(0, 2**32 - 1))
def test_conditions_are_those_of_a_loop(seed: int) -> None:
    table = random_table(seed)
    rows = rows_of(table)
    found = screen(
        table, cells=("0-0", "1-0", "10-0"), beta=("IndexLike", "LowVol", "HighVol"), sharpe_at_least="ERP",
        market_cap_at_least="P80", where={"moments": ("0", "1", "2")},
    )  # fmt: skip
    assert names(found) == sorted(
        row["coin_id"] for row in rows
        if row["cell"] in ("0-0", "1-0", "10-0") and row["Beta"] in ("IndexLike", "LowVol", "HighVol")
        and row["Sharpe"] in ("ERP", "ACC", "GOOD") and row["MkCap"] in ("P80", "P90", "P99", "P100")
        and row["moments"] in ("0", "1", "2")
    )  # fmt: skip
    found = screen(table, sharpe_at_least=0.2, market_cap_at_least=1e4, volume_at_least="P100", sharpe="GOOD")
    assert names(found) == sorted(
        row["coin_id"] for row in rows
        if row["Sharpe.value"] >= 0.2 and row["MkCap.value"] >= 1e4 and row["Volume"] == "P100"
        and row["Sharpe"] == "GOOD"
    )  # fmt: skip


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_coins_is_irrelevant_and_rows_stay_whole(seed: int) -> None:
    table = random_table(seed)
    order = np.random.default_rng(seed).permutation(50)
    moved = {name: own[order] for name, own in table.items()}
    for how in (
        lambda t: screen(t, beta="IndexLike"), lambda t: best_sharpe(t, "moments"), best_sharpe, liquid_coins
    ):  # fmt: skip
        assert repr(rows_of(how(table))) == repr(rows_of(how(moved)))
        whole = {row["coin_id"]: repr(row) for row in rows_of(table)}
        assert all(whole[row["coin_id"]] == repr(row) for row in rows_of(how(table)))
    assert largest_cell(table) == largest_cell(moved)
    assert names(screen(table)) == sorted(names(table))


@given(st.integers(0, 2**32 - 1))
def test_the_best_ratio_of_each_cluster(seed: int) -> None:
    table = random_table(seed)
    rows = rows_of(table)
    found = rows_of(best_sharpe(table, "moments"))
    assert [row["moments"] for row in found] == [
        level for level in ("0", "1", "2", "10")
        if any(row["moments"] == level and not math.isnan(row["Sharpe.value"]) for row in rows)
    ]  # fmt: skip
    for best in found:
        rivals = [row for row in rows if row["moments"] == best["moments"] and not math.isnan(row["Sharpe.value"])]
        first = min(rivals, key=lambda row: (-row["Sharpe.value"], row["coin_id"]))
        assert best["coin_id"] == first["coin_id"]


def test_the_first_recipe() -> None:
    table = random_table(11, 3_000)
    cell = largest_cell(table)
    sizes = {level: int((table["cell"] == level).sum()) for level in set(table["cell"]) if level is not None}
    assert sizes[cell] == max(sizes.values())
    found = rows_of(liquid_coins(table))
    assert found
    assert {(row["cell"], row["Beta"]) for row in found} == {(cell, "IndexLike")}
    assert {row["MkCap"] for row in found} == {"P99", "P100"}
    assert {row["Sharpe"] for row in found} == {"ERP", "ACC", "GOOD"}
    assert {row["cell"] for row in rows_of(liquid_coins(table, "2-0", beta=("LowVol",)))} == {"2-0"}


def study() -> tuple[Descriptors, Table, dict[str, Any]]:
    """Return 200 coins of which one cluster has large market caps."""
    rng = np.random.default_rng(3)
    moments = np.repeat([0, 1], [150, 50])
    caps = np.where(moments == 1, 1e9, 1e5) * rng.lognormal(0, 0.5, 200)
    described = describe(
        DescriptorInput(
            coin_ids=[f"coin-{i:03d}" for i in range(200)], returns=rng.normal(0, 0.05, (60, 200)), market_cap=caps
        )
    )
    views = {"moments": moments, "shape": rng.integers(0, 2, 200)}
    cells = intersect(views, described.coin_ids)
    table = coin_table(described, cells, views)
    return described, table, {**views, "combination": cells.cell, "MkCap": described.classes["MkCap"].tolist()}


def test_the_second_recipe() -> None:
    _, table, variables = study()
    found = associate(variables, names(table), AssociationSettings(simulations=500))
    universe = cell_universe(table, found, "1-0")
    assert names(universe.coins) == [
        coin for coin, cell in zip(table["coin_id"], table["cell"], strict=True) if cell == "1-0"
    ]
    assert universe.associations
    for one in universe.associations:
        assert "1-0" in (one.level_a, one.level_b)
        assert abs(one.residual) > 3.5
        assert one.p_value < 0.01
    frequent = {
        (one.b, one.level_b) if one.a == "combination" else (one.a, one.level_a) for one in universe.associations
    }
    assert ("moments", "1") in frequent
    assert any(name == "MkCap" for name, _ in frequent)
    largest = cell_universe(table, found)
    assert largest.cell == largest_cell(table)


def test_a_coin_table_joins_by_coin() -> None:
    described, table, _ = study()
    assert list(table) == [
        "coin_id", "cell", "HeavyTail", "HeavyTail.value", "MkCap", "MkCap.value", "Sharpe", "Sharpe.value", "moments",
        "shape",
    ]  # fmt: skip
    assert table["moments"][0] == "0"
    part = intersect({"a": [5]}, ["coin-007"])
    cells = coin_table(described, part)["cell"].tolist()
    assert cells[7] == "5"
    assert cells.count(None) == 199
    assert "cell" not in coin_table(described)
    assert names(screen(coin_table(described, part), cells="5")) == ["coin-007"]
    assert names(screen(table, cells="9-9")) == []  # a cell that nobody populates is no error


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        ({"beta": "Indexlike"}, "Beta has no class Indexlike; it has NegBeta"),
        ({"sharpe": ("GOOD", "BAD")}, "Sharpe has no class BAD"),
        ({"sharpe_at_least": "OK"}, "Sharpe has no class OK"),
        ({"market_cap_at_least": "large"}, "MkCap has no class 'large'"),
        ({"sharpe_at_least": math.nan}, "least Sharpe cannot be NaN"),
        ({"where": {"Age": "D1"}}, "no column 'Age'"),
        ({"cells": (1,)}, "cell has no class 1"),
    ],
)
def test_bad_conditions_are_named(conditions: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        screen(random_table(0), **conditions)


def test_bad_tables_are_named() -> None:
    described, table, _ = study()
    with pytest.raises(ValueError, match="column 'cell' has shape"):
        screen(table | {"cell": table["cell"][1:]})
    with pytest.raises(ValueError, match="stands twice"):
        screen(table | {"coin_id": np.repeat(table["coin_id"][:1], 200)})
    with pytest.raises(ValueError, match="no coin of the table has a cell"):
        liquid_coins(table | {"cell": np.full(200, None)})
    with pytest.raises(ValueError, match="no column 'Beta'"):
        liquid_coins(table)
    with pytest.raises(ValueError, match="'Sharpe' has the name of another column"):
        coin_table(described, None, {"Sharpe": np.zeros(200, dtype=np.int64)})
    with pytest.raises(ValueError, match="'moments' labels 1 coins"):
        coin_table(described, None, {"moments": [0]})
    with pytest.raises(ValueError, match="no column 'coin_id'"):
        screen({})
