"""Combination of views: the intersections of their clusters, their agreement, and the tables of an alluvial diagram.

A coin has one label per view; the cell ``2-0-1`` holds the coins of cluster 2 of the first view, 0 of the second and
1 of the third (Lorenzo & Arroyo 2022, "combination"). Labels are integers, of which negative ones are missing, or
strings, of which None and the empty string are missing. Coins are sorted by id first, so their order is irrelevant.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from models.partitions import adjusted_rand

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Labels: TypeAlias = npt.NDArray[Any] | Sequence[int] | Sequence[str | None]

MAIN_COINS: Final = 100
"""An intersection with more coins than this is a main one [the paper's six hold 75% of its coins]."""

_WIDEST: Final = 2**62


@dataclass(frozen=True, slots=True)
class Levels:
    """A variable as numbers: ``codes`` int64[n] point into ``names``, -1 is missing; names are in order of level."""

    codes: Int64
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Intersections:
    """The populated cells of a combination, largest first, and the cell of each coin."""

    views: tuple[str, ...]
    coin_ids: tuple[str, ...]
    """The n coins with a label in every view, sorted."""
    cell: tuple[str, ...]
    """The cell of each coin."""
    rank: Int64
    """int64[n]: 1 for the largest cell."""
    cells: tuple[str, ...]
    """Populated cells by size, largest first, equal ones by name."""
    sizes: Int64
    """int64[cells]: coins in each."""
    possible: int
    """Product of the numbers of clusters; clusters without a coin that all views label do count."""
    unlabelled: int
    """Coins that at least one view does not label: they are in no cell."""

    @property
    def populated(self) -> int:
        """Number of cells that hold a coin."""
        return len(self.cells)

    def share_of_top(self, m: int) -> float:
        """Return the share of coins in the ``m`` largest cells, in [0, 1]; NaN without coins."""
        if m < 0:
            raise ValueError(f"the number of top cells cannot be {m}")
        total = int(self.sizes.sum())
        return int(self.sizes[:m].sum()) / total if total else math.nan

    def main(self, more_than: int = MAIN_COINS) -> tuple[str, ...]:
        """Return the cells with more coins than ``more_than``, largest first."""
        return self.cells[: int((self.sizes > more_than).sum())]

    def alone(self) -> tuple[str, ...]:
        """Return the coins that are the only one in their cell."""
        single = set(itertools.compress(self.cells, (self.sizes == 1).tolist()))
        return tuple(coin for coin, cell in zip(self.coin_ids, self.cell, strict=True) if cell in single)

    def members(self, cell: str) -> tuple[str, ...]:
        """Return the coins of a cell, sorted; none if the cell is not populated."""
        return tuple(coin for coin, own in zip(self.coin_ids, self.cell, strict=True) if own == cell)

    def columns(self) -> dict[str, list[Any]]:
        """Return the columns ``coin_id``, ``cell`` and ``rank`` of the table ``intersections``."""
        return {"coin_id": list(self.coin_ids), "cell": list(self.cell), "rank": self.rank.tolist()}


@dataclass(frozen=True, slots=True)
class Contingency:
    """How many coins are in each pair of levels of two columns."""

    a: str
    b: str
    levels_a: tuple[str, ...]
    levels_b: tuple[str, ...]
    table: Int64
    """int64[levels of a, levels of b]; levels that no shared coin has are left out."""
    only_a: int
    """Coins that only ``a`` labels: those that vanish, between two times."""
    only_b: int


@dataclass(frozen=True, slots=True)
class Alluvial:
    """The flows of an alluvial diagram: one contingency table per pair of columns, and its cells as rows."""

    tables: tuple[Contingency, ...]

    def links(self) -> dict[str, list[Any]]:
        """Return the flows that are not empty as columns ``a``, ``b``, ``level_a``, ``level_b``, ``coins``."""
        rows: list[tuple[str, str, str, str, int]] = []
        for flow in self.tables:
            for i, j in np.argwhere(flow.table > 0).tolist():
                rows.append((flow.a, flow.b, flow.levels_a[i], flow.levels_b[j], int(flow.table[i, j])))
        names = ("a", "b", "level_a", "level_b", "coins")
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def levels_of(name: str, labels: Labels) -> Levels:
    """Return labels as codes into their sorted distinct levels: integers by value, strings as strings.

    Raises
    ------
    ValueError
        If the labels are not one-dimensional or neither integers nor strings; the text names the variable.
    """
    values = np.asarray(labels, dtype=None if isinstance(labels, np.ndarray) else np.object_)
    if values.ndim != 1:
        raise ValueError(f"labels of {name!r} have {values.ndim} dimensions, not 1")
    if values.dtype.kind in "iu":
        missing = values < 0 if values.dtype.kind == "i" else np.zeros(len(values), dtype=np.bool_)
        return _coded(values, missing)
    items = values.tolist()
    if all(isinstance(item, int) and not isinstance(item, bool) for item in items):
        numbers = np.array(items, dtype=np.int64)
        return _coded(numbers, numbers < 0)
    if not all(item is None or isinstance(item, str) for item in items):
        raise ValueError(f"labels of {name!r} must be all integers, or strings and None, not {values.dtype}")
    text = np.array(["" if item is None else item for item in items], dtype=np.object_)
    return _coded(text, np.asarray(text == "", dtype=np.bool_))


def _coded(values: npt.NDArray[Any], missing: Bool) -> Levels:
    names, inverse = np.unique(values[~missing], return_inverse=True)
    codes = np.full(len(values), -1, dtype=np.int64)
    codes[~missing] = inverse
    return Levels(codes, tuple(str(name) for name in names.tolist()))


def intersect(labels_by_view: Mapping[str, Labels], coin_ids: Sequence[str]) -> Intersections:
    """Combine views into intersections, ranked by size.

    Parameters
    ----------
    labels_by_view
        For each view, in the order of the parts of a cell's name, the labels of the same n coins.
    coin_ids
        Ids of the n coins.

    Raises
    ------
    ValueError
        If there is no view, lengths differ, an id stands twice, or labels are no labels.
    """
    if not labels_by_view:
        raise ValueError("a combination needs at least one view")
    variables, order = aligned(labels_by_view, coin_ids)
    codes = np.stack([variable.codes for variable in variables.values()])
    shape = tuple(len(variable.names) for variable in variables.values())
    if math.prod(shape) >= _WIDEST:
        raise ValueError(f"{len(shape)} views with {shape} clusters have too many cells to be numbered")
    complete = (codes >= 0).all(axis=0)
    if not complete.any():
        return Intersections(tuple(variables), (), (), np.empty(0, np.int64), (), np.empty(0, np.int64),
                             math.prod(shape), len(coin_ids))  # fmt: skip
    flat = np.ravel_multi_index(tuple(codes[:, complete]), shape)
    found, cell_of, sizes = np.unique(flat, return_inverse=True, return_counts=True)
    parts = np.stack(np.unravel_index(found, shape), axis=1).tolist()
    spelled = [variable.names for variable in variables.values()]
    names = ["-".join(spelled[view][code] for view, code in enumerate(cell)) for cell in parts]
    if len(set(names)) != len(names):
        raise ValueError("two cells have one name: levels that contain a dash cannot be told apart")
    by_size = sorted(range(len(names)), key=lambda i: (-int(sizes[i]), names[i]))
    rank = np.empty(len(names), dtype=np.int64)
    rank[by_size] = np.arange(1, len(names) + 1)
    ids = [coin_ids[i] for i in order[complete].tolist()]
    return Intersections(
        views=tuple(variables), coin_ids=tuple(ids), cell=tuple(names[i] for i in cell_of.tolist()),
        rank=rank[cell_of], cells=tuple(names[i] for i in by_size), sizes=sizes[by_size].astype(np.int64),
        possible=math.prod(shape), unlabelled=len(coin_ids) - len(ids),
    )  # fmt: skip


def aligned(variables: Mapping[str, Labels], coin_ids: Sequence[str]) -> tuple[dict[str, Levels], Int64]:
    """Return variables as codes with coins in order of id, and that order int64[n].

    Raises
    ------
    ValueError
        If lengths differ, an id stands twice, or labels are no labels; the text names the variable.
    """
    order = id_order(coin_ids)
    coded: dict[str, Levels] = {}
    for name, labels in variables.items():
        levels = levels_of(name, labels)
        if len(levels.codes) != len(order):
            raise ValueError(f"{name!r} labels {len(levels.codes)} coins, but there are {len(order)}")
        coded[name] = Levels(levels.codes[order], levels.names)
    return coded, order


def id_order(coin_ids: Sequence[str]) -> Int64:
    """Return int64[n], the order of coins by id; ValueError names an id that stands twice."""
    if len(set(coin_ids)) != len(coin_ids):
        twice = min(coin for coin, times in Counter(coin_ids).items() if times > 1)
        raise ValueError(f"coin id {twice!r} stands twice")
    return np.array(sorted(range(len(coin_ids)), key=coin_ids.__getitem__), dtype=np.int64)


def common_coins(
    partitions: Mapping[str, tuple[Sequence[str], npt.NDArray[np.integer[Any]]]],
) -> tuple[tuple[str, ...], dict[str, Int64]]:
    """Bring partitions of different coins (views, or times) to the union of their coins.

    Parameters
    ----------
    partitions
        For each name the ids of its coins and their integer labels.

    Returns
    -------
    coin_ids : tuple of str
        All coins, sorted.
    labels : dict of int64[n]
        -1 where a partition has no such coin. Input of :func:`intersect`, :func:`agreement` and :func:`alluvial`.
    """
    everyone = sorted(set().union(*(set(ids) for ids, _ in partitions.values())))
    place = {coin: i for i, coin in enumerate(everyone)}
    labels: dict[str, Int64] = {}
    for name, (ids, own) in partitions.items():
        id_order(ids)
        if np.shape(own) != (len(ids),):
            raise ValueError(f"{name!r} has {len(ids)} coins and labels of shape {np.shape(own)}")
        row = np.full(len(everyone), -1, dtype=np.int64)
        row[[place[coin] for coin in ids]] = own
        labels[name] = row
    return tuple(everyone), labels


def agreement(labels_by_view: Mapping[str, Labels]) -> dict[str, list[Any]]:
    """Return the adjusted Rand index of each pair of views, over the coins that both label.

    Returns
    -------
    Columns ``view_a``, ``view_b`` and ``ari`` of the table ``agreement``, pairs in the order of the views.
    """
    coded = _coded_alike(labels_by_view)
    rows: list[tuple[str, str, float]] = []
    for a, b in itertools.combinations(coded, 2):
        both = (coded[a].codes >= 0) & (coded[b].codes >= 0)
        rows.append((a, b, adjusted_rand(coded[a].codes[both], coded[b].codes[both])))
    return {name: [row[place] for row in rows] for place, name in enumerate(("view_a", "view_b", "ari"))}


def alluvial(labels_by_column: Mapping[str, Labels], pairs: Literal["all", "successive"] = "all") -> Alluvial:
    """Return the contingency tables that an alluvial diagram draws.

    Parameters
    ----------
    labels_by_column
        For each column of the diagram (a view, or a time) the labels of the same n coins.
    pairs
        ``all``: every pair of columns, as between views. ``successive``: neighbours only, as over time.

    Returns
    -------
    Alluvial
        Coins that one of two columns does not label take no part in their table and are counted apart.
    """
    coded = _coded_alike(labels_by_column)
    if pairs not in ("all", "successive"):
        raise ValueError(f"pairs must be all or successive, not {pairs!r}")
    chosen = itertools.combinations(coded, 2) if pairs == "all" else itertools.pairwise(coded)
    return Alluvial(tuple(cross_table(a, coded[a], b, coded[b]) for a, b in chosen))


def cross_table(name_a: str, a: Levels, name_b: str, b: Levels) -> Contingency:
    """Count coins by pairs of levels, without the levels that no coin with both labels has."""
    has_a, has_b = a.codes >= 0, b.codes >= 0
    both = has_a & has_b
    width = max(len(b.names), 1)
    counts = np.bincount(a.codes[both] * width + b.codes[both], minlength=len(a.names) * width)
    table = counts[: len(a.names) * width].reshape(len(a.names), width)[:, : len(b.names)].astype(np.int64)
    rows, columns = table.sum(axis=1) > 0, table.sum(axis=0) > 0
    return Contingency(
        name_a, name_b, tuple(itertools.compress(a.names, rows)), tuple(itertools.compress(b.names, columns)),
        np.ascontiguousarray(table[rows][:, columns]), int((has_a & ~has_b).sum()), int((has_b & ~has_a).sum()),
    )  # fmt: skip


def _coded_alike(labels: Mapping[str, Labels]) -> dict[str, Levels]:
    coded = {name: levels_of(name, own) for name, own in labels.items()}
    sizes = {name: len(variable.codes) for name, variable in coded.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"columns label different numbers of coins: {sizes}")
    return coded
