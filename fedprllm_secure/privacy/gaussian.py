"""The continuous Gaussian mechanism, exactly.

Noise N(0, sigma^2) on a vector that moves by at most Delta in L2 is mu-GDP, mu = Delta / sigma, and a mu-GDP mechanism
is (epsilon, delta)-DP exactly for (Balle and Wang 2018, Theorem 8; Dong, Roth and Su 2022, "Gaussian Differential
Privacy")

    delta = Phi(mu/2 - epsilon/mu) - exp(epsilon) Phi(-mu/2 - epsilon/mu).

Mechanisms that are mu_i-GDP compose to sqrt(sum mu_i^2)-GDP, adaptively too (Dong, Roth and Su). Our noise is integer:
this is the continuous reference, and the last step of the claim where a mechanism has been proven to be mu-GDP
(``gaussian_bound``). Knows nothing of releases.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from fedprllm_secure.errors import InputError

LARGE = 1e4  # an epsilon of fifty millions
ASYMPTOTIC = 36.0  # beyond, erfc nears the smallest float; the series below is within 1e-12 there


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Give the delta of a mu-GDP mechanism.

    Args:
        mu: L2 sensitivity over standard deviation, at least 0; may be infinite.
        epsilon: at least 0.

    >>> round(gaussian_delta(1.0, 4.377178096), 12)
    1e-05
    """
    if mu == 0:
        return 0.0
    log_first = log_upper_tail(epsilon / mu - mu / 2)
    if mu > LARGE:
        return math.exp(log_first)  # the second term takes a little away, and cancels to nothing but rounding
    log_second = epsilon + log_upper_tail(epsilon / mu + mu / 2)  # exp(epsilon) alone would overflow
    return -math.exp(log_first) * math.expm1(log_second - log_first)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Give the smallest epsilon of a mu-GDP mechanism, rounded up.

    Args:
        mu: L2 sensitivity over standard deviation, at least 0; may be infinite.
        delta: in (0, 1).

    Raises:
        InputError: delta is out of range.
    """
    check_delta(delta)
    if math.isinf(mu):
        return math.inf
    if gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    # delta is at most the chance that the privacy loss, N(mu^2/2, mu^2), exceeds epsilon.
    low, high = 0.0, mu**2 / 2 + mu * math.sqrt(-2 * math.log(delta))
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if gaussian_delta(mu, middle) <= delta else (middle, high)
    return high


def gaussian_mu(epsilon: float, delta: float) -> float:
    """Give the largest mu that is (epsilon, delta)-DP, rounded down; 1/mu is the smallest noise multiplier.

    Args:
        epsilon: above 0.
        delta: in (0, 1).

    Raises:
        InputError: an argument is out of range.
    """
    check_epsilon(epsilon)
    check_delta(delta)
    low, high = 0.0, 1.0
    while gaussian_delta(high, epsilon) <= delta:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if gaussian_delta(middle, epsilon) <= delta else (low, middle)
    return low


def composed_mu(mus: Iterable[float]) -> float:
    """Compose: the root of the sum of squares."""
    return math.hypot(*mus)


def log_upper_tail(x: float) -> float:
    """Give log P(Z > x) of a standard normal Z, to a relative 1e-12 of the probability."""
    if x <= ASYMPTOTIC:
        return math.log(math.erfc(x / math.sqrt(2)) / 2)
    y = x**-2
    series = 1 - y * (1 - 3 * y * (1 - 5 * y * (1 - 7 * y)))
    return -x * x / 2 - math.log(x * math.sqrt(2 * math.pi)) + math.log(series)


def check_epsilon(epsilon: float) -> None:
    """Check a target.

    Raises:
        InputError: it is not above 0 and finite.
    """
    if not 0 < epsilon < math.inf:
        raise InputError(f"epsilon={epsilon} must be above 0 and finite")


def check_delta(delta: float) -> None:
    """Check a target.

    Raises:
        InputError: it is not above 0 and below 1.
    """
    if not 0 < delta < 1:
        raise InputError(f"delta={delta} must be above 0 and below 1")
