"""Thresholds that nobody gave, and those that make no sense."""

from __future__ import annotations

import re
from typing import Literal

import pytest

from fedprllm_secure.errors import InputError
from fedprllm_secure.thresholds import Thresholds
from protocols import (
    PROTOCOLS,
    Claim,
    Roster,
    SessionPlan,
    VectorSpec,
    generate_signing_key,
    smallest_graph,
    supported_claim,
)

KEYS = [generate_signing_key() for _ in range(200)]


def plan_of(thresholds: Thresholds, num_clients: int) -> SessionPlan:
    """Make a plan of one vector under thresholds."""
    return SessionPlan(
        manifest_hash=bytes(32),
        session_number=0,
        roster=Roster.of(KEYS[:num_clients]),
        vectors=(VectorSpec("votes", 10, 1),),
        recovery_threshold=thresholds.recovery_threshold,
        minimum_survivors=thresholds.minimum_survivors,
        assumed_colluders=thresholds.assumed_colluders,
        neighbours=thresholds.neighbours,
        beacon=thresholds.beacon,
    )


@pytest.mark.parametrize("num_clients", range(3, 41))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_takes_its_defaults(protocol: str, num_clients: int) -> None:
    """Three clients and more need no flag."""
    PROTOCOLS[protocol].check(plan_of(Thresholds.choose(protocol, num_clients), num_clients))


@pytest.mark.parametrize(("num_clients", "expected"), [(3, 3), (4, 3), (8, 6), (16, 11), (64, 43)])
def test_two_thirds_and_one_open_the_totals(num_clients: int, expected: int) -> None:
    """floor(2n/3) + 1, and as many must be in the sum."""
    chosen = Thresholds.choose("additive", num_clients)

    assert (chosen.recovery_threshold, chosen.minimum_survivors) == (expected, expected)


def test_plain_opens_whatever_came() -> None:
    """It protects nothing that a threshold could."""
    assert Thresholds.choose("plain", 8) == Thresholds(recovery_threshold=1, minimum_survivors=1)


def test_what_is_given_is_taken() -> None:
    """Every number reaches the session."""
    chosen = Thresholds.choose("bfv", 9, recovery_threshold=7, minimum_survivors=8, assumed_colluders=2)

    assert chosen.public() == {
        "recovery_threshold": 7,
        "minimum_survivors": 8,
        "assumed_colluders": 2,
        "neighbours": 0,
    }


@pytest.mark.parametrize("protocol", ["additive", "bfv", "ckks"])
@pytest.mark.parametrize(("colluders", "expected"), [(None, 4), (1, 4), (2, 4), (3, 5), (4, 6)])
def test_colluders_raise_the_fewest_survivors(protocol: str, colluders: int | None, expected: int) -> None:
    """Two honest clients stay in every sum."""
    chosen = Thresholds.choose(protocol, 6, recovery_threshold=4, assumed_colluders=colluders)

    assert chosen.minimum_survivors == expected


@pytest.mark.parametrize("protocol", ["additive", "bfv", "ckks"])
def test_two_clients_stay_beside_the_one_that_reads_the_sum(protocol: str) -> None:
    """A recovery threshold of 2 does not make 2 the fewest in a sum, and the protocol takes what is chosen."""
    chosen = Thresholds.choose(protocol, 3, recovery_threshold=2)

    assert (chosen.recovery_threshold, chosen.minimum_survivors) == (2, 3)
    PROTOCOLS[protocol].check(plan_of(chosen, 3))


@pytest.mark.parametrize("protocol", ["additive", "bfv", "ckks"])
@pytest.mark.parametrize("num_clients", [1, 2])
def test_fewer_than_three_clients_are_refused(protocol: str, num_clients: int) -> None:
    """By the number of clients, not by a threshold that nobody gave."""
    match = f"--protocol {protocol} takes at least 3 clients, not --clients {num_clients}: of two, each learns"
    with pytest.raises(InputError, match=match):
        Thresholds.choose(protocol, num_clients)


