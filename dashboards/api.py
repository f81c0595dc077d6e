"""The JSON of ``/api/v1``: pure functions from a board and a query to a tree. No sockets here.

Times are ISO 8601 in UTC; a number that is not finite is null. What is asked for and not there is a
:class:`NotFound` that names what is.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from connectors.tables import BEHAVIOURS, EVENT_KINDS
from dashboards.board import Board
from dashboards.history import Row, as_dicts, event_key
from dashboards.state import EVENTS_KEPT, Names, Snapshot, View
from dashboards.words import ends, evidence_of, reasons, sentence

Query: TypeAlias = Mapping[str, str]
Tree: TypeAlias = dict[str, Any]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EVENTS_ASKED: Final = 100


class NotFound(Exception):  # noqa: N818  (an answer, not a fault)
    """Nothing of that name: what was asked for, and what is known."""

    def __init__(self, what: str, asked: str, known: list[str]) -> None:
        super().__init__(what, asked, known)
        self.what, self.asked, self.known = what, asked, known


class BadQuery(Exception):  # noqa: N818
    """A parameter that cannot be read: its name and what it must be."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, problem)
        self.name, self.problem = name, problem


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path under ``/api/v1`` and its documentation."""

    path: str
    answer: Callable[[Board, Query], Tree]
    summary: str
    parameters: tuple[tuple[str, str, str], ...] = ()


def iso(us: int | None) -> str | None:
    """Return microseconds since the epoch as ISO 8601, or None out of the range of years 1 to 9999."""
    if us is None:
        return None
    try:
        moment = _EPOCH + dt.timedelta(microseconds=us)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds" if us % 1_000_000 else "seconds").replace("+00:00", "Z")


def public(row: Mapping[str, Any]) -> Tree:
    """Return a row with its times in ISO 8601 (columns that end in ``_us``, apart from spans of time)."""
    return {
        (name.removesuffix("_us") if name.endswith("_us") else name): iso(value) if name.endswith("_us") else value
        for name, value in row.items()
    }


def event(row: Row, names: Names) -> Tree:
    """Return an event with its sentence, its reasons and the names of its shoals."""
    name_from, name_to = ends(row, names)
    return {
        "id": hashlib.sha256(repr(event_key(row)).encode()).hexdigest()[:16],
        **public(row),
        "evidence": evidence_of(row),
        "text": sentence(row, names),
        "reasons": reasons(row),
        "name_from": name_from,
        "name_to": name_to,
    }


def feed(name: str, stats: Mapping[str, Any]) -> Tree:
    """Return a feed's totals."""
    last = stats.get("last_event_us") or None
    rest = {k: v for k, v in stats.items() if k not in ("last_event_us", "lag_us", "feed", "reorg_depths")}
    return {"feed": name, **rest, "last_event": iso(last), "lag_seconds": (stats.get("lag_us") or 0) / 1e6}


def composition(row: Row) -> Tree:
    """Return one composition: all four behaviours, also those at 0."""
    return {
        **{name: row[name] for name in ("chain", "window", "regime", "event")},
        "as_of": iso(row["as_of_us"]),
        "entities": {name: row["entities"].get(name, 0) for name in BEHAVIOURS},
        "share": {name: row["share"].get(name, 0.0) for name in BEHAVIOURS},
    }


def status(board: Board, query: Query) -> Tree:
    """Answer /status."""
    now = board.snapshot()
    build = next(iter(now.gauges.get("shoal_build_info", {})), ("", "", ""))
    return {
        "version": build[0],
        "bytewax": build[1],
        "config": build[2],
        "ready": now.ready,
        "missing": list(now.missing),
        "watermarks": {branch: iso(us) for branch, us in now.watermarks.items()},
        "regimes": dict(now.regimes),
        "windows": [window["name"] for window in windows(board, query)["windows"]],
        "chains": [{"chain": chain, "window": window} for chain, window in now.chains],
        "feeds": sorted({*now.expected.feeds, *now.feeds}),
        "progress": {window: {"have": have, "need": need} for window, (have, need) in now.progress.items()},
        "jobs": {
            name: {"runs": job.runs, "seconds": job.seconds, "last_success": iso(job.last_success_us)}
            for name, job in now.jobs.items()
        },
    }


def windows(board: Board, _: Query) -> Tree:
    """Answer /windows."""
    now = board.snapshot()
    result: dict[str, Tree] = {}
    for window, view in now.views:
        have, need = now.progress.get(window, (None, None))
        entry = result.setdefault(window, {"name": window, "bars": have, "bars_needed": need, "views": []})
        fit = now.fits.get((window, view))
        entry["views"].append(
            {"view": view, "fits": now.fits_published.get((window, view), 0), "fit": public(fit.row) if fit else None}
        )
    return {"windows": list(result.values())}


