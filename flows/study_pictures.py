"""The pictures of a study: which of its arrays go into which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from dashboards.study import alluvial, charts, maps, planes
from dashboards.study import prototypes as drawings
from flows.config import Config
from flows.study_fit import VIEWS, Study
from flows.study_input import Int64, Times
from flows.study_map import caps, map_of, market_map, partials
from flows.views import PROTOTYPE_VIEWS
from models.comovement import EDGE_THRESHOLD

LARGEST: Final = 8
"""Coins that are named beside a prototype."""

_MOST_NAMES: Final = 60
_STATISTICS: Final = (
    ("mean", "mean"), ("deviation", "deviation"), ("median", "median"), ("skewness", "skewness"),
    ("kurtosis", "kurtosis"), ("wasserstein_variance", "Var.Wass"),
)  # fmt: skip
_PLANE: Final = {
    "comovement": "Shoals of coins that move together lie anywhere: what they share is not their mean or deviation. "
    "The eight largest are drawn.",
    "moments": "K-means on exactly these two features: its clusters are cells of this plane.",
    "distribution": "Whole distributions are clustered: spread decides most of it.",
    "shape": "Series that rise and fall alike, up to a shift of a few days.",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a study and how to draw it."""

    name: str
    section: str
    title: str
    caption: str
    draw: Callable[[], Figure]


def pictures(study: Study, config: Config, top: int) -> Iterator[Picture]:
    """Yield the pictures in the order of the page; each is drawn when it is asked for.

    Parameters
    ----------
    study, config
        The study, and the settings that it was made with.
    top
        Coins on the market map and in the grid of charts.
    """
    yield from _market(study, config, top)
    plane = study.plane()
    for view in VIEWS:
        yield Picture(
            f"plane-{view}", view, f"The {view} view on the volatility-return plane", _PLANE[view],
            lambda view=view: planes.plane(study.coin_ids, plane, study.labels[view], study.market_cap),  # type: ignore[misc]
        )  # fmt: skip
        if view == "distribution":
            yield Picture(
                "prototypes", view, "Prototypes and their largest coins",
                "The mean quantile function of each cluster, drawn as a density; all on one scale.",
                lambda: drawings.prototypes(distribution_prototypes(study)),
            )  # fmt: skip
        if view == "shape":
            yield Picture(
                "medoids", view, "Medoids, their span and its quarters",
                "The coin at the middle of each cluster: its returns, their density, a violin per quarter.",
                lambda: drawings.medoids(medoid_series(study), quarters(study.prices.days[1:])),
            )  # fmt: skip
    yield Picture(
        "alluvial", "combination", "How the views divide the same coins",
        "Bands are coins of one cluster on the left that are in one cluster on the right.",
        lambda: alluvial.alluvial(PROTOTYPE_VIEWS, study.labels),
    )  # fmt: skip
    yield Picture(
        "intersections", "combination", "Intersections by size",
        f"A cell is named by its clusters in {', '.join(PROTOTYPE_VIEWS)}; those with more than 100 coins are dark.",
        lambda: charts.share_bars(study.cells.cells, study.cells.sizes.tolist(), study.cells.possible),
    )  # fmt: skip
    yield Picture(
        "associations", "associations", "Associations of views and classes",
        "p-values of Fisher's test by simulated tables; coloured below .01. "
        "Coins with a heavy tail take part in the last row alone.",
        lambda: charts.association_matrix(study.associations.names, study.associations.matrix()),
    )  # fmt: skip


def _market(study: Study, config: Config, top: int) -> Iterator[Picture]:
    small = map_of(study.input, config, top)
    covariance = config.windows[0].comovement.covariance
    shown = market_map(small, covariance, caps(study.input.coin_ids, study.input.market_cap))
    place = {coin: i for i, coin in enumerate(study.input.coin_ids)}
    closes = study.input.closes[:, [place[coin] for coin in shown.coin_ids]]
    yield Picture(
        "prices", "market", f"Prices of the {len(shown.coin_ids)} largest coins",
        "By market capitalisation, each on its own logarithmic scale; the change is that of the whole span.",
        lambda: charts.price_grid(shown.coin_ids, closes),
    )  # fmt: skip
    note = (
        "Colour is the shoal, size the part of a coin's movement that no other coin explains; the strongest edges are "
        "red, those between shoals grey and dashed."
    )
    yield Picture("map", "market", "Market map", note, lambda: maps.flat(shown, _MOST_NAMES))
    yield Picture("map-3d", "market", "Market map in space", note, lambda: maps.solid(shown, _MOST_NAMES))
    yield Picture(
        "partial-correlations", "market", "Partial correlations of the whole market",
        "What two coins share that no third one explains; the dark bars would be edges of the tutorial.",
        lambda: charts.partial_histogram(partials(study.network, covariance), EDGE_THRESHOLD),
    )  # fmt: skip


def largest_coins(study: Study, members: Int64, count: int = LARGEST) -> list[str]:
    """Return the largest of some coins by market capitalisation, equal ones by id."""
    order = np.argsort(-np.nan_to_num(study.market_cap[members]), kind="stable")[:count]
    return [study.coin_ids[members[i]] for i in order.tolist()]


def distribution_prototypes(study: Study) -> list[drawings.DistributionPrototype]:
    """Return the prototypes of the distribution view, the largest cluster first."""
    view = study.views["distribution"]
    values = {one.statistic: one for one in view.prototypes}
    curve = values["quantile"]
    out = []
    for number, members in planes.clusters_by_size(study.labels["distribution"]):
        own = curve.label == number
        statistics = [(title, float(values[name].value[number])) for name, title in _STATISTICS]
        out.append(
            drawings.DistributionPrototype(
                number, len(members), curve.position[own], curve.value[own], statistics, largest_coins(study, members)
            )
        )
    return out


def medoid_series(study: Study) -> list[drawings.MedoidSeries]:
    """Return the medoids of the shape view, the largest cluster first."""
    view = study.views["shape"]
    curve = next(one for one in view.prototypes if one.statistic == "medoid_return")
    return [
        drawings.MedoidSeries(
            number, len(members), view.coin_ids[view.exemplars[number]], curve.value[curve.label == number],
            largest_coins(study, members, 5),
        )
        for number, members in planes.clusters_by_size(study.labels["shape"])
    ]  # fmt: skip


def quarters(days: Times) -> list[tuple[str, slice]]:
    """Return names and rows of the quarters of the returns' days; of a longer span, the last four quarters."""
    month = days.astype("datetime64[M]").astype(np.int64)
    number = month // 3
    out = []
    for one in np.unique(number)[-4:].tolist():
        rows = np.flatnonzero(number == one)
        out.append((f"{1970 + one // 4} Q{one % 4 + 1}", slice(int(rows[0]), int(rows[-1]) + 1)))
    return out
