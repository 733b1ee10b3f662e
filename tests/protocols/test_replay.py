"""What a server can compute from a recorded session, and what nobody can."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from protocols import PROTOCOLS, Direction, ProtocolError, Simulation, Step, VectorSpec, run_session
from protocols.replay import Replay, Submissions, replay

VOTES = (VectorSpec("votes", 130, 1), VectorSpec("more", 9, 1))
SIGNED = (VectorSpec("centred", 130, 3, signed=True), VectorSpec("noisy", 9, 2, signed=True, headroom=40))
LONG = (VectorSpec("long", 4096, 2**40), *VOTES)  # several ciphertexts
KINDS = pytest.mark.parametrize("vectors", [VOTES, SIGNED, LONG], ids=["votes", "signed", "long"])


def random_vectors(plan, seed=0):
    """Return vectors of every client that reach both ends, past the bound where there is headroom."""
    draw = np.random.default_rng(seed)
    return {
        client: {
            spec.name: draw.integers(-spec.bound - 5 * bool(spec.headroom), spec.bound, spec.length, endpoint=True)
            if spec.signed
            else draw.integers(0, spec.bound, spec.length, endpoint=True)
            for spec in plan.vectors
        }
        for client in range(len(plan.roster))
    }


@pytest.fixture
def recorded(protocol, make_plan, signing_keys):
    """Run a session of five clients; return plan, vectors, transcript and result."""

    def run(vectors=VOTES, dropouts=None, protocol=protocol, **changes):
        plan = make_plan(5, vectors, recovery_threshold=3, minimum_survivors=3, **changes)
        inputs, entries = random_vectors(plan), []
        result = run_session(
            protocol, plan, signing_keys[:5], inputs, dropouts=dropouts or {}, transcript=entries.append
        )
        return plan, inputs, entries, result

    return run


def of_plain(recorded, **options):
    """Return a recorded session of `plain`, whatever protocol the fixture is for."""
    return recorded(protocol=PROTOCOLS["plain"], **options)


@KINDS
@pytest.mark.parametrize("dropouts", [{}, {Step.SHARE: frozenset({0}), Step.SUBMIT: frozenset({3})}])
def test_replayed_totals_are_the_sessions_totals(protocol, recorded, vectors, dropouts):
    """Values, dtypes and survivors, also where clients left."""
    plan, _, entries, result = recorded(vectors, dropouts)
    view = replay(protocol, plan, entries)

    assert view.survivors == result.survivors
    assert list(view.totals) == [spec.name for spec in vectors]
    for name, total in result.totals.items():
        np.testing.assert_array_equal(view.totals[name], total)
        assert view.totals[name].dtype == total.dtype


@KINDS
@pytest.mark.parametrize("dropouts", [{}, {Step.SHARE: frozenset({0}), Step.SUBMIT: frozenset({3})}])
def test_who_held_a_session_need_not_walk_it_again(protocol, recorded, vectors, dropouts):
    """The server's own totals and the messages make the view that a walk makes."""
    plan, _, entries, result = recorded(vectors, dropouts)
    submissions = Submissions(protocol, plan)
    for entry in entries:
        submissions.take(entry)

    walked, held = replay(protocol, plan, entries), submissions.view(result.totals, result.survivors)

    assert (held.protocol, held.plan, held.survivors) == (walked.protocol, walked.plan, walked.survivors)
    assert held._uploads == walked._uploads
    for name, total in walked.totals.items():
        np.testing.assert_array_equal(held.totals[name], total)


@KINDS
def test_single_vectors_are_seen_under_plain_alone(protocol, recorded, vectors):
    """Under plain they are the clients' vectors; others hide them, and say so."""
    plan, inputs, entries, _ = recorded(vectors)
    view = replay(protocol, plan, entries)

    assert view.shows_vectors == (protocol.name == "plain")
    for client in range(5):
        if not view.shows_vectors:
            with pytest.raises(ValueError, match=rf"client={client}: {protocol.name} hides single clients' vectors"):
                view.vectors(client)
            continue
        seen = view.vectors(client)
        assert list(seen) == [spec.name for spec in vectors]
        for name, vector in seen.items():
            np.testing.assert_array_equal(vector, inputs[client][name])


def test_what_is_hidden_is_nowhere_in_the_view(protocol, recorded):
    """Where vectors are hidden, the view does not even keep what clients uploaded."""
    plan, _, entries, _ = recorded()

    assert bool(replay(protocol, plan, entries)._uploads) == (protocol.name == "plain")


