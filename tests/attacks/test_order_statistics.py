"""Order statistics: steps of isotonic functions, and the likelihood ratio of what lies between points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from attacks.companions import Companions, absent_is_empty
from attacks.margins import normal_cdf, usual_cutoffs
from attacks.order_statistics import OrderStatistics, steps_of
from tests.attacks.planted import auc, plant


def scores_of(attack, game):
    """Run the attack."""
    scoring = attack.start(game.setting)
    for sight in game.sights:
        scoring.see(sight)
    return scoring.scores()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(points=st.integers(1, 12), clients=st.integers(1, 20), spread=st.floats(0, 30), seed=st.integers(0, 999))
def test_steps_are_those_of_isotonic_regression(points, clients, spread, seed):
    """Each function by itself, cut to the range, made monotone; its rises add up to 1."""
    counts = np.linspace(0, clients, points) + np.random.default_rng(seed).normal(0, spread, (3, 2, points))
    found = steps_of(counts, clients)
    for index in np.ndindex(3, 2):
        cut = np.clip(counts[index], 0, clients)
        fitted = IsotonicRegression().fit_transform(np.arange(points), cut)
        expected = np.diff([0, *fitted, clients]) / clients

        np.testing.assert_allclose(found[index], expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    assert (found >= 0).all()


def test_an_exact_distribution_function_steps_where_clients_lie():
    """Three clients between points 0 and 1, and one above the last."""
    np.testing.assert_allclose(steps_of(np.array([[0, 3, 3]]), 4), [[0, 0.75, 0, 0.25]])


def by_loop(attack, game):
    """Read every channel of every row in plain Python, without averaging neighbours."""
    companions = Companions(game.setting, draws=attack.draws, least_sd=attack.least_sd)
    empty = absent_is_empty(game.setting)
    scores = np.zeros((len(game.sights[0].rows), len(empty)))
    for sight in game.sights:
        norms = companions.norms(sight.channels)
        cutoffs = usual_cutoffs(sight.log_weights, norms.usual, share=sight.sparsity)[0]
        for j in range(len(sight.channels)):
            points = cutoffs - sight.log_weights[:, j]
            order = np.argsort(points)

            def law(spread, client, j=j, ascending=points[order]):
                below = normal_cdf((ascending - spread.mean[client, j]) / spread.sd[client, j])
                return np.diff([0, *below, 1]).clip(0) + attack.least_rate

            for row in range(len(scores)):
                steps = steps_of(sight.rows[row, order, j].astype(float), game.setting.clients)
                for candidate in range(len(empty)):
                    present = steps @ (law(norms.present, candidate) / law(norms.usual, 0))
                    absent = steps @ (law(norms.short, 0) / law(norms.usual, 0)) if empty[candidate] else 1.0
                    scores[row, candidate] += np.log(present / absent)
    return scores


@pytest.mark.parametrize("paired", [True, False], ids=["replace", "zero-out"])
def test_scores_are_the_formula(paired):
    """Channel by channel, with a cell for every row of weights."""
    game = plant("totals", seed=1, paired=paired, targets=2, strangers=1, observed=1, labelled=1, reference=2)
    attack = OrderStatistics(cells=1000, draws=16)
    expected = by_loop(attack, game)

    np.testing.assert_allclose(scores_of(attack, game), expected, rtol=1e-3, atol=1e-3)


def test_no_weight_of_a_channel_is_left_out_of_cells():
    """Cells that average neighbours take every row of weights: a change in any moves the scores."""
    game = plant("totals", seed=1, observed=1, labelled=0, reference=2)
    attack = OrderStatistics(cells=5, draws=16)
    before = scores_of(attack, game)
    sight = game.sights[0]
    for row in range(len(sight.log_weights)):
        rows = sight.rows.copy()
        rows[:, row] = game.setting.clients - rows[:, row]
        changed = replace(game, sights=(replace(sight, rows=rows), *game.sights[1:]))

        assert not np.array_equal(scores_of(attack, changed), before)


@pytest.mark.parametrize("cells", [8, 32, 64])
def test_cells_do_not_hide_strong_candidates(cells):
    """Fewer points read strong candidates without mistake."""
    game = plant("totals", seed=5, separable=True, clients=2)

    assert auc(*game.coins(game.setting.paired(scores_of(OrderStatistics(cells=cells), game)))) >= 0.999


def test_a_client_left_with_nothing_is_told_from_one_with_a_candidate():
    """Zero-out with one slot a client: absent, the client has no window at all."""
    game = plant("totals", seed=1, paired=False, per_client=1, separable=True, clients=2)

    assert auc(*game.coins(game.setting.paired(scores_of(OrderStatistics(), game)))) >= 0.99


@pytest.mark.parametrize("wrong", [{"cells": 0}, {"least_rate": 0.0}], ids=str)
def test_numbers_out_of_range_are_refused(wrong):
    """There must be a point to read at, and no probability of 0 to divide by."""
    with pytest.raises(ValueError, match=r"cells=\d+ must be at least 1 and least_rate=.* above 0"):
        OrderStatistics(**wrong)
