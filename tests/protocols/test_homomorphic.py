"""What is particular to `bfv` and `ckks`: who holds the key, and which submissions and openings count."""

from __future__ import annotations

import hashlib
import random
import threading

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols import (
    PROTOCOLS,
    Direction,
    InvalidMessage,
    Step,
    TooFewSurvivors,
    UnsafeRequest,
    UnusableTotals,
    VectorSpec,
    run_session,
)
from protocols.bodies import encode_advertisements, encode_bitmap
from protocols.derivation import KeyTable
from protocols.homomorphic import workers
from protocols.homomorphic.parameters import choose
from protocols.homomorphic.protocol import Homomorphic
from protocols.sealing import Sealer
from protocols.submission import closing_body
from protocols.wire import ClientPen, Frame, decode, server_message

VOTES = (VectorSpec("votes", 130, 1),)
REFUSAL = "the ciphertexts do not open to a sum"


@pytest.fixture(params=["bfv", "ckks"])
def protocol(request):
    """The two homomorphic protocols."""
    return PROTOCOLS[request.param]


def test_clients_shown_different_sharers_hold_different_keys(make_parties):
    """A server that names other sharers to one client makes it a key of its own, and nothing is opened."""
    parties = make_parties(4, VOTES)
    parties.walk(Step.ADVERTISE, Step.SHARE)
    request = decode(parties.ask(Step.SUBMIT, 3))
    sealed = request.body[1:]  # of clients 0, 1 and 2
    lied = server_message(request.frame, encode_bitmap([0, 1, 3], 4) + sealed[:96])
    for message in parties.answer(Step.SUBMIT, 3, lied):
        parties.receive(Step.SUBMIT, message)
    parties.do(Step.SUBMIT, 0, 1, 2)
    for client in (0, 1, 2):
        parties.do(Step.CONFIRM, client)
    # Client 3 cannot sign this list, which names a client of whose sharing it was not told.
    with pytest.raises(UnsafeRequest, match="client 2: the survivor list names a client that did not share"):
        parties.do(Step.CONFIRM, 3)
    with pytest.raises(UnusableTotals, match=REFUSAL):
        parties.do(Step.REVEAL, 0)


def dealt_differently(parties, victims):
    """Let client 0 deal another contribution to these clients than to the rest; go on up to confirm."""
    for client in parties.everyone:
        parties.do(Step.ADVERTISE, client)
    true = decode(parties.clients[0].share(parties.ask(Step.SHARE, 0)))
    private, public = parties.clients[0]._sealer, parties.clients[0]._public_keys
    table = KeyTable(parties.plan.digest, true.frame.context)
    sealer = Sealer(private._private_key, table, 0)
    sealed = [true.body[48 * position :][:48] for position in range(3)]
    for victim in victims:
        sealed[victim - 1] = sealer.seal(victim, public[victim], b"other contribution".ljust(32), true.frame)
    parties.receive(Step.SHARE, ClientPen(0, parties.keys[0]).write(true.frame, b"".join(sealed)).encode())
    parties.do(Step.SHARE, 1, 2, 3)
    parties.walk(Step.SUBMIT, Step.CONFIRM)


def test_a_client_dealt_another_key_refuses(make_parties):
    """It finds no signature on its own key; the others notice that the sum does not open."""
    parties = make_parties(4, VOTES)
    dealt_differently(parties, [3])
    with pytest.raises(UnsafeRequest, match="client 0: a relayed confirmation is not a survivor's signature"):
        parties.do(Step.REVEAL, 3)
    for client in (0, 1, 2):
        with pytest.raises(UnusableTotals, match=REFUSAL):
            parties.do(Step.REVEAL, client)
    with pytest.raises(TooFewSurvivors, match="0 of 4 clients are left"):
        parties.server.totals()


def test_the_server_picks_none_of_two_keys(make_parties):
    """With two clients on either side no key has the recovery threshold, and the server says so."""
    parties = make_parties(4, VOTES)
    dealt_differently(parties, [2, 3])
    with pytest.raises(UnusableTotals, match="confirm: only 2 clients hold the same key, 3 are needed"):
        parties.ask(Step.REVEAL, 0)


def test_sessions_share_nothing(make_parties):
    """The same clients, plan and vectors a second time: other keys, sealed parts, ciphertexts and checks."""
    made = []
    for _ in range(2):
        parties = make_parties(4, VOTES)
        parties.walk(Step.ADVERTISE, Step.CONFIRM)
        client = parties.clients[0]
        assert client._check == parties.clients[3]._check
        bodies = [decode(parties.made[step, 0][0]).body for step in list(Step)[:3]]
        made.append([client._check, *bodies, parties.made[Step.SUBMIT, 0][0][126:190]])
    first, second = made

    assert all(one != other for one, other in zip(first, second, strict=True))


