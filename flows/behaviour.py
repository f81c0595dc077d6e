"""The chain branch behind the ledger: panes per shard, training in the pool, classification per shard, composition."""

from __future__ import annotations

import datetime as dt
import logging
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from bytewax.operators import StatefulBatchLogic
from typing_extensions import override

from connectors.tables import BEHAVIOURS
from flows.config import Behaviour, Chain
from flows.items import Boundary, Int64, ShardItem, ShardLabels, ShardReady, Timed, Trained
from flows.ledger import bucket_us
from flows.looks import Looks
from flows.pool import InOrder, Pool
from flows.results import Rows, make_rows
from models.addresses import SHARDS
from models.behaviour import BehaviourConfig, BehaviourModel, train
from models.composition import shares, transitions
from models.features import FEATURES, TOTAL_VALUE, features, noisy
from models.network import network
from models.panes import PaneConfig
from models.powerlaw import exponent_continuous, exponent_discrete

_log = logging.getLogger("shoal")

UNIT: Final = {"ethereum": 1e18, "bitcoin": 1e8}
_NOISY_SHARE: Final = 0.01


class PanesLogic(StatefulBatchLogic[ShardItem, ShardReady, bytes]):
    """The panes of one shard; emits the shard's window at every boundary."""

    def __init__(self, config: Behaviour, state: bytes | None) -> None:
        self._keep_addresses = config.write_entities
        longest = 31 * 86_400_000_000 if config.window is not None else config.window_us
        self._panes = PaneConfig(bucket_us=bucket_us(config), window_us=longest).build(state)

    @override
    def on_batch(self, values: list[ShardItem]) -> tuple[Iterable[ShardReady], bool]:
        out: list[ShardReady] = []
        for value in values:
            if not isinstance(value.item, Boundary):
                self._panes.apply(value.item)
                continue
            window = self._panes.window(value.item.start_us, value.item.end_us)
            addresses = self._panes.addresses(window.keys).to_pylist() if self._keep_addresses else None
            out.append(ShardReady(value.item, value.shard, window, addresses))
            self._panes.evict(value.item.start_us)
        return out, self.RETAIN

    @override
    def snapshot(self) -> bytes:
        return self._panes.snapshot()


@dataclass(frozen=True, slots=True)
class TrainJob:
    """All shards of one boundary, and how to train."""

    boundary: Boundary
    shards: tuple[ShardReady, ...]
    behaviour: BehaviourConfig
    minimum_entities: int
    seed: int


def run_training(job: TrainJob) -> Trained:
    """Compute a window's network and, if there are entities enough, its model (in a process of the pool)."""
    windows = [ready.window for ready in sorted(job.shards, key=lambda ready: ready.shard)]
    X = np.concatenate([features(window, UNIT[job.boundary.chain]) for window in windows])
    lifetime = np.concatenate([window.lifetime for window in windows])
    transacted = float(X[:, TOTAL_VALUE].sum()) / 2.0  # each transfer stands at two entities
    is_noisy = noisy(lifetime, X[:, TOTAL_VALUE], _NOISY_SHARE, transacted=transacted)
    kept = X[~is_noisy]
    degree, value = X[:, 0], X[:, TOTAL_VALUE]
    positive = value[value > 0]
    return Trained(
        boundary=job.boundary,
        model=_model(kept, job),
        network=network(
            np.concatenate([window.edges_from for window in windows]),
            np.concatenate([window.edges_to for window in windows]),
            np.concatenate([window.edges_count for window in windows]),
            seed=job.seed,
        ),
        entities=len(X),
        noisy_share=float(is_noisy.mean()) if len(X) else float("nan"),
        exponent_degree=exponent_discrete(degree).alpha,
        exponent_value=exponent_continuous(positive, float(np.median(positive))).alpha if len(positive) else np.nan,
        transacted=transacted,
    )


def _model(kept: np.ndarray, job: TrainJob) -> BehaviourModel | None:
    """Train on the entities that are not noise; None where they are too few or all alike."""
    if len(kept) < job.minimum_entities:
        return None
    try:
        return train(kept, job.behaviour)
    except ValueError as error:  # no entity fulfils the rule of its cluster: there is nothing to learn from
        _log.warning("%s at %d us: no model: %s", job.boundary.chain, job.boundary.as_of_us, error)
        return None


