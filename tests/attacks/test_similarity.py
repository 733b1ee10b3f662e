"""Similarity counts bits that agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks.similarity import Similarity
from tests.attacks.planted import plant


def scores_of(attack, game):
    """Run an attack."""
    scoring = attack.start(game.setting)
    for sight in game.sights:
        scoring.see(sight)
    return scoring.scores()


@pytest.mark.parametrize("least_rate", [0.0, 0.02, 0.3])
def test_scores_are_the_share_of_agreeing_bits(least_rate):
    """Against a loop over bits, all or those that reference rows contest."""
    game = plant("masks", seed=1, observed=3, labelled=2, reference=30)
    agreeing = np.zeros((5, len(game.setting.energies)))
    compared = 0
    for sight in game.sights:
        for i, j in np.ndindex(sight.log_weights.shape):
            share = sight.reference[:, i, j].mean()
            if least_rate < share < 1 - least_rate or least_rate == 0:
                agreeing += sight.rows[:, None, i, j] == sight.alone[None, :, i, j]
                compared += 1

    np.testing.assert_allclose(scores_of(Similarity(least_rate=least_rate), game), agreeing / compared, rtol=1e-12)


def test_nothing_contested_scores_one_half():
    """Where reference rows all agree no bit is compared, and no candidate is nearer than another."""
    game = plant("choice", seed=1, observed=3, labelled=2, reference=1)
    scores = scores_of(Similarity(least_rate=0.02), game)

    np.testing.assert_array_equal(scores, 0.5)


def test_no_reference_row_is_needed_to_compare_all_bits():
    """All bits are compared with or without reference rows."""
    game = plant("masks", seed=1, observed=3, labelled=2, reference=9)
    without = replace(game, sights=tuple(replace(sight, reference=sight.reference[:0]) for sight in game.sights))

    np.testing.assert_array_equal(scores_of(Similarity(), without), scores_of(Similarity(), game))


@pytest.mark.parametrize("rate", [-0.1, 0.5, float("nan")])
def test_a_rate_out_of_range_is_refused(rate):
    """No bit can be more contested than one half."""
    with pytest.raises(ValueError, match=r"least_rate=.* must be in \[0, 1/2\)"):
        Similarity(least_rate=rate)


def test_contested_bits_need_reference_rows():
    """What is contested cannot be known without any reference row."""
    game = plant("masks", seed=1, observed=3, labelled=2, reference=9)
    sight = replace(game.sights[0], reference=game.sights[0].reference[:0])

    with pytest.raises(ValueError, match="reference=0 rows must be at least 1"):
        Similarity(least_rate=0.02).start(game.setting).see(sight)
