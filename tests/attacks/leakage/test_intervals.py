"""Intervals: agreement with scipy, coverage with dependent coins, pairing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import stats

from attacks.leakage.curves import Roc, roc
from attacks.leakage.intervals import clopper_pearson, paired_two_way_bootstrap, two_way_bootstrap
from tests.attacks.leakage.simulated import gaussian, samples


@pytest.mark.parametrize(("count", "trials"), [(0, 1), (1, 1), (0, 40), (40, 40), (3, 40), (500, 1000)])
@pytest.mark.parametrize("level", [0.05, 1e-4])
def test_clopper_pearson_is_scipys(count, trials, level):
    """Exact intervals agree."""
    expected = stats.binomtest(count, trials).proportion_ci(1 - level, "exact")

    found = clopper_pearson(count, trials, level=level)

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("count", "trials"), [(-1, 3), (4, 3), (0, 0)])
def test_counts_must_be_of_trials(count, trials):
    """There are no more than all."""
    with pytest.raises(ValueError, match=f"count={count} must be 0 to trials={trials}"):
        clopper_pearson(count, trials, level=0.05)


@pytest.mark.parametrize("level", [0.0, 1.0, float("nan")])
def test_a_level_is_a_chance(level):
    """Neither never nor always wrong."""
    with pytest.raises(ValueError, match=r"level=.* must be in"):
        clopper_pearson(1, 2, level=level)
    with pytest.raises(ValueError, match=r"level=.* must be in"):
        two_way_bootstrap(
            gaussian(np.random.default_rng(0), runs=9),
            {"auc": Roc.auc},
            generator=np.random.default_rng(0),
            level=level,
        )


def test_intervals_cover_though_coins_of_runs_and_targets_hang_together():
    """At 95 %, nine in ten intervals at least hold the mean AUC; of those that forget runs and targets far fewer."""
    generator = np.random.default_rng(1)
    audits = [gaussian(generator, runs=30, per_run=20, of_runs=0.7, of_targets=0.7) for _ in range(60)]
    truth = np.mean([roc(audit).auc() for audit in audits])

    def covered(audit):
        found = two_way_bootstrap(audit, {"auc": Roc.auc}, generator=generator, level=0.05, replicates=200)["auc"]
        return found.low <= truth <= found.high

    as_if_independent = [
        replace(audit, runs=np.arange(len(audit)), targets=np.zeros(len(audit), int)) for audit in audits
    ]

    assert np.mean([covered(audit) for audit in audits]) >= 0.9
    assert np.mean([covered(audit) for audit in as_if_independent]) < 0.7


def test_width_is_the_clusters_not_the_coins():
    """Where all coins of a run say the same, the interval is as wide as that of one coin a run."""
    generator = np.random.default_rng(2)
    alone = gaussian(generator, runs=60)
    copied = samples(
        np.repeat(alone.scores, 9), np.repeat(alone.members, 9), np.repeat(alone.runs, 9), np.tile(np.arange(9), 60)
    )

    widths = []
    for audit in (alone, copied):
        found = two_way_bootstrap(audit, {"auc": Roc.auc}, generator=generator, level=0.05)["auc"]
        widths.append(found.high - found.low)

    assert widths[1] == pytest.approx(widths[0], rel=0.15)


def test_statistics_share_replicates_and_the_generator_decides():
    """The same seed gives the same intervals, whatever other statistics are asked for."""
    audit = gaussian(np.random.default_rng(3), runs=40, per_run=2)
    both = two_way_bootstrap(
        audit,
        {"auc": Roc.auc, "tpr": lambda curve: curve.tpr_at(0.1)},
        generator=np.random.default_rng(0),
        level=0.05,
        replicates=50,
    )
    alone = two_way_bootstrap(audit, {"auc": Roc.auc}, generator=np.random.default_rng(0), level=0.05, replicates=50)

    assert both["auc"] == alone["auc"]
    assert both["tpr"].low < roc(audit).tpr_at(0.1) < both["tpr"].high


def test_chunks_make_no_statistical_difference(monkeypatch):
    """A replicate at a time gives intervals of the same size."""
    audit = gaussian(np.random.default_rng(4), runs=50)
    generator = np.random.default_rng(0)
    at_once = two_way_bootstrap(audit, {"auc": Roc.auc}, generator=generator, level=0.05)["auc"]
    monkeypatch.setattr("attacks.leakage.intervals.CHUNK_ENTRIES", 1)
    singly = two_way_bootstrap(audit, {"auc": Roc.auc}, generator=generator, level=0.05)["auc"]

    assert singly.low == pytest.approx(at_once.low, abs=0.03)
    assert singly.high == pytest.approx(at_once.high, abs=0.03)


def test_pieces_make_no_difference_at_all(monkeypatch):
    """How many replicates are weighed at once changes no digit, with equal scores or without."""
    audit = gaussian(np.random.default_rng(4), runs=50)
    for each in (audit, replace(audit, scores=np.round(audit.scores, 1))):

        def found(one=each):
            statistics = {"auc": Roc.auc, "tpr": partial(Roc.tpr_at, fpr=0.1)}
            return two_way_bootstrap(one, statistics, generator=np.random.default_rng(0), level=0.05, replicates=100)

        monkeypatch.setattr("attacks.leakage.intervals.PIECE_ENTRIES", 7 * len(each))
        in_pieces = found()
        monkeypatch.setattr("attacks.leakage.intervals.PIECE_ENTRIES", 10**9)
        assert in_pieces == found()


def test_pairing_sees_differences_that_two_intervals_hide():
    """An attack that is a little worse on every coin is worse for sure; an attack is no better than itself."""
    generator = np.random.default_rng(5)
    better = gaussian(generator, runs=150, per_run=2, of_runs=1.0)
    worse = replace(better, scores=better.scores - 0.25 * better.members)

    found = paired_two_way_bootstrap(better, worse, Roc.auc, generator=generator, level=0.05, replicates=300)
    same = paired_two_way_bootstrap(better, better, Roc.auc, generator=generator, level=0.05, replicates=20)
    one, other = (
        two_way_bootstrap(each, {"auc": Roc.auc}, generator=generator, level=0.05)["auc"] for each in (better, worse)
    )

    assert found.low > 0
    assert one.low < other.high
    assert (same.low, same.high) == (0.0, 0.0)


def test_pairs_are_of_the_same_coins():
    """Other coins cannot be paired."""
    one, other = (gaussian(np.random.default_rng(seed), runs=20) for seed in (0, 1))

    with pytest.raises(ValueError, match="must be scores of the same coins"):
        paired_two_way_bootstrap(one, other, Roc.auc, generator=np.random.default_rng(0), level=0.05)


def test_one_run_has_no_bootstrap():
    """Nothing tells how runs differ."""
    single = samples([0, 1, 2], [0, 1, 0], [3, 3, 3], [0, 1, 2])

    with pytest.raises(ValueError, match="runs=1 must be at least 2"):
        two_way_bootstrap(single, {"auc": Roc.auc}, generator=np.random.default_rng(0), level=0.05)
