"""`additive` with as many clients as it is meant for: exact totals in bounded time and memory."""

from __future__ import annotations

import numpy as np
import pytest

from protocols import PROTOCOLS, Roster, SessionPlan, Simulation, Step, VectorSpec, generate_signing_key
from protocols.additive.degree import Claim, smallest_graph

ADDITIVE = PROTOCOLS["additive"]


def check_session(num_clients, length, lost, **fields):
    """Run a session with clients lost at submit and check every total; return its result."""
    keys = [generate_signing_key() for _ in range(num_clients)]
    vectors = (VectorSpec("votes", length, 1),)
    plan = SessionPlan(bytes(32), 0, Roster.of(keys), vectors, **fields)
    generator = np.random.default_rng(num_clients)
    leavers = frozenset(generator.choice(num_clients, lost, replace=False).tolist())
    simulation = Simulation(ADDITIVE, plan, keys, dropouts={Step.SUBMIT: leavers})
    simulation.open()
    expected = np.zeros(length, np.int64)
    for client in simulation.submitters():
        votes = generator.integers(0, 2, length, dtype=np.uint8)
        simulation.submit(client, {"votes": votes})
        expected += votes
    result = simulation.close()

    assert result.survivors == tuple(client for client in range(num_clients) if client not in leavers)
    np.testing.assert_array_equal(result.totals["votes"], expected)
    return result


def sparse_fields(num_clients, rate):
    """Return the plan fields of the smallest graph for a server that follows the protocol."""
    few = int(num_clients * rate)
    neighbours, threshold = smallest_graph(num_clients, few, few, Claim.SEMI_HONEST)
    return {
        "recovery_threshold": threshold,
        "minimum_survivors": num_clients - few,
        "assumed_colluders": few,
        "neighbours": neighbours,
        "beacon": bytes(range(32)),
    }


def test_a_sparse_session_of_a_hundred_clients():
    """With 5 of 100 clients lost the totals are exact, at 30 neighbours each."""
    check_session(100, 1000, 5, **sparse_fields(100, 0.05))


@pytest.mark.slow
def test_a_thousand_clients_with_a_third_lost():
    """A complete graph of 1,000 clients and a million votes, 300 of them lost at submit."""
    check_session(1000, 1_000_000, 300, recovery_threshold=667, minimum_survivors=700)


@pytest.mark.slow
def test_ten_thousand_clients_on_a_sparse_graph():
    """10,000 clients and 10,000 votes at 38 neighbours each, 500 of them lost at submit."""
    check_session(10_000, 10_000, 500, **sparse_fields(10_000, 0.05))


@pytest.mark.slow
def test_ten_thousand_clients_against_a_lying_server():
    """10,000 clients and 10,000 votes at 100 neighbours each, 500 of them lost at submit.

    The totals are exact and the server does all of its work; clients' cost is the per-client cost of 20 real clients
    times n, the others being stand-ins.
    """
    from experiments.bench.scale import EXTRAPOLATED, measure  # pulls in torch, which no other test here needs

    cost = measure(10_000, Claim.LYING)  # raises if a total is wrong
    everyone = f"{cost.clients * cost.client_bytes / 1e9:.2f} GB, {cost.clients * cost.seconds:.0f} s"
    print(f"all clients: {everyone} ({EXTRAPOLATED}); server: {cost.server_seconds:.0f} s")

    assert (cost.real, cost.neighbours, cost.threshold) == (20, 100, 73)
    assert EXTRAPOLATED == "per-client cost of 20 real clients times n"
    assert cost.client_bytes < 150_000  # with a complete graph the sealed shares alone would be 1.6 million
    assert cost.clients * cost.seconds < 7200
