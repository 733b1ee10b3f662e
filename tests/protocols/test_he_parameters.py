"""Which parameters the homomorphic protocols choose, that they are exact, and what they refuse."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from protocols import PROTOCOLS, Layout, VectorSpec
from protocols.homomorphic import parameters
from protocols.homomorphic.parameters import (
    Scheme,
    Shape,
    choose,
    ckks_scale,
    densest_layout,
    is_exact,
    is_prime,
    largest_bound,
    plain_modulus,
    rings,
)

SMALL, LARGE = rings()
SCHEMES = list(Scheme)
CLIENTS = [2, 3, 4, 5, 8, 16, 32, 64, 100, 128, 256, 300, 1000, 10_000]


def margin(scheme, ring, clients, largest_sum):
    """Return by how much the sum is exact, from the rules alone and without rounding where they are rational."""
    if scheme is Scheme.BFV:
        modulus = plain_modulus(ring, largest_sum)
        certain = Fraction(ring.modulus, 2 * modulus) / (clients * Fraction(43, 2))
        budget = Fraction(ring.modulus, 4 * modulus) / Fraction(10 * math.sqrt(clients * (10.5 + 1 / 12)))
        return min(certain, budget)
    if largest_sum >= 2**47:
        return 0
    deviation = math.sqrt(ring.degree * clients * (10.5 + 1 / 12))
    scale = 8 * deviation / (1 / 4 - largest_sum / 2**50)
    return (ring.modulus / 2) / (math.sqrt(2) * largest_sum * scale + 22 * clients)


def test_the_rings_are_within_the_security_table():
    """One 60-bit prime of 109 bits allowed, and three, one of them reserved, of 218; all fit the transform."""
    assert [(ring.degree, len(ring.data_primes), len(ring.reserved_primes)) for ring in rings()] == [
        (4096, 1, 0),
        (8192, 2, 1),
    ]
    for ring, allowed in zip(rings(), (109, 218), strict=True):
        primes = ring.data_primes + ring.reserved_primes
        assert sum(prime.bit_length() for prime in primes) <= allowed
        for prime in primes:
            assert is_prime(prime)
            assert prime.bit_length() == 60
            assert prime % (2 * ring.degree) == 1
    assert SMALL.data_primes == (1152921504606830593,)
    assert (SMALL.upload_bytes, SMALL.sum_bytes) == (64 + 30720, 61440)
    assert (LARGE.upload_bytes, LARGE.sum_bytes) == (64 + 122880, 245760)


@pytest.mark.parametrize(
    ("clients", "bfv", "ckks"),
    [(2, 33, 28), (3, 26, 22), (8, 16, 13), (16, 12, 10), (32, 9, 8), (64, 8, 7), (128, 6, 6), (1000, 4, 4)],
)
def test_known_votes_a_word(clients, bfv, ckks):
    """The lanes of a word of votes, by number of clients."""
    for scheme, lanes in ((Scheme.BFV, bfv), (Scheme.CKKS, ckks)):
        assert densest_layout(scheme, SMALL, clients, Shape(1, 1)) == Layout(clients + 1, lanes)


@pytest.mark.parametrize(("clients", "bfv", "ckks"), [(8, 4.3, 4.7), (64, 8.5, 9.5), (1000, 16.2, 16.2)])
def test_bits_a_vote(make_plan, signing_keys, clients, bfv, ckks):
    """A vote's upload stays below these bits, the seeds included."""
    for scheme, most in ((Scheme.BFV, bfv), (Scheme.CKKS, ckks)):
        layout = densest_layout(scheme, SMALL, clients, Shape(1, 1))

        assert 8 * SMALL.upload_bytes / (4096 * layout.lanes) < most


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("clients", CLIENTS)
@pytest.mark.parametrize("bound", [1, 2, 255, 1000, 2**20, 2**30])
def test_layouts_are_exact_and_one_lane_more_would_not_be(scheme, clients, bound):
    """The densest layout meets every rule, computed a second way, and the next one breaks one."""
    radix = clients * bound + 1
    for ring in rings():
        layout = densest_layout(scheme, ring, clients, Shape(1, bound))
        lanes = layout.lanes if layout else 0
        beyond = radix ** (lanes + 1)

        assert lanes == 0 or margin(scheme, ring, clients, radix**lanes - 1) > 1
        assert beyond >= 2**59 or not is_exact(scheme, ring, clients, beyond - 1)
        assert beyond >= 2**59 or margin(scheme, ring, clients, beyond - 1) < 1


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("clients", [3, 8, 64, 1000])
def test_the_last_exact_sum_meets_every_rule_narrowly(scheme, clients):
    """Exactness ends where the rules, computed a second way, say so, but for what rounding up takes."""
    low, high = 1, 2**59
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_exact(scheme, SMALL, clients, middle) else (low, middle)

    assert 1 < margin(scheme, SMALL, clients, low) < 1.03


