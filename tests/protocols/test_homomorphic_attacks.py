"""A server that lies to the clients of `bfv` and `ckks`: what it gains, and what they refuse to open.

The attacks that succeed are here too: they are the adversary's part of the claim in `protocols.homomorphic.protocol`.
"""

from __future__ import annotations

import numpy as np
import pytest

from protocols import (
    PROTOCOLS,
    InvalidMessage,
    RepeatedStep,
    Step,
    UnsafeRequest,
    UnusableTotals,
    VectorSpec,
    pack,
)
from protocols.bodies import encode_bitmap, encode_confirmations
from protocols.homomorphic.ciphertexts import Adder, context, seal
from protocols.homomorphic.coefficients import encode_coefficients
from protocols.homomorphic.parameters import choose
from protocols.homomorphic.protocol import clients_opened
from protocols.homomorphic.totals import sum_digest
from protocols.wire import Frame, decode, server_message

VOTES = (VectorSpec("votes", 130, 1),)
REFUSAL = "the ciphertexts do not open to a sum"


@pytest.fixture(params=["bfv", "ckks"])
def protocol(request):
    """The two homomorphic protocols."""
    return PROTOCOLS[request.param]


class LyingServer:
    """A server that has the clients sign the digest of ciphertexts of its own choice."""

    def __init__(self, parties):
        self.parties = parties
        self.survivors = tuple(parties.everyone)
        parties.walk(Step.ADVERTISE, Step.SHARE)
        self.uploads = {client: parties.messages(Step.SUBMIT, client) for client in parties.everyone}
        self.session = decode(self.uploads[0][0]).frame.context
        choice = choose(parties.protocol.scheme, parties.plan)
        self.parameters, (self.layout,) = choice.parameters, choice.layouts
        self.adder = Adder(self.parameters)
        self.evaluator = seal.Evaluator(context(self.parameters).library)

    def ciphertext(self, client):
        """Return the library's ciphertext of a client's only vector."""
        return self.adder.load(decode(self.uploads[client][0]).body)

    def message(self, step, body):
        """Return a message of the server's."""
        return server_message(Frame(self.parties.protocol.name, step, self.session), body)

    def confirm(self, content, clients=None):
        """Have clients sign for these ciphertexts; return their signatures."""
        request = self.message(
            Step.CONFIRM, encode_bitmap(self.survivors, len(self.parties.plan.roster)) + sum_digest(content)
        )
        clients = self.survivors if clients is None else clients
        return {client: decode(self.parties.clients[client].confirm(request)).signature for client in clients}

    def reveal(self, client, content, signatures):
        """Have a client open ciphertexts; return the entries."""
        body = encode_confirmations(encode_bitmap(self.survivors, len(self.parties.plan.roster)), signatures) + content
        answer = decode(self.parties.clients[client].reveal(self.message(Step.REVEAL, body))).body
        words = np.frombuffer(answer, "<u8")
        return np.array(
            [
                int(word) // self.layout.radix**lane % self.layout.radix
                for word in words
                for lane in range(self.layout.lanes)
            ]
        )[:130]


@pytest.fixture
def liar(make_parties):
    """A lying server after submit; four clients, three of whom are needed."""
    return LyingServer(make_parties(4, VOTES))


def test_a_lying_server_opens_one_clients_vector(liar):
    """The claim's limit: nothing tells a client's ciphertext from a sum. This attack succeeds."""
    content = liar.adder.sum_to_wire(liar.ciphertext(2))
    opened = liar.reveal(0, content, liar.confirm(content))

    np.testing.assert_array_equal(opened, liar.parties.inputs[2]["votes"])


def test_a_lying_server_may_hide_it_behind_an_offset(liar):
    """Nor does the range of totals: one client's ciphertext plus public numbers looks like any sum. It succeeds."""
    total = liar.ciphertext(2)
    offset = pack(np.full(130, 2), liar.layout).tolist()
    liar.evaluator.add_plain_inplace(total, encoded(liar, offset + [0] * (4096 - len(offset))))
    content = liar.adder.sum_to_wire(total)
    opened = liar.reveal(0, content, liar.confirm(content))

    np.testing.assert_array_equal(opened, liar.parties.inputs[2]["votes"] + 2)


def test_a_lying_server_may_weigh_one_client_heavily(liar):
    """Twice one client's ciphertext plus two others' is within every bound. It succeeds."""
    total = liar.ciphertext(2)
    for client in (2, 0, 1):
        liar.evaluator.add_inplace(total, liar.ciphertext(client))
    content = liar.adder.sum_to_wire(total)
    opened = liar.reveal(0, content, liar.confirm(content))
    inputs = [liar.parties.inputs[client]["votes"] for client in range(4)]

    np.testing.assert_array_equal(opened, inputs[0] + inputs[1] + 2 * inputs[2])