def test_vectors_span_chunks(make_plan, signing_keys):
    """Vectors that take several messages are put together again, those of a client that vanished amid them are not."""
    vectors = (VectorSpec("votes", 64 * 2**17 + 65, 1), VectorSpec("few", 3, 5))
    plan = make_plan(3, vectors, recovery_threshold=2, minimum_survivors=2)
    inputs, entries = random_vectors(plan), []
    simulation = Simulation(PROTOCOLS["plain"], plan, signing_keys[:3], transcript=entries.append)
    simulation.open()
    for client in range(3):
        simulation.submit(client, inputs[client], vanish_after=2 if client == 2 else None)
    simulation.close()
    view = replay(PROTOCOLS["plain"], plan, entries)

    assert sum(entry.step is Step.SUBMIT and entry.direction is Direction.RECEIVED for entry in entries) == 3 + 3 + 2
    assert sorted(view._uploads) == [0, 1]
    for name, vector in inputs[1].items():
        np.testing.assert_array_equal(view.vectors(1)[name], vector)


def test_a_client_that_did_not_survive_has_no_vectors(make_plan, signing_keys):
    """An unfinished submission is not a vector: plain's server drops it."""
    plan = make_plan(4)
    inputs, entries = random_vectors(plan), []
    simulation = Simulation(PROTOCOLS["plain"], plan, signing_keys[:4], transcript=entries.append)
    simulation.open()
    for client in range(4):
        simulation.submit(client, inputs[client], vanish_after=1 if client == 2 else None)
    simulation.close()
    view = replay(PROTOCOLS["plain"], plan, entries)

    assert view.survivors == (0, 1, 3)
    with pytest.raises(ValueError, match=r"client=2 must be among the survivors \(0, 1, 3\)"):
        view.vectors(2)


@KINDS
def test_clients_that_tell_their_vectors_leave_the_sum_of_the_others(protocol, recorded, vectors):
    """Totals less the colluders' own vectors, for any of them."""
    plan, inputs, entries, _ = recorded(vectors, {Step.SUBMIT: frozenset({4})})
    view = replay(protocol, plan, entries)
    for colluders in ([], [1], [0, 2], [0, 1, 3]):
        rest = view.totals_without({client: inputs[client] for client in colluders})
        for name, total in rest.items():
            expected = sum(inputs[client][name] for client in range(4) if client not in colluders)
            np.testing.assert_array_equal(total, expected)
            assert total.dtype == np.int64


def test_subtraction_is_checked(recorded, protocol):
    """A client that is not in the sum, vectors that do not fit, and an empty rest are errors."""
    plan, inputs, entries, _ = recorded(dropouts={Step.SUBMIT: frozenset({4})})
    view = replay(protocol, plan, entries)
    with pytest.raises(ValueError, match=r"client=4 must be among the survivors \(0, 1, 2, 3\)"):
        view.totals_without({4: inputs[4]})
    with pytest.raises(ValueError, match="known=4 clients must be fewer than the 4 survivors"):
        view.totals_without({client: inputs[client] for client in range(4)})
    with pytest.raises(ValueError, match=r"known\[1\] must have 9 entries of 'more'"):
        view.totals_without({1: {"votes": inputs[1]["votes"]}})
    with pytest.raises(ValueError, match=r"known\[1\] must have 130 entries of 'votes'"):
        view.totals_without({1: {name: vector[:5] for name, vector in inputs[1].items()}})


def followed(name, simulation, entries):
    """Take what was recorded so far through a fresh server."""
    again = Replay(PROTOCOLS[name], simulation.plan)
    again.follow(entry for entry in entries if entry.step <= Step.SUBMIT)
    return again


@pytest.fixture
def amid_session(make_plan, signing_keys):
    """Bring a session of five clients, of whom 3 vanishes, up to its close; return it with vectors and transcript."""

    def run(name, vectors=VOTES):
        plan = make_plan(5, vectors, recovery_threshold=3, minimum_survivors=3)
        inputs, entries = random_vectors(plan), []
        simulation = Simulation(PROTOCOLS[name], plan, signing_keys[:5], transcript=entries.append)
        simulation.open()
        for client in range(5):
            simulation.submit(client, inputs[client], vanish_after=1 if client == 3 else None)
        return simulation, inputs, entries

    return run


@KINDS
@pytest.mark.parametrize("name", ["bfv", "ckks"])
def test_one_key_holder_that_helps_opens_every_upload(amid_session, name, vectors):
    """The claim's limit: any one client's key is everybody's. Nothing of a submission that is not whole is opened."""
    simulation, inputs, entries = amid_session(name, vectors)
    opened = followed(name, simulation, entries).opened_by(simulation.role(1))

    assert sorted(opened) == [0, 1, 2, 4]
    for client, found in opened.items():
        assert list(found) == [spec.name for spec in vectors]
        for vector_name, vector in found.items():
            np.testing.assert_array_equal(vector, inputs[client][vector_name])


