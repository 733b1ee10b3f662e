"""What is particular to `plain`: no threshold rule, no content but the words, and words checked on arrival."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols import PROTOCOLS, InvalidMessage, Layout, Step, VectorSpec, run_session
from protocols.bodies import encode_advertisements
from protocols.wire import ClientPen, Frame, decode, server_message

PLAIN = PROTOCOLS["plain"]


@pytest.fixture
def protocol():
    """Only `plain`."""
    return PLAIN


@pytest.mark.parametrize("num_clients", [1, 2, 3])
def test_few_clients_are_enough(make_plan, signing_keys, num_clients):
    """With nothing to protect, one client makes a session, and one survivor a sum."""
    plan = make_plan(num_clients, recovery_threshold=1, minimum_survivors=1)
    inputs = {c: {"votes": np.ones(130, bool), "energy": np.arange(9)} for c in range(num_clients)}
    dropouts = {Step.SUBMIT: frozenset(range(1, num_clients))}
    alone = run_session(PLAIN, plan, signing_keys[:num_clients], inputs, dropouts=dropouts)
    everyone = run_session(PLAIN, plan, signing_keys[:num_clients], inputs)

    assert alone.survivors == (0,)
    assert everyone.totals["votes"].tolist() == [num_clients] * 130


def test_a_vote_takes_a_bit(make_plan, signing_keys):
    """The upload is one bit a vote and less than 500 bytes of frames for a vector of one chunk."""
    plan = make_plan(3, (VectorSpec("votes", 64_000, 1),))
    result = run_session(PLAIN, plan, signing_keys[:3], {c: {"votes": np.ones(64_000, bool)} for c in range(3)})

    assert 8_000 < result.traffic[Step.SUBMIT].bytes_up[0] < 8_500


def test_the_layout_is_for_one_summand(make_plan):
    """The server unpacks before it adds, so a vote needs no room for others."""
    plan = make_plan(4)

    assert [PLAIN.layout(plan, vector) for vector in plan.vectors] == [Layout(2, 64), Layout(1001, 6)]


def submission(parties, client, words):
    """Return a chunk of these words for the first vector, signed by its client."""
    message = parties.messages(Step.SUBMIT, client)[0]
    body = np.array(words, "<u8").tobytes()
    pen = ClientPen(client, parties.keys[client])
    return pen.write(decode(message).frame, body).encode()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ([1001**6, 0], r"vector 'energy': words must be below 1001\*\*6"),
        ([0, 1001**3], "vector 'energy': the lanes past the last entry must be zero"),
        ([0], "a chunk of 8 bytes must have 16"),
        ([0, 0, 0], "a chunk of 24 bytes must have 16"),
        ([], "a chunk of 0 bytes must have 16"),
    ],
)
def test_words_out_of_the_bound_are_refused(make_parties, words, match):
    """A client of the roster cannot move a total by more than its bound, nor reach past the vector."""
    parties = make_parties(4, (VectorSpec("energy", 9, 1000),))
    parties.walk(Step.ADVERTISE, Step.SHARE)
    with pytest.raises(InvalidMessage, match=f"client 3: {match}"):
        parties.receive(Step.SUBMIT, submission(parties, 3, words))
    for step in (Step.SUBMIT, Step.CONFIRM, Step.REVEAL):
        parties.do(step, 0, 1, 2)

    parties.check_totals(0, 1, 2)


def test_messages_without_content_have_none(parties):
    """An advertisement or a reveal request with content is not one of this protocol."""
    advertisements = {client: parties.clients[client].advertise() for client in range(4)}
    frame = decode(advertisements[1]).frame
    loaded = ClientPen(1, parties.keys[1]).write(frame, b"key").encode()
    body = encode_advertisements(advertisements | {1: loaded}, 4)
    with pytest.raises(InvalidMessage, match="client 1: the message has content"):
        parties.clients[0].share(server_message(Frame("plain", Step.SHARE, parties.plan.digest), body))
    for message in advertisements.values():
        parties.receive(Step.ADVERTISE, message)
    parties.walk(Step.SHARE, Step.CONFIRM)
    request = decode(parties.ask(Step.REVEAL, 0))
    with pytest.raises(InvalidMessage, match="the reveal request has content"):
        parties.clients[0].reveal(server_message(request.frame, request.body + b"\0"))


def test_the_first_and_last_chunk_of_a_long_vector_are_checked(make_parties):
    """Padding is checked at the end of the vector, not at the end of each chunk."""
    parties = make_parties(3, (VectorSpec("energy", 2**17 * 3 + 1, 2**21 - 1),))
    assert PLAIN.layout(parties.plan, parties.plan.vectors[0]).lanes == 3
    parties.walk(Step.ADVERTISE, Step.SHARE)
    messages = [decode(message) for message in parties.messages(Step.SUBMIT, 0)]
    pen = ClientPen(0, parties.keys[0])
    top = np.full(2**17, 2**63, "<u8").tobytes()
    with pytest.raises(InvalidMessage, match=r"words must be below 2097152\*\*3"):
        parties.receive(Step.SUBMIT, pen.write(messages[0].frame, top, part=0).encode())
    parties.receive(Step.SUBMIT, messages[0].encode())
    tail = np.array([2**21], "<u8").tobytes()
    with pytest.raises(InvalidMessage, match="the lanes past the last entry must be zero"):
        parties.receive(Step.SUBMIT, pen.write(messages[1].frame, tail, part=1).encode())
    for message in messages[1:]:
        parties.receive(Step.SUBMIT, replace(message).encode())
    parties.do(Step.SUBMIT, 1, 2)
    parties.walk(Step.CONFIRM, Step.REVEAL)

    parties.check_totals()
