"""What parties refuse, by name and without losing the session: the network, strangers, and a server that lies."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from protocols import InvalidMessage, RepeatedMessage, RepeatedStep, Step, UnsafeRequest
from protocols.bodies import encode_advertisements, encode_bitmap, encode_confirmations
from protocols.roster import MAXIMUM_CLIENTS
from protocols.wire import HEADER, SERVER, ClientPen, Frame, decode, server_message

LATER = list(Step)[1:]


def rewrite(keys, message, *, index=None, key=None, **changes):
    """Return a changed message with a signature that fits it."""
    parsed = decode(message)
    index = parsed.sender if index is None else index
    frame = replace(parsed.frame, **{k: v for k, v in changes.items() if k in ("protocol", "step", "context")})
    pen = ClientPen(index, keys[index] if key is None else key)
    return pen.write(frame, changes.get("body", parsed.body), part=changes.get("part", parsed.part)).encode()


def stage(parties, step):
    """Bring everybody to a step and return the first client's messages for it, not yet given to the server."""
    if step > Step.ADVERTISE:
        parties.walk(Step.ADVERTISE, Step(step - 1))
    return parties.messages(step, 0)


def finish(parties, step, messages):
    """Let the session go on as if nothing had happened."""
    for message in messages:
        parties.receive(step, message)
    parties.do(step, 1, 2, 3)
    if step < Step.REVEAL:
        parties.walk(Step(step + 1), Step.REVEAL)
    parties.check_totals()


def refuse(parties, step, message, match=None, error=InvalidMessage):
    """Check that the server refuses a message, saying why, where and of whom."""
    with pytest.raises(error, match=match) as caught:
        parties.receive(step, message)
    return caught.value


@pytest.mark.parametrize("step", Step)
def test_the_server_refuses_a_strangers_message(parties, step):
    """A key or an index that the roster does not have is refused."""
    messages = stage(parties, step)
    stranger = parties.keys[9]
    refuse(parties, step, rewrite(parties.keys, messages[0], index=1, key=stranger), "signature does not verify")
    refuse(parties, step, rewrite(parties.keys, messages[0], index=9), "not a client of the roster")
    refuse(parties, step, server_message(decode(messages[0]).frame, b""), "not a client of the roster")
    finish(parties, step, messages)


@pytest.mark.parametrize("step", Step)
def test_the_server_refuses_a_repeated_message(parties, step):
    """A copy is told from a contradiction, also when the step is closed: a transport acknowledges a resend."""
    messages = stage(parties, step)
    for message in messages:
        parties.receive(step, message)
    for message in messages:
        error = refuse(parties, step, message, "the message was received before", RepeatedMessage)
        assert (error.step, error.client) == (step, 0)
    # Any body is too long where there is to be none.
    other = rewrite(parties.keys, messages[0], body=b"x" if decode(messages[0]).body else b"another")
    error = refuse(parties, step, other, "contradicts one that was received before|must have at most 0")
    assert not isinstance(error, RepeatedMessage)
    finish(parties, step, [])
    refuse(parties, step, messages[-1], "the message was received before", RepeatedMessage)


@pytest.mark.parametrize("step", Step)
def test_the_server_refuses_a_stale_message(parties, make_parties, step):
    """A message of another session, of another manifest or of another protocol is refused."""
    messages = stage(parties, step)
    for changes in ({"session_number": 1}, {"manifest_hash": bytes(32)}, {"minimum_survivors": 4}):
        stale = stage(make_parties(4, **changes), step)[0]
        refuse(parties, step, stale, "another session or plan")
    refuse(parties, step, rewrite(parties.keys, messages[0], protocol="other"), "protocol other is not")
    finish(parties, step, messages)


@pytest.mark.parametrize("step", Step)
def test_the_server_refuses_damaged_messages(parties, step):
    """Whatever byte is cut off, added or flipped, the message is refused and the right one still counts."""
    messages = stage(parties, step)
    whole = messages[0]
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        refuse(parties, step, whole[:length], "too short|bytes are not")
    refuse(parties, step, whole + b"\0", "bytes are not the")
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        refuse(parties, step, bytes(flipped))
    finish(parties, step, messages)


