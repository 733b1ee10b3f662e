"""What every attack must do: find what is there, find nothing where nothing is, and read rows in any order."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from attacks import ATTACKS, REFINEMENTS
from attacks.evidence import KINDS, StatisticsSight
from tests.attacks.planted import auc, in_pieces, null_half_width, plant, with_rows

ATTACK_KINDS = [(name, kind) for name, attack in ATTACKS.items() for kind in KINDS if kind in attack.kinds]
LOOKING = [(name, kind) for name, kind in ATTACK_KINDS if name != "blind"]
REFINED = [(name, kind) for name, refinement in REFINEMENTS.items() for kind in KINDS if kind in refinement.base]
ALL = ATTACK_KINDS + REFINED
planted = cache(plant)  # no attack writes into a game: see below
REFUSED = [(name, kind) for name, attack in ATTACKS.items() for kind in KINDS if kind not in attack.kinds]


def candidate_scores(name, game):
    """Run an attack: scores (observed + labelled, candidates)."""
    scoring = ATTACKS[name].start(game.setting)
    for sight in game.sights:
        scoring.see(sight)
    return scoring.scores()


def coin_scores(name, game):
    """Run an attack or a refinement on its base: scores (observed + labelled, targets)."""
    if name in ATTACKS:
        return game.setting.paired(candidate_scores(name, game))
    refinement = REFINEMENTS[name]
    return refinement.refine(game.setting, candidate_scores(refinement.base[game.setting.kind], game))


def separable(kind, *, paired, seed=5, **more):
    """Plant a game without excuse: two clients, or one where a choice is about a candidate or nothing."""
    clients = 1 if kind == "choice" and not paired else 2
    return planted(kind, seed=seed, paired=paired, separable=True, clients=clients, **more)


def test_names_are_keys_and_no_two_agree():
    """Attacks and refinements are listed under their own names."""
    assert [attack.name for attack in ATTACKS.values()] == list(ATTACKS)
    assert [refinement.name for refinement in REFINEMENTS.values()] == list(REFINEMENTS)
    assert not set(ATTACKS) & set(REFINEMENTS)


def test_refinements_start_from_attacks_that_read_the_kind():
    """A refinement's base is an attack, and reads rows of that kind."""
    for refinement in REFINEMENTS.values():
        for kind, base in refinement.base.items():
            assert kind in ATTACKS[base].kinds


@pytest.mark.parametrize("paired", [True, False], ids=["replace", "zero-out"])
@pytest.mark.parametrize(("name", "kind"), LOOKING + REFINED)
def test_strong_candidates_are_told_without_mistake(name, kind, paired):
    """Where candidates are strong, coins that fell first score above all others."""
    game = separable(kind, paired=paired)

    assert auc(*game.coins(coin_scores(name, game))) >= 0.999


@pytest.mark.parametrize("paired", [True, False], ids=["replace", "zero-out"])
@pytest.mark.parametrize(("name", "kind"), ALL)
def test_coins_that_no_row_depends_on_are_not_told(name, kind, paired):
    """Where rows come from other windows than the candidates, the area is one half within its 99.9 % interval."""
    game = planted(kind, seed=11, paired=paired, no_signal=True, observed=200)
    fell_first, scores = game.coins(coin_scores(name, game))

    assert abs(auc(fell_first, scores) - 0.5) <= null_half_width(fell_first)


@pytest.mark.parametrize(("name", "kind"), LOOKING)
def test_a_candidate_scores_higher_in_rows_that_hold_it(name, kind):
    """Direction: for every candidate, labelled rows with it in score above those without, on average."""
    game = separable(kind, paired=True)
    scores = candidate_scores(name, game)[game.setting.observed :]
    present = game.setting.present

    for candidate in np.flatnonzero(present.any(0)):
        holds = present[:, candidate]
        assert scores[holds, candidate].mean() > scores[~holds, candidate].mean()


@pytest.mark.parametrize(("name", "kind"), ATTACK_KINDS)
def test_scores_are_finite_numbers_of_rows_and_candidates(name, kind):
    """Scores have the shape and type that they should; dead channels, zero weights and strangers do no harm."""
    game = planted(kind, seed=2, paired=False, observed=5, labelled=40)
    alive = np.ones(game.setting.energies.shape[1])
    alive[[0, 70]] = 0
    setting = replace(game.setting, energies=game.setting.energies * alive, population=game.setting.population * alive)
    game = replace(game, setting=setting, sights=tuple(with_dead_ends(sight) for sight in game.sights))
    scores = candidate_scores(name, game)

    assert scores.shape == (5 + 40, len(setting.energies))
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


def with_dead_ends(sight):
    """Give the sight with a row of weights that is all but zero, or an entry of statistics that never moves."""
    if isinstance(sight, StatisticsSight):
        fields = ("rows", "reference", "contributions", "population")
        alive = (np.arange(sight.rows.shape[1]) > 0).astype(float)
        return replace(sight, **{field: getattr(sight, field) * alive for field in fields})
    log_weights = sight.log_weights.copy()
    log_weights[0, :-2] = -np.inf
    return replace(sight, log_weights=log_weights)


