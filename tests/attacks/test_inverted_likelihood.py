"""Mask inversion and a likelihood ratio."""

from __future__ import annotations

import numpy as np
import pytest

from attacks.inverted_likelihood import InvertedLikelihood
from tests.attacks.planted import auc, null_half_width, plant


def play(game):
    """Give the scores of coins."""
    scoring = InvertedLikelihood().start(game.setting)
    for sight in game.sights:
        scoring.see(sight)
    return game.setting.paired(scoring.scores())


def test_one_window_among_some_is_told_from_a_plain_mask():
    """Fewer windows a client tell more; eight still tell."""
    two, sixteen = (auc(*game.coins(play(game))) for game in (plant("masks", seed=6, per_client=n) for n in (2, 16)))

    assert two > 0.99
    assert two >= sixteen > 0.75


def test_the_chosen_mask_tells_as_well():
    """The public mask of six clients gives a window away."""
    game = plant("choice", seed=6, clients=6)

    assert auc(*game.coins(play(game))) > 0.9


def test_scores_are_log_likelihood_ratios():
    """Of all worlds with a paired score near s, e^s as many have the first in as have the second, up to shrinkage."""
    games = [plant("masks", seed=seed, per_client=24, observed=300) for seed in range(2)]
    told = [game.coins(play(game)) for game in games]
    fell_first, scores = np.concatenate([t[0] for t in told]), np.concatenate([t[1] for t in told])
    near = np.abs(scores) < 3
    slope = np.polyfit(scores[near], fell_first[near], 1)[0]

    assert near.sum() > 150
    assert 0.08 < slope < 0.25  # of the logistic function over (-3, 3): about 0.15


def test_other_windows_are_not_taken_for_candidates():
    """Without signal the area is one half."""
    game = plant("masks", seed=7, no_signal=True, observed=300)
    fell_first, scores = game.coins(play(game))

    assert abs(auc(fell_first, scores) - 0.5) < null_half_width(fell_first)


def test_totals_are_refused():
    """A total is no mask."""
    with pytest.raises(ValueError, match="kind='totals' must be one of choice, masks"):
        InvertedLikelihood().start(plant("totals", seed=1, observed=2).setting)
