"""The views of one window side by side: how far they agree, and which coins they put together."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from bytewax.operators import StatefulBatchLogic
from typing_extensions import override

from flows.items import Int64, ViewLabels
from flows.results import Rows, make_rows
from flows.views import PROTOTYPE_VIEWS
from models.identity import NONE
from models.intersections import intersect
from models.partitions import adjusted_rand


class CombineLogic(StatefulBatchLogic[ViewLabels, Rows, bytes]):
    """Waits for every view of a window at one ``as_of``; emits ``agreement`` and ``intersections`` in order of it."""

    def __init__(self, window: str, views: Sequence[str], state: bytes | None) -> None:
        self._window, self._views = window, tuple(views)
        self._waiting: dict[int, dict[str, ViewLabels]] = pickle.loads(state) if state is not None else {}  # noqa: S301 our own snapshot

    @override
    def on_batch(self, values: list[ViewLabels]) -> tuple[Iterable[Rows], bool]:
        for value in values:
            self._waiting.setdefault(value.as_of_us, {})[value.view] = value
        return list(self._complete()), self.RETAIN

    @override
    def snapshot(self) -> bytes:
        return pickle.dumps(self._waiting)

    def _complete(self) -> Iterator[Rows]:
        while self._waiting:
            as_of_us = min(self._waiting)
            found = self._waiting[as_of_us]
            if len(found) < len(self._views):
                return
            del self._waiting[as_of_us]
            at = {"as_of": as_of_us, "window": self._window}
            yield from _agreement(at, found)
            yield from _intersections(at, found)


def common_labels(labels: Sequence[ViewLabels]) -> tuple[tuple[str, ...], list[Int64]]:
    """Return the coins to which all views give a shoal, sorted, and their shoals by view."""
    shoals = [dict(zip(one.coin_ids, one.shoal.tolist(), strict=True)) for one in labels]
    coins = tuple(coin for coin in labels[0].coin_ids if all(shoal.get(coin, NONE) != NONE for shoal in shoals))
    return coins, [np.array([shoal[coin] for coin in coins], dtype=np.int64) for shoal in shoals]


def _agreement(at: dict[str, object], found: dict[str, ViewLabels]) -> Iterator[Rows]:
    for a, b in itertools.combinations(sorted(found), 2):
        coins, (labels_a, labels_b) = common_labels([found[a], found[b]])
        if coins:
            yield make_rows("agreement", {**at, "view_a": a, "view_b": b, "ari": adjusted_rand(labels_a, labels_b)})


def _intersections(at: dict[str, object], found: dict[str, ViewLabels]) -> Iterator[Rows]:
    """Return the cell of each coin: its shoals in the prototype views, in their order."""
    views = [view for view in PROTOTYPE_VIEWS if view in found]
    if len(views) < 2:
        return
    coins, labels = common_labels([found[view] for view in views])
    if not coins:
        return
    cells = intersect(dict(zip(views, labels, strict=True)), coins)
    yield make_rows("intersections", {**at, "coin_id": list(coins), "cell": cells.cell, "rank": cells.rank})