def test_rings_beyond_the_security_table_are_not_made(monkeypatch):
    """A candidate with a bit too many stops everything."""
    rings.cache_clear()
    monkeypatch.setitem(parameters.SECURITY_BITS, 8192, 179)
    with pytest.raises(AssertionError, match="degree=8192 is not secure with 3 primes"):
        rings()


def test_the_plain_modulus_is_the_smallest_prime_that_fits():
    """At 64 clients and 8 lanes it leaves the 1376 that the noise may take; the largest prime of 49 bits does not."""
    modulus = plain_modulus(SMALL, 65**8 - 1)

    assert modulus == 318644813037569
    assert is_prime(modulus)
    assert modulus % 8192 == 1
    assert not any(is_prime(number) for number in range(modulus - 8192, 65**8 - 1, -8192))
    assert SMALL.modulus // (2 * modulus) == 1809 >= 64 * 21.5
    largest = next(number for number in range(2**49 - 8191, 0, -8192) if is_prime(number))
    assert SMALL.modulus // (2 * largest) < 64 * 21.5


@pytest.mark.parametrize("number", [0, 1, 4, 9, 561, 3215031751, 3825123056546413051, 2**61 + 1, 41 * 43, 1369])
def test_composites_are_not_prime(number):
    """Strong pseudoprimes to several bases among them."""
    assert not is_prime(number)


def test_small_primes_are_those_of_the_sieve():
    """Agrees with trial division."""
    found = [number for number in range(2000) if is_prime(number)]

    assert found == [n for n in range(2, 2000) if all(n % divisor for divisor in range(2, math.isqrt(n) + 1))]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("clients", [3, 64, 1000])
def test_bounds_beyond_exactness_are_refused(make_plan, signing_keys, scheme, clients):
    """The largest bound is accepted; one more is an error that names field, limit and what would do."""
    largest = largest_bound(scheme, clients)
    roster = make_plan(3).roster
    keys = tuple(index.to_bytes(32, "little") for index in range(2, clients + 2))  # 0 and 1 are of small order
    make = lambda bound: make_plan(3, (VectorSpec("energy", 5, bound),), roster=type(roster)(keys))  # noqa: E731
    plan = make(largest)

    assert choose(scheme, plan).layouts == (Layout(clients * largest + 1, 1),)
    assert choose(scheme, plan).parameters.ring == LARGE
    with pytest.raises(
        ValueError,
        match=rf"bound={largest + 1} of 'energy' must be at most {largest}: .*{clients} clients exactly.*would do",
    ):
        choose(scheme, make(largest + 1))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_step_beyond_the_small_ring_the_large_one_is_taken(make_plan, scheme):
    """The small ring, with fewer bits an entry, is used up to its last exact bound."""
    low, high = 1, 2**60
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if densest_layout(scheme, SMALL, 4, Shape(1, middle)) else (low, middle)
    taken = [choose(scheme, make_plan(4, (VectorSpec("energy", 9, bound),))).parameters.ring for bound in (low, high)]

    assert taken == [SMALL, LARGE]


