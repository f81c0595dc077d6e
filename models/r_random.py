"""R's default random numbers, as far as ``set.seed(s); sample.int(n, k)`` needs them.

``as_published`` reproduces partitions that NbClust finds from one random start, so the start itself must be R's:
the Mersenne Twister (Matsumoto & Nishimura 1998) seeded through R's linear congruential scrambling, and uniform
integers by rejection of bits (R 3.6 and later).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_MASK = 0xFFFFFFFF


class RRandom:
    """The generator of an R session after ``set.seed(seed)``."""

    def __init__(self, seed: int) -> None:
        state = seed & _MASK
        for _ in range(50):
            state = (69069 * state + 1) & _MASK
        words = []
        for _ in range(625):
            state = (69069 * state + 1) & _MASK
            words.append(state)
        twister = np.random.MT19937(0)
        # the first word is R's position in the block, which seeding sets to the end of it
        twister.state = {
            "bit_generator": "MT19937",
            "state": {"key": np.array(words[1:], dtype=np.uint32), "pos": 624},
        }
        self._twister = twister

    def uniform(self) -> float:
        """Return R's ``runif(1)``, inside (0, 1)."""
        value = int(self._twister.random_raw()) * 2.3283064365386963e-10
        return min(max(value, 0.5 * 2.328306437080797e-10), 1.0 - 0.5 * 2.328306437080797e-10)

    def below(self, n: int) -> int:
        """Return an integer in [0, n), by rejection of the least number of bits."""
        bits = (n - 1).bit_length()
        while True:
            value = 0
            for _ in range(bits // 16 + 1):
                value = value * 65536 + int(self.uniform() * 65536)
            value &= (1 << bits) - 1
            if value < n:
                return value

    def sample(self, n: int, k: int) -> npt.NDArray[np.int64]:
        """Return R's ``sample.int(n, k)``, counted from 0.

        Raises
        ------
        ValueError
            If k exceeds n.
        """
        if k > n:
            raise ValueError(f"cannot draw {k} of {n} without replacement")
        left = np.arange(n, dtype=np.int64)
        chosen = np.empty(k, dtype=np.int64)
        for i in range(k):
            j = self.below(n - i)
            chosen[i] = left[j]
            left[j] = left[n - i - 1]
        return chosen
