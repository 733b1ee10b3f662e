"""Sealed messages: known bytes, both ends, and every alteration refused."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import InvalidMessage, Step
from protocols.derivation import KeyTable, agree
from protocols.sealing import TAG_BYTES, Sealer
from protocols.wire import Frame

PLAN, SESSION = bytes(range(32)), bytes(range(32, 64))
TABLE = KeyTable(PLAN, SESSION)
FRAME = Frame("additive", Step.SUBMIT, SESSION)
KEYS = [X25519PrivateKey.from_private_bytes(bytes([index + 1] * 32)) for index in range(3)]
PUBLIC = [key.public_key().public_bytes_raw() for key in KEYS]
CONTENT = b"for client 2 alone"


def sealer(index, table=TABLE):
    """Return the sealer of a client with a key that is the same at every run."""
    return Sealer(KEYS[index], table, index)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(content=st.binary(max_size=1000))
def test_what_is_sealed_opens(content):
    """The receiver reads what the sender sealed, 16 bytes longer under way."""
    sealed = sealer(0).seal(2, PUBLIC[2], content, FRAME)

    assert sealer(2).open(0, PUBLIC[0], sealed, FRAME) == content
    assert len(sealed) == len(content) + TAG_BYTES


def test_the_cipher_and_what_it_binds_are_as_documented():
    """ChaCha20-Poly1305 under the share key, nonce zero, label and ends as associated data."""
    key = TABLE.share(agree(KEYS[0], PUBLIC[2], frame=FRAME, client=2), 0, 2)
    bound = b"fedprllm/v1/sealed" + SESSION + bytes(4) + b"\2\0\0\0"

    assert sealer(0).seal(2, PUBLIC[2], CONTENT, FRAME) == ChaCha20Poly1305(key).encrypt(bytes(12), CONTENT, bound)


def test_known_sealed_message():
    """Bytes written down once: a change breaks sessions between versions."""
    assert (
        sealer(0).seal(2, PUBLIC[2], CONTENT, FRAME).hex()
        == "b1fde661dc16c252328a253d28c9b0dbdc28dfd0aee2c5d879de463b9141925c7ff2"
    )


def test_every_altered_byte_is_refused():
    """A flipped bit, a cut and an appended byte make the message useless, and the true one still opens."""
    sealed, receiver = sealer(0).seal(2, PUBLIC[2], CONTENT, FRAME), sealer(2)
    altered = [sealed[:length] for length in range(len(sealed))] + [sealed + b"\0"]
    for position in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[position // 8] ^= 1 << position % 8
        altered.append(bytes(flipped))
    for bad in altered:
        with pytest.raises(InvalidMessage, match="client 0: what the client sealed does not open"):
            receiver.open(0, PUBLIC[0], bad, FRAME)

    assert receiver.open(0, PUBLIC[0], sealed, FRAME) == CONTENT


def test_a_message_opens_for_its_two_clients_in_its_session_only():
    """Another receiver, sender, direction, session or plan opens nothing."""
    sealed = sealer(0).seal(2, PUBLIC[2], CONTENT, FRAME)
    wrong = [
        (sealer(1), 0, PUBLIC[0]),
        (sealer(2), 1, PUBLIC[0]),
        (sealer(2), 0, PUBLIC[1]),
        (sealer(0), 2, PUBLIC[2]),
        (sealer(2, KeyTable(PLAN, bytes(32))), 0, PUBLIC[0]),
        (sealer(2, KeyTable(bytes(32), SESSION)), 0, PUBLIC[0]),
    ]
    for receiver, sender, public_key in wrong:
        with pytest.raises(InvalidMessage, match=f"client {sender}: what the client sealed does not open"):
            receiver.open(sender, public_key, sealed, FRAME)


def test_one_message_a_receiver():
    """A second message under one key would give away the difference of two contents: it is never made."""
    sender = sealer(0)
    sender.seal(2, PUBLIC[2], CONTENT, FRAME)
    with pytest.raises(ValueError, match="receiver=2 must be another client, for whom nothing was sealed before"):
        sender.seal(2, PUBLIC[2], b"something else", FRAME)
    with pytest.raises(ValueError, match="receiver=0 must be another client"):
        sender.seal(0, PUBLIC[0], CONTENT, FRAME)


def test_a_key_of_small_order_is_refused():
    """Neither end uses a public key that would make the secret known."""
    with pytest.raises(InvalidMessage, match="client 1: an advertised key is of small order"):
        sealer(0).seal(1, bytes(32), CONTENT, FRAME)
    with pytest.raises(InvalidMessage, match="client 1: an advertised key is of small order"):
        sealer(0).open(1, bytes(32), bytes(40), FRAME)


def test_secrets_are_dropped_and_never_shown():
    """After `forget` nothing can be sealed or opened; no repr shows a key."""
    sender = sealer(0)
    sealed = sender.seal(2, PUBLIC[2], CONTENT, FRAME)

    assert repr(sender) == "Sealer(client 0)"

    sender.forget()

    assert KEYS[0] not in vars(sender).values()
    assert not sender._agreed
    with pytest.raises(ValueError, match="secrets of this sealer were dropped"):
        sender.open(2, PUBLIC[2], sealed, FRAME)
