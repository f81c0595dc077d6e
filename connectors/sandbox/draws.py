"""Random numbers without state: a number is a hash of what it is for.

Vectorised SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators") for single
numbers, and a Philox generator per (seed, purpose, position) where a whole array is needed.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]
_UInt64: TypeAlias = npt.NDArray[np.uint64]

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_A: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B: Final = np.uint64(0x94D049BB133111EB)


def _mix(state: _UInt64) -> _UInt64:
    with np.errstate(over="ignore"):
        state = state + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _MIX_A
        state = (state ^ (state >> np.uint64(27))) * _MIX_B
    mixed: _UInt64 = state ^ (state >> np.uint64(31))
    return mixed


def hashed(seed: int, *parts: int | Int64) -> _UInt64:
    """Return 64 hashed bits for each position of ``parts`` (integers or arrays that broadcast together)."""
    state = _mix(np.asarray(seed & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64))
    for part in parts:
        state = _mix(state ^ np.asarray(part, dtype=np.int64).astype(np.uint64))
    return state


def uniform(seed: int, *parts: int | Int64) -> Float64:
    """Return numbers in (0, 1), a pure function of ``seed`` and ``parts``."""
    bits = hashed(seed, *parts) >> np.uint64(11)
    numbers: Float64 = (bits.astype(np.float64) + 0.5) * 2.0**-53
    return numbers


def normal(seed: int, *parts: int | Int64) -> Float64:
    """Return standard normal numbers, a pure function of ``seed`` and ``parts``."""
    numbers: Float64 = ndtri(uniform(seed, *parts))
    return numbers


def generator(seed: int, purpose: int, position: int) -> np.random.Generator:
    """Return a generator of its own for one (purpose, position) of the world."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, purpose, position])))


def digest(seed: int, *parts: int | str) -> bytes:
    """Return 32 bytes that stand for ``parts`` in the world of ``seed``."""
    text = "/".join(str(part) for part in (seed, *parts))
    return hashlib.sha256(text.encode("ascii")).digest()
