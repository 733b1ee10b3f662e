"""What is claimed is proven of the mechanism that ran: never below the exact epsilon, never above each single proof."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy import Release, epsilon_of, renyi
from fedprllm_secure.privacy.gaussian import gaussian_epsilon
from tests.fedprllm_secure.privacy.exact_laws import (
    discrete_gaussian,
    exact_delta,
    exact_epsilon,
    shifted_pair,
    skellam,
)
from tests.fedprllm_secure.privacy.releases import chosen, exact, noisy

# Values of one coordinate that moves by 1 under discrete Gaussian noise, delta 1e-5, made with 60 digits.
ONE_COORDINATE = {1: 4.430238055, 2: 2.011339821, 4: 0.9273541472}
GAUSSIAN = {1: 4.377178096, 2: 1.993091404}


@pytest.mark.parametrize(("sigma", "epsilon"), ONE_COORDINATE.items())
def test_one_coordinate_of_discrete_gaussian_noise(sigma: int, epsilon: float) -> None:
    """The claim is above the exact value, and close to it from two grid units on."""
    claim = epsilon_of([noisy("discrete-gaussian", variance=Fraction(sigma**2))], 1e-5)

    assert exact_epsilon(*shifted_pair(discrete_gaussian(sigma**2, 60), (1,)), 1e-5) == pytest.approx(epsilon, rel=1e-8)
    assert epsilon <= claim <= epsilon * (1.05 if sigma == 1 else 1.003)


@pytest.mark.parametrize("shift", [(1,), (2,), (1, 1), (2, 1), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("mechanism", ["skellam", "discrete-gaussian"])
@pytest.mark.parametrize("variance", [Fraction(1, 2), Fraction(2), Fraction(4), Fraction(12)], ids=float)
def test_claims_are_above_the_exact_epsilon(mechanism: str, shift: tuple[int, ...], variance: Fraction) -> None:
    """For small vectors the exact epsilon is known by summing over all outcomes."""
    law = {"skellam": skellam, "discrete-gaussian": discrete_gaussian}[mechanism](float(variance), 45)
    squares = sum(step**2 for step in shift)
    claim = epsilon_of([noisy(mechanism, l1=sum(shift), l2_squared=squares, variance=variance)], 1e-5)

    assert exact_delta(*shifted_pair(law, shift), claim) <= 1e-5


@pytest.mark.parametrize("mechanism", ["skellam", "discrete-gaussian"])
def test_realistic_noise_costs_what_a_gaussian_costs(mechanism: str) -> None:
    """At some grid units of noise, the claim is within 0.1 % of the continuous Gaussian's, where Renyi loses 8 %."""
    release = noisy(mechanism, l1=9792, l2_squared=9792, variance=Fraction(4 * 9792))
    by_renyi = renyi.epsilon(release.curve(), 1e-5)

    assert epsilon_of([release], 1e-5) == pytest.approx(GAUSSIAN[2], rel=1e-3)
    assert by_renyi == pytest.approx(2.168, rel=2e-3)


def test_nothing_released_costs_nothing() -> None:
    """Before the first release epsilon is 0."""
    assert epsilon_of([], 1e-5) == 0.0


def test_an_exact_release_costs_everything() -> None:
    """Alone and among others."""
    assert epsilon_of([exact()], 1e-5) == math.inf
    assert epsilon_of([noisy(), exact()], 1e-5) == math.inf


def test_releases_of_noise_compose_as_gaussians_do() -> None:
    """Sixteen releases at four times the noise cost as much as one."""
    one = noisy(l1=100, l2_squared=10_000, variance=Fraction(10**4))
    sixteen = [noisy(l1=100, l2_squared=10_000, variance=Fraction(16 * 10**4))] * 16

    assert epsilon_of(sixteen, 1e-5) == pytest.approx(epsilon_of([one], 1e-5), rel=1e-3)
    assert epsilon_of([one], 1e-5) == pytest.approx(GAUSSIAN[1], rel=1e-3)


def test_different_mechanisms_compose_by_their_renyi_curves() -> None:
    """Choices and noise add up order by order."""
    releases = [chosen(picks=100, epsilon_each=Fraction(1, 10)), noisy("discrete-gaussian", variance=Fraction(4))]
    expected = renyi.epsilon(renyi.ORDERS / 8 + renyi.ORDERS / 8, 1e-5)

    assert epsilon_of(releases, 1e-5) == pytest.approx(expected, rel=1e-8)
    assert epsilon_of(releases[:1], 1e-5) == pytest.approx(2.1657, abs=1e-4)


def test_few_choices_cost_no_more_than_their_pure_epsilon() -> None:
    """Two choices of 0.1 are 0.2."""
    assert epsilon_of([chosen(picks=2, epsilon_each=Fraction(1, 10))], 1e-9) == pytest.approx(0.2, rel=1e-3)


def test_small_epsilons_are_claimed() -> None:
    """An epsilon of 0.01 can be claimed for the noise that it needs, by both kinds of mechanism."""
    quiet = noisy(l1=100, l2_squared=10_000, variance=Fraction(255**2 * 10**4))
    choices = [chosen(picks=1, epsilon_each=Fraction(1, 100))]

    assert epsilon_of([quiet], 1e-5) == pytest.approx(gaussian_epsilon(1 / 255, 1e-5), rel=1e-3)
    assert 0.008 < epsilon_of([quiet], 1e-5) < 0.012
    assert epsilon_of(choices, 1e-5) <= 0.0101


