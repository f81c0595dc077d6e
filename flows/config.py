"""Configuration: one TOML file, strict, every setting with its unit in its name.

The classes are the documentation of the defaults. An unknown key is an error that names the nearest known one.
Secrets never stand in this file.
"""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, field

from connectors.errors import ConfigError

Chain: TypeAlias = Literal["ethereum", "bitcoin"]
CHAINS: Final[tuple[Chain, ...]] = ("ethereum", "bitcoin")
View: TypeAlias = Literal["comovement", "moments", "distribution", "shape"]
Ratio: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive: TypeAlias = Annotated[int, Meta(ge=1, le=2_147_483_647)]
Natural: TypeAlias = Annotated[int, Meta(ge=0, le=2_147_483_647)]
Amount: TypeAlias = Annotated[float, Meta(gt=0.0, le=1e9)]  # TOML knows inf, which is no amount of anything
Days: TypeAlias = Annotated[float, Meta(gt=0.0, le=36_600.0)]
Hours: TypeAlias = Annotated[float, Meta(gt=0.0, le=878_400.0)]
WebsocketUrl: TypeAlias = Annotated[str, Meta(pattern=r"^wss?://[^/\s]+")]
HttpUrl: TypeAlias = Annotated[str, Meta(pattern=r"^https?://[^/\s]+")]
Change: TypeAlias = Annotated[float, Meta(ge=-1.0, le=1e6)]

_UNITS_US: Final = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
DAY_US: Final = _UNITS_US["d"]
HOUR_US: Final = _UNITS_US["h"]
_LONGEST_US: Final = 366 * DAY_US
_SHORTEST_US: Final = _UNITS_US["ms"]
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def interval_us(text: str) -> int:
    """Return the length of an interval like ``1s``, ``5m``, ``1d`` in microseconds."""
    match = re.fullmatch(r"([1-9][0-9]*)(ms|s|m|h|d)", text)
    if match is None:
        raise ValueError(f"{text!r} is not an interval: write 1s, 5m, 1h or 1d")
    length = int(match[1]) * _UNITS_US[match[2]] if len(match[1]) <= 12 else _LONGEST_US + 1
    if length > _LONGEST_US:
        raise ValueError(f"{text[:20]!r} is longer than a year")
    return length


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: unknown keys are errors."""


class Universe(_Section, frozen=True):
    """Which coins take part."""

    size: Natural = 0
    exclude: tuple[str, ...] = ("stablecoins", "wrapped")
    duplicates_above_correlation: Ratio = 0.995


class Comovement(_Section, frozen=True):
    """Affinity propagation on a covariance of returns."""

    covariance: Literal["empirical", "ledoit_wolf", "oas", "graphical_lasso", "as_published"] = "ledoit_wolf"
    preference_quantile: Ratio = 0.5
    damping: Annotated[float, Meta(ge=0.5, lt=1.0)] = 0.7
    max_iterations: Positive = 400
    edges_per_coin: Natural = 3


class Moments(_Section, frozen=True):
    """K-means on mean and deviation; ``clusters`` 0 chooses by the vote of the validity indices."""

    clusters: Natural = 3
    starts: Positive = 50
    most_clusters: Annotated[int, Meta(ge=2, le=100)] = 8
    hopkins_gate: Ratio = 0.5
    audit_every_fits: Positive = 24
    as_published: bool = False


class Distribution(_Section, frozen=True):
    """Clustering of return distributions; ``clusters`` 0 chooses by the explained share."""

    clusters: Natural = 5
    starts: Positive = 20
    segments: Positive = 1
    most_clusters: Annotated[int, Meta(ge=2, le=100)] = 10
    audit_every_fits: Positive = 24
    as_published: bool = False


class Shape(_Section, frozen=True):
    """TADPole on return series; ``clusters`` 0 chooses by ``choose_by``, ``dc`` 0 is the quantile ``dc_quantile``."""

    clusters: Natural = 3
    window: Natural = 3
    dc: Annotated[float, Meta(ge=0.0)] = 0.0
    dc_quantile: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.015
    series: Literal["returns", "standardised", "residual"] = "returns"
    assignment: Literal["denser", "nearest"] = "denser"
    order: Literal["rho", "dtwclust"] = "rho"
    choose_by: Literal["calinski_harabasz", "knee"] = "calinski_harabasz"
    most_clusters: Annotated[int, Meta(ge=2, le=100)] = 10
    as_published: bool = False


class Descriptors(_Section, frozen=True):
    """How often coins are described and tested for associations, in windows with two prototype views or more."""

    every_fits: Positive = 30
    simulations: Positive = 8_000


class Window(_Section, frozen=True):
    """A rolling window of returns with its own universe of views."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = "season"
    bar_interval: str = "1d"
    length_bars: Annotated[int, Meta(ge=3, le=1_000_000)] = 60
    refit_every_bars: Positive = 1
    minimum_presence: Ratio = 0.95
    views: tuple[View, ...] = ("comovement", "moments", "distribution", "shape")
    market_mode: Literal["keep", "remove"] = "remove"
    returns: Literal["log", "simple", "open_close"] = "log"
    winsorise_quantile: Annotated[float, Meta(ge=0.0, lt=0.5)] = 0.001
    expose_coins: bool = True
    comovement: Comovement = Comovement()
    moments: Moments = Moments()
    distribution: Distribution = Distribution()
    shape: Shape = Shape()
    descriptors: Descriptors = Descriptors()

    @property
    def interval_us(self) -> int:
        """Length of a bar in microseconds."""
        return interval_us(self.bar_interval)


