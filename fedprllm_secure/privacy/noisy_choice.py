"""Noisy choices: the most-voted units by one-shot Gumbel noise, at a trusted server that publishes no totals.

Each pick is an exponential mechanism of bounded range ``epsilon_each``; ``protocols.noise.top_k`` draws them all. All
choices of a run get one ``epsilon_each``, the largest with which their claim meets the target. Knows no units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy.adjacency import READERS
from fedprllm_secure.privacy.claim import epsilon_of
from fedprllm_secure.privacy.release import Release
from fedprllm_secure.privacy.target import PrivacyTarget
from protocols.noise import top_k_distance

GRID = 2**30  # epsilon_each is a multiple of 1/GRID


def plan_choices(target: PrivacyTarget, choices: Sequence[tuple[int, int]], *, num_clients: int) -> tuple[Release, ...]:
    """Size the choices of a run.

    Args:
        target: with noise ``gumbel``.
        choices: at least one; for each, the units there are and how many are picked, which is not none.
        num_clients: size of the roster: totals are in [0, num_clients].

    Raises:
        InputError: nothing is to be picked, or the target cannot be met by any choice worth the name.
    """
    assert target.epsilon is not None  # a target of gumbel noise names one
    if not choices:
        raise InputError("the sparsity removes not even one unit of a kind: there is nothing to choose")
    releases = [
        Release(
            mechanism="gumbel-top-k",
            adjacency=target.adjacency,
            adversary=READERS,
            dimension=units,
            picks=picks,
            epsilon_each=Fraction(1),
            statistical_distance=top_k_distance(1, num_clients + 1),
        )
        for units, picks in choices
    ]

    def claim(steps: int) -> float:
        return epsilon_of([replace(each, epsilon_each=Fraction(steps, GRID)) for each in releases], target.delta)

    low, high = 0, 1  # enough privacy, and too little: in the end the sampler's distance uses up any delta
    while claim(high) <= target.epsilon:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if claim(middle) <= target.epsilon else (low, middle)
    if low == 0:
        raise InputError(f"epsilon={target.epsilon} at delta={target.delta} leaves a choice of units to chance alone")
    return tuple(replace(each, epsilon_each=Fraction(low, GRID)) for each in releases)
