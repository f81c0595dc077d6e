"""Screening: the coins of some intersections with these classes, as columns in and columns out.

A coin table has one row per coin: ``coin_id``, the ``cell`` of the combination, one column per view with its labels
as text, one column per descriptor with its class (``Beta``) and one with its value (``Beta.value``). The two uses of
Lorenzo & Arroyo 2022 ship as recipes: :func:`liquid_coins` and :func:`cell_universe`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from models.associations import COMBINATION, Association, Associations
from models.descriptors import BETA_CLASSES, SHARPE_CLASSES, Descriptors
from models.intersections import Intersections, Labels, id_order, levels_of

Bool = npt.NDArray[np.bool_]
Table: TypeAlias = Mapping[str, npt.NDArray[Any]]
Wanted: TypeAlias = str | Collection[str]

VALUE: Final = ".value"
_PERCENT: Final = re.compile(r"P(\d+(?:\.\d+)?)")
_OWN: Final = ("coin_id", "cell")


@dataclass(frozen=True, slots=True)
class CellUniverse:
    """The coins of one intersection and what sets it apart."""

    cell: str
    coins: dict[str, npt.NDArray[Any]]
    associations: tuple[Association, ...]


def coin_table(
    descriptors: Descriptors, intersections: Intersections | None = None, views: Mapping[str, Labels] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Join descriptors, cells and labels to one table, sorted by coin.

    Parameters
    ----------
    descriptors
        Their coins are the rows.
    intersections
        Cells; a coin without one has None.
    views
        Labels of the coins in the order of ``descriptors.coin_ids``.

    Raises
    ------
    ValueError
        If a view has another length, or the name of another column.
    """
    ids = descriptors.coin_ids
    table: dict[str, npt.NDArray[Any]] = {"coin_id": np.array(ids, dtype=np.object_)}
    if intersections is not None:
        own = dict(zip(intersections.coin_ids, intersections.cell, strict=True))
        table["cell"] = np.array([own.get(coin) for coin in ids], dtype=np.object_)
    for name in descriptors.values:
        table[name] = descriptors.classes[name]
        table[name + VALUE] = descriptors.values[name]
    for name, labels in (views or {}).items():
        levels = levels_of(name, labels)
        if name in table or name in _OWN:
            raise ValueError(f"the view {name!r} has the name of another column")
        if len(levels.codes) != len(ids):
            raise ValueError(f"{name!r} labels {len(levels.codes)} coins, but there are {len(ids)}")
        table[name] = np.array([*levels.names, None], dtype=np.object_)[levels.codes]
    return table


