"""Who may take part: the ordered, pinned Ed25519 public keys of the clients.

A client is its position in the roster, everywhere. Points of small order are no keys: under one of them, signatures
that anybody can write verify (Chalkias, Garillot and Nikolaenko 2020). Knows nothing of sessions or messages.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PUBLIC_KEY_BYTES = 32
MAXIMUM_CLIENTS = 2**32 - 2  # a sender is four bytes on the wire, and one value stands for the server
FIELD = 2**255 - 19  # of the curve's coordinates
_ORDER_EIGHT = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SMALL_ORDER = frozenset({0, 1, FIELD - 1, _ORDER_EIGHT, FIELD - _ORDER_EIGHT})  # y of the eight points of small order


@dataclass(frozen=True, slots=True)
class Roster:
    """The clients' long-term public keys, in the order that defines their indices.

    Attributes:
        public_keys: Raw Ed25519 public keys, 32 bytes each, all distinct.
        digest: SHA-256 that pins the keys and their order.
    """

    public_keys: tuple[bytes, ...]
    digest: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the keys.

        Raises:
            ValueError: If there is no key, one is not 32 bytes long or of small order, or one is listed twice.
        """
        if not 1 <= len(self.public_keys) <= MAXIMUM_CLIENTS:
            raise ValueError(f"public_keys={len(self.public_keys)} keys must be between 1 and {MAXIMUM_CLIENTS}")
        first_index: dict[bytes, int] = {}
        for index, key in enumerate(self.public_keys):
            if not isinstance(key, bytes) or len(key) != PUBLIC_KEY_BYTES:
                raise ValueError(f"public_keys[{index}] must be {PUBLIC_KEY_BYTES} bytes")
            if is_of_small_order(key):
                raise ValueError(f"public_keys[{index}] must not be of small order: anybody could sign for it")
            if key in first_index:
                raise ValueError(f"public_keys[{index}] must differ from public_keys[{first_index[key]}]")
            first_index[key] = index
        content = b"fedprllm/v1/roster" + len(self.public_keys).to_bytes(4, "little") + b"".join(self.public_keys)
        object.__setattr__(self, "digest", hashlib.sha256(content).digest())

    def __len__(self) -> int:
        """Return the number of clients."""
        return len(self.public_keys)

    def __repr__(self) -> str:
        """Name the roster by its size and digest: ten thousand keys help no reader of a log."""
        return f"Roster({len(self)} clients, {self.digest[:4].hex()})"

    @classmethod
    def of(cls, signing_keys: list[Ed25519PrivateKey] | tuple[Ed25519PrivateKey, ...]) -> Roster:
        """Return the roster of these private keys, in their order."""
        return cls(tuple(public_key_bytes(key) for key in signing_keys))


def is_of_small_order(public_key: bytes) -> bool:
    """Return whether 32 bytes stand for a point of small order, in any encoding that a library may take for one.

    The sign bit is ignored, and y is taken modulo the field's prime: neither need be canonical.
    """
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    return y % FIELD in SMALL_ORDER


def generate_signing_key() -> Ed25519PrivateKey:
    """Return a fresh long-term signing key from the operating system's randomness."""
    return Ed25519PrivateKey.generate()


def public_key_bytes(signing_key: Ed25519PrivateKey) -> bytes:
    """Return the raw 32-byte public key that a roster lists."""
    return signing_key.public_key().public_bytes_raw()
