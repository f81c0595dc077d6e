"""Moments of the world that the tests look at."""

from connectors.sandbox.regime import GENESIS_US

DAY_US = 86_400_000_000
T0_US = GENESIS_US + 800 * DAY_US + 3_217_000_000
T0_MS = T0_US // 1000
SEED = 7
