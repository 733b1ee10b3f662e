"""The score test against its formula, bit by bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks.score_test import ScoreTest
from tests.attacks.planted import plant


def scores_of(game):
    """Run the attack."""
    scoring = ScoreTest().start(game.setting)
    for sight in game.sights:
        scoring.see(sight)
    return scoring.scores()


def by_loop(game, *, votes):
    """Add up the formula over bits in plain Python."""
    noise_sd = game.setting.noise_sd
    scores = np.zeros((len(game.sights[0].rows), len(game.setting.energies)))
    for sight in game.sights:
        trials = votes * len(sight.reference)
        for i, j in np.ndindex(sight.log_weights.shape):
            total = min(max(int(sight.reference[:, i, j].sum()), 0), trials)
            p = (total + 0.5) / (trials + 1)
            for candidate, alone in enumerate(sight.alone[:, i, j]):
                deviations = sight.rows[:, i, j].astype(float) - votes * p
                scores[:, candidate] += deviations * (alone - p) / (votes * p * (1 - p) + noise_sd**2)
    return scores


@pytest.mark.parametrize(
    ("kind", "votes", "more"),
    [("masks", 1, {}), ("choice", 1, {}), ("totals", 3, {}), ("totals", 3, {"noise_sd": 2.0})],
    ids=["plain", "choice", "totals", "noisy"],
)
def test_scores_are_the_formula(kind, votes, more):
    """One formula for masks, choices, totals and noisy totals; noise never pushes a rate out of range."""
    game = plant(kind, seed=1, targets=2, strangers=0, observed=2, labelled=2, reference=5, **more)
    expected = by_loop(game, votes=votes)

    np.testing.assert_allclose(scores_of(game), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_statistics_score_the_likelihood_ratio_of_independent_gaussians():
    """Replace: the slot holds the candidate, or what the population holds on average."""
    game = plant("statistics", seed=1, targets=2, observed=3, labelled=2, reference=40, noise_sd=0.5)
    expected = np.zeros((5, len(game.setting.energies)))
    for sight in game.sights:
        for entry in range(sight.rows.shape[1]):
            mean, variance = sight.reference[:, entry].mean(), sight.reference[:, entry].var(ddof=1)
            for candidate, contribution in enumerate(sight.contributions[:, entry]):
                present = mean + contribution - sight.population[:, entry].mean()
                row = sight.rows[:, entry]
                expected[:, candidate] += ((row - mean) ** 2 - (row - present) ** 2) / (2 * variance)

    np.testing.assert_allclose(scores_of(game), expected, rtol=1e-9)


def test_empty_slots_are_compared_with_the_candidate_itself():
    """Zero-out: present and absent lie on both sides of reference rows, whose slot is empty half of the time."""
    game = plant("statistics", seed=1, paired=False, targets=2, observed=3, labelled=2, reference=40)
    expected = np.zeros((5, len(game.setting.energies)))
    for sight in game.sights:
        variance = sight.reference.var(0, ddof=1)
        absent = sight.reference.mean(0) - sight.population.mean(0) / 2
        for candidate, contribution in enumerate(sight.contributions):
            squares = (sight.rows - absent) ** 2 - (sight.rows - absent - contribution) ** 2
            expected[:, candidate] += (squares / (2 * variance)).sum(1)

    np.testing.assert_allclose(scores_of(game), expected, rtol=1e-9)


def test_one_reference_row_has_no_variance():
    """Statistics need two reference rows."""
    game = plant("statistics", seed=1, observed=3, labelled=2, reference=3)
    sight = replace(game.sights[0], reference=game.sights[0].reference[:1])

    with pytest.raises(ValueError, match="reference=1 rows must be at least 2"):
        ScoreTest().start(game.setting).see(sight)