class Membership(_Section, frozen=True):
    """When a coin counts as having left its shoal."""

    false_departures_per_coin_90d: Amount = 0.1
    coverage_floor: Ratio = 0.9
    coverage_bars: Positive = 10
    cooldown_bars: Natural = 20
    leave_margin: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.15
    return_margin: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.05
    smoothing_bars: Positive = 5
    outcome_bars: Positive = 30


class Alerts(_Section, frozen=True):
    """What may wake a person."""

    pages_per_week: Amount = 1.0
    views: tuple[View, ...] = ("comovement",)


class Regime(_Section, frozen=True):
    """How a price's direction is named."""

    lookback_days: Days = 30.0
    close_every: str = "1d"
    rising_above: Change = 0.10
    falling_below: Change = -0.10
    assets: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "bitcoin": ("bitcoin", "BTC", "BTC-USD", "BTC-USDT", "BTCUSDT"),
            "ethereum": ("ethereum", "ETH", "ETH-USD", "ETH-USDT", "ETHUSDT"),
        }
    )


class NamedPeriod(_Section, frozen=True):
    """A span with a name, like a bubble or a winter; both days belong to it."""

    name: str
    from_: dt.date = field(name="from")
    to: dt.date


class Behaviour(_Section, frozen=True):
    """Windows and rules of the chain branch."""

    chains: tuple[Chain, ...] = ("ethereum",)
    window_days: Days | None = None
    window: Literal["month"] | None = None
    refit_every_hours: Hours = 24.0
    minimum_entities: Positive = 200
    count_zero_value: bool = True
    write_entities: bool = False
    feature_set: Literal[0, 1, 2, 3] = 0
    regime: Regime = Regime()
    events: tuple[NamedPeriod, ...] = ()

    @property
    def window_us(self) -> int:
        """Length of the window in microseconds (30 days unless set; a calendar month is found by its boundary)."""
        return round((30.0 if self.window_days is None else self.window_days) * DAY_US)

    @property
    def refit_us(self) -> int:
        """Distance between boundaries in microseconds."""
        return round(self.refit_every_hours * HOUR_US)


class Exchange(_Section, frozen=True):
    """A live exchange feed."""

    venue: Literal["binance"] = "binance"
    websocket_url: WebsocketUrl = "wss://data-stream.binance.vision"
    rest_url: HttpUrl = "https://data-api.binance.vision"
    symbols: tuple[str, ...] = ()
    quote: str = "USDT"
    allowed_lateness_ms: Natural = 500
    history_bars: Natural = 240
    """Bars fetched at the first start beyond those that fill each window."""


class Node(_Section, frozen=True):
    """A live chain node; of the past it is asked for two windows at the first start, ``history_hours`` at most."""

    chain: Literal["ethereum"] = "ethereum"
    websocket_url: WebsocketUrl = "ws://127.0.0.1:8546"
    confirmations_final: Positive = 64
    head_silence_seconds: Amount = 36.0
    history_hours: Amount = 24.0


class Feeds(_Section, frozen=True):
    """What ``shoal run`` listens to; empty lists mean the built-in sandbox."""

    exchanges: tuple[Exchange, ...] = ()
    nodes: tuple[Node, ...] = ()


class Service(_Section, frozen=True):
    """How the process runs."""

    epoch_seconds: Amount = 5.0
    journal_segment_mib: Positive = 64


class Config(_Section, frozen=True):
    """The whole configuration."""

    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 20210101
    universe: Universe = Universe()
    windows: tuple[Window, ...] = (Window(),)
    membership: Membership = Membership()
    alerts: Alerts = Alerts()
    behaviour: Behaviour = Behaviour()
    feeds: Feeds = Feeds()
    service: Service = Service()


