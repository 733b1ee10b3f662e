"""Samples: what they refuse, one coin a run, and halves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.attacks.leakage.simulated import gaussian, samples

GOOD = samples([0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1], [0, 0, 1, 1], [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scores": np.zeros(3)}, "shapes=.* must be one and the same"),
        ({"scores": np.zeros(4, np.float32)}, "scores=float32 must be float64 and finite"),
        ({"scores": np.array([0, 1, 2, np.inf])}, "scores=float64 must be float64 and finite"),
        ({"members": np.array([0, 1, 0, 1])}, "members=int64 must be bool"),
        ({"runs": np.zeros(4)}, "runs=float64 and targets=int64 must be integers"),
        ({"members": np.zeros(4, bool)}, "members=0 of 4 must be some, but not all"),
        ({"members": np.ones(4, bool)}, "members=4 of 4 must be some, but not all"),
        ({"targets": np.array([0, 0, 0, 1])}, "runs and targets must name each coin once"),
    ],
)
def test_samples_that_make_no_sense_are_refused(changes, says):
    """Shapes, types, values, one class only, and a coin named twice."""
    with pytest.raises(ValueError, match=says):
        replace(GOOD, **changes)


def test_matrices_are_refused():
    """Arrays are flat."""
    square = {name: getattr(GOOD, name).reshape(2, 2) for name in ("scores", "members", "runs", "targets")}

    with pytest.raises(ValueError, match="must be one and the same"):
        replace(GOOD, **square)


def test_one_coin_a_run_is_that_of_the_lowest_target():
    """Neither the order of the arrays nor the scores decide which."""
    mixed = samples([9.0, 1.0, 2.0, 5.0], [1, 0, 1, 0], [7, 7, 3, 3], [5, 2, 1, 8])

    scores, members = mixed.one_coin_a_run()

    assert scores.tolist() == [2.0, 1.0]
    assert members.tolist() == [True, False]


def test_halves_share_no_run_and_lose_no_coin():
    """Runs are dealt in turn."""
    whole = gaussian(np.random.default_rng(0), runs=21, per_run=3)

    choosing, reporting = whole.halves()

    assert set(choosing.runs) == set(range(0, 21, 2))
    assert set(reporting.runs) == set(range(1, 21, 2))
    assert len(choosing) + len(reporting) == len(whole)


def test_one_run_has_no_halves():
    """There must be runs for both."""
    with pytest.raises(ValueError, match="runs=1 must be at least 2"):
        samples([0, 1], [0, 1], [4, 4], [0, 1]).halves()


def test_reversing_twice_changes_nothing():
    """Scores are negated, all else stays."""
    assert np.array_equal(GOOD.reversed().scores, -GOOD.scores)
    assert GOOD.reversed().is_of_same_coins(GOOD)
    assert np.array_equal(GOOD.reversed().reversed().scores, GOOD.scores)


def test_other_coins_are_told_apart():
    """Members, runs and targets must all agree."""
    assert not GOOD.is_of_same_coins(replace(GOOD, members=~GOOD.members))
    assert not GOOD.is_of_same_coins(replace(GOOD, runs=GOOD.runs + 1))
    assert not GOOD.is_of_same_coins(replace(GOOD, targets=GOOD.targets + 1))
    assert (GOOD.num_members, GOOD.num_non_members, GOOD.num_runs) == (2, 2, 2)


def test_runs_with_a_non_member_are_counted():
    """However many each holds; a run of members alone is none of them."""
    mixed = samples([0.0] * 6, [0, 0, 0, 1, 1, 0], [4, 4, 4, 5, 6, 6], [0, 1, 2, 0, 0, 1])

    assert mixed.independent_non_members == 2
