"""Lower bounds on epsilon from simulated releases: what an attacker has shown, at a level of significance."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

from fedprllm_secure.privacy.gaussian import gaussian_epsilon

Floats = NDArray[np.float64]

LEVEL = 1e-4


def upper_limit(hits: int, trials: int) -> float:
    """Give the one-sided Clopper-Pearson limit at half the level: two rates are bounded together."""
    return 1.0 if hits == trials else float(beta.ppf(1 - LEVEL / 2, hits + 1, trials - hits))


def error_limits(scores_in: Floats, scores_out: Floats, cutoff: float) -> tuple[float, float]:
    """Bound the false positive and the false negative rate of "in where the score is above the cutoff"."""
    false_positives = int((scores_out > cutoff).sum())
    false_negatives = int((scores_in <= cutoff).sum())
    return upper_limit(false_positives, len(scores_out)), upper_limit(false_negatives, len(scores_in))


def clopper_pearson_bound(fpr: float, fnr: float, delta: float) -> float:
    """Bound any mechanism's epsilon: TPR <= exp(epsilon) FPR + delta, and the same of the other two rates."""
    bounds = [math.log(hit / miss) for hit, miss in ((1 - fnr - delta, fpr), (1 - fpr - delta, fnr)) if hit > 0]
    return max([0.0, *bounds])


def gaussian_bound(fpr: float, fnr: float, delta: float) -> float:
    """Bound the epsilon of a mechanism that is Gaussian-like, and only of such: the mu of the two rates."""
    mu = float(norm.isf(fpr) - norm.ppf(fnr))
    return gaussian_epsilon(max(mu, 0.0), delta)


def shown_epsilons(scores_in: Floats, scores_out: Floats, delta: float) -> tuple[float, float]:
    """Give both bounds, each at the cutoff that is best on the first half of the scores, from the second half."""
    half = len(scores_in) // 2
    cutoffs = np.unique(np.quantile(np.concatenate([scores_in[:half], scores_out[:half]]), np.linspace(0, 1, 201)))
    shown = []
    for bound in (clopper_pearson_bound, gaussian_bound):
        tried = [bound(*error_limits(scores_in[:half], scores_out[:half], cutoff), delta) for cutoff in cutoffs]
        best = cutoffs[int(np.argmax(tried))]
        shown.append(bound(*error_limits(scores_in[half:], scores_out[half:], best), delta))
    return shown[0], shown[1]
