"""A budget bounds what was released, also where each release was chosen after looking at the results before."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy import ADJACENCIES, Release, epsilon_of, sized
from fedprllm_secure.privacy.budget import Budget, BudgetRefused, Yardstick, counted_as, why_not_covered
from fedprllm_secure.privacy.renyi import ORDERS
from tests.fedprllm_secure.privacy.releases import chosen, exact, noisy

DELTA = 1e-5
BUDGET = Budget(3.0, DELTA, "client-zero-out")


def renyi_epsilon(divergence: float, order: float) -> float:
    """Turn one order's divergence into an epsilon at delta 1e-5, as the literature writes it."""
    return divergence + math.log((order - 1) / order) - (math.log(DELTA) + math.log(order)) / (order - 1)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ((0.0, DELTA, "client-replace"), "epsilon=0.0 must be above 0 and finite"),
        ((math.inf, DELTA, "client-replace"), "epsilon=inf must be above 0 and finite"),
        ((math.nan, DELTA, "client-replace"), "epsilon=nan must be above 0 and finite"),
        ((30.1, DELTA, "client-replace"), "epsilon=30.1 must be at most 30: a larger one is hardly a promise"),
        ((1.0, 0.0, "client-replace"), "delta=0.0 must be above 0 and below 1"),
        ((1.0, 1.0, "client-replace"), "delta=1.0 must be above 0 and below 1"),
        ((1.0, DELTA, "client"), "adjacency=client must be one of"),
    ],
    ids=str,
)
def test_a_budget_checks_itself(values: tuple, complaint: str) -> None:
    """Nothing that is no budget can be made one."""
    with pytest.raises(InputError, match=complaint):
        Budget(*values)


def test_a_budget_is_told_in_one_line_and_read_back() -> None:
    """Its three values, none left out."""
    assert str(BUDGET) == "epsilon 3 at delta 1e-05 about client-zero-out"
    assert Budget.of_record(BUDGET.to_record()) == BUDGET
    assert issubclass(BudgetRefused, InputError)


@pytest.mark.parametrize(("made", "asked"), list(product(ADJACENCIES, ADJACENCIES)))
def test_only_proven_adjacencies_are_covered(made: str, asked: str) -> None:
    """An adjacency covers itself, and client-replace one window of that client; all else counts as infinite."""
    release = noisy(adjacency=made)
    counted = counted_as(release, asked)

    assert counted.adjacency == asked
    if made == asked or (made, asked) == ("client-replace", "window-replace"):
        assert counted == replace(release, adjacency=asked)
        assert why_not_covered(release, asked) == ""
    else:
        assert math.isinf(epsilon_of([counted], DELTA))
        assert why_not_covered(release, asked) == f"a claim about {made} says nothing about {asked}"


