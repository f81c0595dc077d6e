"""What the page of a study says: its tiles, sections and tables, with the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dashboards.study.page import Document, Section, shown, table_block
from dashboards.study.paper import REPLICATION
from dashboards.study.planes import clusters_by_size
from flows.config import Config
from flows.study_fit import Study, agreement
from flows.study_paper import beside_the_paper
from flows.study_pictures import largest_coins
from flows.study_replication import Replication
from flows.views import PROTOTYPE_VIEWS
from models.associations import COMBINATION
from models.descriptors import top_shares

_CUT = 0.01
_RESIDUAL = 3.5
_SHOWN = 40


def summary(study: Study, config: Config) -> dict[str, Any]:
    """Return the figures of a study for its manifest."""
    del config
    heavy = study.descriptors.classes["HeavyTail"]
    return {
        "coins": len(study.coin_ids),
        "clusters": {view: len(found.exemplars) for view, found in study.views.items()},
        "sizes": {view: [len(own) for _, own in clusters_by_size(study.labels[view])] for view in PROTOTYPE_VIEWS},
        "intersections": study.cells.populated,
        "possible_intersections": study.cells.possible,
        "share_of_six_largest": round(study.cells.share_of_top(6), 6),
        "ari": {f"{a}, {b}": None if np.isnan(value) else round(value, 6) for a, b, value in agreement(study)},
        "heavy_tails": int((heavy == "heavy").sum()),
    }


def document(
    study: Study, config: Config, pictures: Mapping[str, list[str]], tables: Mapping[str, pa.Table],
    replication: Replication | None,
) -> Document:  # fmt: skip
    """Return everything that the page says.

    Parameters
    ----------
    study, config
        The study, and the settings that it was made with.
    pictures
        Blocks of HTML by section.
    tables
        The tables that were written.
    replication
        The study of a longer span beside it, if there is one.
    """
    first, last = (str(study.prices.days[i].astype("M8[D]")) for i in (0, -1))
    cells = study.cells
    tiles = [
        ("Coins", f"{len(study.coin_ids):,}"),
        ("Days", f"{len(study.prices.days):,}"),
        ("Shoals (comovement)", f"{len(study.views['comovement'].exemplars):,}"),
        ("Intersections", f"{cells.populated} of {cells.possible}"),
        ("In the six largest", f"{cells.share_of_top(6):.1%}"),
        ("Index over the span", _index_change(study)),
    ]
    sections = [
        Section("market", "The market", _market_words(study), [*pictures.get("market", []), _shares(study)]),
        *(_view_section(study, view, pictures.get(view, [])) for view in study.views),
        _combination(study, pictures.get("combination", [])),
        _associations(study, pictures.get("associations", [])),
        _screening(tables),
        beside_the_paper(study),
    ]
    if replication is not None:
        sections.append(_replication(replication))
    sections.append(_files(tables))
    return Document(
        f"Market study, {first} to {last}",
        f"{len(study.prices.coin_ids):,} coins in the input, {len(study.input.coin_ids):,} with a price on "
        f"{config.windows[0].minimum_presence:.0%} of the days or more.",
        tiles,
        sections,
        f"Made by shoal report; seed {config.seed}. The method is that of Lorenzo & Arroyo (2022), Financial "
        "Innovation 8:7, and of a tutorial on affinity propagation; what differs is in docs/study.md.",
    )


def _index_change(study: Study) -> str:
    if not np.isfinite(study.index).any():
        return "not known"
    total = float(np.nansum(study.index))
    return f"{np.expm1(total):+,.0%}"


def _share(value: float) -> str:
    return "not known" if np.isnan(value) else f"{value:.1%}"


def _market_words(study: Study) -> str:
    figures = study.views["comovement"].diagnostics
    return (
        f"The market's first factor carries {figures['first_share']:.0%} of all movement; all of it together is worth "
        f"{figures['effective_rank']:.0f} independent coins (effective rank). Pairs correlate "
        f"by {figures['mean_correlation']:.2f} on average."
    )


def _shares(study: Study) -> str:
    volume, cap = top_shares(study.volume_usd), top_shares(study.market_cap)
    rows = [(f"the {m} largest", _share(volume[m]), _share(cap[m])) for m in sorted(cap)]
    return table_block(("coins", "share of volume", "share of market cap"), rows, "How much of the market a few hold")


_INTROS = {
    "comovement": "Coins whose returns rise and fall together once the market's own movement is taken out: affinity "
    "propagation on their correlations.",
    "moments": "Coins whose returns have a like mean and deviation: K-means.",
    "distribution": "Coins whose returns are distributed alike: clustering of quantile functions by the Wasserstein "
    "distance.",
    "shape": "Coins whose series of returns have a like shape, up to a shift of a few days: density peaks under "
    "dynamic time warping.",
}


def _view_section(study: Study, view: str, pictures: list[str]) -> Section:
    found = study.views[view]
    rows: list[tuple[Any, ...]] = []
    values = {one.statistic: one.value for one in found.prototypes if len(one.value) == len(found.exemplars)}
    wanted = [name for name in values if name not in ("size", "share", "position")]
    wanted = [
        name for name in wanted if not name.startswith(("segment", "wasserstein_variance_", "minimum", "maximum"))
    ][:8]
    for number, members in clusters_by_size(study.labels[view])[:_SHOWN]:
        exemplar = found.coin_ids[found.exemplars[number]]
        own = [float(values[name][number]) for name in wanted]
        rows.append((str(number), len(members), ", ".join(largest_coins(study, members, 5)), exemplar, *own))
    names = (
        name.replace("coefficient_of_variation", "CV").replace("wasserstein_variance", "Var.Wass").replace("_", " ")
        for name in wanted
    )
    heads = ("cluster", "coins", "largest coins", "exemplar", *names)
    more = len(found.exemplars) - len(rows)
    title = f"Clusters, the largest {len(rows)} of {len(found.exemplars)}" if more > 0 else "Clusters"
    silhouette = "" if np.isnan(found.silhouette) else f" Mean silhouette {shown(found.silhouette)}."
    clusters = f"{len(found.exemplars)} clusters" if found.converged else "The fit did not converge: no clusters"
    intro = f"{_INTROS[view]} {clusters} of {len(found.coin_ids):,} coins.{silhouette}"
    return Section(view, f"{view.capitalize()}", intro, [*pictures, table_block(heads, rows, title)])


def _combination(study: Study, pictures: list[str]) -> Section:
    cells = study.cells
    rows = []
    for cell, size in zip(cells.cells, cells.sizes.tolist(), strict=True):
        members = np.flatnonzero([own == cell for own in cells.cell]).astype(np.int64)
        rows.append((cell, size, f"{size / len(cells.coin_ids):.1%}", ", ".join(largest_coins(study, members, 5))))
    pairs = [(f"{a} and {b}", value) for a, b, value in agreement(study)]
    alone = cells.alone()
    words = (
        f"A coin's cell is its cluster in {', '.join(cells.views)}. {cells.populated} of {cells.possible} cells hold a "
        f"coin, {len(cells.main())} more than 100; the six largest hold {cells.share_of_top(6):.1%} of all coins. "
        + (f"Alone in their cell: {', '.join(alone)}." if alone else "No coin is alone in its cell.")
    )
    blocks = [
        *pictures,
        table_block(("cell", "coins", "share", "largest coins"), rows, "Intersections"),
        table_block(("views", "adjusted Rand index"), pairs, "Agreement of the views (1: the same, 0: by chance)"),
    ]
    return Section("combination", "Combination", words, blocks)


def _associations(study: Study, pictures: list[str]) -> Section:
    own = {COMBINATION, *PROTOTYPE_VIEWS}
    found = [
        one for one in study.associations.significant(_CUT, _RESIDUAL)
        if COMBINATION not in (one.a, one.b) or not {one.a, one.b} <= own  # a cell goes with its own clusters
    ]  # fmt: skip
    found.sort(key=lambda one: -abs(one.residual))
    rows = [
        (
            f"{one.a} {one.level_a}",
            f"{one.b} {one.level_b}",
            one.observed,
            round(one.expected, 1),
            round(one.residual, 1),
        )
        for one in found[:_SHOWN]
    ]
    words = (
        "Whether clusters and classes of coins go together: Fisher's test by Monte Carlo over coins without a heavy "
        "tail, and adjusted residuals of the cells. Positive residuals are more coins than chance would put there."
    )
    title = f"The {len(rows)} strongest of {len(found)} cells with a residual beyond {_RESIDUAL} where p < {_CUT}"
    heads = ("level", "with", "coins", "expected", "residual")
    return Section("associations", "Associations", words, [*pictures, table_block(heads, rows, title)])


def _screening(tables: Mapping[str, pa.Table]) -> Section:
    blocks = []
    if "screen_liquid" in tables:
        found = tables["screen_liquid"]
        columns = ("coin_id", "cell", "MkCap", "Beta.value", "Sharpe.value", "HeavyTail")
        rows = [tuple(row[name] for name in columns) for row in found.select(columns).slice(0, _SHOWN).to_pylist()]
        title = (
            f"Large coins of the largest intersection, beta like the index, positive excess return: {found.num_rows}"
        )
        blocks.append(table_block(("coin", "cell", "cap class", "beta", "Sharpe", "tail"), rows, title))
    found = tables["screen_universe_associations"].to_pylist()
    rows = []
    for row in [row for row in found if not {row["a"], row["b"]} & set(PROTOTYPE_VIEWS)][:_SHOWN]:
        near = "b" if row["a"] == "combination" else "a"
        rows.append(
            (
                f"{row[near]} {row[f'level_{near}']}",
                row["observed"],
                round(row["expected"], 1),
                round(row["residual"], 1),
            )
        )
    coins = tables["screen_universe"].num_rows
    title = f"The universe of the largest intersection ({coins} coins): what is frequent or rare in it"
    blocks.append(table_block(("level", "coins", "expected", "residual"), rows, title))
    best = [(row["by"], row["level"], row["coin_id"], row["sharpe"]) for row in tables["best_sharpe"].to_pylist()]
    blocks.append(table_block(("by", "cluster", "coin", "annual Sharpe ratio"), best, "Best Sharpe ratio per cluster"))
    words = "The two uses of the paper, on the largest intersection; any other question is one call of shoal screen."
    return Section("screening", "Screening", words, blocks)


def _replication(found: Replication) -> Section:
    first, last = (str(found.second.prices.days[i].astype("M8[D]")) for i in (0, -1))
    words = (
        f"The same study of {first} to {last}: {found.common:,} coins that both spans have, the same numbers of "
        "clusters per view; capitalisation and age are those of the first span."
    )
    rows = [(view, REPLICATION[view], round(value, 4)) for view, value in found.ari.items()]
    changed = [(f"{a} and {b}", p, q) for a, b, p, q in found.changed]
    blocks = [
        table_block(("view", "paper, one year and two", "this study"), rows, "Adjusted Rand index of the two spans"),
        table_block(("pair", "p, this span", "p, longer span"), changed, "Associations that one span alone shows"),
    ]
    return Section("replication", "Replication", words, blocks)


def _files(tables: Mapping[str, pa.Table]) -> Section:
    rows = [
        (f"tables/{name}.csv and .parquet", table.num_rows, ", ".join(table.column_names))
        for name, table in tables.items()
    ]
    return Section(
        "files",
        "Tables",
        "Everything on this page, as tables beside it.",
        [table_block(("file", "rows", "columns"), rows)],
    )
