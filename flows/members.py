"""Fits to identities, memberships, drift and events: the rows of the market branch's result tables."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from bytewax.operators import StatefulBatchLogic
from typing_extensions import override

from flows.config import Config, Window
from flows.items import Float64, Int64, PanelReady, ViewLabels
from flows.market_rows import edge_rows, fit_row, membership_rows, no_shoal, prototype_rows, shoal_rows
from flows.results import Rows, drift_rows, event_rows, make_rows
from flows.views import Fit, Fitted
from models.comovement import ComovementFit
from models.detectors import DetectorConfig
from models.embedding import align
from models.evidence import nearness
from models.identity import IdentityConfig, Matched
from models.membership import MembershipConfig, Round
from models.partitions import churn, compare

_SCHEMA = 1


@dataclass(slots=True)
class _State:
    schema: int
    identity: bytes | None = None
    membership: bytes | None = None
    detector: bytes | None = None
    coin_ids: tuple[str, ...] = ()
    shoal: Int64 | None = None
    map_coins: tuple[str, ...] = ()
    map_points: Float64 | None = None


class MembersLogic(StatefulBatchLogic[Fitted, Rows | ViewLabels, bytes]):
    """Follows one view of one window from fit to fit.

    Parameters
    ----------
    window, view
        The window's configuration and the name of the view.
    config
        The whole configuration (membership rules).
    state
        What :meth:`snapshot` returned, or None.
    """

    def __init__(self, window: Window, view: str, config: Config, state: bytes | None) -> None:
        self._window, self._view = window, view
        self._state: _State = pickle.loads(state) if state is not None else _State(_SCHEMA)  # noqa: S301 our own snapshot
        if self._state.schema != _SCHEMA:
            raise ValueError(f"membership state of schema {self._state.schema} does not fit schema {_SCHEMA}")
        rules = config.membership
        self._identity = IdentityConfig().build(self._state.identity)
        self._detector = DetectorConfig().build(self._state.detector)
        self._membership = MembershipConfig(
            leave_margin=rules.leave_margin,
            return_margin=rules.return_margin,
            smoothing_bars=rules.smoothing_bars,
            cooldown_bars=rules.cooldown_bars,
            coverage_floor=rules.coverage_floor,
            outcome_bars=rules.outcome_bars,
        ).build(self._state.membership)

    @override
    def on_batch(self, values: list[Fitted]) -> tuple[Iterable[Rows | ViewLabels], bool]:
        return [rows for fitted in values for rows in self._follow(fitted)], self.RETAIN

    @override
    def snapshot(self) -> bytes:
        self._state.identity = self._identity.snapshot()
        self._state.membership = self._membership.snapshot()
        self._state.detector = self._detector.snapshot()
        return pickle.dumps(self._state)

    def _follow(self, fitted: Fitted) -> Iterator[Rows | ViewLabels]:
        panel, fit, Z = fitted.panel, fitted.result.fit, fitted.result.Z
        at = {"as_of": panel.as_of_us, "window": self._window.name}
        where = {**at, "view": self._view}
        took_part = np.searchsorted(np.array(panel.input.coin_ids), np.array(fit.coin_ids))
        recent = panel.recent_coverage[took_part]
        yield fit_row(where, panel, fit)
        yield make_rows("timings", {**where, "job": "fit", "seconds": fitted.seconds})
        matched = self._match(panel.as_of_us, fit)
        update = self._membership.update(_round(panel, fit, Z, matched, recent))
        if matched is not None:
            yield shoal_rows(where, matched)
        yield membership_rows(where, fit, matched, update, recent)
        yield from self._drift(where, fit, matched)
        for event in update.events:
            yield event_rows(
                where, event.kind, event.evidence, event.coin_id, event.shoal_from, event.shoal_to, event.margin
            )
        if isinstance(fit, ComovementFit):
            yield edge_rows(at, fit)
            yield from self._map(at, fit)
        elif matched is not None and fit.prototypes:
            yield prototype_rows(where, fit.prototypes, matched.shoal[fit.exemplars])
        shoal = no_shoal(len(fit.coin_ids)) if matched is None else matched.shoal
        yield ViewLabels(panel.as_of_us, self._view, fit.coin_ids, shoal)

    def _match(self, as_of_us: int, fit: Fit) -> Matched | None:
        """Give the fit's clusters their lasting numbers; a fit that did not converge has none."""
        if not fit.converged:
            return None
        return self._identity.match(as_of_us, fit.coin_ids, fit.labels, fit.exemplars)

    def _drift(self, where: dict[str, object], fit: Fit, matched: Matched | None) -> Iterator[Rows]:
        """Compare with the fit before, over the coins that both hold; events when the series itself shifts."""
        state = self._state
        columns = {"ari": np.nan, "ami": np.nan, "vi": np.nan, "churn": np.nan}
        if matched is not None and state.shoal is not None:
            _, before, after = np.intersect1d(
                np.array(state.coin_ids), np.array(fit.coin_ids), assume_unique=True, return_indices=True
            )
            a, b = state.shoal[before], matched.shoal[after]
            drift = compare(a, b)
            columns = {"ari": drift.ari, "ami": drift.ami, "vi": drift.vi, "churn": churn(a, b)}
        if matched is not None:
            state.coin_ids, state.shoal = fit.coin_ids, matched.shoal
        rank, density = (fit.effective_rank, fit.edge_density) if isinstance(fit, ComovementFit) else (np.nan, np.nan)
        yield make_rows("drift", {**where, **columns, "effective_rank": rank, "edge_density": density})
        alarm = self._detector.update("ari", columns["ari"])
        if alarm is not None:
            yield drift_rows(where, "ari", alarm)

    def _map(self, at: dict[str, object], fit: ComovementFit) -> Iterator[Rows]:
        """Turn the map so that it lies like the one before."""
        state = self._state
        _, here, there = np.intersect1d(
            np.array(fit.coin_ids), np.array(state.map_coins), assume_unique=True, return_indices=True
        )
        points = align(fit.embedding, state.map_points, (here, there))
        state.map_coins, state.map_points = fit.coin_ids, points
        columns = {name: points[:, i] for i, name in enumerate("xyz")}
        yield make_rows("embedding", {**at, "coin_id": list(fit.coin_ids), **columns})


def _round(panel: PanelReady, fit: Fit, Z: Float64, matched: Matched | None, recent: Float64) -> Round:
    """Put together what membership judges: by correlation, or by distance to prototypes where a view has them."""
    near: Float64 | None = None
    mode: Float64 | None = None
    if isinstance(fit, ComovementFit):
        mode = fit.market_correlation**2
    elif matched is not None:
        near = nearness(fit.distances)[:, np.argsort(matched.shoal[fit.exemplars], kind="stable")]
    return Round(
        as_of_us=panel.as_of_us,
        bar=panel.bar,
        coin_ids=fit.coin_ids,
        shoal=no_shoal(len(fit.coin_ids)) if matched is None else matched.shoal,
        Z=Z,
        converged=matched is not None,
        coverage=recent,
        names={} if matched is None else matched.names,
        alive=() if matched is None else matched.alive,
        changes=() if matched is None else tuple(matched.changes),
        mode_share=mode,
        nearness=near,
    )
