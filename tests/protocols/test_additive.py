"""What is particular to `additive`: thresholds, the bytes of each step, exact recovery, and secrets that go away."""

from __future__ import annotations

import hashlib
import hmac
import itertools

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import (
    PROTOCOLS,
    InvalidMessage,
    Layout,
    Step,
    TooFewSurvivors,
    VectorSpec,
    pack,
    run_session,
)
from protocols.additive import client as client_module
from protocols.additive.client import FreshSecrets
from protocols.additive.degree import Claim
from protocols.additive.protocol import supported_claim
from protocols.wire import ClientPen, decode

ADDITIVE = PROTOCOLS["additive"]


@pytest.fixture
def protocol():
    """Only `additive`."""
    return ADDITIVE


@pytest.mark.parametrize(
    ("clients", "fields", "match"),
    [
        (2, {"recovery_threshold": 2, "minimum_survivors": 2}, "minimum_survivors=2 must be at least 3"),
        (3, {"recovery_threshold": 2, "minimum_survivors": 2}, "minimum_survivors=2 must be at least 3"),
        (5, {"recovery_threshold": 4, "minimum_survivors": 4, "assumed_colluders": 3}, "=4 must be at least 5: with"),
        (4, {"recovery_threshold": 2, "minimum_survivors": 3}, "recovery_threshold=2 must be at least 3 for 4 clients"),
        (6, {"recovery_threshold": 3, "minimum_survivors": 6}, "recovery_threshold=3 must be at least 4 for 6 clients"),
        (
            6,
            {"recovery_threshold": 4, "minimum_survivors": 6, "assumed_colluders": 2},
            "recovery_threshold=4 must be at least 5 for 6 clients and assumed_colluders=2",
        ),
        (
            64,
            {"recovery_threshold": 42, "minimum_survivors": 60, "assumed_colluders": 21},
            "recovery_threshold=42 must be at least 43",
        ),
    ],
)
def test_thresholds_that_protect_nobody_are_refused(make_plan, signing_keys, clients, fields, match):
    """Two lists that could both be opened, or a sum that is the peer's vector, are refused by every role."""
    plan = make_plan(clients, **fields)
    for refused in (
        lambda: ADDITIVE.check(plan),
        lambda: ADDITIVE.client(plan, 0, signing_keys[0]),
        lambda: ADDITIVE.server(plan),
    ):
        with pytest.raises(ValueError, match=match):
            refused()


def test_the_smallest_thresholds_are_accepted(make_plan):
    """The limits are exact: 2 t > clients + colluders and minimum survivors - colluders >= 2."""
    for clients, colluders in itertools.product(range(3, 20), range(8)):
        threshold = (clients + colluders) // 2 + 1
        minimum = max(threshold, max(colluders, 1) + 2)
        if minimum <= clients:
            fields = {"minimum_survivors": minimum, "assumed_colluders": colluders}
            ADDITIVE.check(make_plan(clients, recovery_threshold=threshold, **fields))
            with pytest.raises(ValueError, match="recovery_threshold"):
                ADDITIVE.check(make_plan(clients, recovery_threshold=threshold - 1, **fields))


def test_the_claim_follows_from_the_plan(make_plan):
    """A complete graph stands against a liar up to its threshold, against the honest up to t - 1 colluders."""
    plan = make_plan(9, recovery_threshold=6, minimum_survivors=7)

    assert supported_claim(plan, 0, 2) is Claim.LYING
    assert supported_claim(plan, 2, 3) is Claim.LYING
    assert supported_claim(plan, 3, 3) is Claim.SEMI_HONEST
    assert supported_claim(plan, 5, 3) is Claim.SEMI_HONEST
    assert supported_claim(plan, 6, 0) is None
    assert supported_claim(plan, 0, 4) is None


def test_unfinished_submissions_are_forgotten(parties):
    """Once submit is closed, the server keeps nothing of a client that vanished."""
    parties.walk(Step.ADVERTISE, Step.SHARE)
    parties.receive(Step.SUBMIT, parties.messages(Step.SUBMIT, 3)[0])
    parties.do(Step.SUBMIT, 0, 1, 2)
    assert list(parties.server._buffers._buffers) == [3]
    parties.do(Step.CONFIRM, 0, 1, 2)

    assert parties.server._buffers._buffers == {}


@pytest.mark.parametrize("field", ["assumed_colluders", "minimum_survivors"])
def test_the_claim_of_a_complete_graph(make_plan, field):
    """Who may help, in the number that there are, and how many are summed; a plan that is refused claims nothing."""
    plan = make_plan(9, recovery_threshold=6, minimum_survivors=7, assumed_colluders=1)

    assert ADDITIVE.claim(plan) == (
        "even a lying server and 1 client that helps it learn only the sum over at least 7 clients"
    )
    refused = {"assumed_colluders": 5} if field == "assumed_colluders" else {"minimum_survivors": 6}
    refused = make_plan(9, **({"recovery_threshold": 6, "minimum_survivors": 7, "assumed_colluders": 5} | refused))
    with pytest.raises(ValueError, match="must be at least"):
        ADDITIVE.claim(refused)


