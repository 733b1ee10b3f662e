"""How many independent directions contributions have, and how well the plain score would trace one of them in a sum.

The law d' = sqrt(effective dimension / contributions) (after Sankararaman et al. 2009) describes the plain score, which
weighs all channels alike. It is no ceiling: a score whitened by the contributions' covariance can do far better.
"""

from __future__ import annotations

import numpy as np
from scipy import stats


def effective_dimension(contributions: np.ndarray) -> float:
    """Give the participation ratio of the covariance's eigenvalues, (their sum)^2 / (sum of their squares).

    Both are read off the smaller of the Gram matrix and the covariance, without eigenvalues. With few contributions the
    figure is too low: it is at most their number less 1.

    Args:
        contributions: float (contributions, channels), such as logarithms of energies; their mean is taken off.

    Returns:
        1 (all along one direction) to min(contributions - 1, channels).

    Raises:
        ValueError: there are fewer than two contributions, or all are the same.
    """
    if contributions.ndim != 2 or len(contributions) < 2:
        raise ValueError(f"contributions={contributions.shape} must be (contributions, channels), two or more")
    centred = contributions.astype(np.float64) - contributions.mean(axis=0, dtype=np.float64)
    tall = centred.shape[0] > centred.shape[1]
    gram = centred.T @ centred if tall else centred @ centred.T
    squares = float((gram**2).sum())
    if not squares > 0:
        raise ValueError("contributions must be finite and differ from each other")
    return float(np.trace(gram)) ** 2 / squares


def predicted_auc(dimension: float, contributions: int) -> float:
    """Give the plain score's AUC for one contribution among a sum of `contributions`.

    Raises:
        ValueError: a number is not above 0.
    """
    if not (dimension > 0 and contributions > 0):
        raise ValueError(f"dimension={dimension} and contributions={contributions} must be above 0")
    return float(stats.norm.cdf(np.sqrt(dimension / contributions) / np.sqrt(2)))