def market_map(board: Board, query: Query) -> Tree:
    """Answer /map: coins in their places, with their shoals, and the edges between them."""
    now = board.snapshot()
    window, view = _view(now, query)
    fit = now.fits.get((window, view))
    places = _places(now, window)
    coins = []
    for row in as_dicts(fit.members) if fit else []:
        x, y, z = places.get(row["coin_id"], (None, None, None))
        name = now.names.get((window, view, row["shoal"])) if row["shoal"] is not None else None
        kept = {k: row[k] for k in ("coin_id", "shoal", "home", "margin", "coverage", "is_exemplar")}
        coins.append({**kept, "x": x, "y": y, "z": z, "name": name})
    edges = now.of_window.get(("edges", window))
    return {
        "window": window,
        "view": view,
        "as_of": iso(fit.as_of_us) if fit else None,
        "fit": public(fit.row) if fit else None,
        "coins": coins,
        "edges": [
            [row["coin_a"], row["coin_b"], row["partial_correlation"]]
            for row in (as_dicts(edges) if edges is not None else [])
        ],
        "waiting": _waiting(now, window, view),
    }


def shoals(board: Board, query: Query) -> Tree:
    """Answer /shoals: the shoals of the newest fit and who is in them."""
    now = board.snapshot()
    window, view = _view(now, query)
    fit = now.fits.get((window, view))
    members: dict[int, list[str]] = {}
    exemplars: dict[int, str] = {}
    for row in as_dicts(fit.members) if fit else []:
        if row["shoal"] is not None:
            members.setdefault(row["shoal"], []).append(row["coin_id"])
            if row["is_exemplar"]:
                exemplars[row["shoal"]] = row["coin_id"]
    rows = [public(row) for row in as_dicts(fit.shoals)] if fit else []
    for row in rows:
        row["coins"] = members.get(row["shoal"], [])
        row["exemplar"] = exemplars.get(row["shoal"])
    living = [row for row in rows if row["died_as_of"] is None]
    living.sort(key=lambda row: (-(row["size"] or 0), row["shoal"]))
    return {"window": window, "view": view, "as_of": iso(fit.as_of_us) if fit else None, "shoals": living}


def drift(board: Board, query: Query) -> Tree:
    """Answer /drift: the newest points of a view's drift, oldest first, and its fits."""
    window, view = _view(board.snapshot(), query)
    fits = {row["as_of_us"]: row for row in board.fit_rows((window, view))}
    points = []
    for row in board.drift((window, view)):
        fit = fits.get(row["as_of_us"], {})
        points.append({**public(row), "clusters": fit.get("clusters"), "converged": fit.get("converged")})
    return {"window": window, "view": view, "points": points}


def events(board: Board, query: Query) -> Tree:
    """Answer /events: newest first."""
    limit = _number(query, "limit", _EVENTS_ASKED, 1, EVENTS_KEPT)
    before = _time(query, "before")
    kinds = [kind for kind in query.get("kind", "").split(",") if kind]
    for kind in kinds:
        if kind not in EVENT_KINDS:
            raise NotFound("kind", kind, list(EVENT_KINDS))
    names = board.snapshot().names
    chosen: list[Tree] = []
    for row in reversed(board.events()):
        if len(chosen) == limit:
            break
        wanted = all(query.get(part) in (None, "", row[part] or "") for part in ("window", "view"))
        if wanted and (before is None or row["as_of_us"] < before) and (not kinds or row["kind"] in kinds):
            chosen.append(event(row, names))
    return {"events": chosen}


def coin(board: Board, query: Query) -> Tree:
    """Answer /coins/{id}: where a coin is in each view, its nearest coins, its events."""
    now = board.snapshot()
    name = query["id"]
    places = []
    for (window, view), fit in sorted(now.fits.items()):
        for row in as_dicts(fit.members.filter([coin_id == name for coin_id in fit.members["coin_id"].to_pylist()])):
            places.append({**public(row), "departures": now.departures.get((window, view), {}).get(name, 0)})
            for part in ("shoal", "home"):
                key = (window, view, row[part])
                places[-1][f"{part}_name"] = now.names.get(key) if row[part] is not None else None
    listed = [event(row, now.names) for row in reversed(board.events()) if row["coin_id"] == name][:_EVENTS_ASKED]
    if not places and not listed:
        raise NotFound("coin", name, [])
    return {"coin_id": name, "views": places, "neighbours": _neighbours(now, name), "events": listed}


def compositions(board: Board, query: Query) -> Tree:
    """Answer /composition: the newest mixes of behaviours of a chain, oldest first."""
    now = board.snapshot()
    asked = query.get("chain", "")
    chosen = [key for key in now.chains if asked in ("", key[0])]
    if not chosen:
        if not asked:
            return {"chain": None, "window": None, "points": [], "drift": None}
        raise NotFound("chain", asked, sorted({key[0] for key in now.chains}))
    chain, window = chosen[0]
    moved = now.of_chain.get(("behaviour_drift", chain, window))
    return {
        "chain": chain,
        "window": window,
        "points": [composition(row) for row in board.compositions((chain, window))],
        "drift": public(as_dicts(moved)[-1]) if moved is not None else None,
    }


