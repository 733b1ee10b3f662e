"""What a server tries that chooses whom it asks, what it shows them, and how often; those that succeed are here too.

Attacks on the keys and shares of `additive` are in `test_additive_attacks`, those of a server that has other
ciphertexts opened than the sum in `test_homomorphic_attacks`, and messages that clients refuse in
`test_hostile_messages`.
"""

from __future__ import annotations

import numpy as np
import pytest

from protocols import (
    PROTOCOLS,
    InvalidMessage,
    Roster,
    SessionPlan,
    Step,
    TooFewSurvivors,
    UnsafeRequest,
    VectorSpec,
    run_session,
)
from protocols.bodies import encode_advertisements, encode_bitmap, encode_confirmations
from protocols.homomorphic.totals import sum_digest
from protocols.replay import replay
from protocols.wire import ClientPen, Frame, decode, server_message
from tests.protocols.conftest import random_inputs

VOTES = (VectorSpec("votes", 130, 1),)
HIDING = pytest.mark.parametrize("protocol", ["additive", "bfv", "ckks"], indirect=True)


@pytest.fixture
def protocol(request):
    """The protocol under attack."""
    return PROTOCOLS[request.param]


def recorded(protocol, plan, keys, inputs, **options):
    """Run a session; return what the server saw."""
    entries = []
    run_session(protocol, plan, keys[: len(plan.roster)], inputs, transcript=entries.append, **options)
    return replay(protocol, plan, entries)


# --- A cohort of one: the sum is the victim's vector.


@HIDING
def test_a_cohort_of_one_is_no_plan(protocol, make_plan):
    """A roster of the victim alone, or with one companion, or a session that may shrink to two, has no role to play."""
    for clients, minimum in ((1, 1), (2, 2), (5, 2)):
        plan = make_plan(clients, VOTES, recovery_threshold=minimum, minimum_survivors=minimum)
        with pytest.raises(ValueError, match=r"(minimum_survivors|roster|recovery_threshold)=\d"):
            protocol.server(plan)


@HIDING
def test_a_cohort_of_one_cannot_be_made_by_leaving_others_out(make_parties):
    """Shown no advertisement but its own, no inbox but its own, or a list of itself alone, a client goes no further."""
    parties = make_parties(4, VOTES)
    own = parties.messages(Step.ADVERTISE, 0)[0]
    frame = Frame(parties.protocol.name, Step.SHARE, parties.plan.digest)
    with pytest.raises(InvalidMessage, match="1 advertisements are fewer than 3"):
        parties.clients[0].share(server_message(frame, encode_advertisements({0: own}, 4)))
    parties.receive(Step.ADVERTISE, own)
    parties.do(Step.ADVERTISE, 1, 2, 3)
    parties.do(Step.SHARE)
    session = decode(parties.ask(Step.SUBMIT, 0)).frame.context
    alone = server_message(Frame(parties.protocol.name, Step.SUBMIT, session), encode_bitmap([0], 4))
    with pytest.raises(InvalidMessage, match="1 clients that shared are fewer than 3"):
        parties.clients[0].submit(alone, parties.inputs[0])
    parties.do(Step.SUBMIT)
    listed = decode(parties.ask(Step.CONFIRM, 0))
    with pytest.raises(UnsafeRequest, match="1 survivors are fewer than minimum_survivors=3"):
        parties.clients[0].confirm(server_message(listed.frame, encode_bitmap([0], 4) + listed.body[1:]))


@HIDING
def test_a_cohort_of_one_among_clients_that_help(protocol, make_plan, signing_keys):
    """As many helpers as were assumed leave two others in the sum; with one more, as with sybils, the victim is open.

    That attack succeeds, under every protocol: it is the roster, pinned by its keys, that says who the others are.
    """
    plan = make_plan(5, VOTES, recovery_threshold=4, minimum_survivors=4, assumed_colluders=2)
    inputs = random_inputs(plan)
    view = recorded(protocol, plan, signing_keys, inputs, dropouts={Step.SUBMIT: frozenset({4})})
    left = view.totals_without({client: inputs[client] for client in (2, 3)})["votes"]
    victim = view.totals_without({client: inputs[client] for client in (1, 2, 3)})["votes"]

    np.testing.assert_array_equal(left, inputs[0]["votes"] + inputs[1]["votes"])
    assert (left == 1).any()  # whose vote it is, the server cannot tell
    np.testing.assert_array_equal(victim, inputs[0]["votes"])


