"""What moves between the steps of the dataflow, besides the batches of :mod:`connectors.schema`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectors.schema import Batch
from models.bars import ClosedBars
from models.behaviour import BehaviourModel
from models.comovement import FitInput
from models.network import NetworkStats
from models.panes import HalfEdges, ShardWindow

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PartBars:
    """Bars that one partition has closed, and how far it is."""

    partition: str
    bars: ClosedBars | None
    names: list[str]
    closed_to_us: int


@dataclass(frozen=True, slots=True)
class CoinCounts:
    """The coverage ledger of one window: equal-length columns over all coins that it knows."""

    coin_ids: tuple[str, ...]
    expected: int
    received: Int64
    duplicate: Int64
    late: Int64


@dataclass(frozen=True, slots=True)
class PanelReady:
    """A full window at a refit boundary: the input of every view's fit."""

    as_of_us: int
    bar: int
    input: FitInput
    coverage: Float64
    recent_coverage: Float64
    dollar_volume: Float64
    counts: CoinCounts


@dataclass(frozen=True, slots=True)
class Boundary:
    """A boundary of the chain branch: every shard closes its window here."""

    chain: str
    as_of_us: int
    start_us: int
    end_us: int
    fill: float


@dataclass(frozen=True, slots=True)
class ShardItem:
    """Half edges of one shard, or a boundary for it."""

    shard: int
    item: HalfEdges | Boundary


@dataclass(frozen=True, slots=True)
class ShardReady:
    """One shard's window at a boundary."""

    boundary: Boundary
    shard: int
    window: ShardWindow
    addresses: list[str] | None


@dataclass(frozen=True, slots=True)
class Trained:
    """What training found at a boundary: the model (None: too few entities) and the network of the window."""

    boundary: Boundary
    model: BehaviourModel | None
    network: NetworkStats
    entities: int
    noisy_share: float
    exponent_degree: float
    exponent_value: float
    transacted: float


@dataclass(frozen=True, slots=True)
class Timed:
    """What training found, and how long it took: the seconds enter ``timings`` alone."""

    trained: Trained
    seconds: float


@dataclass(frozen=True, slots=True)
class Priced:
    """A batch of a partition with prices."""

    partition: str
    batch: Batch


@dataclass(frozen=True, slots=True)
class ShardLabels:
    """One shard's counts at a boundary."""

    boundary: Boundary
    shard: int
    counts: Int64
    transitions: Int64 | None


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value for the board alone, of something that no result table carries."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True, slots=True)
class ViewLabels:
    """Which shoal each coin is in, by one view at one fit; ``shoal`` is -1 where the fit has none."""

    as_of_us: int
    view: str
    coin_ids: tuple[str, ...]
    shoal: Int64