def feeds(board: Board, _: Query) -> Tree:
    """Answer /feeds."""
    now = board.snapshot()
    names = sorted({*now.expected.feeds, *now.feeds})
    return {"feeds": [feed(name, now.feeds.get(name, {"up": False})) for name in names]}


def _places(now: Snapshot, window: str) -> dict[str, tuple[float, float, float]]:
    rows = now.of_window.get(("embedding", window))
    return {r["coin_id"]: (r["x"], r["y"], r["z"]) for r in as_dicts(rows)} if rows is not None else {}


def _neighbours(now: Snapshot, name: str) -> Tree:
    """Return, by window, the coins that an edge joins to this one, the strongest first."""
    result: Tree = {}
    for (table, window), rows in sorted(now.of_window.items()):
        if table != "edges":
            continue
        near = []
        for row in as_dicts(rows):
            if name in (row["coin_a"], row["coin_b"]):
                other = row["coin_b"] if row["coin_a"] == name else row["coin_a"]
                near.append({"coin_id": other, "partial_correlation": row["partial_correlation"]})
        result[window] = sorted(near, key=lambda n: (-(n["partial_correlation"] or 0.0), n["coin_id"]))
    return result


def _waiting(now: Snapshot, window: str, view: str) -> str | None:
    """Return what an empty map waits for."""
    if (window, view) in now.fits:
        return None
    have, need = now.progress.get(window, (0, 0))
    return f"waiting for the first fit: {have} of {need} bars" if need else "waiting for the first fit"


def _view(now: Snapshot, query: Query) -> View:
    """Return the (window, view) that a query means; the first of them where it does not say."""
    known = now.views
    if not known:
        raise NotFound("window", query.get("window", ""), [])
    window = query.get("window") or known[0][0]
    views = [view for name, view in known if name == window]
    if not views:
        raise NotFound("window", window, list(dict.fromkeys(name for name, _ in known)))
    view = query.get("view") or views[0]
    if view not in views:
        raise NotFound("view", view, views)
    return window, view


def _number(query: Query, name: str, default: int, least: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9) or not least <= int(text) <= most:
        raise BadQuery(name, f"must be a whole number from {least} to {most}")
    return int(text)


def _time(query: Query, name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        return (moment - _EPOCH) // dt.timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise BadQuery(name, "must be a time like 2021-05-19T13:00:00Z") from None


_WINDOW: Final = ("window", "string", "name of the window; the first one if absent")
_VIEW: Final = ("view", "string", "name of the view; the window's first one if absent")

ENDPOINTS: Final = (
    Endpoint("status", status, "What runs, whether it is ready, and what is missing if not"),
    Endpoint("windows", windows, "The windows, their views and newest fits"),
    Endpoint("map", market_map, "The market map: coins, their places and shoals, edges", (_WINDOW, _VIEW)),
    Endpoint("shoals", shoals, "The shoals of the newest fit", (_WINDOW, _VIEW)),
    Endpoint("drift", drift, "How much successive fits agree", (_WINDOW, _VIEW)),
    Endpoint(
        "events",
        events,
        "Events, newest first",
        (
            ("limit", "integer", f"how many, 1 to {EVENTS_KEPT}"),
            ("kind", "string", "only these kinds, separated by commas"),
            ("before", "string", "only events before this time"),
            ("window", "string", "only events of this window"),
            ("view", "string", "only events of this view"),
        ),
    ),
    Endpoint("coins/{id}", coin, "One coin: its shoals, nearest coins and events"),
    Endpoint("composition", compositions, "The mix of behaviours of a chain", (("chain", "string", "the chain"),)),
    Endpoint("feeds", feeds, "The feeds: up, lag, what was counted"),
)


def openapi() -> Tree:
    """Return the description of the API, as OpenAPI 3.1."""
    paths: Tree = {}
    for endpoint in ENDPOINTS:
        inside = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
        parameters: list[Tree] = inside if "{id}" in endpoint.path else []
        parameters += [
            {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": kind}}
            for name, kind, text in endpoint.parameters
        ]
        answers = {"200": _json_answer("the answer")}
        if parameters:
            answers["400"] = _json_answer("a parameter that cannot be read")
            answers["404"] = _json_answer("nothing of that name; `known` lists what there is")
        operation = {"summary": endpoint.summary, "parameters": parameters, "responses": answers}
        paths[f"/api/v1/{endpoint.path}"] = {"get": operation}
    stream = {"description": "events: fit, event, composition, feed", "content": {"text/event-stream": {}}}
    paths["/api/v1/stream"] = {"get": {"summary": "What is published, as it comes", "responses": {"200": stream}}}
    info = {"title": "Shoal", "version": "1", "description": "The latest results of Shoal. Read-only."}
    return {"openapi": "3.1.0", "info": info, "paths": paths}


def _json_answer(text: str) -> Tree:
    return {"description": text, "content": {"application/json": {"schema": {"type": "object"}}}}
