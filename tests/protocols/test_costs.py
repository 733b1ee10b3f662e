"""`protocols.costs`: bytes by formula are those that a session of real roles sends, client by client."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import (
    PROTOCOLS,
    Claim,
    Roster,
    SessionPlan,
    Simulation,
    Step,
    VectorSpec,
    generate_signing_key,
    open_together,
    smallest_graph,
)
from protocols.costs import COSTS, Presence, expected_traffic, expected_traffic_together
from protocols.costs.homomorphic import OPENERS
from protocols.costs.messages import submission
from protocols.submission import CHUNK_BYTES

VOTES = (VectorSpec("heads", 61, 1), VectorSpec("neurons", 4097, 1))
STATISTICS = (VectorSpec("energies", 33, 2**20),)
NOISY = (VectorSpec("residuals", 25, 100, signed=True, headroom=5000),)
KEYS = [generate_signing_key() for _ in range(40)]


def plan_of(protocol, vectors, *, clients, number=0, sparse=False):
    """A plan with the smallest safe thresholds."""
    threshold = 1 if protocol == "plain" else 2 * clients // 3 + 1
    survivors, neighbours = (1 if protocol == "plain" else max(threshold, 3)), 0
    if sparse:
        survivors = clients - 2
        neighbours, threshold = smallest_graph(clients, 1, 2, Claim.SEMI_HONEST)
    return SessionPlan(
        manifest_hash=bytes(32),
        session_number=number,
        roster=Roster.of(KEYS[:clients]),
        vectors=vectors,
        recovery_threshold=threshold,
        minimum_survivors=survivors,
        neighbours=neighbours,
        beacon=bytes(range(32)) if neighbours else b"",
    )


def sent(protocol, plans, leaving):
    """Run the sessions, opened together, and return the bytes of every client by step."""
    sessions = [
        Simulation(PROTOCOLS[protocol], plan, KEYS[: len(plan.roster)], dropouts=gone)
        for plan, gone in zip(plans, leaving, strict=True)
    ]
    open_together(sessions)
    for session in sessions:
        for client in session.submitters():
            session.submit(client, {spec.name: np.zeros(spec.length, np.int64) for spec in session.plan.vectors})
    return [bytes_of(session.close().traffic) for session in sessions]


def bytes_of(traffic):
    """Take the seconds off."""
    return {step: (each.bytes_up, each.bytes_down) for step, each in traffic.items()}


def computed(protocol, plans, leaving):
    """The same by formula."""
    return [bytes_of(each) for each in expected_traffic_together(protocol, plans, leaving=leaving)]


def test_every_protocol_has_its_cost():
    """A protocol without a formula could not be planned for."""
    assert set(COSTS) == set(PROTOCOLS)


@pytest.mark.parametrize("vectors", [VOTES, STATISTICS, NOISY], ids=["votes", "statistics", "noisy"])
@pytest.mark.parametrize("clients", [3, 8, 11])
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_bytes_are_those_of_a_session(protocol, clients, vectors):
    """Every client's bytes in every step, for rosters that fill a bitmap's byte and that do not."""
    plans = [plan_of(protocol, vectors, clients=clients)]

    assert computed(protocol, plans, [{}]) == sent(protocol, plans, [{}])
    assert bytes_of(expected_traffic(protocol, plans[0])) == computed(protocol, plans, [{}])[0]


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_bytes_of_sessions_opened_together(protocol):
    """Bundles are counted where the simulation counts them, also where the first session lacks a client."""
    plans = [plan_of(protocol, VOTES, clients=8, number=number) for number in range(3)]
    leaving = [{Step.SHARE: frozenset({1})}, {}, {Step.ADVERTISE: frozenset({5})}]

    assert computed(protocol, plans, leaving) == sent(protocol, plans, leaving)


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_bytes_when_clients_leave(protocol, step):
    """Whoever leaves at a step, the first two among them, who would open a homomorphic sum."""
    plans, leaving = [plan_of(protocol, VOTES, clients=8)], [{step: frozenset({0, 1})}]

    assert computed(protocol, plans, leaving) == sent(protocol, plans, leaving)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), protocol=st.sampled_from(["plain", "additive"]), clients=st.integers(3, 12))
def test_any_session_costs_what_is_computed(data, protocol, clients):
    """Any vectors, and any two clients of twelve that leave anywhere."""
    specs = data.draw(st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 2**30)), min_size=1, max_size=3))
    vectors = tuple(VectorSpec(f"v{n}", length, bound) for n, (length, bound) in enumerate(specs))
    plan = plan_of(protocol, vectors, clients=clients)
    most = min(2, clients - max(plan.minimum_survivors, plan.recovery_threshold))
    gone = data.draw(st.dictionaries(st.integers(0, clients - 1), st.sampled_from(list(Step)), max_size=most))
    leaving = [{step: frozenset(c for c, s in gone.items() if s is step) for step in Step}]

    assert computed(protocol, [plan], leaving) == sent(protocol, [plan], leaving)


@pytest.mark.parametrize("leaving", [{}, {Step.SHARE: frozenset({3}), Step.CONFIRM: frozenset({17})}])
def test_bytes_on_a_sparse_graph(leaving):
    """Neighbours, paths and shares are those of the graph that the plan draws."""
    plans = [plan_of("additive", VOTES, clients=40, sparse=True)]

    assert plans[0].neighbours > 0
    assert computed("additive", plans, [leaving]) == sent("additive", plans, [leaving])


def test_all_draws_of_a_sparse_graph_cost_the_server_the_same():
    """Only single clients' paths differ from draw to draw."""
    first, second = (plan_of("additive", VOTES, clients=40, number=number, sparse=True) for number in (0, 1))
    costs = [expected_traffic("additive", plan) for plan in (first, second)]

    for step in Step:
        assert costs[0][step].server_bytes_in == costs[1][step].server_bytes_in
        assert costs[0][step].server_bytes_out == costs[1][step].server_bytes_out
    assert costs[0][Step.SHARE].bytes_down != costs[1][Step.SHARE].bytes_down


