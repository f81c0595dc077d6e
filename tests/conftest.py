"""What all tests share: the real data beside the project, and the generator of random numbers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# The first example of a test may compile a kernel: what is slow once is no failure.
settings.register_profile("shoal", deadline=None)
settings.load_profile("shoal")

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SHOAL_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real market and chain data; absent outside the team's own checkouts and CI."""
    if not (SHARED / "data").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI has no {SHARED / 'data'}: nothing may be skipped there")
        pytest.skip(f"no real data: {SHARED / 'data'} is not there (set SHOAL_SHARED)")
    return SHARED / "data"


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of reference results."""
    if not (SHARED / "golden").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI has no {SHARED / 'golden'}: nothing may be skipped there")
        pytest.skip(f"no reference results: {SHARED / 'golden'} is not there (set SHOAL_SHARED)")
    return SHARED / "golden"


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20210101)


# Whole files go to one worker (they share what is expensive to set up), in this order: the long ones first.
_FIRST = ("tests/live/", "tests/replay/test_replay.py", "tests/replay/test_real.py", "tests/flows/test_service.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, so that no worker is left with one at the end."""
    rank = {name: place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: next((rank[name] for name in _FIRST if item.nodeid.startswith(name)), len(_FIRST)))
