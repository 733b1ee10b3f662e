"""What a session of `additive` costs in bytes, on the complete graph or on the plan's own sparse one."""

from __future__ import annotations

from protocols.additive.bodies import ADVERTISEMENT_BYTES, SEALED_BYTES
from protocols.additive.graph import Graph
from protocols.additive.mask_stream import WORD_BYTES
from protocols.additive.shamir import SHARE_BYTES
from protocols.bodies import bitmap_bytes
from protocols.costs.messages import (
    COUNT_BYTES,
    Traffic,
    all_advertisements,
    confirmations,
    from_client,
    from_server,
    submission,
    traffic_of,
)
from protocols.costs.presence import Presence
from protocols.inputs import layout_for
from protocols.merkle import NODE_BYTES, path_length
from protocols.session import SessionPlan, Step


def content_bytes(plan: SessionPlan) -> int:
    """Return the bytes of a client's packed and masked vectors."""
    clients = len(plan.roster)
    return WORD_BYTES * sum(layout_for(vector, clients).words(vector.length) for vector in plan.vectors)


def traffic(plan: SessionPlan, presence: Presence) -> Traffic:
    """Return the bytes of every client in every step; in a sparse graph those of the graph that the plan draws."""
    circles = _Circles(Graph(plan), presence)
    bitmap = bitmap_bytes(presence.num_clients)
    return traffic_of(
        presence,
        up={
            Step.ADVERTISE: from_client(ADVERTISEMENT_BYTES),
            Step.SHARE: lambda client: from_client(SEALED_BYTES * circles.peers(client, Step.ADVERTISE)),
            Step.SUBMIT: submission(content_bytes(plan)),
            Step.CONFIRM: from_client(bitmap),
            Step.REVEAL: lambda client: from_client(SHARE_BYTES * circles.holders(client, Step.SHARE)),
        },
        down={
            Step.SHARE: lambda client: from_server(circles.advertisements(client)),
            Step.SUBMIT: lambda client: from_server(bitmap + SEALED_BYTES * circles.peers(client, Step.SHARE)),
            Step.CONFIRM: from_server(bitmap),
            Step.REVEAL: from_server(confirmations(presence, plan.recovery_threshold)),
        },
    )


class _Circles:
    """Counts of those that a client has to do with."""

    def __init__(self, graph: Graph, presence: Presence) -> None:
        """Look up who is there."""
        self._graph, self._presence = graph, presence
        self._done = {step: frozenset(clients) for step, clients in presence.done.items()}

    def peers(self, client: int, step: Step) -> int:
        """Return how many of a client's neighbours did a step."""
        if self._graph.is_complete:
            return len(self._done[step]) - (client in self._done[step])
        return sum(peer in self._done[step] for peer in self._graph.neighbours(client))

    def holders(self, client: int, step: Step) -> int:
        """Return how many of those that hold shares of a client's secrets did a step."""
        if self._graph.is_complete:
            return len(self._done[step])
        return self.peers(client, step)

    def advertisements(self, client: int) -> int:
        """Return the bytes of the advertisements that a client is shown, with proofs in a sparse graph."""
        if self._graph.is_complete:
            return all_advertisements(self._presence, ADVERTISEMENT_BYTES)
        shown = (client, *self._graph.neighbours(client))
        nodes = sum(path_length(index, self._presence.num_clients) for index in shown)
        present = self.peers(client, Step.ADVERTISE) + 1
        return NODE_BYTES * (1 + nodes) + COUNT_BYTES * len(shown) + present * from_client(ADVERTISEMENT_BYTES)