@pytest.mark.parametrize("num_clients", [1, 2])
def test_plain_takes_any_number_of_clients(num_clients: int) -> None:
    """One, too."""
    PROTOCOLS["plain"].check(plan_of(Thresholds.choose("plain", num_clients), num_clients))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"recovery_threshold": 7}, "--recovery-threshold 7 must be at most 6 with --clients 6"),
        ({"minimum_survivors": 7}, "--minimum-survivors 7 must be at most 6 with --clients 6"),
        ({"assumed_colluders": 6}, "--assumed-colluders 6 must be at most 5 with --clients 6"),
        ({"neighbours": 6}, "--neighbours 6 must be at most 5 with --clients 6"),
    ],
)
@pytest.mark.parametrize("graph", ["complete", "sparse"])
def test_more_than_there_are_is_refused(
    graph: Literal["complete", "sparse"], given: dict[str, int], match: str
) -> None:
    """Each number against the clients that there are, before anything is worked out from it."""
    with pytest.raises(InputError, match=match):
        Thresholds.choose("additive", 6, graph=graph, **given)


@pytest.mark.parametrize(("clients", "colluders"), [(3, 2), (4, 3), (6, 5), (7, 6)])
@pytest.mark.parametrize("protocol", ["additive", "ckks"])
def test_too_many_colluders_are_refused_with_what_would_do(protocol: str, clients: int, colluders: int) -> None:
    """Either way out is one that the protocol takes, with everything else left to its default."""
    with pytest.raises(InputError) as refused:
        Thresholds.choose(protocol, clients, assumed_colluders=colluders)
    said = re.fullmatch(
        rf"--assumed-colluders {colluders} of --clients {clients} leave fewer than 2 others to hide each other in a "
        r"sum; --assumed-colluders (\d+) or --clients (\d+) would do",
        str(refused.value),
    )

    assert said is not None
    fewer, more = int(said[1]), int(said[2])
    for size, helpers in ((clients, fewer), (more, colluders)):
        PROTOCOLS[protocol].check(plan_of(Thresholds.choose(protocol, size, assumed_colluders=helpers), size))


def test_plain_hides_nobody_from_colluders() -> None:
    """So it takes any number of them."""
    assert Thresholds.choose("plain", 3, assumed_colluders=2).assumed_colluders == 2


def test_complaints_are_in_flags() -> None:
    """Fields that a flag sets are named by it, those that nobody gave as defaults; others stay as they are."""
    chosen = Thresholds.choose("additive", 3, minimum_survivors=2, assumed_colluders=0)
    reason = (
        "recovery_threshold=3 must be between 1 and minimum_survivors=2 with assumed_colluders=0, bound=4, neighbours=0"
    )

    assert chosen.in_flags(reason) == (
        "--recovery-threshold 3 (the default) must be between 1 and --minimum-survivors 2 with --assumed-colluders 0, "
        "bound=4, --neighbours 0 (the default)"
    )


def test_a_sparse_graph_is_sized_for_a_twentieth_corrupt_and_lost() -> None:
    """The graph supports its claim, is smaller than the complete one, and is drawn from a fresh beacon."""
    first, second = (Thresholds.choose("additive", 200, graph="sparse") for _ in range(2))
    plan = plan_of(first, 200)

    assert first.public() == second.public()
    assert first.assumed_colluders == 10
    assert first.minimum_survivors == 190
    assert 0 < first.neighbours < 60
    assert len(first.beacon) == 32
    assert first.beacon != second.beacon
    assert supported_claim(plan, 10, 10) is not None
    PROTOCOLS["additive"].check(plan)


@pytest.mark.parametrize("num_clients", [101, 105, 119])
def test_a_twentieth_is_rounded_up(num_clients: int) -> None:
    """More colluders and more dropouts, never fewer, where a twentieth is no whole number."""
    chosen = Thresholds.choose("additive", num_clients, graph="sparse")

    assert chosen.assumed_colluders == 6
    assert chosen.minimum_survivors == num_clients - 6


