"""The continuous Gaussian mechanism, exactly: table values made with 60 digits, and inverses."""

from __future__ import annotations

import math

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy.gaussian import (
    composed_mu,
    gaussian_delta,
    gaussian_epsilon,
    gaussian_mu,
    log_upper_tail,
)

# (noise multipliers with how many releases each, delta, exact epsilon)
TABLE = [
    ([(1.0, 1)], 1e-5, 4.377178096),
    ([(0.6, 1)], 1e-5, 8.003691056),
    ([(2.0, 1)], 1e-5, 1.993091404),
    ([(5.0, 1)], 1e-5, 0.7255217509),
    ([(10.0, 1)], 1e-6, 0.3968573776),
    ([(100.0, 1)], 1e-5, 0.02721941981),
    ([(4.0, 16)], 1e-5, 4.377178096),
    ([(20.0, 42)], 1e-5, 1.23205255),
    ([(50.0, 224)], 1e-5, 1.129004283),
    ([(50.0, 224)], 1e-6, 1.288599002),
    ([(0.8, 1)], 1e-7, 6.887227307),
    ([(3.0, 1), (5.0, 2), (20.0, 40)], 1e-5, 2.170186962),
]
CALIBRATED = {
    1e-5: {
        0.5: 7.031827,
        1.0: 3.730632,
        2.0: 1.993812,
        3.0: 1.390593,
        4.0: 1.081162,
        8.0: 0.600229,
        10.0: 0.499889,
    },
    1e-6: {
        0.5: 8.057618,
        1.0: 4.224679,
        2.0: 2.230476,
        3.0: 1.543861,
        4.0: 1.193519,
        8.0: 0.652935,
        10.0: 0.541087,
    },
}


@pytest.mark.parametrize(("multipliers", "delta", "expected"), TABLE)
def test_epsilon_is_exact(multipliers: list[tuple[float, int]], delta: float, expected: float) -> None:
    """Composed releases cost what 60 digits say."""
    mu = composed_mu(1 / multiplier for multiplier, count in multipliers for _ in range(count))

    assert gaussian_epsilon(mu, delta) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("delta", "epsilon", "sigma"),
    [(delta, epsilon, sigma) for delta, row in CALIBRATED.items() for epsilon, sigma in row.items()],
)
def test_noise_is_calibrated_exactly(delta: float, epsilon: float, sigma: float) -> None:
    """The largest mu for a target is the inverse of the smallest noise multiplier."""
    assert 1 / gaussian_mu(epsilon, delta) == pytest.approx(sigma, abs=6e-7)


@settings(deadline=None)
@given(st.floats(1e-3, 40), st.floats(1e-12, 0.9))
def test_mu_and_epsilon_are_inverse(epsilon: float, delta: float) -> None:
    """There and back again, and never beyond the target."""
    mu = gaussian_mu(epsilon, delta)

    assert gaussian_delta(mu, epsilon) <= delta
    assert gaussian_epsilon(mu, delta) == pytest.approx(epsilon, rel=1e-6)


@pytest.mark.parametrize(("mu", "epsilon"), [(1e-4, 1e-4), (0.01, 0.05), (1, 4), (8, 60), (40, 1000), (60, 1500)])
def test_delta_matches_many_digits(mu: float, epsilon: float) -> None:
    """Neither cancellation nor overflow costs digits."""
    with mpmath.workdps(60):
        expected = mpmath.ncdf(mpmath.mpf(mu) / 2 - mpmath.mpf(epsilon) / mu) - mpmath.exp(epsilon) * mpmath.ncdf(
            -mpmath.mpf(mu) / 2 - mpmath.mpf(epsilon) / mu
        )

    assert gaussian_delta(mu, epsilon) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("x", [-40.0, -3.0, 0.0, 1.0, 8.0, 30.0, 35.99, 36.01, 50.0, 1e3, 1e9])
def test_tail_matches_many_digits(x: float) -> None:
    """The logarithm of the tail is right where the tail itself is no float."""
    with mpmath.workdps(60):
        half = mpmath.mpf(x) / mpmath.sqrt(2)
        expected = (
            mpmath.log(mpmath.erfc(half) / 2) if x < 1e4 else -(half**2) - mpmath.log(x * mpmath.sqrt(2 * mpmath.pi))
        )

    assert log_upper_tail(x) == pytest.approx(float(expected), rel=2e-15, abs=2e-15)


def test_without_noise_there_is_no_privacy_and_without_data_no_cost() -> None:
    """Infinite mu gives delta 1 and an infinite epsilon, mu 0 gives 0 and 0."""
    assert (gaussian_delta(math.inf, 3.0), gaussian_epsilon(math.inf, 1e-5)) == (1.0, math.inf)
    assert (gaussian_delta(0.0, 0.0), gaussian_epsilon(0.0, 1e-5)) == (0.0, 0.0)
    assert gaussian_epsilon(1e-6, 1e-5) == 0.0
    assert composed_mu([]) == 0.0


@pytest.mark.parametrize("mu", [9_999.0, 10_001.0, 1e20, 1e60])
def test_hardly_any_noise_is_counted_from_above(mu: float) -> None:
    """Where floats end, the bound is the tail of the privacy loss: mu^2/2 and some deviations."""
    epsilon = gaussian_epsilon(mu, 1e-5)

    assert 1 - 1e-15 <= epsilon / (mu**2 / 2 + 4.2 * mu) < 1.001
    assert mu > 1e6 or 0.9e-5 < gaussian_delta(mu, epsilon) <= 1e-5


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_delta_out_of_range_is_refused(delta: float) -> None:
    """Delta lies strictly between 0 and 1."""
    with pytest.raises(InputError, match=rf"delta={delta} must be above 0 and below 1"):
        gaussian_epsilon(1.0, delta)
    with pytest.raises(InputError, match=rf"delta={delta} must be above 0 and below 1"):
        gaussian_mu(1.0, delta)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan])
def test_epsilon_out_of_range_is_refused(epsilon: float) -> None:
    """A target is above 0 and finite."""
    with pytest.raises(InputError, match=rf"epsilon={epsilon} must be above 0 and finite"):
        gaussian_mu(epsilon, 1e-5)
