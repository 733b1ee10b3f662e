"""Attacks against each other: paired intervals, what is compared at the ceiling, and why nothing is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from attacks.leakage.ceilings import smallest_supported_fpr
from attacks.leakage.claims import Game
from attacks.leakage.comparison import Comparison, compare, supported_fpr
from attacks.leakage.curves import roc
from attacks.leakage.figures import Measured
from attacks.leakage.intervals import paired_two_way_bootstrap
from attacks.leakage.plan import plan_beforehand
from attacks.leakage.report import compared, leakage_report, leakage_reports
from tests.attacks.leakage.simulated import gaussian, samples

GAME = Game("window-replace", "server")


def beside(one, other, *, level=0.05):
    """Compare with few replicates."""
    return compare(one, other, against="simple", level=level, generator=np.random.default_rng(0), replicates=400)


def with_noise(audit, sd, seed=1):
    """Give the same coins with worse scores: an attack that sees the same less well."""
    noise = np.random.default_rng(seed).normal(size=len(audit)) * sd
    return samples(audit.scores + noise, audit.members, audit.runs, audit.targets)


def test_a_difference_is_of_aucs_and_its_interval_is_paired():
    """Far narrower than the two intervals by themselves would let one say, since both see the same coins."""
    one = gaussian(np.random.default_rng(0), runs=80, per_run=4, shift=1.5, of_runs=1.0)
    other = with_noise(one, 0.3)
    found = beside(one, other)
    expected = paired_two_way_bootstrap(
        one, other, lambda curve: curve.auc(), generator=np.random.default_rng(0), level=0.05, replicates=400
    )

    assert (found.against, found.figure, found.fpr) == ("simple", "AUC", None)
    assert found.difference.value == pytest.approx(float(roc(one).auc() - roc(other).auc()))
    assert found.difference.interval == expected
    alone = [
        leakage_report(
            each, plan_beforehand(), attack="a", game=GAME, claim=None, level=0.05, generator=np.random.default_rng(0)
        ).auc.interval
        for each in (one, other)
    ]
    assert expected.high - expected.low < 0.7 * min(each.high - each.low for each in alone)


def test_a_worse_attack_has_a_negative_difference():
    """This attack's figure less the other's, not the other way round."""
    one = gaussian(np.random.default_rng(1), runs=60, per_run=4, shift=2.0)

    assert beside(with_noise(one, 3.0), one).difference.interval.high < 0
    assert beside(one, with_noise(one, 3.0)).difference.interval.low > 0


def test_at_the_ceiling_rates_are_compared():
    """Where both AUCs are 0.99 or more, at the smallest false positive rate that so many runs show."""
    one = gaussian(np.random.default_rng(2), runs=60, per_run=8, shift=5.0)
    other = with_noise(one, 0.8)
    found = beside(one, other)
    fpr = smallest_supported_fpr(60, level=0.05)

    assert min(roc(each).auc() for each in (one, other)) > 0.99
    assert found.fpr == pytest.approx(fpr)
    assert found.figure == f"TPR at FPR {100 * fpr:.3g} %"
    assert found.difference.value == pytest.approx(float(roc(one).tpr_at(fpr) - roc(other).tpr_at(fpr)))


def test_only_where_both_are_at_the_ceiling():
    """One alone is compared by AUC."""
    one = gaussian(np.random.default_rng(3), runs=40, per_run=4, shift=5.0)

    assert beside(one, with_noise(one, 5.0)).figure == "AUC"
    assert beside(with_noise(one, 5.0), one).figure == "AUC"


def test_the_rate_is_a_thousandth_where_runs_show_it():
    """3,688 runs with a non-member do, whatever their number of coins; non-members of few runs do not."""
    runs = np.arange(3688)

    def two_of(runs):
        return samples(
            np.zeros(2 * len(runs)), np.tile([0, 1], len(runs)), np.repeat(runs, 2), np.tile([0, 1], len(runs))
        )

    assert supported_fpr(two_of(runs), level=0.05) == 0.001
    assert supported_fpr(two_of(runs[1:]), level=0.05) == pytest.approx(smallest_supported_fpr(3687, level=0.05))
    pooled = samples(np.zeros(4000), np.arange(4000) % 2, np.arange(4000) // 1000, np.arange(4000) % 1000)
    assert supported_fpr(pooled, level=0.05) == pytest.approx(smallest_supported_fpr(4, level=0.05))


def test_too_few_runs_show_no_low_rate():
    """A rate that four runs show says no more than an AUC."""
    members = np.tile([0, 1], 20).astype(bool)
    perfect = samples(members, members, np.repeat(np.arange(4), 10), np.tile(np.arange(10), 4))
    found = beside(perfect, perfect)

    assert (found.figure, found.fpr, found.difference.value) == (None, None, None)
    assert found.difference.reason == (
        "both AUCs are 0.99 or more, and 4 runs with a non-member show no false positive rate of 0.25"
    )


def test_one_run_has_a_difference_without_an_interval():
    """One run says nothing of how runs differ."""
    one = gaussian(np.random.default_rng(4), runs=1, per_run=40)
    found = beside(one, with_noise(one, 1.0))

    assert found.figure == "AUC"
    assert found.difference.value is not None
    assert found.difference.interval is None
    assert found.difference.reason == "an interval needs 2 runs, here is 1"


def test_attacks_alike_have_no_interval():
    """No reweighting tells them apart."""
    one = gaussian(np.random.default_rng(5), runs=30)
    found = beside(one, one)

    assert found.difference.value == 0
    assert "no weighting of runs and targets changes it" in found.difference.reason


def test_other_coins_are_refused():
    """They are no pair."""
    with pytest.raises(ValueError, match="first and second must be scores of the same coins"):
        beside(gaussian(np.random.default_rng(6), runs=30), gaussian(np.random.default_rng(7), runs=30))


def reports_beside(attacks, simple="simple", missing="it was not made"):
    """Report attacks, and set them beside the simple one on the reported half."""
    generator = np.random.default_rng(0)
    found = leakage_reports(attacks, game=GAME, claim=None, level=0.05, generator=generator, replicates=50)
    halves = {name: each.halves()[1] for name, each in attacks.items()}
    return {
        each.attack: each
        for each in compared(found, halves, simple=simple, missing=missing, generator=generator, replicates=100)
    }


def test_reports_are_set_beside_the_simple_attack():
    """On the half that is reported, in the direction in which each is; the simple one is not set beside itself."""
    good = gaussian(np.random.default_rng(8), runs=100, per_run=4, shift=2.0)
    attacks = {
        "good": with_noise(good, 0.2),
        "simple": with_noise(good, 2.0),
        "wrong": with_noise(good, 0.2).reversed(),
    }
    found = reports_beside(attacks)

    assert found["wrong"].is_reversed
    for name in ("good", "wrong"):
        comparison = found[name].against_simple
        assert comparison.difference.value == pytest.approx(found[name].auc.value - found["simple"].auc.value)
        assert comparison.difference.interval.low > 0
    assert found["simple"].against_simple == Comparison.absent("simple", "it is the simple attack itself")


def test_without_a_simple_attack_the_reason_is_said():
    """For every attack; and all of it is JSON."""
    found = reports_beside({"good": gaussian(np.random.default_rng(9), runs=40)}, missing="not among the attacks")
    read = json.loads(json.dumps(found["good"].as_json(), allow_nan=False))

    assert found["good"].against_simple.difference == Measured(None, None, "not among the attacks")
    assert read["against_simple"] == {
        "against": "simple",
        "figure": None,
        "fpr": None,
        "difference": {"value": None, "interval": None, "reason": "not among the attacks"},
    }