def test_a_sparse_graph_is_for_a_server_that_follows_the_protocol() -> None:
    """Smallest for that claim, and no more: the claim says so."""
    chosen = Thresholds.choose("additive", 200, graph="sparse")

    assert (chosen.neighbours, chosen.recovery_threshold) == smallest_graph(200, 10, 10, Claim.SEMI_HONEST)
    assert supported_claim(plan_of(chosen, 200), 10, 10) is Claim.SEMI_HONEST
    assert PROTOCOLS["additive"].claim(plan_of(chosen, 200)).startswith("a server that follows the protocol and 10 ")


@pytest.mark.parametrize(
    "given",
    [
        {"neighbours": 40},
        {"recovery_threshold": 12},
        {"neighbours": 40, "recovery_threshold": 20},
        {"assumed_colluders": 3},
        {"minimum_survivors": 199},
        {"assumed_colluders": 3, "minimum_survivors": 199, "neighbours": 40},
        {"assumed_colluders": 0, "minimum_survivors": 200},
    ],
)
def test_what_is_given_for_a_sparse_graph_is_taken(given: dict[str, int]) -> None:
    """Whatever is given stays, and the rest is chosen for it: the smallest that the protocol takes."""
    chosen = Thresholds.choose("additive", 200, graph="sparse", **given)
    plan = plan_of(chosen, 200)

    assert chosen.public() | given == chosen.public()
    PROTOCOLS["additive"].check(plan)
    if not {"neighbours", "recovery_threshold"} <= set(given):
        assert (chosen.neighbours, chosen.recovery_threshold) == smallest_graph(
            200,
            chosen.assumed_colluders,
            200 - chosen.minimum_survivors,
            Claim.SEMI_HONEST,
            neighbours=given.get("neighbours"),
            recovery_threshold=given.get("recovery_threshold"),
        )


def test_both_numbers_of_a_graph_are_not_second_guessed() -> None:
    """If they support nothing, the protocol says so when it is asked, of a graph that `choose` has not replaced."""
    chosen = Thresholds.choose("additive", 200, graph="sparse", neighbours=6, recovery_threshold=3)

    assert (chosen.neighbours, chosen.recovery_threshold) == (6, 3)
    with pytest.raises(ValueError, match="neighbours=6, recovery_threshold=3 must fit 200 clients"):
        PROTOCOLS["additive"].check(plan_of(chosen, 200))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"neighbours": 6}, "with 200 clients: no sparse graph over 200 clients with --neighbours 6 supports a semi-"),
        ({"recovery_threshold": 2}, "no sparse graph over 200 clients with --recovery-threshold 2 supports a semi-"),
    ],
)
def test_a_graph_that_supports_nothing_is_refused(given: dict[str, int], match: str) -> None:
    """In flags."""
    with pytest.raises(InputError, match=match):
        Thresholds.choose("additive", 200, graph="sparse", **given)


@pytest.mark.parametrize("protocol", ["plain", "bfv", "ckks"])
def test_only_additive_has_a_sparse_graph(protocol: str) -> None:
    """The others have no masks between clients."""
    with pytest.raises(InputError, match=f"--graph sparse goes with --protocol additive, not {protocol}"):
        Thresholds.choose(protocol, 200, graph="sparse")


def test_neighbours_without_a_sparse_graph_are_refused() -> None:
    """Rather than ignored."""
    with pytest.raises(InputError, match="--neighbours goes with --graph sparse"):
        Thresholds.choose("additive", 8, neighbours=4)


def test_too_few_clients_for_a_sparse_graph_are_refused() -> None:
    """Eight clients take the complete graph."""
    with pytest.raises(InputError, match=r"--graph sparse with 8 clients: .* use the complete graph"):
        Thresholds.choose("additive", 8, graph="sparse")