@pytest.mark.parametrize(("name", "kind"), REFINED)
def test_refined_scores_are_finite_numbers_of_rows_and_targets(name, kind):
    """Refined scores have the shape and type that they should."""
    game = planted(kind, seed=2, observed=5)
    scores = coin_scores(name, game)

    assert scores.shape == (game.setting.observed + game.setting.labelled, len(game.setting.targets))
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_order_of_observed_rows_does_not_matter(name, kind):
    """Rows in another order have the same scores in that order: no row tells of another."""
    game = planted(kind, seed=3, observed=20)
    order = np.random.default_rng(0).permutation(20)
    scores = coin_scores(name, game)
    moved = coin_scores(name, with_rows(game, order))

    np.testing.assert_allclose(moved[:20], scores[order], rtol=1e-4, atol=1e-4 * np.abs(scores).max())


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_a_row_alone_scores_as_it_does_among_others(name, kind):
    """Victims do not help to attack each other: what an attacker learns, it learns from its own worlds."""
    game = planted(kind, seed=3, observed=20)
    keep = np.r_[4, 20 : 20 + game.setting.labelled]
    setting = replace(game.setting, observed=1, in_play=game.setting.in_play[4:5])
    sights = tuple(replace(sight, rows=sight.rows[keep]) for sight in game.sights)
    scores = coin_scores(name, game)
    alone = coin_scores(name, replace(game, setting=setting, sights=sights, truth=game.truth[4:5]))

    np.testing.assert_allclose(alone, scores[keep], rtol=1e-4, atol=1e-4 * np.abs(scores).max())


@pytest.mark.parametrize(("name", "kind"), LOOKING)
def test_matrices_may_come_in_pieces(name, kind):
    """An attack that sees some rows of weights at a time still makes no mistake where there is no excuse."""
    game = separable(kind, paired=True)
    cut = replace(game, sights=tuple(piece for sight in game.sights for piece in in_pieces(sight, 16)))

    assert auc(*game.coins(coin_scores(name, cut))) >= 0.999


@pytest.mark.parametrize(("name", "kind"), [each for each in LOOKING if hasattr(ATTACKS[each[0]], "memory_bytes")])
def test_memory_does_not_matter(name, kind):
    """With memory for a row of weights at a time an attack gives the same scores."""
    game = planted(kind, seed=4, observed=6)
    small = replace(ATTACKS[name], memory_bytes=1).start(game.setting)
    for sight in game.sights:
        small.see(sight)
    scores = candidate_scores(name, game)

    np.testing.assert_allclose(small.scores(), scores, rtol=1e-4, atol=1e-4 * np.abs(scores).max())


@pytest.mark.parametrize(("name", "kind"), [each for each in LOOKING if each[1] != "statistics"])
def test_no_array_of_a_matrix_is_kept(name, kind):
    """Once a matrix is seen, its arrays can be freed."""
    game = planted(kind, seed=4, observed=6)
    scoring = ATTACKS[name].start(game.setting)
    arrays = {field: getattr(game.sights[0], field).copy() for field in ("rows", "reference", "alone")}
    scoring.see(replace(game.sights[0], **arrays))
    kept = [weakref.ref(array) for array in arrays.values()]
    arrays.clear()
    gc.collect()

    assert [each() for each in kept] == [None] * 3


@pytest.mark.parametrize(("name", "kind"), ATTACK_KINDS)
def test_evidence_is_left_as_it_is(name, kind):
    """An attack writes into nothing that it is given, and gives the same scores again."""
    game = planted(kind, seed=4, observed=6)
    fields = ("rows", "reference", "contributions", "population", "log_weights", "alone")
    before = [getattr(sight, field).copy() for sight in game.sights for field in fields if hasattr(sight, field)]
    first = candidate_scores(name, game)
    again = candidate_scores(name, game)
    after = [getattr(sight, field) for sight in game.sights for field in fields if hasattr(sight, field)]

    np.testing.assert_array_equal(first, again)
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize(("name", "kind"), REFUSED)
def test_rows_that_it_cannot_read_are_refused(name, kind):
    """An attack says which kinds of rows it reads before it starts on others."""
    game = planted(kind, seed=1, observed=2, labelled=8, reference=8)

    with pytest.raises(ValueError, match=f"kind='{kind}' must be"):
        ATTACKS[name].start(game.setting)


@pytest.mark.parametrize(("name", "kind"), LOOKING)
def test_evidence_of_the_wrong_kind_is_refused(name, kind):
    """A matrix is not taken for statistics, nor statistics for a matrix."""
    game = planted(kind, seed=1, observed=2, labelled=8, reference=8)
    other = planted("masks" if kind == "statistics" else "statistics", seed=1, observed=2, labelled=8, reference=8)

    with pytest.raises(ValueError, match=r"sight=\w+ must be a \w+Sight for"):
        ATTACKS[name].start(game.setting).see(other.sights[0])


@pytest.mark.parametrize(("name", "kind"), LOOKING)
def test_nothing_seen_is_no_score(name, kind):
    """An attack that has seen nothing has no scores."""
    game = planted(kind, seed=1, observed=2, labelled=8, reference=8)

    with pytest.raises(ValueError, match=r"see\(\) must be called"):
        ATTACKS[name].start(game.setting).scores()
