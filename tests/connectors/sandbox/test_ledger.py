import itertools
from collections import Counter

import pytest

from connectors.sandbox import ethjson
from connectors.sandbox.chain import CANONICAL, SIDE
from connectors.sandbox.ledger import Block
from connectors.sandbox.world import SandboxConfig, World
from tests.connectors.sandbox.places import SEED, T0_US

WORLD = World(SandboxConfig(seed=SEED))
LEDGER, CHAIN = WORLD.ledger, WORLD.chain
KIND = {address: kind for kind, addresses in WORLD.agents.by_kind().items() for address in addresses}


def height_at(t_us: int) -> int:
    head = CHAIN.head(t_us)
    assert head is not None
    return head.height


H0 = height_at(T0_US)


def blocks(first: int, last: int) -> list[Block]:
    return [LEDGER.block(height, CANONICAL) for height in range(first, last)]


def behaviours(first: int, last: int) -> dict[str, str]:
    """Classify by the rules alone: who sent, who received, which was more."""
    sent: Counter[str] = Counter()
    received: Counter[str] = Counter()
    ways: dict[str, set[str]] = {}
    degree: Counter[str] = Counter()
    for block in blocks(first, last):
        for tx in block.transactions:
            if tx.success and tx.receiver is not None and tx.value:
                sent[tx.sender] += tx.value
                received[tx.receiver] += tx.value
                ways.setdefault(tx.sender, set()).add("out")
                ways.setdefault(tx.receiver, set()).add("in")
                degree.update((tx.sender, tx.receiver))
    named = {}
    for who, seen in ways.items():
        if degree[who] < 2:
            continue
        balance = received[who] - sent[who]
        if seen == {"in"}:
            named[who] = "optimist"
        elif seen == {"out"}:
            named[who] = "pessimist"
        else:
            named[who] = "positive_trader" if balance >= 0 else "negative_trader"
    return named


def test_a_block_does_not_depend_on_what_was_computed_before() -> None:
    fresh = World(SandboxConfig(seed=SEED)).ledger
    fresh.block(H0 + 50, CANONICAL)
    assert fresh.block(H0, CANONICAL) == LEDGER.block(H0, CANONICAL)
    assert World(SandboxConfig(seed=SEED + 1)).ledger.block(H0, CANONICAL) != LEDGER.block(H0, CANONICAL)


def test_blocks_hold_all_that_a_reader_has_to_cope_with() -> None:
    found = blocks(H0, H0 + 300)
    txs = [tx for block in found for tx in block.transactions]
    assert all(30 <= len(block.transactions) <= 60 for block in found)
    assert {tx.type for tx in txs} == {0, 1, 2, 3, 4}
    assert {tx.kind for tx in txs} == {"transfer", "call", "creation", "noise_in", "noise_out", "blob", "delegation"}
    assert all((tx.receiver is None) == (tx.kind == "creation") for tx in txs)
    assert 0.01 < sum(not tx.success for tx in txs) / len(txs) < 0.04
    assert any(tx.value > 2**63 for tx in txs)
    assert any(tx.value == 0 for tx in txs)
    assert len({tx.hash for tx in txs}) == len(txs)
    assert {bool(block.withdrawals) for block in found} == {True, False}
    assert all(block.gas_used < 60_000_000 for block in found)
    for before, after in itertools.pairwise(found):
        assert after.parent_hash == before.hash
        assert after.timestamp == before.timestamp + 2


def test_nonces_of_a_sender_ascend() -> None:
    last: dict[str, int] = {}
    for block in blocks(H0, H0 + 50):
        for tx in block.transactions:
            assert tx.nonce > last.get(tx.sender, -1)
            last[tx.sender] = tx.nonce


def test_a_side_block_shares_most_but_not_all_transactions() -> None:
    reorg = CHAIN.reorgs(T0_US, T0_US + 3_600_000_000)[0]
    side, canonical = LEDGER.block(reorg.first, SIDE), LEDGER.block(reorg.first, CANONICAL)
    assert side.hash != canonical.hash
    assert side.parent_hash == canonical.parent_hash
    common = {tx.hash for tx in side.transactions} & {tx.hash for tx in canonical.transactions}
    assert 0.5 < len(common) / len(canonical.transactions) < 0.9
    assert len({tx.hash for tx in side.transactions}) == len(side.transactions)


def test_agents_behave_as_the_truth_says() -> None:
    named = behaviours(H0 - 600, H0)
    agents = {who: what for who, what in named.items() if who in KIND}
    right = sum(KIND[who] == what for who, what in agents.items())
    assert len(agents) > 1000
    assert right / len(agents) > 0.93
    assert set(agents.values()) == {"optimist", "pessimist", "positive_trader", "negative_trader"}


def test_noise_users_appear_once_with_little() -> None:
    degree: Counter[str] = Counter()
    for block in blocks(H0, H0 + 100):
        for tx in block.transactions:
            degree.update(who for who in (tx.sender, tx.receiver) if who is not None and who not in KIND)
    assert len(degree) > 300
    assert set(degree.values()) == {1}


def test_activity_is_unequal() -> None:
    sends = Counter(tx.sender for block in blocks(H0, H0 + 300) for tx in block.transactions if tx.sender in KIND)
    counts = sorted(sends.values(), reverse=True)
    assert sum(counts[: len(counts) // 10]) > 0.3 * sum(counts)


def test_the_mix_follows_the_price() -> None:
    shares: dict[str, list[float]] = {"rising": [], "falling": []}
    for span in WORLD.regimes.spans(T0_US, T0_US + 4 * 1_920_000_000):
        if span.regime == "stable":
            continue
        named = Counter(behaviours(height_at(span.from_us) + 1, height_at(span.to_us - 1)).values())
        shares[span.regime].append(named["optimist"] / (named["optimist"] + named["pessimist"]))
    assert min(shares["rising"]) > max(shares["falling"]) + 0.2


def test_json_of_a_block_is_whole() -> None:
    for block in blocks(H0, H0 + 40):
        full = ethjson.full_block(block, transactions=True)
        assert [tx["hash"] for tx in full["transactions"]] == ethjson.full_block(block, transactions=False)[
            "transactions"
        ]
        receipts = ethjson.receipts(block)
        assert int(receipts[-1]["cumulativeGasUsed"], 16) == int(full["gasUsed"], 16) == block.gas_used
        for tx, receipt, source in zip(full["transactions"], receipts, block.transactions, strict=True):
            assert int(tx["value"], 16) == source.value
            assert receipt["transactionHash"] == tx["hash"]
            assert (receipt["status"] == "0x1") == source.success
            assert (receipt["contractAddress"] is None) == (tx["to"] is not None)
            assert (tx["type"] in ("0x3", "0x4")) <= (tx["to"] is not None)
            assert int(receipt["effectiveGasPrice"], 16) > int(full["baseFeePerGas"], 16)


@pytest.mark.parametrize("index", range(4))
def test_json_of_a_type_has_its_fields(index: int) -> None:
    wanted = [
        ("0x1", "accessList"),
        ("0x2", "maxFeePerGas"),
        ("0x3", "blobVersionedHashes"),
        ("0x4", "authorizationList"),
    ]
    kind, name = wanted[index]
    found = [tx for block in blocks(H0, H0 + 40) for tx in ethjson.full_block(block, transactions=True)["transactions"]]
    assert all(name in tx for tx in found if tx["type"] == kind)
    assert any(tx["type"] == kind for tx in found)
    assert not any(name in tx for tx in found if tx["type"] == "0x0")