@pytest.mark.parametrize("step", Step)
def test_the_server_refuses_an_oversized_body(parties, step):
    """A body longer than the step's, though signed by its client, is refused."""
    messages = stage(parties, step)
    body = decode(messages[0]).body
    refuse(parties, step, rewrite(parties.keys, messages[0], body=body + bytes(8)), "content|bytes must|list")
    refuse(parties, step, rewrite(parties.keys, messages[0], body=body + bytes(2**21)), "content|bytes must|list")
    finish(parties, step, messages)


@pytest.mark.parametrize("step", Step)
def test_the_server_reads_no_body_that_is_too_long(parties, monkeypatch, step):
    """What no message of the step can have is refused by its length, before it is copied, hashed and verified."""
    messages = stage(parties, step)
    long = rewrite(parties.keys, messages[0], body=bytes(2**20 + 1))
    with monkeypatch.context() as patched:
        patched.setattr("protocols.wire.Message.of", None)
        refuse(parties, step, long, r"client 0: a body of 1048577 bytes must have at most \d+")
    finish(parties, step, messages)


@pytest.mark.parametrize("step", Step)
def test_the_server_refuses_another_steps_message(parties, step):
    """A message is good for its own step only."""
    messages = stage(parties, step)
    for other in Step:
        if other is not step:
            changed = rewrite(parties.keys, messages[0], step=other)
            refuse(parties, step, changed, "a message of step|another session or plan")
    finish(parties, step, messages)


@pytest.mark.parametrize("step", Step)
def test_the_server_refuses_parts_out_of_order(parties, step):
    """Parts come one after the other, and none after the last."""
    messages = stage(parties, step)
    for part in (1, 2, 2**32 - 1):
        refuse(parties, step, rewrite(parties.keys, messages[0], part=part), f"part {part} is not part 0 of")
    for message in messages:
        parties.receive(step, message)
    count = len(messages)
    extra = rewrite(parties.keys, messages[0], part=count)
    refuse(parties, step, extra, f"part {count} is not part {count} of {count}")
    finish(parties, step, [])


@pytest.mark.parametrize("step", LATER)
def test_the_server_refuses_an_early_message(parties, step):
    """A message for a step that has not begun is refused."""
    message = ClientPen(0, parties.keys[0]).write(Frame(parties.protocol.name, step, bytes(32)), b"").encode()
    refuse(parties, step, message, "the step has not begun")
    parties.walk(Step.ADVERTISE, Step.REVEAL)
    parties.check_totals()


@pytest.mark.parametrize("step", list(Step)[:-1])
def test_the_server_refuses_a_late_message(parties, step):
    """A message for a closed step is refused, and its sender is out of the session."""
    if step > Step.ADVERTISE:
        parties.walk(Step.ADVERTISE, Step(step - 1))
    late = parties.messages(step, 3)
    parties.do(step, 0, 1, 2)
    following = Step(step + 1)
    parties.do(following, 0)
    refuse(parties, step, late[0], "came after the step was closed")
    absent = rewrite(parties.keys, parties.messages(following, 1)[0], index=3)
    parties_frame = decode(absent).frame
    error = refuse(parties, following, absent, "the sender did not do the step before")
    assert (error.client, error.session) == (3, parties_frame.context[:4].hex())


def test_a_late_reveal_is_refused(parties):
    """After the totals were opened nothing more is taken."""
    parties.walk(Step.ADVERTISE, Step.CONFIRM)
    late = parties.messages(Step.REVEAL, 3)
    parties.do(Step.REVEAL, 0, 1, 2)
    parties.check_totals()
    refuse(parties, Step.REVEAL, late[0], "came after the step was closed")


def test_a_closing_message_over_other_chunks_is_refused(parties):
    """A submission counts only with a signature over the very chunks that came."""
    messages = stage(parties, Step.SUBMIT)
    for message in messages[:-1]:
        parties.receive(Step.SUBMIT, message)
    wrong = rewrite(parties.keys, messages[-1], body=bytes(32))
    refuse(parties, Step.SUBMIT, wrong, "closing message is not over the chunks received")
    finish(parties, Step.SUBMIT, messages[-1:])


