"""Every mechanism under attack: thousands of releases of two worst-case neighbours, told apart as well as can be.

What the best test shows is a lower bound on epsilon, wrong with probability 1e-4. It must stay below the claim; for
Gaussian-like noise it must also come near; and noise of half the size must be caught. The laws, and so the best test,
come from an oracle that shares no code with samplers and accountants.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial

import numpy as np
import pytest
from numpy.typing import NDArray

from fedprllm_secure.privacy import (
    READERS,
    Release,
    epsilon_of,
    noise_variance_for,
    renyi,
    score_range,
    server_with_colluders,
)
from fedprllm_secure.privacy.adjacency import Adjacency
from protocols.noise import NOISES, top_k, top_k_distance
from tests.fedprllm_secure.privacy.exact_laws import discrete_gaussian, skellam, summed
from tests.fedprllm_secure.privacy.lower_bounds import clopper_pearson_bound, shown_epsilons, upper_limit
from tests.fedprllm_secure.privacy.releases import chosen, noisy
from tests.protocols.insecure_words import InsecureWords

RUNS = 10_000  # for each neighbour
CHOICE_RUNS = 5_000
DELTA = 1e-5
VOTES = 64  # entries of +-1 that all change if a client's vector is the zero vector
COLLUDERS, CERTAIN = 2, 6
LAWS = {"skellam": skellam, "discrete-gaussian": discrete_gaussian}

Scores = tuple[NDArray[np.float64], NDArray[np.float64]]


def noise_scores(release: Release, *, shrink: int, seed: int) -> Scores:
    """Simulate releases with and without a client, and score them by the exact likelihood ratio.

    The server takes part: what colluders add, it subtracts. `shrink` divides the standard deviation of what is drawn;
    the test knows that, as an attacker would.
    """
    each = release.variance / release.shares / shrink**2
    noise = NOISES[release.mechanism](each)
    words = InsecureWords(seed)
    shape = (2, RUNS, release.dimension)
    total = sum(noise.sample(2 * RUNS * release.dimension, words) for _ in range(release.shares)).reshape(shape)
    reach = int(np.abs(total).max()) + 2
    law = summed(LAWS[release.mechanism](float(each), reach), release.shares)
    logs = np.log(law[len(law) // 2 - reach : len(law) // 2 + reach + 1])
    moved = np.array([1, -1] * (release.dimension // 2))
    with_client, without = total[0] + moved, total[1]
    return likelihood(logs, with_client, moved, reach), likelihood(logs, without, moved, reach)


def likelihood(
    logs: NDArray[np.float64], seen: NDArray[np.int64], moved: NDArray[np.int64], reach: int
) -> NDArray[np.float64]:
    """Give the logarithm of the likelihood ratio of every run: (runs,)."""
    return (logs[seen - moved + reach] - logs[seen + reach]).sum(axis=1)


def release_of(mechanism: str, *, distributed: bool, epsilon: float) -> Release:
    """Size the noise that hides one client's votes, added centrally or in shares."""
    shares = CERTAIN - COLLUDERS if distributed else 1
    adversary = server_with_colluders(COLLUDERS) if distributed else READERS
    release = noisy(
        mechanism, l1=VOTES, l2_squared=VOTES, shares=shares, adversary=adversary, statistical_distance=2.0**-100
    )
    return replace(release, variance=noise_variance_for(release, epsilon=epsilon, delta=DELTA))


@pytest.mark.parametrize("distributed", [False, True], ids=["central", "distributed"])
@pytest.mark.parametrize("mechanism", NOISES)
def test_noise_hides_a_client_as_claimed(mechanism: str, distributed: bool) -> None:
    """The assumption-free bound stays below the claim; the Gaussian one does too, and reaches 60 % of it at least."""
    release = release_of(mechanism, distributed=distributed, epsilon=3.0)
    claim = epsilon_of([release], DELTA)
    assumption_free, gaussian_like = shown_epsilons(*noise_scores(release, shrink=1, seed=1), DELTA)

    assert release.variance > 5**2  # grid units
    assert 2.99 < claim <= 3.0
    assert 0.2 * claim < assumption_free < claim
    assert 0.6 * claim < gaussian_like < claim


@pytest.mark.parametrize("distributed", [False, True], ids=["central", "distributed"])
@pytest.mark.parametrize("mechanism", NOISES)
def test_half_the_noise_is_caught(mechanism: str, distributed: bool) -> None:
    """A sampler that draws half the standard deviation shows more than the claim."""
    release = release_of(mechanism, distributed=distributed, epsilon=3.0)
    _, gaussian_like = shown_epsilons(*noise_scores(release, shrink=2, seed=2), DELTA)

    assert gaussian_like > 1.5 * epsilon_of([release], DELTA)


def test_an_entry_alone_is_hidden_too() -> None:
    """One coordinate that moves by many grid units, told apart without any assumption."""
    release = noisy(l1=40, l2_squared=1600, dimension=40, adversary=READERS)
    release = replace(release, variance=noise_variance_for(release, epsilon=1.0, delta=DELTA))
    noise = NOISES["skellam"](release.variance)
    words = InsecureWords(3)
    scores = (noise.sample(RUNS, words) + 40.0, noise.sample(RUNS, words).astype(float))

    assert max(shown_epsilons(*scores, DELTA)) < epsilon_of([release], DELTA) <= 1.0