def test_every_client_contributes_anew(make_parties):
    """No two contributions of a session, or of two, are equal; any one that the server lacks hides the key."""
    contributions = []
    for _ in range(2):
        parties = make_parties(4, VOTES)
        parties.walk(Step.ADVERTISE, Step.SHARE)
        contributions += [client._contribution for client in parties.clients]

    assert len(set(contributions)) == 8
    assert {len(contribution) for contribution in contributions} == {32}


@pytest.mark.parametrize("position", [0, 47, 48, 143])
def test_altered_contributions_do_not_open(make_parties, position):
    """The seal binds every byte to its sender; the client may still be given the true inbox."""
    parties = make_parties(4, VOTES)
    parties.walk(Step.ADVERTISE, Step.SHARE)
    request = decode(parties.ask(Step.SUBMIT, 0))
    body = bytearray(request.body)
    body[1 + position] ^= 1
    with pytest.raises(InvalidMessage, match=f"client {1 + position // 48}: what the client sealed does not open"):
        parties.answer(Step.SUBMIT, 0, server_message(request.frame, bytes(body)))
    swapped = request.body[:1] + request.body[49:97] + request.body[1:49] + request.body[97:]
    with pytest.raises(InvalidMessage, match="client 1: what the client sealed does not open"):
        parties.answer(Step.SUBMIT, 0, server_message(request.frame, swapped))
    parties.walk(Step.SUBMIT, Step.REVEAL)

    parties.check_totals()


def test_an_inbox_must_fit_its_bitmap(make_parties):
    """Too few sharers, one that did not advertise, and missing or extra bytes are refused."""
    parties = make_parties(4, VOTES)
    parties.do(Step.ADVERTISE, 0, 1, 2)
    parties.do(Step.SHARE, 0, 1, 2)
    request = decode(parties.ask(Step.SUBMIT, 0))
    sealed = request.body[1:]

    def refused(sharers, content, match):
        with pytest.raises(InvalidMessage, match=match):
            parties.answer(Step.SUBMIT, 0, server_message(request.frame, encode_bitmap(sharers, 4) + content))

    refused([0, 1], sealed[:48], "2 clients that shared are fewer than 3")
    refused([0, 1, 2], sealed[:-1], "an inbox of 96 bytes must have 97")
    refused([0, 1, 2], sealed + bytes(48), "an inbox of 145 bytes must have 97")
    refused([0, 1, 2, 3], sealed + bytes(48), "client 3: the inbox names a client that did not advertise")
    for step in (Step.SUBMIT, Step.CONFIRM, Step.REVEAL):
        parties.do(step, 0, 1, 2)

    parties.check_totals(0, 1, 2)


@pytest.mark.parametrize(("key", "match"), [(bytes(32), "small order"), (b"", "a key of 0 bytes must have 32")])
def test_useless_public_keys_are_refused(make_parties, key, match):
    """A client that advertises a point of small order, or none, is named; nobody seals for it."""
    parties = make_parties(4, VOTES)
    true = {client: parties.clients[client].advertise() for client in range(4)}
    forged = ClientPen(1, parties.keys[1]).write(decode(true[1]).frame, key).encode()
    request = server_message(
        Frame(parties.protocol.name, Step.SHARE, parties.plan.digest), encode_advertisements(true | {1: forged}, 4)
    )
    with pytest.raises(InvalidMessage, match=f"client 1: .*{match}"):
        parties.clients[0].share(request)


# Submissions and openings


def resubmit(parties, client, bodies):
    """Return a whole submission of these bodies, signed by its client, the closing message last."""
    pen, frame = ClientPen(client, parties.keys[client]), decode(parties.messages(Step.SUBMIT, client)[0]).frame
    messages = [pen.write(frame, body, part=part) for part, body in enumerate(bodies)]
    closing = pen.write(frame, closing_body([message.digest for message in messages]), part=len(messages))
    return [message.encode() for message in (*messages, closing)]