def test_a_confirmation_of_another_list_is_refused(parties):
    """The server takes signatures on the list that it sent only."""
    messages = stage(parties, Step.CONFIRM)
    other = rewrite(parties.keys, messages[0], body=encode_bitmap([0, 1, 2], 4))
    refuse(parties, Step.CONFIRM, other, "for another survivor list")
    finish(parties, Step.CONFIRM, messages)


# What clients refuse of a server that lies. Each test ends with the client doing the step on the true request.


def refuse_request(parties, step, request, match=None, error=InvalidMessage):
    """Check that client 0 refuses a request."""
    with pytest.raises(error, match=match):
        parties.answer(step, 0, request)


@pytest.mark.parametrize("step", LATER)
def test_clients_refuse_damaged_requests(parties, make_parties, step):
    """Cut, lengthened, stale, foreign and misplaced messages of the server are refused."""
    parties.walk(Step.ADVERTISE, Step(step - 1))
    request = parties.ask(step, 0)
    frame = decode(request).frame
    body = decode(request).body
    other = make_parties(4, session_number=1)
    other.walk(Step.ADVERTISE, Step(step - 1))
    as_client = ClientPen(1, parties.keys[1]).write(frame, body).encode()
    for length in range(0, len(request), 5):
        refuse_request(parties, step, request[:length], "too short|bytes are not")
    refuse_request(parties, step, request + b"\0", "bytes are not")
    refuse_request(parties, step, other.ask(step, 0), "another session or plan")
    refuse_request(parties, step, server_message(replace(frame, protocol="other"), body), "protocol other is not")
    wrong_step = Step.SHARE if step is not Step.SHARE else Step.REVEAL
    refuse_request(parties, step, server_message(replace(frame, step=wrong_step), body), "a message of step")
    refuse_request(parties, step, as_client, "is not the server's message")
    refuse_request(parties, step, server_message(frame, body + b"\0"))
    refuse_request(parties, step, server_message(frame, body[:-1]))
    parties.walk(step, Step.REVEAL)

    parties.check_totals()


def roster_request(parties, advertisements):
    """Return a roster message of the server's making."""
    frame = Frame(parties.protocol.name, Step.SHARE, parties.plan.digest)
    return server_message(frame, encode_advertisements(advertisements, 4))


def test_clients_refuse_a_forged_roster(parties):
    """Every advertisement must be its client's, and one's own must be the one that one sent."""
    true = {client: parties.clients[client].advertise() for client in range(4)}
    for message in true.values():
        parties.receive(Step.ADVERTISE, message)
    forged = rewrite(parties.keys, true[1], key=parties.keys[9])
    part = rewrite(parties.keys, true[1], part=1)
    own = rewrite(parties.keys, true[0], part=1)
    absent = {client: true[client] for client in (1, 2, 3)}

    def refused(advertisements, match):
        refuse_request(parties, Step.SHARE, roster_request(parties, advertisements), match)

    refused(true | {1: forged}, "client 1: the signature does not verify")
    refused(true | {1: true[2]}, "client 1: its advertisement is that of client 2")
    refused(true | {1: part}, "client 1: its advertisement is that of client 1")
    refused(true | {0: own}, "client 0: this client's advertisement is not the one it sent")
    refused(absent, "client 0: this client's advertisement is not the one it sent")
    refused({0: true[0], 1: true[1]}, "2 advertisements are fewer than 3")
    refused(true | {1: true[1] + b"\0"}, "bytes are not")
    parties.walk(Step.SHARE, Step.REVEAL)

    parties.check_totals()


def test_clients_shown_other_rosters_are_in_other_sessions(parties):
    """A server that shows clients different sets of advertisements gets messages that do not belong together."""
    true = {client: parties.clients[client].advertise() for client in range(4)}
    for message in true.values():
        parties.receive(Step.ADVERTISE, message)
    partial = {client: true[client] for client in (0, 1, 2)}
    odd = parties.clients[0].share(roster_request(parties, partial))
    parties.do(Step.SHARE, 1, 2, 3)
    refuse(parties, Step.SHARE, odd, "another session or plan")


def session_frame(parties, step):
    """Return the frame of a step of the running session."""
    return Frame(parties.protocol.name, step, decode(parties.ask(Step.SUBMIT, 0)).frame.context)


