"""Composition of behaviours at each boundary, with its price regime, drift and events."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from bytewax.operators import StatefulBatchLogic
from typing_extensions import override

from connectors.schema import Batch, time_us
from connectors.tables import BEHAVIOURS
from flows.config import DAY_US, Behaviour, interval_us
from flows.items import Float64, Gauge, Int64, Priced, ShardLabels, Timed, Trained
from flows.results import Rows, drift_rows, event_rows, make_rows
from models.addresses import SHARDS
from models.composition import entropy, jensen_shannon
from models.detectors import DetectorConfig
from models.regime import price_regime

_SCHEMA = 2
_ABSENT = "absent"


@dataclass(slots=True)
class _State:
    schema: int
    labels: dict[int, dict[int, ShardLabels]] = field(default_factory=dict)
    trained: dict[int, Timed] = field(default_factory=dict)
    closes: dict[int, tuple[str, float]] = field(default_factory=dict)  # with the partition that it is from
    price_watermarks_us: dict[str, int] = field(default_factory=dict)
    shares: Float64 | None = None
    regime: str = "unknown"
    detector: bytes | None = None


class ComposeLogic(StatefulBatchLogic[ShardLabels | Timed | Priced, Rows | Gauge, bytes]):
    """Sums up the shards of one chain; emits rows of the chain's result tables in order of ``as_of``.

    Parameters
    ----------
    chain, window
        Names in the tables.
    config
        The behaviour section.
    prices
        Names of the partitions with prices; without any the regime is ``unknown`` and nothing is waited for.
    state
        What :meth:`snapshot` returned, or None.
    """

    def __init__(self, chain: str, window: str, config: Behaviour, prices: Sequence[str], state: bytes | None) -> None:
        self._chain, self._window, self._config = chain, window, config
        self._prices = tuple(prices)
        self._state: _State = pickle.loads(state) if state is not None else _State(_SCHEMA)  # noqa: S301 our own snapshot
        if self._state.schema != _SCHEMA:
            raise ValueError(f"composition state of schema {self._state.schema} does not fit schema {_SCHEMA}")
        self._detector = DetectorConfig().build(self._state.detector)

    @override
    def on_batch(self, values: list[ShardLabels | Timed | Priced]) -> tuple[Iterable[Rows | Gauge], bool]:
        state = self._state
        for value in values:
            if isinstance(value, ShardLabels):
                state.labels.setdefault(value.boundary.as_of_us, {})[value.shard] = value
            elif isinstance(value, Priced):
                self._price(value.partition, value.batch)
            else:
                state.trained[value.trained.boundary.as_of_us] = value
        return list(self._compose()), self.RETAIN

    @override
    def snapshot(self) -> bytes:
        self._state.detector = self._detector.snapshot()
        return pickle.dumps(self._state)

    def _price(self, partition: str, batch: Batch) -> None:
        state = self._state
        names = self._config.regime.assets.get(self._chain, ())
        symbols = batch.rows.column("symbol").to_pylist() if batch.kind == "bars" else []
        if symbols:
            closes = batch.rows.column("close").to_pylist()
            for at_us, symbol, close in zip(
                time_us(batch.rows.column("ts_close")).tolist(), symbols, closes, strict=True
            ):
                if symbol in names and (at_us not in state.closes or partition < state.closes[at_us][0]):
                    state.closes[at_us] = (partition, close)
        before = state.price_watermarks_us.get(partition, -1)
        state.price_watermarks_us[partition] = max(before, batch.watermark_us)

    def _compose(self) -> Iterator[Rows | Gauge]:
        state = self._state
        while state.trained:
            as_of_us = min(state.trained)
            shards = state.labels.get(as_of_us, {})
            if len(shards) < SHARDS or not self._price_known(as_of_us):
                return
            timed = state.trained.pop(as_of_us)
            yield from self._rows(timed, [state.labels[as_of_us][shard] for shard in range(SHARDS)])
            del state.labels[as_of_us]

    def _close_us(self, as_of_us: int) -> int:
        """Return the time of the last close at or before ``as_of_us``."""
        every = interval_us(self._config.regime.close_every)
        return as_of_us // every * every

    def _price_known(self, as_of_us: int) -> bool:
        """Say whether every partition has passed the close: a watermark just before it still lets rows of it come."""
        watermarks = self._state.price_watermarks_us
        return all(watermarks.get(name, -1) >= self._close_us(as_of_us) for name in self._prices)

    def _regime(self, as_of_us: int) -> tuple[str, list[float]]:
        """Name the direction of the chain's price over the lookback; ``unknown`` where there is none."""
        config, state = self._config.regime, self._state
        last = self._close_us(as_of_us)
        first = last - round(config.lookback_days * DAY_US)
        every = interval_us(config.close_every)
        state.closes = {at: close for at, close in state.closes.items() if at >= first - every}
        closes = [close for at, (_, close) in sorted(state.closes.items()) if first <= at <= last and at % every == 0]
        return price_regime(np.array(closes), config.rising_above, config.falling_below), closes

    def _rows(self, timed: Timed, shards: list[ShardLabels]) -> Iterator[Rows | Gauge]:
        trained, seconds = timed.trained, timed.seconds
        at = {"as_of": trained.boundary.as_of_us, "chain": self._chain, "window": self._window}
        network = trained.network
        yield make_rows(
            "networks",
            {
                **at,
                "nodes": network.nodes,
                "edges": network.edges,
                "density": network.density,
                "reciprocity": network.reciprocity,
                "assortativity": network.assortativity,
                "components": network.components,
                "largest_component": network.largest_component,
                "clustering": network.clustering,
                "noisy_share": trained.noisy_share,
                "exponent_degree": trained.exponent_degree,
                "exponent_value": trained.exponent_value,
                "window_fill": trained.boundary.fill,
            },
        )
        yield make_rows(
            "timings",
            {"as_of": at["as_of"], "job": "train", "window": self._window, "view": self._chain, "seconds": seconds},
        )
        regime, closes = self._regime(trained.boundary.as_of_us)
        if regime != self._state.regime:
            evidence = {
                "asset": self._chain,
                "before": self._state.regime,
                "closes": len(closes),
                "now": regime,
            }
            yield event_rows(self._where(at), "price_regime", evidence)
            self._state.regime = regime
        if trained.model is not None:
            where = (("chain", self._chain), ("window", self._window))
            yield Gauge("shoal_behaviour_misclassified_ratio", where, trained.model.report.misclassified)
            yield Gauge("shoal_behaviour_silhouette", where, trained.model.report.silhouette)
            yield from self._composition(at, regime, trained, shards)

    def _composition(
        self, at: dict[str, object], regime: str, trained: Trained, shards: list[ShardLabels]
    ) -> Iterator[Rows]:
        counts: Int64 = np.sum([shard.counts for shard in shards], axis=0)
        share = counts / max(1, int(counts.sum()))
        as_of_us = trained.boundary.as_of_us
        yield make_rows(
            "composition",
            {
                **at,
                "regime": regime,
                "event": self._period(as_of_us),
                "behaviour": list(BEHAVIOURS),
                "entities": counts,
                "share": share,
            },
        )
        before = self._state.shares
        js = float("nan") if before is None else jensen_shannon(before, share)
        yield make_rows("behaviour_drift", {**at, "js": js, "entropy": entropy(share)})
        self._state.shares = share
        moved = [shard.transitions for shard in shards if shard.transitions is not None]
        if moved:
            yield self._transitions(at, np.sum(moved, axis=0))
        for name, value in zip(BEHAVIOURS, share.tolist(), strict=True):
            alarm = self._detector.update(name, value)
            if alarm is not None:
                yield drift_rows(self._where(at), f"share of {name}", alarm)

    def _transitions(self, at: dict[str, object], moved: Int64) -> Rows:
        names = [*BEHAVIOURS, _ABSENT]
        pairs = [(i, j) for i in range(len(names)) for j in range(len(names)) if i != len(names) - 1 or j != i]
        return make_rows(
            "transitions",
            {
                **at,
                "from": [names[i] for i, _ in pairs],
                "to": [names[j] for _, j in pairs],
                "entities": np.array([moved[i, j] for i, j in pairs], dtype=np.int64),
            },
        )

    def _where(self, at: dict[str, object]) -> dict[str, object]:
        """Return where an event of this chain stands in the table of both branches: the chain is its view."""
        return {"as_of": at["as_of"], "window": self._window, "view": self._chain}

    def _period(self, as_of_us: int) -> str | None:
        """Return the first named period that holds the day of ``as_of_us``."""
        day = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=as_of_us)).date()
        return next((period.name for period in self._config.events if period.from_ <= day <= period.to), None)