def test_ciphertexts_out_of_range_are_never_added(make_parties):
    """A signed submission with one coefficient too large is refused whole, naming client and ciphertext."""
    parties = make_parties(4, vectors=(*VOTES, VectorSpec("energy", 4096, 2**40)))  # its words fill more than one
    parties.walk(Step.ADVERTISE, Step.SHARE)
    size = choose(parties.protocol.scheme, parties.plan).parameters.ring.upload_bytes
    body = bytearray(random.Random(1).randbytes(2 * size))
    body[64:size] = bytes(size - 64)
    body[size + 64 :] = b"\xff" * (size - 64)
    first, closing = resubmit(parties, 3, [bytes(body)])
    parties.receive(Step.SUBMIT, first)
    for _ in range(2):
        with pytest.raises(InvalidMessage, match="client 3: ciphertext 1: a coefficient is not below its prime"):
            parties.receive(Step.SUBMIT, closing)
    for step in (Step.SUBMIT, Step.CONFIRM, Step.REVEAL):
        parties.do(step, 0, 1, 2)

    parties.check_totals(0, 1, 2)


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.slow)])
def test_hostile_submissions_are_refused_or_counted(make_parties, count):
    """Signed bodies of every kind raise InvalidMessage, naming the client, or are ciphertexts; the server survives."""
    source = random.Random(3)
    parties = make_parties(4, VOTES)
    parties.walk(Step.ADVERTISE, Step.SHARE)
    good = decode(parties.messages(Step.SUBMIT, 3)[0])
    outcomes = [hostile_submission(parties, source, good) for _ in range(count)]

    assert set(outcomes) == {None, 3}


def hostile_submission(parties, source, good):
    """Give a fresh server a changed submission; return the client that it names when it refuses, or None."""
    server = parties.protocol.server(parties.plan)
    body = bytearray(good.body)
    kind = source.randrange(4)
    if kind == 0:
        body[source.randrange(len(body))] ^= 1 << source.randrange(8)
    elif kind == 1:
        body = bytearray(source.randbytes(len(body)))
    elif kind == 2:
        del body[source.randrange(len(body)) :]
    else:
        body += source.randbytes(source.randrange(1, 2**20))
    for client in parties.everyone:
        server.receive_advertisement(parties.made[Step.ADVERTISE, client][0])
    server.roster_message(0)
    for client in parties.everyone:
        server.receive_share(parties.made[Step.SHARE, client][0])
    server.inbox(0)
    pen = ClientPen(3, parties.keys[3])
    message = pen.write(good.frame, bytes(body))
    closing = pen.write(good.frame, closing_body([message.digest]), part=1)
    try:
        server.receive_submission(message.encode())
        server.receive_submission(closing.encode())
    except InvalidMessage as error:
        return error.client
    return None


def opened(parties, client, words):
    """Return a reveal message of these words, signed by its client."""
    frame = Frame(parties.protocol.name, Step.REVEAL, decode(parties.made[Step.SUBMIT, 0][0]).frame.context)
    return ClientPen(client, parties.keys[client]).write(frame, np.asarray(words, "<u8").tobytes()).encode()


def test_unfinished_submissions_are_forgotten(make_parties):
    """Once submit is closed, the server keeps nothing of a client that vanished."""
    parties = make_parties(4, VOTES)
    parties.walk(Step.ADVERTISE, Step.SHARE)
    parties.receive(Step.SUBMIT, parties.messages(Step.SUBMIT, 3)[0])
    parties.do(Step.SUBMIT, 0, 1, 2)
    assert list(parties.server._buffers._buffers) == [3]
    parties.do(Step.CONFIRM, 0, 1, 2)

    assert parties.server._buffers._buffers == {}


def test_the_server_checks_the_opening(make_parties):
    """Length and range of reported totals; an empty message counts only once there are totals."""
    parties = make_parties(4, (VectorSpec("energy", 3, 100),))
    parties.walk(Step.ADVERTISE, Step.SHARE)
    parties.do(Step.SUBMIT, 0, 1, 2)
    parties.do(Step.CONFIRM, 0, 1, 2)
    layout = parties.protocol.layout(parties.plan, parties.plan.vectors[0])
    parties.ask(Step.REVEAL, 0)
    for words, match in (
        ([], "totals of 0 bytes must have 8"),
        ([0, 0], "a body of 16 bytes must have at most 8"),
        ([301], r"totals must be in \[0, 300\]"),
        ([layout.radix**3], "the lanes past the last entry must be zero"),
        ([2**64 - 1], "words must be below|lanes past"),
    ):
        with pytest.raises(InvalidMessage, match=f"client 1: {match}"):
            parties.receive(Step.REVEAL, opened(parties, 1, words))
    parties.do(Step.REVEAL, 1, 2, 0)

    parties.check_totals(0, 1, 2)