@settings(deadline=None)
@given(
    st.integers(1, 10**6),
    st.fractions(Fraction(1, 4), Fraction(10**4), max_denominator=1000),
    st.sampled_from(["skellam", "discrete-gaussian"]),
    st.sampled_from([1, 2, 7]),
)
def test_more_noise_never_costs_more(l1: int, multiplier: Fraction, mechanism: str, shares: int) -> None:
    """The claim falls with the variance and with delta, and rises with every release."""
    little = noisy(mechanism, l1=l1, l2_squared=l1, variance=multiplier * l1, shares=shares)
    more = replace(little, variance=multiplier * l1 * Fraction(101, 100))

    assert epsilon_of([more], 1e-5) <= epsilon_of([little], 1e-5)
    assert epsilon_of([little], 1e-4) <= epsilon_of([little], 1e-5)
    assert epsilon_of([little], 1e-5) <= epsilon_of([little, more], 1e-5)


def test_the_samplers_distance_is_taken_from_delta() -> None:
    """A law within s of the ideal one costs (1 + exp(epsilon)) s of delta, for each draw: entries times shares."""
    release = noisy(l1=100, l2_squared=100, variance=Fraction(400), dimension=1000, shares=4)
    claim = epsilon_of([replace(release, statistical_distance=2.0**-35)], 1e-5)
    lost = 4000 * 2.0**-35 * (1 + math.exp(claim))

    assert 1e-7 < lost < 1e-5
    assert epsilon_of([release], 1e-5) < claim
    assert claim == pytest.approx(epsilon_of([release], 1e-5 - lost), rel=1e-6)


def test_distances_add_up_over_releases() -> None:
    """Three like releases lose three times as much of delta, and so do three that differ."""
    like = [noisy(l1=100, l2_squared=100, variance=Fraction(1200), statistical_distance=2.0**-33)] * 3
    different = [replace(release, dimension=100 + index) for index, release in enumerate(like)]
    for releases in (like, different):
        claim = epsilon_of(releases, 1e-5)
        lost = sum(release.dimension for release in releases) * 2.0**-33 * (1 + math.exp(claim))
        exact_draws = [replace(release, statistical_distance=0.0) for release in releases]
        assert 1e-7 < lost < 1e-5
        assert claim == pytest.approx(epsilon_of(exact_draws, 1e-5 - lost), rel=1e-7)


def test_a_rough_sampler_cannot_claim_anything() -> None:
    """Where the distance alone uses up delta, epsilon is infinite."""
    release = noisy(l1=100, l2_squared=100, variance=Fraction(400), dimension=1000, statistical_distance=1e-8)

    assert epsilon_of([release], 1e-5) == math.inf
    assert epsilon_of([release], 1e-3) < math.inf


def test_a_sampler_off_by_its_distance_keeps_the_claim() -> None:
    """Against the worst laws within the distance: more where the neighbours are told apart, less under the other."""
    distance = 1e-7
    claim = epsilon_of([noisy(variance=Fraction(4), statistical_distance=distance)], 1e-5)
    first, second = shifted_pair(skellam(4.0, 40), (1,))
    telling = first > math.exp(claim) * second
    ideal = exact_delta(first, second, claim)
    first[telling] *= 1 + distance / first[telling].sum()
    second[telling] *= 1 - distance / second[telling].sum()

    assert exact_delta(first, second, claim) == pytest.approx(ideal + (1 + math.exp(claim)) * distance)
    assert exact_delta(first, second, claim) <= 1e-5


@pytest.mark.parametrize("mechanism", ["skellam", "discrete-gaussian"])
@pytest.mark.parametrize("variance", [Fraction(1, 2**127), Fraction(1), Fraction(2**127)], ids=float)
def test_extreme_releases_have_a_claim(mechanism: str, variance: Fraction) -> None:
    """Whatever a record may hold, accounting takes it: no overflow, no huge loop."""
    most = 2**127
    release = noisy(mechanism, l1=most, l2_squared=most, variance=variance, dimension=most, shares=most)

    assert 0 <= epsilon_of([release] * 3, 1e-5) <= math.inf
    assert 0 < release.rdp(2**127) <= math.inf
    assert epsilon_of([noisy(mechanism, variance=Fraction(2**127), shares=most)], 1e-5) < math.inf or (
        mechanism == "discrete-gaussian"
    )


def test_claims_about_different_neighbours_do_not_add_up() -> None:
    """A window's epsilon is no part of a client's."""
    releases = [noisy(), noisy(adjacency="window-zero-out")]

    with pytest.raises(ValueError, match="adjacency=client-zero-out and window-zero-out must be one"):
        epsilon_of(releases, 1e-5)


@pytest.mark.parametrize("releases", [[], [noisy()]], ids=["none", "one"])
def test_delta_out_of_range_is_refused(releases: list[Release]) -> None:
    """Delta lies strictly between 0 and 1."""
    with pytest.raises(InputError, match="delta=0 must be above 0 and below 1"):
        epsilon_of(releases, 0)
