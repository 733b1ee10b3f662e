"""`additive` on a sparse graph: what a client sees and holds, what it refuses, and exact totals."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from protocols import PROTOCOLS, InvalidMessage, Step, TooFewSurvivors, UnsafeRequest, VectorSpec, run_session
from protocols.additive.degree import Claim, smallest_graph
from protocols.additive.graph import Graph
from protocols.additive.protocol import Additive, supported_claim
from protocols.advertisements import session_id
from protocols.bodies import (
    decode_proven_advertisements,
    encode_bitmap,
    encode_confirmations,
    encode_proven_advertisements,
)
from protocols.merkle import MerkleTree
from protocols.wire import ClientPen, Frame, decode, server_message

ADDITIVE = PROTOCOLS["additive"]
SPARSE = {"neighbours": 4, "recovery_threshold": 3, "minimum_survivors": 7, "beacon": bytes(range(32))}


class AnyGraph(Additive):
    """The protocol on graphs that are too small to protect anybody, so that tests can go through all cases."""

    def check(self, plan):
        """Accept every plan."""


@pytest.fixture
def protocol():
    """Nine clients with four neighbours each are enough here."""
    return AnyGraph()


@pytest.fixture
def parties(make_parties):
    """Nine clients in a circle."""
    return make_parties(9, **SPARSE)


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({"neighbours": 30, "recovery_threshold": 6}, True),
        ({"neighbours": 30, "recovery_threshold": 25}, True),
        ({"neighbours": 28, "recovery_threshold": 6}, False),
        ({"neighbours": 30, "recovery_threshold": 5}, False),
        ({"neighbours": 30, "recovery_threshold": 26}, False),
        ({"neighbours": 30, "recovery_threshold": 6, "assumed_colluders": 6}, False),
        ({"neighbours": 30, "recovery_threshold": 6, "minimum_survivors": 90}, False),
    ],
)
def test_plans_are_held_to_the_rule(make_plan, fields, accepted):
    """The degree and threshold must fit the colluders and the clients that may leave."""
    plan = make_plan(100, **({"assumed_colluders": 5, "minimum_survivors": 95, "beacon": bytes(32)} | fields))
    if accepted:
        ADDITIVE.check(plan)
        return
    with pytest.raises(ValueError, match=r"neighbours=.*, recovery_threshold=.* must fit 100 clients"):
        ADDITIVE.check(plan)


def test_the_claim_follows_from_the_degree(make_plan):
    """The same session stands against a liar with more neighbours only."""
    claims = {}
    for claim in Claim:
        neighbours, threshold = smallest_graph(200, 2, 10, claim)
        fields = {"neighbours": neighbours, "recovery_threshold": threshold, "beacon": bytes(32)}
        plan = make_plan(200, minimum_survivors=190, assumed_colluders=2, **fields)
        ADDITIVE.check(plan)
        claims[claim] = supported_claim(plan, 2, 10)

        assert supported_claim(plan, 100, 10) is None

    assert claims == {claim: claim for claim in Claim}


def test_a_threshold_of_one_is_refused(make_plan):
    """Each share would be the secret itself, on any graph, though nobody is assumed to collude."""
    graph = {"neighbours": 99, "beacon": bytes(32), "recovery_threshold": 1, "minimum_survivors": 100}
    for fields in (graph, {"recovery_threshold": 1, "minimum_survivors": 100}):
        plan = make_plan(100, **fields)

        assert supported_claim(plan, 0, 0) is None
        with pytest.raises(ValueError, match="recovery_threshold=1 must be at least 2: with 1 a share is the secret"):
            ADDITIVE.check(plan)


def test_the_claim_names_helpers_and_the_beacon(make_plan):
    """A sparse graph stands against a liar only if nobody chose the beacon; a refused plan claims nothing."""
    claims = {}
    for claim in Claim:
        for colluders in (0, 1, 2):
            neighbours, threshold = smallest_graph(200, colluders, 10, claim)
            fields = {"neighbours": neighbours, "recovery_threshold": threshold, "beacon": bytes(32)}
            plan = make_plan(200, minimum_survivors=190, assumed_colluders=colluders, **fields)
            claims[claim, colluders] = ADDITIVE.claim(plan)
    sums = "only the sum over at least 190 clients"

    assert claims == {
        (Claim.LYING, 0): f"even a lying server, if nobody chose the beacon, learns {sums}",
        (Claim.LYING, 1): f"even a lying server and 1 client that helps it, if nobody chose the beacon, learn {sums}",
        (Claim.LYING, 2): f"even a lying server and 2 clients that help it, if nobody chose the beacon, learn {sums}",
        (Claim.SEMI_HONEST, 0): f"a server that follows the protocol learns {sums}",
        (Claim.SEMI_HONEST, 1): f"a server that follows the protocol and 1 client that helps it learn {sums}",
        (Claim.SEMI_HONEST, 2): f"a server that follows the protocol and 2 clients that help it learn {sums}",
    }
    refused = make_plan(200, minimum_survivors=20, recovery_threshold=20, neighbours=190, beacon=bytes(32))
    with pytest.raises(ValueError, match=r"neighbours=190, recovery_threshold=20 must fit 200 clients"):
        ADDITIVE.claim(refused)


def test_a_lost_client_that_nobody_can_recover_is_named(make_parties):
    """Everybody's own secret has two holders left, but of one that dropped out only one neighbour reveals."""
    parties = make_parties(13, **(SPARSE | {"neighbours": 6, "recovery_threshold": 2}))
    around = {client: set(Graph(parties.plan).neighbours(client)) for client in range(13)}
    lost, stayed = 5, [client for client in range(13) if client != 5]

    def reveal_but_for(kept):
        return [client for client in stayed if client not in around[lost] or client == kept]

    kept = next(
        kept
        for kept in sorted(around[lost])
        if all(len(around[client] & set(reveal_but_for(kept))) >= 2 for client in stayed)
    )
    parties.walk(Step.ADVERTISE, Step.SHARE)
    for step in (Step.SUBMIT, Step.CONFIRM):
        parties.do(step, *stayed)
    parties.do(Step.REVEAL, *reveal_but_for(kept))
    with pytest.raises(TooFewSurvivors, match="reveal, client 5: 1 of its neighbours are left, 2 are needed"):
        parties.server.totals()
    parties.do(Step.REVEAL, *(around[lost] - {kept}))

    parties.check_totals(*stayed)