@pytest.mark.parametrize("name", ["bfv", "ckks"])
def test_a_key_opens_its_own_session_and_only_while_it_is_held(amid_session, make_plan, signing_keys, name):
    """After reveal a role has no key; the key of another session opens nothing."""
    simulation, _, entries = amid_session(name)
    helper = simulation.role(1)
    other, _, _ = amid_session(name)
    with pytest.raises(ValueError, match="upload must be encrypted under the helper's key"):
        followed(name, simulation, entries).opened_by(other.role(1))
    simulation.close()
    with pytest.raises(ValueError, match=rf"helper=HomomorphicClient\({name}, client 1\) must hold the session's key"):
        followed(name, simulation, entries).opened_by(helper)


@pytest.mark.parametrize("name", ["plain", "additive"])
def test_only_homomorphic_protocols_have_a_key_holder(amid_session, name):
    """Under others no client holds a key to uploads."""
    simulation, _, entries = amid_session(name)
    with pytest.raises(ValueError, match=f"protocol={name} must be bfv or ckks"):
        followed(name, simulation, entries).opened_by(simulation.role(0))


def test_a_role_is_handed_over_while_the_session_lasts(amid_session):
    """A simulation gives out its clients' roles by roster index, and none once the session is over."""
    simulation, _, _ = amid_session("plain")
    for client in (-1, 5):
        with pytest.raises(ValueError, match=rf"client={client} must be in \[0, 5\)"):
            simulation.role(client)
    simulation.close()
    with pytest.raises(ProtocolError, match="the session was closed before"):
        simulation.role(0)


def test_a_session_that_was_cut_short_has_no_view(protocol, recorded):
    """Whatever is missing at the end, there are no totals to compute."""
    plan, _, entries, _ = recorded()
    enough = max(number for number, entry in enumerate(entries) if entry.step is Step.REVEAL) - 1
    for end in range(0, enough, 3):
        with pytest.raises(ProtocolError, match=r"left|not closed|only the open step"):
            replay(protocol, plan, entries[: min(end, len(entries) - 5)])


def test_hostile_transcripts_are_refused(protocol, recorded):
    """Messages that were altered, left out, moved or given another client raise the errors of parties, no others."""
    plan, _, entries, result = recorded()
    draw = random.Random(1)
    refused = 0
    for _ in range(60):
        at, other = draw.randrange(len(entries)), draw.randrange(len(entries))
        changed, entry = list(entries), entries[at]
        flipped = bytearray(entry.message)
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        kind = draw.choice(["flip", "cut", "drop", "move", "client", "step", "direction"])
        if kind in ("drop", "move"):
            del changed[at]
        if kind == "move":
            changed.insert(other, entry)
        new = {
            "flip": {"message": bytes(flipped)},
            "cut": {"message": entry.message[:-1]},
            "client": {"client": entry.client + draw.choice([-9, 1, 9])},
            "step": {"step": Step(entry.step % 5 + 1)},
            "direction": {"direction": Direction.SENT if entry.direction is Direction.RECEIVED else Direction.RECEIVED},
        }
        if kind in new:
            changed[at] = dataclasses.replace(entry, **new[kind])
        try:
            view = replay(protocol, plan, changed)
        except (ProtocolError, ValueError):
            refused += 1
            continue
        # What went through, such as one client's list given to another, changes nothing of what the server computes.
        assert kind in ("drop", "move") or (kind == "client" and entry.direction is Direction.SENT)
        assert view.survivors == result.survivors
        for name, total in result.totals.items():
            np.testing.assert_array_equal(view.totals[name], total)

    assert refused > 30


def test_a_server_that_lied_has_no_view(recorded):
    """What the server sent must be what one that follows the protocol sends; each entry must be its message's."""
    plan, _, entries, _ = of_plain(recorded)
    plain = PROTOCOLS["plain"]
    first = next(number for number, entry in enumerate(entries) if entry.step is Step.CONFIRM)
    lie = dataclasses.replace(entries[first], message=entries[first].message[:-1] + b"\x07")
    with pytest.raises(ValueError, match="the confirm message to client 0 must be what a server that follows the prot"):
        replay(plain, plan, [*entries[:first], lie, *entries[first + 1 :]])
    with pytest.raises(ValueError, match="client=2 of an entry must be the sender of its message, 0"):
        replay(plain, plan, [dataclasses.replace(entries[0], client=2), *entries[1:]])
    with pytest.raises(ValueError, match="client=0: a message of step advertise must be received, not sent"):
        replay(plain, plan, [dataclasses.replace(entries[0], direction=Direction.SENT)])


def test_another_plan_is_refused(protocol, recorded, make_plan):
    """A transcript belongs to its plan, and a plan to protocols that accept it."""
    plan, _, entries, _ = recorded()
    with pytest.raises(ProtocolError, match="belongs to another session or plan"):
        replay(protocol, dataclasses.replace(plan, session_number=1), entries)
    other = PROTOCOLS["plain" if protocol.name != "plain" else "bfv"]
    with pytest.raises(ProtocolError, match=f"protocol {protocol.name} is not {other.name}"):
        replay(other, plan, entries)
