"""RMIA on scores that are written down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks.inverted_likelihood import InvertedLikelihood
from attacks.rmia import Rmia
from tests.attacks.planted import auc, plant

PLANTED = plant("masks", seed=1, targets=2, observed=2, labelled=1).setting
SETTING = replace(PLANTED, energies=PLANTED.energies[:4])


def with_targets(*targets):
    """Give the setting of 4 candidates, two rows and a labelled one, with other targets."""
    pairs = np.array(targets)
    return replace(
        SETTING,
        targets=pairs,
        coins=np.zeros((1, len(pairs)), np.int8),
        in_play=np.ones((2, len(pairs)), bool),
    )


def test_the_share_of_strangers_beaten_decides():
    """A target against nothing scores the share of candidates in no target that its ratio beats, ties included."""
    scores = np.array([[2.0, 1.0, 2.0, 3.0], [5.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]])
    found = Rmia().refine(with_targets([0, -1]), scores)[:, 0]

    np.testing.assert_allclose(found, [2 / 3, 1.0, 0.0], atol=1 / 6)
    assert found[1] > found[0] > found[2]


def test_a_factor_asks_for_more():
    """With gamma = e^2 a ratio must be larger by 2 nats."""
    scores = np.array([[2.5, 0.0, 1.0, 3.0]] * 3)
    asked = [Rmia(gamma=gamma).refine(with_targets([0, -1]), scores)[0, 0] for gamma in (1.0, np.exp(2.0), np.exp(3.0))]
    margin = 2.5 - 4 / 3

    np.testing.assert_allclose(np.array(asked) - margin / (1 + margin) / 6, [2 / 3, 1 / 3, 0.0], atol=1e-12)


def test_what_raises_all_candidates_in_a_row_falls_away():
    """A constant a row changes nothing."""
    scores = np.random.default_rng(0).normal(size=(3, 4))
    setting = with_targets([0, 1])

    np.testing.assert_allclose(
        Rmia().refine(setting, scores + np.array([[5.0], [-7.0], [0.0]])), Rmia().refine(setting, scores)
    )


def test_ties_of_shares_are_broken_by_the_margin_and_only_they():
    """Where both beat all strangers, the larger one is first; a share's step outweighs any margin."""
    scores = np.array([[9.0, 8.0, 0.0, 1.0], [8.0, 9.0, 0.0, 1.0], [1e9, 0.5, 0.0, 1.0]])
    found = Rmia().refine(with_targets([0, 1]), scores)[:, 0]

    assert 0.25 > found[0] > 0 > found[1] > -0.25
    assert 0.5 < found[2] <= 0.75


def test_planted_coins_are_told():
    """On a likelihood of plain masks, with strangers to compare with, coins are told."""
    game = plant("masks", seed=4, per_client=4)
    strangers = game.setting.population[:20]
    setting = replace(game.setting, energies=np.vstack([game.setting.energies, strangers]))
    scoring = InvertedLikelihood().start(setting)
    for sight in game.sights:
        scoring.see(sight)

    assert auc(*game.coins(Rmia().refine(setting, scoring.scores()))) > 0.95


def test_strangers_a_factor_and_shapes_are_needed():
    """What does not fit is named."""
    with pytest.raises(ValueError, match="must leave candidates that are in none"):
        Rmia().refine(SETTING, np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"scores=\(3, 5\) must be \(3, 4\)"):
        Rmia().refine(SETTING, np.zeros((3, 5)))
    with pytest.raises(ValueError, match=r"gamma=0.0 must be above 0"):
        Rmia(gamma=0.0)