def test_clients_refuse_an_inbox_without_them(parties):
    """A client that shared must be among those that shared; no bit may lie past the roster."""
    parties.walk(Step.ADVERTISE, Step.SHARE)
    frame = session_frame(parties, Step.SUBMIT)
    rest = decode(parties.ask(Step.SUBMIT, 0)).body[1:]
    refuse_request(parties, Step.SUBMIT, server_message(frame, b"\x0e" + rest), "the inbox lacks this client")
    refuse_request(parties, Step.SUBMIT, server_message(frame, b"\x1f" + rest), "names a client past the end")


def list_request(parties, survivors):
    """Return a survivor list of the server's making, with what the protocol attaches to the bitmap."""
    attached = decode(parties.ask(Step.CONFIRM, 0)).body[1:]
    return server_message(session_frame(parties, Step.CONFIRM), encode_bitmap(survivors, 4) + attached)


def test_clients_refuse_an_unsafe_survivor_list(make_parties):
    """A list that is too short, lacks the client, or names one that did not share is refused."""
    parties = make_parties(4)
    for step in (Step.ADVERTISE, Step.SHARE, Step.SUBMIT):
        parties.do(step, 0, 1, 2)

    def refused(survivors, match):
        refuse_request(parties, Step.CONFIRM, list_request(parties, survivors), match, UnsafeRequest)

    refused([0, 1], "2 survivors are fewer than minimum_survivors=3")
    refused([], "0 survivors are fewer than minimum_survivors=3")
    refused([1, 2, 3], "client 0: the survivor list lacks this client though it submitted")
    refused([0, 1, 2, 3], "client 3: the survivor list names a client that did not share")
    for step in (Step.CONFIRM, Step.REVEAL):
        parties.do(step, 0, 1, 2)

    parties.check_totals(0, 1, 2)


def test_a_client_signs_one_survivor_list(parties):
    """Two lists, each acceptable by itself, get one signature."""
    parties.walk(Step.ADVERTISE, Step.SUBMIT)
    parties.answer(Step.CONFIRM, 0, list_request(parties, [0, 1, 2]))
    with pytest.raises(RepeatedStep, match="this step was done before"):
        parties.answer(Step.CONFIRM, 0, list_request(parties, [0, 1, 3]))


def confirmed(parties):
    """Bring everybody to reveal; return the bitmap and everyone's signatures on it, the honest request first."""
    parties.walk(Step.ADVERTISE, Step.SUBMIT)
    signatures = {}
    for client in range(4):
        (message,) = parties.messages(Step.CONFIRM, client)
        parties.receive(Step.CONFIRM, message)
        signatures[client] = decode(message).signature
    return encode_bitmap(range(4), 4), signatures


def sign_list(parties, client, survivors):
    """Return a client's signature on a list of the test's choosing, with what the protocol attaches to it."""
    frame = session_frame(parties, Step.CONFIRM)
    attached = decode(parties.made[Step.CONFIRM, 0][0]).body[1:]
    return ClientPen(client, parties.keys[client]).write(frame, encode_bitmap(survivors, 4) + attached).signature


def test_clients_reveal_only_with_enough_signatures_on_their_list(parties):
    """Too few, forged, misattributed and transplanted signatures, and another list, are refused."""
    bitmap, true = confirmed(parties)
    three = {client: true[client] for client in (0, 1, 2)}
    true_body = decode(parties.ask(Step.REVEAL, 0)).body
    content = true_body[len(encode_confirmations(bitmap, three)) :]

    def refused(shown, signatures, match):
        body = encode_confirmations(shown, signatures) + content
        request = server_message(session_frame(parties, Step.REVEAL), body)
        refuse_request(parties, Step.REVEAL, request, match, UnsafeRequest)

    other = encode_bitmap([0, 1, 2], 4)
    others = {client: sign_list(parties, client, [0, 1, 2]) for client in range(3)}
    refused(bitmap, {}, "0 confirmations are fewer than recovery_threshold=3")
    refused(bitmap, {0: true[0], 1: true[1]}, "2 confirmations are fewer than recovery_threshold=3")
    refused(bitmap, three | {2: bytes(64)}, "client 2: a relayed confirmation is not a survivor's signature")
    refused(bitmap, three | {2: true[3]}, "client 2: a relayed confirmation is not a survivor's signature")
    refused(bitmap, three | {2: others[2]}, "client 2: a relayed confirmation is not a survivor's signature")
    refused(bitmap, three | {7: true[3]}, "client 7: a relayed confirmation is not a survivor's signature")
    refused(other, others, "for another survivor list than the one this client signed")
    parties.walk(Step.REVEAL, Step.REVEAL)

    parties.check_totals()


