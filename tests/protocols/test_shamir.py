"""Shamir's sharing: what t shares give and t - 1 do not, against a slow oracle and known answers."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.additive import shamir
from protocols.additive.shamir import PRIME, decode_share, encode_share, join, split

SECRET = bytes(range(32))


def value_at_zero(shares, prime):
    """Lagrange's formula as it stands in a textbook."""
    total = 0
    for x, y in shares.items():
        others = [other for other in shares if other != x]
        numerator = denominator = 1
        for other in others:
            numerator = numerator * -other % prime
            denominator = denominator * (x - other) % prime
        total += y * numerator * pow(denominator, -1, prime)
    return total % prime


def test_the_field_is_prime_and_holds_every_secret():
    """2**256 + 297 passes Miller-Rabin to the first forty bases and is the smallest prime above 2**256."""

    def is_prime(number):
        odd, twos = number - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        for base in range(2, 42):
            power = pow(base, odd, number)
            if power not in (1, number - 1) and number - 1 not in [pow(power, 2**k, number) for k in range(twos)]:
                return False
        return True

    assert PRIME == 2**256 + 297
    assert [offset for offset in range(298) if is_prime(2**256 + offset)] == [297]


def test_known_answer(monkeypatch):
    """Shares written down once, for drawn values 1 and 2: the parabola through (0, secret), (1, 1), (2, 2)."""
    drawn, limits = iter([1, 2]), []
    monkeypatch.setattr(shamir.secrets, "randbelow", lambda limit: limits.append(limit) or next(drawn))
    shares = split(SECRET, threshold=3, points=[1, 2, 3, 5], largest=5)
    zero = int.from_bytes(SECRET, "little")
    polynomial = [(zero * (x - 1) * (x - 2) * Fraction(1, 2) - x * (x - 2) + x * (x - 1)) % PRIME for x in (1, 2, 3, 5)]

    assert limits == [PRIME, PRIME]  # the whole field: else shares lean towards some secrets
    assert shares == polynomial
    assert encode_share(shares[2]).hex() == "030102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00"
    assert join({5: 2**256 + 1, 1: 7}) == 28948022309329048855892746252171976963317496166410141009864396001978282410141


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    secret=st.binary(min_size=32, max_size=32),
    points=st.lists(st.integers(1, 300), min_size=1, max_size=25, unique=True),
    data=st.data(),
)
def test_any_threshold_many_shares_give_the_secret(secret, points, data):
    """Whatever the points and their order, each subset of t shares joins to the secret, also by the slow oracle."""
    threshold = data.draw(st.integers(1, len(points)))
    shares = dict(zip(points, split(secret, threshold=threshold, points=points, largest=300), strict=True))
    chosen = data.draw(st.permutations(points))[:threshold]
    some = {x: shares[x] for x in chosen}

    assert join(some) == value_at_zero(some, PRIME) == int.from_bytes(secret, "little")
    assert all(0 <= share < PRIME for share in shares.values())


def test_extreme_secrets():
    """All zero bits and all one bits are secrets like others."""
    for secret in (bytes(32), b"\xff" * 32):
        shares = split(secret, threshold=2, points=[1, 2, 3], largest=3)

        assert join({1: shares[0], 3: shares[2]}) == int.from_bytes(secret, "little")


def test_fewer_shares_fit_every_secret():
    """For t - 1 given shares and any secret there is a polynomial: shares of one secret are consistent with another."""
    points = [2, 3, 7, 8]
    shares = split(SECRET, threshold=4, points=points, largest=8)
    known = dict(zip(points[:3], shares[:3], strict=True))
    for other in (bytes(32), b"\xff" * 32, bytes(31) + b"\1"):
        # The one polynomial of degree 3 through the other secret and the three known shares.
        full = {0: int.from_bytes(other, "little"), **known}
        fourth = value_at_zero({x - 8: y for x, y in full.items()}, PRIME)

        assert join({**known, 8: fourth}) == int.from_bytes(other, "little")


def test_fewer_shares_are_distributed_alike_for_every_secret(monkeypatch):
    """Counting over the whole field of 7: any t - 1 shares take each value equally often, whatever the secret."""
    monkeypatch.setattr(shamir, "PRIME", 7)
    monkeypatch.setattr(shamir, "_inverses", [0, 1])
    shamir._extension.cache_clear()
    points, seen = [1, 2, 3, 4, 5], {}
    for secret in (0, 3, 6):
        counts: dict[tuple[int, int], Counter] = {pair: Counter() for pair in itertools.combinations(range(5), 2)}
        for draws in itertools.product(range(7), repeat=2):
            drawn = iter(draws)
            monkeypatch.setattr(shamir.secrets, "randbelow", lambda limit, drawn=drawn: next(drawn))
            shares = split(secret.to_bytes(32, "little"), threshold=3, points=points, largest=5)
            for pair, counter in counts.items():
                counter[tuple(shares[position] for position in pair)] += 1
        seen[secret] = counts
    shamir._extension.cache_clear()

    assert all(set(counter.values()) == {1} and len(counter) == 49 for counter in seen[0].values())
    assert seen[0] == seen[3] == seen[6]


def test_shares_are_fresh():
    """Two sharings of one secret have no share in common: the drawn values are not reused."""
    first, second = (split(SECRET, threshold=3, points=[1, 2, 3, 4], largest=4) for _ in range(2))

    assert not set(first) & set(second)


@pytest.mark.parametrize(
    ("points", "match"),
    [
        ([0, 1, 2], "x=0 must be between 1 and 5"),
        ([1, 2, 6], "x=6 must be between 1 and 5"),
        ([1, -1, 2], "x=-1 must be between 1 and 5"),
        ([1, 2, 1], "points must not repeat an x"),
        ([], "must have at least one x"),
    ],
)
def test_bad_points_are_refused(points, match):
    """At x = 0 lies the secret; a repeated x is one share, not two."""
    with pytest.raises(ValueError, match=match):
        split(SECRET, threshold=1, points=points, largest=5)


def test_bad_sets_of_shares_are_refused():
    """Shares at 0, and no share, are not joined."""
    with pytest.raises(ValueError, match="x=0 must be between 1 and 2"):
        join({0: 5, 2: 6})
    with pytest.raises(ValueError, match="at least one x"):
        join({})


@pytest.mark.parametrize("threshold", [0, 4])
def test_bad_thresholds_are_refused(threshold):
    """More shares than there are can never be had."""
    with pytest.raises(ValueError, match=f"threshold={threshold} must be between 1 and 3 points"):
        split(SECRET, threshold=threshold, points=[1, 2, 3], largest=3)


def test_bad_secrets_are_refused():
    """A secret has 32 bytes."""
    for secret in (SECRET[:-1], SECRET + b"\0"):
        with pytest.raises(ValueError, match=f"secret={len(secret)} bytes must be 32 bytes"):
            split(secret, threshold=1, points=[1], largest=1)


def test_share_bytes_are_canonical():
    """33 bytes below the prime, and nothing else."""
    for share in (0, 1, 2**256, PRIME - 1):
        assert decode_share(encode_share(share)) == share
    for bad in (b"", bytes(32), bytes(34), PRIME.to_bytes(33, "little"), b"\xff" * 33):
        with pytest.raises(ValueError, match="a share must be 33 bytes that hold a field element"):
            decode_share(bad)
