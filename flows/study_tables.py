"""The tables of a study, as Arrow tables: each is written as CSV and as Parquet.

Columns are those of the result tables (:mod:`connectors.tables`) without ``window``, which is the whole span, and
with what a person needs beside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from flows.study_fit import VIEWS, Study, agreement
from flows.views import PROTOTYPE_VIEWS
from models.descriptors import top_shares
from models.intersections import alluvial
from models.screening import best_sharpe, cell_universe, coin_table, liquid_coins


def tables(study: Study) -> dict[str, pa.Table]:
    """Return every table of a study by name."""
    links = alluvial({view: study.labels[view] for view in PROTOTYPE_VIEWS}).links()
    a, b, strength = study.network.edges
    ids = study.network.coin_ids
    place = study.network.embedding
    return {
        "fits": _fits(study),
        "memberships": _memberships(study),
        "prototypes": _prototypes(study),
        "intersections": _intersections(study),
        "agreement": _rows(agreement(study), ("view_a", "view_b", "ari")),
        "descriptors": pa.table(_typed(study.descriptors.columns())),
        "associations": pa.table(_typed(study.associations.columns())),
        "p_values": _p_values(study),
        "edges": pa.table(
            {
                "coin_a": [ids[i] for i in a.tolist()],
                "coin_b": [ids[i] for i in b.tolist()],
                "partial_correlation": strength,
            }
        ),
        "embedding": pa.table({"coin_id": list(ids), "x": place[:, 0], "y": place[:, 1], "z": place[:, 2]}),
        "alluvial": pa.table(links),
        "top_shares": _top_shares(study),
        "excluded": _excluded(study),
        "coins": as_table(coins(study)),
        **screenings(study),
    }


def screenings(study: Study) -> dict[str, pa.Table]:
    """Return the paper's two uses of the screening, and the best Sharpe ratio of each cluster."""
    table = coins(study)
    universe = cell_universe(table, study.associations)
    best = []
    for column in (*PROTOTYPE_VIEWS, "cell"):
        rows = best_sharpe(table, column)
        best += [
            (column, level, coin, ratio)
            for level, coin, ratio in zip(rows[column], rows["coin_id"], rows["Sharpe.value"], strict=True)
        ]
    found = [
        (one.a, one.level_a, one.b, one.level_b, one.observed, one.expected, one.residual, one.p_value)
        for one in universe.associations
    ]
    names = ("a", "level_a", "b", "level_b", "observed", "expected", "residual", "p_fisher")
    screened = {}
    if {"Beta", "MkCap"} <= table.keys():
        screened["screen_liquid"] = as_table(liquid_coins(table))
    return {
        **screened,
        "screen_universe": as_table(universe.coins),
        "screen_universe_associations": _rows(found, names),
        "best_sharpe": _rows(best, ("by", "level", "coin_id", "sharpe")),
    }


def coins(study: Study) -> dict[str, Any]:
    """Return the coin table that screening works on."""
    return coin_table(study.descriptors, study.cells, {view: study.labels[view] for view in PROTOTYPE_VIEWS})


def as_table(columns: dict[str, Any]) -> pa.Table:
    """Return a coin table as Arrow: texts as strings, values as numbers."""
    return pa.table(
        {
            name: pa.array(values.tolist(), pa.utf8())
            if values.dtype == np.object_
            else pa.array(values, from_pandas=True)
            for name, values in columns.items()
        }
    )


