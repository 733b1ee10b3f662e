"""The simple test against its formula, and what it looks at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks.simple_test import SimpleTest
from tests.attacks.planted import in_pieces, plant


def scores_of(attack, game):
    """Run the attack."""
    scoring = attack.start(game.setting)
    for sight in game.sights:
        scoring.see(sight)
    return scoring.scores()


def by_loop(game, *, votes, matrices, rows):
    """Add up the formula over bits in plain Python."""
    observed, present = game.setting.observed, game.setting.present
    scores = np.zeros((len(game.sights[0].rows), present.shape[1]))
    for sight in game.sights[:matrices]:
        for i, j in np.ndindex(min(rows, sight.log_weights.shape[0]), sight.log_weights.shape[1]):
            votes_seen = sight.rows[:, i, j].astype(float)
            labelled = votes_seen[observed:]
            for candidate in np.flatnonzero(present.any(0)):
                holds = present[:, candidate]
                p1, p0 = (
                    (min(max(labelled[side].sum(), 0), votes * side.sum()) + 0.5) / (votes * side.sum() + 1)
                    for side in (holds, ~holds)
                )
                scores[:, candidate] += votes_seen * np.log(p1 / p0)
                scores[:, candidate] += (votes - votes_seen) * np.log((1 - p1) / (1 - p0))
    return scores


@pytest.mark.parametrize(
    ("kind", "votes", "noise_sd"),
    [("masks", 1, 0.0), ("totals", 3, 0.0), ("totals", 3, 2.0)],
    ids=["plain", "totals", "noisy"],
)
@pytest.mark.parametrize(("matrices", "rows"), [(4, 64), (2, 5)])
def test_scores_are_the_formula_on_the_first_rows_of_the_first_matrices(kind, votes, noise_sd, matrices, rows):
    """Rates of labelled rows, some rows of some matrices; a candidate in no labelled row scores 0."""
    game = plant(kind, seed=2, targets=2, strangers=1, observed=2, labelled=8, noise_sd=noise_sd)
    expected = by_loop(game, votes=votes, matrices=matrices, rows=rows)

    scores = scores_of(SimpleTest(matrices=matrices, rows=rows), game)

    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    assert (scores[:, -1] == 0).all()


def test_pieces_of_a_matrix_count_as_one_matrix():
    """Rows of weights are counted over the pieces in which a matrix comes."""
    game = plant("masks", seed=2, observed=2)
    cut = replace(game, sights=tuple(piece for sight in game.sights for piece in in_pieces(sight, 7)))
    attack = SimpleTest(matrices=2, rows=10)
    expected = scores_of(attack, game)

    np.testing.assert_allclose(scores_of(attack, cut), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_labelled_rows_are_needed():
    """Without labelled rows there are no rates."""
    game = plant("masks", seed=2, labelled=0, observed=2)

    with pytest.raises(ValueError, match="labelled=0 rows must be at least 1"):
        SimpleTest().start(game.setting)
