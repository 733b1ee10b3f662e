"""Lanes hold the noise: bounds on its tail are above the exact tail, and not far."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprllm_secure.privacy import headroom_for, wrap_probability
from tests.fedprllm_secure.privacy.exact_laws import discrete_gaussian, skellam, summed

LAWS = {
    "skellam 0.5": ("skellam", 0.5, skellam(0.5, 200)),
    "skellam 6": ("skellam", 6.0, skellam(6.0, 200)),
    "skellam 200": ("skellam", 200.0, skellam(200.0, 400)),
    "discrete-gaussian 0.5": ("discrete-gaussian", 0.5, discrete_gaussian(0.5, 200)),
    "discrete-gaussian 200": ("discrete-gaussian", 200.0, discrete_gaussian(200.0, 400)),
    "sum of 4": ("discrete-gaussian", 8.0, summed(discrete_gaussian(2.0, 60), 4)),
}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("deviations", [0, 1, 3, 6, 9])
def test_the_bound_is_above_the_exact_tail(name: str, deviations: int) -> None:
    """P(|X| > headroom), and no more than the polynomial factor above it that Chernoff's bound loses."""
    mechanism, variance, law = LAWS[name]
    headroom = int(deviations * variance**0.5)
    exact = float(2 * law[len(law) // 2 + headroom + 1 :].sum())
    bound = wrap_probability(headroom, variance=variance, dimension=1, mechanism=mechanism)

    assert exact <= bound
    assert bound <= min(1, exact * (4 + 6 * (deviations + 1)))


@pytest.mark.parametrize("mechanism", ["skellam", "discrete-gaussian"])
def test_probabilities_add_up_over_entries(mechanism: str) -> None:
    """A thousand entries wrap a thousand times as often, at most."""
    one, thousand = (
        wrap_probability(70, variance=Fraction(100), dimension=dimension, mechanism=mechanism)
        for dimension in (1, 1000)
    )

    assert thousand == pytest.approx(1000 * one)
    assert wrap_probability(1, variance=Fraction(100), dimension=1000, mechanism=mechanism) == 1.0


@settings(deadline=None)
@given(
    st.sampled_from(["skellam", "discrete-gaussian"]),
    st.floats(1e-3, 1e12),
    st.integers(1, 10**10),
    st.floats(1e-30, 0.5),
)
def test_headroom_is_the_smallest_that_is_enough(
    mechanism: str, variance: float, dimension: int, probability: float
) -> None:
    """With one unit less the bound is above the probability."""
    given = {"variance": variance, "dimension": dimension, "mechanism": mechanism}
    headroom = headroom_for(probability, **given)

    assert wrap_probability(headroom, **given) <= probability * (1 + 1e-9)
    assert headroom == 0 or wrap_probability(headroom - 1, **given) > probability * (1 - 1e-9)


def test_headroom_of_a_large_model() -> None:
    """Some ten standard deviations keep 6.5e9 entries within their lanes but for 2**-40."""
    sigma = 55_953
    headroom = headroom_for(2.0**-40, variance=Fraction(sigma**2), dimension=6_476_005_376, mechanism="skellam")

    assert 9 * sigma < headroom < 11 * sigma


def test_certainty_is_never_claimed() -> None:
    """Below the smallest float the bound stays above 0."""
    assert 0 < wrap_probability(10**6, variance=1.0, dimension=1, mechanism="discrete-gaussian") < 1e-300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"headroom": -1}, "headroom=-1 must be at least 0"),
        ({"variance": 0.0}, "variance=0.0 must be above 0 and finite"),
        ({"variance": float("inf")}, "variance=inf must be above 0 and finite"),
        ({"dimension": 0}, "dimension=0 must be at least 1"),
        ({"mechanism": "gumbel-top-k"}, "mechanism=gumbel-top-k must be one of skellam, discrete-gaussian"),
    ],
)
def test_arguments_out_of_range_are_refused(change: dict, message: str) -> None:
    """The message names the argument."""
    arguments = {"headroom": 3, "variance": 4.0, "dimension": 5, "mechanism": "skellam"} | change
    with pytest.raises(ValueError, match=message):
        wrap_probability(arguments.pop("headroom"), **arguments)


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.1])
def test_probabilities_out_of_range_are_refused(probability: float) -> None:
    """Certainty cannot be had."""
    with pytest.raises(ValueError, match=rf"probability={probability} must be above 0 and below 1"):
        headroom_for(probability, variance=4.0, dimension=5, mechanism="skellam")
