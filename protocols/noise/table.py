"""Exact sampling of a symmetric integer law from a table: inversion of its distribution function.

The law on the integers has P(X >= j) = g(j) for j >= 1. The table keeps t(j) = g(j) * 2**128, rounded, for as long as
that is not 0, and a draw u, uniform in [0, 2**128), becomes

    -largest + #{j: t(j) <= u} + #{j: 2**128 - t(j) <= u},     j in 1 ... largest.

How far that is from the law. Let e bound the error of the g(j) that the caller's weights give. Moving the law's mass
beyond `largest` to the ends moves 2 g(largest + 1) <= 2 (2**-129 + e), since t(largest + 1) rounded to 0. Then the two
laws differ in 2 * largest values of the distribution function, each by at most 2**-129 + e, and the statistical
distance is at most the sum of these. Together: `distance` = (2 * largest + 2) (2**-129 + e) a coordinate, to be
multiplied by the number of coordinates and added to delta.

Speed: the top 16 bits of a draw decide it in all but the stretches of the range that hold a threshold; a table of
2**16 answers (the "guide") settles those draws with one look-up, and the others are compared in full. The result is
the same, draw by draw. Knows neither which law it holds nor what the noise protects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from protocols.noise.stream import WordSource
from protocols.noise.thresholds import BITS, Thresholds

GUIDE_BITS = 16
CHUNK = 2**13  # draws at once: the words, places and answers of a chunk stay in a core's cache
WEIGHTS_ERROR = 2.0**-140  # what the laws of this package promise of their weights, and prove

_UNDECIDED = np.iinfo(np.int32).min


@dataclass(frozen=True, eq=False)
class NoiseTable:
    """A law on the integers [-largest, largest], ready to be sampled.

    Attributes:
        largest: No sample is larger in magnitude.
        thresholds: 2 * largest numbers: all t(j) from j = largest down, then all 2**128 - t(j) from j = 1 up.
        distance: Statistical distance of one sample from the ideal law, at most.
    """

    largest: int
    thresholds: Thresholds = field(repr=False)
    distance: float
    _guide: NDArray[np.int32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Work out the answers that the top bits of a draw decide."""
        starts = np.arange(2**GUIDE_BITS, dtype=np.uint64) << np.uint64(64 - GUIDE_BITS)
        ranks = np.append(self.thresholds.high.searchsorted(starts), 2 * self.largest)
        answers = np.where(ranks[1:] == ranks[:-1], ranks[:-1] - self.largest, _UNDECIDED)
        object.__setattr__(self, "_guide", answers.astype(np.int32))

    @classmethod
    def symmetric(cls, weights: Sequence[int], *, error: float = WEIGHTS_ERROR) -> NoiseTable:
        """Make the table of a law from weights proportional to its probabilities.

        Args:
            weights: Non-negative integers (num_weights,): of 0, of 1 and -1 alike, of 2 and -2, and so on.
            error: Bound on |sum of the weights from j on / sum of all - P(X >= j)|, for every j >= 1; the sum is 0 for
                j past the last weight.
        """
        upper_sums = list(accumulate(reversed(weights)))  # of the weights from j on; from the last j down to 0
        total = upper_sums.pop()
        total += upper_sums[-1] if upper_sums else 0
        rounded = (((upper_sum << (BITS + 1)) + total) // (2 * total) for upper_sum in upper_sums)
        lower = Thresholds.of(threshold for threshold in rounded if threshold)
        largest = len(lower.high)
        return cls(largest, lower.followed_by(lower.mirrored()), (2 * largest + 2) * (2.0 ** -(BITS + 1) + error))

    def sample(self, length: int, source: WordSource) -> NDArray[np.int64]:
        """Draw independent samples.

        Args:
            length: Number of samples, at least 0.
            source: Where the words come from.

        Returns:
            int64 (length,), in [-largest, largest].

        Raises:
            ValueError: If length is negative.
        """
        if length < 0:
            raise ValueError(f"length={length} must be at least 0")
        samples = np.empty(length, np.int64)
        for first in range(0, length, CHUNK):
            chunk = samples[first : first + CHUNK]
            words = source.words(len(chunk))
            answers = self._guide.take((words >> np.uint64(64 - GUIDE_BITS)).view(np.int64))
            chunk[:] = answers
            undecided = np.flatnonzero(answers == _UNDECIDED)
            chunk[undecided] = self.thresholds.ranks(words[undecided], source) - self.largest
        return samples
