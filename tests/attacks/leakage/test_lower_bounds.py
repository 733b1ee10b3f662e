"""Lower bounds on epsilon: known values, soundness and tightness on mechanisms of known epsilon."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from attacks.leakage.bounds import ANY, GAUSSIAN_ONLY, clopper_pearson_bound, gaussian_bound, one_run_bound
from attacks.leakage.ceilings import one_run_ceiling
from attacks.leakage.lower_bounds import (
    IndependentCounts,
    clopper_pearson_epsilon,
    epsilon_of_mu,
    gaussian_epsilon,
    independent_counts,
    one_run_epsilon,
    one_run_p_value,
)
from attacks.leakage.plan import Guesses, chosen_plan
from tests.attacks.leakage.simulated import gaussian, randomised_response, samples

ALL = Guesses(0.5, 0.5)  # of scores that are 0 or 1


def test_clopper_pearson_epsilon_is_the_known_one():
    """500 of 1000 true and 10 of 1000 false positives, 95 %; and the same told by negatives."""
    counts = IndependentCounts(500, 1000, 10, 1000)
    mirrored = IndependentCounts(990, 1000, 500, 1000)

    assert clopper_pearson_epsilon(counts, delta=0.0, level=0.05) == pytest.approx(3.2420165921, abs=1e-9)
    assert clopper_pearson_epsilon(mirrored, delta=0.0, level=0.05) == pytest.approx(3.2420165921, abs=1e-9)
    assert clopper_pearson_epsilon(IndependentCounts(1, 9, 5, 9), delta=0.0, level=0.05) == 0
    assert clopper_pearson_epsilon(IndependentCounts(50, 99, 0, 99), delta=0.5, level=0.05) == 0


def test_delta_is_taken_off_the_true_positive_rate():
    """By the formula."""
    low = stats.beta.ppf(0.025, 500, 501)
    high = stats.beta.ppf(0.975, 11, 990)

    found = clopper_pearson_epsilon(IndependentCounts(500, 1000, 10, 1000), delta=0.01, level=0.05)

    assert found == pytest.approx(np.log((low - 0.01) / high))


@pytest.mark.parametrize(
    ("coins", "guesses", "right", "delta", "expected"),
    [
        (1000, 100, 90, 0.0, 1.6308232),
        (1000, 100, 90, 1e-5, 1.6261435),
        (256, 256, 200, 1e-5, 1.0170443),
        (10, 4, 0, 1e-5, 0.0),
        (100, 50, 25, 0.0, 0.0),
    ],
)
def test_one_run_epsilon_is_the_known_one(coins, guesses, right, delta, expected):
    """The p-value at the bound is the level."""
    found = one_run_epsilon(coins, guesses, right, delta=delta, level=0.05)

    assert found == pytest.approx(expected, abs=1e-7)
    if expected:
        assert one_run_p_value(coins, guesses, right, epsilon=found, delta=delta) == pytest.approx(0.05, abs=1e-8)


def test_one_run_p_value_is_the_theorems():
    """Summed as it is written."""
    coins, guesses, right, epsilon, delta = 40, 20, 15, 0.7, 1e-3
    chance = np.exp(epsilon) / (1 + np.exp(epsilon))
    masses = [stats.binom.pmf(count, guesses, chance) for count in range(guesses + 1)]
    worst = max(sum(masses[right - i : right]) / i for i in range(1, right + 1))

    expected = sum(masses[right:]) + 2 * coins * delta * worst

    assert one_run_p_value(coins, guesses, right, epsilon=epsilon, delta=delta) == pytest.approx(expected)
    assert one_run_p_value(coins, guesses, right, epsilon=epsilon, delta=0.9) == 1


@pytest.mark.parametrize(
    ("mu", "delta", "expected"),
    [
        (1, 1e-5, 4.377178096),
        (5 / 3, 1e-5, 8.003691056),
        (0.2, 1e-5, 0.7255217509),
        (0.01, 1e-5, 0.02721941981),
        (1.25, 1e-7, 6.887227307),
        (0, 1e-5, 0),
    ],
)
def test_epsilon_of_mu_is_the_known_one(mu, delta, expected):
    """Exact values of the Gaussian mechanism."""
    assert epsilon_of_mu(mu, delta=delta) == pytest.approx(expected, abs=1e-8)


def test_no_bound_passes_the_epsilon_of_randomised_response():
    """At 95 %, at most 5 of 100 audits and chance; and the bound is not far below."""
    generator = np.random.default_rng(0)
    by_rates, by_guesses = [], []
    for _ in range(100):
        audit = randomised_response(generator, runs=600, epsilon=1.0, per_run=2)
        by_rates.append(clopper_pearson_bound(audit, cutoff=1.0, delta=0.0, level=0.05).epsilon)
        by_guesses.append(one_run_bound(audit, guesses=ALL, delta=0.0, level=0.05).epsilon)

    for bounds in (by_rates, by_guesses):
        assert np.mean(np.array(bounds) > 1.0) <= 0.09
        assert np.median(bounds) > 0.6


def test_gaussian_bound_is_false_for_randomised_response():
    """True epsilon 1 is reported as above 4: it is a bound of Gaussian-like mechanisms only."""
    audit = randomised_response(np.random.default_rng(1), runs=10_000, epsilon=1.0)

    found = gaussian_bound(audit, cutoff=1.0, delta=1e-5, level=0.05)

    assert found.epsilon > 4
    assert found.valid_for == GAUSSIAN_ONLY


def test_bounds_of_a_gaussian_mechanism_are_sound_and_the_gaussian_one_is_tight():
    """Cutoffs and guesses chosen on half of the runs; the exact epsilon at delta 1e-5 is 4.377."""
    generator = np.random.default_rng(2)
    found = []
    for _ in range(30):
        choosing, reporting = gaussian(generator, runs=4000, shift=1.0).halves()
        plan = chosen_plan(choosing, level=0.05)
        found.append(
            (
                gaussian_bound(reporting, cutoff=plan.gaussian_cutoff, delta=1e-5, level=0.05).epsilon,
                clopper_pearson_bound(reporting, cutoff=plan.clopper_pearson_cutoff, delta=1e-5, level=0.05).epsilon,
                one_run_bound(reporting, guesses=plan.guesses, delta=1e-5, level=0.05).epsilon,
            )
        )

    assert (np.array(found) > 4.377).mean(axis=0) == pytest.approx(0, abs=0.1)
    assert np.median(found, axis=0)[0] > 0.6 * 4.377
    assert (np.median(found, axis=0)[1:] > 1).all()


def test_clopper_pearson_takes_one_coin_a_run():
    """A run whose coins all say the same counts once; were all counted, a lucky run would look like proof."""
    members = np.repeat([True, False, True, False], 50)
    runs, targets = np.repeat(np.arange(4), 50), np.tile(np.arange(50), 4)
    audit = samples(members.astype(float), members, runs, targets)

    bound = clopper_pearson_bound(audit, cutoff=0.5, delta=0.0, level=0.05)

    assert independent_counts(audit, 0.5) == IndependentCounts(2, 2, 0, 2)
    assert (bound.epsilon, bound.coins, bound.valid_for) == (0.0, 4, ANY)
    assert one_run_bound(audit, guesses=ALL, delta=0.0, level=0.05).epsilon > 4
    assert one_run_bound(audit, guesses=ALL, delta=0.0, level=0.05).coins == 200


def test_coins_that_are_not_guessed_still_cost_delta():
    """1000 coins, 60 guessed first and 40 second, 90 of these rightly; delta is paid for each of the 1000."""
    scores = np.repeat([1.0, 0.0, -1.0], [60, 900, 40])
    members = np.repeat([True, False, True, False, True, False], [55, 5, 450, 450, 5, 35])
    audit = samples(scores, members, np.repeat(np.arange(10), 100), np.tile(np.arange(100), 10))

    bound = one_run_bound(audit, guesses=Guesses(0.5, -0.5), delta=1e-5, level=0.05)

    assert bound.epsilon == one_run_epsilon(1000, 100, 90, delta=1e-5, level=0.05)
    assert bound.epsilon == pytest.approx(1.6261435, abs=1e-7)
    assert bound.epsilon < one_run_epsilon(100, 100, 90, delta=1e-5, level=0.05) - 1e-3
    assert bound.ceiling == one_run_ceiling(1000, delta=1e-5, level=0.05)
    assert bound.coins == 1000


def test_bounds_say_why_they_are_missing():
    """One run has one independent coin; a Gaussian has no epsilon at delta 0."""
    single = samples([0, 1, 2], [0, 1, 1], [3, 3, 3], [0, 1, 2])
    for bound in (clopper_pearson_bound, gaussian_bound):
        found = bound(single, cutoff=0.5, delta=0.1, level=0.05)
        assert (found.epsilon, found.ceiling) == (None, None)
        assert found.reason == "needs members and non-members among one coin a run, here are 1 runs, all coins alike"

    found = gaussian_bound(gaussian(np.random.default_rng(0), runs=50), cutoff=0.5, delta=0.0, level=0.05)

    assert (found.epsilon, found.reason) == (None, "a Gaussian mechanism has no epsilon at delta 0")


def test_a_perfect_attack_meets_its_ceilings():
    """And one that is not perfect does not."""
    members = np.random.default_rng(0).permutation(np.arange(100) < 50)
    perfect, blind = samples(members, members), gaussian(np.random.default_rng(1), runs=100, shift=0.0)

    for bound in (
        lambda audit: clopper_pearson_bound(audit, cutoff=0.5, delta=1e-5, level=0.05),
        lambda audit: gaussian_bound(audit, cutoff=0.5, delta=1e-5, level=0.05),
        lambda audit: one_run_bound(audit, guesses=ALL, delta=1e-5, level=0.05),
    ):
        assert bound(perfect).epsilon == pytest.approx(bound(perfect).ceiling) != 0
        assert bound(blind).epsilon < bound(blind).ceiling / 2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: IndependentCounts(3, 2, 0, 1), r"counts=.* must be 0 to the class's number"),
        (lambda: IndependentCounts(0, 2, 0, 0), r"counts=.* must be 0 to the class's number"),
        (lambda: clopper_pearson_epsilon(IndependentCounts(1, 2, 0, 1), delta=1.0, level=0.05), "delta=1.0 must be"),
        (lambda: clopper_pearson_epsilon(IndependentCounts(1, 2, 0, 1), delta=0.0, level=5.0), "level=5.0 must be"),
        (lambda: gaussian_epsilon(IndependentCounts(1, 2, 0, 1), delta=0.0, level=0.05), r"delta=0.0 in \(0, 1\)"),
        (lambda: epsilon_of_mu(-1.0, delta=0.1), "mu=-1.0 must be at least 0 and finite"),
        (lambda: epsilon_of_mu(float("inf"), delta=0.1), "mu=inf must be at least 0 and finite"),
        (lambda: one_run_p_value(9, 10, 3, epsilon=0.0, delta=0.0), "right=3 <= guesses=10 <= coins=9"),
        (lambda: one_run_p_value(9, 3, 4, epsilon=0.0, delta=0.0), "right=4 <= guesses=3 <= coins=9"),
        (lambda: one_run_p_value(9, 3, 3, epsilon=-1.0, delta=0.0), "epsilon=-1.0 >= 0 must hold"),
        (lambda: one_run_p_value(9, 3, 3, epsilon=0.0, delta=-0.1), "delta=-0.1 must be in"),
        (lambda: one_run_epsilon(9, 3, 3, delta=0.0, level=1.0), "level=1.0 must be in"),
        (lambda: gaussian_bound(samples([0, 1], [0, 1]), cutoff=0.0, delta=-1.0, level=0.1), "delta=-1.0 must be in"),
    ],
)
def test_numbers_out_of_range_are_refused(call, says):
    """By name and value."""
    with pytest.raises(ValueError, match=says):
        call()
