"""A small market and chain that publish on a board: valid rows of the result tables, a function of the seed alone.

``python -m tests.dashboards.feeder [PORT]`` serves it, alive, for work on the page.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from prometheus_client import CollectorRegistry

from connectors.tables import BEHAVIOURS, TABLES
from dashboards.board import Board
from dashboards.server import Server

START_US = 1_724_000_000_000_000
MINUTE_US = 60_000_000
WINDOW, VIEW, CHAIN, CHAIN_WINDOW = "minutes", "comovement", "ethereum", "hour"

COINS = tuple(
    "BTC ETH SOL ADA XRP DOGE DOT LINK AVAX UNI LTC ATOM XLM ALGO NEAR FIL AAVE SAND MANA AXS GALA ENJ CHZ "  # noqa: SIM905
    "COMP MKR SNX CRV YFI SUSHI ZEC XMR DASH ETC BCH BSV EOS TRX NEO VET THETA".split()
)


def batch(table: str, columns: dict[str, Any]) -> pa.RecordBatch:
    """Rows of a table; a value that is no list stands for all rows, ``as_of`` in microseconds."""
    n = max([len(v) for v in columns.values() if isinstance(v, (list, np.ndarray))], default=1)
    arrays = []
    for field in TABLES[table].schema:
        value = columns[field.name]
        values = list(value) if isinstance(value, (list, np.ndarray)) else [value] * n
        if pa.types.is_timestamp(field.type):
            arrays.append(pa.array(values, pa.int64()).cast(field.type))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=TABLES[table].schema)


def event(kind: str, as_of: int, **columns: Any) -> pa.RecordBatch:
    """One event's row."""
    evidence = json.dumps(columns.pop("evidence", {}), sort_keys=True)
    blank = {"coin_id": None, "shoal_from": None, "shoal_to": None, "margin": None, "window": WINDOW, "view": VIEW}
    return batch("events", {**blank, "as_of": as_of, "kind": kind, "evidence": evidence, **columns})


