"""What could be shown at most: with so many coins, and under a claimed epsilon.

A lower bound far below a claim says little where these coins could not have shown more. Knows nothing of scores.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from attacks.leakage.intervals import check_level
from attacks.leakage.lower_bounds import (
    IndependentCounts,
    check_delta,
    clopper_pearson_epsilon,
    gaussian_epsilon,
    one_run_epsilon,
)


def clopper_pearson_ceiling(members: int, non_members: int, *, delta: float, level: float) -> float:
    """Give the epsilon that a perfect attack on so many independent coins shows by Clopper-Pearson.

    Raises:
        ValueError: a number is out of range.
    """
    return clopper_pearson_epsilon(IndependentCounts(members, members, 0, non_members), delta=delta, level=level)


def gaussian_ceiling(members: int, non_members: int, *, delta: float, level: float) -> float:
    """Give the epsilon that a perfect attack on so many independent coins shows by the Gaussian bound.

    Raises:
        ValueError: a number is out of range.
    """
    return gaussian_epsilon(IndependentCounts(members, members, 0, non_members), delta=delta, level=level)


def one_run_ceiling(coins: int, *, delta: float, level: float) -> float:
    """Give the epsilon that guessing every coin rightly shows by the one-run bound.

    Raises:
        ValueError: a number is out of range.
    """
    return one_run_epsilon(coins, coins, coins, delta=delta, level=level)


def non_members_needed(fpr: float, *, level: float) -> int:
    """Give how many independent non-members, none called a member, show by Clopper-Pearson a rate of at most `fpr`.

    Raises:
        ValueError: `fpr` or `level` is not in (0, 1).
    """
    check_level(level)
    if not 0 < fpr < 1:
        raise ValueError(f"fpr={fpr} must be in (0, 1)")
    return math.ceil(math.log(level / 2) / math.log1p(-fpr))


def smallest_supported_fpr(non_members: int, *, level: float) -> float:
    """Give the smallest false positive rate that so many non-members can show.

    Raises:
        ValueError: there are none, or `level` is not in (0, 1).
    """
    check_level(level)
    if non_members < 1:
        raise ValueError(f"non_members={non_members} must be at least 1")
    return -math.expm1(math.log(level / 2) / non_members)


def epsilon_delta_tpr(fpr: np.ndarray, *, epsilon: float, delta: float) -> np.ndarray:
    """Give the greatest true positive rate of any test of an (epsilon, delta)-private mechanism (Kairouz et al. 2015).

    Args:
        fpr: float (...), false positive rates.
        epsilon: at least 0.
        delta: in [0, 1).

    Raises:
        ValueError: `epsilon` or `delta` is out of range.
    """
    check_delta(delta)
    if not epsilon >= 0:
        raise ValueError(f"epsilon={epsilon} must be at least 0")
    low = np.exp(epsilon) * fpr + delta
    high = 1 - np.exp(-epsilon) * (1 - delta - fpr)
    return np.minimum(1.0, np.minimum(low, high))


def gaussian_tpr(fpr: np.ndarray, *, mu: float) -> np.ndarray:
    """Give the greatest true positive rate of any test of a mu-Gaussian-private mechanism (Dong, Roth & Su 2022).

    Raises:
        ValueError: `mu` is below 0.
    """
    _check_mu(mu)
    return stats.norm.cdf(mu - stats.norm.isf(fpr))


def gaussian_auc(mu: float) -> float:
    """Give the greatest AUC of any test of a mu-Gaussian-private mechanism.

    Raises:
        ValueError: `mu` is below 0.
    """
    _check_mu(mu)
    return float(stats.norm.cdf(mu / math.sqrt(2)))


def epsilon_delta_auc(*, epsilon: float, delta: float) -> float:
    """Give the greatest AUC of any test of an (epsilon, delta)-private mechanism: the area under its curve.

    The curve rises from (0, delta) to (x, 1 - x) at slope e^epsilon and from there to (1 - delta, 1) at e^-epsilon.

    Raises:
        ValueError: `epsilon` or `delta` is out of range.
    """
    check_delta(delta)
    corner = (1 - delta) / (1 + math.exp(epsilon))
    fpr = np.array([0.0, corner, 1 - delta, 1.0])
    return float(np.trapezoid(epsilon_delta_tpr(fpr, epsilon=epsilon, delta=delta), fpr))


def _check_mu(mu: float) -> None:
    if not mu >= 0:
        raise ValueError(f"mu={mu} must be at least 0")
