"""What holds over the whole project: imports run one way, no clock in the computation, names that others rely on."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest

from connectors.tables import BEHAVIOURS, EVENT_KINDS, REGIMES, TABLES, tables_of
from flows.config import Config, Window
from flows.monitor import Inputs, Running, build
from flows.sinks import TableSink
from flows.sources import Position, Reader
from tests.conftest import ROOT

PACKAGES: Final = ("connectors", "models", "flows", "dashboards")

MAY_IMPORT: Final = {
    "models": set(),
    "connectors": set(),
    "dashboards": {"connectors"},
    "flows": {"connectors", "models", "dashboards"},
}
"""Of our own packages, besides itself. ``models`` is arrays in, values out; bytewax is the business of flows alone."""


def modules(package: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Return line and full name of everything that a module imports, at its top or later."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    forbidden = {*PACKAGES, "tests", "benchmarks"} - MAY_IMPORT[package] - {package}
    if package != "flows":
        forbidden.add("bytewax")
    found = [
        f"{path}:{line}: {name}"
        for path, tree in modules(package)
        for line, name in imported(tree)
        if name.split(".")[0] in forbidden
    ]
    assert found == []


def test_every_package_is_looked_at() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"} == set(PACKAGES)
    assert all(len(list(modules(package))) > 5 for package in PACKAGES)


# ------------------------------------------------------------------------------------- no clock, no unseeded numbers

CLOCKS: Final = {"time", "random", "secrets", "uuid"}
"""Modules that hand out what differs between two runs. flows may ask connectors.clock when to look again."""
MOMENTS: Final = {"now", "utcnow", "today", "fromtimestamp_now", "urandom", "getrandom"}
SEEDED: Final = {
    "default_rng",
    "Generator",
    "SeedSequence",
    "RandomState",
    "PCG64",
    "Philox",
    "MT19937",
    "BitGenerator",
}
"""Of numpy.random; the rest of it draws from one global state."""
NEEDS_SEED: Final = {"default_rng", "RandomState", "SeedSequence", "PCG64", "Philox", "MT19937"}


def ambient(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Return line and name of whatever reads a clock, the system's entropy or a global generator."""
    for line, name in imported(tree):
        parts = name.split(".")
        if parts[0] in CLOCKS or (parts[0] == "os" and parts[-1] in MOMENTS):
            yield line, name
        if parts[:2] == ["numpy", "random"] and parts[2:] and parts[2] not in SEEDED:
            yield line, name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if node.attr in MOMENTS:
                yield node.lineno, f"....{node.attr}"
            owner = node.value
            if isinstance(owner, ast.Attribute) and owner.attr == "random" and node.attr not in SEEDED:
                yield node.lineno, f"....random.{node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            unseeded = not node.args and not node.keywords
            if name in NEEDS_SEED and (unseeded or any(_is_none(value) for value in node.args)):
                yield node.lineno, f"{name}() without a seed"
            if any(k.arg == "random_state" and _is_none(k.value) for k in node.keywords):
                yield node.lineno, f"{name}(random_state=None)"


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


@pytest.mark.parametrize("package", ["models", "flows"])
def test_results_are_a_function_of_the_input(package: str) -> None:
    """No list of exceptions: what needs wall time (when to look again, seconds of a job) goes through one module."""
    found = [f"{path}:{line}: {name}" for path, tree in modules(package) for line, name in ambient(tree)]
    assert found == []
    if package == "models":
        clock = [
            str(path) for path, tree in modules(package) for _, name in imported(tree) if name.startswith("connectors")
        ]
        assert clock == []


@pytest.mark.parametrize(
    "text",
    [
        "import time",
        "from time import perf_counter",
        "import datetime as dt\ndt.datetime.now(dt.UTC)",
        "import datetime\ndatetime.date.today()",
        "import random",
        "import numpy as np\nnp.random.seed(1)",
        "import numpy as np\nnp.random.default_rng()",
        "import numpy as np\nnp.random.default_rng(None)",
        "from numpy.random import rand",
        "import os\nos.urandom(3)",
        "from os import urandom",
        "import uuid",
        "KMeans(3, random_state=None)",
    ],
)
def test_the_search_finds_what_it_looks_for(text: str) -> None:
    assert list(ambient(ast.parse(text)))


