"""Degrees of sparse graphs against the published tables, and each condition against a slow count."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest

from protocols.additive import degree
from protocols.additive.degree import Claim, smallest_graph, supports

SEMI_HONEST = [  # (corrupt, dropped as fractions of the clients), clients, neighbours, threshold
    ((0.05, 0.05), {100: (30, 6), 1000: (34, 18), 10_000: (38, 21), 100_000: (40, 22)}),
    ((0.10, 0.10), {100: (42, 11), 1000: (52, 28), 10_000: (60, 32), 100_000: (64, 34)}),
    ((0.20, 0.20), {100: (72, 21), 1000: (112, 58), 10_000: (134, 70), 100_000: (146, 76)}),
    ((1 / 3, 0.05), {1000: (86, 64), 10_000: (102, 75), 100_000: (112, 82)}),
    ((1 / 3, 1 / 3), {1000: (318, 163), 10_000: (492, 251), 100_000: (556, 283)}),
]
LYING = [
    ((0.05, 0.05), {1000: (60, 41), 10_000: (74, 51)}),
    ((0.10, 0.10), {1000: (114, 78), 10_000: (144, 98)}),
    ((0.20, 0.20), {1000: (340, 229), 10_000: (562, 378)}),
    ((0.05, 0.30), {1000: (362, 204), 10_000: (630, 357)}),
    ((0.33, 0.05), {1000: (150, 122), 10_000: (198, 160)}),
]
CHOOSING = [((0.05, 0.05), {1000: (80, 59), 10_000: (100, 73)})]


def rows(table):
    """Return the table as single cases."""
    return [(rates, clients, expected) for rates, cells in table for clients, expected in cells.items()]


def counts(rates, clients):
    """Return how many clients are corrupt and dropped."""
    return tuple(round(rate * clients) for rate in rates)


@pytest.mark.parametrize(("rates", "clients", "expected"), rows(SEMI_HONEST))
def test_degrees_for_a_semi_honest_server(rates, clients, expected):
    """The smallest graph for 1e2 to 1e5 clients is that of the table."""
    assert smallest_graph(clients, *counts(rates, clients), Claim.SEMI_HONEST) == expected


@pytest.mark.parametrize(("rates", "clients", "expected"), rows(LYING))
def test_degrees_for_a_lying_server(rates, clients, expected):
    """Two survivor lists cost twice the degree and more, if the server does not choose who drops out."""
    assert smallest_graph(clients, *counts(rates, clients), Claim.LYING, choosing=False) == expected


@pytest.mark.parametrize(("rates", "clients", "expected"), rows(CHOOSING))
def test_degrees_for_a_lying_server_that_chooses_who_drops_out(rates, clients, expected):
    """The claim against a lying server is made for this degree only."""
    corrupt, dropped = counts(rates, clients)
    neighbours, threshold = smallest_graph(clients, corrupt, dropped, Claim.LYING)
    weaker = smallest_graph(clients, corrupt, dropped, Claim.LYING, choosing=False)

    assert (neighbours, threshold) == expected
    assert supports(clients, neighbours, threshold, corrupt, dropped, Claim.LYING)
    assert not supports(clients, *weaker, corrupt, dropped, Claim.LYING)


def test_where_no_sparse_graph_is_enough():
    """A third corrupt and a third gone of a hundred leaves the complete graph only."""
    with pytest.raises(ValueError, match="no sparse graph over 100 clients supports a semi-honest server with 33"):
        smallest_graph(100, 33, 33, Claim.SEMI_HONEST)


def tail(population, marked, draws, least):
    """P[at least so many marked ones among the draws]."""
    ways = sum(
        comb(marked, count) * comb(population - marked, draws - count) for count in range(max(least, 0), draws + 1)
    )
    return Fraction(ways, comb(population, draws))


@pytest.mark.parametrize("clients", [60, 200])
@pytest.mark.parametrize(("corrupt", "dropped"), [(0, 0), (3, 0), (0, 5), (3, 5), (10, 10)])
def test_each_condition_is_met_and_tight(clients, corrupt, dropped):
    """`supports` is the conjunction of the conditions as they are written, for every degree and threshold."""
    rare, quit_rare = Fraction(1, 2**40 * clients), Fraction(1, 2**30 * clients)
    for neighbours in range(2, 58, 5):
        half, others = neighbours // 2, clients - 1
        counted = max(corrupt, 1)  # each client knows what it holds itself
        connected = clients * Fraction(counted + dropped, clients) ** half <= Fraction(1, 2**40)
        for threshold in range(1, neighbours + 1):
            secret = tail(others, counted, neighbours, threshold) <= rare
            alive = tail(others, dropped, neighbours, neighbours - threshold + 1) <= quit_rare
            split = tail(others, counted, neighbours, 2 * threshold - neighbours) <= rare
            cut = tail(others, counted, half, threshold - (neighbours - half)) <= rare
            semi = supports(clients, neighbours, threshold, corrupt, dropped, Claim.SEMI_HONEST)
            lying = supports(clients, neighbours, threshold, corrupt, dropped, Claim.LYING)

            assert semi == (connected and secret and alive)
            assert lying == (connected and split and cut and alive and 2 * threshold > neighbours)


def test_what_holds_for_a_liar_holds_for_the_honest():
    """The claim against a lying server includes the other one."""
    for corrupt, dropped in ((0, 0), (5, 5), (10, 2)):
        for neighbours in range(2, 98, 8):
            for threshold in range(1, neighbours + 1):
                if supports(100, neighbours, threshold, corrupt, dropped, Claim.LYING):
                    assert supports(100, neighbours, threshold, corrupt, dropped, Claim.SEMI_HONEST)


@pytest.mark.parametrize(("marked", "draws"), [(0, 5), (20, 5), (7, 5), (3, 19), (18, 20)])
def test_weights_count_every_draw(marked, draws):
    """The weights are the hypergeometric numerators, also where some counts cannot occur."""
    weights = degree._weights(20, marked, draws)

    assert weights == [comb(marked, count) * comb(20 - marked, draws - count) for count in range(draws + 1)]
    assert sum(weights) == comb(20, draws)


@pytest.mark.parametrize(("clients", "corrupt", "dropped"), [(2, 0, 0), (10, -1, 0), (10, 0, -1), (10, 5, 5)])
def test_bad_counts_are_refused(clients, corrupt, dropped):
    """Somebody must be honest and there."""
    with pytest.raises(ValueError, match="must"):
        smallest_graph(clients, corrupt, dropped, Claim.LYING)
    with pytest.raises(ValueError, match="must"):
        supports(clients, 2, 2, corrupt, dropped, Claim.SEMI_HONEST)


def test_a_share_is_never_the_secret():
    """Though nobody is said to be corrupt, a client that looks at what it holds learns nothing."""
    for claim in Claim:
        neighbours, threshold = smallest_graph(100, 0, 0, claim)

        assert threshold >= 2
        assert (neighbours, threshold) == smallest_graph(100, 1, 0, claim)
        assert not supports(100, neighbours, 1, 0, 0, claim)
        assert not supports(100, 99, 1, 0, 0, claim)
        assert supports(100, neighbours, threshold, 0, 0, claim)


@pytest.mark.parametrize("given", [30, 31, 40, 60])
def test_the_smallest_threshold_for_a_degree(given):
    """With the number of neighbours given, the threshold is the smallest that they support."""
    neighbours, threshold = smallest_graph(100, 5, 5, Claim.SEMI_HONEST, neighbours=given)

    assert neighbours == given
    assert supports(100, given, threshold, 5, 5, Claim.SEMI_HONEST)
    assert not supports(100, given, threshold - 1, 5, 5, Claim.SEMI_HONEST)


@pytest.mark.parametrize("given", [6, 12, 20, 30])
def test_the_smallest_degree_for_a_threshold(given):
    """With the threshold given, the even number of neighbours is the smallest that supports it."""
    neighbours, threshold = smallest_graph(100, 5, 5, Claim.SEMI_HONEST, recovery_threshold=given)

    assert threshold == given
    assert supports(100, neighbours, given, 5, 5, Claim.SEMI_HONEST)
    assert not any(supports(100, fewer, given, 5, 5, Claim.SEMI_HONEST) for fewer in range(2, neighbours, 2))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (
            {"neighbours": 28},
            "no sparse graph over 100 clients with neighbours=28 supports a semi-honest server with 5",
        ),
        ({"recovery_threshold": 5}, "no sparse graph over 100 clients with recovery_threshold=5 supports"),
        ({"neighbours": 30, "recovery_threshold": 5}, "with neighbours=30 and recovery_threshold=5 supports"),
        ({"neighbours": 100}, "neighbours=100 must be between 2 and 99"),
        ({"neighbours": 1}, "neighbours=1 must be between 2 and 99"),
    ],
)
def test_what_is_given_and_supports_nothing_is_refused(given, match):
    """By name."""
    with pytest.raises(ValueError, match=match):
        smallest_graph(100, 5, 5, Claim.SEMI_HONEST, **given)
