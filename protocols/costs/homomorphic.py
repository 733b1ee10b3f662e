"""What a session of `bfv` or `ckks` costs in bytes; needs no encryption library."""

from __future__ import annotations

from collections.abc import Callable

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
from protocols.homomorphic.keys import CHECK_BYTES, PUBLIC_KEY_BYTES, SEALED_BYTES
from protocols.homomorphic.parameters import Scheme, choose
from protocols.homomorphic.totals import totals_bytes
from protocols.session import DIGEST_BYTES, SessionPlan, Step

OPENERS = 2  # clients that open the sum; as `protocols.homomorphic.server`, which needs the library to be imported


def content_bytes(scheme: Scheme, plan: SessionPlan) -> int:
    """Return the bytes of a client's ciphertexts."""
    choice = choose(scheme, plan)
    return choice.run(plan).ciphertexts * choice.parameters.ring.upload_bytes


def traffic_under(scheme: Scheme) -> Callable[[SessionPlan, Presence], Traffic]:
    """Return the function that gives the bytes of every client in every step under a scheme."""

    def traffic(plan: SessionPlan, presence: Presence) -> Traffic:
        choice, bitmap = choose(scheme, plan), bitmap_bytes(presence.num_clients)
        reported = totals_bytes(plan, choice.layouts)
        summed = choice.run(plan).ciphertexts * choice.parameters.ring.sum_bytes
        shown = confirmations(presence, plan.recovery_threshold)
        openers = _openers(presence)
        return traffic_of(
            presence,
            up={
                Step.ADVERTISE: from_client(PUBLIC_KEY_BYTES),
                Step.SHARE: from_client(SEALED_BYTES * (len(presence.done[Step.ADVERTISE]) - 1)),
                Step.SUBMIT: submission(content_bytes(scheme, plan)),
                Step.CONFIRM: from_client(bitmap + DIGEST_BYTES + CHECK_BYTES),
                Step.REVEAL: lambda client: from_client(reported if client in openers else 0),
            },
            down={
                Step.SHARE: from_server(all_advertisements(presence, PUBLIC_KEY_BYTES)),
                Step.SUBMIT: from_server(bitmap + SEALED_BYTES * (len(presence.done[Step.SHARE]) - 1)),
                Step.CONFIRM: from_server(bitmap + DIGEST_BYTES),
                Step.REVEAL: lambda client: from_server(shown + (summed if client in openers else 0)),
            },
        )

    return traffic


def _openers(presence: Presence) -> frozenset[int]:
    """Return the clients that are sent the sum, asked one after the other: until two have opened it."""
    revealing, asked, opened = frozenset(presence.done[Step.REVEAL]), set[int](), 0
    for client in presence.asked(Step.REVEAL):
        if opened == OPENERS:
            break
        asked.add(client)
        opened += client in revealing
    return frozenset(asked)
