"""The suite of ``check_clusterer`` on every view; a new view is one more line in ``VIEWS``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from models.comovement import ComovementConfig
from models.distribution import DistributionConfig
from models.moments import MomentsConfig
from models.shape import ShapeConfig
from tests.conformance.check_clusterer import CHECKS, Clusterer

VIEWS = {
    "comovement": Clusterer(ComovementConfig, days_may_be_permuted=True),
    "comovement, market kept": Clusterer(lambda: ComovementConfig(market_mode="keep"), days_may_be_permuted=True),
    "moments": Clusterer(lambda: MomentsConfig(audit_every_fits=4), days_may_be_permuted=True),
    "moments, number chosen": Clusterer(lambda: MomentsConfig(clusters=0, audit_every_fits=3, runs=3)),
    "moments, as published": Clusterer(lambda: MomentsConfig(clusters=0, as_published=True, runs=3), least_price=0.0),
    "distribution": Clusterer(lambda: DistributionConfig(audit_every_fits=4), days_may_be_permuted=True),
    "distribution, number chosen": Clusterer(lambda: DistributionConfig(clusters=0, audit_every_fits=3)),
    "distribution, segments": Clusterer(lambda: DistributionConfig(segments=4)),
    "distribution, as published": Clusterer(lambda: DistributionConfig(as_published=True), days_may_be_permuted=True),
    "shape": Clusterer(ShapeConfig),
    "shape, number chosen": Clusterer(lambda: ShapeConfig(clusters=0, choose_every_fits=3)),
    "shape, distances kept": Clusterer(lambda: ShapeConfig(series="residual", keep_distances="snapshot")),
    "shape, nearest medoid": Clusterer(lambda: ShapeConfig(assignment="nearest", precision="float32")),
    "shape, as published": Clusterer(lambda: ShapeConfig(clusters=0, as_published=True), least_price=0.0),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", VIEWS)
def test_conforms(name: str, check: Callable[[Clusterer], None]) -> None:
    check(VIEWS[name])
