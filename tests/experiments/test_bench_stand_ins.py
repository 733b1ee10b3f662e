"""Sessions in which most clients are stand-ins: what the real ones and the server see is what it would be without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.bench.scale import plan_for
from experiments.bench.stand_ins import AmongStandIns, Cast
from experiments.bench.timed_client import TimedClient
from protocols import PROTOCOLS, Claim, Roster, Simulation, Step, generate_signing_key
from protocols.additive.graph import Graph, _drawn

ADDITIVE = PROTOCOLS["additive"]
REAL, LOST = frozenset({0, 7, 21}), frozenset({3, 8, 40})


@pytest.fixture(scope="module")
def keys():
    """Sixty clients: as few as a sparse graph is good for."""
    return [generate_signing_key() for _ in range(60)]


@pytest.mark.parametrize("claim", [None, *Claim], ids=["complete", "semi-honest", "lying"])
def test_real_clients_cannot_tell_stand_ins(keys, claim):
    """Totals are exact with clients lost, and every real client's bytes are those of a session of real clients."""
    plan = plan_for(Roster.of(keys), claim, votes=500)
    votes = np.random.default_rng(0).integers(0, 2, (60, 500), dtype=np.uint8)
    traffic = []
    for protocol in (ADDITIVE, AmongStandIns(Cast(REAL, LOST), ADDITIVE.client)):
        session = Simulation(protocol, plan, keys, dropouts={Step.SUBMIT: LOST})
        session.open()
        for client in session.submitters():
            session.submit(client, {"votes": votes[client]})
        result = session.close()

        np.testing.assert_array_equal(result.totals["votes"], np.delete(votes, sorted(LOST), axis=0).sum(axis=0))
        traffic.append(
            {
                (step, client): (found.bytes_up.get(client), found.bytes_down.get(client))
                for step, found in result.traffic.items()
                for client in range(60)
            }
        )
    assert traffic[0] == traffic[1]


def test_shape_is_that_of_the_protocol(keys):
    """Plans are refused and claims made as by the protocol itself."""
    among, plan = AmongStandIns(Cast(REAL, LOST), ADDITIVE.client), plan_for(Roster.of(keys), Claim.LYING)

    assert among.claim(plan) == ADDITIVE.claim(plan)
    assert among.largest_bound(60) == ADDITIVE.largest_bound(60)
    with pytest.raises(ValueError, match=r"recovery_threshold=2 must fit 60 clients"):
        among.check(replace(plan, recovery_threshold=2))


def test_real_clients_are_not_lost():
    """A client cannot be both measured and lost."""
    with pytest.raises(ValueError, match=r"real=\[2\] must not be among the lost clients"):
        Cast(frozenset({1, 2}), frozenset({2, 3}))


class AskedForCaches:
    """A role whose every message says how many graphs are remembered when it is asked for, and remembers one more."""

    def __init__(self, plan):
        """Remember a graph."""
        self._plan = plan
        Graph(plan)

    def _size(self, *_):
        size = _drawn.cache_info().currsize
        Graph(self._plan)
        return b"%d" % size

    advertise = share = confirm = reveal = _size

    def submit(self, inbox, vectors):
        """Yield two messages."""
        yield self._size()
        yield self._size()


def test_a_timed_client_finds_no_work_done(keys):
    """Each step begins with empty caches; the messages are the role's own, and every step has a time."""
    plan = plan_for(Roster.of(keys), Claim.SEMI_HONEST)
    client = TimedClient(lambda: AskedForCaches(plan))

    assert [client.advertise(), client.share(b""), *client.submit(b"", {})] == [b"0", b"0", b"0", b"1"]
    assert [client.confirm(b""), client.reveal(b"")] == [b"0", b"0"]
    assert list(client.seconds) == list(Step)
    assert min(client.setup_seconds, *client.seconds.values()) > 0
