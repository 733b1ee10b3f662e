"""Noisy choices are sized by their claim, all alike, and mean what they say."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy import READERS, Release, epsilon_of, score_range
from fedprllm_secure.privacy.noisy_choice import GRID, plan_choices
from fedprllm_secure.privacy.target import PrivacyTarget
from protocols.noise import top_k_distance

CHOICES = [(8, 2), (40, 10), (8, 3)]


def target(**changes: Any) -> PrivacyTarget:
    """A target of epsilon 3 by a noisy choice."""
    fields = {"place": "central", "noise": "gumbel", "adjacency": "client-zero-out", "delta": 1e-5, "epsilon": 3.0}
    return PrivacyTarget(**(fields | changes))


def planned(choices: list[tuple[int, int]] = CHOICES, clients: int = 5, **changes: Any) -> tuple[Release, ...]:
    """The releases of a run."""
    return plan_choices(target(**changes), choices, num_clients=clients)


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 3.0, 8.0, 30.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-9])
@pytest.mark.parametrize("choices", [CHOICES, [(4, 1)]], ids=["many", "one"])
def test_the_target_is_met_and_not_by_one_grid_step_more(
    epsilon: float, delta: float, choices: list[tuple[int, int]]
) -> None:
    """The largest epsilon_each on the grid: any larger would claim more than was asked for."""
    releases = planned(choices, epsilon=epsilon, delta=delta)
    more = [replace(each, epsilon_each=each.epsilon_each + Fraction(1, GRID)) for each in releases]

    assert epsilon_of(releases, delta) <= epsilon < epsilon_of(more, delta)
    assert (releases[0].epsilon_each * GRID).denominator == 1


def test_all_choices_share_one_epsilon_each() -> None:
    """Whatever they choose from; each says how many of how many, for readers of what was chosen."""
    releases = planned()

    assert len({each.epsilon_each for each in releases}) == 1
    assert [(each.dimension, each.picks) for each in releases] == CHOICES
    assert {each.mechanism for each in releases} == {"gumbel-top-k"}
    assert {each.adversary for each in releases} == {READERS}


def test_how_choices_are_split_does_not_matter_but_their_number_does() -> None:
    """Each pick costs the same: fifteen of one kind or of three, and four times as many at half the range."""
    apart, together, more = (planned(choices)[0].epsilon_each for choices in (CHOICES, [(60, 15)], [(60, 60)]))

    assert apart == together
    assert float(together / more) == pytest.approx(2, rel=1e-6)


@pytest.mark.parametrize("level", ["client", "window"])
def test_replace_takes_twice_the_noise_of_zero_out(level: str) -> None:
    """The claim of a pick is of its range: the scale is score range / epsilon_each, and the range doubles."""
    taken = planned(adjacency="client-zero-out")[0]
    replaced = planned(adjacency=f"{level}-replace")[0]
    scales = [score_range(each.adjacency) / each.epsilon_each for each in (taken, replaced)]

    assert taken.epsilon_each == replaced.epsilon_each
    assert scales[1] == 2 * scales[0]


@pytest.mark.parametrize("clients", [1, 5, 64])
def test_the_samplers_distance_is_that_of_public_scores(clients: int) -> None:
    """Totals are one of clients + 1 numbers, whichever occur; each pick adds its distance to delta."""
    releases = planned(clients=clients)

    assert {each.statistical_distance for each in releases} == {top_k_distance(1, clients + 1)}
    assert [each.distance for each in releases] == [each.picks * each.statistical_distance for each in releases]
    for each in releases:
        assert top_k_distance(each.picks, clients + 1) <= each.distance


def test_targets_out_of_reach_are_refused() -> None:
    """A delta below the samplers' distance, and an epsilon that leaves less than a step of the grid."""
    with pytest.raises(InputError, match=r"epsilon=3.0 at delta=1e-40 leaves a choice of units to chance alone"):
        planned(delta=1e-40)
    with pytest.raises(InputError, match=r"epsilon=1e-13 at delta=1e-30 leaves a choice of units to chance alone"):
        planned(epsilon=1e-13, delta=1e-30)


def test_a_choice_of_nothing_is_refused() -> None:
    """A sparsity below one unit of every kind releases nothing, and no claim is made of it."""
    with pytest.raises(InputError, match="the sparsity removes not even one unit of a kind: there is nothing to choo"):
        planned([])


def test_an_epsilon_beyond_measure_ends_where_the_sampler_does() -> None:
    """The search ends: past some epsilon the samplers' distance from their law uses up delta."""
    releases = planned(epsilon=1e9)
    more = [replace(each, epsilon_each=each.epsilon_each + Fraction(1, GRID)) for each in releases]

    assert 30 < epsilon_of(releases, 1e-5) < 100
    assert math.isinf(epsilon_of(more, 1e-5))
