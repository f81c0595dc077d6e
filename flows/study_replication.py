"""A study repeated on a longer span: the same coins, the same number of clusters, and how far they agree."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa

from flows.config import Config
from flows.study_fit import Extras, Study, fit_study
from flows.study_input import DailyPrices
from flows.views import PROTOTYPE_VIEWS
from models.partitions import adjusted_rand


@dataclass(frozen=True, slots=True)
class Replication:
    """Both studies over the coins that both have."""

    first: Study
    second: Study
    common: int
    ari: dict[str, float]
    """Adjusted Rand index of the first span's labels against the second's, by view."""
    changed: tuple[tuple[str, str, float, float], ...]
    """Pairs whose association (p < .01) is in one of the spans alone: names, p of the first, p of the second."""

    def figures(self) -> dict[str, object]:
        """Return the numbers for the manifest."""
        return {"coins": self.common, "ari": {view: round(value, 6) for view, value in self.ari.items()}}

    def tables(self) -> dict[str, pa.Table]:
        """Return the tables ``replication`` and ``replication_associations``."""
        columns = list(zip(*self.changed, strict=True)) if self.changed else [(), (), (), ()]
        kinds = (pa.utf8(), pa.utf8(), pa.float64(), pa.float64())
        names = ("a", "b", "p_first", "p_second")
        return {
            "replication": pa.table({"view": list(self.ari), "ari": list(self.ari.values())}),
            "replication_associations": pa.table(
                {name: pa.array(list(columns[i]), kinds[i]) for i, name in enumerate(names)}
            ),
        }


def replicate(
    study: Study, longer: DailyPrices, config: Config, extras: Extras, say: Callable[[str], None]
) -> Replication:
    """Repeat a study on another span of the same coins.

    The number of clusters per view, market capitalisation and age are those of the first span; returns, volume, beta
    and the Sharpe ratio are computed anew.

    Raises
    ------
    ValueError
        If fewer than two coins are in both spans.
    """
    window = config.windows[0]
    same = {
        view: msgspec.structs.replace(getattr(window, view), clusters=len(study.views[view].exemplars))
        for view in PROTOTYPE_VIEWS
    }
    fixed = msgspec.structs.replace(config, windows=(msgspec.structs.replace(window, **same),))
    market_cap = dict(zip(study.coin_ids, study.market_cap.tolist(), strict=True))
    second = fit_study(longer, fixed, extras, say, only=frozenset(study.coin_ids), market_cap=market_cap)
    place = {coin: i for i, coin in enumerate(study.coin_ids)}
    at = np.array([place[coin] for coin in second.coin_ids], dtype=np.int64)
    ari: dict[str, float] = {
        view: adjusted_rand(study.labels[view][at], second.labels[view]) for view in PROTOTYPE_VIEWS
    }
    return Replication(study, second, len(at), ari, _changed(study, second))


def _changed(first: Study, second: Study, cut: float = 0.01) -> tuple[tuple[str, str, float, float], ...]:
    before = {(one.counts.a, one.counts.b): one.p_fisher for one in first.associations.tests}
    after = {(one.counts.a, one.counts.b): one.p_fisher for one in second.associations.tests}
    return tuple(
        (a, b, before[a, b], after[a, b])
        for a, b in sorted(before.keys() & after.keys())
        if math.isfinite(before[a, b] + after[a, b]) and (before[a, b] < cut) != (after[a, b] < cut)
    )
