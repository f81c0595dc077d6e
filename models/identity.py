"""Identity of shoals: successive fits are matched, so that a cluster keeps its number while it lasts.

The labels of a clustering have no meaning from one fit to the next. Here each new cluster inherits the number of at
most one old shoal: the one-to-one assignment that maximises the summed Jaccard overlap, taken over the coins that
have a cluster in both fits (Kuhn 1955; scipy's ``linear_sum_assignment``). What was not matched is explained by
overlap in the manner of MONIC (Spiliopoulou et al. 2006): an old shoal most of whose coins sit together in a shoal
that carries another number has *merged* into it, one without such an heir has *died*; a new cluster most of whose
coins come from one shoal, and that holds a substantial part of it, has *split* off, any other is *born*.

Nothing depends on the names of labels: clusters are put in the order of their smallest coin id before anything
is decided, so ties fall the same way for any naming.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
ChangeKind = Literal["split", "merged", "born", "died"]

NONE = -1
"""The number of no shoal."""

_SCHEMA = 1
# Far below any difference in overlap that a person would call one, and far above rounding.
_SAME_EXEMPLAR, _EXEMPLAR_INSIDE = 2e-6, 1e-6


@dataclass(frozen=True, slots=True)
class Change:
    """A cluster event.

    ``split`` and ``merged`` go from one shoal to another, ``born`` has no ``shoal_from``, ``died`` no ``shoal_to``.
    ``coins`` are those that the change concerns, sorted: the part that split off, the part of the old shoal that sits
    in the heir, all coins of the new shoal, all coins of the dead one.
    """

    kind: ChangeKind
    shoal_from: int | None
    shoal_to: int | None
    coins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShoalInfo:
    """A shoal as it stands after a fit; a dead one is listed once, with size 0 and its last exemplar."""

    number: int
    name: str
    size: int
    born_as_of_us: int
    died_as_of_us: int | None
    parents: tuple[int, ...]
    exemplar: str


@dataclass(frozen=True, slots=True)
class Matched:
    """A fit with identities.

    ``shoal`` is int64[n], -1 for coins without a cluster; ``shoals`` are in order of number, the dead of this round
    included; ``changes`` in order of kind (split, merged, born, died) and numbers.
    """

    shoal: Int64
    shoals: list[ShoalInfo]
    changes: list[Change]

    @property
    def alive(self) -> tuple[int, ...]:
        """Numbers of the shoals of this fit, ascending."""
        return tuple(info.number for info in self.shoals if info.died_as_of_us is None)

    @property
    def names(self) -> dict[int, str]:
        """Name of each shoal listed, by number."""
        return {info.number: info.name for info in self.shoals}


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityConfig:
    """How successive fits are matched."""

    keep_overlap: float = 0.3
    """Least Jaccard overlap at which a cluster keeps its number, in (0, 1]."""
    heir_overlap: float = 0.5
    """Least share of an old shoal's coins in its heir (``merged``), and of a new one's from its parent (``split``)."""
    split_share: float = 0.25
    """Least share of the parent's coins that a ``split`` takes along."""
    split_coins: int = 2
    """Least number of coins that a ``split`` takes along: a single coin that stands apart is no split."""

    def __post_init__(self) -> None:
        for name in ("keep_overlap", "heir_overlap", "split_share"):
            value = getattr(self, name)
            if not 0.0 < value <= 1.0:
                raise ValueError(f"{name} = {value} is not in (0, 1]")
        if self.split_coins < 1:
            raise ValueError(f"split_coins = {self.split_coins} is below 1")

    def build(self, state: bytes | None = None) -> Identity:
        """Return the running matcher, fresh or as it was at its ``snapshot``."""
        return Identity(self, state)


class _Shoal(msgspec.Struct, frozen=True, array_like=True):
    number: int
    name: str
    born_as_of_us: int
    parents: tuple[int, ...]
    exemplar: str


class _State(msgspec.Struct):
    schema: int
    started: bool
    next_number: int
    coin_ids: tuple[str, ...]
    shoal: bytes
    shoals: list[_Shoal]