def test_the_search_lets_seeded_numbers_pass() -> None:
    lines = ["import numpy as np", "import datetime as dt", "np.random.default_rng(7)", "dt.datetime.fromtimestamp(1)"]
    assert list(ambient(ast.parse("\n".join([*lines, "from connectors.clock import now_us"])))) == []


# ---------------------------------------------------------------------------------------------------- step names

STATEFUL_STEPS: Final = [
    "shoal.bars",
    "shoal.blocks_ethereum",
    "shoal.classify_ethereum",
    "shoal.combine_season",
    "shoal.compose_ethereum",
    "shoal.describe_season",
    "shoal.fit_season_comovement",
    "shoal.fit_season_distribution",
    "shoal.fit_season_moments",
    "shoal.fit_season_shape",
    "shoal.ledger_ethereum",
    "shoal.members_season_comovement",
    "shoal.members_season_distribution",
    "shoal.members_season_moments",
    "shoal.members_season_shape",
    "shoal.panel_season",
    "shoal.panes_ethereum",
    "shoal.prices",
    "shoal.tables",
    "shoal.ticks",
    "shoal.train_ethereum",
]


def test_the_names_of_steps_that_keep_state_are_frozen() -> None:
    """bytewax stores state under the name of its step.

    A step under another name starts empty: after an update a running service would silently begin anew. Whoever
    changes this list raises the version of the state (flows/service.py) with it, so that an old state is refused.
    """

    def opener(_: Position | None) -> Reader:
        raise AssertionError("nothing is opened before the dataflow runs")

    config = Config(windows=(Window(views=("comovement", "moments", "distribution", "shape")),))
    inputs = Inputs(market={"binance": opener}, chains={"ethereum": {"ethereum": opener}}, prices={"prices": opener})
    sink = TableSink(["fits"], Path("frames"), Path("results"))
    flow = build(config, inputs, Running(pool=cast(Any, None), live=True, sink=sink, on_rows=lambda _: None))
    assert sorted(_stateful(flow.substeps)) == STATEFUL_STEPS


def _stateful(steps: list[Any]) -> Iterator[str]:
    """Return sources, sinks and steps that snapshot themselves; the board is written to and keeps nothing."""
    for step in steps:
        if type(step).__name__ in ("input", "stateful_batch", "output") and step.step_id != "shoal.board":
            yield step.step_id
        else:
            yield from _stateful(step.substeps)


# -------------------------------------------------------------------------------------------------- result tables

CONTRACT: Final = {
    "fits": "as_of, window, view, clusters, converged, iterations, silhouette, coins, coverage",
    "shoals": "as_of, window, view, shoal, name, size, born_as_of, died_as_of, parents",
    "memberships": "as_of, window, view, coin_id, shoal, home, margin, distance, is_exemplar, coverage",
    "drift": "as_of, window, view, ari, ami, vi, churn, effective_rank, edge_density",
    "agreement": "as_of, window, view_a, view_b, ari",
    "events": "as_of, window, view, kind, coin_id, shoal_from, shoal_to, margin, evidence",
    "edges": "as_of, window, coin_a, coin_b, partial_correlation",
    "embedding": "as_of, window, coin_id, x, y, z",
    "coverage": "as_of, window, coin_id, expected, received, missing, duplicate, late",
    "prototypes": "as_of, window, view, shoal, statistic, position, value",
    "intersections": "as_of, window, coin_id, cell, rank",
    "descriptors": "as_of, window, coin_id, name, value, class",
    "associations": "as_of, window, a, b, level_a, level_b, observed, expected, residual, p_chi2, p_fisher",
    "composition": "as_of, chain, window, regime, event, behaviour, entities, share",
    "transitions": "as_of, chain, window, from, to, entities",
    "behaviour_drift": "as_of, chain, window, js, entropy",
    "behaviours": "as_of, chain, window, entity, total_degree, in_degree, out_degree, outgoing_value, incoming_value, "
    "balance, total_value, behaviour, decision_margin",
    "networks": "as_of, chain, window, nodes, edges, density, reciprocity, assortativity, components, "
    "largest_component, clustering, noisy_share, exponent_degree, exponent_value, window_fill",
}
CHAIN_TABLES: Final = {"composition", "transitions", "behaviour_drift", "behaviours", "networks"}
TYPES: Final = {
    "as_of": "timestamp[us, tz=UTC]",
    "born_as_of": "timestamp[us, tz=UTC]",
    "died_as_of": "timestamp[us, tz=UTC]",
    "window": "string",
    "view": "string",
    "chain": "string",
    "coin_id": "string",
    "shoal": "int64",
    "home": "int64",
    "shoal_from": "int64",
    "shoal_to": "int64",
    "evidence": "string",
    "converged": "bool",
    "is_exemplar": "bool",
    "share": "double",
    "silhouette": "double",
    "ari": "double",
    "margin": "double",
    "partial_correlation": "double",
}


