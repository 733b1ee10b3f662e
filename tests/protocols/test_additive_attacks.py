"""The attacks that the rules of `additive` stand against, spelled out, and what each of them gets."""

from __future__ import annotations

import numpy as np
import pytest

from protocols import (
    PROTOCOLS,
    InvalidMessage,
    RepeatedStep,
    Step,
    UnsafeRequest,
    UnusableTotals,
    pack,
)
from protocols.additive import client as client_module
from protocols.additive.bodies import Advertisement
from protocols.additive.mask_stream import add_streams
from protocols.additive.recovery import Recovery
from protocols.additive.shamir import join
from protocols.bodies import encode_advertisements, encode_bitmap, encode_confirmations
from protocols.derivation import KeyTable
from protocols.wire import ClientPen, Frame, decode, server_message

ADDITIVE = PROTOCOLS["additive"]


@pytest.fixture
def protocol():
    """Only `additive`."""
    return ADDITIVE


def rewritten(parties, message, body):
    """Return a message of a corrupt client: another body under its own signature."""
    parsed = decode(message)
    return ClientPen(parsed.sender, parties.keys[parsed.sender]).write(parsed.frame, body, part=parsed.part).encode()


def advertisements(parties):
    """Return what everybody advertised, as the server has it."""
    return parties.server._advertisements


def open_alone(parties, submission, victim, seed_shares, key_shares, context):
    """Do what a server with both kinds of shares of one client does: take all masks off its submission alone."""
    recovery = Recovery(KeyTable(parties.plan.digest, context), advertisements(parties), 3, set())
    frame = Frame("additive", Step.REVEAL, context)
    seed = join(seed_shares).to_bytes(33, "little")[:32]
    pairs = recovery.pairs(victim, key_shares, [c for c in parties.everyone if c != victim], frame)
    words, spec = np.frombuffer(submission.body, "<u8")[:5].astype(np.uint64), parties.plan.vectors[0]
    if pairs is None:
        return None
    plus, minus = pairs.keys(recovery.table, spec.name, 0)
    add_streams(words, minus, [recovery.table.self_mask(seed, victim, spec.name, 0), *plus])
    return words


def expected_words(parties, client):
    """Return the packed votes of a client."""
    spec = parties.plan.vectors[0]
    return pack(parties.inputs[client][spec.name], ADDITIVE.layout(parties.plan, spec))


def walked(make_parties, session_number):
    """Run a session up to submit; return it, client 0's first message, and all shares of client 0's secrets."""
    parties = make_parties(4, session_number=session_number)
    parties.walk(Step.ADVERTISE, Step.SHARE)
    submission = None
    for client in parties.everyone:
        messages = parties.messages(Step.SUBMIT, client)
        submission = submission or decode(messages[0])
        for message in messages:
            parties.receive(Step.SUBMIT, message)
    held = {client + 1: parties.clients[client]._held[0] for client in parties.everyone}
    seeds = {x: shares.seed for x, shares in held.items()}
    keys = {x: shares.masking_key for x, shares in held.items()}
    return parties, submission, seeds, keys


def test_both_kinds_of_share_would_open_a_client(make_parties):
    """The control for the tests below: with shares of both kinds of one session, a vector is open."""
    parties, submission, seeds, keys = walked(make_parties, 0)
    opened = open_alone(parties, submission, 0, seeds, keys, submission.frame.context)

    np.testing.assert_array_equal(opened, expected_words(parties, 0))


def test_surviving_one_session_and_leaving_the_next_opens_nothing(make_parties):
    """Keys are fresh: the seed of one session and the masking key of another open neither submission."""
    first, first_submission, first_seeds, _ = walked(make_parties, 0)
    second, second_submission, _, second_keys = walked(make_parties, 1)
    context = first_submission.frame.context

    assert open_alone(first, first_submission, 0, first_seeds, second_keys, context) is None
    # Even against the advertisements of the session that the key belongs to:
    crossed = open_alone(second, first_submission, 0, first_seeds, second_keys, context)
    assert not np.array_equal(crossed, expected_words(first, 0))
    crossed = open_alone(second, second_submission, 0, first_seeds, second_keys, second_submission.frame.context)
    assert not np.array_equal(crossed, expected_words(second, 0))
    one, other = advertisements(first)[0], advertisements(second)[0]
    assert not {one.sealing_key, one.masking_key, one.commitment} & {
        other.sealing_key,
        other.masking_key,
        other.commitment,
    }


