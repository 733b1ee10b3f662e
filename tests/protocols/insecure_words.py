"""Words that a test knows, in place of the system's: from a seed, or written down."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class InsecureWords:
    """Words from a seed."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return the generator's next words."""
        return self.generator.integers(0, 2**64, count, np.uint64)


class InsecureScript:
    """Words that a test has written down."""

    def __init__(self, words: Iterable[int]) -> None:
        self.left = list(words)

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return the next words of the script."""
        taken, self.left = self.left[:count], self.left[count:]
        return np.array(taken, np.uint64)
