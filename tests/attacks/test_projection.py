"""Evidence of all kinds becomes vectors, and candidates shifts of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks.projection import projection
from tests.attacks.planted import in_pieces, plant


def project(game, *, by_mask=False):
    """Show a game to the projection of its kind."""
    seen = projection(game.setting, by_mask=by_mask)
    for sight in game.sights:
        seen.see(sight)
    return seen.projected()


@pytest.mark.parametrize(
    ("kind", "by_mask"), [("masks", True), ("masks", False), ("choice", True), ("choice", False), ("totals", False)]
)
def test_rows_with_a_candidate_lie_where_its_shift_says(kind, by_mask):
    """Labelled rows with a candidate in, less those without, go in the direction and by the length of its shift."""
    game = plant(kind, seed=3, labelled=900, observed=4, clients=2, targets=2)
    found = project(game, by_mask=by_mask)
    rows, present = found.rows[4:], game.setting.present
    with_first = rows[present[:, 0]].mean(0) - rows[present[:, 1]].mean(0)
    expected = found.shifts[0] - found.shifts[1]

    assert np.corrcoef(with_first, expected)[0, 1] > 0.9
    assert 0.6 < with_first @ expected / (expected @ expected) < 1.4


def test_statistics_are_their_own_projection():
    """Vectors are joined; a slot that holds another instead has the population's mean there."""
    game = plant("statistics", seed=4, observed=3, labelled=4)
    found = project(game)
    first, second = game.sights

    np.testing.assert_allclose(found.rows, np.hstack([first.rows, second.rows]), rtol=1e-6)
    population = np.hstack([first.population, second.population])
    contributions = np.hstack([first.contributions, second.contributions])
    np.testing.assert_allclose(found.shifts, contributions - population.mean(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.absent, 0)


def test_an_empty_slot_adds_nothing_where_reference_rows_have_half_a_mean():
    """With nothing as the alternative a candidate's shift is all that it adds."""
    game = plant("statistics", seed=4, paired=False, observed=3, labelled=4)
    found = project(game)
    contributions = np.hstack([sight.contributions for sight in game.sights])
    mean = np.hstack([sight.population for sight in game.sights]).mean(0)

    np.testing.assert_allclose(found.shifts, contributions, rtol=1e-6)
    np.testing.assert_allclose(found.absent, np.tile(-mean / 2, (len(contributions), 1)), rtol=1e-5)


def test_vectors_in_pieces_are_the_same():
    """Statistics may come a few entries at a time."""
    game = plant("statistics", seed=4, observed=3, labelled=4)
    cut = replace(game, sights=tuple(piece for sight in game.sights for piece in in_pieces(sight, 7)))

    np.testing.assert_array_equal(project(game).rows, project(cut).rows)


def test_other_evidence_and_none_are_refused():
    """Matrices are not taken for vectors, nor vectors for matrices, nor nothing for either."""
    matrices, vectors = plant("masks", seed=1, observed=2), plant("statistics", seed=1, observed=2)

    with pytest.raises(ValueError, match="sight=StatisticsSight must be a MatrixSight"):
        projection(matrices.setting, by_mask=True).see(vectors.sights[0])
    with pytest.raises(ValueError, match="sight=MatrixSight must be a StatisticsSight"):
        projection(vectors.setting, by_mask=False).see(matrices.sights[0])
    with pytest.raises(ValueError, match=r"see\(\) must be called, with a vector"):
        projection(vectors.setting, by_mask=False).projected()