def test_a_signature_counts_once(parties):
    """A signature relayed twice, or out of order, is refused."""
    bitmap, true = confirmed(parties)
    entries = [encode_confirmations(b"", {client: true[client]})[4:] for client in range(4)]
    frame = session_frame(parties, Step.REVEAL)
    for order in ((0, 1, 1), (0, 0, 1), (1, 0, 2)):
        body = bitmap + (3).to_bytes(4, "little") + b"".join(entries[client] for client in order)
        match = "not in ascending order of distinct clients"
        refuse_request(parties, Step.REVEAL, server_message(frame, body), match)
    for body in (bitmap[:-1], bitmap + b"\1\0\0", bitmap + b"\1\0\0\0", bitmap + b"\xff\xff\xff\xff"):
        refuse_request(parties, Step.REVEAL, server_message(frame, body), "the reveal request is cut short")


def test_only_survivors_signatures_count(parties):
    """A client that is not on the list cannot help to reach the threshold."""
    for step in (Step.ADVERTISE, Step.SHARE):
        parties.do(step)
    for step in (Step.SUBMIT, Step.CONFIRM):
        parties.do(step, 0, 1, 2)
    signatures = {client: sign_list(parties, client, [0, 1, 2]) for client in (0, 1, 3)}
    body = encode_confirmations(encode_bitmap([0, 1, 2], 4), signatures)
    request = server_message(session_frame(parties, Step.REVEAL), body)
    refuse_request(parties, Step.REVEAL, request, "client 3: a relayed confirmation is not", UnsafeRequest)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_bytes_crash_a_party(parties, count):
    """Random and mutated messages raise InvalidMessage and nothing else, and the session completes."""
    source = random.Random(1)
    seen: list[bytes] = []
    for step in Step:
        replies = {client: [] for client in range(4)}
        for client in range(4):
            request = b""
            if step is not Step.ADVERTISE:
                request = parties.ask(step, client)
                seen.append(request)
                for _ in range(count // 40):
                    # Cut anywhere, so that no mutation is by chance another valid request: the server's are not signed.
                    bad = mutate(source, seen)
                    if len(bad) > 1 and bad not in seen and len(bad) != len(request):
                        with pytest.raises(InvalidMessage):
                            parties.answer(step, client, bad)
            replies[client] = parties.answer(step, client, request)
        seen += [message for messages in replies.values() for message in messages]
        for _ in range(count // 5):
            bad = mutate(source, seen)
            if bad not in seen:
                with pytest.raises(InvalidMessage):
                    parties.receive(step, bad)
        for messages in replies.values():
            for message in messages:
                parties.receive(step, message)

    parties.check_totals()


def mutate(source, seen):
    """Return bytes that resemble messages: flipped, cut, spliced, lengthened, or random behind a true header."""
    if not seen:
        return source.randbytes(source.randrange(300))
    data = bytearray(source.choice(seen))
    kind = source.randrange(6)
    if kind == 0:
        for _ in range(source.randrange(1, 4)):
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    elif kind == 1:
        del data[source.randrange(len(data)) :]
    elif kind == 2:
        data[source.randrange(len(data)) :] = source.choice(seen)[source.randrange(200) :]
    elif kind == 3:
        data += source.randbytes(source.randrange(1, 100))
    elif kind == 4:
        data[HEADER.size :] = source.randbytes(len(data) - HEADER.size)
    else:
        data = bytearray(source.randbytes(source.randrange(300)))
    return bytes(data)


def test_the_server_index_is_no_client():
    """The sender that stands for the server lies past the largest roster."""
    assert SERVER >= MAXIMUM_CLIENTS
