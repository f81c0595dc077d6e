"""Price regimes: a slow cycle of the whole market's drift.

A cycle has four phases of equal length: rising, stable, falling, stable. What a cycle wins it loses again, so the
price stays in its range for ever, and where the market stands at a time is a function of that time alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from connectors.sandbox.draws import Float64, Int64, uniform

Regime: TypeAlias = Literal["rising", "stable", "falling"]

GENESIS_US: Final = 1_704_067_200_000_000
"""The world begins on 2024-01-01 at 00:00 UTC."""

_PHASES: Final[tuple[Regime, ...]] = ("rising", "stable", "falling", "stable")
_PURPOSE: Final = 11


@dataclass(frozen=True, slots=True)
class Span:
    """A phase: from (inclusive) and to (exclusive) in microseconds."""

    from_us: int
    to_us: int
    regime: Regime


@dataclass(frozen=True, slots=True)
class Regimes:
    """The cycle of a world.

    ``phase_us`` is the length of a phase, ``trend`` the mean change of the log price over a trending one (each
    cycle has its own, between three and five quarters of it).
    """

    seed: int
    phase_us: int = 480_000_000
    trend: float = 0.04

    def at(self, t_us: int) -> Regime:
        """Return the regime at a time."""
        return _PHASES[(t_us - GENESIS_US) // self.phase_us % len(_PHASES)]

    def drift(self, t_us: Int64) -> Float64:
        """Return the market's log price at the times, relative to its level at the beginning of a cycle."""
        phase, within = np.divmod(t_us - GENESIS_US, self.phase_us)
        cycle, position = np.divmod(phase, len(_PHASES))
        height = self.trend * (0.75 + 0.5 * uniform(self.seed, _PURPOSE, cycle))
        fraction = within / self.phase_us
        level = np.select([position == 0, position == 1, position == 2], [fraction, 1.0, 1.0 - fraction], 0.0)
        drift: Float64 = height * level
        return drift

    def spans(self, from_us: int, to_us: int) -> list[Span]:
        """Return the phases that touch ``[from_us, to_us)``, whole."""
        first = (from_us - GENESIS_US) // self.phase_us
        last = (to_us - 1 - GENESIS_US) // self.phase_us
        starts = [GENESIS_US + phase * self.phase_us for phase in range(first, last + 1)]
        return [Span(start, start + self.phase_us, self.at(start)) for start in starts]
