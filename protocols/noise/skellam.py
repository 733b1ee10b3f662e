"""The Skellam law: the difference of two Poisson numbers of equal mean.

    P(X = k) = exp(-v) I_k(v),      v the variance, I_k the modified Bessel function of the first kind

(Skellam 1946; as a privacy mechanism Agarwal, Kairouz and Liu 2021, "The Skellam Mechanism for Differentially Private
Federated Learning"). It is closed under summation: n independent shares of variance v / n add up to a Skellam number
of variance v, exactly, whichever n - so that the noise of the clients that stay is of a known law.

The weights. Downward recurrence (Miller's algorithm) y_(k-1) = y_(k+1) + (2k / v) y_k from y_(N+1) = 0 and y_N = 1,
normalised by the sum over all integers, which for p_k = exp(-v) I_k(v) is 1. Every P(X >= j) comes out within 2**-150:

1. Truncation. I_k = I_N y_k + I_(N+1) b_k for k <= N + 1, where b starts from b_(N+1) = 1, b_N = 0: both sides obey the
   recurrence and agree at N and N + 1. So y_k = (1 - beta_k) I_k / I_N with beta_k = I_(N+1) b_k / I_k. The Casoratian
   b_k I_(k+1) - b_(k+1) I_k only changes its sign from k to k - 1, whence
   beta_k - beta_(k+1) = +-I_N I_(N+1) / (I_k I_(k+1)), with alternating signs, and shrinking towards k = 0, as I_k
   falls with k. Hence beta_k is in [0, I_(N+1) / I_(N-1)] and differs from beta_0 by at most
   I_N I_(N+1) / (I_(k-1) I_k). By the recurrence at N, 1 - I_(N+1) / I_(N-1) = (2N / v) I_N / I_(N-1), which is at
   least 1 / c with c = max(v / N, 2): see I_N / I_(N-1) above and below 1/2. So y_k I_N exp(-v) / (1 - beta_0) is p_k
   within c p_N. N <= 2**22 is so large that P(X >= N) <= 2**-200, by Chernoff's bound exp(v cosh(s) - v - s N) at
   sinh(s) = N / v; and c <= 2**14.
2. Rounding. The numbers are integers in units of y_N / 2**192, and each step rounds down once. A unit lost at i reaches
   k <= i as the solution that starts with 0 at i + 1 and 1 at i, which is at most I_k / I_i. So y_k loses at most a
   share of sum_(i<N) (I_N / I_i) 2**-192 / (1 - beta_k) <= N c 2**-192 <= 2**-156 of itself.

A sum of weights over the sum of all is thus off by 2 * 2**-156 for the shares, 2 (2N + 1) c 2**-200 <= 2**-162 for the
truncation and 2**-198 for what lies beyond N, to first order; second orders are far below.
"""

from __future__ import annotations

import math
from fractions import Fraction

from protocols.noise.law import IntegerNoise

TAIL_BITS = 200
PRECISION = 192


class Skellam(IntegerNoise):
    """Skellam noise; its variance is that of the law."""

    name = "skellam"

    @staticmethod
    def weights(variance: Fraction) -> list[int]:
        """Return integers proportional to P(X = 0), P(X = 1) ... P(X = N)."""
        numerator, denominator = variance.as_integer_ratio()
        above, here = 0, 1 << PRECISION
        weights = [here]
        for order in range(_last_order(variance), 0, -1):
            above, here = here, above + 2 * order * denominator * here // numerator
            weights.append(here)
        weights.reverse()
        return weights


def _last_order(variance: Fraction) -> int:
    """Return the smallest N with P(X >= N) <= 2**-200 by Chernoff's bound."""
    # The bound rises with the variance, so that a larger one is safe where the variance underflows as a float.
    spread = max(float(variance), 2.0**-64)
    enough = (TAIL_BITS + 1) * math.log(2)  # a bit to spare for the rounding of floats
    low, high = 0, 1  # the bound fails at low, holds at high
    while _chernoff_exponent(high, spread) < enough:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _chernoff_exponent(middle, spread) < enough:
            low = middle
        else:
            high = middle
    return high


def _chernoff_exponent(order: int, spread: float) -> float:
    # -log of exp(v cosh(s) - v - s k), where v cosh(s) = sqrt(k**2 + v**2); written without cancellation.
    return order * math.asinh(order / spread) - order**2 / (math.hypot(order, spread) + spread)
