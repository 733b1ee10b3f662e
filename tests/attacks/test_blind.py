"""The blind baseline knows candidates, not rows."""

from __future__ import annotations

import numpy as np
import pytest

from attacks.blind import Blind
from attacks.evidence import KINDS
from tests.attacks.planted import auc, null_half_width, plant


@pytest.mark.parametrize("paired", [True, False], ids=["replace", "zero-out"])
@pytest.mark.parametrize("kind", KINDS)
def test_fair_coins_are_not_told_without_rows(kind, paired):
    """In an honest game, however easy for others, the area is one half within its 99.9 % interval."""
    game = plant(kind, seed=21, paired=paired, separable=True, observed=300, labelled=2, reference=2)
    fell_first, scores = game.coins(game.setting.paired(Blind().start(game.setting).scores()))

    assert abs(auc(fell_first, scores) - 0.5) <= null_half_width(fell_first)


def test_a_game_with_loaded_coins_is_caught():
    """Where ordinary candidates are members and strange ones are not, no row is needed: the area says so."""
    game = plant("masks", seed=21, observed=200, labelled=2, reference=2)
    second = game.setting.targets[:, 1]
    game.setting.energies[second, ::2] *= 50
    scores = game.setting.paired(Blind().start(game.setting).scores())

    assert (scores > 0).all()


def test_scores_are_mean_squared_deviations_of_log_energies():
    """A candidate's score is minus its mean squared deviation in the population's variance, for every row."""
    game = plant("totals", seed=3, observed=2, labelled=3)
    logs = np.log(game.setting.population)
    expected = [
        -np.mean([((np.log(e) - m) / s) ** 2 for e, m, s in zip(each, logs.mean(0), logs.std(0), strict=True)])
        for each in game.setting.energies
    ]

    np.testing.assert_allclose(Blind().start(game.setting).scores(), np.tile(expected, (5, 1)))
