"""Effective dimension and the law of the plain score."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from attacks.leakage.dimension import effective_dimension, predicted_auc


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_dimension_is_the_participation_ratio(shape):
    """By the covariance's eigenvalues, whether contributions or channels are more; the mean does not count."""
    contributions = np.random.default_rng(0).normal(size=shape) * np.arange(1, shape[1] + 1) + 5
    eigenvalues = np.linalg.eigvalsh(np.cov(contributions, rowvar=False))

    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()

    assert effective_dimension(contributions) == pytest.approx(expected)
    assert effective_dimension(contributions.astype(np.float32)) == pytest.approx(expected, rel=1e-4)


def test_dimension_counts_equal_directions():
    """One direction is 1; many equal ones nearly their number, given enough contributions."""
    generator = np.random.default_rng(1)

    assert effective_dimension(np.outer(np.arange(5.0), np.ones(7))) == pytest.approx(1)
    assert effective_dimension(generator.normal(size=(20_000, 6))) == pytest.approx(6, rel=0.01)


def test_auc_is_that_of_the_plain_score():
    """The score of a sum's residual along a contribution's own reaches what the law says."""
    generator = np.random.default_rng(2)
    size, summed, trials = 400, 40, 4000
    others = generator.normal(size=(trials, size)) * np.sqrt(summed)
    own = generator.normal(size=(trials, size))
    absent, present = (others * own).sum(1), ((others + own) * own).sum(1)

    expected = stats.mannwhitneyu(present, absent).statistic / trials**2

    assert predicted_auc(size, summed) == pytest.approx(expected, abs=0.01)
    assert predicted_auc(26, 32) == pytest.approx(0.74, abs=0.005)


@pytest.mark.parametrize("contributions", [np.zeros(5), np.zeros((1, 5))])
def test_dimension_needs_two_contributions(contributions):
    """One has no spread."""
    with pytest.raises(ValueError, match="two or more"):
        effective_dimension(contributions)


@pytest.mark.parametrize("value", [3.0, np.nan])
def test_dimension_needs_spread(value):
    """Copies have no direction, and neither has what is no number."""
    with pytest.raises(ValueError, match="must be finite and differ"):
        effective_dimension(np.full((4, 3), value))


@pytest.mark.parametrize(("dimension", "contributions"), [(0.0, 3), (2.0, 0)])
def test_law_needs_numbers(dimension, contributions):
    """Both are above 0."""
    with pytest.raises(ValueError, match="must be above 0"):
        predicted_auc(dimension, contributions)