@dataclass(frozen=True, slots=True)
class _Fit:
    """A fit whose clusters are in the order of their smallest coin id."""

    coins: tuple[str, ...]
    cluster: Int64
    exemplar: Int64


@dataclass(frozen=True, slots=True)
class _Lineage:
    """What the old shoals (rows, by number) and the new clusters (columns) have to do with each other."""

    # Rows and columns of each coin, -1 if none.
    row_of_coin: Int64
    # The old row that each column carries on, -1 if none.
    carried: Int64
    # The column into which each unmatched row went for the most part, -1 if none.
    heir: Int64
    # The row from which each fresh column split off, -1 if none.
    split_from: Int64

    def parents(self, column: int) -> list[int]:
        """Return the rows from which a fresh column comes."""
        rows = np.flatnonzero(self.heir == column).tolist()
        return sorted([*rows, *([int(self.split_from[column])] if self.split_from[column] >= 0 else [])])


class Identity:
    """Running matcher of one view's fits; see :class:`IdentityConfig`."""

    def __init__(self, config: IdentityConfig, state: bytes | None = None) -> None:
        self._config = config
        self._next_number = 1
        self._coin_ids: tuple[str, ...] = ()
        self._shoal: Int64 = np.empty(0, dtype=np.int64)
        self._shoals: list[_Shoal] = []  # the living, by number
        self._started = False
        if state is not None:
            self._restore(state)

    def match(self, as_of_us: int, coin_ids: Sequence[str], labels: npt.ArrayLike, exemplars: npt.ArrayLike) -> Matched:
        """Give the clusters of a fit their numbers. A fit that did not converge must not be passed.

        Parameters
        ----------
        as_of_us
            Time of the fit, microseconds since the epoch.
        coin_ids
            The fit's n coins, ascending without repetition.
        labels
            Cluster of each coin, int[n] in 0..k-1; -1 for none.
        exemplars
            Index of each cluster's exemplar among the coins, int[k]; it belongs to its own cluster.

        Raises
        ------
        ValueError
            If the coins are out of order, or labels and exemplars do not fit together.
        """
        fit = _canonical(_checked(tuple(coin_ids), labels, exemplars))
        lineage = self._lineage(fit)
        numbers = self._numbers(lineage.carried)
        shoal = np.append(numbers, NONE)[fit.cluster]
        # The shoals of the very first fit are no news.
        changes = self._changes(fit, lineage, numbers) if self._started else []
        shoals = self._census(as_of_us, fit, lineage, numbers)
        self._coin_ids, self._shoal, self._started = fit.coins, shoal, True
        return Matched(shoal.copy(), shoals, changes)

    def snapshot(self) -> bytes:
        """Return the state as bytes."""
        state = _State(
            _SCHEMA, self._started, self._next_number, self._coin_ids, self._shoal.tobytes(), list(self._shoals)
        )
        return msgspec.msgpack.encode(state)

    def _restore(self, raw: bytes) -> None:
        state = msgspec.msgpack.decode(raw, type=_State)
        if state.schema != _SCHEMA:
            raise ValueError(f"identity state of schema {state.schema}, this version reads {_SCHEMA}")
        self._started, self._next_number = state.started, state.next_number
        self._coin_ids, self._shoals = state.coin_ids, state.shoals
        self._shoal = np.frombuffer(state.shoal, dtype=np.int64).copy()

    def _lineage(self, fit: _Fit) -> _Lineage:
        """Match old shoals and new clusters one to one, and trace the rest."""
        config = self._config
        row_of_coin = self._rows(fit.coins)
        k_old, k_new = len(self._shoals), fit.exemplar.size
        both = (row_of_coin >= 0) & (fit.cluster >= 0)
        cell = row_of_coin[both] * k_new + fit.cluster[both]
        overlap = np.bincount(cell, minlength=k_old * k_new).reshape(k_old, k_new)
        old_size, new_size = overlap.sum(axis=1), overlap.sum(axis=0)
        jaccard = overlap / np.maximum(old_size[:, None] + new_size - overlap, 1)
        # Pairs below the threshold can't be matched, so they must not weigh in the choice among those that can.
        admitted = jaccard >= config.keep_overlap
        weight = np.where(admitted, jaccard + self._continuity(fit), 0.0)
        rows, columns = linear_sum_assignment(weight, maximize=True)
        kept = admitted[rows, columns]
        carried, heir = np.full(k_new, NONE, dtype=np.int64), np.full(k_old, NONE, dtype=np.int64)
        split_from = np.full(k_new, NONE, dtype=np.int64)
        carried[columns[kept]] = rows[kept]
        if overlap.size:
            best = overlap.argmax(axis=1)
            most = overlap[np.arange(k_old), best]
            gone = np.isin(np.arange(k_old), rows[kept], invert=True)
            went = gone & (most > 0) & (most >= config.heir_overlap * old_size)
            heir[went] = best[went]
            source = overlap.argmax(axis=0)
            taken = overlap[source, np.arange(k_new)]
            split = (carried < 0) & (taken >= config.split_coins) & (heir[source] != np.arange(k_new))
            split &= (taken >= config.heir_overlap * new_size) & (taken >= config.split_share * old_size[source])
            split_from[split] = source[split]
        return _Lineage(row_of_coin, carried, heir, split_from)

    def _rows(self, coins: tuple[str, ...]) -> Int64:
        """Return the row of each coin's shoal in the fit before, -1 if it had none or was not there."""
        before = self._shoal
        if coins != self._coin_ids:
            shoal_of = dict(zip(self._coin_ids, before.tolist(), strict=True))
            before = np.array([shoal_of.get(coin, NONE) for coin in coins], dtype=np.int64)
        numbers = np.array([entry.number for entry in self._shoals], dtype=np.int64)
        return np.where(before >= 0, np.searchsorted(numbers, before), NONE)

    def _continuity(self, fit: _Fit) -> Float64:
        """Return the bonus of each pair that shares its exemplar, or in which the old exemplar is still a member."""
        bonus = np.zeros((len(self._shoals), fit.exemplar.size))
        position = {coin: i for i, coin in enumerate(fit.coins)}
        for row, entry in enumerate(self._shoals):
            i = position.get(entry.exemplar, NONE)
            column = fit.cluster[i] if i >= 0 else NONE
            if column >= 0:
                bonus[row, column] = _SAME_EXEMPLAR if fit.exemplar[column] == i else _EXEMPLAR_INSIDE
        return bonus

    def _numbers(self, carried: Int64) -> Int64:
        """Return the number of each new cluster: the one it carries on, or the next that was never used."""
        old = np.array([*(entry.number for entry in self._shoals), NONE], dtype=np.int64)
        numbers = old[carried]
        fresh = np.flatnonzero(numbers == NONE)
        numbers[fresh] = np.arange(self._next_number, self._next_number + fresh.size)
        self._next_number += fresh.size
        return numbers

    def _changes(self, fit: _Fit, lineage: _Lineage, numbers: Int64) -> list[Change]:
        """Name where the fresh clusters come from, and what became of the shoals that nobody carries on."""
        coins, old_coins = np.array(fit.coins, dtype=object), np.array(self._coin_ids, dtype=object)
        splits: list[Change] = []
        merges: list[Change] = []
        births: list[Change] = []
        deaths: list[Change] = []

        def together(row: int, column: int) -> tuple[str, ...]:
            return tuple(coins[(lineage.row_of_coin == row) & (fit.cluster == column)])

        # Fresh numbers ascend with the column.
        for column in np.flatnonzero(lineage.carried < 0).tolist():
            number, row = int(numbers[column]), int(lineage.split_from[column])
            if row >= 0:
                splits.append(Change("split", self._shoals[row].number, number, together(row, column)))
            if not lineage.parents(column):
                births.append(Change("born", None, number, tuple(coins[fit.cluster == column])))
        for row in np.flatnonzero(np.isin(np.arange(len(self._shoals)), lineage.carried, invert=True)).tolist():
            number, column = self._shoals[row].number, int(lineage.heir[row])
            if column >= 0:
                merges.append(Change("merged", number, int(numbers[column]), together(row, column)))
            else:
                deaths.append(Change("died", number, None, tuple(old_coins[self._shoal == number])))
        return [*splits, *merges, *births, *deaths]

    def _census(self, as_of_us: int, fit: _Fit, lineage: _Lineage, numbers: Int64) -> list[ShoalInfo]:
        """Bring the register of shoals up to date; return the living and the dead of this round."""
        sizes = np.bincount(fit.cluster[fit.cluster >= 0], minlength=numbers.size)
        old = {entry.number: entry for entry in self._shoals}
        taken = {entry.name for entry in self._shoals}
        living: list[_Shoal] = []
        listed: list[ShoalInfo] = []
        for column in np.argsort(numbers).tolist():
            number, now = int(numbers[column]), fit.coins[fit.exemplar[column]]
            if number in old:
                entry = msgspec.structs.replace(old.pop(number), exemplar=now)
            else:
                parents = tuple(self._shoals[row].number for row in lineage.parents(column))
                entry = _Shoal(number, _free_name(now, taken), as_of_us, parents, now)
                taken.add(entry.name)
            living.append(entry)
            listed.append(_info(entry, int(sizes[column]), None))
        listed += [_info(entry, 0, as_of_us) for entry in old.values()]
        self._shoals = living
        return sorted(listed, key=lambda info: info.number)


