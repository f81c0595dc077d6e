"""The configuration: strict, one line per fault, the contract's example, and a hash of all that results depend on."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import ConfigError
from flows.config import DAY_US, Behaviour, Config, Exchange, Feeds, Node, Service, digest, interval_us, load, parse
from tests.conftest import ROOT

CONTRACT = """
[universe]
size = 0
exclude = ["stablecoins", "wrapped"]
duplicates_above_correlation = 0.995

[[windows]]
name = "season"
bar_interval = "1d"
length_bars = 60
refit_every_bars = 1
minimum_presence = 0.95
views = ["comovement", "moments", "distribution", "shape"]
market_mode = "remove"
returns = "log"
winsorise_quantile = 0.001
expose_coins = true
[windows.comovement]
covariance = "ledoit_wolf"
preference_quantile = 0.5
[windows.moments]
clusters = 3
starts = 50
[windows.distribution]
clusters = 0
starts = 5
[windows.shape]
clusters = 0

[membership]
false_departures_per_coin_90d = 0.1
coverage_floor = 0.9
cooldown_bars = 20
[alerts]
pages_per_week = 1.0
views = ["comovement"]

[behaviour]
chains = ["ethereum"]
window_days = 30
refit_every_hours = 24
[behaviour.regime]
lookback_days = 30
rising_above = 0.10
falling_below = -0.10
[behaviour.regime.assets]
bitcoin = ["bitcoin", "BTC", "BTC-USD", "BTC-USDT", "BTCUSDT"]
ethereum = ["ethereum", "ETH", "ETH-USD", "ETH-USDT", "ETHUSDT"]
[[behaviour.events]]
name = "bubble"
from = 2017-12-01
to = 2018-01-31
"""

WINDOW: dict[str, Any] = {"name": "season"}


def write(folder: Path, text: str) -> Path:
    path = folder / "shoal.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_contracts_example_parses(tmp_path: Path) -> None:
    config = load(write(tmp_path, CONTRACT))
    window = config.windows[0]
    assert window.interval_us == DAY_US
    assert window.views == ("comovement", "moments", "distribution", "shape")
    assert (window.moments.clusters, window.distribution.clusters, window.shape.clusters) == (3, 0, 0)
    assert config.behaviour.window_us == 30 * DAY_US
    assert config.behaviour.refit_us == DAY_US
    period = config.behaviour.events[0]
    assert (period.name, period.from_, period.to) == ("bubble", dt.date(2017, 12, 1), dt.date(2018, 1, 31))
    assert config.behaviour.regime.assets["bitcoin"][-1] == "BTCUSDT"


def test_what_the_contract_states_as_defaults_are_the_defaults(tmp_path: Path) -> None:
    """The contract's example differs from an empty file only where it says so itself."""
    stated, default = load(write(tmp_path, CONTRACT)), Config()
    assert stated.universe == default.universe
    assert stated.membership == default.membership
    assert stated.alerts == default.alerts
    assert stated.behaviour.regime == default.behaviour.regime
    assert (stated.behaviour.window_us, stated.behaviour.refit_us) == (default.behaviour.window_us, DAY_US)
    kept = {"views": default.windows[0].views, "distribution": default.windows[0].distribution}
    kept["shape"] = default.windows[0].shape
    assert msgspec.structs.replace(stated.windows[0], **kept) == default.windows[0]


@pytest.mark.parametrize("path", [ROOT / "flows" / "sandbox.toml", *sorted((ROOT / "examples").glob("*.toml"))])
def test_shipped_configurations_load(path: Path) -> None:
    assert load(path).windows


