"""What a plan accepts, and that everything in it is bound by the digest and the session id."""

from __future__ import annotations

import hashlib

import pytest

from protocols import InvalidMessage, Roster, Step, VectorSpec, generate_signing_key, public_key_bytes
from protocols.advertisements import session_id
from protocols.errors import ProtocolError
from protocols.roster import FIELD, is_of_small_order
from protocols.wire import Frame, Message, open_from_client

KEYS = [hashlib.sha256(b"public %d" % index).digest() for index in range(9)]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        (("", 1, 1), "name='' must have between 1 and 65535 bytes"),
        (("x" * 2**16, 1, 1), "must have between 1 and 65535 bytes"),
        (("v", 0, 1), "length=0 of 'v' must be between 1 and"),
        (("v", 2**63, 1), "length=9223372036854775808 of 'v' must be between 1 and"),
        (("v", 1, 0), "bound=0 of 'v' must be between 1 and"),
        (("v", 1, 2**63), "bound=9223372036854775808 of 'v' must be between 1 and"),
        (("v", 1, 1, True, -1), "headroom=-1 of 'v' must be between 0 and"),
        (("v", 1, 1, True, 2**63), "headroom=9223372036854775808 of 'v' must be between 0 and"),
        (("v", 1, 1, False, 5), "headroom=5 of 'v' must be 0: entries without sign carry no noise"),
    ],
)
def test_bad_vectors_are_refused(fields, match):
    """A vector has a name, a length and a bound that make sense."""
    with pytest.raises(ValueError, match=match):
        VectorSpec(*fields)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ((), "public_keys=0 keys must be between 1 and"),
        ((KEYS[0], KEYS[1][:-1]), r"public_keys\[1\] must be 32 bytes"),
        ((KEYS[0], KEYS[1], KEYS[0]), r"public_keys\[2\] must differ from public_keys\[0\]"),
        ((KEYS[0], bytearray(32)), r"public_keys\[1\] must be 32 bytes"),
    ],
)
def test_bad_rosters_are_refused(keys, match):
    """A roster lists whole, distinct keys."""
    with pytest.raises(ValueError, match=match):
        Roster(keys)


CURVE = -121665 * pow(121666, -1, FIELD) % FIELD  # -x**2 + y**2 = 1 + CURVE * x**2 * y**2