@pytest.mark.parametrize(("content", "chunks"), [(1, 1), (CHUNK_BYTES, 1), (CHUNK_BYTES + 1, 2), (3 * CHUNK_BYTES, 3)])
def test_a_submission_is_cut_into_chunks(content, chunks):
    """Each chunk has a header and a signature, and so has the closing message over 32 bytes."""
    assert submission(content) == content + chunks * (62 + 64) + 62 + 32 + 64


def test_long_vectors_take_several_chunks():
    """A session whose vectors are longer than a chunk, end to end."""
    plans = [plan_of("plain", (VectorSpec("v", 64 * CHUNK_BYTES // 8 - 64, 1), VectorSpec("w", 700, 1)), clients=3)]

    assert computed("plain", plans, [{}]) == sent("plain", plans, [{}])


def test_as_many_open_the_sum_as_the_server_asks():
    """The formula knows the server's number without importing its encryption library."""
    from protocols.homomorphic import server

    assert server.OPENERS == OPENERS


def test_who_leaves_must_be_of_the_roster():
    """A stranger cannot leave."""
    with pytest.raises(ValueError, match=r"leaving=9 must be an index of the roster"):
        expected_traffic("plain", plan_of("plain", VOTES, clients=3), leaving={Step.SHARE: frozenset({9})})


def test_a_session_that_is_short_of_clients_says_where():
    """The minimum of survivors counts up to submit, the recovery threshold after."""
    plan = replace(plan_of("additive", VOTES, clients=8), minimum_survivors=7)  # and 6 to the end
    one, two, three = frozenset({0}), frozenset({0, 4}), frozenset({0, 4, 7})

    assert Presence.of(plan, {}).short_at(plan) is None
    assert Presence.of(plan, {Step.SUBMIT: one, Step.CONFIRM: two}).short_at(plan) is None
    assert Presence.of(plan, {Step.SHARE: two}).short_at(plan) is Step.SHARE
    assert Presence.of(plan, {Step.SHARE: one, Step.REVEAL: three}).short_at(plan) is Step.REVEAL
