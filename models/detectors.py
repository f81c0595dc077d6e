"""Detectors of drift on slow series: agreement of successive fits, shares of behaviours.

River's ADWIN (Bifet & Gavalda 2007) keeps a window of recent values and drops its older part as soon as the means of
the two parts differ by more than chance. It presumes values within [0, 1] or about; adjusted Rand indices and shares
are. ADWIN only says *that* something changed, and still holds much of the old regime when it says so. So on an alarm
the change is located here by least squares over the window, and the detector starts again with the values after it:
one change is one alarm.

A detector's state is the values that ADWIN was fed since its start, a bounded number, and it is restored by feeding
them again. So it carries over exactly, and does not depend on how river stores its objects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Alarm:
    """A change of level in a series."""

    name: str
    before: float
    """Mean of the window's part before the change."""
    after: float
    """Mean of the part after it."""
    width: int
    """Number of values after the change, the newest included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig:
    """How sensitive the detectors are, and how far back they look."""

    delta: float = 0.002
    """ADWIN's confidence: about the chance of a false cut at a value."""
    window: int = 1000
    """Every detector remembers at least so many of its last values, and at most twice as many."""

    def __post_init__(self) -> None:
        if not 0.0 < self.delta < 1.0:
            raise ValueError(f"delta = {self.delta} is not between 0 and 1")
        if self.window < 20:
            raise ValueError(f"window = {self.window} is below 20: ADWIN needs that many values to see anything")

    def build(self, state: bytes | None = None) -> Detector:
        """Return the running detectors, fresh or as they were at their ``snapshot``."""
        return Detector(self, state)


class _State(msgspec.Struct):
    schema: int
    series: dict[str, list[float]]


class _Series:
    """One ADWIN and the values that it was fed."""

    def __init__(self, delta: float, values: list[float]) -> None:
        from river.drift import ADWIN  # noqa: PLC0415  (a second of imports that a start does not need)

        # A check at every value (clock 1): refits are rare, and ADWIN's bound allows for it.
        self._adwin: Any = ADWIN(delta=delta, clock=1)  # type: ignore[no-untyped-call]
        self.values: list[float] = []
        for value in values:
            self.add(value)

    def add(self, value: float) -> int:
        """Take in a value; return the length of the window in which a change was seen, 0 for none."""
        width = int(self._adwin.width) + 1
        self.values.append(value)
        self._adwin.update(value)
        return width if self._adwin.drift_detected else 0


class Detector:
    """A detector for each of any number of named series; see :class:`DetectorConfig`."""

    def __init__(self, config: DetectorConfig, state: bytes | None = None) -> None:
        self._config = config
        self._series: dict[str, _Series] = {}
        if state is not None:
            self._restore(state)

    def update(self, name: str, value: float) -> Alarm | None:
        """Take in the next value of a series; values that are not finite are passed over."""
        if not math.isfinite(value):
            return None
        config = self._config
        series = self._series.get(name)
        if series is None:
            series = self._series[name] = _Series(config.delta, [])
        width = series.add(float(value))
        if width:
            before, after, count = _locate(np.array(series.values[-width:]))
            self._series[name] = _Series(config.delta, series.values[-count:])
            return Alarm(name, before, after, count)
        if len(series.values) >= 2 * config.window:
            self._series[name] = _Series(config.delta, series.values[-config.window :])
        return None

    def snapshot(self) -> bytes:
        """Return the state as bytes."""
        return msgspec.msgpack.encode(
            _State(_SCHEMA, {name: self._series[name].values for name in sorted(self._series)})
        )

    def _restore(self, raw: bytes) -> None:
        state = msgspec.msgpack.decode(raw, type=_State)
        if state.schema != _SCHEMA:
            raise ValueError(f"detector state of schema {state.schema}, this version reads {_SCHEMA}")
        self._series = {name: _Series(self._config.delta, values) for name, values in state.series.items()}


def _locate(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float, int]:
    """Split values float64[m], m >= 2, where two means fit best; return both and the length of the second part."""
    m = values.size
    size = np.arange(1, m)
    left = np.cumsum(values)[:-1]
    gain = (left / size - (values.sum() - left) / (m - size)) ** 2 * (size * (m - size))
    cut = int(gain.argmax()) + 1
    return float(values[:cut].mean()), float(values[cut:].mean()), m - cut
