"""Ceilings: known values, and what no attack passes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from attacks.leakage.ceilings import (
    clopper_pearson_ceiling,
    epsilon_delta_auc,
    epsilon_delta_tpr,
    gaussian_auc,
    gaussian_ceiling,
    gaussian_tpr,
    non_members_needed,
    one_run_ceiling,
    smallest_supported_fpr,
)
from attacks.leakage.curves import roc
from attacks.leakage.intervals import clopper_pearson
from attacks.leakage.lower_bounds import epsilon_of_mu
from tests.attacks.leakage.simulated import gaussian, randomised_response


@pytest.mark.parametrize(
    ("coins", "clopper", "one_run", "one_run_delta"),
    [
        (64, 2.825, 3.038, 3.036),
        (128, 3.532, 3.743, 3.740),
        (256, 4.233, 4.442, 4.435),
        (1000, 5.601, 5.809, 5.782),
        (10_000, 7.905, 8.113, 7.834),
    ],
)
def test_ceilings_are_the_known_ones(coins, clopper, one_run, one_run_delta):
    """At 95 %: so many members and as many non-members, or so many coins."""
    assert clopper_pearson_ceiling(coins, coins, delta=0.0, level=0.05) == pytest.approx(clopper, abs=6e-4)
    assert one_run_ceiling(coins, delta=0.0, level=0.05) == pytest.approx(one_run, abs=6e-4)
    assert one_run_ceiling(coins, delta=1e-5, level=0.05) == pytest.approx(one_run_delta, abs=6e-4)
    assert gaussian_ceiling(coins, coins, delta=1e-5, level=0.05) > 3 * clopper


@pytest.mark.parametrize(("fpr", "needed"), [(0.1, 36), (0.01, 368), (0.001, 3688)])
def test_so_many_non_members_show_a_rate_and_one_fewer_do_not(fpr, needed):
    """By Clopper-Pearson with none called a member."""
    assert non_members_needed(fpr, level=0.05) == needed
    assert clopper_pearson(0, needed, level=0.05).high <= fpr
    assert clopper_pearson(0, needed - 1, level=0.05).high > fpr
    assert smallest_supported_fpr(needed, level=0.05) == pytest.approx(clopper_pearson(0, needed, level=0.05).high)


@pytest.mark.parametrize(
    ("mu", "auc", "at_1", "at_01"),
    [
        (0.2775, 0.578, 0.020, 0.0025),
        (0.5, 0.638, 0.034, 0.0048),
        (1, 0.760, 0.092, 0.018),
        (1.667, 0.881, 0.255, 0.077),
        (2, 0.921, 0.372, 0.138),
        (3, 0.983, 0.750, 0.464),
    ],
)
def test_gaussian_curves_are_the_known_ones(mu, auc, at_1, at_01):
    """AUC and true positive rates at 1 and 0.1 %."""
    assert gaussian_auc(mu) == pytest.approx(auc, abs=6e-4)
    assert gaussian_tpr(np.array([0.01, 0.001]), mu=mu) == pytest.approx([at_1, at_01], abs=6e-4)


@pytest.mark.parametrize(("epsilon", "at_1"), [(1, 0.027), (3, 0.201), (8, 0.9997)])
def test_epsilon_curves_are_the_known_ones(epsilon, at_1):
    """True positive rates at 1 %; at 8 nothing is ruled out."""
    assert epsilon_delta_tpr(np.array([0.01]), epsilon=epsilon, delta=0.0) == pytest.approx(at_1, abs=6e-4)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (0.0, 0.2), (1.0, 0.0), (2.5, 0.05)])
def test_area_under_the_epsilon_curve(epsilon, delta):
    """The closed area is the curve's, added up finely."""
    fpr = np.linspace(0, 1, 200_001)

    expected = np.trapezoid(epsilon_delta_tpr(fpr, epsilon=epsilon, delta=delta), fpr)

    assert epsilon_delta_auc(epsilon=epsilon, delta=delta) == pytest.approx(expected, abs=1e-6)


def test_the_best_test_of_randomised_response_lies_on_its_curve():
    """The curve of pure epsilon is reached, and by no more than chance passed."""
    told = roc(randomised_response(np.random.default_rng(0), runs=100_000, epsilon=1.5))
    true, false = told.rates_at(1.0)

    assert true == pytest.approx(epsilon_delta_tpr(false, epsilon=1.5, delta=0.0), abs=0.03)
    assert told.auc() == pytest.approx(epsilon_delta_auc(epsilon=1.5, delta=0.0), abs=0.01)


def test_a_gaussian_mechanism_stays_below_both_of_its_curves():
    """Its own curve is met, that of its exact epsilon and delta lies above."""
    curve = roc(gaussian(np.random.default_rng(1), runs=100_000, shift=1.0))
    fpr = np.array([0.001, 0.01, 0.1, 0.5])
    measured = np.array([curve.tpr_at(rate) for rate in fpr])
    above = epsilon_delta_tpr(fpr, epsilon=epsilon_of_mu(1.0, delta=1e-5), delta=1e-5)

    assert measured == pytest.approx(gaussian_tpr(fpr, mu=1.0), abs=0.015)
    assert (gaussian_tpr(fpr, mu=1.0) <= above).all()
    assert curve.auc() == pytest.approx(gaussian_auc(1.0), abs=0.01)
    assert gaussian_auc(1.0) == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: non_members_needed(0.0, level=0.05), "fpr=0.0 must be in"),
        (lambda: non_members_needed(0.1, level=2.0), "level=2.0 must be in"),
        (lambda: smallest_supported_fpr(0, level=0.05), "non_members=0 must be at least 1"),
        (lambda: smallest_supported_fpr(5, level=0.0), "level=0.0 must be in"),
        (lambda: gaussian_tpr(np.array([0.1]), mu=-1.0), "mu=-1.0 must be at least 0"),
        (lambda: gaussian_auc(-1.0), "mu=-1.0 must be at least 0"),
        (lambda: epsilon_delta_tpr(np.array([0.1]), epsilon=-1.0, delta=0.0), "epsilon=-1.0 must be at least 0"),
        (lambda: epsilon_delta_auc(epsilon=-1.0, delta=0.0), "epsilon=-1.0 must be at least 0"),
        (lambda: epsilon_delta_auc(epsilon=1.0, delta=1.0), "delta=1.0 must be in"),
    ],
)
def test_numbers_out_of_range_are_refused(call, says):
    """By name and value."""
    with pytest.raises(ValueError, match=says):
        call()
