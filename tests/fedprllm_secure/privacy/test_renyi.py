"""Renyi bounds: the literature's values, above the exact divergence of the laws, and what they say of epsilon."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy import renyi
from fedprllm_secure.privacy.renyi import ORDERS
from tests.fedprllm_secure.privacy.exact_laws import (
    discrete_gaussian,
    exact_epsilon,
    renyi_divergence,
    shifted_pair,
    skellam,
    summed,
)

INTEGERS = np.array([*range(2, 257), 512, 1024], dtype=np.float64)
SHIFTS = [(1,), (2,), (1, 1), (1, -2), (1, 1, 1)]


@pytest.mark.parametrize(
    ("curve", "expected", "best"),
    [
        (renyi.skellam(INTEGERS, l1=1, l2_squared=1, variance=4), 2.5310546, 9),
        (renyi.skellam(INTEGERS, l1=100, l2_squared=100, variance=400), 2.1719169, 10),
        (
            renyi.discrete_gaussian_sum(
                INTEGERS, l1=16_000, l2_squared=256, variance=256, shares=64, dimension=1_000_000
            ),
            4.7527283,
            5,
        ),
    ],
    ids=["skellam 1", "skellam 100", "sum of discrete gaussians"],
)
def test_noise_at_integer_orders(curve: renyi.Floats, expected: float, best: int) -> None:
    """Published formulas, evaluated elsewhere."""
    assert renyi.epsilon(curve, 1e-5, orders=INTEGERS) == pytest.approx(expected, abs=1e-7)
    at_best = best == INTEGERS
    assert renyi.epsilon(curve[at_best], 1e-5, orders=INTEGERS[at_best]) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (renyi.top_k(ORDERS, picks=100, epsilon_each=0.1), 2.1657),
        (renyi.top_k(ORDERS, picks=1024, epsilon_each=0.05), 3.6659),
        (renyi.discrete_gaussian(ORDERS, l2_squared=1, variance=1), 4.728387),
        (renyi.discrete_gaussian(ORDERS, l2_squared=1, variance=0.36), 8.6032309),
        (renyi.discrete_gaussian(ORDERS, l2_squared=1, variance=100**2), 0.030820935),
        (renyi.randomised_response(ORDERS, bits=1000, epsilon_each=0.1), 18.964),
    ],
    ids=["top 100", "top 1024", "sigma 1", "sigma 0.6", "sigma 100", "randomised response"],
)
def test_our_orders_are_close_to_the_best_real_one(curve: renyi.Floats, expected: float) -> None:
    """The grid costs less than 0.1 %."""
    assert expected * (1 - 1e-4) <= renyi.epsilon(curve, 1e-5) <= expected * 1.001


def test_small_epsilons_are_within_reach() -> None:
    """Noise for an epsilon of 0.001 is not counted as more: there is no largest order in the way."""
    sigma = 2500.0
    rho = 1 / (2 * sigma**2)
    # optimum over real orders, by a fine grid
    orders = 1 + np.exp(np.linspace(0, 16, 100_000))
    best = float((rho * orders + np.log1p(-1 / orders) + (math.log(1e5) - np.log(orders)) / (orders - 1)).min())

    assert 0 < best < 0.001
    assert renyi.epsilon(renyi.discrete_gaussian(ORDERS, l2_squared=1, variance=sigma**2), 1e-5) < 1.005 * best


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("variance", [0.5, 2.0, 9.0])
def test_skellam_is_above_the_exact_divergence(shift: tuple[int, ...], variance: float) -> None:
    """At integer orders and between them."""
    first, second = shifted_pair(skellam(variance, 40), shift)
    norms = {"l1": sum(map(abs, shift)), "l2_squared": sum(step**2 for step in shift)}
    for order in (1.25, 1.5, 2.0, 2.5, 3.0, 7.0, 7.75):
        assert renyi_divergence(first, second, order) <= renyi.skellam(order, **norms, variance=variance) * (1 + 1e-9)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize(("variance", "shares"), [(0.4, 1), (2.0, 1), (1.5, 3), (9.0, 4)])
def test_discrete_gaussian_is_above_the_exact_divergence(shift: tuple[int, ...], variance: float, shares: int) -> None:
    """One discrete Gaussian, and a sum of several with the tau of its coarseness."""
    law = summed(discrete_gaussian(variance / shares, 24), shares)
    middle = len(law) // 2
    first, second = shifted_pair(law[middle - 24 : middle + 25], shift)
    norms = {"l1": sum(map(abs, shift)), "l2_squared": sum(step**2 for step in shift)}
    for order in (1.5, 2.0, 3.0, 7.0):
        bound = renyi.discrete_gaussian_sum(order, **norms, variance=variance, shares=shares, dimension=len(shift))
        assert renyi_divergence(first, second, order) <= bound * (1 + 1e-9)
        if shares == 1:
            assert bound == pytest.approx(
                renyi.discrete_gaussian(order, l2_squared=norms["l2_squared"], variance=variance)
            )


@pytest.mark.parametrize(
    ("l1", "dimension", "least"), [(10.0, 10, 0), (100.0, 1000, 1), (1e6, 10**9, 2)], ids=["sum", "cross term", "norms"]
)
def test_a_sum_takes_the_least_of_three_bounds(l1: float, dimension: int, least: int) -> None:
    """Each is the least somewhere: for few entries, for a small L1 norm, and for many entries."""
    tau, order, ratio = renyi.convolution_divergence(variance=48.0, shares=64), 10.0, 100 / 48
    three = [
        order / 2 * ratio + tau * dimension,
        order / 2 * (ratio + 2 * l1 / math.sqrt(48) * tau + tau**2 * dimension),
        order / 2 * (math.sqrt(ratio) + math.sqrt(dimension) * tau) ** 2,
    ]
    found = renyi.discrete_gaussian_sum(order, l1=l1, l2_squared=100, variance=48, shares=64, dimension=dimension)

    assert 0.001 < tau < 0.01
    assert min(three) == three[least]
    assert found == pytest.approx(three[least])


@pytest.mark.parametrize(("each", "shares"), [(0.25, 2), (0.5, 3), (1.0, 2), (1.0, 8), (2.25, 5)])
def test_a_sum_of_discrete_gaussians_is_within_tau(each: float, shares: int) -> None:
    """No probability of the sum differs by more than exp(tau) from that of one discrete Gaussian."""
    total = summed(discrete_gaussian(each, 30), shares)
    reach = int(6 * math.sqrt(each * shares))  # where thirty values to either side are more than enough
    middle = len(total) // 2
    one = discrete_gaussian(each * shares, 30 * shares)
    seen = slice(middle - reach, middle + reach + 1)

    assert (
        np.abs(np.log(total[seen] / one[seen])).max()
        <= renyi.convolution_divergence(variance=each * shares, shares=shares) + 1e-12
    )


@pytest.mark.parametrize(("each", "tau"), [(1.0, 5.5e-4), (2.25, 2.3e-9), (4.0, 7.2e-17), (9.0, 2.6e-38)])
def test_tau_of_sixty_four_shares(each: float, tau: float) -> None:
    """It vanishes from two and a half grid units a share on."""
    assert renyi.convolution_divergence(variance=64 * each, shares=64) == pytest.approx(tau, rel=0.03)


def test_tau_of_very_many_shares_is_bounded() -> None:
    """Left out terms of the sum are counted like the last one: a little more, and linear in the shares."""
    k = np.arange(1, 10**6)
    exact = 10 * np.exp(-2 * math.pi**2 * k / (k + 1)).sum()

    assert exact <= renyi.convolution_divergence(variance=10.0**6, shares=10**6) <= exact * 1.01
    assert renyi.convolution_divergence(variance=2.0**100, shares=2**100) == pytest.approx(
        10 * 2**100 * math.exp(-2 * math.pi**2), rel=0.01
    )


def test_tau_is_nothing_for_one_share_and_infinite_for_coarse_ones() -> None:
    """The theorem starts at half a grid unit a share."""
    assert renyi.convolution_divergence(variance=0.01, shares=1) == 0
    assert renyi.convolution_divergence(variance=0.49, shares=2) == math.inf


@pytest.mark.parametrize(("picks", "units"), [(1, 3), (1, 40), (2, 4), (3, 5)])
@pytest.mark.parametrize("epsilon_each", [0.3, 1.0, 4.0])
def test_top_k_is_above_the_exact_divergence(picks: int, units: int, epsilon_each: float) -> None:
    """All ordered choices among few units, one of which loses or wins against all others."""
    first = choice_law(np.eye(units)[0] * epsilon_each, picks)
    second = choice_law(np.zeros(units), picks)
    for order in (1.5, 2.0, 5.0, 100.0):
        bound = renyi.top_k(order, picks=picks, epsilon_each=epsilon_each)
        assert renyi_divergence(first, second, order) <= bound
        assert renyi_divergence(second, first, order) <= bound


def choice_law(logits: renyi.Floats, picks: int) -> renyi.Floats:
    """Give the probability of every ordered choice without repetition."""
    weights = np.exp(logits)

    def extend(taken: tuple[int, ...], probability: float) -> list[float]:
        if len(taken) == picks:
            return [probability]
        left = [unit for unit in range(len(weights)) if unit not in taken]
        total = sum(weights[unit] for unit in left)
        return [result for unit in left for result in extend((*taken, unit), probability * weights[unit] / total)]

    return np.array(extend((), 1.0))


@pytest.mark.parametrize("bits", [1, 3])
def test_randomised_response_is_the_exact_divergence(bits: int) -> None:
    """Several bits that all differ cost the sum."""
    truth = math.e / (1 + math.e)
    first, second = np.ones(1), np.ones(1)
    for _ in range(bits):
        first = np.outer(first, [truth, 1 - truth]).ravel()
        second = np.outer(second, [1 - truth, truth]).ravel()

    assert renyi.randomised_response(3.5, bits=bits, epsilon_each=1.0) == pytest.approx(
        renyi_divergence(first, second, 3.5)
    )
    assert bits * 0.9 < exact_epsilon(first, second, 1e-9) <= bits


def test_a_gaussian_curve_is_that_of_the_gaussian() -> None:
    """A mu^2 / 2."""
    assert renyi.gaussian(4.0, 0.5) == 0.5


def test_epsilon_is_never_negative() -> None:
    """A curve of zeros costs nothing."""
    assert renyi.epsilon(np.zeros_like(ORDERS), 1e-5) == 0.0


def test_delta_out_of_range_is_refused() -> None:
    """Delta lies strictly between 0 and 1."""
    with pytest.raises(InputError, match=r"delta=1\.0 must be above 0 and below 1"):
        renyi.epsilon(np.zeros_like(ORDERS), 1.0)
