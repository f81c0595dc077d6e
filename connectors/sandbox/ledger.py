"""What is in a block: transactions, receipts and withdrawals, a pure function of (seed, height, branch)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from connectors.sandbox.agents import Agents, address, size_factor
from connectors.sandbox.chain import CANONICAL, SIDE, Branch, Chain
from connectors.sandbox.draws import Float64, Int64, generator
from connectors.sandbox.regime import Regimes

GAS_PLAIN: Final = 21_000
GAS_CALL: Final = 90_000
GAS_CREATION: Final = 1_200_000
GAS_LIMIT: Final = 60_000_000
_BLOB_GAS: Final = 131_072

_TX_PURPOSE: Final = 61
_TRANSACTIONS: Final = (30, 60)
_MEDIAN_ETH: Final = 0.4
_SIGMA: Final = 0.9
_PARETO: Final = 2.2  # tail exponent of the rare large transfers
_LARGE_SHARE: Final = 0.01
_FAILED_SHARE: Final = 0.02
_PAYING_CALLS: Final = 3  # of ten; a contract that never received anything would be a fifth kind of behaviour
_SHARED_PART: Final = 0.7
"""Of a side block's transactions so many are also in the canonical block, the first ones."""

# what a transaction is, with its share of all
_KIND_NAMES: Final = ("transfer", "call", "creation", "noise_in", "noise_out", "blob", "delegation")
_KIND_SHARES: Final = (0.70, 0.16, 0.01, 0.05, 0.06, 0.01, 0.01)
_TYPE_SHARES: Final = (0.15, 0.02, 0.83)  # of types 0x0, 0x1 and 0x2 among the plain ones


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction with what its receipt says. Values in wei, prices in wei per gas; no receiver is a creation."""

    hash: str
    kind: str
    type: int
    sender: str
    receiver: str | None
    value: int
    nonce: int
    gas: int
    gas_used: int
    tip: int
    success: bool

    @property
    def blob_gas(self) -> int:
        """Gas for blobs, in a market of its own."""
        return _BLOB_GAS if self.type == 3 else 0


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What the beacon chain pays out, in Gwei."""

    index: int
    validator: int
    address: str
    amount_gwei: int


@dataclass(frozen=True, slots=True)
class Block:
    """A block with everything in it."""

    height: int
    branch: Branch
    hash: str
    parent_hash: str
    timestamp: int
    miner: str
    base_fee: int
    transactions: tuple[Transaction, ...]
    withdrawals: tuple[Withdrawal, ...]

    @property
    def gas_used(self) -> int:
        """Gas of all transactions."""
        return sum(transaction.gas_used for transaction in self.transactions)