@dataclass(frozen=True)
class Choice:
    """A choice among units, and two neighbouring totals that are as different as can be."""

    adjacency: Adjacency
    epsilon_each: Fraction
    picks: int
    totals: NDArray[np.int64]
    neighbour: NDArray[np.int64]

    def release(self) -> Release:
        """Describe it."""
        return chosen(
            picks=self.picks,
            epsilon_each=self.epsilon_each,
            adjacency=self.adjacency,
            dimension=len(self.totals),
            statistical_distance=top_k_distance(1, len(self.totals)),
        )

    def scores(self, *, shrink: int, seed: int) -> Scores:
        """Simulate choices under both totals, and score them by the exact likelihood ratio."""
        rate = self.epsilon_each * shrink
        sensitivity = score_range(self.adjacency)
        words = InsecureWords(seed)
        ratio = cache(partial(self.ratio, rate=rate / sensitivity))
        sides = [
            [
                ratio(
                    tuple(top_k(totals, self.picks, epsilon_each=rate, sensitivity=sensitivity, source=words).tolist())
                )
                for _ in range(CHOICE_RUNS)
            ]
            for totals in (self.totals, self.neighbour)
        ]
        return np.array(sides[0]), np.array(sides[1])

    def ratio(self, order: tuple[int, ...], rate: Fraction) -> float:
        """Give the logarithm of the likelihood ratio of an ordered choice."""
        return sum(
            sign * self.log_probability(order, totals * float(rate))
            for sign, totals in ((1, self.totals), (-1, self.neighbour))
        )

    @staticmethod
    def log_probability(order: tuple[int, ...], logits: NDArray[np.float64]) -> float:
        """Give the logarithm of the probability of choosing these units in this order."""
        weights = np.exp(logits)
        left, result = weights.sum(), 0.0
        for unit in order:
            result += float(logits[unit] - np.log(left))
            left -= weights[unit]
        return result


# A client whose vote for one unit is taken away, or goes to all others instead.
CHOICES = {
    "zero-out": Choice("client-zero-out", Fraction(1), 1, np.eye(12, dtype=np.int64)[0], np.zeros(12, np.int64)),
    "replace": Choice(
        "client-replace", Fraction(1), 1, np.eye(12, dtype=np.int64)[0], 1 - np.eye(12, dtype=np.int64)[0]
    ),
    "three picks": Choice(
        "client-replace", Fraction(1, 2), 3, np.array([1] * 3 + [0] * 9), np.array([0] * 3 + [1] * 9)
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices_hide_a_client_as_claimed(name: str) -> None:
    """One or several units under Gumbel noise, at the range that the adjacency has."""
    choice = CHOICES[name]
    claim = epsilon_of([choice.release()], DELTA)
    assumption_free, _ = shown_epsilons(*choice.scores(shrink=1, seed=4), DELTA)

    assert 0.25 * claim < assumption_free < claim


@pytest.mark.parametrize("name", ["zero-out", "replace"])
def test_half_the_gumbel_noise_is_caught(name: str) -> None:
    """Half the scale shows more than the claim."""
    choice = CHOICES[name]
    assumption_free, _ = shown_epsilons(*choice.scores(shrink=2, seed=5), DELTA)

    assert assumption_free > epsilon_of([choice.release()], DELTA)


def test_the_wrong_range_of_scores_is_caught() -> None:
    """Sized for votes that vanish, noise does not hide votes that change."""
    choice = CHOICES["replace"]
    wrong = replace(choice, adjacency="client-zero-out")
    assumption_free, _ = shown_epsilons(*wrong.scores(shrink=1, seed=6), DELTA)

    assert assumption_free > epsilon_of([choice.release()], DELTA)


@pytest.mark.parametrize(("told", "is_caught"), [(1.0, False), (2.0, True)], ids=["as claimed", "half the flips"])
def test_randomised_response_hides_three_bits_as_claimed(told: float, is_caught: bool) -> None:
    """A client's bits pay together; one that flips too rarely is caught."""
    bits, each = 3, 1.0
    claim = renyi.epsilon(renyi.randomised_response(renyi.ORDERS, bits=bits, epsilon_each=each), DELTA)
    generator = np.random.default_rng(7)
    truths = generator.random((2, RUNS, bits)) < 1 / (1 + np.exp(-told))
    scores = truths[0].sum(axis=1).astype(float), (~truths[1]).sum(axis=1).astype(float)
    assumption_free, _ = shown_epsilons(*scores, DELTA)

    assert claim == pytest.approx(bits * each, rel=1e-3)
    assert (assumption_free > claim) == is_caught


def test_bounds_know_their_level() -> None:
    """Nothing seen in 5,000 trials is still 0.2 %; all seen proves nothing; and a perfect attack has a ceiling."""
    assert upper_limit(0, 5000) == pytest.approx(1 - (0.5e-4) ** (1 / 5000))
    assert upper_limit(5000, 5000) == 1.0
    least = upper_limit(0, 5000)
    assert clopper_pearson_bound(least, least, DELTA) == pytest.approx(6.22, abs=0.01)
    assert clopper_pearson_bound(0.5, 0.5, DELTA) == 0.0
    assert clopper_pearson_bound(1.0, 1.0, DELTA) == 0.0


def test_best_test_is_not_blind() -> None:
    """Equal laws show nothing, laws that never overlap the ceiling."""
    same = np.random.default_rng(8).normal(size=(2, RUNS))

    assert shown_epsilons(same[0], same[1], DELTA) == (0.0, 0.0)
    assert shown_epsilons(same[0] + 100, same[1], DELTA)[0] == pytest.approx(6.22, abs=0.01)
