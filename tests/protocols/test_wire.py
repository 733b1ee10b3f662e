"""The bytes of messages: known answers, canonical decoding, and bodies."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocols import InvalidMessage, Roster, Step, generate_signing_key
from protocols.bodies import (
    decode_advertisements,
    decode_bitmap,
    decode_confirmations,
    encode_advertisements,
    encode_bitmap,
    encode_confirmations,
)
from protocols.wire import (
    SERVER,
    ClientPen,
    Frame,
    Header,
    Message,
    decode,
    open_from_client,
    open_from_server,
    read_header,
    server_message,
)

FRAME = Frame("plain", Step.CONFIRM, bytes(range(32)))
PEN = ClientPen(5, Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"wire").digest()))
HEADER_HEX = (
    "46505341 02 04 706c61696e000000 05000000 02000000 "
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 0300000000000000"
)


def test_known_client_message():
    """A message written down once, and its signature checked by the library alone."""
    data = PEN.write(FRAME, b"abc", part=2).encode()
    unsigned = bytes.fromhex(HEADER_HEX) + b"abc"
    PEN.signing_key.public_key().verify(data[-64:], b"fedprllm/v1/message" + hashlib.sha256(unsigned).digest())

    assert data[:-64] == unsigned
    assert hashlib.sha256(data).hexdigest() == "a4d8eb46ac1e1649786a2f1a4eb80a1b6baac4e99ebd18255625d23b334e5e06"


def test_known_server_message():
    """The server's messages have its sender number and no signature."""
    expected = HEADER_HEX.replace("05000000 02000000", "ffffffff 00000000")

    assert server_message(FRAME, b"abc") == bytes.fromhex(expected) + b"abc"


def test_messages_survive_the_wire():
    """Decoding gives back what was encoded."""
    message = PEN.write(FRAME, b"body", part=7)

    assert decode(message.encode()) == message
    assert decode(server_message(FRAME, b"")) == Message.of(FRAME, SERVER, 0, b"")


def changed(position, content):
    """Return a valid message with some of its bytes replaced."""
    data = bytearray(PEN.write(FRAME, b"abc").encode())
    data[position : position + len(content)] = content
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "0 bytes are too short for a header of 62"),
        (bytes(61), "61 bytes are too short"),
        (changed(0, b"X"), "first four bytes are not those of this wire format"),
        (changed(4, b"\1"), "version 1 is not version 2"),
        (changed(5, b"\0"), "step 0 is unknown"),
        (changed(5, b"\6"), "step 6 is unknown"),
        (changed(6, b"PLAIN"), "the protocol name is malformed"),
        (changed(6, b"\0lain"), "the protocol name is malformed"),
        (changed(6, b"pl\0in"), "the protocol name is malformed"),
        (changed(6, b"plain\0\0\n"), "the protocol name is malformed"),
        (changed(6, b"\xff"), "the protocol name is malformed"),
        (changed(54, b"\4"), "129 bytes are not the 130 that the header announces"),
        (changed(54, b"\xff" * 8), "bytes are not the"),
        (changed(14, b"\xff" * 4), "129 bytes are not the 65 that the header announces"),
        (changed(0, b"")[:-1], "128 bytes are not the 129"),
        (changed(0, b"") + b"\0", "130 bytes are not the 129"),
    ],
)
def test_malformed_messages_are_refused(data, match):
    """The decoder says what is wrong."""
    with pytest.raises(InvalidMessage, match=match):
        decode(data)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
@example(bytes.fromhex(HEADER_HEX) + b"abc" + bytes(64))
def test_decoding_is_canonical(data):
    """Whatever is accepted encodes to the very same bytes."""
    try:
        message = decode(data)
    except InvalidMessage:
        return

    assert message.encode() == data


@pytest.mark.parametrize("key", [b"", bytes(32), b"\xff" * 32], ids=["empty", "zero", "ones"])
def test_a_useless_public_key_verifies_nothing(key):
    """A key that is no key is a signature that does not verify, not another error."""
    assert not PEN.write(FRAME, b"abc").is_signed_by(key)


def test_the_signature_covers_header_and_body():
    """The same signature is worthless under any other frame, sender, part or body."""
    public_key = PEN.signing_key.public_key().public_bytes_raw()
    message = PEN.write(FRAME, b"abc")
    others = [
        Message.of(Frame("other", Step.CONFIRM, FRAME.context), 5, 0, b"abc", message.signature),
        Message.of(Frame("plain", Step.REVEAL, FRAME.context), 5, 0, b"abc", message.signature),
        Message.of(Frame("plain", Step.CONFIRM, bytes(32)), 5, 0, b"abc", message.signature),
        Message.of(FRAME, 6, 0, b"abc", message.signature),
        Message.of(FRAME, 5, 1, b"abc", message.signature),
        Message.of(FRAME, 5, 0, b"abd", message.signature),
    ]

    assert message.is_signed_by(public_key)
    assert not any(other.is_signed_by(public_key) for other in others)


