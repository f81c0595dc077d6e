"""Associations against R: contingency, chi-squared, adjusted residuals, Monte-Carlo p-values, adjusted Rand index.

The reference is ``chisq.test(simulate.p.value = TRUE, B = 8000)``, its ``stdres`` and ``expected``,
``fisher.test(simulate.p.value = TRUE, B = 8000)`` and mclust's ``adjustedRandIndex``.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.associations import AssociationSettings, associate, expectation
from models.intersections import agreement

pytestmark = pytest.mark.data

SIMULATIONS = 8_000


def reference(golden: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]], list[str]]:
    """Return the results of R and two partitions that have its table."""
    expected: dict[str, Any] = json.loads((golden / "R_assoc_ari.json").read_text())
    table = np.array(expected["table"])
    row, column = np.nonzero(table)
    labels = {"a": np.repeat(row, table[row, column]), "b": np.repeat(column, table[row, column])}
    return expected, labels, [f"coin-{i:04d}" for i in range(table.sum())]


def test_table_and_residuals(golden: Path) -> None:
    """Tolerance 1e-12, absolute and relative."""
    expected, labels, coins = reference(golden)
    test = associate(labels, coins, AssociationSettings(simulations=1)).tests[0]
    assert test.counts.table.tolist() == expected["table"]
    assert test.coins == 1_053
    assert test.chi2 == pytest.approx(expected["chisq_stat"], rel=1e-12)
    np.testing.assert_allclose(test.expected, expected["expected"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(test.residuals, expected["stdres"], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(expectation(test.counts.table)[1], test.residuals)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_monte_carlo_p_values(golden: Path, seed: int) -> None:
    """Two shares of 8,000 tables differ by at most four standard deviations of their difference."""
    expected, labels, coins = reference(golden)
    test = associate(labels, coins, AssociationSettings(SIMULATIONS, seed=seed)).tests[0]
    for ours, theirs in ((test.p_chi2, expected["chisq_mc_p"]), (test.p_fisher, expected["fisher_mc_p"])):
        assert ours == pytest.approx(theirs, abs=4.0 * math.sqrt(2.0 * theirs * (1.0 - theirs) / SIMULATIONS))
        assert ours * (SIMULATIONS + 1) == pytest.approx(round(ours * (SIMULATIONS + 1)), abs=1e-6)


def test_adjusted_rand_index(golden: Path) -> None:
    """The partitions of the reference's K-means with 3 and 5 clusters; tolerance 1e-12."""
    expected, labels, _ = reference(golden)
    k_means = json.loads((golden / "R_kmeans_clue_meanstd.json").read_text())
    found = agreement({"k3": k_means["k3"]["hw_cl"], "k5": k_means["k5"]["hw_cl"]})
    assert found["ari"] == pytest.approx([expected["ari_k3_k5"]], abs=1e-12)
    # the residual of the only coin of a cluster exceeds the cut where p does
    cells = associate(labels, [str(i) for i in range(len(labels["a"]))]).significant()
    assert [(cell.level_a, cell.level_b, cell.observed) for cell in cells] == [("1", "4", 1)]
