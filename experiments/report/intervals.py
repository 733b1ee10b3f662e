"""A figure over repetitions: its mean, and where the true mean lies; and numbers in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean.

    Attributes:
        mean: of all.
        low: end of its 95 % interval (Student); None of one value alone, which has none.
        high: likewise.
        count: independent values.
    """

    mean: float
    low: float | None
    high: float | None
    count: int

    def shown(self, digits: int = 2) -> str:
        """Give it in words."""
        if self.low is None or self.high is None:
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def spread(values: Sequence[float]) -> Spread:
    """Give the mean of independent values and its interval, as if they were normal.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("values must not be empty")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Spread(mean, None, None, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half = float(stats.t.ppf(1 - LEVEL / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
    return Spread(mean, mean - half, mean + half, len(values))


def size(count: float) -> str:
    """Write bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def seconds(value: float) -> str:
    """Write seconds, short ones in milliseconds."""
    return f"{1000 * value:.2g} ms" if value < 0.1 else f"{value:.1f} s"


def listed(words: Sequence[str]) -> str:
    """Join words by commas and an "and"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
