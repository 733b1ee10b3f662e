"""Noise is sized to the claim, shared by those who are certain to be in the sum, and no larger than needed."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy import (
    epsilon_of,
    noise_variance_for,
    printed_variance,
    share_variance,
    sized,
    votes_sensitivity,
)
from fedprllm_secure.privacy.gaussian import gaussian_mu
from fedprllm_secure.privacy.sensitivity import VoteGroups
from fedprllm_secure.privacy.sizing import GRID
from tests.fedprllm_secure.privacy.releases import chosen, exact, noisy
from tests.fedprllm_secure.privacy.test_gaussian import CALIBRATED


@pytest.mark.parametrize("mechanism", ["skellam", "discrete-gaussian"])
@pytest.mark.parametrize(("epsilon", "delta"), [(e, d) for d, row in CALIBRATED.items() for e in row])
def test_targets_are_met_with_the_smallest_noise(mechanism: str, epsilon: float, delta: float) -> None:
    """The claim is at most the target, one step less is not enough, and the noise is nearly the continuous one's."""
    release = noisy(mechanism, l1=2500, l2_squared=2500, statistical_distance=2.0**-100)
    variance = noise_variance_for(release, epsilon=epsilon, delta=delta)

    assert epsilon_of([replace(release, variance=variance)], delta) <= epsilon
    assert epsilon_of([replace(release, variance=variance - Fraction(2500, GRID))], delta) > epsilon
    assert 1 < math.sqrt(variance / 2500) / CALIBRATED[delta][epsilon] < 1.001


def test_noise_on_all_votes_of_a_small_model() -> None:
    """733 votes of noise for an epsilon of 8 at the zero vector; replacing a client needs twice that."""
    groups = [VoteGroups(288, 144, 5_971_968 // 288)]
    votes = {}
    for adjacency in ("client-zero-out", "client-replace"):
        sensitivity = votes_sensitivity(groups, a=1, b=2, adjacency=adjacency)
        release = replace(noisy(), sensitivity=sensitivity, dimension=5_971_968, adjacency=adjacency)
        # b = 2 grid units are one vote
        votes[adjacency] = math.sqrt(noise_variance_for(release, epsilon=8.0, delta=1e-5)) / 2

    assert votes["client-zero-out"] == pytest.approx(733, abs=1)
    assert votes["client-replace"] == pytest.approx(2 * 733, abs=2)


def test_different_releases_get_one_noise_multiplier() -> None:
    """Each its own variance, and together the target."""
    releases = [noisy(l1=number, l2_squared=number) for number in (100, 400, 400, 2500)]
    given_noise = sized(releases, epsilon=2.0, delta=1e-6)
    multipliers = {release.variance / release.sensitivity.l2_squared for release in given_noise}

    assert [release.sensitivity for release in given_noise] == [release.sensitivity for release in releases]
    assert len(multipliers) == 1
    assert 1.99 < epsilon_of(given_noise, 1e-6) <= 2.0
    assert math.sqrt(multipliers.pop()) == pytest.approx(2 / gaussian_mu(2.0, 1e-6), rel=2e-3)


def test_repeated_releases_need_more_noise_each() -> None:
    """A hundred releases need ten times the noise of one."""
    release = noisy(l1=900, l2_squared=900)
    one, hundred = (noise_variance_for(release, epsilon=1.0, delta=1e-5, count=count) for count in (1, 100))

    assert math.sqrt(hundred / one) == pytest.approx(10, rel=1e-3)


def test_coarse_shares_of_discrete_gaussians_need_more() -> None:
    """Where each of many shares is below a grid unit, their sum pays for it; Skellam shares do not."""
    few, many = (
        noise_variance_for(noisy("discrete-gaussian", l1=9, l2_squared=9, shares=shares), epsilon=8.0, delta=1e-5)
        for shares in (1, 60)
    )
    skellam = noise_variance_for(noisy(l1=9, l2_squared=9, shares=60), epsilon=8.0, delta=1e-5)

    assert skellam == noise_variance_for(noisy(l1=9, l2_squared=9), epsilon=8.0, delta=1e-5)
    assert few < skellam < many


@settings(max_examples=15, deadline=None)
@given(st.floats(0.01, 20), st.integers(1, 10**9), st.sampled_from(["skellam", "discrete-gaussian"]))
def test_every_target_is_met(epsilon: float, l1: int, mechanism: str) -> None:
    """For any norm, and not with much to spare from some grid units of noise on."""
    release = noisy(mechanism, l1=l1, l2_squared=l1, statistical_distance=2.0**-110)
    variance = noise_variance_for(release, epsilon=epsilon, delta=1e-5)

    claim = epsilon_of([replace(release, variance=variance)], 1e-5)

    assert claim <= epsilon
    assert variance < 10 or claim > 0.99 * epsilon


def test_a_target_out_of_reach_is_refused() -> None:
    """No noise helps where the sampler is too rough for delta."""
    with pytest.raises(InputError, match=r"epsilon=1\.0 at delta=1e-05 cannot be reached with any noise"):
        sized([noisy(statistical_distance=1e-4)], epsilon=1.0, delta=1e-5)


@pytest.mark.parametrize("release", [exact(), chosen(picks=1, epsilon_each=Fraction(1))], ids=["exact", "top-k"])
def test_only_noise_is_sized(release) -> None:
    """Choices are sized by their epsilon each; exact releases not at all."""
    with pytest.raises(ValueError, match=rf"mechanism={release.mechanism} must be one of noise"):
        sized([release], epsilon=1.0, delta=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 0.0}, "epsilon=0.0 must be above 0 and finite"),
        ({"delta": 1.0}, "delta=1.0 must be above 0 and below 1"),
        ({"count": 0}, "count=0 must be at least 1"),
    ],
)
def test_targets_out_of_range_are_refused(change: dict, message: str) -> None:
    """The message names the argument."""
    with pytest.raises(ValueError, match=message):
        noise_variance_for(noisy(), **({"epsilon": 1.0, "delta": 1e-5} | change))