def test_other_protocols_refuse_a_graph(make_plan):
    """A protocol without a graph does not silently ignore one."""
    with pytest.raises(ValueError, match="neighbours=4 must be 0: plain has no graph"):
        PROTOCOLS["plain"].check(make_plan(9, **SPARSE))


@pytest.mark.parametrize("step", Step)
def test_every_single_dropout_is_recovered(protocol, make_plan, signing_keys, step):
    """One client of nine leaves at any step: the survivors' totals are exact."""
    plan = make_plan(9, **SPARSE)
    inputs = {c: {"votes": np.arange(130) % (c + 2) == 0, "energy": np.full(9, 100 * c)} for c in range(9)}
    for leaver in range(9):
        result = run_session(protocol, plan, signing_keys[:9], inputs, dropouts={step: frozenset({leaver})})
        stayed = [client for client in range(9) if client != leaver or step > Step.SUBMIT]

        assert result.survivors == tuple(stayed)
        for name in inputs[0]:
            np.testing.assert_array_equal(result.totals[name], sum(inputs[c][name].astype(int) for c in stayed))


@pytest.mark.parametrize("step", Step)
def test_two_dropouts_are_recovered_or_named(protocol, make_plan, signing_keys, step):
    """Two clients with a common neighbour leave it too few neighbours: it is named; other two are recovered."""
    plan = make_plan(9, **SPARSE)
    around = {client: set(Graph(plan).neighbours(client)) for client in range(9)}
    inputs = {c: {"votes": np.ones(130, int), "energy": np.full(9, c)} for c in range(9)}
    ended = 0
    for pair in itertools.combinations(range(9), 2):
        stayed = [client for client in range(9) if client not in pair]
        poor = [client for client in stayed if len(around[client] - set(pair)) < 3]
        needed = poor if step < Step.REVEAL else [client for client in range(9) if len(around[client] - set(pair)) < 3]
        if needed:
            ended += 1
            with pytest.raises(
                TooFewSurvivors, match=f"client {needed[0]}: 2 of its neighbours are left, 3 are needed"
            ):
                run_session(protocol, plan, signing_keys[:9], inputs, dropouts={step: frozenset(pair)})
            continue
        survivors = stayed if step <= Step.SUBMIT else list(range(9))
        result = run_session(protocol, plan, signing_keys[:9], inputs, dropouts={step: frozenset(pair)})
        assert result.totals["energy"].tolist() == [sum(survivors)] * 9

    assert 0 < ended <= 36


def test_a_sparse_plan_is_summed_by_order_of_arrival_and_recovery(make_parties):
    """A client lost between share and submit is recovered from its neighbours alone, several vectors at once."""
    parties = make_parties(9, (VectorSpec("a", 300, 1), VectorSpec("b", 2, 2**40), VectorSpec("c", 64, 7)), **SPARSE)
    parties.walk(Step.ADVERTISE, Step.SHARE)
    stayed = [8, 2, 5, 1, 0, 7, 3, 4]
    for step in (Step.SUBMIT, Step.CONFIRM, Step.REVEAL):
        parties.do(step, *stayed)

    parties.check_totals(*sorted(stayed))