@pytest.mark.parametrize("order", [1, -1])
def test_one_set_of_parameters_serves_all_vectors(make_plan, order):
    """A wide vector beside many votes does not spoil exactness of either; the plaintext modulus holds the largest."""
    plan = make_plan(4, (VectorSpec("votes", 10**6, 1), VectorSpec("energy", 9, 2**44))[::order])
    choice = choose(Scheme.BFV, plan)
    words = [layout.radix**layout.lanes for layout in choice.layouts]

    assert words[0] != words[1]
    assert choice.parameters.plain_modulus >= max(words)
    assert choose(Scheme.CKKS, plan).parameters.scale == max(
        ckks_scale(choose(Scheme.CKKS, plan).parameters.ring, 4, layout.radix**layout.lanes - 1)
        for layout in choose(Scheme.CKKS, plan).layouts
    )
    assert all(is_exact(Scheme.BFV, choice.parameters.ring, 4, word - 1) for word in words)
    assert PROTOCOLS["bfv"].layout(plan, plan.vectors[1]) == choice.layouts[1]


@pytest.mark.parametrize("name", ["bfv", "ckks"])
@pytest.mark.parametrize(
    ("num_clients", "changes", "match"),
    [
        (2, {"recovery_threshold": 2, "minimum_survivors": 2}, "roster=2 clients must be at least 3"),
        (4, {"recovery_threshold": 2, "minimum_survivors": 4}, "recovery_threshold=2 must be at least 3"),
        (4, {"assumed_colluders": 2, "minimum_survivors": 4}, "recovery_threshold=3 must be at least 4"),
        (3, {"assumed_colluders": 2}, "minimum_survivors=3 must be at least 4"),
        (3, {"recovery_threshold": 2, "minimum_survivors": 2}, "minimum_survivors=2 must be at least 3: with assumed_"),
        (4, {"neighbours": 3, "beacon": bytes(32)}, "neighbours=3 must be 0"),
        (4, {"vectors": (VectorSpec("v", 1, 2**60),)}, "bound=1152921504606846976 of 'v' must be at most"),
    ],
)
def test_unsafe_plans_are_refused(make_plan, name, num_clients, changes, match):
    """A plan under which two lists could gather signatures, or a sum be one client's, is refused, naming the field."""
    plan = make_plan(num_clients, **changes)
    for make in (PROTOCOLS[name].check, PROTOCOLS[name].server):
        with pytest.raises(ValueError, match=match):
            make(plan)


@pytest.mark.parametrize("name", ["bfv", "ckks"])
def test_the_claim_is_one_line(make_plan, name):
    """The claim says who is trusted and what one client's help does."""
    claim = PROTOCOLS[name].claim(make_plan(4))

    assert "\n" not in claim
    for words in ("honest-but-curious server", "a lying server opens the vectors of 2 clients in", "opens everything"):
        assert words in claim


@pytest.mark.parametrize(
    ("num_clients", "vector", "opened"),
    [
        (3, VectorSpec("v", 1, 1), "2 clients in"),
        (4, VectorSpec("v", 1, 1), "2 clients in"),
        (6, VectorSpec("v", 1, 1), "2 clients in"),
        (7, VectorSpec("v", 1, 1), "3 clients in"),
        (64, VectorSpec("v", 1, 1), "6 clients in"),
        (64, VectorSpec("v", 1, 1000), "1 client in"),
        (20, VectorSpec("v", 1, 10), "2 clients in"),
        (4, VectorSpec("v", 1, 1, True), "2 clients in"),
        (12, VectorSpec("v", 1, 1, True), "2 clients in"),
        (13, VectorSpec("v", 1, 1, True), "3 clients in"),
        (4, VectorSpec("v", 1, 1, True, 36), "4 clients in"),
    ],
)
def test_the_claim_counts_what_a_lying_server_opens(make_plan, num_clients, vector, opened):
    """As many digits of a client's range as the range of totals holds, over the vectors; noise's headroom is room."""
    others = (VectorSpec("wide", 1, 1000),)

    for vectors in ((vector,), (vector, *others), (*others, vector)):
        assert f"opens the vectors of {opened} a session" in PROTOCOLS["ckks"].claim(make_plan(num_clients, vectors))


def test_a_plain_modulus_past_the_library_is_never_exact():
    """The smallest prime above a word just below 2**59 is above it, however much room the ciphertexts have."""
    largest = parameters.LARGEST_PLAIN_MODULUS - 2

    assert plain_modulus(LARGE, largest) > parameters.LARGEST_PLAIN_MODULUS
    assert LARGE.modulus > 2**100
    assert not is_exact(Scheme.BFV, LARGE, 3, largest)
