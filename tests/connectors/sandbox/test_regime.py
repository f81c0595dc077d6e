import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sandbox.regime import GENESIS_US, Regimes
from tests.connectors.sandbox.places import SEED, T0_US

REGIMES = Regimes(SEED)


def test_spans_tile_the_time_and_name_the_regime_at_each_moment() -> None:
    spans = REGIMES.spans(T0_US, T0_US + 7_200_000_000)
    assert spans[0].from_us <= T0_US < spans[0].to_us
    assert spans[-1].from_us < T0_US + 7_200_000_000 <= spans[-1].to_us
    for before, after in itertools.pairwise(spans):
        assert before.to_us == after.from_us
    for span in spans:
        assert {REGIMES.at(t) for t in (span.from_us, span.to_us - 1)} == {span.regime}
    names = [span.regime for span in spans]
    assert {"rising", "stable", "falling"} == set(names)


def test_the_price_moves_as_the_regime_says() -> None:
    for span in REGIMES.spans(T0_US, T0_US + 7_200_000_000):
        drift = REGIMES.drift(np.array([span.from_us, (span.from_us + span.to_us) // 2, span.to_us - 1]))
        change = drift[2] - drift[0]
        if span.regime == "stable":
            assert np.ptp(drift) == 0.0
        else:
            sign = 1 if span.regime == "rising" else -1
            assert 0.03 - 1e-6 <= sign * change <= 0.05 + 1e-6
            assert abs(drift[1] - (drift[0] + drift[2]) / 2) < 1e-6


@settings(deadline=None)
@given(st.integers(0, 10**16))
def test_the_drift_has_no_jumps_and_stays_in_its_range(after_genesis: int) -> None:
    t = GENESIS_US + after_genesis
    drift = REGIMES.drift(np.array([t, t + 1000]))
    assert abs(drift[1] - drift[0]) < 1e-6
    assert (drift >= -1e-9).all()
    assert (drift <= 0.05 + 1e-9).all()