def test_equal_vectors_in_two_sessions_share_no_stream(make_parties, monkeypatch):
    """The same votes twice: no key is used in both sessions, and no word of the submissions repeats."""
    keys = []
    real = client_module.add_streams

    def recording(words, added, subtracted, *, start):
        keys[-1].append((*added, *subtracted))
        real(words, added, subtracted, start=start)

    monkeypatch.setattr(client_module, "add_streams", recording)
    bodies = []
    for number in range(2):
        keys.append([])
        _, submission, _, _ = walked(make_parties, number)
        bodies.append(np.frombuffer(submission.body, "<u8"))
    used = [[key for call in session for key in call] for session in keys]
    per_session = 2 * (4 + 4 * 3)  # two vectors; four self masks, and six pair masks at both ends

    assert [len(session) for session in used] == [per_session] * 2
    assert [len(set(session)) for session in used] == [2 * (4 + 6)] * 2
    assert not set(used[0]) & set(used[1])
    assert all(len(set(call)) == len(call) for session in keys for call in session)
    assert not (bodies[0] == bodies[1]).any()


def test_a_client_never_submits_twice(parties):
    """Two submissions from the same secrets would differ by the difference of the vectors; there is no second one."""
    parties.walk(Step.ADVERTISE, Step.SHARE)
    client, inbox = parties.clients[0], parties.ask(Step.SUBMIT, 0)
    started = client.submit(inbox, parties.inputs[0])
    other = {name: 1 - np.minimum(vector, 1) for name, vector in parties.inputs[0].items()}
    for _ in range(2):
        with pytest.raises(RepeatedStep, match="this step was done before"):
            client.submit(inbox, other)
        next(started, None)

    assert client._shared is None


def list_for(parties, survivors):
    """Return a survivor list of the server's making."""
    frame = parties.server._attendance.frame(Step.CONFIRM)
    return server_message(frame, encode_bitmap(survivors, len(parties.plan.roster)))


def test_two_survivor_lists_cannot_both_be_opened(make_parties):
    """Seven clients, one of them corrupt, t = 5: whichever way the honest ones are split, one side is too small."""
    parties = make_parties(7, recovery_threshold=5, minimum_survivors=5, assumed_colluders=1)
    parties.walk(Step.ADVERTISE, Step.SUBMIT)
    lists = {"all": range(7), "without 0": range(1, 7)}
    shown = {0: "all", 1: "all", 2: "all", 3: "without 0", 4: "without 0", 5: "without 0"}
    signatures = {name: {} for name in lists}
    for client, name in shown.items():
        message = decode(parties.clients[client].confirm(list_for(parties, lists[name])))
        signatures[name][client] = message.signature
    corrupt = ClientPen(6, parties.keys[6])
    for name, members in lists.items():
        bitmap = encode_bitmap(members, 7)
        frame = parties.server._attendance.frame(Step.CONFIRM)
        signatures[name][6] = corrupt.write(frame, bitmap).signature
        request = encode_confirmations(bitmap, signatures[name])
        for client in range(6):
            with pytest.raises(UnsafeRequest, match=r"4 confirmations are fewer|another survivor list"):
                parties.clients[client].reveal(server_message(Frame("additive", Step.REVEAL, frame.context), request))


