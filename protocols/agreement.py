"""How clients make sure that all of them were shown the same survivors.

The server names the survivors; a client signs one list a session (confirm) and opens anything only after it has seen
enough signatures on the very list it signed (reveal). See Bonawitz et al. 2017, Figure 4, round 3.

Corrupted: a lying server and clients that help it. Without this step such a server shows each client another list and
opens sums over fewer clients than the plan allows. With it, at most one list gathers enough signatures if 2 *
recovery_threshold > clients + assumed_colluders, which every protocol that protects anything checks when it is set up.

In a sparse graph the threshold counts a client's neighbours: it signs a list only if enough of them are on it, and
reveals only when enough of them signed it. Here such a set of clients is called a circle; in a complete graph it is
everyone.
"""

from __future__ import annotations

from collections.abc import Collection

from protocols.bodies import decode_bitmap, decode_confirmations
from protocols.errors import UnsafeRequest
from protocols.session import SessionPlan, Step
from protocols.wire import Frame, Message, open_from_server


def open_survivor_list(
    data: bytes,
    frame: Frame,
    plan: SessionPlan,
    *,
    index: int,
    sharers: Collection[int],
    circle: Collection[int] | None = None,
    attached: int = 0,
) -> bytes:
    """Check a survivor list as the client `index`, which has submitted.

    Args:
        data: Bytes from the server.
        frame: Frame of the confirm step.
        plan: The session's plan.
        index: Roster index of the receiving client.
        sharers: Clients that took part in share.
        circle: Clients of whom the recovery threshold must be listed; None: the minimum of survivors sees to it.
        attached: Bytes that the protocol puts after the bitmap.

    Returns:
        The bitmap, and what is attached to it, to sign.

    Raises:
        InvalidMessage: If the message is malformed.
        UnsafeRequest: If the list lacks this client, names one that did not share, is below the minimum, or has too few
            of the circle.
    """
    body = open_from_server(data, frame)
    survivors = decode_bitmap(body[: max(0, len(body) - attached)], len(plan.roster), frame)
    if len(survivors) < plan.minimum_survivors:
        reason = f"{len(survivors)} survivors are fewer than minimum_survivors={plan.minimum_survivors}"
        raise UnsafeRequest(reason, session=frame.context, step=frame.step)
    if index not in survivors:
        reason = "the survivor list lacks this client though it submitted"
        raise UnsafeRequest(reason, session=frame.context, step=frame.step, client=index)
    for survivor in survivors:
        if survivor not in sharers:
            reason = "the survivor list names a client that did not share"
            raise UnsafeRequest(reason, session=frame.context, step=frame.step, client=survivor)
    if circle is not None and len(listed := frozenset(survivors) & frozenset(circle)) < plan.recovery_threshold:
        reason = f"{len(listed)} listed neighbours are fewer than recovery_threshold={plan.recovery_threshold}"
        raise UnsafeRequest(reason, session=frame.context, step=frame.step, client=index)
    return body


def open_reveal_request(
    data: bytes,
    frame: Frame,
    plan: SessionPlan,
    *,
    bitmap: bytes,
    circle: Collection[int] | None = None,
    attached: bytes = b"",
) -> bytes:
    """Check a reveal request as a client that signed `bitmap`.

    Args:
        data: Bytes from the server.
        frame: Frame of the reveal step.
        plan: The session's plan.
        bitmap: The survivor list that this client signed.
        circle: Clients whose signatures count; None: everyone's.
        attached: What this client signed after the bitmap.

    Returns:
        What the protocol put after the confirmations.

    Raises:
        InvalidMessage: If the message is malformed.
        UnsafeRequest: If it is for another list, a signature is not that of a listed client on this list, or there are
            fewer than the recovery threshold.
    """
    num_clients = len(plan.roster)
    shown, signatures, content = decode_confirmations(open_from_server(data, frame), num_clients, frame)
    if shown != bitmap:
        reason = "the reveal request is for another survivor list than the one this client signed"
        raise UnsafeRequest(reason, session=frame.context, step=frame.step)
    if len(signatures) < plan.recovery_threshold:
        reason = f"{len(signatures)} confirmations are fewer than recovery_threshold={plan.recovery_threshold}"
        raise UnsafeRequest(reason, session=frame.context, step=frame.step)
    survivors = frozenset(decode_bitmap(bitmap, num_clients, frame))
    counted = survivors if circle is None else survivors & frozenset(circle)
    confirm_frame = Frame(frame.protocol, Step.CONFIRM, frame.context)
    for sender, signature in signatures.items():
        message = Message.of(confirm_frame, sender, 0, bitmap + attached, signature)
        if sender not in counted or not message.is_signed_by(plan.roster.public_keys[sender]):
            reason = "a relayed confirmation is not a survivor's signature on this list"
            raise UnsafeRequest(reason, session=frame.context, step=frame.step, client=sender)
    return content