def write(found: dict[str, pa.Table], folder: Path) -> None:
    """Write each table as CSV and as Parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in found.items():
        pc.write_csv(table, folder / f"{name}.csv", pc.WriteOptions(quoting_style="needed"))
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")


def _rows(rows: list[tuple[Any, ...]], names: tuple[str, ...]) -> pa.Table:
    if not rows:
        return pa.table({name: pa.array([], pa.utf8()) for name in names})
    return pa.table({name: pa.array([row[i] for row in rows], from_pandas=True) for i, name in enumerate(names)})


def _typed(columns: dict[str, list[Any]]) -> dict[str, pa.Array]:
    """Return columns whose type does not hang on their values."""
    kinds = {"value": pa.float64(), "class": pa.utf8(), "residual": pa.float64(), "p_chi2": pa.float64(),
             "p_fisher": pa.float64()}  # fmt: skip
    return {name: pa.array(values, kinds.get(name)) for name, values in columns.items()}


def _fits(study: Study) -> pa.Table:
    rows = []
    for view in VIEWS:
        found = study.views[view]
        own = (len(found.exemplars), found.converged, found.iterations, found.silhouette, len(found.coin_ids))
        figures = "; ".join(f"{name} {value:.6g}" for name, value in found.diagnostics.items())
        rows.append((view, *own, len(found.excluded), figures))
    names = ("view", "clusters", "converged", "iterations", "silhouette", "coins", "excluded", "diagnostics")
    return _rows(rows, names)


def _memberships(study: Study) -> pa.Table:
    """Return one row per coin with its label in every view, its cell, and how far it is from its prototypes."""
    columns: dict[str, Any] = {"coin_id": list(study.coin_ids), "cell": list(study.cells.cell)}
    for view in VIEWS:
        labels = study.labels[view]
        found = study.views[view]
        exemplars = {found.coin_ids[i] for i in found.exemplars.tolist()}
        columns[view] = pa.array(labels, mask=labels < 0)
        for name in ("distance", "silhouettes"):
            title = f"{view}_{name.removesuffix('s')}"
            columns[title] = pa.array(study.of_view(view, getattr(found, name)), from_pandas=True)
        columns[f"{view}_is_exemplar"] = [coin in exemplars for coin in study.coin_ids]
    plane = study.plane()
    columns |= {"mean": plane[:, 0], "deviation": plane[:, 1]}
    columns["market_cap_usd"] = pa.array(study.market_cap, from_pandas=True)
    columns["volume_usd"] = pa.array(study.volume_usd, from_pandas=True)
    return pa.table(columns)


def _prototypes(study: Study) -> pa.Table:
    parts = []
    for view in VIEWS:
        found = study.views[view]
        for one in found.prototypes:
            order = np.lexsort((one.position, one.label))
            n = len(order)
            columns = {
                "view": [view] * n,
                "shoal": one.label[order].astype(np.int64),
                "exemplar": [found.coin_ids[found.exemplars[i]] for i in one.label[order].tolist()],
                "statistic": [one.statistic] * n,
                "position": one.position[order],
                "value": pa.array(one.value[order], from_pandas=True),
            }
            parts.append(pa.table(columns))
    return pa.concat_tables(parts).combine_chunks()


def _intersections(study: Study) -> pa.Table:
    cells = study.cells
    total = int(cells.sizes.sum())
    return pa.table(
        {
            "rank": list(range(1, cells.populated + 1)),
            "cell": list(cells.cells),
            "coins": cells.sizes,
            "share": cells.sizes / total,
            "running_share": np.cumsum(cells.sizes) / total,
            "is_main": [cell in cells.main() for cell in cells.cells],
            "alone": [
                cells.members(cell)[0] if n == 1 else None
                for cell, n in zip(cells.cells, cells.sizes.tolist(), strict=True)
            ],
        }
    )


def _p_values(study: Study) -> pa.Table:
    matrix = study.associations.matrix()
    columns: dict[str, Any] = {"variable": list(study.associations.names)}
    columns |= {name: pa.array(matrix[:, i], from_pandas=True) for i, name in enumerate(study.associations.names)}
    return pa.table(columns)


def _top_shares(study: Study) -> pa.Table:
    volume, cap = top_shares(study.volume_usd), top_shares(study.market_cap)
    rows = [(m, volume[m], cap[m]) for m in sorted(cap)]
    return _rows(rows, ("coins", "share_of_volume", "share_of_market_cap"))


def _excluded(study: Study) -> pa.Table:
    rows = [(view, coin, why) for view in VIEWS for coin, why in study.views[view].excluded.items()]
    return _rows(rows, ("view", "coin_id", "reason"))
