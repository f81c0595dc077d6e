"""Events in a person's words.

``evidence`` is JSON whose keys differ by kind; whatever is there is used, and whatever is not is left out. Known keys:
``from``, ``to`` (names of shoals at that time), ``counterparts`` (coins whose correlation with the coin changed most:
``coin``, ``before``, ``after``), ``margin_before``, ``mode_share``, ``coins``, ``size``, ``outcome``, ``followed``,
``mates``, ``asset``, ``now``, ``series``, ``before``, ``after``, ``price``, ``missing``, ``filled``, ``feed``,
``depth``, ``from_height``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard

from dashboards.history import Row
from dashboards.state import Names

Evidence: TypeAlias = dict[str, Any]

_NAMED: Final = 3
_LISTED: Final = 6
_TOLD: Final = frozenset(
    {"from", "to", "home", "margin_before", "margin_now", "mode_share", "cooldown_until_bar", "asset", "now", "outcome"}
)


def evidence_of(row: Row) -> Evidence:
    """Return an event's evidence as a tree; empty if there is none or it is no JSON object."""
    try:
        tree = json.loads(row["evidence"] or "{}")
    except json.JSONDecodeError:
        return {}
    return tree if isinstance(tree, dict) else {}


def sentence(row: Row, names: Names) -> str:
    """Return what happened, as one sentence without a full stop."""
    write = _SENTENCES.get(row["kind"])
    if write is None:
        return " ".join(part for part in (row["coin_id"], row["kind"].replace("_", " ")) if part)
    text = write(_Event(row, evidence_of(row), names))
    return text[:1].upper() + text[1:] if not row["coin_id"] or not text.startswith(row["coin_id"]) else text


def shoal_name(row: Row, number: int | None, names: Names) -> str | None:
    """Return the name of a shoal of the event's view."""
    if number is None:
        return None
    return names.get((row["window"] or "", row["view"] or "", number)) or f"shoal {number}"


def ends(row: Row, names: Names) -> tuple[str | None, str | None]:
    """Return the names of the shoals that an event is from and to, as they were then where the evidence has them."""
    told = _Event(row, evidence_of(row), names)
    return told.origin, told.destination


def reasons(row: Row) -> list[str]:
    """Return the evidence as short lines, for people who ask why."""
    tree = evidence_of(row)
    lines = [line for item in _counterparts(tree) if (line := _changed(item))]
    if not lines and (coins := _coins(tree)):
        lines.append(f"coins: {', '.join(coins)}")
    if _is_number(before := tree.get("margin_before")) and _is_number(row["margin"]):
        lines.append(f"margin {signed(before)} before, {signed(row['margin'])} now")
    if _is_number(share := tree.get("mode_share")):
        lines.append(f"{share:.0%} of its movement is the market's common mode")
    for name, value in sorted(tree.items()):
        if name in _TOLD or name.endswith("_us") or isinstance(value, bool) or not isinstance(value, (int, float, str)):
            continue
        lines.append(f"{name.replace('_', ' ')}: {value[:80] if isinstance(value, str) else f'{value:.6g}'}")
    return lines


def signed(value: float) -> str:
    """Return a number with two decimals and a real minus sign."""
    return f"{value:+.2f}".replace("-", "−")  # noqa: RUF001


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _counterparts(tree: Evidence) -> list[dict[str, Any]]:
    listed = tree.get("counterparts")
    return [item for item in listed if isinstance(item, dict)][:_LISTED] if isinstance(listed, list) else []


def _changed(item: dict[str, Any]) -> str | None:
    """Return how the correlation with a counterpart changed."""
    before, after = item.get("before"), item.get("after")
    if not (_is_number(before) and _is_number(after)):
        return None
    return f"correlation with {item.get('coin')}: {signed(before)} before, {signed(after)} now"


def _coins(tree: Evidence) -> list[str]:
    """Return the coins that the evidence names, at most three; of counterparts, those that came closer."""
    closer = [c for c in _counterparts(tree) if c.get("after") is None or c["after"] > (c.get("before") or 0.0)]
    listed = closer or tree.get("counterparts", tree.get("coins", []))
    if not isinstance(listed, list):
        return []
    names = [item.get("coin") if isinstance(item, dict) and closer else item for item in listed]
    return [name for name in names if isinstance(name, str)][:_NAMED]


