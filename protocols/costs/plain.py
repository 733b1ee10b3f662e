"""What a session of `plain` costs in bytes."""

from __future__ import annotations

from protocols.bodies import bitmap_bytes
from protocols.costs.messages import (
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
from protocols.plain import WORD_BYTES
from protocols.session import SessionPlan, Step


def content_bytes(plan: SessionPlan) -> int:
    """Return the bytes of a client's packed vectors."""
    return WORD_BYTES * sum(layout_for(vector, 1).words(vector.length) for vector in plan.vectors)


def traffic(plan: SessionPlan, presence: Presence) -> Traffic:
    """Return the bytes of every client in every step."""
    bitmap = bitmap_bytes(presence.num_clients)
    return traffic_of(
        presence,
        up={
            Step.ADVERTISE: from_client(0),
            Step.SHARE: from_client(0),
            Step.SUBMIT: submission(content_bytes(plan)),
            Step.CONFIRM: from_client(bitmap),
            Step.REVEAL: from_client(0),
        },
        down={
            Step.SHARE: from_server(all_advertisements(presence, 0)),
            Step.SUBMIT: from_server(bitmap),
            Step.CONFIRM: from_server(bitmap),
            Step.REVEAL: from_server(confirmations(presence, plan.recovery_threshold)),
        },
    )