# --- Different clients are shown different things.


@pytest.mark.parametrize("protocol", ["bfv", "ckks"], indirect=True)
def test_differing_survivor_lists_do_not_both_gather_signatures(make_parties):
    """Seven clients, one of them corrupt, five needed: however the honest are split, no list and no sum is opened.

    The corrupt client's signature is good for both lists, and 3 + 1 are too few for either.
    """
    parties = make_parties(7, VOTES, recovery_threshold=5, minimum_survivors=5, assumed_colluders=1)
    parties.walk(Step.ADVERTISE, Step.SUBMIT)
    frame = decode(parties.ask(Step.CONFIRM, 0)).frame
    corrupt, check = ClientPen(6, parties.keys[6]), parties.clients[6]._check
    for members, honest in ((range(7), (0, 1, 2)), (range(1, 7), (3, 4, 5))):
        bitmap = encode_bitmap(members, 7)
        body = bitmap + sum_digest(b"sum over %d" % len(members))
        signatures = {
            client: decode(parties.clients[client].confirm(server_message(frame, body))).signature for client in honest
        }
        signatures[6] = corrupt.write(frame, body + check).signature
        request = encode_confirmations(bitmap, signatures)
        for client in honest:
            with pytest.raises(UnsafeRequest, match="4 confirmations are fewer than recovery_threshold=5"):
                parties.clients[client].reveal(
                    server_message(Frame(frame.protocol, Step.REVEAL, frame.context), request)
                )


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS), indirect=True)
def test_per_client_manifests_have_no_session_in_common(protocol, make_parties):
    """Half of the clients are shown another model: neither half takes the other's messages, and each is too few."""
    halves = [make_parties(4, VOTES, manifest_hash=bytes([number]) * 32) for number in range(2)]
    messages = {client: halves[client // 2].messages(Step.ADVERTISE, client)[0] for client in range(4)}
    for number, half in enumerate(halves):
        for client, message in messages.items():
            if client // 2 == number:
                half.receive(Step.ADVERTISE, message)
            else:
                with pytest.raises(InvalidMessage, match="belongs to another session or plan"):
                    half.receive(Step.ADVERTISE, message)
        with pytest.raises(TooFewSurvivors, match="2 of 4 clients are left, 3 are needed"):
            half.server.roster_message(2 * number)
        # Nor does a server help that passes on what its role refuses.
        frame = Frame(protocol.name, Step.SHARE, half.plan.digest)
        with pytest.raises(InvalidMessage, match="belongs to another session or plan"):
            half.clients[2 * number].share(server_message(frame, encode_advertisements(messages, 4)))


# --- The same question twice.


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS), indirect=True)
def test_two_runs_that_differ_by_one_client_tell_its_vector(protocol, make_plan, signing_keys):
    """The difference of two exact sums is the vector of the client that was in one alone. This attack succeeds.

    Each session by itself is as it should be, so no protocol can forbid it; clients' ledgers count the second release.
    """
    seen = []
    for number, dropouts in enumerate(({}, {Step.SUBMIT: frozenset({2})})):
        plan = make_plan(5, VOTES, session_number=number, recovery_threshold=4, minimum_survivors=4)
        inputs = random_inputs(plan)
        seen.append(recorded(protocol, plan, signing_keys, inputs, dropouts=dropouts).totals["votes"])

    np.testing.assert_array_equal(seen[0] - seen[1], inputs[2]["votes"])


@HIDING
def test_a_second_run_over_fewer_clients_is_another_roster(protocol, make_plan, signing_keys):
    """Messages of a run over everybody do not serve in one that leaves the victim out: the roster is in the plan."""
    plan = make_plan(5, VOTES, recovery_threshold=4, minimum_survivors=4)
    fewer = SessionPlan(bytes(range(32)), 0, Roster.of(signing_keys[:4]), VOTES, 4, 4)
    message = protocol.client(plan, 0, signing_keys[0]).advertise()
    with pytest.raises(InvalidMessage, match="belongs to another session or plan"):
        protocol.server(fewer).receive_advertisement(message)
