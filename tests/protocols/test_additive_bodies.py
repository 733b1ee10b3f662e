"""The bytes of `additive`: sizes, canonical decoding, and nothing but `InvalidMessage` for anything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import PROTOCOLS, InvalidMessage, Step
from protocols.additive.bodies import Advertisement, PeerShares, decode_inbox, decode_revealed
from protocols.wire import HEADER, SIGNATURE_BYTES, Frame

FRAMES = HEADER.size + SIGNATURE_BYTES
FRAME = Frame("additive", Step.SHARE, bytes(32))


@pytest.fixture
def protocol():
    """Only `additive`."""
    return PROTOCOLS["additive"]


def test_decoders_accept_what_encoders_make():
    """Bodies come back as they were, and one byte more or less is refused."""
    advertisement = Advertisement(bytes([1] * 32), bytes([2] * 32), bytes([3] * 32))
    shares = PeerShares(5, 2**256)

    assert Advertisement.decode(advertisement.encode(), FRAME, client=1) == advertisement
    assert PeerShares.decode(shares.encode(), FRAME, client=1) == shares
    for body in (advertisement.encode()[:-1], advertisement.encode() + b"\0", b""):
        with pytest.raises(InvalidMessage, match=f"client 1: an advertisement of {len(body)} bytes must have 96"):
            Advertisement.decode(body, FRAME, client=1)
    for content in (shares.encode()[:-1], shares.encode() + b"\0", b"", b"\xff" * 66):
        with pytest.raises(InvalidMessage, match="client 1: what the client sealed is malformed: a share must be"):
            PeerShares.decode(content, FRAME, client=1)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(body=st.binary(max_size=150), num_clients=st.integers(1, 20), peers=st.integers(0, 4))
def test_decoders_raise_nothing_else(body, num_clients, peers):
    """Any bytes are decoded or refused as an invalid message, and what is decoded encodes to the same bytes."""
    padded = body.ljust(33 * peers, b"\0")
    cases = [
        (lambda: Advertisement.decode(body, FRAME, client=0).encode(), body),
        (lambda: Advertisement.decode(body[:96].ljust(96), FRAME, client=0).encode(), body[:96].ljust(96)),
        (lambda: PeerShares.decode(body[:66].ljust(66), FRAME, client=0).encode(), body[:66].ljust(66)),
        (
            lambda: b"".join(
                share.to_bytes(33, "little")
                for share in decode_revealed(padded, range(peers), FRAME, client=0).values()
            ),
            padded,
        ),
    ]
    for decoded, original in cases:
        try:
            encoded = decoded()
        except InvalidMessage:
            continue
        assert encoded == original
    try:
        sharers, sealed = decode_inbox(body, num_clients, FRAME)
    except InvalidMessage:
        return
    assert all(client < num_clients for client in sharers)
    assert body.endswith(sealed)


def test_messages_have_the_documented_sizes(parties):
    """Advertisement 96, a sealed message 82, a share 33, words of 8 bytes, and nothing else."""
    sizes = {}
    for step in Step:
        sizes[step] = {}
        for client in parties.everyone:
            messages = parties.messages(step, client)
            sizes[step][client] = [len(message) - FRAMES for message in messages]
            for message in messages:
                parties.receive(step, message)

    assert sizes[Step.ADVERTISE][0] == [96]
    assert sizes[Step.SHARE][0] == [3 * 82]
    assert sizes[Step.SUBMIT][0] == [8 * (5 + 2), 32]
    assert sizes[Step.CONFIRM][0] == [1]
    assert sizes[Step.REVEAL][0] == [4 * 33]
    parties.check_totals()