@pytest.mark.parametrize(
    ("tree", "key", "remedy"),
    [
        ({"windos": []}, "windos", "did you mean 'windows'?"),
        ({"universe": {"sise": 1}}, "universe.sise", "did you mean 'size'?"),
        ({"windows": [WINDOW, {"lenght_bars": 60}]}, "windows[1].lenght_bars", "did you mean 'length_bars'?"),
        ({"windows": [{"comovement": {"dampening": 1}}]}, "windows[0].comovement.dampening", "did you mean 'damping'?"),
        ({"behaviour": {"regime": {"loockback_days": 1}}}, "behaviour.regime.loockback_days", "lookback_days"),
        ({"behaviour": {"events": [{"form": "x"}]}}, "behaviour.events[0].form", "did you mean 'from'?"),
        ({"feeds": {"exchanges": [{"quot": "USD"}]}}, "feeds.exchanges[0].quot", "did you mean 'quote'?"),
        ({"feeds": {"nodes": [{"websocket_ulr": ""}]}}, "feeds.nodes[0].websocket_ulr", "websocket_url"),
        ({"service": {"zzz": 1}}, "service.zzz", "known here: epoch_seconds, journal_segment_mib"),
        ({"": 1}, "", "known here: "),
        ({"a`b": 1}, "a`b", "known here: "),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(tree: dict[str, Any], key: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(tree, "shoal.toml")
    assert caught.value.key == key
    assert caught.value.problem == "unknown key"
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("tree", "key", "problem"),
    [
        ({"windows": [{"length_bars": "60"}]}, "windows[0].length_bars", "expected `int`"),
        ({"windows": [{"length_bars": 2}]}, "windows[0].length_bars", ">= 3"),
        ({"windows": [{"views": ["moment"]}]}, "windows[0].views[0]", "invalid enum value 'moment'"),
        ({"windows": [{"name": "Season"}]}, "windows[0].name", "matching regex"),
        ({"windows": [WINDOW, WINDOW]}, "windows.name", "'season' stands twice"),
        ({"windows": [{"views": ["comovement", "comovement"]}]}, "windows.views", "'comovement' stands twice"),
        ({"windows": [{"bar_interval": "1 day"}]}, "windows.bar_interval", "'1 day' is not an interval"),
        ({"windows": [{"bar_interval": "9" * 30 + "d"}]}, "windows.bar_interval", "longer than a year"),
        ({"windows": [{"winsorise_quantile": 0.5}]}, "windows[0].winsorise_quantile", "< 0.5"),
        ({"windows": [{"comovement": {"damping": 1.0}}]}, "windows[0].comovement.damping", "< 1.0"),
        ({"universe": {"duplicates_above_correlation": float("nan")}}, "universe.duplicates_above_correlation", ">="),
        ({"behaviour": {"window": "month", "window_days": 30}}, "behaviour.window", "stands beside window_days"),
        ({"behaviour": {"window": "year"}}, "behaviour.window", "invalid enum value 'year'"),
        ({"behaviour": {"window_days": float("inf")}}, "behaviour.window_days", "<= 36600"),
        ({"behaviour": {"window_days": 1e-12}}, "behaviour.window_days", "shorter than a millisecond"),
        ({"behaviour": {"refit_every_hours": 1e-9}}, "behaviour.refit_every_hours", "shorter than a millisecond"),
        ({"behaviour": {"refit_every_hours": 0}}, "behaviour.refit_every_hours", "> 0.0"),
        ({"behaviour": {"chains": ["dogecoin"]}}, "behaviour.chains[0]", "invalid enum value 'dogecoin'"),
        ({"behaviour": {"regime": {"rising_above": -0.5}}}, "behaviour.regime.falling_below", "above rising_above"),
        ({"behaviour": {"regime": {"close_every": "1w"}}}, "behaviour.regime.close_every", "not an interval"),
        (
            {"behaviour": {"events": [{"name": "x", "from": dt.date(2020, 2, 1), "to": dt.date(2020, 1, 1)}]}},
            "behaviour.events.from",
            "2020-02-01 is after 2020-01-01",
        ),
        ({"membership": {"leave_margin": 0.1, "return_margin": 0.2}}, "membership.return_margin", "above leave_margin"),
        ({"feeds": {"exchanges": [{}, {}]}}, "feeds.exchanges", "'binance' stands twice"),
        ({"feeds": {"nodes": [{}, {}]}}, "feeds.nodes", "'ethereum' stands twice"),
        ({"feeds": {"exchanges": [{"rest_url": "data-api.binance.vision"}]}}, "feeds.exchanges[0].rest_url", "regex"),
        ({"feeds": {"nodes": [{"websocket_url": "http://127.0.0.1:8545"}]}}, "feeds.nodes[0].websocket_url", "regex"),
        ({"seed": -1}, "seed", ">= 0"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_key(tree: dict[str, Any], key: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(tree, "shoal.toml")
    assert caught.value.key == key
    assert problem in caught.value.problem
    assert str(caught.value).startswith(f"shoal.toml: {key}: ")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[windows", "is not TOML"),
        (b"seed = 1\nseed = 2\n", "is not TOML"),
        (b"seed = " + b"9" * 5000, "is not TOML"),
        (b"seed = " + b"[" * 20_000, "is not TOML"),
        (b"seed = \xff", "is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "shoal.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file or directory \(check --config\)"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "us"),
    [("500ms", 500_000), ("1s", 1_000_000), ("5m", 300_000_000), ("4h", 14_400_000_000), ("1d", DAY_US)],
)
def test_intervals(text: str, us: int) -> None:
    assert interval_us(text) == us


@given(st.text(max_size=8))
def test_an_interval_is_a_length_or_a_value_error(text: str) -> None:
    try:
        us = interval_us(text)
    except ValueError:
        return
    assert 0 < us <= 366 * DAY_US
    assert text.isascii()


# ----------------------------------------------------------------------------------------------------------- fuzz

SCALARS = st.one_of(
    st.integers(),
    st.integers(-2, 70),
    st.floats(),
    st.booleans(),
    st.text(max_size=6),
    st.dates(),
    st.datetimes(),
    st.sampled_from(["1d", "1s", "month", "comovement", "ethereum", "log", "keep", "season"]),
)


def _keys(kind: Any) -> list[str]:
    """Return every key of every section, so that a random tree often comes near a real one."""
    names = []
    for field in msgspec.structs.fields(kind):
        names.append(field.encode_name)
        info = msgspec.inspect.type_info(field.type)
        item = getattr(info, "item_type", info)
        if isinstance(item, msgspec.inspect.StructType):
            names += _keys(item.cls)
    return names


KEYS = st.one_of(st.sampled_from(sorted(set(_keys(Config)))), st.text(max_size=5))
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@settings(max_examples=300)
@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_any_tree_is_a_configuration_or_one_line(tree: dict[str, Any]) -> None:
    _is_configuration_or_line(tree)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list):
        for at in range(len(value)):
            yield from _places(value[at], (*path, at))


@settings(max_examples=300)
@given(st.data())
def test_the_contracts_example_with_one_place_changed(data: st.DataObject) -> None:
    tree: Any = tomllib.loads(CONTRACT)
    *parents, last = data.draw(st.sampled_from([place for place in _places(tree) if place]))
    inside = tree
    for step in parents:
        inside = inside[step]
    inside[last] = data.draw(TREES)
    _is_configuration_or_line(tree)


def _is_configuration_or_line(tree: dict[str, Any]) -> None:
    config, line = None, ""
    try:
        config = parse(tree, "fuzz.toml")
    except ConfigError as error:
        line = str(error)
    assert len(line.splitlines()) <= 1
    if config is None:
        return
    assert len(digest(config)) == 64
    assert config.behaviour.refit_us > 0
    assert config.behaviour.window_us > 0
    assert all(window.interval_us > 0 for window in config.windows)


# --------------------------------------------------------------------------------------------------------- digest


def test_the_digest_ignores_feeds_and_service() -> None:
    other = Config(
        feeds=Feeds(exchanges=(Exchange(quote="BUSD"),), nodes=(Node(confirmations_final=2),)),
        service=Service(epoch_seconds=1.0, journal_segment_mib=1),
    )
    assert digest(other) == digest(Config())


def _changed(kind: Any, value: Any) -> Iterator[Any]:
    """Return one copy of a section for each of its settings, with that setting changed."""
    for field in msgspec.structs.fields(kind):
        name, old = field.name, getattr(value, field.name)
        if name in ("feeds", "service"):
            continue
        if isinstance(old, msgspec.Struct):
            yield from (msgspec.structs.replace(value, **{name: new}) for new in _changed(type(old), old))
        elif isinstance(old, tuple) and old and isinstance(old[0], msgspec.Struct):
            yield from (msgspec.structs.replace(value, **{name: (new,)}) for new in _changed(type(old[0]), old[0]))
        elif isinstance(old, bool):
            yield msgspec.structs.replace(value, **{name: not old})
        elif isinstance(old, int | float):
            yield msgspec.structs.replace(value, **{name: old + 1})
        elif isinstance(old, str):
            yield msgspec.structs.replace(value, **{name: old + "x"})
        elif isinstance(old, tuple):
            yield msgspec.structs.replace(value, **{name: (*old, "x")})
        elif isinstance(old, dict):
            yield msgspec.structs.replace(value, **{name: {**old, "x": ("y",)}})
        else:
            assert old is None, name
            yield msgspec.structs.replace(value, **{name: "month" if name == "window" else 1.0})


def test_the_digest_knows_every_other_setting() -> None:
    """Walk over all settings there are, also those that are added later."""
    copies = list(_changed(Config, Config()))
    assert len(copies) > 45
    assert len({digest(Config()), *(digest(copy) for copy in copies)}) == len(copies) + 1


def test_lengths_of_the_chains_window() -> None:
    assert Behaviour().window_us == 30 * DAY_US
    assert Behaviour(window_days=0.5, refit_every_hours=0.25).refit_us == 900_000_000
    assert Behaviour(window="month").window_us == 30 * DAY_US