def test_the_layout_is_for_the_whole_roster(make_plan):
    """Masked words are added as they are, so a lane has room for everyone."""
    plan = make_plan(4)

    assert [ADDITIVE.layout(plan, vector) for vector in plan.vectors] == [Layout(5, 27), Layout(4001, 5)]
    assert ADDITIVE.layout(make_plan(64), plan.vectors[0]).lanes == 10


def slow_stream(secret, plan, session, purpose, clients, number, length):
    """Return a stream's words by HKDF and AES of counters written out."""
    vector = plan.vectors[number].name.encode()
    ends = [client.to_bytes(4, "little") for client in clients]
    fields = (b"fedprllm/v1/" + purpose, session, *ends, vector, number.to_bytes(8, "little"))
    info = b"".join(len(field).to_bytes(2, "little") + field for field in fields)
    key = hmac.digest(hmac.digest(plan.digest, secret, hashlib.sha256), info + b"\1", hashlib.sha256)[:16]
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    content = b"".join(block.update(counter.to_bytes(16, "big")) for counter in range(length // 2 + 1))
    return np.frombuffer(content, "<u8", length)


def test_a_submission_is_words_plus_self_mask_plus_and_minus_pair_masks(parties):
    """Every word of a middle client's submission equals the formula, computed from the secrets by slow oracles."""
    parties.walk(Step.ADVERTISE, Step.SHARE)
    shared = parties.clients[2]._shared
    seed, pairs = shared.seed, dict(shared.pairs)
    message = decode(parties.messages(Step.SUBMIT, 2)[0])
    sent, expected = np.frombuffer(message.body, "<u8"), []
    for number, spec in enumerate(parties.plan.vectors):
        words = pack(parties.inputs[2][spec.name], ADDITIVE.layout(parties.plan, spec)).copy()
        stream = (parties.plan, message.frame.context)
        words += slow_stream(seed, *stream, b"self", (2, 2), number, len(words))
        for peer in (0, 1, 3):
            drawn = slow_stream(pairs[peer], *stream, b"pair", sorted((peer, 2)), number, len(words))
            words = words + drawn if peer > 2 else words - drawn
        expected.append(words)

    np.testing.assert_array_equal(sent, np.concatenate(expected))


def test_chunks_continue_the_streams(make_parties, monkeypatch):
    """A vector cut into chunks is masked as if it were whole: each stream's words are used once, in their order."""
    used = []
    real = client_module.add_streams

    def recording(words, added, subtracted, *, start):
        used.extend((key, start, start + len(words)) for key in (*added, *subtracted))
        real(words, added, subtracted, start=start)

    monkeypatch.setattr(client_module, "add_streams", recording)
    parties = make_parties(3, (VectorSpec("first", 3, 1), VectorSpec("long", 2**17 + 5, 2**40)))
    parties.walk(Step.ADVERTISE, Step.SHARE)
    parties.messages(Step.SUBMIT, 1)
    ranges = {}
    for key, first, last in used:
        ranges.setdefault(key, []).append((first, last))

    assert len(ranges) == 3 * 2
    assert sorted(ranges.values()) == [[(0, 1)]] * 3 + [[(0, 2**17 - 1), (2**17 - 1, 2**17 + 5)]] * 3


PAIRS = list(itertools.product(Step, Step))


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=str)
def test_every_tolerated_dropout_set_at_every_pair_of_steps(make_plan, signing_keys, first, second):
    """Six clients, four needed: any two may leave, at any two steps, and the totals are those of the survivors."""
    plan = make_plan(6, recovery_threshold=4, minimum_survivors=4)
    inputs = {c: {"votes": np.arange(130) % (c + 2) == 0, "energy": np.full(9, 100 * c)} for c in range(6)}
    for one, other in itertools.permutations(range(6), 2):
        dropouts = {first: frozenset({one, other})} if first == second else {first: {one}, second: {other}}
        result = run_session(ADDITIVE, plan, signing_keys[:6], inputs, dropouts=dropouts)
        gone = {client for step, clients in dropouts.items() if step <= Step.SUBMIT for client in clients}
        stayed = [client for client in range(6) if client not in gone]

        assert result.survivors == tuple(stayed)
        for name in inputs[0]:
            np.testing.assert_array_equal(
                result.totals[name], sum(inputs[client][name].astype(int) for client in stayed)
            )


def test_one_client_too_many_ends_the_session(make_plan, signing_keys):
    """Three left of six, four needed: no totals, whatever the step."""
    plan = make_plan(6, recovery_threshold=4, minimum_survivors=4)
    inputs = {c: {"votes": np.ones(130, int), "energy": np.ones(9, int)} for c in range(6)}
    for step in Step:
        with pytest.raises(TooFewSurvivors, match="3 of 6 clients are left, 4 are needed"):
            run_session(ADDITIVE, plan, signing_keys[:6], inputs, dropouts={step: frozenset({0, 2, 5})})


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    clients=st.integers(3, 9),
    length=st.sampled_from([1, 2, 7, 26, 27, 28, 53, 54, 55, 200]),
    bound=st.sampled_from([1, 2, 1000, 2**33]),
    data=st.data(),
)
def test_survivors_sums_are_exact(make_plan, signing_keys, clients, length, bound, data):
    """For any dropouts that leave enough, values at 0 and at the bound, and lengths across word borders."""
    threshold = clients // 2 + 1
    minimum = max(3, threshold)
    plan = make_plan(
        clients, (VectorSpec("v", length, bound),), recovery_threshold=threshold, minimum_survivors=minimum
    )
    leavers = data.draw(st.sets(st.integers(0, clients - 1), max_size=clients - minimum))
    steps = {client: data.draw(st.sampled_from(list(Step))) for client in leavers}
    dropouts = {step: frozenset(c for c in leavers if steps[c] is step) for step in Step}
    generator = np.random.default_rng(clients + length)
    inputs = {c: {"v": generator.choice([0, bound], length)} for c in range(clients)}
    inputs[0] = {"v": np.full(length, bound)}
    result = run_session(ADDITIVE, plan, signing_keys[:clients], inputs, dropouts=dropouts)

    np.testing.assert_array_equal(result.totals["v"], sum(inputs[c]["v"] for c in result.survivors))


