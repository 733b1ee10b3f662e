"""Thresholds that nobody gave, and those that make no sense."""

from __future__ import annotations

import pytest

from fedprllm_secure.errors import InputError
from fedprllm_secure.thresholds import Thresholds
from protocols import PROTOCOLS, Roster, SessionPlan, VectorSpec, generate_signing_key, supported_claim

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


def test_colluders_raise_the_fewest_survivors() -> None:
    """Two honest clients stay in every sum."""
    assert Thresholds.choose("additive", 4, recovery_threshold=4, assumed_colluders=3).minimum_survivors == 5


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
