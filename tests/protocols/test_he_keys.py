"""The session's key: from contributions to a ternary polynomial in the library's form."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from protocols.homomorphic import keys
from protocols.homomorphic.keys import derive_key, draw_contribution, sample_ternary, transform
from protocols.homomorphic.parameters import rings

PARTS = {0: bytes(32), 3: bytes(range(32))}


def derive(parts=PARTS, plan=bytes(32), session=b"\1" * 32):
    """Derive with defaults."""
    return derive_key(parts, plan_digest=plan, session=session)


def test_known_key():
    """Derivation and sampling, written down once; HKDF redone from HMAC by hand."""
    import hmac

    key = derive()
    secret = bytes(4) + bytes(32) + b"\3\0\0\0" + bytes(range(32))
    extracted = hmac.digest(bytes(32), secret, "sha256")
    info = b"\x0e\0fedprllm/v1/he" + b"\x20\0" + b"\1" * 32 + bytes(8)
    first = hmac.digest(extracted, info + b"\1", "sha256")
    second = hmac.digest(extracted, first + info + b"\2", "sha256")
    ternary = sample_ternary(key.stream_key, 4096)

    assert key.stream_key + key.check == (first + second)[:48]
    assert key.stream_key.hex() == "507b2cfc9ed2685e36e14ede01b6498f"
    assert ternary[:12].tolist() == [0, -1, -1, -1, 1, 1, 0, 0, 1, 0, -1, -1]
    assert (
        hashlib.sha256(ternary.tobytes()).hexdigest()
        == "911a6a341e4be7853a79afb3e6faf8079715b4c64ce6853669167a857714375c"
    )


def test_every_input_changes_the_key():
    """Another contribution, index, set of clients, plan or session: nothing of the key is the same."""
    keys = [
        derive(),
        derive({0: bytes(32), 3: bytes(32)}),
        derive({0: bytes(32), 2: bytes(range(32))}),
        derive({0: bytes(32)}),
        derive(plan=b"\1" * 32),
        derive(session=b"\2" * 32),
    ]

    assert len({key.stream_key for key in keys}) == len({key.check for key in keys}) == len(keys)


def test_order_of_contributions_is_irrelevant():
    """Clients that learn of the others in another order hold the same key."""
    assert derive(dict(reversed(PARTS.items()))) == derive()


@pytest.mark.parametrize("parts", [{}, {0: bytes(31)}, {0: bytes(32), 1: bytes(33)}])
def test_bad_contributions_are_refused(parts):
    """No contribution, or one of another length, makes no key."""
    with pytest.raises(ValueError, match="contributions must be 32 bytes each"):
        derive(parts)


def test_contributions_are_fresh():
    """Two draws differ."""
    assert draw_contribution() != draw_contribution()


def test_no_repr_holds_the_key():
    """A key prints without its bytes."""
    assert repr(derive()) == "SessionKey()"


def test_ternary_coefficients_are_uniform():
    """Each value takes a third, over many keys, and neighbouring coefficients are independent."""
    drawn = np.concatenate([sample_ternary(bytes([i]) * 16, 8192) for i in range(64)])
    pairs = np.bincount((drawn[:-1] + 1) * 3 + drawn[1:] + 1, minlength=9)
    expected = (len(drawn) - 1) / 9

    assert drawn.dtype == np.int8
    assert set(np.unique(drawn)) == {-1, 0, 1}
    assert ((pairs - expected) ** 2 / expected).sum() < 35  # chi-square, 8 degrees: 1e-4 at 31.8; the keys are fixed


def test_a_rejected_byte_is_not_used():
    """Sampling equals a byte-by-byte reading of the stream in which 255 is skipped."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    stream = Cipher(algorithms.AES(b"k" * 16), modes.CTR(bytes(16))).encryptor().update(bytes(9000))
    expected = [byte % 3 - 1 for byte in stream if byte != 255][:8192]

    assert 255 in stream[:8192]
    assert sample_ternary(b"k" * 16, 8192).tolist() == expected


@pytest.mark.parametrize("prime", [*rings()[0].data_primes, *rings()[0].reserved_primes])
@pytest.mark.parametrize("degree", [2, 8, 64, 4096])
def test_the_transform_evaluates_the_polynomial(degree, prime):
    """Values are those at the odd powers of the smallest root, in bit-reversed order."""
    polynomial = sample_ternary(b"p" * 16, degree)
    any_root = next(
        root
        for base in range(2, 99)
        if pow(root := pow(base, (prime - 1) // (2 * degree), prime), degree, prime) == prime - 1
    )
    root = min(pow(any_root, odd, prime) for odd in range(1, 2 * degree, 2))
    bits = degree.bit_length() - 1
    found = transform(polynomial, prime)
    for i in range(0, degree, max(1, degree // 64)):
        point, value = pow(root, 2 * int(f"{i:0{bits}b}"[::-1], 2) + 1, prime), 0
        for coefficient in polynomial[::-1].tolist():
            value = (value * point + coefficient) % prime
        assert found[i] == value


@pytest.mark.parametrize("degree", [2, 4096])
def test_the_transform_of_equal_halves_is_below_the_prime(degree):
    """Differences of 0 are 0, not the prime."""
    prime = rings()[0].data_primes[0]

    assert transform(np.zeros(degree, np.int8), prime).tolist() == [0] * degree
    assert transform(np.ones(degree, np.int8), prime).max() < prime


def test_upper_words_are_those_of_whole_products():
    """Every carry counts: words of all ones, of one half, and random ones."""
    edges = [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 2**32, 2**64 - 1]
    drawn = np.random.default_rng(0).integers(0, 2**64, 200, np.uint64, endpoint=False).tolist()
    left = np.array(edges + drawn, np.uint64)[:, None]
    right = left.T

    expected = [[a * b >> 64 for a in edges + drawn] for b in edges + drawn]
    assert keys._upper_word(left, right).tolist() == expected
