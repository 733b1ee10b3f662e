"""The discrete Gaussian law: P(X = k) proportional to exp(-k**2 / (2 v)) on the integers.

Canonne, Kamath and Steinke 2020, "The Discrete Gaussian for Differential Privacy". Its variance is a little below the
parameter v. A sum of several is no discrete Gaussian: what that costs is the accountant's business.

The weights, in units of 2**-256, from w_(k+1) = w_k rho_k and rho_(k+1) = rho_k exp(-1 / v), where w_0 = 1 and
rho_0 = exp(-1 / (2 v)): the quotient of neighbours is exp(-(2k + 1) / (2 v)). All factors are in [0, 1], the two
exponentials are within 1 unit and each product rounds down once; so rho_k is within 2k + 1 units and w_k within
k (k + 1). The table ends at M <= 2**22 with P(X > M) <= 2**-160, by Chernoff's bound: E exp(s X) is exp(s**2 v / 2)
times sum_k exp(-(k - s v)**2 / (2 v)) / sum_k exp(-k**2 / (2 v)), and that quotient is at most 1 (Poisson summation).
Sums over the table are within 2 M**3 <= 2**67 units, the true sum is at least 1, and what is cut away adds 3 * 2**-160:
every P(X >= j) comes out within 2**-150.
"""

from __future__ import annotations

import math
from fractions import Fraction

from protocols.noise.exponentials import scaled_exp
from protocols.noise.law import IntegerNoise

PRECISION = 256
TAIL_FACTOR = 222  # at least 2 * 160 * ln 2, so that exp(-M**2 / (2 v)) <= 2**-160 where M**2 is this times v


class DiscreteGaussian(IntegerNoise):
    """Discrete Gaussian noise; its variance is the parameter v.

    The law's own variance is below v: by less than a millionth from v = 1 on.
    """

    name = "discrete-gaussian"

    @staticmethod
    def weights(variance: Fraction) -> list[int]:
        """Return integers proportional to P(X = 0), P(X = 1) ... P(X = M)."""
        weight = 1 << PRECISION
        quotient = scaled_exp(1 / (2 * variance), PRECISION)
        falling = scaled_exp(1 / variance, PRECISION)
        weights = [weight]
        for _ in range(math.isqrt(int(TAIL_FACTOR * variance)) + 1):
            weight = weight * quotient >> PRECISION
            quotient = quotient * falling >> PRECISION
            weights.append(weight)
        return weights
