"""Leakage reports: figures, refusals, claims and JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from attacks.leakage.ceilings import non_members_needed
from attacks.leakage.claims import Claim, Game
from attacks.leakage.curves import ppv, roc
from attacks.leakage.figures import Measured
from attacks.leakage.intervals import Interval
from attacks.leakage.lower_bounds import one_run_p_value
from attacks.leakage.plan import plan_beforehand
from attacks.leakage.report import leakage_report, leakage_reports
from tests.attacks.leakage.simulated import gaussian, randomised_response, samples

GAME = Game("window-replace", "server")


def report(audit, *, claim=None, game=GAME, plan=None, level=0.05):
    """Report with few replicates."""
    return leakage_report(
        audit,
        plan or plan_beforehand(0.5),
        attack="some",
        game=game,
        claim=claim,
        level=level,
        generator=np.random.default_rng(0),
        replicates=100,
    )


def test_figures_are_those_of_the_samples():
    """Values by their own formulas, each within its interval."""
    audit = gaussian(np.random.default_rng(0), runs=500, per_run=2)
    found = report(audit)
    true, false = roc(audit).rates_at(0.5)

    assert found.auc.value == roc(audit).auc()
    assert found.at_cutoff.advantage.value == true - false
    assert found.at_cutoff.balanced_accuracy.value == pytest.approx((1 + true - false) / 2)
    assert [rate.fpr for rate in found.rates] == [0.1, 0.01, 0.001]
    assert found.rates[0].tpr.value == roc(audit).tpr_at(0.1)
    assert found.rates[0].ppv.value == ppv(roc(audit).tpr_at(0.1), 0.1, prior=0.01)
    assert found.rates[0].ppv.interval.low == ppv(found.rates[0].tpr.interval.low, 0.1, prior=0.01)
    assert (found.members + found.non_members, found.runs, found.targets) == (1000, 500, 2)
    whole = [found.auc, found.rates[0].tpr, found.rates[0].ppv, found.at_cutoff.tpr, found.at_cutoff.advantage]
    for measured in whole:
        assert measured.interval.low < measured.value < measured.interval.high
        assert measured.reason is None


def test_rates_that_non_members_cannot_support_are_refused():
    """With the number needed and the number there."""
    audit = gaussian(np.random.default_rng(1), runs=600)
    found = report(audit)

    assert found.rates[0].tpr.value is not None
    for rate, needed in zip(found.rates[1:], (368, 3688), strict=True):
        reason = (
            f"needs {needed} runs with a non-member (coins of one run are not independent), here are "
            f"{audit.num_non_members}"
        )
        assert rate.tpr == rate.ppv == Measured(None, None, reason)
        assert rate.non_members_needed == needed


def test_coins_of_few_runs_support_no_low_rate():
    """So many non-members would do if they were independent; 40 runs of them do for 10 %, 35 do not."""
    for runs, is_given in ((40, True), (35, False)):
        found = report(gaussian(np.random.default_rng(1), runs=runs, per_run=100))
        assert found.non_members > 1700
        assert [rate.tpr.value is not None for rate in found.rates] == [is_given, False, False]
        assert (found.rates[0].tpr.interval is not None) == is_given


def test_where_runs_rise_and_fall_as_one_runs_count_and_not_coins():
    """A rate of 10 % shows no false positive among 400 coins of 4 runs most of the time; of 36 runs hardly ever."""
    generator = np.random.default_rng(2)

    def shows_none(runs):
        called = generator.random((20_000, runs)) < 0.1  # all of a run's non-members at once
        return (~called.any(axis=1)).mean()

    assert shows_none(4) > 0.5
    assert shows_none(non_members_needed(0.1, level=0.05)) < 0.028


def test_a_single_run_gets_figures_without_intervals_and_the_one_run_bound_only():
    """No interval says how other runs would differ."""
    members = np.random.default_rng(2).random(200) < 0.5
    found = report(samples(members, members, np.zeros(200, int), np.arange(200)))

    assert found.auc == Measured(1.0, None, "an interval needs 2 runs, here is 1")
    for rate in found.rates:
        assert rate.tpr.value is rate.ppv.value is None
        assert rate.tpr.reason.endswith("here are 1")
    assert found.at_cutoff.advantage == Measured(1.0, None, "an interval needs 2 runs, here is 1")
    assert found.at_cutoff.tpr.value is None
    assert "needs members and non-members" in found.at_cutoff.fpr.reason
    assert found.clopper_pearson.epsilon is None
    assert found.one_run.epsilon == found.one_run.ceiling


def test_complete_separation_has_no_bootstrap_interval():
    """An interval from 1 to 1 would say that nothing else is possible."""
    members = np.arange(100) % 2 == 0
    found = report(samples(members, members))

    assert found.auc == Measured(
        1.0, None, "no weighting of runs and targets changes it, so that a bootstrap gives no interval"
    )
    assert found.at_cutoff.tpr.interval.low < 1


def test_a_false_claim_is_exceeded_and_a_true_one_is_not():
    """Randomised response of epsilon 3, claimed as 1, 3 and 20."""
    audit = randomised_response(np.random.default_rng(3), runs=1000, epsilon=3.0)
    false, true, vacuous = (report(audit, claim=Claim(epsilon, 1e-9, GAME)).claim for epsilon in (1.0, 3.0, 20.0))

    assert false.exceeded_by == ("clopper_pearson", "one_run")
    assert false.p_value < 1e-6
    assert (true.exceeded_by, vacuous.exceeded_by) == ((), ())
    assert true.p_value > 0.05
    assert max(false.least_p_value, true.least_p_value) < 1e-6
    assert vacuous.least_p_value == one_run_p_value(1000, 1000, 1000, epsilon=20.0, delta=1e-9) > 0.9
    assert false.greatest_auc == pytest.approx(np.e / (1 + np.e))
    assert report(audit).claim is None


def test_guessing_without_seeing_has_no_small_p_value():
    """At 1 in 20, about 1 in 20 blind attacks; a seeing one at once."""
    generator = np.random.default_rng(4)
    blind = [report(gaussian(generator, runs=60, shift=0.0)).p_value for _ in range(100)]

    assert np.mean(np.array(blind) <= 0.05) <= 0.09
    assert report(gaussian(generator, runs=60, shift=3.0)).p_value < 1e-6


def test_a_claim_of_another_game_is_not_compared():
    """Neither another adjacency nor another adversary."""
    audit = gaussian(np.random.default_rng(5), runs=50)

    for game in (Game("window-zero-out", "server"), Game("window-replace", "reader of the output")):
        with pytest.raises(ValueError, match=r"game=.* must be the claim's"):
            report(audit, claim=Claim(1.0, 1e-5, game))


def test_gaussian_bound_is_labelled_and_never_set_against_a_claim():
    """Randomised response has a Gaussian figure far above its epsilon, and its claim stands."""
    audit = randomised_response(np.random.default_rng(6), runs=4000, epsilon=1.0)
    found = report(audit, claim=Claim(1.0, 1e-5, GAME))

    assert found.gaussian.epsilon > 3
    assert found.gaussian.valid_for == "only for Gaussian-like mechanisms"
    assert found.claim.exceeded_by == ()


def test_many_attacks_are_reported_strongest_first_on_runs_not_chosen_on():
    """A reversed attack is turned, a blind one comes last; all figures are of every other run."""
    generator = np.random.default_rng(7)
    good = gaussian(generator, runs=300, per_run=2, shift=1.5)
    coins = {"members": good.members, "runs": good.runs, "targets": good.targets}
    attacks = {
        "blind": samples(generator.normal(size=600), **coins),
        "good": good,
        "wrong": samples(generator.normal(size=600) - 3 * good.members, **coins),
    }

    found = leakage_reports(
        attacks, game=GAME, claim=None, level=0.05, generator=np.random.default_rng(0), replicates=50
    )

    assert [each.attack for each in found] == ["wrong", "good", "blind"]
    assert [each.is_reversed for each in found[:2]] == [True, False]
    assert found[0].auc.value == roc(attacks["wrong"].halves()[1].reversed()).auc() > 0.9
    assert {each.runs for each in found} == {150}
    assert found[2].auc.interval.low < 0.5 < found[2].auc.interval.high


def test_the_order_is_that_of_the_runs_chosen_on():
    """An attack that fails on the runs reported comes before one that is strong there alone."""
    generator = np.random.default_rng(9)
    runs = np.arange(400)
    members = generator.random(400) < 0.5
    chosen_on = runs % 2 == 0
    attacks = {
        "strong where reported": samples(generator.normal(size=400) + 3 * (members & ~chosen_on), members, runs),
        "strong where chosen": samples(generator.normal(size=400) + 3 * (members & chosen_on), members, runs),
    }

    found = leakage_reports(
        attacks, game=GAME, claim=None, level=0.05, generator=np.random.default_rng(0), replicates=50
    )

    assert [each.attack for each in found] == ["strong where chosen", "strong where reported"]
    assert abs(found[0].auc.value - 0.5) < 0.15 < 0.4 < abs(found[1].auc.value - 0.5)


def test_report_is_json():
    """All of it goes through strict JSON and comes back."""
    found = report(gaussian(np.random.default_rng(8), runs=80), claim=Claim(2.0, 1e-5, GAME)).as_json()

    read = json.loads(json.dumps(found, allow_nan=False))

    assert read["claim"]["claim"]["game"] == {"adjacency": "window-replace", "adversary": "server"}
    assert read["rates"][2]["tpr"]["reason"].startswith("needs 3688 runs with a non-member")
    assert read["auc"]["interval"]["low"] == found["auc"]["interval"]["low"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Game("window", "server"), "adjacency='window' must be one of client-zero-out"),
        (lambda: Game("window-replace", ""), "adversary='' must be named"),
        (lambda: Claim(-1.0, 0.0, GAME), "epsilon=-1.0 must be at least 0"),
        (lambda: Claim(1.0, 1.0, GAME), "delta=1.0 must be in"),
        (lambda: Measured(None, None), "reason=None must be given"),
        (lambda: Measured(1.0, Interval(0.0, 2.0), "why"), "reason='why' must be given"),
        (lambda: Measured(None, Interval(0.0, 2.0), "why"), "reason='why' must be given"),
        (lambda: report(samples([0, 1], [0, 1]), level=0.0), "level=0.0 must be in"),
    ],
)
def test_what_makes_no_sense_is_refused(call, says):
    """By name and value."""
    with pytest.raises(ValueError, match=says):
        call()