def test_a_client_sees_its_neighbours_only(parties):
    """The roster message holds five advertisements, a client seals for four, and masks with four."""
    parties.do(Step.ADVERTISE)
    neighbours = Graph(parties.plan).neighbours(0)
    body = decode(parties.ask(Step.SHARE, 0)).body
    shown = sorted((0, *neighbours))
    root, proven = decode_proven_advertisements(body, shown, 9, Frame("additive", Step.SHARE, parties.plan.digest))
    parties.do(Step.SHARE)

    assert root == MerkleTree(parties.server._messages, 9).root
    assert list(proven) == shown
    assert set(parties.clients[0]._shared.pairs) == set(neighbours)
    assert parties.clients[0]._shared.own == {}
    assert parties.clients[0]._session == session_id(parties.plan, parties.server._messages)
    parties.walk(Step.SUBMIT, Step.REVEAL)
    parties.check_totals()


def test_messages_do_not_grow_with_the_roster(make_parties):
    """From 32 to 256 clients only bitmaps and paths grow: 28 bytes, and 32 bytes a level and neighbour."""
    sizes = {}
    for clients in (32, 256):
        parties = make_parties(clients, (VectorSpec("votes", 10, 1),), **(SPARSE | {"minimum_survivors": 30}))
        parties.do(Step.ADVERTISE)
        sizes[clients] = []
        for step in list(Step)[1:]:
            sizes[clients].append(len(parties.ask(step, 0)))
            answers = {client: parties.messages(step, client) for client in parties.everyone}
            sizes[clients].append(max(map(len, answers[0])))
            for messages in answers.values():
                for message in messages:
                    parties.receive(step, message)
    grown = [large - small for small, large in zip(sizes[32], sizes[256], strict=True)]

    assert grown == [5 * 3 * 32, 0, 28, 0, 28, 28, 28, 0]


def roster(parties, recipient, changes):
    """Return a roster message with entries of the server's making, each with a path of its own tree."""
    messages = dict(parties.server._messages) | {k: v for k, v in changes.items() if v is not None}
    messages = {k: v for k, v in messages.items() if k not in changes or changes[k] is not None}
    tree = MerkleTree(messages, 9)
    shown = (recipient, *Graph(parties.plan).neighbours(recipient))
    proven = {client: (messages.get(client), tree.path(client)) for client in shown}
    frame = Frame("additive", Step.SHARE, parties.plan.digest)
    return server_message(frame, encode_proven_advertisements(tree.root, proven))


def test_forged_parts_of_a_roster_are_refused(parties):
    """Paths must lead to one root, advertisements be their clients', one's own be one's own, and enough be there."""
    parties.do(Step.ADVERTISE)
    one, two, *others = Graph(parties.plan).neighbours(0)
    messages = parties.server._messages
    honest = decode(parties.ask(Step.SHARE, 0))
    frame, depth = honest.frame, 32

    def refused(request, match):
        with pytest.raises(InvalidMessage, match=match):
            parties.clients[0].share(request)

    first = min(0, one)
    assert first == 0
    flipped = bytearray(honest.body)
    flipped[-1] ^= 1
    refused(server_message(frame, bytes(flipped)), f"client {max(0, *others)}: the path of its advertisement does not")
    refused(server_message(frame, bytes([honest.body[0] ^ 1]) + honest.body[1:]), "client 0: the path of its")
    refused(roster(parties, 0, {one: messages[two]}), f"client {one}: its advertisement is that of client {two}")
    stranger = ClientPen(one, parties.keys[20]).write(decode(messages[one]).frame, decode(messages[one]).body).encode()
    refused(roster(parties, 0, {one: stranger}), f"client {one}: the signature does not verify")
    refused(roster(parties, 0, {0: None}), "client 0: this client's advertisement is not the one it sent")
    again = ClientPen(0, parties.keys[0]).write(decode(messages[0]).frame, bytes(96)).encode()
    refused(roster(parties, 0, {0: again}), "client 0: this client's advertisement is not the one it sent")
    refused(roster(parties, 0, {one: None, two: None}), "3 advertisements are fewer than 4")
    refused(server_message(frame, honest.body[:-depth]), "the list of advertisements is cut short")
    refused(server_message(frame, honest.body + bytes(32)), "bytes follow the last advertisement")
    refused(server_message(frame, b""), "the list of advertisements is cut short")
    parties.walk(Step.SHARE, Step.REVEAL)

    parties.check_totals()


