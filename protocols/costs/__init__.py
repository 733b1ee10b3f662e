"""What sessions cost in bytes, computed before anything is sent.

From the plan alone, by the table of `protocols.wire`: the very bytes that `protocols.simulate` counts, client by client
and step by step, also if it is known who leaves when. What takes part in a sparse graph is the graph that the plan
draws; another draw has other paths, so that single clients get a few nodes more or less and all together the same.

A new protocol is one file here and one line in `COSTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from protocols.bundle import bundle_overhead
from protocols.costs import additive, homomorphic, plain
from protocols.costs.messages import Traffic
from protocols.costs.presence import Presence
from protocols.homomorphic.parameters import Scheme
from protocols.session import SessionPlan, Step
from protocols.traffic import Direction

COSTS: dict[str, Callable[[SessionPlan, Presence], Traffic]] = {
    "plain": plain.traffic,
    "additive": additive.traffic,
    "bfv": homomorphic.traffic_under(Scheme.BFV),
    "ckks": homomorphic.traffic_under(Scheme.CKKS),
}

__all__ = ["COSTS", "Presence", "Traffic", "add_bundles", "expected_traffic", "expected_traffic_together"]

_BUNDLED = (  # what sessions that are opened together send as one
    (Step.ADVERTISE, Direction.RECEIVED),
    (Step.SHARE, Direction.SENT),
    (Step.SHARE, Direction.RECEIVED),
    (Step.SUBMIT, Direction.SENT),
)


def expected_traffic(
    protocol: str, plan: SessionPlan, *, leaving: Mapping[Step, frozenset[int]] | None = None
) -> Traffic:
    """Return the bytes of a session of its own, without seconds.

    Args:
        protocol: A name in `COSTS`.
        plan: The session's plan.
        leaving: Clients that do neither this step nor any later one.

    Raises:
        ValueError: If a vector does not fit the protocol, or one that leaves is not of the roster.
    """
    return COSTS[protocol](plan, Presence.of(plan, leaving or {}))


def expected_traffic_together(
    protocol: str, plans: Sequence[SessionPlan], *, leaving: Sequence[Mapping[Step, frozenset[int]]] | None = None
) -> list[Traffic]:
    """Return the bytes of sessions that are opened together, each as `protocols.simulate.open_together` counts them.

    Args:
        protocol: A name in `COSTS`.
        plans: The sessions' plans, ascending by number.
        leaving: For each session as in `expected_traffic`.

    Raises:
        ValueError: As `expected_traffic`.
    """
    gone = leaving or [{} for _ in plans]
    presences = [Presence.of(plan, each) for plan, each in zip(plans, gone, strict=True)]
    found = [COSTS[protocol](plan, presence) for plan, presence in zip(plans, presences, strict=True)]
    if len(plans) > 1:
        add_bundles(found, presences)
    return found


def add_bundles(found: Sequence[Traffic], presences: Sequence[Presence]) -> None:
    """Add what bundles take beyond the messages in them to the first session that has a message in each, in place."""
    for step, direction in _BUNDLED:
        seen = set[int]()
        for traffic, presence in zip(found, presences, strict=True):
            senders = presence.done[step] if direction is Direction.RECEIVED else presence.asked(step)
            for client in set(senders) - seen:
                traffic[step].add_message(direction, client, bundle_overhead(len(found)))
            seen |= set(senders)