class Feeder:
    """Forty coins in five shoals, of which one moves now and then; a chain with four behaviours."""

    def __init__(self, board: Board, coins: Sequence[str] = COINS, shoals: int = 5, seed: int = 7) -> None:
        self.board = board
        self.coins = list(coins)
        self.rng = np.random.default_rng(seed)
        self.home = self.rng.integers(0, shoals, len(self.coins))
        self.home[:shoals] = np.arange(shoals)
        self.shoals = shoals
        angle = 2 * np.pi * np.arange(shoals) / shoals + 0.4
        self.centres = np.c_[np.cos(angle), 0.8 * np.sin(angle), 0.4 * np.cos(2 * angle)] * 0.18
        self.jitter = self.rng.normal(0, 0.045, (len(self.coins), 3))
        self.fits = self.blocks = 0
        self.events = 120_000

    def expect(self) -> None:
        self.board.expect([(WINDOW, [VIEW])], [(CHAIN, CHAIN_WINDOW)], ["binance", CHAIN])
        self.board.build("0.1.0", "0.21.1", "5f2c9d1e")

    def exemplar(self, shoal: int) -> int:
        return int(np.flatnonzero(self.home == shoal)[0])

    def fit(self, mover: int | None = None) -> int:
        """Publish a fit, in which ``mover`` has left its shoal for the next one; return its time."""
        as_of = START_US + self.fits * MINUTE_US
        if mover is not None:
            self._move(mover, as_of)
        n, shoals = len(self.coins), [s for s in range(self.shoals) if np.any(self.home == s)]
        at = {"as_of": as_of, "window": WINDOW, "view": VIEW}
        exemplars = [self.exemplar(s) for s in shoals]
        margin = np.abs(self.rng.normal(0.3, 0.12, n))
        members = {
            "coin_id": self.coins, "shoal": self.home, "home": self.home, "margin": margin, "distance": 1 - margin,
            "is_exemplar": [i in exemplars for i in range(n)], "coverage": 1.0 - self.rng.integers(0, 3, n) * 0.001,
        }  # fmt: skip
        sizes = [int((self.home == s).sum()) for s in shoals]
        publish = self.board.publish
        publish("fits", batch("fits", {**at, "clusters": len(shoals), "converged": True, "iterations": 61,
                                       "silhouette": 0.41, "coins": n, "coverage": 0.998}))  # fmt: skip
        publish("shoals", batch("shoals", {**at, "shoal": [s + 1 for s in shoals], "size": sizes, "died_as_of": None,
                                           "name": [self.coins[e] for e in exemplars], "parents": [[]] * len(shoals),
                                           "born_as_of": START_US}))  # fmt: skip
        publish("memberships", batch("memberships", {**at, **members, "shoal": self.home + 1, "home": self.home + 1}))
        moved = 0 if mover is None else 1
        ari = float(np.clip(0.97 - 0.05 * abs(self.rng.normal()) - 0.12 * moved, 0, 1))
        publish("drift", batch("drift", {**at, "ari": ari, "ami": ari - 0.02, "vi": 1 - ari, "churn": (1 - ari) / 2,
                                         "effective_rank": 11.3, "edge_density": 0.08}))  # fmt: skip
        self._map(as_of)
        self.board.watermark("market", as_of)
        self.board.job("fit", 0.2 + 0.1 * self.rng.random(), as_of)
        self.fits += 1
        return as_of

    def _move(self, coin: int, as_of: int) -> None:
        old = int(self.home[coin])
        new = (old + 1) % self.shoals
        mates = [
            {"coin": self.coins[i], "shoal": None, "before": 0.1, "after": 0.5}
            for i in np.flatnonzero(self.home == new)[:3]
        ]
        names = {"from": self.coins[self.exemplar(old)], "to": self.coins[self.exemplar(new)]}
        self.home[coin] = new
        self.board.publish("events", event(
            "left", as_of, coin_id=self.coins[coin], shoal_from=old + 1, shoal_to=new + 1, margin=-0.21,
            evidence={**names, "counterparts": mates, "margin_before": 0.18, "mode_share": 0.44}))  # fmt: skip

    def _map(self, as_of: int) -> None:
        places = self.centres[self.home] + self.jitter + self.rng.normal(0, 0.004, self.jitter.shape)
        at = {"as_of": as_of, "window": WINDOW}
        x, y, z = places.T
        self.board.publish("embedding", batch("embedding", {**at, "coin_id": self.coins, "x": x, "y": y, "z": z}))
        distance = np.linalg.norm(places[:, None] - places[None], axis=2)
        distance[np.diag_indices(len(places))] = np.inf
        pairs = sorted({tuple(sorted((i, int(j)))) for i in range(len(places)) for j in np.argsort(distance[i])[:3]})
        self.board.publish("edges", batch("edges", {
            **at, "coin_a": [self.coins[i] for i, _ in pairs], "coin_b": [self.coins[j] for _, j in pairs],
            "partial_correlation": [float(0.4 * np.exp(-8 * distance[p])) for p in pairs]}))  # fmt: skip

    def composition(self) -> int:
        """Publish a composition of the chain; return its time."""
        as_of = START_US + self.blocks * MINUTE_US
        k = self.blocks
        weights = np.array([0.34 + 0.1 * np.sin(k / 9), 0.24 - 0.06 * np.sin(k / 9), 0.23 + 0.05 * np.cos(k / 7), 0.19])
        weights = weights / weights.sum()
        entities = np.round(weights * 1_900).astype(int)
        at = {"as_of": as_of, "chain": CHAIN, "window": CHAIN_WINDOW}
        regime = ("rising", "stable", "falling")[(k // 14) % 3]
        self.board.publish("composition", batch("composition", {
            **at, "regime": regime, "event": None, "behaviour": list(BEHAVIOURS), "entities": entities,
            "share": entities / entities.sum()}))  # fmt: skip
        self.board.publish("behaviour_drift", batch("behaviour_drift", {**at, "js": 0.002, "entropy": 1.31}))
        self.board.publish("networks", batch("networks", {
            **at, "nodes": 4_210, "edges": 9_133, "density": 0.0005, "reciprocity": 0.08, "assortativity": -0.11,
            "components": 14, "largest_component": 4_002, "clustering": 0.03, "noisy_share": 0.53,
            "exponent_degree": 2.31, "exponent_value": 1.87, "window_fill": 1.0}))  # fmt: skip
        self.board.watermark("chain", as_of)
        self.blocks += 1
        return as_of

    def heard(self, up: bool = True) -> None:
        """Publish the feeds' totals."""
        self.events += 412
        now = START_US + self.fits * MINUTE_US
        self.board.feed("binance", {
            "up": up, "events": self.events, "parse_errors": 2, "duplicates": 31, "late": 4, "gaps": 1,
            "gap_events_missing": 17, "gap_events_filled": 17, "reconnects": {"watchdog": 1}, "last_event_us": now,
            "lag_us": 48_000, "head_height": -1, "final_height": -1, "reorgs": 0, "reorg_depths": [],
            "queue_depth": 0, "journal_bytes": self.events * 131})  # fmt: skip
        self.board.feed(CHAIN, {
            "up": True, "events": 900 + self.blocks, "parse_errors": 0, "duplicates": 0, "late": 0, "gaps": 0,
            "gap_events_missing": 0, "gap_events_filled": 0, "reconnects": {}, "last_event_us": now, "lag_us": 310_000,
            "head_height": 900 + self.blocks, "final_height": 836 + self.blocks, "reorgs": 2, "reorg_depths": [1, 2],
            "queue_depth": 1, "journal_bytes": 5_000_000})  # fmt: skip

    def story(self, fits: int = 60) -> None:
        """Publish a past: fits with a move every sixth, compositions, the rarer kinds of events."""
        self.expect()
        for k in range(fits):
            self.fit(mover=(k * 7) % len(self.coins) if k % 6 == 5 else None)
            self.composition()
        now = START_US + self.fits * MINUTE_US
        publish = self.board.publish
        publish("events", event("joined", now - 9 * MINUTE_US, coin_id="THETA", shoal_to=2, margin=0.22))
        publish("events", event("price_regime", now - 20 * MINUTE_US, window=CHAIN_WINDOW, view=CHAIN,
                                evidence={"asset": CHAIN, "now": "rising"}))  # fmt: skip
        publish("events", event("merged", now - 31 * MINUTE_US, shoal_from=3, shoal_to=1))
        publish("events", event("born", now - 40 * MINUTE_US, shoal_to=5, evidence={"size": 7}))
        publish("events", event("reorg", now - 2 * MINUTE_US, window="", view=CHAIN,
                                evidence={"depth": 2, "from_height": 957}))  # fmt: skip
        publish(
            "events", event("gap", now - 14 * MINUTE_US, coin_id="XRP", view="", evidence={"missing": 17, "filled": 17})
        )
        self.heard()


def main() -> None:
    board = Board()
    feeder = Feeder(board)
    feeder.story()
    server = Server(board, CollectorRegistry(), "127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8787)
    print("listening on http://{}:{}".format(*server.start()), flush=True)  # noqa: T201
    tick = threading.Event()
    for k in itertools.count():
        tick.wait(1.0)
        feeder.heard()
        if k % 4 == 3:
            feeder.fit(mover=(k * 3) % len(feeder.coins) if k % 12 == 11 else None)
            feeder.composition()


if __name__ == "__main__":
    main()