def screen(
    table: Table,
    *,
    cells: Wanted | None = None,
    beta: Wanted | None = None,
    sharpe: Wanted | None = None,
    sharpe_at_least: str | float | None = None,
    market_cap: Wanted | None = None,
    market_cap_at_least: str | float | None = None,
    volume_at_least: str | float | None = None,
    where: Mapping[str, Wanted] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Return the rows of a coin table that meet all conditions, sorted by coin.

    Parameters
    ----------
    table
        From :func:`coin_table`, or columns of those names.
    cells
        One cell or several.
    beta, sharpe, market_cap
        One class or several.
    sharpe_at_least, market_cap_at_least, volume_at_least
        A class (``ERP``, ``P99``), which lets better ones in too, or a number: an annual ratio, USD, units of coin.
    where
        Other columns of classes or labels, and which of them to take: ``{"Age": "D10", "moments": ("1", "2")}``.

    Returns
    -------
    The columns of ``table``. A coin that lacks what a condition asks for does not meet it.

    Raises
    ------
    ValueError
        If a column is missing or of another length, a coin stands twice, or a class does not exist.
    """
    order = _order(table)
    keep = np.ones(len(order), dtype=np.bool_)
    for name, wanted, known in (
        ("cell", cells, None), ("Beta", beta, BETA_CLASSES), ("Sharpe", sharpe, SHARPE_CLASSES),
        ("MkCap", market_cap, None), *((name, wanted, None) for name, wanted in (where or {}).items()),
    ):  # fmt: skip
        if wanted is not None:
            keep &= _among(name, _column(table, name), wanted, known)
    for name, least in (("Sharpe", sharpe_at_least), ("MkCap", market_cap_at_least), ("Volume", volume_at_least)):
        if least is not None:
            keep &= _at_least(table, name, least)
    rows = order[keep[order]]
    return {name: np.asarray(column)[rows] for name, column in table.items()}


def liquid_coins(
    table: Table,
    cell: str | None = None,
    market_cap: Wanted = ("P99", "P100"),
    beta: Wanted = "IndexLike",
    sharpe_at_least: str | float = "ERP",
) -> dict[str, npt.NDArray[Any]]:
    """Return the paper's first use: large coins of one intersection that move like the index and return something.

    ``cell`` None takes the largest intersection.
    """
    chosen = largest_cell(table) if cell is None else cell
    return screen(table, cells=chosen, market_cap=market_cap, beta=beta, sharpe_at_least=sharpe_at_least)


def cell_universe(
    table: Table,
    associations: Associations,
    cell: str | None = None,
    p_below: float = 0.01,
    residual_above: float = 3.5,
    combination: str = COMBINATION,
) -> CellUniverse:
    """Return the paper's second use: all coins of one intersection, and the classes that are frequent or rare in it.

    ``cell`` None takes the largest intersection; cuts are those of ``Associations.significant``.
    """
    chosen = largest_cell(table) if cell is None else cell
    found = tuple(
        one
        for one in associations.significant(p_below, residual_above)
        if (one.a, one.level_a) == (combination, chosen) or (one.b, one.level_b) == (combination, chosen)
    )
    return CellUniverse(chosen, screen(table, cells=chosen), found)


def best_sharpe(table: Table, by: str = "cell") -> dict[str, npt.NDArray[Any]]:
    """Return, for each level of a column (a view's cluster, a cell), the row of the coin with the best Sharpe ratio.

    Sorted by level, whole numbers by value; of equal ratios the first coin by id. Levels without a ratio are left out.
    """
    order = _order(table)
    ratio = np.asarray(_column(table, "Sharpe" + VALUE), dtype=np.float64)[order]
    levels = levels_of(by, _text(_column(table, by))[order])
    rank = np.argsort(sorted(range(len(levels.names)), key=lambda i: _natural(levels.names[i])))
    rows = np.flatnonzero((levels.codes >= 0) & ~np.isnan(ratio))
    rows = rows[np.lexsort((rows, -ratio[rows], rank[levels.codes[rows]]))]
    _, first = np.unique(rank[levels.codes[rows]], return_index=True)
    best = order[rows[first]]
    return {name: np.asarray(column)[best] for name, column in table.items()}


def largest_cell(table: Table) -> str:
    """Return the cell with the most coins, of equal ones the first by name; ValueError if no coin has a cell."""
    cells = levels_of("cell", _text(_column(table, "cell")))
    if not cells.names:
        raise ValueError("no coin of the table has a cell: there is no largest intersection")
    return cells.names[int(np.argmax(np.bincount(cells.codes[cells.codes >= 0])))]


def _column(table: Table, name: str) -> npt.NDArray[Any]:
    if name not in table:
        raise ValueError(f"the coin table has no column {name!r}; it has {', '.join(table)}")
    return np.asarray(table[name])


def _order(table: Table) -> npt.NDArray[np.int64]:
    order = id_order(_column(table, "coin_id").tolist())
    for name, column in table.items():
        if np.shape(column) != (len(order),):
            raise ValueError(f"column {name!r} has shape {list(np.shape(column))}, but there are {len(order)} coins")
    return order


def _text(column: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    return np.asarray(column, dtype=np.object_)


def _among(name: str, column: npt.NDArray[Any], wanted: Wanted, known: Collection[str] | None) -> Bool:
    asked = {wanted} if isinstance(wanted, str) else set(wanted)
    odd = sorted(str(one) for one in asked if not isinstance(one, str) or (known is not None and one not in known))
    if odd:
        raise ValueError(f"{name} has no class {', '.join(odd)}; it has {', '.join(known or ('only text',))}")
    return np.fromiter((value in asked for value in column.tolist()), np.bool_, len(column))


def _at_least(table: Table, name: str, least: str | float) -> Bool:
    if not isinstance(least, str):
        if math.isnan(least):
            raise ValueError(f"the least {name} cannot be NaN")
        values = np.asarray(_column(table, name + VALUE), dtype=np.float64)
        with np.errstate(invalid="ignore"):
            return np.asarray(values >= least, dtype=np.bool_)
    place = _class_order(name, least)
    own = _column(table, name).tolist()
    return np.fromiter((value is not None and _class_order(name, value) >= place for value in own), np.bool_, len(own))


def _class_order(name: str, level: str) -> float:
    if name == "Sharpe":
        if level in SHARPE_CLASSES:
            return float(SHARPE_CLASSES.index(level))
        raise ValueError(f"Sharpe has no class {level}; it has {', '.join(SHARPE_CLASSES)}")
    match = _PERCENT.fullmatch(level)
    if match is None:
        raise ValueError(f"{name} has no class {level!r}: its classes are quantiles such as P70 and P99")
    return float(match[1])


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in name.split("-"))
