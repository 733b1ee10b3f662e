"""What the laws of integer noise share: a variance, and a table of exact thresholds to sample from.

A law adds its name and its weights, and proves of the weights what `NoiseTable.symmetric` asks. Knows nothing of
sensitivities, budgets or vectors; what a sample costs and protects is the accountant's business.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from protocols.noise.stream import SystemWords, WordSource
from protocols.noise.table import NoiseTable
from protocols.noise.thresholds import BITS

TABLE_ENTRIES = 2**22  # 64 MB of thresholds, made in some seconds
# A law close to the normal one of this variance falls below 2**-129 at sqrt(2 * 129 * ln 2 * variance).
LARGEST_VARIANCE = int((TABLE_ENTRIES / 2) ** 2 / (2 * (BITS + 1) * math.log(2)))


@dataclass(frozen=True, init=False)
class IntegerNoise(ABC):
    """A symmetric law on the integers, of mean 0.

    Attributes:
        name: The law's name in `NOISES`.
        variance: The law's variance, or the parameter that stands for it; exact.
    """

    name: ClassVar[str]
    variance: Fraction

    def __init__(self, variance: Fraction | float) -> None:
        """Take the variance, an int, float or Fraction.

        Raises:
            ValueError: As `exact_variance`.
        """
        object.__setattr__(self, "variance", exact_variance(variance))

    @staticmethod
    @abstractmethod
    def weights(variance: Fraction) -> list[int]:
        """Return integers proportional to P(X = 0), P(X = 1) and so on, exact as `NoiseTable.symmetric` asks."""

    @property
    def table(self) -> NoiseTable:
        """The law's table, made when first needed."""
        return _table(type(self), self.variance)

    @property
    def distance(self) -> float:
        """Statistical distance of one sample from the ideal law, at most; times the dimension, a part of delta."""
        return self.table.distance

    @property
    def largest(self) -> int:
        """No sample is larger in magnitude."""
        return self.table.largest

    def sample(self, length: int, source: WordSource | None = None) -> NDArray[np.int64]:
        """Draw independent samples.

        Args:
            length: Number of samples, at least 0.
            source: Where the randomness comes from; a fresh `SystemWords` if not given.

        Returns:
            int64 (length,), in [-largest, largest].

        Raises:
            ValueError: If length is negative.
        """
        return self.table.sample(length, SystemWords() if source is None else source)


@lru_cache(maxsize=4)  # a table takes up to 64 MB
def _table(law: type[IntegerNoise], variance: Fraction) -> NoiseTable:
    return NoiseTable.symmetric(law.weights(variance))


def exact_variance(variance: Fraction | float) -> Fraction:
    """Return a variance as the fraction that it is.

    Raises:
        ValueError: If it is no int, float or Fraction, is not finite or above 0, or would need too large a table.
    """
    if isinstance(variance, bool) or not isinstance(variance, int | float | Fraction):
        raise ValueError(f"variance={variance!r} must be an int, a float or a Fraction")
    if not 0 < variance < math.inf:
        raise ValueError(f"variance={variance} must be finite and above 0")
    if variance > LARGEST_VARIANCE:
        raise ValueError(
            f"variance={float(variance):.4g} must be at most {LARGEST_VARIANCE}, for a table of {TABLE_ENTRIES} "
            "entries; values on a coarser scale need less noise, and several draws of smaller variance add up to more"
        )
    return Fraction(variance)