class Ledger:
    """The blocks of one chain.

    Parameters
    ----------
    chain, agents, regimes
        The skeleton, the population, and the price regimes that its behaviour follows.
    """

    def __init__(self, chain: Chain, agents: Agents, regimes: Regimes) -> None:
        self.chain, self.agents, self.regimes = chain, agents, regimes
        self._share_bounds = np.cumsum(_KIND_SHARES) / sum(_KIND_SHARES)
        self.block = lru_cache(maxsize=256)(self._make_block)

    def _make_block(self, height: int, branch: Branch) -> Block:
        chain = self.chain
        rng = generator(chain.seed, _TX_PURPOSE, height * 2 + branch)
        transactions = self._transactions(rng, height, branch)
        if branch == SIDE:
            shared = self.block(height, CANONICAL).transactions
            kept = shared[: int(_SHARED_PART * len(shared))]
            transactions = (*kept, *transactions[: len(shared) - len(kept)])
        miner = self.agents.builders[int(rng.integers(len(self.agents.builders)))]
        return Block(
            height=height,
            branch=branch,
            hash=chain.hash_of(height, branch),
            parent_hash=chain.parent_of(height, branch),
            timestamp=chain.timestamp(height),
            miner=miner,
            base_fee=int(rng.integers(200_000_000, 400_000_000)),
            transactions=transactions,
            withdrawals=self._withdrawals(rng, height),
        )

    def _transactions(self, rng: np.random.Generator, height: int, branch: Branch) -> tuple[Transaction, ...]:
        agents, chain = self.agents, self.chain
        mix = agents.mix(self.regimes.at(chain.due_us(height)))
        count = int(rng.integers(_TRANSACTIONS[0], _TRANSACTIONS[1] + 1))
        kind = np.searchsorted(self._share_bounds, rng.random(count), side="right")
        sender = np.searchsorted(mix.senders, rng.random(count), side="right")
        receiver = np.searchsorted(mix.receivers, rng.random(count), side="right")
        contract = np.searchsorted(mix.contracts, rng.random(count), side="right")
        wei = self._values(rng, agents.kind[sender], agents.kind[receiver])
        plain_type = np.searchsorted(np.cumsum(_TYPE_SHARES), rng.random(count), side="right")
        tip = rng.integers(1, 3_000_000_000, count)
        failed = rng.random(count) < _FAILED_SHARE
        made = []
        for i in range(count):
            name = _KIND_NAMES[kind[i]]
            fresh = address(chain.seed, "noise", height, branch, i)
            payer, payee = agents.addresses[sender[i]], agents.addresses[receiver[i]]
            called = agents.addresses[contract[i]]
            who = {"noise_in": (payer, fresh), "noise_out": (fresh, payee), "transfer": (payer, payee)}
            source, target = who.get(name, (payer, None if name == "creation" else called))
            gas_used = _gas_used(name, rng)
            made.append(
                Transaction(
                    hash=chain.transaction_hash(height, branch, i),
                    kind=name,
                    type={"blob": 3, "delegation": 4}.get(name, int(plain_type[i])),
                    sender=source,
                    receiver=target,
                    value=_value(name, wei[i]),
                    nonce=height << 7 | i << 1 | branch,
                    gas=gas_used + gas_used // 4 if name != "transfer" else gas_used,
                    gas_used=gas_used,
                    tip=int(tip[i]),
                    success=not failed[i],
                )
            )
        return tuple(made)

    @staticmethod
    def _values(rng: np.random.Generator, sender_kind: Int64, receiver_kind: Int64) -> list[int]:
        """Draw amounts in wei: log-normal with a Pareto tail, sized by the kinds of both sides."""
        count = sender_kind.size
        eth: Float64 = (
            _MEDIAN_ETH * np.exp(_SIGMA * rng.standard_normal(count)) * size_factor(sender_kind, receiver_kind)
        )
        eth *= np.where(rng.random(count) < _LARGE_SHARE, (1.0 - rng.random(count)) ** (-1 / _PARETO) * 3, 1.0)
        gwei = np.rint(np.minimum(eth, 5e6) * 1e9).astype(np.int64)
        rest = rng.integers(0, 1_000_000_000, count)
        return [int(high) * 1_000_000_000 + int(low) for high, low in zip(gwei, rest, strict=True)]

    def _withdrawals(self, rng: np.random.Generator, height: int) -> tuple[Withdrawal, ...]:
        """Pay out to validators on every fourth block, up to sixteen at a time."""
        if height % 4:
            return ()
        chosen = rng.integers(0, len(self.agents.validators), int(rng.integers(4, 17)))
        amounts = rng.integers(10_000_000, 20_000_000, chosen.size)
        return tuple(
            Withdrawal(height * 4 + n, 600_000 + int(who), self.agents.validators[int(who)], int(amounts[n]))
            for n, who in enumerate(chosen)
        )


def _value(kind: str, wei: int) -> int:
    """Return what a transaction carries: most calls nothing, some a little, noise users a thousandth of others."""
    if kind == "transfer":
        return wei
    if kind == "call":
        return wei // 10 if wei % 10 < _PAYING_CALLS else 0
    return wei // 1000 if kind in ("noise_in", "noise_out") else 0


def _gas_used(kind: str, rng: np.random.Generator) -> int:
    base = {"call": GAS_CALL, "creation": GAS_CREATION, "blob": GAS_CALL, "delegation": GAS_CALL}.get(kind, 0)
    return GAS_PLAIN + int(rng.integers(base // 2, base)) if base else GAS_PLAIN