def test_a_client_reveals_one_kind_of_share_a_peer_and_once(make_parties):
    """Seeds of survivors, keys of the lost, nothing of those that never shared, and no second answer."""
    parties = make_parties(6, recovery_threshold=4, minimum_survivors=4)
    parties.do(Step.ADVERTISE)
    parties.do(Step.SHARE, 0, 1, 2, 3, 4)
    parties.do(Step.SUBMIT, 0, 1, 2, 3)
    held = dict(parties.clients[0]._held)
    parties.do(Step.CONFIRM, 0, 1, 2, 3)
    request = parties.ask(Step.REVEAL, 0)
    body = decode(parties.clients[0].reveal(request)).body
    shares = [int.from_bytes(body[at : at + 33], "little") for at in range(0, len(body), 33)]

    assert sorted(held) == [0, 1, 2, 3, 4]
    assert shares == [held[0].seed, held[1].seed, held[2].seed, held[3].seed, held[4].masking_key]
    with pytest.raises(RepeatedStep, match="this step was done before"):
        parties.clients[0].reveal(request)


def test_more_than_one_share_a_peer_is_refused(parties):
    """The server takes exactly one share of each peer; both kinds do not even fit."""
    parties.walk(Step.ADVERTISE, Step.CONFIRM)
    (message,) = parties.messages(Step.REVEAL, 0)
    body = decode(message).body
    for wrong in (body[:33], body[:-1], b""):
        with pytest.raises(InvalidMessage, match=r"client 0: a body of .* bytes must have 132: one share a peer"):
            parties.receive(Step.REVEAL, rewritten(parties, message, wrong))
    with pytest.raises(InvalidMessage, match="client 0: a body of 264 bytes must have at most 132"):
        parties.receive(Step.REVEAL, rewritten(parties, message, body + body))
    with pytest.raises(InvalidMessage, match="client 0: a share must be 33 bytes that hold a field element"):
        parties.receive(Step.REVEAL, rewritten(parties, message, b"\xff" * 132))
    parties.receive(Step.REVEAL, message)
    parties.do(Step.REVEAL, 1, 2, 3)

    parties.check_totals()


def test_a_sealed_share_that_was_altered_is_refused(parties):
    """The server cannot hand a client other shares than its peers sealed: the inbox is refused, the true one taken."""
    parties.walk(Step.ADVERTISE, Step.SHARE)
    request = decode(parties.ask(Step.SUBMIT, 0))
    bodies = [
        (request.body[:1] + request.body[83:] + request.body[1:83], "does not open"),
        (request.body[:5] + bytes([request.body[5] ^ 1]) + request.body[6:], "client 1: what the client sealed does"),
        (request.body[:-1], "245 sealed bytes must be 246"),
        (request.body + bytes(82), "328 sealed bytes must be 246"),
        (b"\x07" + request.body[1:], "246 sealed bytes must be 164"),
        (b"\x03" + request.body[1:83], "2 clients that shared are fewer than 3"),
    ]
    for body, match in bodies:
        with pytest.raises(InvalidMessage, match=match):
            parties.answer(Step.SUBMIT, 0, server_message(request.frame, body))
    parties.walk(Step.SUBMIT, Step.REVEAL)

    parties.check_totals()


def test_an_inbox_from_a_client_that_did_not_advertise_is_refused(parties):
    """The server cannot bring in a client whose key nobody saw."""
    parties.do(Step.ADVERTISE, 0, 1, 2)
    parties.do(Step.SHARE, 0, 1, 2)
    request = decode(parties.ask(Step.SUBMIT, 0))
    with pytest.raises(InvalidMessage, match="client 3: the inbox names a client that did not advertise"):
        parties.answer(Step.SUBMIT, 0, server_message(request.frame, b"\x0f" + request.body[1:] + bytes(82)))


def test_a_roster_with_a_key_of_small_order_is_refused_by_clients(parties, monkeypatch):
    """A corrupt client and the server together cannot bring in a masking key that gives known masks."""
    own = [parties.messages(Step.ADVERTISE, client)[0] for client in parties.everyone]
    body = decode(own[1]).body
    frame = Frame("additive", Step.SHARE, parties.plan.digest)
    for bad in (bytes(32) + body[32:], body[:32] + bytes(32) + body[64:]):
        shown = {client: message for client, message in enumerate(own)} | {1: rewritten(parties, own[1], bad)}
        with pytest.raises(InvalidMessage, match="client 1: an advertised key is of small order"):
            parties.clients[0].share(server_message(frame, encode_advertisements(shown, 4)))
    for bad in (body[:-1], body + b"\0"):
        shown = {client: message for client, message in enumerate(own)} | {1: rewritten(parties, own[1], bad)}
        with pytest.raises(InvalidMessage, match="client 1: an advertisement of"):
            parties.clients[0].share(server_message(frame, encode_advertisements(shown, 4)))
    for message in own:
        parties.receive(Step.ADVERTISE, message)
    parties.walk(Step.SHARE, Step.REVEAL)

    parties.check_totals()


