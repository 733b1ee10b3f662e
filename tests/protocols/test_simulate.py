"""The in-process driver: who does what, and what it counts and records."""

from __future__ import annotations

import numpy as np
import pytest

from protocols import Direction, Simulation, Step, TooFewSurvivors, VectorSpec, run_session

LONG = (VectorSpec("long", 2**18 + 5, 2**40),)


@pytest.fixture
def simulate(protocol, make_plan, signing_keys):
    """Make a simulation of four clients; three are needed."""
    return lambda *args, **options: Simulation(protocol, make_plan(4, *args), signing_keys[:4], **options)


def votes(client):
    """Return the inputs of a client."""
    return {"votes": np.full(130, client % 2), "energy": np.full(9, client)}


def test_clients_submit_one_at_a_time_in_any_order(simulate):
    """`submitters` shrinks with every submission, and the totals are exact."""
    simulation = simulate()
    assert simulation.submitters() == ()
    simulation.open()
    left = []
    for client in (2, 0, 3, 1):
        simulation.submit(client, votes(client))
        left.append(simulation.submitters())
    result = simulation.close()

    assert left == [(0, 1, 3), (1, 3), (1,), ()]
    assert result.survivors == (0, 1, 2, 3)
    assert result.totals["energy"].tolist() == [6] * 9


@pytest.mark.parametrize("step", [Step.ADVERTISE, Step.SHARE, Step.SUBMIT], ids=str)
def test_a_client_that_left_cannot_submit(simulate, step):
    """Dropping out holds for the step and all later ones."""
    simulation = simulate(dropouts={step: frozenset({1}), Step.REVEAL: frozenset({1})})
    simulation.open()

    assert simulation.submitters() == (0, 2, 3)
    with pytest.raises(ValueError, match=r"client=1 must be one of those that have yet to submit, \(0, 2, 3\)"):
        simulation.submit(1, votes(1))


def test_a_client_submits_once(simulate):
    """A second submission is refused by the driver."""
    simulation = simulate()
    simulation.open()
    simulation.submit(1, votes(1))
    with pytest.raises(ValueError, match="client=1 must be one of those that have yet to submit"):
        simulation.submit(1, votes(1))


def test_bad_vectors_do_not_cost_the_session(simulate):
    """A client whose vectors were refused may submit right ones."""
    simulation = simulate()
    simulation.open()
    with pytest.raises(ValueError, match="'votes': length=3 must be 130"):
        simulation.submit(0, votes(0) | {"votes": np.zeros(3, int)})
    for client in range(4):
        simulation.submit(client, votes(client))

    assert simulation.close().survivors == (0, 1, 2, 3)


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_a_client_may_vanish_while_it_submits(simulate, sent):
    """What was sent is counted as traffic and left out of the totals."""
    simulation = simulate(LONG)
    simulation.open()
    simulation.submit(1, {"long": np.ones(2**18 + 5, int)}, vanish_after=sent)
    for client in simulation.submitters():
        simulation.submit(client, {"long": np.ones(2**18 + 5, int)})
    result = simulation.close()

    assert result.survivors == (0, 2, 3)
    assert set(result.totals["long"].tolist()) == {3}
    assert result.traffic[Step.SUBMIT].bytes_up.get(1, 0) < result.traffic[Step.SUBMIT].bytes_up[0]
    assert 1 not in result.traffic[Step.CONFIRM].bytes_up


def test_a_session_is_not_closed_over_a_missing_submission(simulate):
    """Forgetting a client is an error, not a dropout."""
    simulation = simulate()
    simulation.open()
    simulation.submit(0, votes(0))
    with pytest.raises(ValueError, match=r"clients \(1, 2, 3\) must submit before the session is closed"):
        simulation.close()


