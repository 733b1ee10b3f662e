"""One secret key for all clients of a session, made from what each of them contributed.

Every client draws 32 random bytes and seals them for every other client. The clients that shared, whom the inbox names,
all hold all contributions and derive from them

    key material = HKDF-SHA256(index || contribution of every sharer, ascending; salt = plan digest;
                               info = row "he" of the table in `protocols.derivation`, without ends or vector; 48 bytes)
    secret key   = ternary polynomial: of AES-128-CTR under the first 16 bytes each byte below 255, mod 3, less 1
    check        = the other 32 bytes

with indices in four little-endian bytes. The key is fresh and unknown to the server if one contribution is: no client
deals it, so none that leaves takes it along. The check is signed in confirm, so that clients that hold different keys
find out; who does not know the contributions learns nothing from it, being an independent output of the derivation.

Knows neither ciphertexts nor an encryption library; works out the number-theoretic transform in integers, since the
library takes keys in that form only.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from protocols.sealing import TAG_BYTES

LABEL = b"fedprllm/v1/he"
CONTRIBUTION_BYTES = 32
SEALED_BYTES = CONTRIBUTION_BYTES + TAG_BYTES
PUBLIC_KEY_BYTES = 32  # of X25519, under which contributions are sealed
CHECK_BYTES = 32
_STREAM_KEY_BYTES = 16
_INDEX = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class SessionKey:
    """What the clients of a session share.

    Attributes:
        stream_key: AES key of the stream that the secret key is drawn from, 16 bytes.
        check: Tells holders of the same key from others, 32 bytes.
    """

    stream_key: bytes = field(repr=False)
    check: bytes = field(repr=False)


def draw_contribution() -> bytes:
    """Return 32 random bytes from the operating system."""
    return secrets.token_bytes(CONTRIBUTION_BYTES)


def derive_key(contributions: Mapping[int, bytes], *, plan_digest: bytes, session: bytes) -> SessionKey:
    """Return the session's key.

    Args:
        contributions: 32 bytes of every client that shared, by roster index.
        plan_digest: What the protocols bind as the manifest, 32 bytes.
        session: Session id, 32 bytes.

    Raises:
        ValueError: If there is no contribution or one has another length.
    """
    if not contributions or any(len(part) != CONTRIBUTION_BYTES for part in contributions.values()):
        raise ValueError(f"contributions must be {CONTRIBUTION_BYTES} bytes each, of at least one client")
    secret = b"".join(_INDEX.pack(index) + contributions[index] for index in sorted(contributions))
    info = b"".join(struct.pack("<H", len(item)) + item for item in (LABEL, session, b"", b"", b"", b""))
    material = HKDF(SHA256(), _STREAM_KEY_BYTES + CHECK_BYTES, salt=plan_digest, info=info).derive(secret)
    return SessionKey(material[:_STREAM_KEY_BYTES], material[_STREAM_KEY_BYTES:])


def sample_ternary(stream_key: bytes, degree: int) -> NDArray[np.int8]:
    """Return uniform coefficients in {-1, 0, 1} as int8 (degree,), drawn without bias from the key's stream."""
    stream = Cipher(algorithms.AES(stream_key), modes.CTR(bytes(16))).encryptor()
    accepted = np.empty(0, np.uint8)
    while len(accepted) < degree:
        drawn = np.frombuffer(stream.update(bytes(degree)), np.uint8)
        accepted = np.concatenate([accepted, drawn[drawn < 255]])  # 255 = 85 * 3 values share the residues evenly
    return (accepted[:degree] % 3).astype(np.int8) - np.int8(1)


def transform(coefficients: NDArray[np.int8], prime: int) -> NDArray[np.uint64]:
    """Return the negacyclic number-theoretic transform of a polynomial, in the library's order.

    Value i is the polynomial at psi**(2 * rev(i) + 1), psi the smallest primitive 2N-th root of unity and rev the
    reversal of log2(N) bits (Cooley-Tukey butterflies; Longa and Naehrig 2016, Algorithm 1).

    Args:
        coefficients: int8 (N,), N a power of two.
        prime: Below 2**63 and 1 mod 2N.

    Returns:
        uint64 (N,), below the prime.
    """
    degree, modulus = len(coefficients), np.uint64(prime)
    powers, quotients = _reversed_powers(degree, prime)
    values = (coefficients.astype(np.int64) % prime).astype(np.uint64)
    blocks = 1
    while blocks < degree:
        pairs = values.reshape(blocks, 2, -1)  # (blocks, halves, entries)
        several = slice(blocks, 2 * blocks)
        upper, lower = pairs[:, 0], _times(pairs[:, 1], powers[several, None], quotients[several, None], modulus)
        both = (_below(upper + lower, modulus), _below(upper + (modulus - lower), modulus))
        values = np.stack(both, axis=1).reshape(-1)
        blocks *= 2
    return values


def _times(
    values: NDArray[np.uint64], factors: NDArray[np.uint64], quotients: NDArray[np.uint64], prime: np.uint64
) -> NDArray[np.uint64]:
    """Multiply modulo a prime below 2**63, in 64 bits (Shoup; as in Harvey 2014, "Faster arithmetic for NTTs").

    With q the upper word of value * quotient, value * factor - q * prime is in [0, 2 prime), so its lower word is all
    of it.
    """
    return _below(values * factors - _upper_word(values, quotients) * prime, prime)


def _below(values: NDArray[np.uint64], prime: np.uint64) -> NDArray[np.uint64]:
    """Take the prime off values in [0, 2 prime) that reach it: off the others it wraps to something large."""
    return np.minimum(values, values - prime)


def _upper_word(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the upper 64 of a product's 128 bits, by halves of words."""
    half, low = np.uint64(32), np.uint64(2**32 - 1)
    first = (left >> half) * (right & low) + ((left & low) * (right & low) >> half)
    second = (left & low) * (right >> half) + (first & low)
    return (left >> half) * (right >> half) + (first >> half) + (second >> half)


@lru_cache(maxsize=8)
def _reversed_powers(degree: int, prime: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return psi**rev(i) and the quotient of each, floor(2**64 psi**rev(i) / prime), uint64 (N,)."""
    root = _smallest_root(degree, prime)
    powers = [1]
    for _ in range(degree - 1):
        powers.append(powers[-1] * root % prime)
    bits = degree.bit_length() - 1
    ordered = [powers[int(f"{i:0{bits}b}"[::-1], 2)] for i in range(degree)]
    return np.array(ordered, np.uint64), np.array([(power << 64) // prime for power in ordered], np.uint64)


def _smallest_root(degree: int, prime: int) -> int:
    """Return the smallest primitive 2N-th root of unity: all are the odd powers of one."""
    roots = (pow(base, (prime - 1) // (2 * degree), prime) for base in range(2, prime))
    root = next(found for found in roots if pow(found, degree, prime) == prime - 1)
    square, smallest, power = root * root % prime, root, root
    for _ in range(degree - 1):
        power = power * square % prime
        smallest = min(smallest, power)
    return smallest