def test_result_tables_are_those_of_the_contract() -> None:
    assert {name: ", ".join(table.schema.names) for name, table in TABLES.items()} == CONTRACT


def test_branches_types_and_keys_of_the_result_tables() -> None:
    market, chain = ({table.name for table in tables_of(branch)} for branch in ("market", "chain"))
    assert chain == CHAIN_TABLES | {"events"}
    assert market == (set(CONTRACT) - CHAIN_TABLES)
    for table in TABLES.values():
        assert set(table.key) <= set(table.schema.names), table.name
        assert table.key[0] == "as_of"
        for field in table.schema:
            if field.name in TYPES:
                assert str(field.type) == TYPES[field.name], f"{table.name}.{field.name}"


def test_words_of_the_contract() -> None:
    assert BEHAVIOURS == ("optimist", "pessimist", "positive_trader", "negative_trader")
    assert set(REGIMES) == {"rising", "stable", "falling", "unknown"}
    assert set(EVENT_KINDS) == {
        "joined", "left", "outcome", "split", "merged", "born", "died", "depeg", "price_regime", "structure_shift",
        "drift", "gap", "reorg",
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ what is committed


@pytest.fixture(scope="module")
def committed() -> dict[str, bytes]:
    """Every file that git knows, with its content as it stands."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout: there is nothing committed to look at")
    paths = [name for name in listed.stdout.decode().split("\0") if name]
    return {name: (ROOT / name).read_bytes() for name in paths if (ROOT / name).is_file()}


def test_nothing_committed_names_this_machine_or_a_registry(committed: dict[str, bytes]) -> None:
    # put together here, so that this file does not hold them itself
    hosts = [
        "pypi" + ".org",
        "pythonhosted" + ".org",
        "registry" + ".npmjs",
        "index" + "-url =",
        "extra-index" + "-url",
    ]
    places = ["/wo" + "rk/", "/tm" + "p/w/", "/ro" + "ot/", "/ho" + "me/"]
    own = [str(ROOT), str(ROOT.parent) + "/"]
    words = [word.encode() for word in (*hosts, *places, *own) if word not in ("/", "//")]
    found = [f"{name}: {word.decode()}" for name, content in committed.items() for word in words if word in content]
    assert found == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks_pin_by_hash_and_name_no_index(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--(extra-)?index-url|--find-links|-f)\b", text, re.MULTILINE)
    requirements = [block for block in text.replace("\\\n", " ").splitlines() if block and not block.startswith("#")]
    assert len(requirements) > 20
    for requirement in requirements:
        assert re.match(r"^[a-z0-9._-]+(\[[a-z0-9,._-]+\])?==\S+", requirement), requirement[:80]
        assert "--hash=sha256:" in requirement, requirement[:80]


def test_nothing_generated_is_committed(committed: dict[str, bytes]) -> None:
    endings = (".pyc", ".parquet", ".sqlite3", ".arrows", ".zst", ".log", ".nbi", ".nbc")
    assert [name for name in committed if name.endswith(endings) or "__pycache__" in name] == []