@dataclass(frozen=True, slots=True)
class _Event:
    """An event with its evidence as a tree, and the names to tell it by."""

    row: Row
    tree: Evidence
    names: Names

    def named(self, number: int | None) -> str | None:
        return shoal_name(self.row, number, self.names)

    @property
    def origin(self) -> str | None:
        """The name of the shoal that it is from, at that time."""
        number = self.row["shoal_from"]
        return _at_that_time(self.tree.get("from"), number) or self.named(number)

    @property
    def destination(self) -> str | None:
        """The name of the shoal that it is to, at that time."""
        number = self.row["shoal_to"]
        return _at_that_time(self.tree.get("to"), number) or self.named(number)


def _at_that_time(name: object, number: int | None) -> str | None:
    if not isinstance(name, str) or not name or number is None:
        return None
    return f"shoal {name}" if name.isdigit() else name


def _of(name: str | None) -> str:
    """Return "ADA's shoal", or "shoal 7" for one that is named by its number."""
    if name is None:
        return "its shoal"
    return name if name.startswith("shoal ") else f"{name}'s shoal"


def _left(e: _Event) -> str:
    to = e.destination
    text = f"{e.row['coin_id']} left {_of(e.origin)}"
    if to is not None:
        text += f" for {_of(to)}" if to.startswith("shoal ") else f" for {to}'s"
    if _is_number(e.row["margin"]):
        text += f", margin {signed(e.row['margin'])}"
    coins = _coins(e.tree)
    return text + (f"; now closer to {', '.join(coins)}" if coins else "")


def _joined(e: _Event) -> str:
    text = f"{e.row['coin_id']} joined {_of(e.destination)}"
    coins = _coins(e.tree)
    return text + (f"; closest to {', '.join(coins)}" if coins else "")


def _outcome(e: _Event) -> str:
    outcome = e.tree.get("outcome")
    phrase = {
        "returned": "came home to",
        "forerunner": "was a forerunner: others followed it out of",
        "apart": "stayed away from",
    }.get(str(outcome), "closed its departure from")
    return f"{e.row['coin_id']} {phrase} {_of(e.origin)}"


def _split(e: _Event) -> str:
    to = e.destination
    return f"{_of(e.origin)} split" + (f"; a part of it is now {_of(to)}" if to else "")


def _merged(e: _Event) -> str:
    return f"{_of(e.origin)} merged into {_of(e.destination)}"


def _born(e: _Event) -> str:
    size = e.tree.get("size")
    name = e.destination if e.row["shoal_to"] is not None else e.origin
    return f"a new shoal formed: {_of(name)}" + (f", {size} coins" if _is_number(size) else "")


def _died(e: _Event) -> str:
    return f"{_of(e.origin if e.row['shoal_from'] is not None else e.destination)} dissolved"


def _depeg(e: _Event) -> str:
    price = e.tree.get("price")
    return f"{e.row['coin_id']} is off its peg" + (f": {price:.4f}" if _is_number(price) else "")


def _regime(e: _Event) -> str:
    regime = e.tree.get("now", e.tree.get("regime", "another one"))
    return f"the price regime of {e.row['coin_id'] or e.tree.get('asset') or 'the market'} is now {regime}"


def _shift(e: _Event) -> str:
    return f"the structure of window {e.row['window']} shifted"


def _drift(e: _Event) -> str:
    series = str(e.tree.get("series", e.tree.get("statistic", e.row["view"] or e.row["window"] or "a series")))
    change = ""
    if _is_number(e.tree.get("before")) and _is_number(e.tree.get("after")):
        change = f" from {e.tree['before']:.3g} to {e.tree['after']:.3g}"
    return f"{series.replace('_', ' ')} drifted{change}"


def _gap(e: _Event) -> str:
    text = f"events are missing on {e.row['coin_id'] or e.tree.get('feed') or e.row['window'] or 'a feed'}"
    counts = [f"{e.tree[name]:,.0f} {name}" for name in ("missing", "filled") if _is_number(e.tree.get(name))]
    return text + (f": {', '.join(counts)}" if counts else "")


def _reorg(e: _Event) -> str:
    depth, height = e.tree.get("depth"), e.tree.get("from_height")
    text = f"{e.tree.get('chain') or e.row['view'] or e.row['window'] or 'the chain'} was reorganised"
    text += f", {depth:,.0f} {'block' if depth == 1 else 'blocks'} deep" if _is_number(depth) else ""
    return text + (f", from height {height:,.0f}" if _is_number(height) else "")


_SENTENCES: Final[dict[str, Callable[[_Event], str]]] = {
    "left": _left,
    "joined": _joined,
    "outcome": _outcome,
    "split": _split,
    "merged": _merged,
    "born": _born,
    "died": _died,
    "depeg": _depeg,
    "price_regime": _regime,
    "structure_shift": _shift,
    "drift": _drift,
    "gap": _gap,
    "reorg": _reorg,
}
