"""Bundles: known bytes, canonical decoding, and what a hostile one can cost, which is one session at most."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocols import InvalidMessage, Outbox, RepeatedMessage, Step
from protocols.bundle import MAXIMUM_BYTES, bundle_overhead, decode_bundle, encode_bundle
from protocols.wire import ClientPen, decode

KNOWN_HEX = "46505342 01 03000000 02000000 6162 00000000 01000000 63"
KNOWN = bytes.fromhex(KNOWN_HEX)
FROM_CLIENTS = [Step.ADVERTISE, Step.SHARE]
FROM_SERVER = [Step.SHARE, Step.SUBMIT]


def test_known_bundle():
    """A bundle written down once: magic, version, count, then each message after its length."""
    assert encode_bundle([b"ab", b"", b"c"]) == KNOWN
    assert decode_bundle(KNOWN, 3) == (b"ab", b"", b"c")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=50), max_size=8))
def test_messages_survive_the_bundle(messages):
    """Every session gets back what was put in its place, and the overhead is what it is said to be."""
    bundle = encode_bundle(messages)

    assert decode_bundle(bundle, len(messages)) == tuple(messages)
    assert len(bundle) == bundle_overhead(len(messages)) + sum(map(len, messages))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 3), st.binary(max_size=40), st.booleans())
@example(3, KNOWN[9:], True)
def test_decoding_is_canonical(count, data, is_begun):
    """Whatever is accepted encodes to the very same bytes."""
    data = KNOWN[:5] + count.to_bytes(4, "little") + data if is_begun else data
    try:
        messages = decode_bundle(data, count)
    except InvalidMessage:
        return

    assert encode_bundle(messages) == data


def changed(position, content):
    """Return the known bundle with some of its bytes replaced."""
    return KNOWN[:position] + content + KNOWN[position + len(content) :]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "0 bytes are too short for a bundle's header of 9"),
        (KNOWN[:8], "8 bytes are too short"),
        (changed(3, b"A"), "first four bytes are not those of a bundle"),
        (changed(4, b"\2"), "bundle version 2 is not version 1"),
        (changed(5, b"\0"), "a bundle for 0 sessions is not for the 3 opened together"),
        (changed(5, b"\2"), "a bundle for 2 sessions is not for the 3"),
        (changed(5, b"\xff" * 4), "a bundle for 4294967295 sessions is not for the 3"),
        (changed(9, b"\1"), "the bundle is cut short at place 1"),
        (KNOWN[:-3], "the bundle is cut short at place 2"),
        (changed(9, b"\xff" * 4), "the bundle is cut short at place 0"),
        (changed(19, b"\xff" * 4), "the bundle is cut short at place 2"),
        (changed(19, b"\0"), "bytes follow the last message of the bundle"),
        (KNOWN + b"\0", "bytes follow the last message of the bundle"),
    ],
)
def test_malformed_bundles_are_refused(data, match):
    """The decoder says what is wrong."""
    with pytest.raises(InvalidMessage, match=match):
        decode_bundle(data, 3)


def test_every_cut_is_noticed():
    """A bundle that ends early is refused wherever it ends."""
    for length in range(len(KNOWN)):
        with pytest.raises(InvalidMessage, match=r"too short|cut short"):
            decode_bundle(KNOWN[:length], 3)


def test_lengths_that_lie_cost_nothing():
    """No length that a bundle announces makes the decoder take memory for it."""
    many = b"FPSB\1" + (2**32 - 1).to_bytes(4, "little") + b"\xff" * 100
    tracemalloc.start()
    try:
        for data, count in ((changed(9, b"\xff" * 4), 3), (many, 3), (many, 2**32 - 1)):
            with pytest.raises(InvalidMessage, match=r"cut short|is not for the 3"):
                decode_bundle(data, count)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 100_000


def test_bundles_have_a_largest_size():
    """Both ends refuse a bundle of more bytes before they go through it."""
    with pytest.raises(InvalidMessage, match=f"a bundle of {MAXIMUM_BYTES + 1} bytes is longer than {MAXIMUM_BYTES}"):
        decode_bundle(bytes(MAXIMUM_BYTES + 1), 3)
    with pytest.raises(
        ValueError, match=rf"messages=\d+ bytes as a bundle must be at most {MAXIMUM_BYTES}: open fewer"
    ):
        encode_bundle([bytes(MAXIMUM_BYTES // 3)] * 3)


# What bundles do to sessions. Each place is given to its session, and every session ends with the right totals.


@pytest.fixture
def sessions(make_parties):
    """Three sessions of four clients."""
    return [make_parties(4, session_number=number) for number in range(3)]


def before(sessions, step):
    """Bring all sessions to a step."""
    if step > Step.ADVERTISE:
        for session in sessions:
            session.walk(Step.ADVERTISE, Step(step - 1))


def answered(sessions, step):
    """Return what client 0 answers in each session, not yet given to the server."""
    before(sessions, step)
    return [session.messages(step, 0)[0] for session in sessions]


def refusals(sessions, bundle, deliver):
    """Deliver a bundle as a receiver does; return each session's refusal, None where there was none."""
    found = []
    for session, message in zip(sessions, decode_bundle(bundle, len(sessions)), strict=True):
        found.append(None)
        if message:
            try:
                deliver(session, message)
            except InvalidMessage as refusal:
                found[-1] = refusal
    return found


def received(sessions, step, messages):
    """Give the server a bundle from client 0."""
    return refusals(sessions, encode_bundle(messages), lambda session, message: session.receive(step, message))


def finish(sessions, step):
    """Let the other clients, and from the next step on all, do the rest."""
    for session in sessions:
        session.do(step, 1, 2, 3)
        session.walk(Step(step + 1), Step.REVEAL)
        session.check_totals()