def test_clipped_clients_do_not_cover_their_windows() -> None:
    """Why zero-out of a client is not counted for a window: taking one away may move a clipped vector twice as far."""
    windows = np.array([[3.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])

    def contribution(rows: np.ndarray) -> np.ndarray:
        total = rows.sum(axis=0)
        return total / max(1.0, float(np.linalg.norm(total)))  # clipped to norm 1

    moved_to_zero = float(np.linalg.norm(contribution(windows)))
    moved_by_a_window = float(np.linalg.norm(contribution(windows) - contribution(windows[1:])))

    assert moved_to_zero <= 1
    assert moved_by_a_window == 2


@pytest.mark.parametrize(
    ("made", "asked", "covered"),
    [
        ("window-replace", "window-replace", False),
        ("window-zero-out", "window-zero-out", False),
        ("client-replace", "window-replace", True),
        ("client-replace", "client-replace", True),
    ],
)
def test_a_window_that_is_there_twice_is_not_one_row(made: str, asked: str, covered: bool) -> None:
    """A claim about one row says nothing about two equal ones; a claim about all of a client does."""
    counted = counted_as(noisy(adjacency=made), asked, repeated=True)

    assert math.isfinite(epsilon_of([counted], DELTA)) == covered
    assert ("more than once" in why_not_covered(noisy(adjacency=made), asked, repeated=True)) != covered


def test_an_exact_release_is_beyond_every_budget() -> None:
    """Alone and with others, whatever it is measured in."""
    yardstick = Yardstick.best(BUDGET, exact())

    assert math.isinf(yardstick.share(BUDGET, [exact()]))
    assert math.isinf(Yardstick.best(BUDGET, noisy()).share(BUDGET, [noisy(), exact()]))
    assert why_not_covered(exact(), "client-zero-out") == "an exact release has no epsilon"


def test_nothing_takes_nothing() -> None:
    """No release, no share."""
    assert Yardstick(None).share(BUDGET, []) == 0
    assert Yardstick(0).share(BUDGET, []) == 0


@pytest.mark.parametrize("count", [1, 2, 9, 40])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("mechanism", ["skellam", "discrete-gaussian"])
def test_as_many_like_releases_fit_as_were_planned(mechanism: str, epsilon: float, count: int) -> None:
    """Noise sized for so many releases lets exactly so many through: adaptivity costs like releases nothing."""
    budget = Budget(epsilon, DELTA, "client-zero-out")
    releases = sized([noisy(mechanism, l1=500, l2_squared=2500)] * count, epsilon=epsilon, delta=DELTA)
    yardstick = Yardstick.best(budget, releases[0])

    assert yardstick.share(budget, releases) == pytest.approx(1, abs=1e-4)
    assert yardstick.share(budget, releases) <= 1
    assert yardstick.share(budget, [*releases, releases[0]]) > 1


@pytest.mark.parametrize("count", [1, 3, 10])
@pytest.mark.parametrize("epsilon_each", [Fraction(1, 20), Fraction(1, 2), Fraction(1)], ids=str)
def test_as_many_choices_fit_as_are_claimed(epsilon_each: Fraction, count: int) -> None:
    """The same for choices, which have Renyi curves only."""
    release = chosen(picks=4, epsilon_each=epsilon_each)
    budget = Budget(epsilon_of([release] * count, DELTA) * (1 + 1e-9), DELTA, "client-zero-out")
    yardstick = Yardstick.best(budget, release)

    assert yardstick.place is not None
    assert 1 - 1e-6 < yardstick.share(budget, [release] * count) <= 1
    assert yardstick.share(budget, [release] * (count + 1)) > 1


def test_a_renyi_share_is_the_divergence_over_what_one_order_allows() -> None:
    """Full use of the share at the yardstick's order is the budget's epsilon, by the textbook conversion."""
    release = chosen(picks=50, epsilon_each=Fraction(1, 10))
    yardstick = Yardstick.best(BUDGET, release)
    order = float(ORDERS[yardstick.place])
    divergence = order * 50 * 0.1**2 / 8
    share = yardstick.share(BUDGET, [release])

    assert renyi_epsilon(divergence / share, order) == pytest.approx(3.0, rel=1e-9)
    assert share == pytest.approx(
        min(
            (a * 50 * 0.1**2 / 8) / limit
            for a in ORDERS
            if (limit := 3.0 - renyi_epsilon(0.0, float(a))) > 0 and a * 0.1 / 8 < 1
        ),
        rel=1e-9,
    )


def test_the_order_is_not_chosen_again() -> None:
    """A sequence that fits by an order picked at the end is refused: which order fits may depend on the results."""
    first, second = chosen(picks=1, epsilon_each=Fraction(2)), chosen(picks=40, epsilon_each=Fraction(1, 20))
    yardstick = Yardstick.best(BUDGET, first)

    assert epsilon_of([first, second], DELTA) < 3
    assert yardstick.share(BUDGET, [first]) < 1
    assert yardstick.share(BUDGET, [first, second]) > 1


def test_noise_first_is_measured_as_a_gaussian_and_choices_have_none() -> None:
    """The squares of mu add up; a release without a mu does not fit beside them."""
    releases = [noisy(l1=100, l2_squared=100, variance=Fraction(400 * scale)) for scale in (1, 4, 9)]
    yardstick = Yardstick.best(BUDGET, releases[0])
    shares = [yardstick.share(BUDGET, [release]) for release in releases]

    assert yardstick == Yardstick(None)
    assert [shares[0] / share for share in shares] == pytest.approx([1, 4, 9], rel=1e-2)
    assert yardstick.share(BUDGET, releases) == pytest.approx(sum(shares))
    assert math.isinf(yardstick.share(BUDGET, [releases[2], chosen(picks=1, epsilon_each=Fraction(1, 100))]))


def test_the_samplers_distance_uses_up_delta() -> None:
    """Distances add up; when (1 + exp(epsilon)) times their sum reaches delta, nothing fits any more."""
    whole = DELTA / (1 + math.exp(3.0))
    clean = noisy(l1=100, l2_squared=100, variance=Fraction(40_000))
    off = replace(clean, statistical_distance=whole / 100 / 4)  # 100 draws a release
    yardstick = Yardstick.best(BUDGET, off)

    assert yardstick.share(BUDGET, [clean] * 3) < yardstick.share(BUDGET, [off] * 3) < 1
    assert math.isinf(yardstick.share(BUDGET, [off] * 5))
    assert math.isinf(Yardstick.best(BUDGET, replace(clean, statistical_distance=whole / 50)).share(BUDGET, [off] * 5))


SOME = st.one_of(
    st.builds(
        lambda mechanism, multiplier: noisy(mechanism, l1=300, l2_squared=900, variance=Fraction(multiplier * 900)),
        st.sampled_from(["skellam", "discrete-gaussian"]),
        st.integers(1, 400),
    ),
    st.builds(
        lambda picks, parts: chosen(picks=picks, epsilon_each=Fraction(parts, 50)),
        st.integers(1, 50),
        st.integers(1, 50),
    ),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(SOME, min_size=1, max_size=6), st.floats(0.2, 12))
def test_what_fits_never_claims_more_than_the_budget(releases: list[Release], epsilon: float) -> None:
    """Whatever the kinds and their order, releases that are let through have a joint claim within the budget."""
    budget = Budget(epsilon, DELTA, "client-zero-out")
    yardstick = Yardstick.best(budget, releases[0])

    if yardstick.share(budget, releases) <= 1:
        assert epsilon_of(releases, DELTA) <= epsilon * (1 + 1e-8)
    assert yardstick.share(budget, releases[:-1]) <= yardstick.share(budget, releases)
