"""Integer noise is as private as a Gaussian of a proven mu: compared with exact laws, step by step and as a whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import ndtri

from fedprllm_secure.privacy.gaussian import gaussian_delta
from fedprllm_secure.privacy.gaussian_bound import discrete_gaussian_mu, skellam_curvature, skellam_mu
from tests.fedprllm_secure.privacy.exact_laws import (
    Floats,
    discrete_gaussian,
    exact_delta,
    shifted_pair,
    skellam,
    summed,
)


def largest_step(law: Floats) -> float:
    """Give the largest step of the normal quantile of the distribution function, to where tails are no floats."""
    upper = law[len(law) // 2 + 1 :][::-1].cumsum()[::-1]  # P(X >= 1), P(X >= 2) ...
    quantiles = -ndtri(upper[upper > 1e-290])
    return float(max(2 * quantiles[0], np.diff(quantiles).max()))


@pytest.mark.parametrize("variance", [3.0, 3.5, 5.0, 9.0, 30.0, 100.0])
def test_skellam_curvature_is_below_the_bound(variance: float) -> None:
    """The probabilities bend nowhere more than proven, and at 0 nearly as much."""
    logs = np.log(skellam(variance, int(10 * math.sqrt(variance)) + 20))
    curvature = 2 * logs[1:-1] - logs[:-2] - logs[2:]

    assert curvature.min() > 0
    assert curvature.max() <= skellam_curvature(variance) <= curvature.max() * (1 + 1 / variance**2)


@pytest.mark.parametrize("variance", [3.0, 3.5, 5.0, 9.0, 30.0, 100.0, 900.0])
def test_skellam_steps_are_below_the_bound(variance: float) -> None:
    """No step of the distribution function is larger than proven, and the proof gives little away."""
    exact = largest_step(skellam(variance, int(45 * math.sqrt(variance)) + 60))
    bound = skellam_mu(l2_squared=1, variance=variance)

    assert exact <= bound <= exact * (1 + 0.5 / variance)
    assert bound * math.sqrt(variance) < 1 + 0.7 / variance


@pytest.mark.parametrize("variance", [1.0, 1.1, 2.0, 5.0, 30.0, 900.0])
def test_discrete_gaussian_steps_are_below_the_bound(variance: float) -> None:
    """No step of the distribution function is larger than proven, and the proof is nearly exact."""
    exact = largest_step(discrete_gaussian(variance, int(38 * math.sqrt(variance)) + 2))
    bound = discrete_gaussian_mu(l2_squared=1, variance=variance)

    assert exact <= bound * (1 + 1e-12)
    assert bound <= exact * (1 + 0.004 / variance)


@pytest.mark.parametrize(("each", "shares"), [(0.5, 2), (0.5, 4), (1.0, 2), (1.0, 6), (2.25, 3)])
def test_steps_of_sums_are_below_the_bound(each: float, shares: int) -> None:
    """Adding discrete Gaussians costs tau, whatever the dimension."""
    exact = largest_step(summed(discrete_gaussian(each, int(38 * math.sqrt(each)) + 2), shares))

    assert exact <= discrete_gaussian_mu(l2_squared=1, variance=each * shares, shares=shares)


@pytest.mark.parametrize("shift", [(1,), (3,), (1, 1), (2, -1), (1, 1, 1), (3, 0, -1)], ids=str)
@pytest.mark.parametrize("name", ["skellam 3", "skellam 9", "discrete gaussian 1", "discrete gaussian 6", "sum of 3"])
def test_every_epsilon_of_the_exact_law_is_below(name: str, shift: tuple[int, ...]) -> None:
    """For every epsilon the exact delta of a shifted vector is at most that of the Gaussian."""
    law, mu_of_unit = {
        "skellam 3": (skellam(3.0, 30), skellam_mu(l2_squared=1, variance=3.0)),
        "skellam 9": (skellam(9.0, 40), skellam_mu(l2_squared=1, variance=9.0)),
        "discrete gaussian 1": (discrete_gaussian(1.0, 12), discrete_gaussian_mu(l2_squared=1, variance=1.0)),
        "discrete gaussian 6": (discrete_gaussian(6.0, 30), discrete_gaussian_mu(l2_squared=1, variance=6.0)),
        "sum of 3": (
            summed(discrete_gaussian(1.0, 10), 3),
            discrete_gaussian_mu(l2_squared=1, variance=3.0, shares=3),
        ),
    }[name]
    first, second = shifted_pair(law, shift)
    mu = mu_of_unit * math.sqrt(sum(step**2 for step in shift))
    for epsilon in (0.0, 0.3, 1.0, 2.0, 4.0, 7.0):
        assert exact_delta(first, second, epsilon) <= gaussian_delta(mu, epsilon) + 1e-12


def test_the_bound_is_tight_for_many_coordinates() -> None:
    """On twelve coordinates that move by one, the exact epsilon is within two percent of the bound's."""
    law, shift = skellam(25.0, 60), 12
    losses = np.log(law[1:] / law[:-1])  # of one coordinate; the total loss is a sum of independent ones
    grid, size = 1e-4, 1 << 19
    cells = np.round(losses / grid).astype(int)  # nearest cell: no bound, but within grid x shift of the truth
    reach = np.abs(cells).max()
    single = np.bincount(cells + reach, weights=law[1:], minlength=2 * reach + 1)
    transform = np.fft.rfft(single, size)
    total = np.fft.irfft(transform**shift, size)
    values = grid * (np.arange(size) - shift * reach)
    assert shift * 2 * reach < size
    mu = skellam_mu(l2_squared=shift, variance=25.0)
    for epsilon in (0.5, 1.0, 2.0):
        above = values > epsilon
        delta = float((total[above] * -np.expm1(epsilon - values[above])).sum())
        assert delta < gaussian_delta(mu, epsilon)
        assert gaussian_delta(mu * 0.98, epsilon) < delta


def test_mu_goes_with_the_norm() -> None:
    """Twice the shift, twice the mu."""
    assert skellam_mu(l2_squared=4, variance=10.0) == pytest.approx(2 * skellam_mu(l2_squared=1, variance=10.0))
    assert discrete_gaussian_mu(l2_squared=400, variance=10.0) == pytest.approx(
        20 * discrete_gaussian_mu(l2_squared=1, variance=10.0)
    )


def test_more_noise_is_less_mu() -> None:
    """Both bounds fall with the variance, from where they begin."""
    variances = [3.0, 3.001, 3.5, 4.0, 10.0, 1e3, 1e6, 1e12, 1e30]
    for bound in (skellam_mu, discrete_gaussian_mu):
        mus = [bound(l2_squared=1, variance=variance) for variance in variances]
        assert mus == sorted(mus, reverse=True)
        assert mus[-1] == pytest.approx(1e-15)


def test_nothing_is_said_of_noise_that_is_too_small() -> None:
    """Below the variance from which the proofs hold, and for shares below half a grid unit."""
    assert skellam_mu(l2_squared=1, variance=2.99) == math.inf
    assert discrete_gaussian_mu(l2_squared=1, variance=0.99) == math.inf
    assert discrete_gaussian_mu(l2_squared=1, variance=2.0, shares=9) == math.inf
