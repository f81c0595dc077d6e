"""The settings of a sandbox, and the world that follows from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from connectors.sandbox.agents import Agents
from connectors.sandbox.chain import Chain
from connectors.sandbox.faults import Faults
from connectors.sandbox.ledger import Ledger
from connectors.sandbox.market import Market
from connectors.sandbox.regime import GENESIS_US, Regimes

EARLIEST_START_US: Final = GENESIS_US + 2 * 86_400_000_000
"""A sandbox starts two days into its world at the earliest: its rolling day and its history need them."""


class SandboxConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a sandbox is.

    Attributes
    ----------
    seed
        The world; the same seed is the same world, at any time and after any restart.
    host, exchange_port, node_port
        Where the servers listen; port 0 takes a free one.
    speed, start_us
        Event seconds per wall second, and the event time of the start (None: the wall clock's).
    coins, groups, move_every_s
        The market: coins beside the two stablecoins, groups, mean seconds between two planted moves.
    phase_s, trend
        Length of a price regime, and the mean change of the log price over a rising or falling one.
    block_seconds, agents, reorg_every_blocks
        The chain.
    history_hours
        How far back the exchange serves klines.
    truth, truth_hours
        Where to write the truth file (None: nowhere), and how many hours before and after the start it covers.
    exchange_faults, node_faults
        What goes wrong.
    """

    seed: int = 20210101
    host: str = "127.0.0.1"
    exchange_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    node_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    speed: Annotated[float, Meta(gt=0.0)] = 1.0
    start_us: int | None = None
    coins: Annotated[int, Meta(ge=2)] = 40
    groups: Annotated[int, Meta(ge=2)] = 5
    move_every_s: Annotated[float, Meta(gt=0.0)] = 150.0
    step_ms: Annotated[int, Meta(ge=1)] = 250
    phase_s: Annotated[float, Meta(gt=0.0)] = 480.0
    trend: float = 0.04
    block_seconds: Annotated[int, Meta(ge=1)] = 2
    agents: Annotated[int, Meta(ge=100)] = 1500
    reorg_every_blocks: Annotated[int, Meta(ge=0)] = 150
    history_hours: Annotated[float, Meta(gt=0.0, le=48.0)] = 48.0
    truth: Path | None = None
    truth_hours: Annotated[float, Meta(gt=0.0)] = 24.0
    exchange_faults: Faults = msgspec.field(default_factory=Faults)
    node_faults: Faults = msgspec.field(default_factory=Faults)


class World:
    """Everything that is true in a sandbox: market, regimes, agents, chain and ledger.

    Raises
    ------
    ValueError
        If the settings do not fit each other.
    """

    def __init__(self, config: SandboxConfig) -> None:
        self.seed = config.seed
        self.regimes = Regimes(config.seed, round(config.phase_s * 1e6), config.trend)
        every_us = round(config.move_every_s * 1e6)
        self.market = Market(config.seed, config.coins, config.groups, every_us, self.regimes, config.step_ms)
        self.agents = Agents(config.seed, config.agents)
        self.chain = Chain(config.seed, config.block_seconds, config.reorg_every_blocks)
        self.ledger = Ledger(self.chain, self.agents, self.regimes)