def test_the_sum_is_downloaded_until_two_clients_have_opened_it(make_parties):
    """The first two clients get the ciphertexts and open; later ones are asked for nothing, and say nothing."""
    parties = make_parties(4, VOTES)
    parties.walk(Step.ADVERTISE, Step.CONFIRM)
    sizes = []
    for client in (2, 0, 1, 3):
        sizes.append(len(parties.ask(Step.REVEAL, client)))
        (message,) = parties.messages(Step.REVEAL, client)
        sizes.append(len(decode(message).body))
        parties.receive(Step.REVEAL, message)
    layout = parties.protocol.layout(parties.plan, VOTES[0])

    assert sizes[:4] == [sizes[4] + 61440, 8 * layout.words(130)] * 2
    assert sizes[5::2] == [0, 0]
    parties.check_totals()


def test_one_client_cannot_replace_the_totals(make_parties):
    """Nobody need be asked twice: the client after a liar opens the sum too, whatever the transport's order."""
    parties = make_parties(4, VOTES)
    parties.walk(Step.ADVERTISE, Step.CONFIRM)
    count = parties.protocol.layout(parties.plan, VOTES[0]).words(130)
    parties.ask(Step.REVEAL, 3)
    parties.receive(Step.REVEAL, opened(parties, 3, [0] * count))
    with pytest.raises(InvalidMessage, match="client 1: totals of 0 bytes must have"):
        parties.receive(Step.REVEAL, opened(parties, 1, []))
    parties.do(Step.REVEAL, 0, 1, 2)
    with pytest.raises(UnusableTotals, match="reveal: clients 3, 0 opened different totals"):
        parties.server.totals()


def test_two_clients_that_lie_together_replace_the_totals(make_parties):
    """What is left to trust: the first two reports, if they agree and no third came. This attack succeeds."""
    parties = make_parties(4, VOTES)
    parties.walk(Step.ADVERTISE, Step.CONFIRM)
    count = parties.protocol.layout(parties.plan, VOTES[0]).words(130)
    parties.ask(Step.REVEAL, 3)
    for liar in (3, 1):
        parties.receive(Step.REVEAL, opened(parties, liar, [0] * count))
    parties.do(Step.REVEAL, 0, 2)

    assert parties.server.totals()["votes"].tolist() == [0] * 130


def test_different_openings_end_the_session(make_parties):
    """A client that lies about the totals is noticed as soon as another opens them; neither is believed."""
    parties = make_parties(4, VOTES)
    parties.walk(Step.ADVERTISE, Step.CONFIRM)
    (honest,) = parties.messages(Step.REVEAL, 2)
    count = parties.protocol.layout(parties.plan, VOTES[0]).words(130)
    parties.receive(Step.REVEAL, opened(parties, 0, [0] * count))
    parties.receive(Step.REVEAL, honest)
    parties.do(Step.REVEAL, 1, 3)
    with pytest.raises(UnusableTotals, match="reveal: clients 0, 2 opened different totals"):
        parties.server.totals()


def test_equal_openings_are_one(make_parties):
    """Clients that were all asked before any had answered agree."""
    parties = make_parties(4, VOTES)
    parties.walk(Step.ADVERTISE, Step.CONFIRM)
    messages = [parties.messages(Step.REVEAL, client)[0] for client in parties.everyone]
    for message in messages:
        parties.receive(Step.REVEAL, message)

    assert len({hashlib.sha256(decode(message).body).digest() for message in messages}) == 1
    parties.check_totals()


def test_the_upload_of_a_full_ciphertext(make_plan, signing_keys, protocol):
    """At eight clients and full ciphertexts a vote takes less than 4.3 (bfv) or 4.7 bits (ckks), frames included."""
    lanes = {"bfv": 16, "ckks": 13}[protocol.name]
    length = 4096 * lanes * 4
    plan = make_plan(8, (VectorSpec("votes", length, 1),))
    generator = np.random.default_rng(0)
    inputs = {client: {"votes": generator.integers(0, 2, length).astype(bool)} for client in range(8)}
    result = run_session(protocol, plan, signing_keys[:8], inputs)

    np.testing.assert_array_equal(result.totals["votes"], sum(inputs[c]["votes"].astype(int) for c in range(8)))
    assert 8 * result.traffic[Step.SUBMIT].bytes_up[0] / length < {"bfv": 4.3, "ckks": 4.7}[protocol.name]


