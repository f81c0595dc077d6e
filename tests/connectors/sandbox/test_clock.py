import pytest

from connectors.sandbox import clock as module
from connectors.sandbox.clock import Clock


def test_event_time_runs_faster_than_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000]
    monkeypatch.setattr(module, "wall_us", lambda: now[0])
    clock = Clock(speed=10.0, start_us=500)
    now[0] += 2_000_000
    assert clock.now_us() == 500 + 20_000_000
    assert clock.wall_seconds_until(500 + 30_000_000) == 1.0
    assert clock.wall_seconds_until(0) == 0.0


def test_by_default_it_is_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "wall_us", lambda: 1_234_567)
    assert Clock().now_us() == 1_234_567


def test_time_that_stands_still_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Clock(speed=0.0)
