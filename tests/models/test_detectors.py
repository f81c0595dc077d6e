"""Detectors of drift: when they fire, what they say, and that a restart changes nothing."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detectors import Alarm, DetectorConfig


def _alarms(values: np.ndarray, **config: float) -> list[tuple[int, Alarm]]:
    detector = DetectorConfig(**config).build()  # type: ignore[arg-type]
    raised = [(i, detector.update("ari", float(value))) for i, value in enumerate(values)]
    return [(i, alarm) for i, alarm in raised if alarm is not None]


def test_one_change_is_one_alarm_with_both_levels(rng: np.random.Generator) -> None:
    values = np.concatenate([rng.normal(0.75, 0.1, 300), rng.normal(0.45, 0.1, 300)])
    [(at, alarm)] = _alarms(values)
    assert 300 <= at < 360
    assert alarm.name == "ari"
    assert alarm.before == pytest.approx(0.75, abs=0.03)
    assert alarm.after == pytest.approx(0.45, abs=0.05)
    assert abs(alarm.width - (at - 299)) <= 5


def test_every_change_of_level_is_found(rng: np.random.Generator) -> None:
    levels = [0.8, 0.5, 0.8, 0.3]
    alarms = _alarms(np.concatenate([rng.normal(level, 0.1, 400) for level in levels]))
    assert [at // 400 for at, _ in alarms] == [1, 2, 3]
    assert [round(alarm.after, 1) for _, alarm in alarms] == levels[1:]


def test_a_steady_series_raises_nothing(rng: np.random.Generator) -> None:
    assert _alarms(rng.normal(0.75, 0.1, 8000)) == []
    assert _alarms(np.full(500, 0.3)) == []


def test_series_are_independent(rng: np.random.Generator) -> None:
    moving = np.concatenate([rng.normal(0.7, 0.1, 200), rng.normal(0.3, 0.1, 100)])
    alone = _alarms(moving)
    detector = DetectorConfig().build()
    together = []
    for i, value in enumerate(moving):
        assert detector.update("quiet", 0.5) is None
        alarm = detector.update("ari", float(value))
        if alarm is not None:
            together.append((i, alarm))
    assert together == alone != []


def test_values_that_are_not_finite_are_passed_over(rng: np.random.Generator) -> None:
    values = np.concatenate([rng.normal(0.7, 0.1, 200), rng.normal(0.3, 0.1, 100)])
    holes = np.full(values.size * 2, np.nan)
    holes[::2] = values
    holes[1::6] = np.inf
    assert [alarm for _, alarm in _alarms(holes)] == [alarm for _, alarm in _alarms(values)]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 399))
def test_a_restart_changes_nothing(seed: int, at: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.random(4), 100) + rng.normal(0, 0.1, 400)
    config = DetectorConfig(window=60)  # so small that the window is cut within the run
    whole, first = config.build(), config.build()
    expected = [whole.update("a", value) for value in values]
    got = [first.update("a", value) for value in values[:at]]
    second = config.build(first.snapshot())
    got += [second.update("a", value) for value in values[at:]]
    assert got == expected
    assert second.snapshot() == whole.snapshot()


def test_memory_is_bounded(rng: np.random.Generator) -> None:
    detector = DetectorConfig(window=50).build()
    for value in rng.normal(0.5, 0.1, 1000):
        detector.update("a", float(value))
        assert len(msgspec.msgpack.decode(detector.snapshot())["series"]["a"]) <= 100


def test_bad_settings_and_foreign_states_are_named() -> None:
    with pytest.raises(ValueError, match="delta"):
        DetectorConfig(delta=0.0)
    with pytest.raises(ValueError, match="window"):
        DetectorConfig(window=3)
    with pytest.raises(ValueError, match="schema 9"):
        DetectorConfig().build(msgspec.msgpack.encode({"schema": 9, "series": {}}))