def load(path: Path) -> Config:
    """Read a configuration file; every fault is a :class:`ConfigError` that names file and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be read: {error.strerror}", "check --config") from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), "", f"is not UTF-8 text: {error.reason}") from None
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number with too many digits, or of nesting without end
        raise ConfigError(str(path), "", f"is not TOML: {error}") from None
    return parse(tree, str(path))


def parse(tree: dict[str, Any], source: str) -> Config:
    """Turn a TOML tree into a checked configuration."""
    try:
        config = msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        raise _explain(str(error), source) from None
    _check(config, source)
    return config


def digest(config: Config) -> str:
    """Return the hash that stands for everything in the configuration that results depend on."""
    results = msgspec.structs.replace(config, feeds=Feeds(), service=Service())
    return hashlib.sha256(msgspec.json.encode(results, order="sorted")).hexdigest()


def _check(config: Config, source: str) -> None:
    """Raise for what no single key shows: what stands twice, or does not fit what stands beside it."""
    for key, what, values in _unique(config):
        for value in values:
            if values.count(value) > 1:
                raise ConfigError(source, key, f"{value!r} stands twice", what)
    intervals = [("windows.bar_interval", window.bar_interval) for window in config.windows]
    for key, text in [*intervals, ("behaviour.regime.close_every", config.behaviour.regime.close_every)]:
        try:
            interval_us(text)
        except ValueError as error:
            raise ConfigError(source, key, str(error)) from None
    for key, problem, remedy in _contradictions(config):
        raise ConfigError(source, key, problem, remedy)


def _unique(config: Config) -> Iterator[tuple[str, str, Sequence[str]]]:
    """List what must not stand twice, with its remedy."""
    yield "windows.name", "give each window its own name", [window.name for window in config.windows]
    for window in config.windows:
        yield "windows.views", "name each view once", window.views
    yield "behaviour.chains", "name each chain once", config.behaviour.chains
    yield "feeds.exchanges", "one feed per venue: merge their symbols", [feed.venue for feed in config.feeds.exchanges]
    yield "feeds.nodes", "one node per chain", [node.chain for node in config.feeds.nodes]


def _contradictions(config: Config) -> Iterator[tuple[str, str, str]]:
    behaviour, regime, rules = config.behaviour, config.behaviour.regime, config.membership
    if behaviour.window is not None and behaviour.window_days is not None:
        yield "behaviour.window", "stands beside window_days", "keep one of the two"
    if behaviour.window_us < _SHORTEST_US:
        yield "behaviour.window_days", "is shorter than a millisecond", "it counts days; fractions are allowed"
    if behaviour.refit_us < _SHORTEST_US:
        yield "behaviour.refit_every_hours", "is shorter than a millisecond", "it counts hours; fractions are allowed"
    if regime.falling_below > regime.rising_above:
        yield "behaviour.regime.falling_below", "is above rising_above", "what lies between the two is stable"
    for period in behaviour.events:
        if period.from_ > period.to:
            yield "behaviour.events.from", f"{period.from_} is after {period.to}", "exchange from and to"
    if rules.return_margin > rules.leave_margin:
        yield "membership.return_margin", "is above leave_margin", "hysteresis needs it to be lower"


def _explain(message: str, source: str) -> ConfigError:
    """Turn msgspec's sentence into ours: the key's path, what is wrong with it, what it may have meant."""
    message = _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], message)
    path_match = re.search(r" - at `\$\.?(.*)`$", message)
    path = path_match[1] if path_match else ""
    problem = message[: path_match.start()] if path_match else message
    unknown = re.search(r"unknown field `(.*)`$", problem)
    if unknown is None:
        return ConfigError(source, path, problem[0].lower() + problem[1:])
    name = unknown[1]
    known = _known_keys(path)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
    key = f"{path}.{name}" if path else name
    return ConfigError(source, key, "unknown key", remedy)


def _known_keys(path: str) -> list[str]:
    """Return the keys that may stand in the table at ``path`` (like ``windows[0].comovement``)."""
    kind: Any = Config
    for part in re.findall(r"[a-z_]+|\[[^]]*\]", path):
        info = msgspec.inspect.type_info(kind)
        if part.startswith("["):
            kind = _element(info)
            continue
        fields = {f.encode_name: f for f in getattr(info, "fields", ())}
        if part not in fields:
            return []
        kind = _class_of(fields[part].type)
        if kind is None:
            return []
    info = msgspec.inspect.type_info(kind)
    return [f.encode_name for f in getattr(info, "fields", ())]


def _class_of(info: Any) -> Any:
    if isinstance(info, msgspec.inspect.StructType):
        return info.cls
    if isinstance(info, msgspec.inspect.VarTupleType):
        return info.item_type.cls if isinstance(info.item_type, msgspec.inspect.StructType) else None
    return None


def _element(info: Any) -> Any:
    return info.cls if isinstance(info, msgspec.inspect.StructType) else None
