"""Slow and obvious: probabilities of integer noise in floats, and divergences by summing over all outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def skellam(variance: float, reach: int) -> Floats:
    """Give P(X = k) for k in -reach ... reach: the difference of two Poisson numbers, by convolution."""
    mean = variance / 2
    counts = range(int(mean) + 2 * reach + 1)
    poisson = np.array([math.exp(count * math.log(mean) - mean - math.lgamma(count + 1)) for count in counts])
    difference = np.convolve(poisson, poisson[::-1])
    middle = len(poisson) - 1
    return difference[middle - reach : middle + reach + 1]


def discrete_gaussian(variance: float, reach: int) -> Floats:
    """Give P(X = k) for k in -reach ... reach."""
    values = np.arange(-reach, reach + 1)
    weights = np.exp(-(values**2) / (2 * variance))
    return weights / weights.sum()


def summed(law: Floats, shares: int) -> Floats:
    """Give the law of a sum of independent numbers, on as many values to either side times the shares."""
    total = law
    for _ in range(shares - 1):
        total = np.convolve(total, law)
    return total


def shifted_pair(law: Floats, shift: Sequence[int]) -> tuple[Floats, Floats]:
    """Give the joint laws of independent noise and of noise plus a shift, over the same outcomes, flattened.

    Outcomes that only one of the two can have are kept: their probability under the other is 0.
    """
    first, second = np.ones(1), np.ones(1)
    for step in shift:
        first = np.outer(first, np.pad(law, (0, abs(step)))).ravel()
        second = np.outer(second, np.pad(law, (abs(step), 0))).ravel()
    return first, second


def exact_delta(first: Floats, second: Floats, epsilon: float) -> float:
    """Give the smallest delta: the sum of what exceeds exp(epsilon) times the other, over both directions."""
    return max(
        float(np.maximum(one - math.exp(epsilon) * other, 0).sum()) for one, other in ((first, second), (second, first))
    )


def exact_epsilon(first: Floats, second: Floats, delta: float) -> float:
    """Give the smallest epsilon by bisection."""
    return falling_root(lambda epsilon: exact_delta(first, second, epsilon) - delta, high=200.0)


def renyi_divergence(first: Floats, second: Floats, order: float) -> float:
    """Give the Renyi divergence of the first from the second, over the outcomes that both can have."""
    both = (first > 0) & (second > 0)
    logs = order * np.log(first[both]) + (1 - order) * np.log(second[both])
    top = logs.max()
    return float((top + math.log(np.exp(logs - top).sum())) / (order - 1))


def falling_root(function: Callable[[float], float], *, high: float) -> float:
    """Find where a falling function reaches 0, in [0, high]."""
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return high