@settings(deadline=None)
@given(st.integers(2, 100), st.integers(0, 50), st.fractions(Fraction(1, 10), 1000, max_denominator=100))
def test_certain_honest_shares_make_up_the_variance(honest: int, colluders: int, total: Fraction) -> None:
    """Exactly, and every client that is there adds one share."""
    thresholds = {"minimum_survivors": honest + colluders, "assumed_colluders": colluders}
    share = share_variance(total, **thresholds)

    assert honest * share == total
    assert printed_variance(total, roster=honest + colluders + 5, **thresholds) == (honest + colluders + 5) * share


def test_all_clients_noise_in_a_typical_run() -> None:
    """64 clients, 43 of them certain, 1 colluder: 1.52 times the variance that the claim counts."""
    assert printed_variance(Fraction(100), roster=64, minimum_survivors=43, assumed_colluders=1) == Fraction(6400, 42)


@pytest.mark.parametrize(
    ("survivors", "colluders", "error", "message"),
    [
        (3, 2, InputError, "minimum_survivors=3 must be at least 2 more than assumed_colluders=2"),
        (2, 1, InputError, "minimum_survivors=2 must be at least 2 more than assumed_colluders=1"),
        (5, -1, InputError, "assumed_colluders=-1 must be at least 0"),
    ],
)
def test_fewer_than_two_honest_shares_are_refused(
    survivors: int, colluders: int, error: type[Exception], message: str
) -> None:
    """The sum would be one client's vector under its own noise alone."""
    with pytest.raises(error, match=message):
        share_variance(Fraction(1), minimum_survivors=survivors, assumed_colluders=colluders)
    with pytest.raises(error, match=message):
        printed_variance(Fraction(1), roster=9, minimum_survivors=survivors, assumed_colluders=colluders)


def test_no_noise_is_no_total_and_a_roster_holds_its_survivors() -> None:
    """Two more mistakes that would go unnoticed."""
    with pytest.raises(ValueError, match="total=0 must be above 0"):
        share_variance(Fraction(0), minimum_survivors=5, assumed_colluders=1)
    with pytest.raises(InputError, match="roster=4 must be at least minimum_survivors=5"):
        printed_variance(Fraction(1), roster=4, minimum_survivors=5, assumed_colluders=1)
