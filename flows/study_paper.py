"""The figures of a study beside those of the paper, in one table."""

from __future__ import annotations

from dashboards.study.page import Section, shown, table_block
from dashboards.study.paper import FIGURES
from dashboards.study.planes import clusters_by_size
from flows.study_fit import Study, agreement
from flows.study_input import Float64, Int64
from flows.views import PROTOTYPE_VIEWS

_CUT = 0.01


def beside_the_paper(study: Study) -> Section:
    """Return the section of the page that compares what can be compared."""
    ours = _ours(study)
    rows = [(what, paper, ours[key]) for key, what, paper in FIGURES]
    words = (
        "Lorenzo & Arroyo studied 1,723 coins in 2018. Another market and another year: what may be compared is the "
        "picture, not the digits. Clusters are listed from the largest on."
    )
    return Section("paper", "Beside the paper", words, [table_block(("", "paper, 2018", "this study"), rows)])


def _ours(study: Study) -> dict[str, str]:
    cells, total = study.cells, len(study.coin_ids)
    tails = study.descriptors.classes["HeavyTail"]
    heavy, known = int((tails == "heavy").sum()), bool((tails != None).any())  # noqa: E711 an array of objects
    order: dict[str, list[tuple[int, Int64]]] = {view: clusters_by_size(study.labels[view]) for view in PROTOTYPE_VIEWS}
    value: dict[str, dict[str, Float64]] = {
        view: {one.statistic: one.value for one in study.views[view].prototypes} for view in PROTOTYPE_VIEWS
    }

    def sizes(view: str) -> str:
        return ", ".join(f"{len(own):,} ({len(own) / total:.0%})" for _, own in order[view])

    def listed(view: str, statistic: str) -> str:
        return ", ".join(shown(round(float(value[view][statistic][number]), 5)) for number, _ in order[view])

    moments = value["moments"]
    means = [
        f"{shown(round(float(moments['mean'][i]), 5))} ({shown(round(float(moments['deviation'][i]), 3))})"
        for i, _ in order["moments"]
    ]
    medoids = study.views["shape"]
    diagnostics = study.views["moments"].diagnostics
    pairs = [one for one in study.associations.tests if one.p_fisher < _CUT]
    return {
        "coins": f"{total:,}; {total - heavy:,} in the tests of association",
        "hopkins": shown(diagnostics.get("hopkins")),
        "moments_sizes": sizes("moments"),
        "moments_means": ", ".join(means),
        "moments_runs": shown(diagnostics.get("ensemble_dissimilarity")),
        "distribution_sizes": sizes("distribution"),
        "distribution_means": listed("distribution", "mean"),
        "distribution_deviations": listed("distribution", "deviation"),
        "distribution_cv": listed("distribution", "coefficient_of_variation"),
        "distribution_kurtosis": listed("distribution", "kurtosis"),
        "distribution_variance": listed("distribution", "wasserstein_variance"),
        "shape_sizes": sizes("shape"),
        "shape_medoids": ", ".join(medoids.coin_ids[medoids.exemplars[number]] for number, _ in order["shape"]),
        "shape_distances": listed("shape", "distance_mean"),
        "cells": f"{cells.populated} of {cells.possible}",
        "six": f"{cells.share_of_top(6):.1%}",
        "main": f"{len(cells.main())}",
        "alone": ", ".join(cells.alone()) or "none",
        "ari": shown(round(max(v for a, b, v in agreement(study) if a != "comovement"), 4)),
        "heavy": f"{heavy} ({heavy / total:.1%})" if known else "not known: the span is too short",
        "associated": f"{len(pairs)} of {len(study.associations.tests)} pairs; " + _technology(study),
    }


def _technology(study: Study) -> str:
    names = [name for name in study.associations.names if name in ("Algorithm", "ProofType")]
    if not names:
        return "technologies are not known"
    with_views = [
        f"{one.counts.a} with {one.counts.b}"
        for one in study.associations.tests
        if one.p_fisher < _CUT and {one.counts.a, one.counts.b} & set(names)
    ]
    return ", ".join(with_views) or "no technology with anything"
