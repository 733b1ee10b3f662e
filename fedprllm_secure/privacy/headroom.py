"""Room for noise in signed lanes: how large it gets, as a bound that is proven.

A lane that holds totals in [-B, B], B = clients x bound + headroom, wraps only if a total's noise exceeds the headroom.
Skellam noise of variance v has E exp(sX) = exp(v (cosh s - 1)), and a (sum of) discrete Gaussian(s) with summed
parameter v at most exp(s^2 v / 2) (Canonne, Kamath and Steinke 2020); so by Chernoff's bound P(X >= h) is at most
exp(-e(h)), with e(h) = h asinh(h/v) - sqrt(v^2 + h^2) + v and h^2 / (2v). Wrapping costs accuracy, never privacy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

SMALLEST_EXPONENT = -700.0  # exp of less is no normal float


def _skellam_exponent(height: float, variance: float) -> float:
    # sqrt(v^2 + h^2) - v, written without cancellation
    return height * math.asinh(height / variance) - height**2 / (math.hypot(height, variance) + variance)


def _discrete_gaussian_exponent(height: float, variance: float) -> float:
    return height**2 / (2 * variance)


EXPONENTS: dict[str, Callable[[float, float], float]] = {
    "skellam": _skellam_exponent,
    "discrete-gaussian": _discrete_gaussian_exponent,
}


def wrap_probability(headroom: int, *, variance: Fraction | float, dimension: int, mechanism: str) -> float:
    """Bound the probability that any of the totals' noise exceeds the headroom.

    Args:
        headroom: the largest noise, of either sign, that does not wrap, at least 0.
        variance: of the noise in a total if nobody drops out: ``printed_variance``.
        dimension: totals, over which the probabilities add up.
        mechanism: ``skellam`` or ``discrete-gaussian``.

    Returns:
        In [0, 1]; never below 1e-304, whatever the truth.

    Raises:
        ValueError: an argument is out of range.
    """
    if headroom < 0:
        raise ValueError(f"headroom={headroom} must be at least 0")
    return min(1.0, math.exp(max(SMALLEST_EXPONENT, _log_probability(headroom, variance, dimension, mechanism))))


def headroom_for(probability: float, *, variance: Fraction | float, dimension: int, mechanism: str) -> int:
    """Give the smallest headroom whose wrap probability is at most the one given.

    Args:
        probability: in (0, 1).
        variance: as :func:`wrap_probability`.
        dimension: as :func:`wrap_probability`.
        mechanism: as :func:`wrap_probability`.

    Raises:
        ValueError: an argument is out of range.
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability={probability} must be above 0 and below 1")
    enough = math.log(probability)
    low, high = -1, 1  # too little, and perhaps enough
    while _log_probability(high, variance, dimension, mechanism) > enough:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _log_probability(middle, variance, dimension, mechanism) > enough:
            low = middle
        else:
            high = middle
    return high


def _log_probability(headroom: int, variance: Fraction | float, dimension: int, mechanism: str) -> float:
    if mechanism not in EXPONENTS:
        raise ValueError(f"mechanism={mechanism} must be one of {', '.join(EXPONENTS)}")
    if not 0 < variance < math.inf:
        raise ValueError(f"variance={variance} must be above 0 and finite")
    if dimension < 1:
        raise ValueError(f"dimension={dimension} must be at least 1")
    return math.log(2 * dimension) - EXPONENTS[mechanism](headroom + 1, float(variance))
