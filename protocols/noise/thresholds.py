"""Where a uniform 128-bit number falls among integer thresholds.

The number is a pair of 64-bit words, (high, low), compared like digits. The low word is drawn only where the high word
equals that of a threshold, once in 2**64 draws for each: leaving out a digit that cannot matter changes no probability.
No floating point, so no gap in the reachable values betrays the input (Mironov 2012). Knows no law.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.noise.stream import WordSource

BITS = 128


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Integers in [0, 2**128), in rising order.

    Attributes:
        high: uint64 (num_thresholds,), their upper halves.
        low: uint64 (num_thresholds,), their lower halves.
    """

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]

    @classmethod
    def of(cls, thresholds: Iterable[int]) -> Thresholds:
        """Split numbers into words; they must rise or stay, and fit 128 bits."""
        content = b"".join(threshold.to_bytes(16, "little") for threshold in thresholds)
        words = np.frombuffer(content, "<u8").astype(np.uint64).reshape(-1, 2)  # (thresholds, low and high)
        return cls(np.ascontiguousarray(words[:, 1]), np.ascontiguousarray(words[:, 0]))

    def mirrored(self) -> Thresholds:
        """Return 2**128 - t for every threshold t, which must not be 0, again in rising order."""
        low = (~self.low + np.uint64(1))[::-1]
        high = (~self.high)[::-1] + (low == 0)
        return Thresholds(high, low)

    def followed_by(self, other: Thresholds) -> Thresholds:
        """Return these thresholds and then the others, none of which may be smaller."""
        return Thresholds(np.concatenate([self.high, other.high]), np.concatenate([self.low, other.low]))

    def ranks(self, high: NDArray[np.uint64], source: WordSource) -> NDArray[np.int64]:
        """Count, for each draw, the thresholds that are not above it.

        Args:
            high: uint64 (num_draws,): the upper halves of the draws.
            source: Gives the lower halves that are needed.

        Returns:
            int64 (num_draws,), in [0, num_thresholds].
        """
        if not len(self.high):
            return np.zeros(len(high), np.int64)
        ranks = self.high.searchsorted(high).astype(np.int64, copy=False)  # thresholds with a smaller upper half
        tied = np.flatnonzero(self.high.take(ranks, mode="clip") == high)
        for place, low in zip(tied, source.words(len(tied)), strict=True):
            first, last = ranks[place], self.high.searchsorted(high[place], "right")
            ranks[place] += self.low[first:last].searchsorted(low, "right")
        return ranks