def roots(square):
    """Return the square roots modulo the field's prime, which is 5 modulo 8."""
    root = pow(square, (FIELD + 3) // 8, FIELD)
    candidates = {root, root * pow(2, (FIELD - 1) // 4, FIELD) % FIELD}
    found = {candidate for candidate in candidates if (candidate * candidate - square) % FIELD == 0}
    return found | {-candidate % FIELD for candidate in found}


def doubled(point):
    """Return twice a point of the curve (Hisil et al. 2008)."""
    x, y = point
    product = CURVE * x * x * y * y % FIELD
    return 2 * x * y * pow(1 + product, -1, FIELD) % FIELD, (y * y + x * x) * pow(1 - product, -1, FIELD) % FIELD


def halves_of_order_four():
    """Return the points whose doubles have y = 0: there x**2 = -y**2, so CURVE * y**4 + 2 * y**2 = 1."""
    squares = [(root - 1) * pow(CURVE, -1, FIELD) % FIELD for root in roots(1 + CURVE)]
    return {(x, y) for square in squares for y in roots(square) for x in roots(-square)}


def small_order_points():
    """Return all points of order 1, 2, 4 and 8."""
    points = {(0, 1), (0, FIELD - 1)} | {(root, 0) for root in roots(-1)} | halves_of_order_four()
    for x, y in points:
        assert (-x * x + y * y - 1 - CURVE * x * x * y * y) % FIELD == 0
        assert doubled(doubled(doubled((x, y)))) == (0, 1)
    return points


def encodings(y):
    """Return every 32 bytes that stand for a point with this y, canonical or not."""
    numbers = [number for number in (y, y + FIELD) if number < 2**255]
    return [(number | sign << 255).to_bytes(32, "little") for number in numbers for sign in (0, 1)]


def test_keys_of_small_order_are_no_keys():
    """All eight points, in each encoding, are refused; their y are five, two of which have another representative."""
    points = small_order_points()
    keys = {key for _, y in points for key in encodings(y)}

    assert len(points) == 8
    assert len(keys) == 14
    for key in keys:
        with pytest.raises(ValueError, match=r"public_keys\[1\] must not be of small order: anybody could sign for it"):
            Roster((KEYS[0], key))
    assert not any(map(is_of_small_order, KEYS))
    assert not is_of_small_order(public_key_bytes(generate_signing_key()))


def test_under_a_key_of_small_order_anybody_could_sign(monkeypatch):
    """The control: were the neutral point a key, a signature that nobody made would verify for any message."""
    forged = (1).to_bytes(32, "little") + bytes(32)
    frame = Frame("plain", Step.CONFIRM, bytes(32))
    messages = [Message.of(frame, 1, 0, body, forged).encode() for body in (b"one list", b"another list")]
    honest = Roster((KEYS[0], public_key_bytes(generate_signing_key())))
    for message in messages:
        with pytest.raises(InvalidMessage, match="client 1: the signature does not verify"):
            open_from_client(message, frame, honest)
    monkeypatch.setattr("protocols.roster.is_of_small_order", lambda key: False)
    careless = Roster((KEYS[0], (1).to_bytes(32, "little")))

    assert [open_from_client(message, frame, careless).body for message in messages] == [b"one list", b"another list"]


def test_a_roster_is_pinned_in_its_order():
    """The digest depends on every key and on their order; printing it prints no key."""
    digests = {Roster(tuple(keys)).digest for keys in (KEYS[:2], KEYS[1::-1], KEYS[:1], KEYS[:3], [KEYS[0], KEYS[2]])}

    assert len(digests) == 5
    assert repr(Roster(tuple(KEYS[:2]))) == f"Roster(2 clients, {Roster(tuple(KEYS[:2])).digest[:4].hex()})"


def test_signing_keys_are_fresh():
    """Two generated keys differ, and a roster lists their public halves in order."""
    first, second = generate_signing_key(), generate_signing_key()

    assert public_key_bytes(first) != public_key_bytes(second)
    assert Roster.of([first, second]).public_keys == (public_key_bytes(first), public_key_bytes(second))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"manifest_hash": b"short"}, "manifest_hash=5 bytes must be 32 bytes"),
        ({"session_number": -1}, r"session_number=-1 must be in \[0, 2\*\*64\)"),
        ({"session_number": 2**64}, r"must be in \[0, 2\*\*64\)"),
        ({"minimum_survivors": 5}, "minimum_survivors=5 must be between 1 and 4 clients"),
        ({"minimum_survivors": 0}, "minimum_survivors=0 must be between 1 and 4 clients"),
        ({"recovery_threshold": 0}, "recovery_threshold=0 must be between 1 and minimum_survivors=3"),
        ({"recovery_threshold": 4}, "recovery_threshold=4 must be between 1 and minimum_survivors=3"),
        ({"assumed_colluders": -1}, r"assumed_colluders=-1 must be in \[0, 4\)"),
        ({"assumed_colluders": 4}, r"assumed_colluders=4 must be in \[0, 4\)"),
        ({"vectors": ()}, r"vectors=\(\) must name at least one vector"),
        ({"vectors": (VectorSpec("v", 1, 1), VectorSpec("v", 2, 1))}, "must have distinct names"),
        (
            {"vectors": (VectorSpec("wide", 1, 2**61),)},
            f"bound={2**61} of 'wide' must be at most {2**61 - 1}: the total",
        ),
    ],
)
def test_bad_plans_are_refused(make_plan, changes, match):
    """A plan that no protocol could carry out does not exist; the error names the field or the vector."""
    with pytest.raises(ValueError, match=match):
        make_plan(4, **changes)


def test_the_largest_total_that_fits_is_accepted(make_plan):
    """The limit is exact."""
    assert make_plan(4, (VectorSpec("wide", 1, 2**61 - 1),)).vectors[0].bound == 2**61 - 1