def test_roles_run_in_threads_side_by_side(make_plan, signing_keys, protocol):
    """Sessions in several threads at once do not disturb each other, though they share the library's context."""
    plan = make_plan(4, VOTES)
    wrong = []

    def work(seed):
        generator = np.random.default_rng(seed)
        inputs = {client: {"votes": generator.integers(0, 2, 130)} for client in range(4)}
        totals = run_session(protocol, plan, signing_keys[:4], inputs).totals["votes"]
        if not np.array_equal(totals, sum(inputs[client]["votes"] for client in range(4))):
            wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_encryption_in_processes_gives_the_same_sum(make_plan, signing_keys, protocol, monkeypatch):
    """Several processes, order and totals as with one; no ciphertext repeats another's randomness."""
    monkeypatch.setattr(workers, "LEAST_CIPHERTEXTS", 40)
    started = []
    monkeypatch.setattr(workers, "_BATCH", 3)
    true_encrypt = workers.encrypt_in_processes

    def watched(*args, **kwargs):
        started.append(kwargs["workers"])
        return true_encrypt(*args, **kwargs)

    monkeypatch.setattr(workers, "encrypt_in_processes", watched)
    length = 4096 * protocol.layout(make_plan(3, VOTES), VOTES[0]).lanes * 40 + 1
    plan = make_plan(3, (VectorSpec("votes", length, 1), VectorSpec("few", 7, 1)))  # 41 ciphertexts, the last with both
    generator = np.random.default_rng(0)
    inputs = {c: {"votes": generator.integers(0, 2, length, np.uint8), "few": np.ones(7, int)} for c in range(3)}
    uploads = {client: b"" for client in range(3)}

    def look(entry):
        if entry.step is Step.SUBMIT and entry.direction is Direction.RECEIVED:
            uploads[entry.client] += decode(entry.message).body

    result = run_session(Homomorphic(protocol.scheme, workers=2), plan, signing_keys[:3], inputs, transcript=look)
    size = choose(protocol.scheme, plan).parameters.ring.upload_bytes
    seeds = [upload[at : at + 64] for upload in uploads.values() for at in range(0, 41 * size, size)]

    assert started == [2, 2, 2]
    assert {len(upload) for upload in uploads.values()} == {41 * size + 32}
    assert len(set(seeds)) == len(seeds)
    for name in ("votes", "few"):
        np.testing.assert_array_equal(result.totals[name], sum(inputs[c][name].astype(int) for c in range(3)))


def test_few_ciphertexts_are_encrypted_here(make_plan, signing_keys, protocol, monkeypatch):
    """Starting processes for a moment's work is not worth it; and there is at least one worker."""
    monkeypatch.setattr(workers, "encrypt_in_processes", None)
    inputs = {client: {"votes": np.ones(130, bool)} for client in range(3)}
    result = run_session(Homomorphic(protocol.scheme, workers=2), make_plan(3, VOTES), signing_keys[:3], inputs)

    assert result.totals["votes"].tolist() == [3] * 130
    with pytest.raises(ValueError, match="workers=0 must be at least 1"):
        Homomorphic(protocol.scheme, workers=0)


def secrets_of(client):
    """Return every secret that a client holds at this moment."""
    found = [client._contribution, client._check]
    if isinstance(client._private_key, X25519PrivateKey):
        found.append(client._private_key.private_bytes_raw())
    return [secret for secret in found if secret]


def test_no_repr_holds_a_secret(make_parties):
    """At every step, at any depth of repr that a log would reach."""
    parties = make_parties(4, VOTES)
    for step in Step:
        parties.do(step)
        for client in parties.clients:
            shown = repr(client) + repr(vars(client).get("_sealer")) + repr(client._holder)
            for secret in secrets_of(client):
                assert secret.hex() not in shown
                assert repr(secret)[2:-1] not in shown


def test_secrets_are_dropped_when_they_have_served(make_parties):
    """After submit the contributions are gone, and what the sealer held; after reveal the key."""
    parties = make_parties(4, VOTES)
    parties.walk(Step.ADVERTISE, Step.SHARE)
    sealers = [client._sealer for client in parties.clients]
    assert all(sealer._agreed and sealer._private_key is not None for sealer in sealers)
    parties.do(Step.SUBMIT)
    for client, sealer in zip(parties.clients, sealers, strict=True):
        assert (client._private_key, client._sealer, client._contribution) == (None, None, b"")
        assert (sealer._private_key, sealer._agreed) == (None, {})
    parties.walk(Step.CONFIRM, Step.REVEAL)

    assert all(client._holder is None for client in parties.clients)
