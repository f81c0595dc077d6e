"""The addresses of the chain: who there is, how much each does, and who is awake in which price regime.

Four kinds of agents have the behaviours that the chain branch has to find: optimists only receive, pessimists only
send, positive traders receive more than they send and negative traders send more than they receive. Activity follows
Zipf's law. In each regime only a part of each kind is awake, so that the mix of behaviours follows the price.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from connectors.sandbox.draws import Float64, Int64, digest, hashed, uniform
from connectors.sandbox.regime import Regime

Kind: TypeAlias = Literal["optimist", "pessimist", "positive_trader", "negative_trader", "contract"]

KINDS: Final[tuple[Kind, ...]] = ("optimist", "pessimist", "positive_trader", "negative_trader", "contract")
_SHARES: Final = (0.33, 0.20, 0.25, 0.20, 0.02)
_AWAKE: Final[dict[Regime, tuple[float, ...]]] = {
    "rising": (0.95, 0.35, 0.90, 0.50, 1.0),
    "stable": (0.70, 0.60, 0.70, 0.65, 1.0),
    "falling": (0.40, 0.95, 0.45, 0.95, 1.0),
}
_SENDING: Final[dict[Regime, tuple[float, ...]]] = {
    "rising": (0.0, 0.8, 1.0, 1.0, 0.0),
    "stable": (0.0, 1.0, 1.0, 1.0, 0.0),
    "falling": (0.0, 1.4, 0.8, 1.4, 0.0),
}
_RECEIVING: Final[dict[Regime, tuple[float, ...]]] = {
    "rising": (1.4, 0.0, 1.2, 0.8, 0.0),
    "stable": (1.0, 0.0, 1.0, 1.0, 0.0),
    "falling": (0.8, 0.0, 0.8, 1.0, 0.0),
}
_ZIPF: Final = 0.7
_RANK, _ASLEEP = 41, 42


def address(seed: int, *parts: int | str) -> str:
    """Return a 20-byte address in hex."""
    return "0x" + digest(seed, "address", *parts)[:20].hex()


@dataclass(frozen=True, slots=True)
class Mix:
    """Cumulative weights of the agents as senders, receivers and called contracts in one regime."""

    senders: Float64
    receivers: Float64
    contracts: Float64


class Agents:
    """The fixed population of one chain.

    Parameters
    ----------
    seed
        The world.
    count
        Number of agents; noise users, builders and validators come on top.
    """

    def __init__(self, seed: int, count: int = 1500) -> None:
        numbers = np.arange(count, dtype=np.int64)
        bounds = np.cumsum(np.round(np.array(_SHARES) * count)).astype(np.int64)
        self.kind: Int64 = np.minimum(np.searchsorted(bounds, numbers, side="right"), len(KINDS) - 1)
        self.addresses = [address(seed, "agent", number) for number in range(count)]
        self.builders = [address(seed, "builder", number) for number in range(5)]
        self.validators = [address(seed, "validator", number) for number in range(64)]
        rank = np.empty(count, dtype=np.int64)
        rank[np.argsort(hashed(seed, _RANK, numbers), kind="stable")] = numbers
        activity: Float64 = np.power(rank + 10.0, -_ZIPF)
        asleep = uniform(seed, _ASLEEP, numbers)
        self._mixes = {regime: self._mix(regime, activity, asleep) for regime in _AWAKE}

    def _mix(self, regime: Regime, activity: Float64, asleep: Float64) -> Mix:
        awake = activity * (asleep < np.array(_AWAKE[regime])[self.kind])
        senders = np.cumsum(awake * np.array(_SENDING[regime])[self.kind])
        receivers = np.cumsum(awake * np.array(_RECEIVING[regime])[self.kind])
        contracts = np.cumsum(activity * (self.kind == KINDS.index("contract")))
        return Mix(senders / senders[-1], receivers / receivers[-1], contracts / contracts[-1])

    def mix(self, regime: Regime) -> Mix:
        """Return the weights of a regime."""
        return self._mixes[regime]

    def by_kind(self) -> dict[Kind, list[str]]:
        """Return the addresses of each kind."""
        return {kind: [self.addresses[i] for i in np.flatnonzero(self.kind == n)] for n, kind in enumerate(KINDS)}


def size_factor(sender: Int64, receiver: Int64) -> Float64:
    """Return how large a transfer between two kinds is, as a factor on the median.

    Positive traders are sent much and send little, negative traders the reverse; that gives the signs of their
    balances whatever their counterparts are.
    """
    positive, negative = KINDS.index("positive_trader"), KINDS.index("negative_trader")
    gives = np.select([sender == positive, sender == negative], [0.15, 3.0], 1.0)
    takes = np.select([receiver == positive, receiver == negative], [3.0, 0.15], 1.0)
    factor: Float64 = gives * takes
    return factor