def test_another_manifest_at_one_client_gives_no_session(make_parties):
    """A client that was shown another manifest advertises for another plan: it is refused."""
    parties, other = make_parties(4), make_parties(4, manifest_hash=bytes(32))
    (message,) = other.messages(Step.ADVERTISE, 3)
    with pytest.raises(InvalidMessage, match="belongs to another session or plan"):
        parties.receive(Step.ADVERTISE, message)
    for step in Step:
        parties.do(step, 0, 1, 2)

    parties.check_totals(0, 1, 2)


def test_another_manifest_in_the_keys_opens_nothing_and_sums_to_noise(parties, monkeypatch):
    """Were the messages to fit, the keys would not: what such a client seals does not open, its masks do not cancel."""
    parties.walk(Step.ADVERTISE, Step.SHARE)
    odd = parties.clients[3]
    odd_table = KeyTable(bytes(32), odd._session)
    sealed = type(odd._shared.sealer)(odd._shared.sealer._private_key, odd_table, 3)
    inbox = decode(parties.ask(Step.SUBMIT, 3))
    with pytest.raises(InvalidMessage, match="client 0: what the client sealed does not open"):
        sealed.open(0, odd._sealing_keys[0], inbox.body[1:83], inbox.frame)
    messages = odd.submit(inbox.encode(), parties.inputs[3])
    monkeypatch.setattr(odd, "_table", lambda session: odd_table)
    for message in messages:
        parties.receive(Step.SUBMIT, message)
    parties.do(Step.SUBMIT, 0, 1, 2)
    parties.walk(Step.CONFIRM, Step.REVEAL)
    with pytest.raises(UnusableTotals, match=r"reveal: (the words of 'votes' are no sum|a total of 'votes' is above)"):
        parties.server.totals()


def test_the_servers_view_of_a_submission_is_uniform(parties):
    """All-zero vectors leave as words that repeat nowhere: without the masks there is nothing to see."""
    parties.inputs = {client: {"votes": np.zeros(130, int), "energy": np.zeros(9, int)} for client in range(4)}
    parties.walk(Step.ADVERTISE, Step.SHARE)
    seen = []
    for client in parties.everyone:
        messages = parties.messages(Step.SUBMIT, client)
        seen.append(np.frombuffer(decode(messages[0]).body, "<u8"))
        for message in messages:
            parties.receive(Step.SUBMIT, message)
    assert len(np.unique(np.concatenate(seen))) == sum(map(len, seen))
    parties.walk(Step.CONFIRM, Step.REVEAL)

    parties.check_totals()


def test_advertisements_are_bound_to_their_clients(parties):
    """Another client's keys under one's own name are one's own only by signature: masks then cancel with nobody."""
    (first,) = parties.messages(Step.ADVERTISE, 0)
    parties.receive(Step.ADVERTISE, first)
    (third,) = parties.messages(Step.ADVERTISE, 3)
    copied = rewritten(parties, third, decode(first).body)
    parties.receive(Step.ADVERTISE, copied)
    parties.do(Step.ADVERTISE, 1, 2)
    with pytest.raises(InvalidMessage, match="client 3: this client's advertisement is not the one it sent"):
        parties.clients[3].share(parties.ask(Step.SHARE, 3))
    for step in (Step.SHARE, Step.SUBMIT, Step.CONFIRM, Step.REVEAL):
        parties.do(step, 0, 1, 2)

    assert (
        advertisements(parties)[3]
        == advertisements(parties)[0]
        == Advertisement.decode(decode(first).body, decode(first).frame, client=0)
    )
    parties.check_totals(0, 1, 2)
