"""Associations between clusters and descriptors: Monte-Carlo tests and adjusted residuals of contingency tables.

Lorenzo & Arroyo 2022 test every pair of views, combination and classes of coins with Fisher's test by 8,000 simulated
tables and read the cells whose adjusted residual exceeds 3.5 where p < 0.01. Two statistics share the simulated
tables, which have the sums of the observed one (Patefield 1981): chi-squared, and the probability of the table
(Fisher). Both p-values are (1 + tables at least as extreme) / (simulations + 1), as in R's ``chisq.test`` and
``fisher.test``. The seed of a pair comes from its names, so that neither the order of variables, nor that of coins,
nor which other pairs are tested changes a result.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.stats import random_table

from models.intersections import Contingency, Labels, Levels, aligned, cross_table

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Missing: TypeAlias = Literal["exclude", "level"]
Statistic: TypeAlias = Literal["fisher", "chi2"]

VIEWS: Final = ("moments", "distribution", "shape")
COMBINATION: Final = "combination"
HEAVY_TAIL: Final = "HeavyTail"
HEAVY: Final = "heavy"
MISSING_LEVEL: Final = "missing"

_TOLERANCE: Final = 64 * np.finfo(np.float64).eps
_CHUNK_CELLS: Final = 1 << 20
_COLUMNS: Final = ("a", "b", "level_a", "level_b", "observed", "expected", "residual", "p_chi2", "p_fisher")


@dataclass(frozen=True, slots=True)
class AssociationSettings:
    """How associations are tested.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    simulations: int = 8_000
    missing: Missing = "exclude"
    """``exclude`` leaves a coin out of the pairs in which it lacks a label; ``level`` makes that a level of its own."""
    light_tailed_only: bool = False
    """Leave coins whose ``HeavyTail`` is ``heavy`` out of every pair but those of ``HeavyTail`` itself: so does the
    paper, as far as its numbers of coins tell (1,723 - 461 = 1,262)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.simulations < 1:
            raise ValueError(f"simulations must be at least 1, not {self.simulations}")
        if self.missing not in ("exclude", "level"):
            raise ValueError(f"missing must be exclude or level, not {self.missing!r}")
        if self.seed < 0:
            raise ValueError(f"the seed must not be negative, not {self.seed}")


@dataclass(frozen=True, slots=True)
class PairTest:
    """The test of one pair of variables; ``a`` comes before ``b`` in the alphabet."""

    counts: Contingency
    expected: Float64
    """float64[levels of a, levels of b], under independence."""
    residuals: Float64
    """float64[levels of a, levels of b], adjusted; NaN where a variable has one level only."""
    chi2: float
    p_chi2: float
    """NaN if no coin has both labels; 1 if only one table is possible."""
    p_fisher: float

    @property
    def coins(self) -> int:
        """Coins that took part."""
        return int(self.counts.table.sum())

    def p_value(self, statistic: Statistic) -> float:
        """Return the p-value of one of the two statistics."""
        if statistic not in ("fisher", "chi2"):
            raise ValueError(f"the statistic must be fisher or chi2, not {statistic!r}")
        return self.p_fisher if statistic == "fisher" else self.p_chi2


@dataclass(frozen=True, slots=True)
class Association:
    """One cell that departs from independence."""

    a: str
    b: str
    level_a: str
    level_b: str
    observed: int
    expected: float
    residual: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Associations:
    """The tests of all pairs, sorted by their names."""

    names: tuple[str, ...]
    """The variables, in the order in which they were given."""
    tests: tuple[PairTest, ...]

    def matrix(self, statistic: Statistic = "fisher") -> Float64:
        """Return the symmetric float64[names, names] of p-values; NaN for pairs not tested and on the diagonal."""
        place = {name: i for i, name in enumerate(self.names)}
        square = np.full((len(self.names), len(self.names)), np.nan)
        for test in self.tests:
            i, j = place[test.counts.a], place[test.counts.b]
            square[i, j] = square[j, i] = test.p_value(statistic)
        return square

    def significant(
        self, p_below: float = 0.01, residual_above: float = 3.5, statistic: Statistic = "fisher"
    ) -> tuple[Association, ...]:
        """Return the cells with |residual| above the cut, of the pairs whose p-value is below theirs.

        Sorted by the names of variables and levels.
        """
        found: list[Association] = []
        for test in self.tests:
            p = test.p_value(statistic)
            if not p < p_below:
                continue
            counts = test.counts
            for i, j in np.argwhere(np.abs(test.residuals) > residual_above).tolist():
                found.append(
                    Association(
                        counts.a, counts.b, counts.levels_a[i], counts.levels_b[j], int(counts.table[i, j]),
                        float(test.expected[i, j]), float(test.residuals[i, j]), p,
                    )
                )  # fmt: skip
        return tuple(sorted(found, key=lambda cell: (cell.a, cell.b, cell.level_a, cell.level_b)))

    def columns(self) -> dict[str, list[Any]]:
        """Return the columns of the table ``associations``, one row per cell, sorted by its key; None for NaN."""
        rows: list[tuple[Any, ...]] = []
        for test in self.tests:
            counts, ps = test.counts, (_known(test.p_chi2), _known(test.p_fisher))
            expected, residuals, observed = test.expected.tolist(), test.residuals.tolist(), counts.table.tolist()
            for i, level_a in enumerate(counts.levels_a):
                for j, level_b in enumerate(counts.levels_b):
                    cell = (observed[i][j], expected[i][j], _known(residuals[i][j]))
                    rows.append((counts.a, counts.b, level_a, level_b, *cell, *ps))
        rows.sort(key=lambda row: row[:4])
        return {name: [row[place] for row in rows] for place, name in enumerate(_COLUMNS)}


def study_pairs(
    names: Sequence[str], views: Collection[str] = VIEWS, heavy_tail: str = HEAVY_TAIL
) -> list[tuple[str, str]]:
    """Return the pairs that the paper tests: every pair of variables, heavy tails with the views only."""
    return [
        (a, b) for a, b in itertools.combinations(names, 2)
        if heavy_tail not in (a, b) or a in views or b in views
    ]  # fmt: skip


def associate(
    variables: Mapping[str, Labels],
    coin_ids: Sequence[str],
    settings: AssociationSettings | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
) -> Associations:
    """Test pairs of variables of the same coins for association.

    Parameters
    ----------
    variables
        For each name the labels of the n coins: integers (negative is missing) or strings (None or empty is missing).
    coin_ids
        Ids of the n coins.
    settings
        Simulations, seed, missing labels; None: the defaults.
    pairs
        Which pairs, in any order; None: those of :func:`study_pairs`.

    Raises
    ------
    ValueError
        If lengths differ, an id stands twice, labels are no labels, a pair names no variable or one twice, or light
        tails are asked for and ``HeavyTail`` is not among the variables.
    """
    settings = settings or AssociationSettings()
    coded, _ = aligned(variables, coin_ids)
    if settings.missing == "level":
        coded = {name: _with_missing(name, levels) for name, levels in coded.items()}
    light = _light_tailed(coded) if settings.light_tailed_only else coded
    chosen: set[tuple[str, str]] = set()
    for a, b in study_pairs(list(variables)) if pairs is None else pairs:
        unknown = [name for name in (a, b) if name not in coded]
        if unknown or a == b:
            raise ValueError(f"the pair {(a, b)} must name two of the variables {', '.join(coded)}")
        chosen.add((min(a, b), max(a, b)))
    tests: list[PairTest] = []
    for a, b in sorted(chosen):
        taken = coded if HEAVY_TAIL in (a, b) else light
        counts = cross_table(a, taken[a], b, taken[b])
        tests.append(association_test(counts, settings.simulations, pair_seed(a, b, settings.seed)))
    return Associations(tuple(variables), tuple(tests))


def association_test(counts: Contingency, simulations: int = 8_000, seed: int = 0) -> PairTest:
    """Test one contingency table.

    Parameters
    ----------
    counts
        The table; levels without a coin count for nothing and should be left out.
    simulations
        Number of random tables with the same sums.
    seed
        Of the generator of tables.
    """
    table = counts.table
    if table.ndim != 2 or (table < 0).any():
        raise ValueError(f"the table of {counts.a!r} and {counts.b!r} must be a matrix of counts")
    n = int(table.sum())
    if n == 0:
        return PairTest(counts, np.zeros(table.shape), np.full(table.shape, np.nan), math.nan, math.nan, math.nan)
    expected, residuals = expectation(table)
    chi2, p_chi2, p_fisher = _monte_carlo(table, expected, simulations, seed)
    return PairTest(counts, expected, residuals, chi2, p_chi2, p_fisher)


def expectation(table: Int64) -> tuple[Float64, Float64]:
    """Return the counts expected under independence and the adjusted residuals of a table.

    Returns
    -------
    expected : float64[r, c]
        Row sum x column sum / n.
    residuals : float64[r, c]
        (observed - expected) / sqrt(expected (1 - row share) (1 - column share)): about standard normal under
        independence (Haberman 1973; R's ``stdres``). NaN where a level holds all coins or none.
    """
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    n = int(table.sum())
    expected = np.outer(rows, columns) / n
    variance = expected * np.outer(1.0 - rows / n, 1.0 - columns / n)
    residuals = np.full(table.shape, np.nan)
    np.divide(table - expected, np.sqrt(variance), out=residuals, where=variance > 0.0)
    return expected, residuals


def pair_seed(a: str, b: str, seed: int = 0) -> int:
    """Return a seed that depends on the two names and ``seed``, not on the order of the names."""
    text = "\x1f".join([str(seed), *sorted((a, b))])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


def _monte_carlo(table: Int64, expected: Float64, simulations: int, seed: int) -> tuple[float, float, float]:
    n = int(table.sum())
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1.0, n + 1.0)))])
    inside = np.ix_(table.sum(axis=1) > 0, table.sum(axis=0) > 0)
    observed, mean = np.ascontiguousarray(table[inside]), np.ascontiguousarray(expected[inside])
    chi2, logs = _statistics(observed[None], mean, log_factorial)
    if 1 in observed.shape:
        return float(chi2[0]), 1.0, 1.0
    # as R has it: what differs by rounding only is as extreme as the observed table
    chi2_cut, log_cut = chi2[0] * (1.0 - _TOLERANCE), logs[0] / (1.0 + _TOLERANCE)
    distribution = random_table(observed.sum(axis=1), observed.sum(axis=0))
    rng = np.random.default_rng(seed)
    above_chi2 = above_log = 0
    chunk = max(_CHUNK_CELLS // observed.size, 1)
    for start in range(0, simulations, chunk):
        tables = distribution.rvs(size=min(chunk, simulations - start), method="patefield", random_state=rng)
        simulated_chi2, simulated_logs = _statistics(np.asarray(tables, dtype=np.int64), mean, log_factorial)
        above_chi2 += int((simulated_chi2 >= chi2_cut).sum())
        above_log += int((simulated_logs >= log_cut).sum())
    return float(chi2[0]), (1 + above_chi2) / (simulations + 1), (1 + above_log) / (simulations + 1)


@njit(cache=True)
def _statistics(tables: Int64, expected: Float64, log_factorial: Float64) -> tuple[Float64, Float64]:
    """Return chi-squared and the sum of ln(cell!) of each of int64[m, r, c] tables; rarer tables have larger sums."""
    chi2, logs = np.zeros(len(tables)), np.zeros(len(tables))
    for m in range(len(tables)):
        for i in range(expected.shape[0]):
            for j in range(expected.shape[1]):
                gap = tables[m, i, j] - expected[i, j]
                chi2[m] += gap * gap / expected[i, j]
                logs[m] += log_factorial[tables[m, i, j]]
    return chi2, logs


def _light_tailed(coded: dict[str, Levels]) -> dict[str, Levels]:
    if HEAVY_TAIL not in coded:
        raise ValueError(f"light_tailed_only needs the variable {HEAVY_TAIL}; given are {', '.join(coded)}")
    tail = coded[HEAVY_TAIL]
    heavy = np.array([*(name == HEAVY for name in tail.names), False])[tail.codes]
    return {name: Levels(np.where(heavy, -1, levels.codes), levels.names) for name, levels in coded.items()}


def _with_missing(name: str, levels: Levels) -> Levels:
    if not (levels.codes < 0).any():
        return levels
    if MISSING_LEVEL in levels.names:
        raise ValueError(f"{name!r} has a level called {MISSING_LEVEL!r}, which names what is missing")
    return Levels(np.where(levels.codes < 0, len(levels.names), levels.codes), (*levels.names, MISSING_LEVEL))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