class TrainLogic(StatefulBatchLogic[ShardReady, Timed, bytes]):
    """Waits for all shards of a boundary, then trains in the pool; results in order of ``as_of``."""

    def __init__(
        self, pool: Pool, config: Behaviour, chain: Chain, seed: int, most: int, live: bool, state: bytes | None
    ) -> None:
        self._config, self._seed = config, seed
        self._behaviour = BehaviourConfig(chain=chain, feature_set=config.feature_set, seed=seed)
        self._waiting: list[ShardReady] = []
        jobs: list[TrainJob] = []
        if state is not None:
            self._waiting, jobs = pickle.loads(state)  # noqa: S301 our own snapshot
        self._jobs: InOrder[TrainJob, Trained] = InOrder(pool, run_training, most, jobs)
        self._looks = Looks(live)
        self._looks.plan(pending=bool(self._jobs.pending))

    @override
    def on_batch(self, values: list[ShardReady]) -> tuple[Iterable[Timed], bool]:
        done = []
        self._waiting += values
        for shards in _complete(self._waiting):
            job = TrainJob(shards[0].boundary, shards, self._behaviour, self._config.minimum_entities, self._seed)
            done += self._jobs.put(job)
        done += self._jobs.ready()
        self._looks.plan(pending=bool(self._jobs.pending))
        return [Timed(trained, seconds) for _, trained, seconds in done], self.RETAIN

    @override
    def on_notify(self) -> tuple[Iterable[Timed], bool]:
        done = self._jobs.ready()
        self._looks.again(pending=bool(self._jobs.pending))
        return [Timed(trained, seconds) for _, trained, seconds in done], self.RETAIN

    @override
    def on_eof(self) -> tuple[Iterable[Timed], bool]:
        return [Timed(trained, seconds) for _, trained, seconds in self._jobs.drain()], self.RETAIN

    @override
    def notify_at(self) -> dt.datetime | None:
        return self._looks.due

    @override
    def snapshot(self) -> bytes:
        return pickle.dumps((list(self._waiting), self._jobs.pending))


def _complete(waiting: list[ShardReady]) -> Iterator[tuple[ShardReady, ...]]:
    """Take the boundaries for which every shard has come out of ``waiting``, in order of ``as_of``."""
    while waiting:
        oldest = min(ready.boundary.as_of_us for ready in waiting)
        shards = [ready for ready in waiting if ready.boundary.as_of_us == oldest]
        if len(shards) < SHARDS:
            return
        waiting[:] = [ready for ready in waiting if ready.boundary.as_of_us != oldest]
        yield tuple(sorted(shards, key=lambda ready: ready.shard))


@dataclass(slots=True)
class _Labelled:
    keys: np.ndarray
    labels: np.ndarray


class ClassifyLogic(StatefulBatchLogic[ShardReady | Trained, ShardLabels | Rows, bytes]):
    """Gives each entity of one shard its behaviour, and remembers it for the transitions to the next window."""

    def __init__(self, window: str, write_entities: bool, state: bytes | None) -> None:
        self._window, self._write = window, write_entities
        self._ready: dict[int, ShardReady] = {}
        self._models: dict[int, Trained] = {}
        self._before: _Labelled | None = None
        if state is not None:
            self._ready, self._models, self._before = pickle.loads(state)  # noqa: S301 our own snapshot

    @override
    def on_batch(self, values: list[ShardReady | Trained]) -> tuple[Iterable[ShardLabels | Rows], bool]:
        out: list[ShardLabels | Rows] = []
        for value in values:
            if isinstance(value, Trained):
                self._models[value.boundary.as_of_us] = value
            else:
                self._ready[value.boundary.as_of_us] = value
        for as_of_us in sorted(self._ready.keys() & self._models.keys()):
            out += self._label(self._ready.pop(as_of_us), self._models.pop(as_of_us))
        return out, self.RETAIN

    @override
    def snapshot(self) -> bytes:
        return pickle.dumps((dict(self._ready), dict(self._models), self._before))

    def _label(self, ready: ShardReady, trained: Trained) -> Iterator[ShardLabels | Rows]:
        window = ready.window
        X = features(window, UNIT[ready.boundary.chain])
        if trained.model is None:
            yield ShardLabels(ready.boundary, ready.shard, np.zeros(4, np.int64), None)
            return
        labels, margin = trained.model.classify(X)
        quiet = noisy(window.lifetime, X[:, TOTAL_VALUE], _NOISY_SHARE, transacted=trained.transacted)
        labels = np.where(quiet, np.int8(-1), labels)
        moved: Int64 | None = None
        if self._before is not None:
            moved = transitions(self._before.keys, self._before.labels, window.keys, labels)
        self._before = _Labelled(window.keys, labels)
        yield ShardLabels(ready.boundary, ready.shard, shares(labels)[0], moved)
        if self._write and ready.addresses is not None:
            yield self._rows(ready, X, labels, margin)

    def _rows(self, ready: ShardReady, X: np.ndarray, labels: np.ndarray, margin: np.ndarray) -> Rows:
        columns = {name: X[:, i] for i, name in enumerate(FEATURES)}
        return make_rows(
            "behaviours",
            {
                "as_of": ready.boundary.as_of_us,
                "chain": ready.boundary.chain,
                "window": self._window,
                "entity": ready.addresses,
                **columns,
                "behaviour": [BEHAVIOURS[label] if label >= 0 else "noisy" for label in labels],
                "decision_margin": margin,
            },
        )
