"""Rows of the market branch's result tables."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from flows.items import Float64, Int64, PanelReady
from flows.results import Rows, make_rows
from flows.views import Fit
from models.comovement import ComovementFit
from models.identity import NONE, Matched
from models.membership import Update
from models.view import Prototype


def no_shoal(n: int) -> Int64:
    """Return "none" for n coins."""
    return np.full(n, NONE, dtype=np.int64)


def _or_null(numbers: Int64) -> pa.Array:
    return pa.array(numbers, mask=numbers == NONE)


def shoal_rows(where: dict[str, object], matched: Matched) -> Rows:
    """Return the shoals as they stand after a fit, those that died with it once more."""
    infos = matched.shoals
    return make_rows(
        "shoals",
        {
            **where,
            "shoal": [info.number for info in infos],
            "name": [info.name for info in infos],
            "size": [info.size for info in infos],
            "born_as_of": [info.born_as_of_us for info in infos],
            "died_as_of": [info.died_as_of_us for info in infos],
            "parents": [list(info.parents) for info in infos],
        },
    )


def membership_rows(
    where: dict[str, object], fit: Fit, matched: Matched | None, update: Update, recent: Float64
) -> Rows:
    """Return what a fit says of each of its coins."""
    is_exemplar = np.zeros(len(fit.coin_ids), dtype=bool)
    is_exemplar[fit.exemplars] = fit.converged
    return make_rows(
        "memberships",
        {
            **where,
            "coin_id": list(fit.coin_ids),
            "shoal": _or_null(no_shoal(len(fit.coin_ids)) if matched is None else matched.shoal),
            "home": _or_null(update.home),
            "margin": update.margin,
            "distance": fit.distance,
            "is_exemplar": pa.array(is_exemplar),
            "coverage": recent,
        },
    )


def edge_rows(at: dict[str, object], fit: ComovementFit) -> Rows:
    """Return the network's edges, ends in order of name."""
    a, b, rho = fit.edges
    names = np.array(fit.coin_ids, dtype=object)
    return make_rows("edges", {**at, "coin_a": names[a], "coin_b": names[b], "partial_correlation": rho})


def coverage_rows(window: str, panel: PanelReady) -> Rows:
    """Return the coverage ledger of a window."""
    counts = panel.counts
    return make_rows(
        "coverage",
        {
            "as_of": panel.as_of_us,
            "window": window,
            "coin_id": list(counts.coin_ids),
            "expected": np.full(len(counts.coin_ids), counts.expected),
            "received": counts.received,
            "missing": counts.expected - counts.received,
            "duplicate": counts.duplicate,
            "late": counts.late,
        },
    )


def fit_row(where: dict[str, object], panel: PanelReady, fit: Fit) -> Rows:
    """Return what describes a fit as a whole."""
    return make_rows(
        "fits",
        {
            **where,
            "clusters": len(fit.exemplars) if fit.converged else None,
            "converged": fit.converged,
            "iterations": fit.iterations,
            "silhouette": fit.silhouette,
            "coins": len(fit.coin_ids),
            "coverage": float(panel.coverage.mean()),
        },
    )


def prototype_rows(where: dict[str, object], prototypes: tuple[Prototype, ...], number: Int64) -> Rows:
    """Return the statistics of the prototypes; ``number`` int64[k] is the shoal of each label."""
    return make_rows(
        "prototypes",
        {
            **where,
            "shoal": np.concatenate([number[part.label] for part in prototypes]),
            "statistic": [part.statistic for part in prototypes for _ in range(len(part.label))],
            "position": np.concatenate([part.position for part in prototypes]),
            "value": np.concatenate([part.value for part in prototypes]),
        },
    )