@pytest.mark.parametrize("step", [Step.ADVERTISE, Step.SHARE], ids=str)
def test_too_few_clients_end_the_session_before_any_work(simulate, step):
    """With too few clients after share, opening already fails."""
    simulation = simulate(dropouts={step: frozenset({0, 1})})
    with pytest.raises(TooFewSurvivors, match="2 of 4 clients are left, 3 are needed"):
        simulation.open()


def test_bad_arguments_are_refused(protocol, make_plan, signing_keys):
    """Keys and dropouts must fit the roster, and inputs the submitters."""
    plan = make_plan(4)
    with pytest.raises(ValueError, match="signing_keys=3 keys must be one for each of 4 clients"):
        Simulation(protocol, plan, signing_keys[:3])
    with pytest.raises(ValueError, match="dropouts=4 at share must be an index of the roster"):
        Simulation(protocol, plan, signing_keys[:4], dropouts={Step.SHARE: frozenset({4})})
    with pytest.raises(ValueError, match="inputs must have the vectors of client 3"):
        run_session(protocol, plan, signing_keys[:4], {client: votes(client) for client in range(3)})


def test_the_transcript_is_what_the_traffic_counts(protocol, make_plan, signing_keys):
    """Every byte that the server receives or sends is in the transcript, and counted at its step and client."""
    entries = []
    dropouts = {Step.SHARE: frozenset({0}), Step.SUBMIT: frozenset({1}), Step.CONFIRM: frozenset({2})}
    plan = make_plan(7, recovery_threshold=4)
    inputs = {client: votes(client) for client in range(7)}
    result = run_session(protocol, plan, signing_keys[:7], inputs, dropouts=dropouts, transcript=entries.append)

    for step in Step:
        traffic = result.traffic[step]
        for direction, counted in ((Direction.RECEIVED, traffic.bytes_up), (Direction.SENT, traffic.bytes_down)):
            recorded = {}
            for entry in entries:
                if (entry.step, entry.direction) == (step, direction):
                    recorded[entry.client] = recorded.get(entry.client, 0) + len(entry.message)
            assert recorded == counted
        assert traffic.server_bytes_in == sum(traffic.bytes_up.values())
        assert traffic.server_bytes_out == sum(traffic.bytes_down.values())
        assert set(traffic.client_seconds) == set(traffic.bytes_up)
        assert traffic.server_seconds > 0
    up = {step: sorted(result.traffic[step].bytes_up) for step in Step}
    down = {step: sorted(result.traffic[step].bytes_down) for step in Step}
    assert list(up.values()) == [[*range(7)], [*range(1, 7)], [*range(2, 7)], [*range(3, 7)], [*range(3, 7)]]
    assert list(down.values()) == [[], [*range(7)], [*range(1, 7)], [*range(2, 7)], [*range(3, 7)]]


def test_a_transcript_replays_the_session(protocol, make_plan, signing_keys):
    """The recorded messages, given to another server, make the same totals: nothing passes beside them."""
    plan = make_plan(4)
    entries = []
    inputs = {client: votes(client) for client in range(4)}
    result = run_session(protocol, plan, signing_keys[:4], inputs, transcript=entries.append)
    server = protocol.server(plan)
    receive = {
        Step.ADVERTISE: server.receive_advertisement,
        Step.SHARE: server.receive_share,
        Step.SUBMIT: server.receive_submission,
        Step.CONFIRM: server.receive_confirmation,
        Step.REVEAL: server.receive_reveal,
    }
    make = {
        Step.SHARE: server.roster_message,
        Step.SUBMIT: server.inbox,
        Step.CONFIRM: server.survivor_list,
        Step.REVEAL: server.reveal_request,
    }
    for entry in entries:
        if entry.direction is Direction.RECEIVED:
            receive[entry.step](entry.message)
        else:
            assert make[entry.step](entry.client) == entry.message
    totals = server.totals()

    assert {name: total.tolist() for name, total in totals.items()} == {
        name: total.tolist() for name, total in result.totals.items()
    }
