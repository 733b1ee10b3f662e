"""A release says what accounting needs, checks itself, and survives being written and read by strangers."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprllm_secure.privacy import MECHANISMS, READERS, SERVER_ALONE, Release, Sensitivity, renyi
from fedprllm_secure.privacy.gaussian_bound import discrete_gaussian_mu, skellam_mu
from tests.fedprllm_secure.privacy.releases import chosen, exact, noisy

EXAMPLES = {
    "skellam": noisy(
        l1=30, l2_squared=100, variance=Fraction(7, 3), shares=5, dimension=40, statistical_distance=1e-30
    ),
    "discrete-gaussian": noisy("discrete-gaussian", l1=30, l2_squared=100, variance=Fraction(700), dimension=9),
    "gumbel-top-k": chosen(picks=12, epsilon_each=Fraction(1, 20), statistical_distance=1e-35),
    "exact": exact(),
}


def test_every_mechanism_has_an_example() -> None:
    """The tests below see all."""
    assert set(EXAMPLES) == set(MECHANISMS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_release_is_read_as_it_was_written(name: str) -> None:
    """Through JSON and back, fractions exactly."""
    release = EXAMPLES[name]

    assert Release.of_record(json.loads(json.dumps(release.to_record()))) == release


def test_a_record_is_plain() -> None:
    """The fields of a record, as a ledger stores them."""
    assert EXAMPLES["skellam"].to_record() == {
        "mechanism": "skellam",
        "adjacency": "client-zero-out",
        "adversary": SERVER_ALONE,
        "dimension": 40,
        "sensitivity": {"l1": 30, "l2_squared": 100},
        "variance": "7/3",
        "shares": 5,
        "statistical_distance": 1e-30,
    }


@settings(deadline=None)
@given(
    st.integers(1, 2**60),
    st.fractions(Fraction(1, 2**60), Fraction(2**60), max_denominator=2**60),
    st.integers(1, 10**5),
    st.floats(0, 0.99),
)
def test_every_release_of_noise_is_read_as_it_was_written(
    l1: int, variance: Fraction, shares: int, distance: float
) -> None:
    """Large integers, small fractions and floats to the last digit."""
    release = noisy(l1=l1, l2_squared=l1, variance=variance, shares=shares, statistical_distance=distance)

    assert Release.of_record(json.loads(json.dumps(release.to_record()))) == release


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mechanism": "laplace"}, "mechanism=laplace must be one of skellam, discrete-gaussian"),
        ({"mechanism": ["skellam"]}, "mechanism must be a text"),
        ({"adjacency": "client"}, "adjacency=client must be one of"),
        ({"adjacency": None}, "adjacency must be a text"),
        ({"adversary": ""}, "adversary= must be 1 to 200 characters"),
        ({"adversary": "x" * 201}, "adversary=x+ must be 1 to 200 characters"),
        ({"adversary": 3}, "adversary=3 must be 1 to 200 characters"),
        ({"dimension": 0}, "dimension must be an integer"),
        ({"dimension": True}, "dimension must be an integer"),
        ({"dimension": 40.0}, "dimension must be an integer"),
        ({"dimension": 2**128}, "dimension must be an integer from 1"),
        ({"shares": 0}, "shares must be an integer"),
        ({"shares": "5"}, "shares must be an integer"),
        ({"sensitivity": [30, 100]}, "sensitivity must be an object"),
        ({"sensitivity": {"l1": 30}}, "l2_squared must be an integer"),
        ({"sensitivity": {"l1": -30, "l2_squared": 100}}, "l1 must be an integer"),
        ({"sensitivity": {"l1": 30, "l2_squared": 100, "l3": 1}}, "sensitivity has a field 'l3', which is none of l1"),
        ({"sensitivity": {"l1": 30, "l2_squared": 29}}, "l2_squared=29 must be between l1=30 and its square"),
        ({"sensitivity": {"l1": 30, "l2_squared": 901}}, "l2_squared=901 must be between l1=30 and its square"),
        ({"sensitivity": {"l1": 70, "l2_squared": 100}}, "must be of at most dimension=40 entries"),
        ({"variance": 2.5}, 'variance must be a text such as "3/2"'),
        ({"variance": "7"}, 'variance must be a text such as "3/2"'),
        ({"variance": "-7/3"}, 'variance must be a text such as "3/2"'),
        ({"variance": "7/3/2"}, 'variance must be a text such as "3/2"'),
        ({"variance": "7/٣"}, 'variance must be a text such as "3/2"'),
        ({"variance": "7/0"}, "variance must have a denominator above 0"),
        ({"variance": "0/3"}, "variance must be a fraction above 0"),
        ({"variance": "9" * 5000 + "/1"}, 'variance must be a text such as "3/2"'),
        ({"variance": f"1/{2**128}"}, "variance must be a fraction above 0, of integers below"),
        ({"statistical_distance": 1.0}, r"statistical_distance must be a number in \[0, 1\)"),
        ({"statistical_distance": -1e-9}, r"statistical_distance must be a number in \[0, 1\)"),
        ({"statistical_distance": math.nan}, r"statistical_distance must be a number in \[0, 1\)"),
        ({"statistical_distance": True}, r"statistical_distance must be a number in \[0, 1\)"),
        ({"picks": 3}, "picks has no meaning for mechanism=skellam"),
        ({"epsilon_each": "1/2"}, "epsilon_each has no meaning for mechanism=skellam"),
        ({"epsilon": 1}, "release has a field 'epsilon', which is none of adjacency"),
    ],
    ids=str,
)
def test_hostile_records_are_refused(change: dict[str, Any], message: str) -> None:
    """Whatever is wrong, the message names the field."""
    record = EXAMPLES["skellam"].to_record() | change

    with pytest.raises(ValueError, match=message):
        Release.of_record(record)


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name, release in EXAMPLES.items() for field in release.to_record() if field != "shares"],
)
def test_records_with_a_field_missing_are_refused(name: str, field: str) -> None:
    """Every field is necessary; only the number of shares is 1 unless said."""
    record = EXAMPLES[name].to_record()
    del record[field]

    with pytest.raises(ValueError, match=field):
        Release.of_record(record)


@pytest.mark.parametrize("record", [None, [], "skellam", 3])
def test_what_is_no_object_is_refused(record: Any) -> None:
    """A record is an object of fields."""
    with pytest.raises(ValueError, match="release must be an object"):
        Release.of_record(record)


def test_a_release_is_checked_when_it_is_made() -> None:
    """Not only when it is read."""
    with pytest.raises(ValueError, match="sensitivity must be a Sensitivity"):
        replace(EXAMPLES["skellam"], sensitivity=None)
    with pytest.raises(ValueError, match="variance must be a fraction above 0"):
        replace(EXAMPLES["skellam"], variance=7)
    with pytest.raises(ValueError, match="sensitivity has no meaning for mechanism=exact"):
        replace(exact(), sensitivity=Sensitivity(1, 1))


def test_a_release_cannot_be_changed() -> None:
    """What was charged is what was released."""
    with pytest.raises(FrozenInstanceError):
        EXAMPLES["skellam"].variance = Fraction(10**9)  # type: ignore[misc]


def test_choices_are_made_where_the_totals_are_known() -> None:
    """Gumbel top-k is central, and chooses no more units than there are."""
    assert chosen(picks=2000, epsilon_each=Fraction(1)).adversary == READERS
    with pytest.raises(ValueError, match=r"picks=2001 must be at most dimension=2000"):
        chosen(picks=2001, epsilon_each=Fraction(1))
    with pytest.raises(ValueError, match=rf"adversary={SERVER_ALONE} must be 'readers of the output"):
        chosen(picks=1, epsilon_each=Fraction(1), adversary=SERVER_ALONE)
    with pytest.raises(ValueError, match=r"and shares 1"):
        chosen(picks=1, epsilon_each=Fraction(1), shares=2)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_curve_is_the_bound_at_every_order(name: str) -> None:
    """One order or all at once."""
    release = EXAMPLES[name]
    integers = [index for index, order in enumerate(renyi.ORDERS) if order == int(order)]

    assert len(integers) > 300
    assert [release.rdp(int(renyi.ORDERS[index])) for index in integers] == pytest.approx(release.curve()[integers])


def test_bounds_are_those_of_the_mechanism() -> None:
    """Of noise the least of two proofs, of choices and exact releases the only one."""
    little = noisy(variance=Fraction(4))
    coarse = noisy(variance=Fraction(1))

    assert little.rdp(2) == pytest.approx(min(0.25 + 9 / 64, skellam_mu(l2_squared=1, variance=4) ** 2))
    assert coarse.rdp(3) == pytest.approx(1.5 + 3 / 2)
    assert EXAMPLES["discrete-gaussian"].rdp(4) == pytest.approx(4 * 100 / 1400)
    assert EXAMPLES["gumbel-top-k"].rdp(8) == pytest.approx(12 / 400)
    assert EXAMPLES["gumbel-top-k"].rdp(10**6) == pytest.approx(12 / 20)
    assert exact().rdp(2) == math.inf


def test_only_noise_is_gaussian_like() -> None:
    """The mu of a release is proven or infinite."""
    assert EXAMPLES["discrete-gaussian"].gaussian_mu == discrete_gaussian_mu(l2_squared=100, variance=700)
    assert noisy(l1=3, l2_squared=3, variance=Fraction(50)).gaussian_mu == skellam_mu(l2_squared=3, variance=50)
    assert EXAMPLES["gumbel-top-k"].gaussian_mu == exact().gaussian_mu == math.inf


def test_a_sum_of_shares_costs_more_than_one_draw() -> None:
    """Shares of a grid unit each are no discrete Gaussian together; Skellam shares are a Skellam number."""
    for mechanism, same in (("skellam", True), ("discrete-gaussian", False)):
        one = noisy(mechanism, l1=9, l2_squared=9, variance=Fraction(8))
        eight = replace(one, shares=8)
        assert (eight.gaussian_mu == one.gaussian_mu) == same
        assert np.array_equal(eight.curve(), one.curve()) == same
        assert (eight.curve() >= one.curve()).all()


def test_the_distance_counts_every_draw() -> None:
    """Entries times shares, or picks."""
    assert EXAMPLES["skellam"].distance == pytest.approx(40 * 5 * 1e-30, abs=0)
    assert EXAMPLES["gumbel-top-k"].distance == pytest.approx(12 * 1e-35, abs=0)
    assert exact().distance == 0


@pytest.mark.parametrize("order", [1, 0, -2, 2.5, True, 2**128])
def test_orders_are_integers_from_two(order: Any) -> None:
    """As the theorems have them."""
    with pytest.raises(ValueError, match=rf"order={order} must be an integer from 2 to 2\*\*128 - 1"):
        noisy().rdp(order)
