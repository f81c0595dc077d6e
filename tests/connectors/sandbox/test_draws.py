import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sandbox import draws

SEEDS = st.integers(min_value=0, max_value=2**63 - 1)


@settings(deadline=None)
@given(SEEDS, st.integers(-(2**62), 2**62), st.integers(-(2**62), 2**62))
def test_a_number_does_not_depend_on_its_neighbours(seed: int, a: int, b: int) -> None:
    alone = draws.uniform(seed, 1, a)
    together = draws.uniform(seed, 1, np.array([b, a, b], dtype=np.int64))
    assert float(alone) == together[1]
    assert 0.0 < float(alone) < 1.0


def test_uniform_and_normal_have_the_moments_of_their_laws() -> None:
    numbers = np.arange(200_000, dtype=np.int64)
    flat = draws.uniform(3, 5, numbers)
    assert abs(flat.mean() - 0.5) < 0.005
    assert abs(flat.var() - 1 / 12) < 0.001
    bell = draws.normal(3, 5, numbers)
    assert abs(bell.mean()) < 0.01
    assert abs(bell.var() - 1.0) < 0.02
    assert abs(np.corrcoef(bell[1:], bell[:-1])[0, 1]) < 0.01


def test_seed_purpose_and_order_of_parts_matter() -> None:
    values = {int(draws.hashed(*parts)) for parts in [(1, 2, 3), (1, 3, 2), (2, 1, 3), (1, 2), (1, 2, 3, 0)]}
    assert len(values) == 5


def test_generators_and_digests_are_functions_of_their_place() -> None:
    assert np.array_equal(draws.generator(1, 2, 3).random(4), draws.generator(1, 2, 3).random(4))
    assert not np.array_equal(draws.generator(1, 2, 3).random(4), draws.generator(1, 2, 4).random(4))
    assert draws.digest(1, "a", 2) == draws.digest(1, "a", 2) != draws.digest(1, "a", 3)