def test_the_digest_binds_every_field(make_plan):
    """Two plans that differ in anything have different digests."""
    votes, energy = VectorSpec("votes", 130, 1), VectorSpec("energy", 9, 1000)
    plans = [
        make_plan(4),
        make_plan(5),
        make_plan(4, manifest_hash=bytes(32)),
        make_plan(4, session_number=1),
        make_plan(4, minimum_survivors=4),
        make_plan(4, minimum_survivors=4, recovery_threshold=4),
        make_plan(4, recovery_threshold=2),
        make_plan(4, assumed_colluders=1),
        make_plan(4, neighbours=3, beacon=bytes(32)),
        make_plan(4, neighbours=3, beacon=bytes(31) + b"\1"),
        make_plan(4, neighbours=2, recovery_threshold=2, beacon=bytes(32)),
        make_plan(4, neighbours=3, recovery_threshold=2, beacon=bytes(32)),
        make_plan(4, (energy, votes)),
        make_plan(4, (votes,)),
        make_plan(4, (VectorSpec("votes2", 130, 1), energy)),
        make_plan(4, (VectorSpec("votes", 131, 1), energy)),
        make_plan(4, (VectorSpec("votes", 130, 2), energy)),
        make_plan(4, (VectorSpec("votes", 130, 1, signed=True), energy)),
        make_plan(4, (VectorSpec("votes", 130, 1, signed=True, headroom=1), energy)),
    ]

    assert len({plan.digest for plan in plans}) == len(plans)


def test_known_digest(make_plan):
    """The digest of a plan written down once: a change breaks sessions between versions."""
    plan = make_plan(4, (VectorSpec("votes", 130, 1), VectorSpec("energy", 9, 1000, signed=True, headroom=7)))
    content = b"fedprllm/v1/plan" + bytes(range(32)) + bytes(8) + plan.roster.digest
    content += bytes.fromhex("03000000 03000000 00000000 00000000 02000000")
    content += b"\x05\0votes" + (130).to_bytes(8, "little") + (1).to_bytes(8, "little") + bytes(9)
    content += b"\x06\0energy" + (9).to_bytes(8, "little") + (1000).to_bytes(8, "little")
    content += b"\1" + (7).to_bytes(8, "little")

    assert plan.digest == hashlib.sha256(content).digest()
    assert plan.digest.hex() == "2eb93029ef39074701a39048910231d2eedb1edde77bb6718427cc0ae37e4f15"


def test_the_session_id_is_the_documented_tree(make_plan):
    """Five leaves split four and one; an absent client has a leaf of its own kind."""

    def sha(*parts):
        return hashlib.sha256(b"".join(parts)).digest()

    plan = make_plan(5)
    advertisements = {0: b"zero", 1: b"one", 3: b"three", 4: b""}
    leaves = [sha(b"\0", b"zero"), sha(b"\0", b"one"), sha(b"\2"), sha(b"\0", b"three"), sha(b"\0")]
    left = sha(b"\1", sha(b"\1", leaves[0], leaves[1]), sha(b"\1", leaves[2], leaves[3]))
    expected = sha(b"fedprllm/v1/session", plan.digest, sha(b"\1", left, leaves[4]))

    assert session_id(plan, advertisements) == expected
    assert expected.hex() == "601e731f2641eaa88274ea5f50e62f3902728ce8faaf66d5a94caa97dcb97934"


def test_the_session_id_binds_who_advertised_what(make_plan):
    """Another plan, another message, or the same message by another client gives another session."""
    plan = make_plan(5)
    cases = [{0: b"a", 1: b"b"}, {0: b"a", 2: b"b"}, {0: b"b", 1: b"a"}, {0: b"a"}, {0: b"ab"}, {}]
    ids = {session_id(plan, case) for case in cases} | {session_id(make_plan(5, session_number=1), cases[0])}

    assert len(ids) == len(cases) + 1


def test_one_client_makes_a_session(make_plan):
    """A roster of one has a tree of one leaf."""
    assert len(session_id(make_plan(1), {0: b"a"})) == 32


def test_totals_are_int32_where_they_fit(make_plan):
    """The dtype of totals follows from clients and bound."""
    narrow, wide = VectorSpec("n", 1, (2**31 - 1) // 4), VectorSpec("w", 1, (2**31 - 1) // 4 + 1)
    plan = make_plan(4, (narrow, wide))

    assert [str(plan.total_dtype(vector)) for vector in plan.vectors] == ["int32", "int64"]


def test_errors_say_where_they_happened():
    """An error names session, step and client, and keeps them as attributes."""
    error = ProtocolError("it broke", session=bytes(range(32)), step=Step.CONFIRM, client=3)

    assert str(error) == "session 00010203, confirm, client 3: it broke"
    assert (error.session, error.step, error.client) == ("00010203", Step.CONFIRM, 3)
    assert str(ProtocolError("it broke")) == "it broke"