def test_secrets_are_dropped_when_their_step_is_done(parties):
    """After each step the client holds only what a later one needs."""
    client = parties.clients[0]
    parties.do(Step.ADVERTISE)
    assert client._fresh is not None

    parties.do(Step.SHARE)
    assert client._fresh is None
    sealer = client._shared.sealer

    parties.do(Step.SUBMIT)
    assert client._shared is None
    assert sealer._private_key is None
    assert set(client._held) == {0, 1, 2, 3}

    parties.walk(Step.CONFIRM, Step.REVEAL)
    assert client._held == {}
    parties.check_totals()
    assert parties.server._revealed == {}
    assert parties.server._sealed == {}


def test_no_repr_shows_a_session_secret(parties):
    """Whatever a client holds between its steps, printing its attributes shows no secret byte."""
    client = parties.clients[0]
    for step in Step:
        parties.do(step)
        secrets = []
        if client._fresh is not None:
            keys = (client._fresh.sealing_key, client._fresh.masking_key)
            secrets += [client._fresh.seed, *(key.private_bytes_raw() for key in keys)]
        if client._shared is not None:
            secrets += [client._shared.seed, *client._shared.pairs.values(), *client._shared.sealer._agreed.values()]
        shown = repr(vars(client)) + repr(client) + repr(parties.server)
        for secret in secrets:
            assert secret.hex() not in shown
            assert repr(secret)[2:-1] not in shown
        for shares in client._held.values():
            assert str(shares.seed) not in shown
            assert str(shares.masking_key) not in shown


def test_the_servers_answer_is_kept(parties):
    """Asking for the totals again gives the same totals, and changing them changes nothing."""
    parties.walk(Step.ADVERTISE, Step.REVEAL)
    first = parties.server.totals()
    first.clear()

    parties.check_totals()


def test_small_order_keys_are_refused_by_the_server(parties):
    """Such a key would make every honest client refuse the roster: its sender alone is refused."""
    (honest,) = parties.messages(Step.ADVERTISE, 3)
    frame, body = decode(honest).frame, decode(honest).body
    for bad in (bytes(32) + body[32:], body[:32] + bytes(32) + body[64:]):
        with pytest.raises(InvalidMessage, match="client 3: an advertised key is of small order"):
            parties.receive(Step.ADVERTISE, ClientPen(3, parties.keys[3]).write(frame, bad).encode())
    parties.receive(Step.ADVERTISE, honest)
    parties.do(Step.ADVERTISE, 0, 1, 2)
    parties.walk(Step.SHARE, Step.REVEAL)

    parties.check_totals()


def test_public_halves_match():
    """An advertisement holds the public keys of what is shared out, and the commitment to the seed."""
    fresh = FreshSecrets()
    advertisement = fresh.advertisement()

    assert (
        advertisement.masking_key
        == X25519PrivateKey.from_private_bytes(fresh.masking_key.private_bytes_raw()).public_key().public_bytes_raw()
    )
    assert advertisement.commitment == hashlib.sha256(b"fedprllm/v1/self-mask-seed" + fresh.seed).digest()
    assert advertisement.sealing_key != advertisement.masking_key
