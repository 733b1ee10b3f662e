"""What the messages of `additive` hold. Layouts are in the table of `protocols.wire`; decoding is canonical."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from protocols.additive.shamir import SHARE_BYTES, decode_share, encode_share
from protocols.bodies import bitmap_bytes, decode_bitmap
from protocols.sealing import TAG_BYTES
from protocols.wire import Frame

COMMITMENT_LABEL = b"fedprllm/v1/self-mask-seed"
KEY_BYTES = 32
ADVERTISEMENT_BYTES = 3 * KEY_BYTES
SEALED_BYTES = 2 * SHARE_BYTES + TAG_BYTES


def commitment_to(seed: bytes) -> bytes:
    """Return the commitment to a self-mask seed: SHA-256(label || seed)."""
    return hashlib.sha256(COMMITMENT_LABEL + seed).digest()


@dataclass(frozen=True, slots=True)
class Advertisement:
    """A client's fresh public keys and what it commits to.

    Attributes:
        sealing_key: X25519 public key under which shares are sealed for it.
        masking_key: X25519 public key of its pairwise masks.
        commitment: `commitment_to` its self-mask seed.
    """

    sealing_key: bytes
    masking_key: bytes
    commitment: bytes

    def encode(self) -> bytes:
        """Return the body of an advertise message."""
        return self.sealing_key + self.masking_key + self.commitment

    @classmethod
    def decode(cls, body: bytes, frame: Frame, *, client: int) -> Advertisement:
        """Take the body of an advertise message apart.

        Raises:
            InvalidMessage: If its length is wrong.
        """
        if len(body) != ADVERTISEMENT_BYTES:
            reason = f"an advertisement of {len(body)} bytes must have {ADVERTISEMENT_BYTES}"
            raise frame.refusal(reason, client=client)
        return cls(body[:KEY_BYTES], body[KEY_BYTES : 2 * KEY_BYTES], body[2 * KEY_BYTES :])


@dataclass(frozen=True, slots=True)
class PeerShares:
    """The shares of one client's two secrets that another client holds; at most one of them is ever revealed.

    Attributes:
        masking_key: Share of its masking private key, revealed if it is lost.
        seed: Share of its self-mask seed, revealed if it survives.
    """

    masking_key: int = field(repr=False)
    seed: int = field(repr=False)

    def encode(self) -> bytes:
        """Return the content of a sealed message."""
        return encode_share(self.masking_key) + encode_share(self.seed)

    @classmethod
    def decode(cls, content: bytes, frame: Frame, *, client: int) -> PeerShares:
        """Take the content of a sealed message apart.

        Raises:
            InvalidMessage: If it is not two shares.
        """
        try:
            return cls(decode_share(content[:SHARE_BYTES]), decode_share(content[SHARE_BYTES:]))
        except ValueError as error:
            raise frame.refusal(f"what the client sealed is malformed: {error}", client=client) from None


def check_sealed(body: bytes, recipients: Sequence[int], frame: Frame, *, client: int) -> None:
    """Refuse a share message that has not one sealed message for each recipient.

    Raises:
        InvalidMessage: If its length is wrong.
    """
    expected = SEALED_BYTES * len(recipients)
    if len(body) != expected:
        raise frame.refusal(f"a body of {len(body)} bytes must have {expected}: content for each peer", client=client)


def sealed_at(body: bytes, position: int) -> bytes:
    """Return the sealed message for the recipient at this position."""
    return body[SEALED_BYTES * position : SEALED_BYTES * (position + 1)]


def decode_inbox(body: bytes, num_clients: int, frame: Frame) -> tuple[tuple[int, ...], bytes]:
    """Return the clients that shared, ascending, and what they sealed for the recipient, end to end.

    Raises:
        InvalidMessage: If the bitmap is malformed.
    """
    split = bitmap_bytes(num_clients)
    return decode_bitmap(body[:split], num_clients, frame), body[split:]


def decode_revealed(body: bytes, peers: Sequence[int], frame: Frame, *, client: int) -> dict[int, int]:
    """Return the one share that a client reveals of each of these peers, ascending.

    Raises:
        InvalidMessage: If the length is wrong or a share is no field element.
    """
    expected = SHARE_BYTES * len(peers)
    if len(body) != expected:
        raise frame.refusal(f"a body of {len(body)} bytes must have {expected}: one share a peer", client=client)
    try:
        shares = [decode_share(body[start : start + SHARE_BYTES]) for start in range(0, expected, SHARE_BYTES)]
    except ValueError as error:
        raise frame.refusal(str(error), client=client) from None
    return dict(zip(peers, shares, strict=True))
