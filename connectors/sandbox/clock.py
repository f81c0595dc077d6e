"""Event time of the sandbox: the wall clock, or a clock that runs faster from a chosen start."""

from __future__ import annotations

from connectors.clock import now_us as wall_us


class Clock:
    """Event time = start + (wall time - wall time at the start) * speed.

    With speed 1 and no start it is the wall clock itself, so that a sandbox that is started again goes on where the
    world is by then.

    Raises
    ------
    ValueError
        If ``speed`` is not positive.
    """

    def __init__(self, speed: float = 1.0, start_us: int | None = None) -> None:
        if not speed > 0:
            raise ValueError(f"speed is {speed}: it must be positive")
        self.speed = speed
        self._wall_start_us = wall_us()
        self.start_us = self._wall_start_us if start_us is None else start_us

    def now_us(self) -> int:
        """Return the event time in microseconds since the epoch."""
        elapsed = wall_us() - self._wall_start_us
        return self.start_us + (elapsed if self.speed == 1.0 else int(elapsed * self.speed))

    def wall_seconds_until(self, event_us: int) -> float:
        """Return the wall seconds from now to an event time; 0 if it has passed."""
        return max(0.0, (event_us - self.now_us()) / self.speed / 1e6)
