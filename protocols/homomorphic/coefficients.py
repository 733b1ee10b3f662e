"""The wire form of ciphertexts: bare coefficients of 60 bits, and a seed.

    fresh ciphertext    seed (64) || coefficients of its first polynomial, prime by prime
    summed ciphertext   coefficients of both polynomials, prime by prime

Two coefficients a, b take 15 bytes: a + b * 2**60, little-endian. A coefficient is below its prime, or the ciphertext
is refused; whatever passes is a ciphertext, so no structure that a sender chose reaches the encryption library's
parser. Knows neither keys nor the library.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protocols.homomorphic.parameters import PRIME_BITS

Coefficients = NDArray[np.uint64]
_LOW_BITS = np.uint64(64 - PRIME_BITS)
_MASK = np.uint64(2**PRIME_BITS - 1)


def encode_coefficients(coefficients: Coefficients) -> bytes:
    """Return the bytes of an even number of coefficients below 2**60, uint64 (count,)."""
    pairs = coefficients.reshape(-1, 2)
    words = np.empty((len(pairs), 2), "<u8")
    words[:, 0] = pairs[:, 0] | pairs[:, 1] << np.uint64(PRIME_BITS)
    words[:, 1] = pairs[:, 1] >> _LOW_BITS
    return words.view(np.uint8)[:, :15].tobytes()


def decode_coefficients(data: bytes | NDArray[np.uint8], primes: Sequence[int], degree: int) -> Coefficients:
    """Return the coefficients of whole polynomials.

    Args:
        data: 15 bytes a pair.
        primes: Primes of the modulus; one polynomial has `degree` coefficients for each, prime by prime.
        degree: N.

    Returns:
        uint64 (polynomials * primes * degree,).

    Raises:
        ValueError: If the length is not that of whole polynomials or a coefficient is not below its prime.
    """
    content = np.frombuffer(data, np.uint8)
    pairs, rest = divmod(len(content), 15)
    if rest or 2 * pairs % (len(primes) * degree):
        raise ValueError(f"{len(content)} bytes are not whole polynomials")
    padded = np.zeros((pairs, 16), np.uint8)
    padded[:, :15] = content.reshape(pairs, 15)
    words = padded.view("<u8").astype(np.uint64, copy=False)
    coefficients = np.empty((pairs, 2), np.uint64)
    coefficients[:, 0] = words[:, 0] & _MASK
    coefficients[:, 1] = words[:, 0] >> np.uint64(PRIME_BITS) | words[:, 1] << _LOW_BITS
    largest = coefficients.reshape(-1, len(primes), degree).max(axis=(0, 2))  # (primes,)
    if any(int(value) >= prime for value, prime in zip(largest, primes, strict=True)):
        raise ValueError("a coefficient is not below its prime")
    return coefficients.reshape(-1)
