"""Association tests against scipy, against exact probabilities, and their invariants."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, fisher_exact, hypergeom, random_table

from models import associations as module
from models.associations import (
    AssociationSettings,
    associate,
    association_test,
    expectation,
    pair_seed,
    study_pairs,
)
from models.intersections import Contingency

Int64 = npt.NDArray[np.int64]
FEW = AssociationSettings(simulations=200)


def counts(table: Any) -> Contingency:
    cells: Int64 = np.array(table, dtype=np.int64)
    rows, columns = (tuple(map(str, range(size))) for size in cells.shape)
    return Contingency("a", "b", rows, columns, cells, 0, 0)


def market(seed: int, coins: int = 60) -> tuple[dict[str, Any], list[str]]:
    rng = np.random.default_rng(seed)
    moments = rng.integers(-1, 3, coins)
    beta = np.where(rng.random(coins) < 0.6, moments, rng.integers(-1, 3, coins))
    variables = {
        "moments": moments,
        "Beta": [None if x < 0 else f"class {x}" for x in beta.tolist()],
        "shape": rng.integers(0, 2, coins),
        "HeavyTail": rng.choice(["heavy", "light"], coins).tolist(),
    }
    return variables, [f"coin-{i}" for i in rng.permutation(coins)]


def sampling_error(p: float, simulations: int) -> float:
    """Four standard deviations of a share, and the 1 that is added to both of its sides."""
    return 4.0 * math.sqrt(p * (1.0 - p) / simulations) + 1.0 / simulations


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 5))
def test_residuals_and_expectation_are_their_definitions(seed: int, rows: int, columns: int) -> None:
    table = np.random.default_rng(seed).integers(1, 9, (rows, columns))
    expected, residuals = expectation(table)
    assert expected == pytest.approx(chi2_contingency(table, correction=False).expected_freq, rel=1e-12)
    n = table.sum()
    for i, j in np.ndindex(rows, columns):
        variance = expected[i, j] * (1 - table[i].sum() / n) * (1 - table[:, j].sum() / n)
        assert residuals[i, j] == pytest.approx((table[i, j] - expected[i, j]) / math.sqrt(variance), rel=1e-10)
    found = association_test(counts(table), 1)
    assert found.chi2 == pytest.approx(chi2_contingency(table, correction=False).statistic, rel=1e-10)


@pytest.mark.parametrize("table", [[[3, 1], [1, 3]], [[8, 2], [1, 5]], [[20, 30], [25, 26]], [[0, 7], [6, 1]]])
def test_fisher_of_two_by_two_is_exact_up_to_sampling(table: list[list[int]]) -> None:
    exact = float(fisher_exact(table).pvalue)
    found = association_test(counts(table), 40_000)
    assert found.p_fisher == pytest.approx(exact, abs=sampling_error(exact, 40_000))


def test_chi_squared_of_two_by_two_is_exact_up_to_sampling() -> None:
    table = np.array([[8, 2], [1, 5]])
    law = hypergeom(16, 9, 10)
    observed = chi2_contingency(table, correction=False).statistic
    exact = 0.0
    for first in range(3, 10):
        other = np.array([[first, 10 - first], [9 - first, first - 3]])
        if chi2_contingency(other, correction=False).statistic >= observed - 1e-9:
            exact += float(law.pmf(first))
    assert association_test(counts(table), 40_000).p_chi2 == pytest.approx(exact, abs=sampling_error(exact, 40_000))


def test_both_p_values_are_shares_of_the_same_random_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.array([[4, 1, 0], [2, 6, 3]])
    expected, _ = expectation(table)
    law = random_table(table.sum(axis=1), table.sum(axis=0))
    tables = law.rvs(500, method="patefield", random_state=np.random.default_rng(9))
    log_factorial = np.vectorize(math.lgamma)(np.arange(20) + 1.0)
    chi2 = ((tables - expected) ** 2 / expected).sum(axis=(1, 2))
    logs = log_factorial[tables].sum(axis=(1, 2))
    own_chi2, own_log = ((table - expected) ** 2 / expected).sum(), log_factorial[table].sum()
    found = association_test(counts(table), 500, 9)
    assert found.p_chi2 == (1 + int((chi2 >= own_chi2 - 1e-9).sum())) / 501
    assert found.p_fisher == (1 + int((logs >= own_log - 1e-9).sum())) / 501
    monkeypatch.setattr(module, "_CHUNK_CELLS", 60)  # ten tables at a time
    again = association_test(counts(table), 500, 9)
    assert (again.p_chi2, again.p_fisher) == (found.p_chi2, found.p_fisher)


def test_p_values_of_unrelated_variables_are_even() -> None:
    rng = np.random.default_rng(5)
    variables = {f"v{i:02d}": rng.integers(0, 3, 200) for i in range(16)}
    found = associate(variables, [f"{i:03d}" for i in range(200)], AssociationSettings(simulations=400))
    for statistic in ("fisher", "chi2"):
        p = found.matrix(statistic)[np.triu_indices(16, 1)]
        assert p.mean() == pytest.approx(0.5, abs=0.12)
        assert (p < 0.25).mean() == pytest.approx(0.25, abs=0.15)
        assert (p > 0.75).mean() == pytest.approx(0.25, abs=0.15)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_no_order_changes_a_result(seed: int) -> None:
    variables, coins = market(seed)
    rng = np.random.default_rng(seed)
    first = associate(variables, coins, FEW)
    order, names = rng.permutation(len(coins)), rng.permutation(sorted(variables)).tolist()
    moved: dict[str, Any] = {name: [list(variables[name])[i] for i in order] for name in names}
    moved = {name: np.array(own) if name in ("moments", "shape") else own for name, own in moved.items()}
    again = associate(moved, [coins[i] for i in order], FEW)
    assert json.dumps(first.columns()) == json.dumps(again.columns())
    alone = associate(variables, coins, FEW, [("shape", "moments")])
    assert alone.matrix()[0, 2] == first.matrix()[0, 2]
    assert pair_seed("a", "b", 1) == pair_seed("b", "a", 1) != pair_seed("a", "b", 2)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_rows_are_sorted_unique_and_sum_to_the_coins_with_both_labels(seed: int) -> None:
    variables, coins = market(seed)
    found = associate(variables, coins, FEW)
    columns = found.columns()
    keys = list(zip(columns["a"], columns["b"], columns["level_a"], columns["level_b"], strict=True))
    assert keys == sorted(set(keys))
    assert all(a < b for a, b, *_ in keys)
    present = {name: [x is not None and x != -1 for x in own] for name, own in variables.items()}
    for test in found.tests:
        both = sum(map(lambda x, y: x and y, present[test.counts.a], present[test.counts.b]))
        rows = [i for i, key in enumerate(keys) if key[:2] == (test.counts.a, test.counts.b)]
        assert sum(columns["observed"][i] for i in rows) == both == test.coins
        assert sum(columns["expected"][i] for i in rows) == pytest.approx(both)
        assert {columns["p_chi2"][i] for i in rows} == {test.p_chi2}
    square = found.matrix()
    np.testing.assert_array_equal(square, square.T)
    assert np.isnan(square.diagonal()).all()
    assert ((square[~np.isnan(square)] > 0) & (square[~np.isnan(square)] <= 1)).all()


def test_pairs_of_the_study() -> None:
    names = ("moments", "combination", "Beta", "HeavyTail")
    assert study_pairs(names) == [
        ("moments", "combination"), ("moments", "Beta"), ("moments", "HeavyTail"), ("combination", "Beta"),
    ]  # fmt: skip
    assert len(study_pairs(list("abc"))) == 3


def test_significant_cells_need_both_cuts() -> None:
    coins = [f"{i:03d}" for i in range(90)]
    same = associate({"a": [0] * 30 + [1] * 60, "b": ["x"] * 30 + ["y"] * 60}, coins, FEW)
    cells = same.significant()
    assert [(cell.level_a, cell.level_b, cell.observed) for cell in cells] == [
        ("0", "x", 30), ("0", "y", 0), ("1", "x", 0), ("1", "y", 60),
    ]  # fmt: skip
    assert cells[0].residual == pytest.approx(math.sqrt(90))
    assert cells[1].residual == pytest.approx(-math.sqrt(90))
    assert cells[0].p_value == pytest.approx(1 / 201)
    assert same.significant(residual_above=10.0) == ()
    assert same.significant(p_below=1 / 201) == ()
    assert len(same.significant(p_below=0.006, statistic="chi2")) == 4
    with pytest.raises(ValueError, match="fisher or chi2"):
        same.significant(statistic="exact")  # type: ignore[arg-type]


def test_missing_labels_are_left_out_by_pair_or_a_level() -> None:
    coins = [f"{i:02d}" for i in range(8)]
    variables: dict[str, Any] = {"a": [0, 0, 1, 1, -1, 0, 1, -1], "b": ["x", "y", "x", None, "x", "y", "", None]}
    out = associate(variables, coins, FEW).tests[0]
    assert out.counts.levels_a == ("0", "1")
    assert out.counts.table.tolist() == [[1, 2], [1, 0]]
    level = associate(variables, coins, AssociationSettings(50, "level")).tests[0]
    assert level.counts.levels_a == ("0", "1", "missing")
    assert level.counts.levels_b == ("x", "y", "missing")
    assert level.counts.table.tolist() == [[1, 2, 0], [1, 0, 2], [1, 0, 1]]
    whole = associate({"a": [0, 1], "b": [0, 1]}, ["x", "y"], AssociationSettings(50, "level")).tests[0]
    assert whole.counts.levels_a == ("0", "1")  # nobody is missing
    with pytest.raises(ValueError, match="'a' has a level called 'missing'"):
        associate({"a": ["missing", None], "b": [0, 1]}, ["x", "y"], AssociationSettings(50, "level"))


@given(st.integers(0, 2**32 - 1))
def test_heavy_tails_can_be_left_out_of_all_pairs_but_their_own(seed: int) -> None:
    variables, coins = market(seed)
    few = AssociationSettings(20)
    found = associate(variables, coins, AssociationSettings(20, light_tailed_only=True))
    light = [i for i, tail in enumerate(variables["HeavyTail"]) if tail == "light"]
    part: dict[str, Any] = {name: [own[i] for i in light] for name, own in variables.items()}
    part = {name: np.array(own) if name in ("moments", "shape") else own for name, own in part.items()}
    own = associate(part, [coins[i] for i in light], few)
    everyone = associate(variables, coins, few)
    for test, among_light, among_all in zip(found.tests, own.tests, everyone.tests, strict=True):
        expected = among_all if "HeavyTail" in (test.counts.a, test.counts.b) else among_light
        assert test.counts.table.tolist() == expected.counts.table.tolist()
        assert (test.p_chi2, test.p_fisher) == (expected.p_chi2, expected.p_fisher)
    with pytest.raises(ValueError, match="needs the variable HeavyTail"):
        associate({"a": [0], "b": [0]}, ["x"], AssociationSettings(light_tailed_only=True))


def test_degenerate_tables() -> None:
    coins = ["x", "y", "z"]
    one = associate({"a": [0, 0, 0], "b": [0, 1, 1]}, coins, FEW)
    assert (one.tests[0].p_chi2, one.tests[0].p_fisher) == (1.0, 1.0)  # only one table is possible
    assert one.columns()["residual"] == [None, None]
    none = associate({"a": [0, -1, -1], "b": [None, "x", "y"]}, coins, FEW)
    assert math.isnan(none.tests[0].p_fisher)
    assert none.tests[0].coins == 0
    assert none.columns()["a"] == []
    assert none.significant() == ()
    assert associate({}, [], FEW).matrix().shape == (0, 0)
    assert associate({"a": [], "b": []}, [], FEW).tests[0].coins == 0
    distinct = associate({"a": [0, 1, 2], "b": [0, 1, 2]}, coins, FEW).tests[0]  # every table has one probability
    assert (distinct.p_chi2, distinct.p_fisher) == (1.0, 1.0)
    # levels that nobody has are no part of the simulation, but a caller may keep their rows
    padded = association_test(counts([[3, 0, 1], [0, 0, 0], [1, 0, 3]]), 300, 4)
    plain = association_test(counts([[3, 1], [1, 3]]), 300, 4)
    assert (padded.p_chi2, padded.p_fisher) == (plain.p_chi2, plain.p_fisher)
    assert np.isnan(padded.residuals[1]).all()


@pytest.mark.parametrize(
    ("variables", "pairs", "says"),
    [
        ({"a": [0, 1], "b": [0]}, None, "'b' labels 1 coins"),
        ({"a": [0, 1], "b": [0.5, 1]}, None, "labels of 'b'"),
        ({"a": [0, 1], "b": [0, 1]}, [("a", "c")], "must name two of the variables a, b"),
        ({"a": [0, 1], "b": [0, 1]}, [("a", "a")], "must name two"),
    ],
)
def test_bad_input_is_named(variables: dict[str, Any], pairs: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        associate(variables, ["x", "y"], FEW, pairs)


@pytest.mark.parametrize(
    ("change", "says"), [({"simulations": 0}, "simulations"), ({"missing": "drop"}, "missing"), ({"seed": -1}, "seed")]
)
def test_bad_settings_are_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        AssociationSettings(**change)


def test_a_table_of_negative_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' and 'b' must be a matrix of counts"):
        association_test(counts([[1, -1], [1, 1]]))


def test_every_pair_is_tested_once() -> None:
    variables, coins = market(1)
    found = associate(variables, coins, FEW, [("moments", "Beta"), ("Beta", "moments")])
    assert [(test.counts.a, test.counts.b) for test in found.tests] == [("Beta", "moments")]
    everything = list(itertools.combinations(variables, 2))
    assert len(associate(variables, coins, FEW, everything).tests) == len(everything) == 6