@pytest.mark.parametrize("step", FROM_CLIENTS)
def test_a_strangers_message_costs_its_session_only(sessions, step):
    """A message signed by another key is refused by its session, which still takes the right one; the others go on."""
    true = answered(sessions, step)
    parsed = decode(true[1])
    forged = ClientPen(0, sessions[0].keys[9]).write(parsed.frame, parsed.body).encode()
    errors = received(sessions, step, [true[0], forged, true[2]])
    assert errors[::2] == [None, None]
    assert f"{step.name.lower()}, client 0: the signature does not verify" in str(errors[1])
    sessions[1].receive(step, true[1])
    finish(sessions, step)


@pytest.mark.parametrize("step", FROM_CLIENTS)
@pytest.mark.parametrize("order", [(1, 0, 2), (0, 0, 2), (0, 2, 1), (2, 2, 2), (1, 2, 0)], ids=str)
def test_a_message_is_good_in_its_own_place_only(sessions, step, order):
    """Reordered or repeated messages land in other sessions, which refuse them and stay as they were."""
    true = answered(sessions, step)
    errors = received(sessions, step, [true[place] for place in order])
    for place, error in enumerate(errors):
        if order[place] == place:
            assert error is None
        else:
            assert "belongs to another session or plan" in str(error)
            sessions[place].receive(step, true[place])
    finish(sessions, step)


@pytest.mark.parametrize("step", FROM_SERVER)
@pytest.mark.parametrize("order", [(1, 0, 2), (0, 0, 2)], ids=str)
def test_clients_refuse_requests_of_other_sessions(sessions, step, order):
    """A server that mixes the sessions in a bundle is refused by those it mixed, and may still tell the truth."""
    before(sessions, step)
    true = [session.ask(step, 0) for session in sessions]
    answers = {}

    def answer(session, message):
        answers[session.plan.session_number] = session.answer(step, 0, message)

    errors = refusals(sessions, encode_bundle([true[place] for place in order]), answer)
    assert [error is None for error in errors] == [order[place] == place for place in range(3)]
    for session, error in zip(sessions, errors, strict=True):
        if error is not None:
            assert "belongs to another session or plan" in str(error)
            answer(session, true[session.plan.session_number])
        for message in answers[session.plan.session_number]:
            session.receive(step, message)
    finish(sessions, step)


@pytest.mark.parametrize("step", FROM_CLIENTS)
def test_a_bundle_made_again_from_stored_messages_is_a_resend(sessions, step, tmp_path):
    """Messages are stored session by session; what is bundled after a restart is the same bytes, and acknowledged."""
    true = answered(sessions, step)
    digests = [session.plan.digest for session in sessions]
    for digest, message in zip(digests, true, strict=True):
        list(Outbox(tmp_path).store(digest, step, [message]))
    restarted = Outbox(tmp_path)
    stored = [b"".join(restarted.messages(digest, step)) for digest in digests]

    assert encode_bundle(stored) == encode_bundle(true)
    assert received(sessions, step, true) == [None, None, None]
    assert all(isinstance(error, RepeatedMessage) for error in received(sessions, step, stored))
    finish(sessions, step)


MANY = pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])


def mutations(true, count):
    """Yield changed bundles of these messages that decode, as the messages in them."""
    source = random.Random(1)
    for _ in range(count):
        bundle = mutated(source, encode_bundle(true))
        try:
            yield decode_bundle(bundle, len(true))
        except InvalidMessage:
            continue


@MANY
@pytest.mark.parametrize("step", FROM_CLIENTS)
def test_no_bundle_crashes_the_server(sessions, step, count):
    """Of random and mutated bundles only what the client sent is taken; no other error is raised; sessions go on."""
    true = answered(sessions, step)
    delivered = 0
    for messages in mutations(true, count):
        delivered += 1
        errors = received(sessions, step, messages)
        for message, error, own in zip(messages, errors, true, strict=True):
            assert error is not None or message in (b"", own)
    assert delivered > count // 4
    errors = received(sessions, step, true)
    assert all(error is None or isinstance(error, RepeatedMessage) for error in errors)
    finish(sessions, step)


@MANY
def test_no_bundle_crashes_a_client(sessions, count):
    """A client refuses whatever is not its roster message, with no other error, and then still takes that."""
    before(sessions, Step.SHARE)
    true = [session.ask(Step.SHARE, 0) for session in sessions]
    for messages in mutations(true, count):
        wrong = [b"" if message == own else message for message, own in zip(messages, true, strict=True)]
        errors = refusals(sessions, encode_bundle(wrong), lambda session, data: session.answer(Step.SHARE, 0, data))
        assert [error is None for error in errors] == [not message for message in wrong]
    for session, request in zip(sessions, true, strict=True):
        session.receive(Step.SHARE, session.answer(Step.SHARE, 0, request)[0])
    finish(sessions, Step.SHARE)


def mutated(source, bundle):
    """Return a bundle with bits flipped, cut, lengthened, its messages mixed, or a length that lies."""
    kind = source.randrange(6)
    data = bytearray(bundle)
    if kind == 0:
        for _ in range(source.randrange(1, 4)):
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    elif kind == 1:
        del data[source.randrange(len(data)) :]
    elif kind == 2:
        data += source.randbytes(source.randrange(1, 100))
    elif kind == 3:
        messages = decode_bundle(bundle, 3)
        data[:] = encode_bundle([source.choice([*messages, b"", source.randbytes(70)]) for _ in messages])
    elif kind == 4:
        place = source.choice([5, 9, 9 + 4 + len(decode_bundle(bundle, 3)[0])])
        data[place : place + 4] = source.randbytes(4)
    else:
        data[source.randrange(9, len(data)) :] = source.randbytes(source.randrange(300))
    return bytes(data)
