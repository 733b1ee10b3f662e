"""The whitened test sees what the plain one does not."""

from __future__ import annotations

import numpy as np
import pytest

from attacks.evidence import Setting, StatisticsSight
from attacks.score_test import ScoreTest
from attacks.whitened import Whitened
from tests.attacks.planted import auc, plant


def area(attack, game):
    """Play a game."""
    scoring = attack.start(game.setting)
    for sight in game.sights:
        scoring.see(sight)
    return auc(*game.coins(game.setting.paired(scoring.scores())))


@pytest.mark.parametrize("kind", ["totals", "choice", "masks", "statistics"])
def test_weaker_games_are_won_too(kind):
    """Two windows a client, three clients: above 0.95 for every kind."""
    assert area(Whitened(), plant(kind, seed=2)) > 0.95


@pytest.mark.parametrize(("less", "more"), [({"clients": 3}, {"clients": 12}), ({"noise_sd": 0.0}, {"noise_sd": 25.0})])
def test_more_company_or_noise_hides(less, more):
    """Areas fall with clients and with noise, and stay above one half by what is left."""
    seen, hidden = (np.mean([area(Whitened(), plant("totals", seed=s, **w)) for s in range(2)]) for w in (less, more))

    assert seen > hidden + 0.005
    assert hidden > 0.55


def test_few_strong_directions_do_not_hide_a_candidate():
    """Where rows vary most along few directions, whitening tells what the plain test cannot (soundness of ceilings)."""
    generator = np.random.default_rng(0)
    factors = generator.normal(size=(5, 300)) * 4
    draw = lambda count: 20 + generator.normal(size=(count, 5)) @ factors + generator.normal(size=(count, 300))  # noqa: E731
    candidates, population, slots = draw(20), draw(400), 40
    coins = generator.integers(0, 2, (300, 10)).astype(np.int8)
    chosen = np.where(coins == 1, np.arange(10) * 2, np.arange(10) * 2 + 1)
    rows = np.array([candidates[c].sum(0) + draw(slots - 10).sum(0) for c in chosen])
    setting = Setting(
        kind="statistics",
        clients=slots,
        slots=slots,
        noise_sd=0.0,
        energies=candidates,
        population=population,
        targets=np.arange(20).reshape(10, 2),
        coins=coins[:100],
        observed=200,
        in_play=np.ones((200, 10), bool),
    )
    order = np.r_[100:300, 0:100]
    reference = np.array([draw(slots).sum(0) for _ in range(200)])
    sight = StatisticsSight(
        name="sums", rows=rows[order], reference=reference, contributions=candidates, population=population
    )
    areas = []
    for attack in (ScoreTest(), Whitened()):
        scoring = attack.start(setting)
        scoring.see(sight)
        areas.append(auc((coins[100:] == 1).ravel(), setting.paired(scoring.scores())[:200].ravel()))

    assert areas[0] < 0.8
    assert areas[1] > 0.95
