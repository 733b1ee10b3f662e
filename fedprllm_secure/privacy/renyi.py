"""Renyi differential privacy: divergences of the mechanisms, and what they say of epsilon and delta.

Each function gives a proven upper bound on the Renyi divergence of order a between the outputs on neighbouring inputs.
Curves over :data:`ORDERS` add up under composition; :func:`epsilon` turns a curve into an epsilon. Orders may be a
number or an array of numbers. Pure formulas: knows neither releases nor adversaries.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedprllm_secure.privacy.gaussian import check_delta

Floats = NDArray[np.float64]
Order = TypeVar("Order", float, Floats)

# Sixteenths to 16, integers to 256, then eight an octave to 2**20. The best order is near log(1/delta) / epsilon for a
# small epsilon, and one that is off by a factor 2**(1/16) costs less than 0.1 %.
ORDERS: Floats = np.array(
    [
        *(1 + step / 16 for step in range(1, 240)),
        *range(16, 257),
        *(round(2 ** (8 + step / 8)) for step in range(1, 97)),
    ],
    dtype=np.float64,
)

MOST_TERMS = 2**14  # of a sum over shares


def gaussian(order: Order, mu: float) -> Order:
    """Bound a mu-GDP mechanism: a mu^2 / 2, the divergence of N(0, 1) and N(mu, 1), by Blackwell's theorem."""
    return order * (mu**2 / 2)


def discrete_gaussian(order: Order, *, l2_squared: float, variance: float) -> Order:
    """Bound discrete Gaussian noise: a Delta2^2 / (2 sigma^2) (Canonne, Kamath and Steinke 2020).

    Args:
        order: above 1, any real.
        l2_squared: squared L2 sensitivity, in grid units.
        variance: the parameter sigma^2 of the noise on each coordinate.
    """
    return order * (l2_squared / (2 * variance))


def convolution_divergence(*, variance: float, shares: int) -> float:
    """Bound how far a sum of discrete Gaussians is from one of the summed parameters: tau.

    The probabilities of every event under the two laws are within a factor exp(tau) of each other (Kairouz, Liu and
    Steinke 2021, "The Distributed Discrete Gaussian Mechanism", section on sums of discrete Gaussians):
    tau = 10 sum_(k=1)^(n-1) exp(-2 pi^2 s^2 k / (k+1)), for shares of parameter s^2 >= 1/4; infinite below.

    Args:
        variance: the summed parameters, n s^2.
        shares: n, how many are added; one share is no sum and has tau = 0.
    """
    each = variance / shares
    if shares == 1:
        return 0.0
    if each < 0.25:
        return math.inf
    k = np.arange(1, min(shares, MOST_TERMS), dtype=np.float64)
    terms = np.exp(-2 * math.pi**2 * each * k / (k + 1))
    return 10 * float(terms.sum() + (shares - 1 - len(k)) * terms[-1])  # they fall: the last bounds those left out


def discrete_gaussian_sum(
    order: Order, *, l1: float, l2_squared: float, variance: float, shares: int, dimension: int
) -> Order:
    """Bound a sum of discrete Gaussians: the least of three (Kairouz, Liu and Steinke 2021).

    With S^2 the summed parameters: a Delta2^2/(2 S^2) + tau d, a/2 (Delta2^2/S^2 + 2 (Delta1/S) tau + tau^2 d) and
    a/2 (Delta2/S + sqrt(d) tau)^2.

    Args:
        order: above 1.
        l1: L1 sensitivity, in grid units.
        l2_squared: squared L2 sensitivity.
        variance: S^2.
        shares: how many are added.
        dimension: d, the coordinates.
    """
    tau = convolution_divergence(variance=variance, shares=shares)
    scaled_l1, scaled_l2 = l1 / math.sqrt(variance), math.sqrt(l2_squared / variance)
    linear = min(scaled_l2**2 + 2 * scaled_l1 * tau + tau**2 * dimension, (scaled_l2 + math.sqrt(dimension) * tau) ** 2)
    least: Order = np.minimum(order * (scaled_l2**2 / 2) + tau * dimension, order * (linear / 2))
    return least


def skellam(order: Order, *, l1: float, l2_squared: float, variance: float) -> Order:
    """Bound Skellam noise (Agarwal, Kairouz and Liu 2021, "The Skellam Mechanism").

    At integers a >= 2: a Delta2^2 / (2 v) + min(((2a - 1) Delta2^2 + 6 Delta1) / (4 v^2), 3 Delta1 / (2 v)). Between
    them by convexity: a - 1 times the divergence of order a is a cumulant generating function, 0 at a = 1.

    Args:
        order: above 1, any real.
        l1: L1 sensitivity, in grid units.
        l2_squared: squared L2 sensitivity.
        variance: v, of the noise on each coordinate.
    """

    def scaled(integer: Order) -> Order:
        excess = np.minimum(((2 * integer - 1) * l2_squared + 6 * l1) / (4 * variance**2), 3 * l1 / (2 * variance))
        return (integer - 1) * (integer * (l2_squared / (2 * variance)) + excess)

    below = np.floor(order)
    bound: Order = ((1 - (order - below)) * scaled(below) + (order - below) * scaled(below + 1)) / (order - 1)
    return bound


def top_k(order: Order, *, picks: int, epsilon_each: float) -> Order:
    """Bound k choices by the exponential mechanism: min(a k e^2 / 8, k e).

    Each has bounded range e, hence e^2/8-zCDP and e-DP (Cesar and Rogers 2021); both add up.

    Args:
        order: above 1.
        picks: k.
        epsilon_each: e, the range of the scores' change over the Gumbel scale.
    """
    bound: Order = np.minimum(order * (picks * epsilon_each**2 / 8), picks * epsilon_each)
    return bound


def randomised_response(order: Order, *, bits: int, epsilon_each: float) -> Order:
    """Give the divergence of randomised response on ``bits`` bits that all differ, exactly.

    A bit is told truly with probability p = e^e / (1 + e^e): the divergence is
    bits log(p^a (1-p)^(1-a) + (1-p)^a p^(1-a)) / (a - 1). What a client pays for its whole mask, not for one bit.

    Args:
        order: above 1, any real.
        bits: how many entries of the neighbours differ.
        epsilon_each: e, the epsilon of one bit.
    """
    log_true, log_false = -math.log1p(math.exp(-epsilon_each)), -math.log1p(math.exp(epsilon_each))
    moment = np.logaddexp(
        order * log_true + (1 - order) * log_false,
        order * log_false + (1 - order) * log_true,
    )
    divergence: Order = bits * moment / (order - 1)
    return divergence


def epsilon(curve: Floats, delta: float, *, orders: Floats = ORDERS) -> float:
    """Convert a curve: the least over a of r(a) + log((a-1)/a) - (log delta + log a)/(a-1), and never below 0.

    Balle, Barthe, Gaboardi, Hsu and Sato 2020, "Hypothesis Testing Interpretations and Renyi Differential Privacy",
    Theorem 21.

    Args:
        curve: (orders,), bounds on the divergence.
        delta: in (0, 1).
        orders: (orders,), above 1.

    Raises:
        InputError: delta is out of range.
    """
    check_delta(delta)
    bounds = curve + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(0.0, float(bounds.min()))
