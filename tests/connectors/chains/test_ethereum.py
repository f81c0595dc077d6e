"""The core of an Ethereum node, in conversation with a chain that forks."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.chains.ethereum import EthereumConfig, EthereumCore
from connectors.schema import time_us
from tests.connectors.chains.node import BLOCK_S, Conversation, Node, address
from tests.connectors.driver import SECOND, assert_same_in_any_chunks, table_of, watermarks_of

CONFIG = EthereumConfig(feed="ethereum", confirmations_final=3, max_reorg=8)


def history(blocks: int, **changes: Any) -> EthereumConfig:
    return msgspec.structs.replace(CONFIG, history_us=blocks * BLOCK_S * SECOND, **changes)


def test_starts_with_the_head_and_follows() -> None:
    talk = Conversation(Node(5), CONFIG)
    talk.connect()
    assert talk.chain() == talk.canonical(4)
    for _ in range(3):
        talk.node.mine()
        talk.head()
    assert talk.chain() == talk.canonical(4)
    stats = talk.core.stats
    assert (stats.up, stats.head_height, stats.final_height, stats.reorgs) == (True, 7, 4, 0)
    assert [row["final_height"] for row in talk.rows("blocks")] == [1, 2, 3, 4]


def test_a_block_becomes_rows_exact_to_the_wei() -> None:
    node = Node(6)  # block 5: three transactions, the first of which creates a contract and the second of which fails
    node.canonical[5]["transactions"][2]["value"] = hex(10**38 - 1)
    talk = Conversation(node, CONFIG)
    talk.connect()
    first, second, third, withdrawal = talk.rows("transfers")
    assert (first["kind"], first["to_addr"], first["success"]) == ("creation", address(0xDD).lower(), True)
    assert (second["kind"], second["success"], int(second["amount"])) == ("native", False, 5 * 10**18 + 1)
    assert (third["from_addr"], third["to_addr"]) == (address(0xA5).lower(), address(0xB2).lower())
    assert int(third["amount"]) == 10**38 - 1
    assert (withdrawal["kind"], withdrawal["from_addr"], withdrawal["tx_hash"]) == ("withdrawal", None, None)
    assert (int(withdrawal["amount"]), withdrawal["xfer_index"]) == (5 * 10**9, 3)
    assert {row["height"] for row in talk.rows("transfers")} == {5}
    assert [batch.kind for batch in talk.batches] == ["transfers", "blocks"]


def test_amount_beyond_38_digits_is_quarantined() -> None:
    node = Node(6)
    node.canonical[5]["transactions"][2]["value"] = hex(10**38)
    talk = Conversation(node, CONFIG)
    talk.connect()
    assert len(talk.rows("transfers")) == 3
    (row,) = talk.rows("quarantine")
    assert (row["column"], row["reason"]) == ("amount", "more than 38 digits of wei")


@pytest.mark.parametrize("blocks", [1, 2, 10, 63, 64, 65, 150, 199, 1000])
def test_history_begins_with_the_first_block_of_the_span(blocks: int) -> None:
    talk = Conversation(Node(200), history(blocks))
    talk.connect()
    assert talk.chain() == talk.canonical(max(199 - blocks, 1))
    times = time_us(table_of(talk.batches, "blocks").column("ts_block").combine_chunks())
    assert np.all(np.diff(times) == BLOCK_S * SECOND)


def test_history_has_a_bounded_number_of_requests_on_their_way() -> None:
    talk = Conversation(Node(200), history(150, outstanding=16))
    talk.give("open")
    most = 0
    while calls := talk.sends():
        numbers = [call for call in calls if call["params"][-1] is True]
        most = max(most, len(numbers))
        for call in calls:
            talk.msg(talk.node.answer(call))
    assert most == 16
    assert talk.chain() == talk.canonical(49)


def test_answers_out_of_order_connect_in_order() -> None:
    talk = Conversation(Node(60), history(50))
    talk.give("open")
    while calls := talk.sends():
        for call in reversed(calls):
            talk.msg(talk.node.answer(call))
    assert talk.chain() == talk.canonical(9)


def test_skipped_heads_are_filled_by_parent_or_by_number() -> None:
    talk = Conversation(Node(5), CONFIG)
    talk.connect()
    for skip in (2, 3, 4, 5, 6, 30):
        talk.node.mine(skip)
        talk.head()
        assert talk.chain() == talk.canonical(4)
    assert talk.core.stats.gaps == 0


@pytest.mark.parametrize("depth", [1, 2, 5, 8])
@pytest.mark.parametrize("grow", [0, 1, 3, 20])
def test_reorganisation_takes_back_exactly_what_came(depth: int, grow: int) -> None:
    talk = Conversation(Node(30), history(12))
    talk.connect()
    before = len(talk.rows("transfers"))
    talk.node.reorganise(depth, grow)
    talk.head()
    known = depth < CONFIG.max_reorg
    assert (talk.core.stats.gaps == 0) == known
    assert talk.core.stats.reorgs == 1
    assert talk.core.stats.reorg_depths == [depth]
    if known:
        assert talk.chain() == talk.canonical(17)
        fresh = Conversation(talk.node, history(12 + grow))
        fresh.connect()
        assert fresh.standing() == talk.standing()
    back = [row for row in talk.rows("transfers")[before:] if row["op"] == -1]
    assert [row["height"] for row in back] == sorted((row["height"] for row in back), reverse=True)


def test_same_height_twice_is_a_reorganisation_of_one_block() -> None:
    talk = Conversation(Node(10), CONFIG)
    talk.connect()
    talk.node.mine()
    talk.head()
    talk.head()  # said twice: nothing
    rows = len(talk.rows("blocks"))
    talk.head()
    assert len(talk.rows("blocks")) == rows
    talk.node.reorganise(1, 0)
    talk.head()
    assert [row["op"] for row in talk.rows("blocks")[rows:]] == [-1, 1]


def test_reorganisation_deeper_than_remembered_is_a_gap_and_fetched_again() -> None:
    talk = Conversation(Node(60), history(40))
    talk.connect()
    talk.node.reorganise(20, 2)
    talk.head()
    (gap,) = talk.rows("gaps")
    assert (gap["feed"], gap["reason"]) == ("ethereum", "deep_reorg")
    ops = [row["op"] for row in talk.rows("blocks")]
    assert ops.count(-1) == CONFIG.max_reorg  # all that it remembered
    heights = [row["height"] for row in talk.rows("blocks")]
    assert heights[-1] == 61
    tail = [("0x" + row["hash"].hex()) for row in talk.rows("blocks")][-10:]
    assert tail == talk.canonical(52)
    assert talk.core.stats.reorg_depths == [8]
    talk.node.mine()
    talk.head()
    assert talk.core.stats.head_height == 62


def test_another_chain_with_lower_heights_starts_again() -> None:
    talk = Conversation(Node(60), history(40))
    talk.connect()
    last_us = int(talk.node.head["timestamp"], 16) * SECOND
    talk.give("close", b"closed: 1006")
    talk.node = Node(20, start_s=last_us // SECOND + 60)
    talk.node.forks = 5
    talk.now_us += 60 * SECOND
    talk.connect()
    assert talk.core.stats.head_height == 19
    assert [row["reason"] for row in talk.rows("gaps")] == ["deep_reorg"]
    talk.node.mine()
    talk.head()
    assert talk.core.stats.head_height == 20


def test_reconnection_fills_what_was_missed() -> None:
    talk = Conversation(Node(10), CONFIG)
    talk.connect()
    talk.give("close", b"closed: 1006 lost")
    assert not talk.core.stats.up
    talk.node.mine(40)
    talk.connect()
    assert talk.chain() == talk.canonical(9)
    talk.give("close", b"closed: 1006 lost")
    talk.node.reorganise(3, 10)
    talk.connect()
    assert talk.chain() == talk.canonical(9)
    assert talk.core.stats.reconnects == {"closed": 2}
    assert talk.core.stats.reorg_depths == [3]


def test_connection_lost_in_the_middle_of_the_history_goes_on_after_it() -> None:
    talk = Conversation(Node(100), history(60))
    talk.give("open")
    for rounds in (1, 3, 7, 12, 14):
        talk.answer(rounds)
        talk.give("close", b"closed: 1006")
        talk.sends()
        talk.give("open")
    talk.answer()
    assert talk.chain() == talk.canonical(39)


def test_block_that_the_node_does_not_have_yet_is_asked_for_again() -> None:
    talk = Conversation(Node(10), CONFIG)
    talk.connect()
    talk.node.mine()
    talk.node.hidden = {talk.node.head["hash"]}
    talk.head()
    assert talk.chain() == talk.canonical(9)[:-1]
    talk.ticks(1)
    assert talk.answer() == 1
    talk.node.hidden = set()
    talk.ticks(2)
    talk.answer()
    assert talk.chain() == talk.canonical(9)
    assert talk.core.stats.parse_errors == 0


def test_head_that_never_comes_is_left_and_the_next_one_taken() -> None:
    talk = Conversation(Node(10), CONFIG)
    talk.connect()
    talk.node.mine()
    talk.node.hidden = {talk.node.head["hash"]}
    talk.head()
    for _ in range(60):
        talk.ticks(1)
        talk.answer()
    talk.node.hidden = set()
    for _ in range(60):
        talk.ticks(1)
        talk.answer()
    assert talk.chain() == talk.canonical(9)


def test_history_that_the_node_has_pruned_is_a_gap() -> None:
    node = Node(100)
    node.pruned_below = 80
    talk = Conversation(node, history(60))
    talk.connect()
    for _ in range(80):
        talk.ticks(1)
        talk.answer()
    assert talk.chain() == talk.canonical(99)
    (gap,) = talk.rows("gaps")
    assert gap["reason"].startswith("unavailable")
    node.mine()
    talk.head()
    assert talk.chain() == talk.canonical(99)


def test_chain_that_becomes_shorter_is_followed() -> None:
    talk = Conversation(Node(20), CONFIG)
    talk.connect()
    talk.node.mine(6)
    talk.head()
    talk.node.reorganise(5, -2)
    talk.head()
    assert talk.chain() == talk.canonical(19)
    assert talk.core.stats.head_height == 23


def test_node_without_receipts_leaves_success_unknown() -> None:
    node = Node(6)
    node.receipts = False
    talk = Conversation(node, CONFIG)
    talk.connect()
    for _ in range(3):
        node.mine()
        talk.head()
    assert {row["success"] for row in talk.rows("transfers") if row["kind"] != "withdrawal"} == {None}
    assert talk.core.stats.parse_errors == 0
    calls = [msgspec.json.decode(r.body) for r in talk.records if r.kind == "msg"]
    assert sum("error" in call for call in calls) == 1  # asked once


def test_receipts_that_do_not_fit_are_asked_for_again_then_left_out() -> None:
    talk = Conversation(Node(5), CONFIG)
    talk.connect()
    talk.node.mine()
    wrong = talk.node.receipts_of(talk.node.canonical[3])
    talk.node.receipts_of = lambda block: wrong  # type: ignore[method-assign]
    talk.head()
    for _ in range(60):
        talk.ticks(1)
        talk.answer()
    assert talk.chain() == talk.canonical(4)
    assert talk.core.stats.parse_errors == CONFIG.attempts
    assert {r["success"] for r in talk.rows("transfers") if r["height"] == 5 and r["tx_hash"]} == {None}


def test_silent_node_is_asked_and_a_dead_one_left() -> None:
    talk = Conversation(Node(10), CONFIG)
    talk.connect()
    talk.node.mine(2)
    talk.ticks(36)
    assert talk.sends() == []
    talk.ticks(1)
    (call,) = talk.sends()
    assert (call["method"], call["params"]) == ("eth_getBlockByNumber", ["latest", False])
    talk.ticks(30)
    assert talk.reconnects() == []
    talk.ticks(2)
    assert talk.reconnects() == ["no_answer"]
    talk.give("close", b"no_answer: asked by the core")
    talk.connect()
    assert talk.chain() == talk.canonical(9)


def test_watermark_is_the_newest_block_time() -> None:
    talk = Conversation(Node(20), history(10))
    talk.connect()
    talk.node.reorganise(2, 1)
    talk.head()
    times = [int(row["ts_block"].timestamp()) * SECOND for row in talk.rows("blocks")]
    expected = [max(times[:n], default=0) for n in range(len(times))]
    assert watermarks_of(talk.batches, "blocks") == expected
    assert len(watermarks_of(talk.batches, "transfers")) == len(talk.rows("transfers"))
    assert talk.batches[-1].watermark_us == max(times)
    assert [row["op"] for row in talk.rows("blocks")] == [1] * 11 + [-1] * 2 + [1] * 3


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        b"\xff",
        b"[1,2]",
        b"",
        b"{" * 100_000,
        b'{"x":' * 100_000,
        {"jsonrpc": "2.0", "id": 999, "error": {"code": -32000, "message": "limit"}},
        {"method": "eth_subscription", "params": {"result": {"number": "0x1"}}},
        {"method": "eth_subscription", "params": {"result": {"number": "x", "hash": "0x", "parentHash": "0x"}}},
    ],
)
def test_bad_message_is_quarantined_and_the_feed_goes_on(body: Any) -> None:
    talk = Conversation(Node(5), CONFIG)
    talk.connect()
    talk.msg(body)
    (row,) = talk.rows("quarantine")
    assert row["position"] == len(talk.records) - 1
    assert talk.core.stats.parse_errors == 1
    talk.node.mine()
    talk.head()
    assert talk.chain() == talk.canonical(4)


def test_batched_and_unknown_messages() -> None:
    talk = Conversation(Node(5), CONFIG)
    talk.give("open")
    answers = [talk.node.answer(call) for call in talk.sends()]
    talk.msg(answers)
    talk.answer()
    assert talk.chain() == talk.canonical(4)
    talk.msg({"id": 77, "result": 1})
    talk.msg({"method": "eth_other"})
    assert talk.core.stats.unknown == 2


def test_spoiled_block_is_asked_for_again() -> None:
    talk = Conversation(Node(5), CONFIG)
    talk.connect()
    talk.node.mine()
    value = talk.node.head["transactions"][0]["value"]
    talk.node.head["transactions"][0]["value"] = "1.5"
    talk.head()
    assert talk.core.stats.parse_errors == 1
    talk.node.head["transactions"][0]["value"] = value
    talk.ticks(1)
    talk.answer()
    assert talk.chain() == talk.canonical(4)


steps = st.one_of(
    st.tuples(st.just("mine"), st.integers(1, 8), st.booleans()),
    st.tuples(st.just("fork"), st.integers(1, 6), st.booleans()),
    st.tuples(st.just("drop"), st.integers(0, 3), st.just(False)),
    st.tuples(st.just("tick"), st.integers(1, 40), st.just(False)),
    st.tuples(st.just("answer"), st.integers(1, 3), st.just(False)),
)


def play(script: list[tuple[str, int, bool]], config: EthereumConfig) -> Conversation:
    talk = Conversation(Node(30), config)
    talk.connect()
    for what, count, tell in script:
        if what == "mine":
            talk.node.mine(count)
        elif what == "fork":
            talk.node.reorganise(count, 1)
        elif what == "drop":
            talk.give("close", b"closed: 1006")
            talk.sends()
            talk.node.mine(count)
            talk.give("open")
        elif what == "tick":
            talk.ticks(count)
        else:
            talk.answer(count)
        if tell:
            talk.msg(talk.node.note())
    return talk


@settings(deadline=None, max_examples=60)
@given(script=st.lists(steps, max_size=15), cut=st.floats(0, 1))
def test_rows_depend_on_the_records_alone(script: list[tuple[str, int, bool]], cut: float) -> None:
    config = history(12)
    records = play(script, config).records
    assert_same_in_any_chunks(lambda state: EthereumCore(config, state), records, int(cut * len(records)))


@settings(deadline=None, max_examples=100)
@given(script=st.lists(steps, max_size=15))
def test_ends_on_the_canonical_chain_with_its_transfers_alone(script: list[tuple[str, int, bool]]) -> None:
    talk = play(script, history(12, max_reorg=64))
    talk.answer()
    talk.node.mine()
    talk.head()
    for _ in range(100):
        talk.ticks(1)
        talk.answer()
    assert talk.core.stats.gaps == 0
    assert talk.chain() == talk.canonical(17)
    fresh = Conversation(talk.node, history(len(talk.node.canonical) - 1 - 17))
    fresh.connect()
    assert fresh.standing() == talk.standing()


@settings(deadline=None, max_examples=200)
@given(
    body=st.recursive(
        st.one_of(st.none(), st.integers(-(2**63), 2**64 - 1), st.sampled_from(["0x", "0x1", "0x" + "ab" * 32, "x"])),
        lambda child: st.one_of(
            st.lists(child, max_size=3),
            st.dictionaries(
                st.sampled_from(
                    ["number", "hash", "parentHash", "timestamp", "transactions", "withdrawals", "error", "code"]
                ),
                child,
                max_size=6,
            ),
        ),
        max_leaves=8,
    )
)
def test_no_answer_is_fatal(body: Any) -> None:
    talk = Conversation(Node(12), history(8))
    talk.give("open")
    for _ in range(6):
        for call in talk.sends():
            talk.msg({"id": call["id"], "result": body})
            talk.msg({"id": call["id"], "error": body})
        talk.ticks(1)
        talk.answer(1)
    EthereumCore(history(8), talk.core.snapshot())
