"""The learned test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks.learned import Learned, asked_pairs
from tests.attacks.planted import auc, null_half_width, plant


def scores_of(game, attack=None):
    """Show a game to the attack: scores (rows, candidates)."""
    scoring = (attack or Learned()).start(game.setting)
    for sight in game.sights:
        scoring.see(sight)
    return scoring.scores()


@pytest.mark.parametrize("paired", [True, False], ids=["replace", "zero-out"])
@pytest.mark.parametrize("kind", ["totals", "choice", "masks", "statistics"])
def test_candidates_are_told(kind, paired):
    """Two windows a client, three clients: above 0.95 for every kind."""
    game = plant(kind, seed=2, paired=paired)

    assert auc(*game.coins(game.setting.paired(scores_of(game)))) > 0.95


def test_a_labelled_row_is_not_scored_by_what_it_taught():
    """Without signal, labelled rows too are scored no better than chance, though models were trained on them."""
    game = plant("statistics", seed=8, no_signal=True, observed=2, labelled=160)
    scores = game.setting.paired(scores_of(game, Learned(inverse_penalty=1e3)))[2:]
    asked = game.setting.coins >= 0
    fell_first = game.setting.coins[asked] == 1

    assert abs(auc(fell_first, scores[asked]) - 0.5) < null_half_width(fell_first)


def test_labels_are_what_is_learned_from():
    """With all labelled coins turned over, the scores turn over."""
    game = plant("statistics", seed=2)
    coins = np.where(game.setting.coins >= 0, 1 - game.setting.coins, -1).astype(np.int8)
    turned = replace(game, setting=replace(game.setting, coins=coins))

    assert auc(*game.coins(game.setting.paired(scores_of(turned)))) < 0.1


def test_scores_are_about_log_odds():
    """Candidates with a positive score are in more often than not."""
    game = plant("totals", seed=2, clients=8, observed=2)
    scores = scores_of(game)[2:]
    asked = asked_pairs(game.setting)

    assert ((scores[asked] > 0) == game.setting.present[asked]).mean() > 0.85


def test_pairs_asked_are_those_of_coins_in_play():
    """Both candidates of a coin in play, the one of a coin against nothing, and no other."""
    game = plant("masks", seed=1, paired=True, targets=2, observed=1, labelled=3)
    coins = np.array([[1, -1], [-1, 0], [0, 1]], np.int8)
    setting = replace(game.setting, coins=coins)

    np.testing.assert_array_equal(asked_pairs(setting)[:, :4], [[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]])
    alone = replace(setting, targets=np.array([[0, -1], [2, 3]]))
    np.testing.assert_array_equal(asked_pairs(alone)[:, :4], [[1, 0, 0, 0], [0, 0, 1, 1], [1, 0, 1, 1]])


def test_of_many_pairs_some_are_drawn_and_always_the_same():
    """A cap on pairs changes the model, not from call to call."""
    game = plant("statistics", seed=2, observed=4)
    capped = Learned(most_pairs=60)

    np.testing.assert_array_equal(scores_of(game, capped), scores_of(game, capped))
    assert not np.allclose(scores_of(game, capped), scores_of(game))


def test_how_many_pairs_are_scored_at_once_makes_no_difference(monkeypatch):
    """A row at a time gives the same scores."""
    game = plant("statistics", seed=2, observed=4)
    at_once = scores_of(game)
    monkeypatch.setattr("attacks.learned._PAIRS_AT_ONCE", 1)

    np.testing.assert_allclose(scores_of(game), at_once, rtol=1e-12)


def test_too_few_labels_are_refused():
    """There must be a labelled row a fold, and both outcomes to learn from."""
    game = plant("statistics", seed=1, observed=2, labelled=3)
    with pytest.raises(ValueError, match="labelled=3 rows must be at least folds=4"):
        scores_of(game)
    game = plant("statistics", seed=1, paired=False, observed=2, labelled=8)
    setting = replace(game.setting, coins=np.where(game.setting.coins >= 0, 1, -1).astype(np.int8))
    with pytest.raises(ValueError, match="must put candidates in and out of labelled rows"):
        scores_of(replace(game, setting=setting))


@pytest.mark.parametrize(
    "wrong",
    [{"directions": -1}, {"folds": 1}, {"most_pairs": 1}, {"inverse_penalty": 0.0}],
    ids=lambda w: next(iter(w)),
)
def test_parameters_out_of_range_are_refused(wrong):
    """Each is named with its range."""
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))}=.* "):
        Learned(**wrong)
