r"""How Gaussian integer noise is: a proven mu such that the mechanism is mu-GDP.

Renyi curves lose 6 to 8 % of the noise when they are turned into (epsilon, delta). This is a bound without that loss
on the very mechanisms that run, by a comparison of laws. Knows vectors by their sensitivity alone.

1. One coordinate. Let X be integer noise, symmetric, with log-concave probabilities p(k) and distribution function F,
   and let A(k) = Phi^-1(F(k)). The best tests of X against X + s, s a positive integer, are thresholds, since the
   likelihood ratio is monotone; so the trade-off of their errors has its corners at (1 - F(k), F(k - s)) and straight
   lines between. It lies above that of N(0, 1) against N(s m, 1), which is convex, if its corners do:
   A(k) - A(k - s) <= s m. That holds for all s if m is the largest step of A: X is m-GDP a unit of shift.
2. All coordinates. The noise is independent, and trade-off functions keep their order under products (Dong, Roth and Su
   2022): a shift by an integer vector D is m ||D||_2-GDP. Hence mu = m Delta2, and releases compose as Gaussians do.
3. The largest step. Let L bound the curvature: log(p(k)^2 / (p(k-1) p(k+1))) <= L for all k. At the step where A rises
   most, by m from u on, p(k) = r(u) with r(x) = Phi(x + m) - Phi(x), and its neighbours are at most r(u + m) and
   r(u - m). So -L <= log r(u+m) + log r(u-m) - 2 log r(u), a second difference of log r, whose second derivative is
   Var(Z | x <= Z <= x + m) - 1 for a standard normal Z. That variance is at most m^2/12: among the laws with density
   exp(a z + b z^2) on the interval and one mean, it grows with b, and at b = 0, the truncated exponential, it is below
   the uniform's. So m^2 (1 - m^2/12) <= L, and

       m^2 <= 2 L / (1 + sqrt(1 - L/3))          for L < 3.

   (The other branch, m^2 above 6, is out: m is continuous in the variance, cannot jump over the gap between the
   branches, and is below 2 at variance 4. If no step is the largest, m is the limit of the steps, which is at most
   1/sigma: by the tails' asymptotics they tend to 1/sigma for the discrete Gaussian and to 0 for Skellam, uniformly
   where the variance is bounded, so that m is, nearby, the largest of finitely many continuous steps and continuous.)
4. The discrete Gaussian has L = 1/sigma^2, exactly. m sigma = 1 + 1/(24 sigma^2) + ...
5. Skellam, variance v >= 3: L = -log(1 - 1/v - 1/v^3). With u = v I'(v)/I(v), I = I_k the Bessel function, Riccati's
   equation is v u' = v^2 + k^2 - u^2, and p(k-1) p(k+1) / p(k)^2 = (u^2 - k^2)/v^2 = 1 - u'/v.
   For k >= 1, u' < 1: w = u - (v - 1/2) starts above 0 and stays there, since v w' = k^2 - 1/4 where w = 0; and u'
   starts below 1 and cannot reach it, since there v u'' = 2v - 1 - 2u < 0.
   For k = 0, u' <= 1 + 1/v^2: w >= -1/(4v) at v = 3 and hence after, and then v u'' <= 2v - u' (2v - 1/(2v)) keeps u',
   1.032 at v = 3, below 1 + 1/v^2, which falls more slowly. The bound on m, times sigma, is 1 + 7/(24 sigma^2) + ...
6. A sum of discrete Gaussians is symmetric and log-concave, as convolutions of such are, and within a factor exp(tau)
   of one with the summed parameters (``renyi``), so the tails P(X >= k), k >= 1, are too, and A moves by at most
   tau sqrt(pi/2), Mills' ratio at 0 times tau. Each step grows by at most twice that: m + sqrt(2 pi) tau.
"""

from __future__ import annotations

import math

from fedprllm_secure.privacy.renyi import convolution_divergence

SMALLEST_SKELLAM = 3.0
SMALLEST_DISCRETE_GAUSSIAN = 1.0


def skellam_mu(*, l2_squared: float, variance: float) -> float:
    """Give the mu of Skellam noise; infinite, that is no statement, where the variance is below 3.

    Args:
        l2_squared: squared L2 sensitivity, in grid units.
        variance: of the noise on each coordinate.
    """
    if variance < SMALLEST_SKELLAM:
        return math.inf
    return math.sqrt(l2_squared) * _largest_step(skellam_curvature(variance))


def discrete_gaussian_mu(*, l2_squared: float, variance: float, shares: int = 1) -> float:
    """Give the mu of discrete Gaussian noise or of a sum of it; infinite where the parameter is below 1.

    Args:
        l2_squared: squared L2 sensitivity, in grid units.
        variance: the (summed) parameter of the noise on each coordinate.
        shares: how many independent discrete Gaussians of equal parameter are added.
    """
    if variance < SMALLEST_DISCRETE_GAUSSIAN:
        return math.inf
    tau = convolution_divergence(variance=variance, shares=shares)
    return math.sqrt(l2_squared) * (_largest_step(1 / variance) + math.sqrt(2 * math.pi) * tau)


def skellam_curvature(variance: float) -> float:
    """Bound log(p(k)^2 / (p(k-1) p(k+1))) for every k, for a variance of at least 3."""
    return -math.log1p(-1 / variance - variance**-3)


def _largest_step(curvature: float) -> float:
    return math.sqrt(2 * curvature / (1 + math.sqrt(1 - curvature / 3)))
