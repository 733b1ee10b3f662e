"""The sparse graph: regular, symmetric, unbiased, and chosen by the beacon alone; the tree that proves parts of it."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols.additive import graph
from protocols.additive.graph import Graph
from protocols.merkle import MerkleTree, leaf, path_length, root_of

BEACON = bytes(range(32))


@pytest.fixture
def make_graph(make_plan):
    """Draw a graph."""

    def make(num_clients, neighbours, **changes):
        fields = {"recovery_threshold": 1, "neighbours": neighbours, "beacon": BEACON}
        return Graph(make_plan(num_clients, **(fields | changes)))

    return make


@pytest.mark.parametrize(("num_clients", "degree"), [(3, 2), (9, 4), (10, 3), (10, 9), (11, 10), (64, 6), (300, 40)])
def test_every_client_has_its_neighbours(make_graph, num_clients, degree):
    """Each client has `degree` distinct others, and is a neighbour of its neighbours; all can be reached."""
    drawn = make_graph(num_clients, degree)
    around = {client: drawn.neighbours(client) for client in range(num_clients)}
    reached, frontier = {0}, [0]
    while frontier:
        frontier = [new for client in frontier for new in around[client] if new not in reached]
        reached.update(frontier)
    for client, found in around.items():
        assert len(set(found)) == degree
        assert list(found) == sorted(found)
        assert client not in found
        assert all(client in around[other] for other in found)
        assert drawn.holders(client) == found

    assert len(reached) == num_clients
    assert not drawn.is_complete


def test_a_complete_graph_is_everyone(make_plan):
    """Without neighbours in the plan everyone masks with everyone and holds a share of its own secrets too."""
    complete = Graph(make_plan(5))

    assert complete.neighbours(2) == (0, 1, 3, 4)
    assert complete.holders(2) == (0, 1, 2, 3, 4)
    assert complete.is_complete


def test_the_order_is_the_documented_shuffle(make_graph, make_plan):
    """Fisher-Yates by AES-256-CTR words, written out again; neighbours stand beside each other in it."""
    plan = make_plan(9, recovery_threshold=1, neighbours=4, beacon=BEACON)
    key = hashlib.sha256(b"fedprllm/v1/graph" + plan.digest).digest()
    content = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(800))
    words = [int.from_bytes(content[at : at + 8], "little") for at in range(0, 800, 8)]
    order = list(range(9))
    for last in range(8, 0, -1):
        word = next(words.pop(0) for _ in range(99) if words[0] < 2**64 // (last + 1) * (last + 1))
        chosen = word % (last + 1)
        order[last], order[chosen] = order[chosen], order[last]
    here = order.index(3)

    assert set(Graph(plan).neighbours(3)) == {order[(here + step) % 9] for step in (-2, -1, 1, 2)}


def test_words_that_would_bias_the_shuffle_are_drawn_again():
    """A word past the largest multiple of the choices is skipped: the last ones are as likely as the first."""
    top = 2**64 - 2**64 % 3

    assert graph._below(3, iter([top, 2**64 - 1, top - 1])) == 2
    assert graph._below(2, iter([2**64 - 1])) == 1


def test_every_order_is_as_likely(make_graph):
    """Over 1,200 plans each of the 3 graphs on 4 clients in a circle is drawn a third of the time (5 sigma)."""
    counts = Counter(make_graph(4, 2, session_number=number).neighbours(0) for number in range(1200))

    assert set(counts) == {(1, 2), (1, 3), (2, 3)}
    assert all(abs(count - 400) < 5 * 16.4 for count in counts.values())


def test_the_beacon_and_the_plan_choose_the_graph(make_graph):
    """Another beacon, session or roster gives another graph; the same plan gives the same."""
    graphs = [
        make_graph(64, 6),
        make_graph(64, 6, beacon=bytes(32)),
        make_graph(64, 6, session_number=1),
        make_graph(64, 6, manifest_hash=bytes(32)),
    ]
    shown = {tuple(drawn.neighbours(client) for client in range(64)) for drawn in graphs}

    assert len(shown) == 4
    assert make_graph(64, 6).neighbours(7) == graphs[0].neighbours(7)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"neighbours": 4}, "beacon=0 bytes must be 32 bytes of a public beacon: nobody may choose"),
        ({"neighbours": 4, "beacon": bytes(31)}, "beacon=31 bytes must be 32 bytes"),
        ({"beacon": BEACON}, "beacon=32 bytes must be empty without a graph"),
        ({"neighbours": 3, "beacon": BEACON}, "neighbours=3 must be 0, or between 2 and 8 with an even product"),
        ({"neighbours": 9, "beacon": BEACON}, "neighbours=9 must be 0, or between 2 and 8"),
        ({"neighbours": 1, "beacon": BEACON}, "neighbours=1 must be 0, or between 2 and 8"),
        ({"neighbours": -2, "beacon": BEACON}, "neighbours=-2 must be 0, or between 2 and 8"),
        ({"neighbours": 4, "recovery_threshold": 5, "beacon": BEACON}, "recovery_threshold=5 must be at most neighb"),
    ],
)
def test_bad_graphs_are_refused(make_plan, changes, match):
    """A sparse plan has a degree that exists, a threshold that can be met, and a beacon."""
    with pytest.raises(ValueError, match=match):
        make_plan(9, **({"recovery_threshold": 3} | changes))


def root_by_recursion(leaves):
    """RFC 6962's definition."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + root_by_recursion(leaves[:split]) + root_by_recursion(leaves[split:])).digest()


@pytest.mark.parametrize("num_clients", [*range(1, 20), 100])
def test_every_leaf_has_a_path_to_the_root(num_clients):
    """Tree and paths follow RFC 6962, for present and absent clients."""
    advertisements = {client: b"message %d" % client for client in range(num_clients) if client % 3}
    tree = MerkleTree(advertisements, num_clients)
    leaves = [leaf(advertisements.get(client)) for client in range(num_clients)]
    for client in range(num_clients):
        path = tree.path(client)

        assert len(path) == path_length(client, num_clients)
        assert root_of(leaves[client], client, path, num_clients) == tree.root

    assert tree.root == root_by_recursion(leaves)


def test_a_path_proves_one_leaf_at_one_place():
    """Another leaf, place, node or presence leads elsewhere."""
    tree = MerkleTree(dict.fromkeys(range(10), b"same"), 10)
    path = tree.path(3)
    wrong = [
        root_of(leaf(None), 3, path, 10),
        root_of(leaf(b"other"), 3, path, 10),
        root_of(leaf(b"same"), 3, [*path[:-1], bytes(32)], 10),
    ]
    mixed = MerkleTree({client: b"%d" % client for client in range(10)}, 10)

    assert tree.root not in wrong
    assert root_of(leaf(b"3"), 2, mixed.path(3), 10) != mixed.root
