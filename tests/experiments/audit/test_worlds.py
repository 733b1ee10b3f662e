"""Worlds: fair coins, slots filled once, and what nobody can draw again."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from attacks.evidence import NOT_IN_PLAY, NOTHING
from experiments.audit.worlds import (
    EMPTY,
    Slots,
    Worlds,
    draw_worlds,
    operating_system_generator,
    reference_worlds,
)

SLOTS = Slots(clients=3, per_client=2, in_play=4)
PAIRS = np.arange(10).reshape(5, 2)
SINGLES = np.stack([np.arange(5), np.full(5, NOTHING)], axis=1)
OTHERS = np.arange(20, 26)
LEAST_P = 1e-3  # draws are fixed, so that nothing here ever fails by chance


def drawn(
    count: int = 400, *, slots: Slots = SLOTS, targets: np.ndarray = PAIRS, others: np.ndarray = OTHERS
) -> Worlds:
    """Draw worlds of a fixed generator."""
    return draw_worlds(np.random.default_rng(5), count, slots=slots, targets=targets, others=others)


def binomial(heads: int, tosses: int) -> float:
    """Give the exact chance of a fair coin to fall so unevenly."""
    return float(stats.binomtest(heads, tosses).pvalue)


def test_coins_are_fair() -> None:
    """All coins together, each target's, each client's, and those of any two targets of one world."""
    worlds = drawn()
    in_play = worlds.coins != NOT_IN_PLAY

    assert binomial(int((worlds.coins == 1).sum()), int(in_play.sum())) > LEAST_P
    for target in range(5):
        assert binomial(int((worlds.coins[:, target] == 1).sum()), int(in_play[:, target].sum())) > LEAST_P
    for client in range(3):
        own = worlds.coins[worlds.clients_of == client]
        assert binomial(int(own.sum()), len(own)) > LEAST_P
    for one, other in combinations(range(5), 2):
        both = in_play[:, one] & in_play[:, other]
        alike = worlds.coins[both, one] == worlds.coins[both, other]
        assert binomial(int(alike.sum()), int(both.sum())) > LEAST_P


def test_every_target_comes_to_every_client_alike() -> None:
    """By the chi-square test of a table of targets and clients, and of how often each target is asked about."""
    worlds = drawn()
    table = [[int((worlds.clients_of[:, target] == client).sum()) for client in range(3)] for target in range(5)]

    assert stats.chisquare(np.ravel(table)).pvalue > LEAST_P
    assert np.sum(table) == 400 * SLOTS.in_play


def test_slots_hold_what_the_coins_say() -> None:
    """A coin's first or second stands in a slot of its client, once; the rest are others; no slot is empty."""
    worlds = drawn(60)

    assert len(worlds) == 60
    assert worlds.num_clients == 3
    assert worlds.contributions.shape == (60, 3, 2)
    for held, coins, clients_of in zip(worlds.contributions, worlds.coins, worlds.clients_of, strict=True):
        asked = np.flatnonzero(coins != NOT_IN_PLAY)
        chosen = {int(PAIRS[target, 1 - coins[target]]) for target in asked}
        assert len(asked) == SLOTS.in_play
        assert np.array_equal(asked, np.flatnonzero(clients_of != NOT_IN_PLAY))
        for target in asked:
            assert PAIRS[target, 1 - coins[target]] in held[clients_of[target]]
        rest = set(held.ravel().tolist()) - chosen
        assert len(np.unique(held)) == held.size
        assert rest <= set(OTHERS.tolist())
        assert len(rest) == 2


def test_zero_out_leaves_slots_empty() -> None:
    """A slot is empty exactly where a coin fell to nothing."""
    worlds = drawn(60, targets=SINGLES)

    for held, coins in zip(worlds.contributions, worlds.coins, strict=True):
        assert (held == EMPTY).sum() == (coins == 0).sum()
        assert set(np.flatnonzero(coins == 1)) == {int(each) for each in held.ravel() if 0 <= each < 5}
        assert (held >= 20).sum() == 2


def test_rows_of_clients_show_the_coins_of_their_own_slots() -> None:
    """Each coin is in play in one client's row, the one that holds what it decided."""
    worlds = drawn(30)
    coins, in_play = worlds.client_rows()

    assert coins.dtype == np.int8
    assert coins.shape == in_play.shape == (90, 5)
    assert np.array_equal(in_play, coins != NOT_IN_PLAY)
    assert (in_play.reshape(30, 3, 5).sum(1) == (worlds.coins != NOT_IN_PLAY)).all()
    for row, target in np.argwhere(in_play):
        world, client = divmod(int(row), 3)
        assert coins[row, target] == worlds.coins[world, target]
        assert PAIRS[target, 1 - coins[row, target]] in worlds.contributions[world, client]


def test_victims_coins_are_nobodys_to_draw_again() -> None:
    """Two generators of the operating system differ; no seed reaches them."""
    one, other = (operating_system_generator().integers(0, 2, 256) for _ in range(2))

    assert not np.array_equal(one, other)


def test_a_generator_gives_its_worlds() -> None:
    """The attacker's own worlds can be made again."""
    for one, other in ((drawn(5), drawn(5)),):
        assert np.array_equal(one.contributions, other.contributions)
        assert np.array_equal(one.coins, other.coins)


def test_reference_worlds_hold_each_contribution_once() -> None:
    """Of the population alone, without coins."""
    found = reference_worlds(np.random.default_rng(0), 50, slots=SLOTS, population=np.arange(30, 40), is_zero_out=False)

    assert found.contributions.shape == (50, 3, 2)
    assert found.coins.shape == found.clients_of.shape == (50, 0)
    for held in found.contributions:
        assert len(np.unique(held)) == 6
        assert held.min() >= 30
    assert len(np.unique(found.contributions)) == 10


def test_reference_worlds_under_zero_out_are_half_empty() -> None:
    """Each slot that would be asked about is empty half the time, no other ever, and places differ."""
    found = reference_worlds(np.random.default_rng(1), 400, slots=SLOTS, population=np.arange(30, 40), is_zero_out=True)
    empty = found.contributions == EMPTY

    assert binomial(int(empty.sum()), 400 * SLOTS.in_play) > LEAST_P
    assert empty.sum((1, 2)).max() == SLOTS.in_play
    assert stats.chisquare(empty.sum(0).ravel()).pvalue > LEAST_P


@pytest.mark.parametrize("wrong", [{"clients": 0}, {"per_client": 0}, {"in_play": 0}, {"in_play": 7}])
def test_slots_that_make_no_run_are_refused(wrong: dict[str, int]) -> None:
    """With all three numbers."""
    numbers = {"clients": 3, "per_client": 2, "in_play": 4} | wrong
    says = "clients={clients}, per_client={per_client} and in_play={in_play} must be at least 1".format(**numbers)

    with pytest.raises(ValueError, match=re.escape(says)):
        Slots(**numbers)


def test_too_few_targets_or_others_are_refused() -> None:
    """A slot each must be had."""
    with pytest.raises(ValueError, match="targets=3 and others=6 must be at least 4 and 2"):
        drawn(1, targets=PAIRS[:3])
    with pytest.raises(ValueError, match="targets=5 and others=1 must be at least 4 and 2"):
        drawn(1, others=OTHERS[:1])


def test_too_small_a_population_is_refused() -> None:
    """A slot each must be had."""
    with pytest.raises(ValueError, match="population=5 must be at least 6, one a slot"):
        reference_worlds(np.random.default_rng(0), 1, slots=SLOTS, population=np.arange(5), is_zero_out=False)
