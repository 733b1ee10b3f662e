"""The key table against HKDF written out, its separation of keys, and refused key agreements."""

from __future__ import annotations

import hashlib
import hmac
import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols import InvalidMessage, Step
from protocols.derivation import KeyTable, agree
from protocols.wire import Frame

PLAN, SESSION = bytes(range(32)), bytes(range(32, 64))
SECRET = bytes(range(64, 96))
TABLE = KeyTable(PLAN, SESSION)
FRAME = Frame("additive", Step.SHARE, PLAN)
# Public keys with which every X25519 output is zero (RFC 7748; the orders are 4, 1, 8, 8, 2, 4 and 1).
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def hkdf(secret, salt, info, length):
    """HKDF-SHA256 of RFC 5869, for at most 32 bytes."""
    extracted = hmac.digest(salt, secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\1", hashlib.sha256)[:length]


def prefixed(*fields):
    """Join fields, each after its length."""
    return b"".join(len(field).to_bytes(2, "little") + field for field in fields)


def test_the_oracle_is_hkdf():
    """Test case 1 of RFC 5869."""
    info = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9")
    expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"

    assert hkdf(b"\x0b" * 22, bytes(range(13)), info, 32).hex() == expected


def test_keys_are_those_of_the_documented_table():
    """Each row equals HKDF over the fields written out."""
    two, five = (2).to_bytes(4, "little"), (5).to_bytes(4, "little")
    share = prefixed(b"fedprllm/v1/share", SESSION, five, two, b"", b"")
    pair = prefixed(b"fedprllm/v1/pair", SESSION, two, five, "Gewicht ü".encode(), (3).to_bytes(8, "little"))
    own = prefixed(b"fedprllm/v1/self", SESSION, two, two, b"votes", bytes(8))

    assert TABLE.share(SECRET, 5, 2) == hkdf(SECRET, PLAN, share, 32)
    assert TABLE.pair(SECRET, 5, 2, "Gewicht ü", 3) == hkdf(SECRET, PLAN, pair, 16)
    assert TABLE.self_mask(SECRET, 2, "votes", 0) == hkdf(SECRET, PLAN, own, 16)


def test_known_keys():
    """Keys written down once: a change breaks sessions between versions."""
    assert TABLE.share(SECRET, 5, 2).hex() == "47ff43385babc19f2cb5de86c223c8e607bb6634dff2aeccc0cd5222e40fffe0"
    assert TABLE.pair(SECRET, 2, 5, "votes", 0).hex() == "62d0a0f4f3f7c6c706d0a3b88ef4f51e"
    assert TABLE.self_mask(SECRET, 2, "votes", 0).hex() == "8457806443b3da0dbf3b97415ec53743"


def test_both_ends_of_a_pair_have_one_key():
    """A pair's key does not depend on who asks; a sealing key depends on the direction."""
    assert TABLE.pair(SECRET, 2, 5, "votes", 0) == TABLE.pair(SECRET, 5, 2, "votes", 0)
    assert TABLE.share(SECRET, 2, 5) != TABLE.share(SECRET, 5, 2)


def test_no_two_rows_share_a_key():
    """Another plan, session, secret, purpose, client, vector or number gives an unrelated key."""
    keys = [TABLE.share(SECRET, 2, 2)]
    for table in (TABLE, KeyTable(bytes(32), SESSION), KeyTable(PLAN, bytes(32))):
        for secret, (one, other) in itertools.product((SECRET, bytes(range(32))), ((2, 5), (2, 6), (1, 5))):
            keys += [table.share(secret, one, other), table.share(secret, other, one)]
            for vector, number in (("votes", 0), ("votes", 1), ("votes1", 0), ("v", 0)):
                keys.append(table.pair(secret, one, other, vector, number))
        for client, vector in itertools.product((2, 5), ("votes", "v")):
            keys.append(table.self_mask(SECRET, client, vector, 0))
        keys.append(table.pair(SECRET, 2, 2, "votes", 0))

    assert len({key[:16] for key in keys}) == len(keys)


def test_the_longest_name_has_a_key():
    """A vector name may have as many bytes as a plan allows, and its last byte counts."""
    name = "x" * (2**16 - 2)

    assert TABLE.pair(SECRET, 0, 1, name + "y", 0) != TABLE.pair(SECRET, 0, 1, name + "z", 0)


def test_a_secret_has_32_bytes():
    """Whatever is not a whole secret is refused."""
    for secret in (b"", SECRET[:-1], SECRET + b"\0"):
        with pytest.raises(ValueError, match=f"secret={len(secret)} bytes must be 32 bytes"):
            TABLE.share(secret, 0, 1)


def test_both_ends_agree():
    """Two clients compute one secret, which is neither's public key."""
    one, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    secret = agree(one, other.public_key().public_bytes_raw(), frame=FRAME, client=1)

    assert secret == agree(other, one.public_key().public_bytes_raw(), frame=FRAME, client=0)
    assert len(secret) == 32


@pytest.mark.parametrize("public_key", SMALL_ORDER)
def test_keys_of_small_order_are_refused(public_key):
    """A public key that forces an all-zero secret is refused by name."""
    with pytest.raises(InvalidMessage, match="share, client 7: an advertised key is of small order"):
        agree(X25519PrivateKey.generate(), bytes.fromhex(public_key), frame=FRAME, client=7)


def test_an_all_zero_secret_is_refused_whatever_the_library_does():
    """The check does not rest on the library's own."""

    class Lenient:
        def exchange(self, public_key):
            return bytes(32)

    with pytest.raises(InvalidMessage, match="small order"):
        agree(Lenient(), bytes(32), frame=FRAME, client=7)
