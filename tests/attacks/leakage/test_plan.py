"""What is settled beforehand or on other runs, and the order and correction of many attacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks.leakage.curves import roc
from attacks.leakage.plan import Guesses, chosen_plan, plan_beforehand
from attacks.leakage.selection import holm, holm_factor, strongest_first
from tests.attacks.leakage.simulated import gaussian, samples


def test_guesses_are_the_highest_and_the_lowest():
    """Of ten coins two are guessed first and three second; those at a cutoff are guessed first."""
    audit = samples([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], [1, 0, 1, 1, 1, 1, 1, 0, 1, 0])

    assert Guesses(8.0, 3.0).told(audit) == (5, 3)
    assert Guesses(8.0, -np.inf).told(audit) == (2, 1)
    assert Guesses(np.inf, 1.0).told(audit) == (1, 1)
    assert Guesses(np.inf, -np.inf).told(audit) == (0, 0)
    assert Guesses(5.0, 5.0).told(audit) == (10, 6)


@pytest.mark.parametrize(("first", "second"), [(0.0, 0.1), (np.nan, 0.0)])
def test_no_coin_is_guessed_twice(first, second):
    """Cutoffs are in order."""
    with pytest.raises(ValueError, match=f"second_below={second} must be at most first_from={first}"):
        Guesses(first, second)


def test_equal_scores_are_guessed_alike():
    """Members listed first would be guessed rightly, were ties taken in the arrays' order."""
    members = np.arange(400) < 200
    constant = samples(np.zeros(400), members)

    guessed, right = chosen_plan(constant, level=0.05).guesses.told(constant)

    assert right in (0, 200)
    assert guessed == 2 * right


def test_plan_finds_that_scores_point_the_wrong_way():
    """Turned scores are told as well as right ones."""
    choosing, reporting = gaussian(np.random.default_rng(0), runs=400, shift=2.0).halves()

    right, wrong = chosen_plan(choosing, level=0.05), chosen_plan(choosing.reversed(), level=0.05)

    assert (right.is_reversed, wrong.is_reversed) == (False, True)
    assert np.array_equal(wrong.turned(reporting.reversed()).scores, right.turned(reporting).scores)
    assert replace(wrong, is_reversed=False, runs=right.runs).cutoff == right.cutoff


def test_chosen_cutoffs_are_the_best_of_their_runs():
    """The cutoff for advantage by trial; bounds take more extreme ones."""
    choosing = gaussian(np.random.default_rng(1), runs=2000, shift=1.5)
    plan = chosen_plan(choosing, level=0.05)
    tried = [float(roc(choosing).advantage_at(cutoff)) for cutoff in choosing.scores]

    assert plan.cutoff == choosing.scores[np.argmax(tried)]
    assert abs(plan.clopper_pearson_cutoff - 0.75) > abs(plan.cutoff - 0.75)
    assert plan.guesses.second_below < plan.guesses.first_from


def test_runs_chosen_on_are_not_reported():
    """A plan remembers its runs; one made beforehand has none."""
    choosing, reporting = gaussian(np.random.default_rng(2), runs=20, shift=2.0).halves()
    plan = chosen_plan(choosing, level=0.05)

    with pytest.raises(ValueError, match="must not be among those that the plan was chosen on"):
        plan.turned(choosing)
    assert plan.turned(reporting) is reporting
    assert plan_beforehand().turned(choosing) is choosing
    assert plan_beforehand(1.5).cutoff == plan_beforehand(1.5).clopper_pearson_cutoff == 1.5


def test_a_plan_needs_a_level():
    """The best cutoff for a bound depends on it."""
    with pytest.raises(ValueError, match="level=0 must be in"):
        chosen_plan(samples([0, 1], [0, 1]), level=0)


def test_strongest_attack_comes_first_whatever_its_direction():
    """An attack that is wrong most of the time is a strong one."""
    generator = np.random.default_rng(3)
    plain = gaussian(generator, runs=500, shift=1.0)
    noisy = replace(plain, scores=plain.scores + 2 * generator.normal(size=500))
    wrong = replace(plain, scores=-3.0 * plain.members + generator.normal(size=500))

    assert strongest_first({"noisy": noisy, "plain": plain, "wrong": wrong}) == ("wrong", "plain", "noisy")


def test_attacks_to_compare_share_coins():
    """Other coins, or none."""
    one, other = (gaussian(np.random.default_rng(seed), runs=20) for seed in (0, 1))

    with pytest.raises(ValueError, match=r"attacks=\['a', 'b'\] must be scored on the same coins"):
        strongest_first({"a": one, "b": other})
    with pytest.raises(ValueError, match="must hold an attack's scores"):
        strongest_first({})


def test_holm_corrects_the_next_by_how_many_stand():
    """Those that were rejected before are no tries any longer; the last one is not corrected."""
    corrected = holm({"a": 0.001, "b": 0.9, "c": 0.02, "d": 0.3, "e": 0.4})

    assert holm_factor(corrected, level=0.05) == 4  # "c" stands at 4 * 0.02
    assert holm_factor(corrected, level=corrected["c"]) == 4
    assert holm_factor({"a": 0.01}, level=0.05) == holm_factor({}, level=0.05) == 1


def test_holm_corrects_for_number_and_keeps_order():
    """Worked by hand: .01 x 4, .02 x 3, then no less than those before, and at most 1."""
    corrected = holm({"a": 0.04, "b": 0.01, "c": 0.9, "d": 0.02})

    assert list(corrected) == ["a", "b", "c", "d"]
    assert list(corrected.values()) == pytest.approx([0.08, 0.04, 0.9, 0.06])
    assert holm({"a": 0.6, "b": 0.5}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_p_values_are_chances():
    """Between 0 and 1."""
    with pytest.raises(ValueError, match=r"p_values=.* must be in"):
        holm({"a": 1.2})
