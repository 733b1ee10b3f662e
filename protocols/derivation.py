"""The one table from which every key of a session is derived, and the key agreement that feeds it.

    purpose  secret                                    sender    receiver  vector        key
    share    X25519 of the two clients' sealing keys   sealer    opener    none          32 bytes, ChaCha20-Poly1305
    pair     X25519 of the two clients' masking keys   smaller   larger    name, number  16 bytes, AES-128-CTR
    self     a client's self-mask seed, 32 bytes       own       own       name, number  16 bytes, AES-128-CTR

    key = HKDF-SHA256(secret, salt = plan digest, info)
    info = "fedprllm/v1/" + purpose || session id || sender || receiver || vector name || vector number

Every field of `info` follows its length in two bytes; sender and receiver are roster indices in four bytes, the number
is the vector's position in the plan in eight, all little-endian. Without a vector its two fields are empty. HKDF is
that of RFC 5869.

The plan digest stands in the salt, so parties whom a server has shown different manifests derive unrelated keys: what
they seal for each other does not open and what should cancel does not. The label and the fields keep a key from ever
serving two ends. An all-zero X25519 output, which a public key of small order forces (RFC 7748, section 6.1), is
refused: whoever saw it would know the key.

Knows no message and no mask.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocols.wire import Frame

LABEL = b"fedprllm/v1/"
SECRET_BYTES = 32
SEALING_KEY_BYTES = 32
STREAM_KEY_BYTES = 16
_INDEX = struct.Struct("<I")
_NUMBER = struct.Struct("<Q")


def agree(private_key: X25519PrivateKey, public_key: bytes, *, frame: Frame, client: int) -> bytes:
    """Return the 32-byte X25519 output of an own private and another client's raw public key.

    Args:
        private_key: Fresh key of this session.
        public_key: Raw public key, 32 bytes.
        frame: Where the public key came from, for the refusal.
        client: Whose public key it is.

    Raises:
        InvalidMessage: If the output is all zero.
    """
    try:
        output = private_key.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError:  # how the library reports an all-zero output
        output = bytes(SECRET_BYTES)
    if output == bytes(SECRET_BYTES):
        raise frame.refusal("an advertised key is of small order", client=client)
    return output


@dataclass(frozen=True, slots=True)
class KeyTable:
    """The rows of the table for one session.

    Attributes:
        plan_digest: What the protocols bind as the manifest, 32 bytes.
        session: Session id, 32 bytes.
    """

    plan_digest: bytes
    session: bytes

    def share(self, secret: bytes, sender: int, receiver: int) -> bytes:
        """Return the key under which `sender` seals its one message for `receiver`."""
        return self._derive(secret, b"share", sender, receiver, b"", b"", SEALING_KEY_BYTES)

    def pair(self, secret: bytes, one: int, other: int, vector: str, number: int) -> bytes:
        """Return the key of the pairwise mask of two clients, in either order, for one vector."""
        name, position = vector.encode(), _NUMBER.pack(number)
        return self._derive(secret, b"pair", min(one, other), max(one, other), name, position, STREAM_KEY_BYTES)

    def self_mask(self, seed: bytes, client: int, vector: str, number: int) -> bytes:
        """Return the key of a client's self mask for one vector."""
        name, position = vector.encode(), _NUMBER.pack(number)
        return self._derive(seed, b"self", client, client, name, position, STREAM_KEY_BYTES)

    def _derive(
        self, secret: bytes, purpose: bytes, sender: int, receiver: int, vector: bytes, number: bytes, length: int
    ) -> bytes:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"secret={len(secret)} bytes must be {SECRET_BYTES} bytes")
        fields = (LABEL + purpose, self.session, _INDEX.pack(sender), _INDEX.pack(receiver), vector, number)
        info = b"".join(struct.pack("<H", len(field)) + field for field in fields)
        return HKDF(SHA256(), length, salt=self.plan_digest, info=info).derive(secret)