def test_a_lying_server_reads_several_clients_as_digits(liar):
    """Once one client's ciphertext plus twice another's is within every bound, and each bit is one's. It succeeds."""
    total = liar.ciphertext(2)
    for client in (1, 1):
        liar.evaluator.add_inplace(total, liar.ciphertext(client))
    content = liar.adder.sum_to_wire(total)
    opened = liar.reveal(0, content, liar.confirm(content))

    assert clients_opened(liar.parties.plan) == 2
    np.testing.assert_array_equal(opened % 2, liar.parties.inputs[2]["votes"])
    np.testing.assert_array_equal(opened // 2, liar.parties.inputs[1]["votes"])


@pytest.mark.parametrize("more", [0, 1])
def test_a_lying_server_reads_as_many_clients_as_the_range_of_totals_holds(make_parties, more):
    """Weights 1, 2, 4 open three of eight clients; with 8 for a fourth, totals are out of range and nothing opens."""
    parties = make_parties(8, VOTES)
    for client in parties.everyone:
        parties.inputs[client]["votes"][0] = 1
    liar = LyingServer(parties)
    chosen = range(clients_opened(parties.plan) + more)
    total = liar.ciphertext(0)
    for client in chosen[1:]:
        for _ in range(2**client):
            liar.evaluator.add_inplace(total, liar.ciphertext(client))
    content = liar.adder.sum_to_wire(total)
    if more:
        assert refused_opening(liar, content) == f"reveal: {REFUSAL}"
        return
    opened = liar.reveal(0, content, liar.confirm(content))

    assert len(chosen) == 3
    for client in chosen:
        np.testing.assert_array_equal(opened >> client & 1, parties.inputs[client]["votes"])


def test_a_key_opens_one_ciphertext_only(liar):
    """What was signed for is opened; a second client does not open something else, nor the first one more."""
    first, second = (liar.adder.sum_to_wire(liar.ciphertext(client)) for client in (2, 3))
    signatures = liar.confirm(first)
    liar.reveal(0, first, signatures)
    with pytest.raises(RepeatedStep, match="this step was done before"):
        liar.reveal(0, second, signatures)
    for client in (1, 2, 3):
        with pytest.raises(UnsafeRequest, match="not those whose digest this client signed"):
            liar.reveal(client, second, signatures)


def test_two_ciphertexts_never_gather_enough_signatures(liar):
    """Clients that were shown different digests have too few signatures between them."""
    first, second = (liar.adder.sum_to_wire(liar.ciphertext(client)) for client in (2, 3))
    signatures = liar.confirm(first, (0, 1)) | liar.confirm(second, (2, 3))
    with pytest.raises(UnsafeRequest, match="client 2: a relayed confirmation is not a survivor's signature"):
        liar.reveal(0, first, signatures)
    with pytest.raises(UnsafeRequest, match="2 confirmations are fewer than recovery_threshold=3"):
        liar.reveal(0, first, {client: signatures[client] for client in (0, 1)})


def refused_opening(liar, content):
    """Have a client refuse to open; return the error's text without the session."""
    signatures = liar.confirm(content)
    with pytest.raises(UnusableTotals) as caught:
        liar.reveal(0, content, signatures)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    with pytest.raises(RepeatedStep, match="this step was done before"):
        liar.reveal(0, content, signatures)
    return str(caught.value).split(", ", 1)[1]


def encoded(liar, words):
    """Return the library's plaintext of these words."""
    library, plain = context(liar.parameters).library, seal.Plaintext()
    if liar.parties.protocol.name == "bfv":
        seal.BatchEncoder(library).encode(words, plain)
    else:
        slots = [complex(*pair) for pair in zip(words[:2048], words[2048:], strict=True)]
        seal.CKKSEncoder(library).encode(slots, float(liar.parameters.scale), plain)
    return plain


@pytest.mark.parametrize("attack", ["noise", "range", "padding", "lanes", "spent"])
def test_whatever_is_no_sum_is_refused_alike(liar, attack):
    """Random coefficients, totals and padding out of range, no budget left: one error, the step spent, nothing sent."""
    total, words, count = liar.ciphertext(2), [0] * 4096, liar.layout.words(130)
    if attack == "range":
        liar.survivors = (0, 1, 2)
        words[0] = 4 - int(liar.parties.inputs[2]["votes"][0])  # a total of 4, of three survivors
    elif attack == "padding":
        words[count] = 1
    elif attack == "lanes":
        words[count - 1] = liar.layout.radix ** (liar.layout.lanes - 1)
    elif attack == "spent":
        for _ in range(20):
            liar.evaluator.add_inplace(total, total)
    liar.evaluator.add_plain_inplace(total, encoded(liar, words))
    content = liar.adder.sum_to_wire(total)
    if attack == "noise":
        drawn = np.random.default_rng(0).integers(0, liar.parameters.ring.data_primes[0], 8192, dtype=np.uint64)
        content = encode_coefficients(drawn)

    assert refused_opening(liar, content) == f"reveal: {REFUSAL}"


def test_malformed_ciphertexts_are_refused_before_decryption(liar):
    """Length and coefficients need no key, so the step stays open: the right request still counts."""
    good = liar.adder.sum_to_wire(liar.ciphertext(2))
    bad = b"\xff" * len(good)
    for content, match in ((bad, "not below its prime"), (good[:-1], "must have 61440"), (good * 2, "must have 61440")):
        other = LyingServer(type(liar.parties)(liar.parties.protocol, liar.parties.plan, liar.parties.keys))
        signatures = other.confirm(content)
        for _ in range(2):
            with pytest.raises(InvalidMessage, match=match) as caught:
                other.reveal(0, content, signatures)
            assert not isinstance(caught.value, UnsafeRequest)


def test_any_client_that_helps_opens_everything(liar):
    """The claim's other limit: a client's key opens every other client's upload. This attack succeeds."""
    holder = liar.parties.clients[0]._holder
    for client in range(4):
        words = holder.open(liar.adder.sum_to_wire(liar.ciphertext(client)))[: liar.layout.words(130)]
        np.testing.assert_array_equal(words, pack(liar.parties.inputs[client]["votes"], liar.layout))