def test_a_neighbour_cannot_be_hidden_from_one_client(parties):
    """A client told that its neighbour is absent computes another session id than that neighbour."""
    parties.do(Step.ADVERTISE)
    hidden = Graph(parties.plan).neighbours(0)[0]
    odd = parties.clients[0].share(roster(parties, 0, {hidden: None}))
    parties.do(Step.SHARE, *range(1, 9))
    with pytest.raises(InvalidMessage, match="another session or plan"):
        parties.receive(Step.SHARE, odd)


def test_an_absent_client_is_one_that_dropped_out(parties):
    """A client that never advertised is shown as absent to its neighbours, with a proof."""
    for step in Step:
        parties.do(step, *range(8))

    parties.check_totals(*range(8))


def test_too_few_neighbours_are_refused_by_clients(parties):
    """Shares, survivors and signatures count only if they are the neighbours'."""
    parties.walk(Step.ADVERTISE, Step.SHARE)
    neighbours = Graph(parties.plan).neighbours(0)
    strangers = [client for client in range(1, 9) if client not in neighbours]
    request = decode(parties.ask(Step.SUBMIT, 0))
    absent = set(neighbours[:2])
    few = encode_bitmap([client for client in range(9) if client not in absent], 9)
    with pytest.raises(InvalidMessage, match="2 neighbours that shared are fewer than 3"):
        parties.answer(Step.SUBMIT, 0, server_message(request.frame, few + request.body[2 + 2 * 82 :]))
    parties.walk(Step.SUBMIT, Step.SUBMIT)
    frame = parties.server._attendance.frame(Step.CONFIRM)
    with pytest.raises(UnsafeRequest, match="client 0: 2 listed neighbours are fewer than recovery_threshold=3"):
        parties.clients[0].confirm(server_message(frame, few))
    signatures = {}
    for client in range(9):
        (message,) = parties.messages(Step.CONFIRM, client)
        signatures[client] = decode(message).signature
        parties.receive(Step.CONFIRM, message)
    everyone = encode_bitmap(range(9), 9)
    reveal = Frame("additive", Step.REVEAL, frame.context)
    for members in ((*neighbours[:2], strangers[0]), (0, *neighbours[:2])):
        relayed = encode_confirmations(everyone, {client: signatures[client] for client in members})
        with pytest.raises(UnsafeRequest, match="a relayed confirmation is not a survivor's signature on this list"):
            parties.clients[0].reveal(server_message(reveal, relayed))
    parties.walk(Step.REVEAL, Step.REVEAL)

    parties.check_totals()


def test_no_bytes_crash_the_proven_roster(parties):
    """Five hundred random and mutated lists of advertisements are refused and nothing else."""
    parties.do(Step.ADVERTISE)
    source, honest = random.Random(3), decode(parties.ask(Step.SHARE, 0))
    for _ in range(500):
        body = bytearray(honest.body)
        kind = source.randrange(4)
        if kind == 0:
            body[source.randrange(len(body))] ^= 1 << source.randrange(8)
        elif kind == 1:
            del body[source.randrange(len(body)) :]
        elif kind == 2:
            body += source.randbytes(source.randrange(1, 40))
        else:
            body = bytearray(source.randbytes(source.randrange(2000)))
        with pytest.raises(InvalidMessage):
            parties.clients[0].share(server_message(honest.frame, bytes(body)))
    parties.walk(Step.SHARE, Step.REVEAL)

    parties.check_totals()


@pytest.mark.parametrize("step", Step)
def test_damaged_messages_are_refused_by_either_side(parties, step):
    """On a sparse graph too, whatever byte is flipped, cut off or added at any step is refused, and nothing is lost."""
    source = random.Random(int(step))
    if step > Step.ADVERTISE:
        parties.walk(Step.ADVERTISE, Step(step - 1))
        request = parties.ask(step, 0)
        for length in (0, 61, len(request) - 1):
            with pytest.raises(InvalidMessage):
                parties.answer(step, 0, request[:length])
        with pytest.raises(InvalidMessage):
            parties.answer(step, 0, request + b"\0")
    messages = parties.messages(step, 0)
    for message in messages:
        for _ in range(100):
            flipped = bytearray(message)
            flipped[source.randrange(len(flipped))] ^= 1 << source.randrange(8)
            for bad in (bytes(flipped), message[: source.randrange(len(message))], message + source.randbytes(3)):
                with pytest.raises(InvalidMessage):
                    parties.receive(step, bad)
        body = decode(message).body
        for wrong in (body + bytes(33), body[:-1], b""):
            longer = ClientPen(0, parties.keys[0]).write(decode(message).frame, wrong, part=decode(message).part)
            with pytest.raises(InvalidMessage):
                parties.receive(step, longer.encode())
        parties.receive(step, message)
    parties.do(step, *range(1, 9))
    if step < Step.REVEAL:
        parties.walk(Step(step + 1), Step.REVEAL)

    parties.check_totals()
