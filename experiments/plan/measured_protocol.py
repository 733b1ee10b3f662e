"""How fast this machine sums: a few small sessions of real roles, and what they say of larger ones.

The seconds of a client, and of the server for a client, are taken to be a + b p + (c + d p) s, with s the bytes of a
submission and p the clients that one has to do with: linear in each, as the protocols' work is. Two sizes and two
numbers of clients give the four numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from protocols import PROTOCOLS, Roster, SessionPlan, Step, VectorSpec, generate_signing_key, run_session
from protocols.costs import expected_traffic

FEWEST, MOST = 4, 10
CONTENT_BYTES = 2 << 20
RUNS = 3


@dataclass(frozen=True, slots=True)
class Line:
    """A cost that grows in a straight line through two points; level where they are one, and nowhere below zero.

    More never costs less: where measurements fall, they scatter, and the line is level at their mean.
    """

    first: tuple[float, float]
    second: tuple[float, float]

    def at(self, place: float) -> float:
        """Give its height."""
        (left, low), (right, high) = self.first, self.second
        if right == left or high < low:
            return (low + high) / 2
        return max(0.0, low + (high - low) / (right - left) * (place - left))


@dataclass(frozen=True, slots=True)
class Corner:
    """A session that was measured.

    Attributes:
        peers: Clients that each one has to do with.
        content: Bytes that a client submitted.
        client: Seconds of a client.
        server: Seconds of the server for a client.
    """

    peers: int
    content: int
    client: float
    server: float


@dataclass(frozen=True, slots=True)
class ProtocolRates:
    """Measured sessions: for each number of peers a small and a large one."""

    corners: tuple[tuple[Corner, Corner], ...]

    def client_seconds(self, *, peers: int, content: int) -> float:
        """Estimate the seconds of one client in a session."""
        return self._at(peers, content, [[(each.content, each.client) for each in pair] for pair in self.corners])

    def server_seconds(self, *, peers: int, content: int) -> float:
        """Estimate the server's seconds for one client in a session."""
        return self._at(peers, content, [[(each.content, each.server) for each in pair] for pair in self.corners])

    def _at(self, peers: int, content: int, points: Sequence[Sequence[tuple[float, float]]]) -> float:
        heights = [Line(small, large).at(content) for small, large in points]
        places = [float(pair[0].peers) for pair in self.corners]
        return Line((places[0], heights[0]), (places[-1], heights[-1])).at(peers)


def measure_protocol(protocol: str, spec: VectorSpec, *, peers: int) -> ProtocolRates:
    """Run small sessions of vectors like one that is planned for.

    Args:
        protocol: A name in ``PROTOCOLS``.
        spec: What will be summed; its length counts only if it is short.
        peers: Clients that each one has to do with.
    """
    sizes = (peers + 1,) if peers < MOST else (FEWEST, MOST)
    return ProtocolRates(tuple(_pair(protocol, spec, size) for size in sizes))


def _pair(protocol: str, spec: VectorSpec, clients: int) -> tuple[Corner, Corner]:
    keys = [generate_signing_key() for _ in range(clients)]
    threshold = 1 if protocol == "plain" else 2 * clients // 3 + 1

    def plan(length: int, number: int) -> SessionPlan:
        survivors = threshold if protocol == "plain" else max(threshold, 3)
        vector = replace(spec, length=length)
        return SessionPlan(bytes(32), number, Roster.of(keys), (vector,), threshold, survivors)

    def measured(length: int) -> Corner:
        tries = []
        for number in range(RUNS):
            one = plan(length, number)
            values = {spec.name: np.zeros(length, np.uint8)}
            result = run_session(PROTOCOLS[protocol], one, keys, dict.fromkeys(range(clients), values))
            client = sum(median(each.client_seconds.values()) for each in result.traffic.values())
            server = sum(each.server_seconds for each in result.traffic.values()) / clients
            content = expected_traffic(protocol, one)[Step.SUBMIT].bytes_up[0]
            tries.append(Corner(clients - 1, content, client, server))
        return min(tries, key=lambda corner: corner.client + corner.server)

    layout = PROTOCOLS[protocol].layout(plan(spec.length, 0), replace(spec))
    most = layout.lanes * CONTENT_BYTES // 8
    return measured(1), measured(max(1, min(most, spec.length)))