def test_no_repr_holds_a_body_or_a_key():
    """Messages and pens print where they belong, not what they hold."""
    shown = repr(PEN.write(FRAME, b"secretbody")) + repr(PEN)

    assert "secretbody" not in shown
    assert "signing_key" not in shown


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.sets(st.integers(0, 39)))
def test_bitmaps_are_canonical(num_clients, members):
    """Bit i % 8 of byte i // 8 stands for client i."""
    members = {client for client in members if client < num_clients}
    bitmap = encode_bitmap(members, num_clients)

    assert decode_bitmap(bitmap, num_clients, FRAME) == tuple(sorted(members))
    assert int.from_bytes(bitmap, "little") == sum(1 << client for client in members)


@pytest.mark.parametrize("data", [b"", b"\0\0\0"], ids=["short", "long"])
def test_bitmaps_of_another_length_are_refused(data):
    """A bitmap has exactly the bytes that its roster needs."""
    with pytest.raises(InvalidMessage, match=r"session 00010203, confirm: a bitmap of \d bytes does not fit 9 clients"):
        decode_bitmap(data, 9, FRAME)


def test_bits_past_the_roster_are_refused():
    """The unused bits of the last byte are zero."""
    with pytest.raises(InvalidMessage, match="names a client past the end of the roster"):
        decode_bitmap(b"\0\2", 9, FRAME)


def test_known_advertisement_list():
    """Absent clients have length 0."""
    data = encode_advertisements({0: b"ab", 2: b"c"}, 4)

    assert data.hex(" ", 1) == "02 00 00 00 61 62 00 00 00 00 01 00 00 00 63 00 00 00 00"
    assert decode_advertisements(data, 4, FRAME) == {0: b"ab", 2: b"c"}


def test_advertisement_lists_of_another_length_are_refused():
    """Every cut and every extra byte is noticed."""
    data = encode_advertisements({0: b"ab", 2: b"c"}, 4)
    for length in range(len(data)):
        with pytest.raises(InvalidMessage, match="the list of advertisements is cut short"):
            decode_advertisements(data[:length], 4, FRAME)
    with pytest.raises(InvalidMessage, match="bytes follow the last advertisement"):
        decode_advertisements(data + b"\0", 4, FRAME)


def test_known_confirmations():
    """Bitmap, count, then sender and signature of each, and the protocol's content last."""
    data = encode_confirmations(b"\x0b", {3: b"c" * 64, 1: b"a" * 64})

    assert data == b"\x0b\2\0\0\0" + b"\1\0\0\0" + b"a" * 64 + b"\3\0\0\0" + b"c" * 64
    assert decode_confirmations(data + b"rest", 4, FRAME) == (b"\x0b", {1: b"a" * 64, 3: b"c" * 64}, b"rest")


@pytest.fixture
def hashed(monkeypatch):
    """Return the lengths of all bodies that are hashed from here on."""
    lengths = []
    real = Message.of.__func__

    def counting(cls, frame, sender, part, body, signature=b""):
        lengths.append(len(body))
        return real(cls, frame, sender, part, body, signature)

    monkeypatch.setattr(Message, "of", classmethod(counting))
    return lengths


def test_what_the_header_shows_to_be_wrong_costs_no_hash(hashed):
    """A stranger, another step or session, a sender that is not expected, and too long a body: the body is not read."""
    keys = [generate_signing_key() for _ in range(3)]
    roster = Roster.of(keys)
    data = ClientPen(1, keys[1]).write(FRAME, b"abc").encode()
    stranger = ClientPen(7, keys[1]).write(FRAME, b"abc").encode()
    refusals = [
        (stranger, FRAME, {}, "not a client of the roster"),
        (server_message(FRAME, b"abc"), FRAME, {}, "not a client of the roster"),
        (data, Frame("other", Step.CONFIRM, FRAME.context), {}, "protocol plain is not other"),
        (data, Frame("plain", Step.REVEAL, FRAME.context), {}, "a message of step confirm came instead"),
        (data, Frame("plain", Step.CONFIRM, bytes(32)), {}, "another session or plan"),
        (data, FRAME, {"expected": {0, 2}}, "client 1: the sender did not do the step before"),
        (data, FRAME, {"largest": 2}, "client 1: a body of 3 bytes must have at most 2"),
    ]
    hashed.clear()
    for message, frame, limits, match in refusals:
        with pytest.raises(InvalidMessage, match=match):
            open_from_client(message, frame, roster, **limits)
    with pytest.raises(InvalidMessage, match="is not the server's message"):
        open_from_server(data, FRAME)
    assert hashed == []

    assert open_from_client(data, FRAME, roster, expected={1}, largest=3).body == b"abc"
    assert hashed == [3]


def test_the_header_alone_can_be_read():
    """Frame, sender, part and length of the body."""
    assert read_header(PEN.write(FRAME, b"abc", part=2).encode()) == Header(FRAME, 5, 2, 3)
