from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.tables import EVENT_KINDS
from dashboards.history import Row, as_dicts
from dashboards.words import reasons, sentence
from tests.dashboards.feeder import START_US, VIEW, WINDOW, event

NAMES = {(WINDOW, VIEW, 1): "BNB", (WINDOW, VIEW, 2): "ADA", (WINDOW, VIEW, 3): "shoal 3"}


def row(kind: str, **columns: Any) -> Row:
    return as_dicts(pa.Table.from_batches([event(kind, START_US, **columns)]))[0]


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (
            row("left", coin_id="SOL", shoal_from=1, shoal_to=2, margin=-0.21, evidence={
                "counterparts": [{"coin": "DOT", "before": 0.1, "after": 0.6},
                                 {"coin": "BNB", "before": 0.6, "after": 0.1}]}),
            "SOL left BNB's shoal for ADA's, margin −0.21; now closer to DOT",  # noqa: RUF001
        ),
        (row("left", coin_id="SOL", shoal_from=1, margin=-0.2, evidence={"from": "XRP", "to": None}),
         "SOL left XRP's shoal, margin −0.20"),  # noqa: RUF001
        (row("left", coin_id="sol", shoal_from=1, shoal_to=3), "sol left BNB's shoal for shoal 3"),
        (row("joined", coin_id="SOL", shoal_to=2), "SOL joined ADA's shoal"),
        (row("outcome", coin_id="SOL", shoal_from=1, evidence={"outcome": "returned"}), "SOL came home to BNB's shoal"),
        (row("split", shoal_from=1, shoal_to=2), "BNB's shoal split; a part of it is now ADA's shoal"),
        (row("merged", shoal_from=9, shoal_to=1), "Shoal 9 merged into BNB's shoal"),
        (row("born", shoal_to=2, evidence={"size": 4}), "A new shoal formed: ADA's shoal, 4 coins"),
        (row("died", shoal_from=1), "BNB's shoal dissolved"),
        (row("depeg", coin_id="USDT", evidence={"price": 0.9721}), "USDT is off its peg: 0.9721"),
        (row("price_regime", evidence={"asset": "ethereum", "now": "falling"}),
         "The price regime of ethereum is now falling"),
        (row("structure_shift"), f"The structure of window {WINDOW} shifted"),
        (row("drift", evidence={"series": "ari", "before": 0.91, "after": 0.72}), "Ari drifted from 0.91 to 0.72"),
        (row("gap", coin_id="XRP", evidence={"missing": 17, "filled": 0}),
         "Events are missing on XRP: 17 missing, 0 filled"),
        (row("reorg", view="ethereum", evidence={"depth": 1, "from_height": 45586261}),
         "Ethereum was reorganised, 1 block deep, from height 45,586,261"),
    ],
)  # fmt: skip
def test_sentences(told: Row, text: str) -> None:
    assert sentence(told, NAMES) == text


def test_reasons_say_what_the_evidence_says() -> None:
    told = row("left", coin_id="SOL", shoal_from=1, shoal_to=2, margin=-0.21, evidence={
        "counterparts": [{"coin": "DOT", "before": 0.1, "after": 0.6}], "margin_before": 0.3, "mode_share": 0.44,
        "quiet_as_of_us": 5, "coverage": 0.98})  # fmt: skip
    assert reasons(told) == [
        "correlation with DOT: +0.10 before, +0.60 now",
        "margin +0.30 before, −0.21 now",  # noqa: RUF001
        "44% of its movement is the market's common mode",
        "coverage: 0.98",
    ]


TREES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["counterparts", "coins", "from", "to", "margin_before", "size", "price", "depth", "series",
                        "before", "after", "now", "asset", "outcome", "missing", "mode_share",
                        "from_height"])  # fmt: skip


@given(st.sampled_from([*EVENT_KINDS, "unheard_of"]), st.dictionaries(KEYS, TREES, max_size=6) | TREES, st.booleans())
def test_no_evidence_breaks_a_sentence(kind: str, tree: Any, bare: bool) -> None:
    told = {
        **row("left", coin_id=None if bare else "SOL", shoal_from=None if bare else 1, margin=None if bare else 0.1)
    }
    told |= {"kind": kind, "evidence": json.dumps(tree)}
    assert sentence(told, NAMES)
    assert all(isinstance(line, str) for line in reasons(told))
    assert sentence({**told, "evidence": "{not json"}, NAMES)
