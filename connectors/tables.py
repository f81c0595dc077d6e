"""The result tables: names, columns, types and sort keys. The contract that readers of results rely on.

``shoal`` and ``home`` numbers are int64, null = none. Ratios are float64. ``evidence`` is JSON with sorted keys.
Every table sorts by a key that is unique, so that a finished folder does not depend on the order in which the
dataflow produced its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa

from connectors.schema import TIME

Branch = Literal["market", "chain", "all"]


@dataclass(frozen=True, slots=True)
class Table:
    """One result table: its branch, schema and sort key."""

    name: str
    branch: Branch
    schema: pa.Schema
    key: tuple[str, ...]


_TEXT, _INT, _REAL, _BOOL = pa.utf8(), pa.int64(), pa.float64(), pa.bool_()
_AT: Final = [("as_of", TIME), ("window", _TEXT)]
_VIEW: Final = [*_AT, ("view", _TEXT)]
_CHAIN: Final = [("as_of", TIME), ("chain", _TEXT), ("window", _TEXT)]


def _table(name: str, branch: Branch, columns: list[tuple[str, pa.DataType]], key: str) -> Table:
    return Table(name, branch, pa.schema(columns), tuple(key.split()))


_TABLES: Final = [
    _table(
        "fits",
        "market",
        [*_VIEW, ("clusters", _INT), ("converged", _BOOL), ("iterations", _INT), ("silhouette", _REAL),
         ("coins", _INT), ("coverage", _REAL)],
        "as_of window view",
    ),
    _table(
        "shoals",
        "market",
        [*_VIEW, ("shoal", _INT), ("name", _TEXT), ("size", _INT), ("born_as_of", TIME), ("died_as_of", TIME),
         ("parents", pa.list_(_INT))],
        "as_of window view shoal",
    ),
    _table(
        "memberships",
        "market",
        [*_VIEW, ("coin_id", _TEXT), ("shoal", _INT), ("home", _INT), ("margin", _REAL), ("distance", _REAL),
         ("is_exemplar", _BOOL), ("coverage", _REAL)],
        "as_of window view coin_id",
    ),
    _table(
        "drift",
        "market",
        [*_VIEW, ("ari", _REAL), ("ami", _REAL), ("vi", _REAL), ("churn", _REAL), ("effective_rank", _REAL),
         ("edge_density", _REAL)],
        "as_of window view",
    ),
    _table("agreement", "market", [*_AT, ("view_a", _TEXT), ("view_b", _TEXT), ("ari", _REAL)],
           "as_of window view_a view_b"),
    _table(
        "events",
        "all",
        [*_VIEW, ("kind", _TEXT), ("coin_id", _TEXT), ("shoal_from", _INT), ("shoal_to", _INT), ("margin", _REAL),
         ("evidence", _TEXT)],
        "as_of window view kind coin_id shoal_from shoal_to evidence",
    ),
    _table("edges", "market", [*_AT, ("coin_a", _TEXT), ("coin_b", _TEXT), ("partial_correlation", _REAL)],
           "as_of window coin_a coin_b"),
    _table("embedding", "market", [*_AT, ("coin_id", _TEXT), ("x", _REAL), ("y", _REAL), ("z", _REAL)],
           "as_of window coin_id"),
    _table(
        "coverage",
        "market",
        [*_AT, ("coin_id", _TEXT), ("expected", _INT), ("received", _INT), ("missing", _INT), ("duplicate", _INT),
         ("late", _INT)],
        "as_of window coin_id",
    ),
    _table("prototypes", "market",
           [*_VIEW, ("shoal", _INT), ("statistic", _TEXT), ("position", _REAL), ("value", _REAL)],
           "as_of window view shoal statistic position"),
    _table("intersections", "market", [*_AT, ("coin_id", _TEXT), ("cell", _TEXT), ("rank", _INT)],
           "as_of window coin_id"),
    _table("descriptors", "market",
           [*_AT, ("coin_id", _TEXT), ("name", _TEXT), ("value", _REAL), ("class", _TEXT)],
           "as_of window coin_id name"),
    _table(
        "associations",
        "market",
        [*_AT, ("a", _TEXT), ("b", _TEXT), ("level_a", _TEXT), ("level_b", _TEXT), ("observed", _INT),
         ("expected", _REAL), ("residual", _REAL), ("p_chi2", _REAL), ("p_fisher", _REAL)],
        "as_of window a b level_a level_b",
    ),
    _table(
        "composition",
        "chain",
        [*_CHAIN, ("regime", _TEXT), ("event", _TEXT), ("behaviour", _TEXT), ("entities", _INT), ("share", _REAL)],
        "as_of chain window behaviour",
    ),
    _table("transitions", "chain", [*_CHAIN, ("from", _TEXT), ("to", _TEXT), ("entities", _INT)],
           "as_of chain window from to"),
    _table("behaviour_drift", "chain", [*_CHAIN, ("js", _REAL), ("entropy", _REAL)], "as_of chain window"),
    _table(
        "behaviours",
        "chain",
        [*_CHAIN, ("entity", _TEXT), ("total_degree", _REAL), ("in_degree", _REAL), ("out_degree", _REAL),
         ("outgoing_value", _REAL), ("incoming_value", _REAL), ("balance", _REAL), ("total_value", _REAL),
         ("behaviour", _TEXT), ("decision_margin", _REAL)],
        "as_of chain window entity",
    ),
    _table(
        "networks",
        "chain",
        [*_CHAIN, ("nodes", _INT), ("edges", _INT), ("density", _REAL), ("reciprocity", _REAL),
         ("assortativity", _REAL), ("components", _INT), ("largest_component", _INT), ("clustering", _REAL),
         ("noisy_share", _REAL), ("exponent_degree", _REAL), ("exponent_value", _REAL), ("window_fill", _REAL)],
        "as_of chain window",
    ),
]  # fmt: skip

TABLES: Final[dict[str, Table]] = {table.name: table for table in _TABLES}

BEHAVIOURS: Final = ("optimist", "pessimist", "positive_trader", "negative_trader")
REGIMES: Final = ("rising", "stable", "falling", "unknown")
EVENT_KINDS: Final = (
    "joined", "left", "outcome", "split", "merged", "born", "died",
    "depeg", "price_regime", "structure_shift", "drift", "gap", "reorg",
)  # fmt: skip


def tables_of(branch: Literal["market", "chain"]) -> tuple[Table, ...]:
    """Return the tables that a branch writes, those of both included."""
    return tuple(table for table in _TABLES if table.branch in (branch, "all"))
