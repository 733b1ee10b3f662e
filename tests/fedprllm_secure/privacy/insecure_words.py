"""A stand-in for the operating system's randomness, so that a statistical test always draws the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class InsecureWords:
    """Words from a seed: for tests alone."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(seed))

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return the next words: uint64 (count,)."""
        return self._generator.integers(0, 2**64, count, np.uint64)