def _info(entry: _Shoal, size: int, died_as_of_us: int | None) -> ShoalInfo:
    return ShoalInfo(entry.number, entry.name, size, entry.born_as_of_us, died_as_of_us, entry.parents, entry.exemplar)


def _free_name(wanted: str, taken: set[str]) -> str:
    """Return the name, with the smallest number from 2 on behind it if a living shoal has it already."""
    name, suffix = wanted, 2
    while name in taken:
        name, suffix = f"{wanted}-{suffix}", suffix + 1
    return name


def _checked(coins: tuple[str, ...], labels: npt.ArrayLike, exemplars: npt.ArrayLike) -> _Fit:
    label, exemplar = np.asarray(labels, dtype=np.int64), np.asarray(exemplars, dtype=np.int64)
    if label.shape != (len(coins),) or exemplar.ndim != 1:
        raise ValueError(f"{len(coins)} coins, labels of shape {label.shape}, exemplars of shape {exemplar.shape}")
    for one, other in itertools.pairwise(coins):
        if one >= other:
            raise ValueError(f"coin ids are not ascending: {one!r} stands before {other!r}")
    if label.size and (label.min() < NONE or label.max() >= exemplar.size):
        raise ValueError(f"labels run from {label.min()} to {label.max()}, but there are {exemplar.size} exemplars")
    if exemplar.size and (exemplar.min() < 0 or exemplar.max() >= len(coins)):
        raise ValueError(f"an exemplar is no index of one of the {len(coins)} coins")
    strays = np.flatnonzero(label[exemplar] != np.arange(exemplar.size))
    if strays.size:
        cluster = int(strays[0])
        raise ValueError(f"the exemplar of cluster {cluster} ({coins[exemplar[cluster]]}) belongs to another cluster")
    return _Fit(coins, label, exemplar)


def _canonical(fit: _Fit) -> _Fit:
    """Rename clusters in the order of their smallest coin id."""
    k = fit.exemplar.size
    member = np.flatnonzero(fit.cluster >= 0)
    first = np.full(k, len(fit.coins), dtype=np.int64)
    np.minimum.at(first, fit.cluster[member], member)
    order = np.argsort(first)
    rank = np.full(k + 1, NONE, dtype=np.int64)  # the last place is that of label -1
    rank[order] = np.arange(k)
    return _Fit(fit.coins, rank[fit.cluster], fit.exemplar[order])
