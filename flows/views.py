"""The views of a window: which settings each takes from the configuration, and the job that fits it in the pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

from flows.config import Config, View, Window
from flows.items import Float64, PanelReady
from models.comovement import ComovementConfig, ComovementFit, fit
from models.distribution import DistributionConfig
from models.moments import MomentsConfig
from models.prepare import prepare
from models.shape import ShapeConfig
from models.view import ViewFit

PrototypeConfig: TypeAlias = MomentsConfig | DistributionConfig | ShapeConfig
Fit: TypeAlias = ComovementFit | ViewFit

PROTOTYPE_VIEWS: Final[tuple[View, ...]] = ("moments", "distribution", "shape")
"""Views that go on from the fit before: their fits run one after the other."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """A fit, the standardised returns that evidence is drawn from, and the state that the next fit starts from."""

    fit: Fit
    Z: Float64
    state: bytes | None


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fit with the panel that it was made of and the seconds it took, in order of ``as_of``."""

    panel: PanelReady
    result: FitResult
    seconds: float


def comovement_config(config: Config, window: Window) -> ComovementConfig:
    """Return the settings of the view ``comovement`` in a window."""
    view = window.comovement
    return ComovementConfig(
        covariance=view.covariance,
        preference_quantile=view.preference_quantile,
        damping=view.damping,
        max_iterations=view.max_iterations,
        edges_per_coin=view.edges_per_coin,
        market_mode=window.market_mode,
        returns=window.returns,
        winsorise_quantile=window.winsorise_quantile,
        duplicates_above_correlation=config.universe.duplicates_above_correlation,
        exclude=config.universe.exclude,
        size=config.universe.size,
        seed=config.seed,
    )


def prototype_config(view: View, config: Config, window: Window) -> PrototypeConfig:
    """Return the settings of a prototype view in a window."""
    section = {"moments": window.moments, "distribution": window.distribution, "shape": window.shape}[view]
    settings: dict[str, Any] = {
        **msgspec.structs.asdict(section),
        "returns": window.returns,
        "winsorise_quantile": window.winsorise_quantile,
        "duplicates_above_correlation": config.universe.duplicates_above_correlation,
        "exclude": config.universe.exclude,
        "size": config.universe.size,
        "seed": config.seed,
    }
    if view == "moments":
        return MomentsConfig(**settings)
    if view == "distribution":
        return DistributionConfig(**settings)
    # between two refits all series have changed: there are no distances to keep
    return ShapeConfig(**settings, precision="float32", keep_distances="no")


def fit_comovement(panel: PanelReady, config: ComovementConfig) -> FitResult:
    """Fit one panel (in a process of the pool)."""
    found = fit(panel.input, config)
    return FitResult(found, found.Z, None)


def fit_prototypes(job: tuple[PanelReady, bytes | None], config: PrototypeConfig) -> FitResult:
    """Fit one panel from the state that the fit before left behind (in a process of the pool)."""
    panel, state = job
    view = config.build(state)
    found = view.fit(panel.input)
    return FitResult(found, prepare(panel.input, config, keep_flat=True).Z, view.snapshot())
