"""From the signed advertisements of the clients to the session id.

    session id = SHA-256("fedprllm/v1/session" || plan digest || root of `protocols.merkle`)

With a complete graph a client is shown all advertisements and computes the root. With a sparse one it is shown its own,
its neighbours', and for each of these roster indices (also of an absent neighbour) the path to one root: it knows only
a part of the session, but nobody who was shown another part under another root has the same session id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from protocols.bodies import decode_advertisements, decode_proven_advertisements
from protocols.merkle import MerkleTree, leaf, root_of
from protocols.session import SessionPlan, Step
from protocols.wire import Frame, Message, open_from_client, open_from_server

SESSION_LABEL = b"fedprllm/v1/session"


def session_id(plan: SessionPlan, advertisements: Mapping[int, bytes]) -> bytes:
    """Return the 32-byte session id.

    Args:
        plan: The session's plan.
        advertisements: Signed advertise messages by roster index; a client without one is absent.
    """
    return session_id_of_root(plan, MerkleTree(advertisements, len(plan.roster)).root)


def session_id_of_root(plan: SessionPlan, root: bytes) -> bytes:
    """Return the session id under the root of the tree of advertisements."""
    return hashlib.sha256(SESSION_LABEL + plan.digest + root).digest()


def open_roster_message(
    data: bytes, *, protocol: str, plan: SessionPlan, index: int, own: bytes
) -> tuple[bytes, dict[int, Message]]:
    """Check a roster message as the client `index`, who is to see everybody, and derive the session id.

    Args:
        data: Bytes from the server.
        protocol: Name of the protocol.
        plan: The session's plan.
        index: Roster index of the receiving client.
        own: The advertisement that this client sent.

    Returns:
        The session id and the verified advertisements by roster index.

    Raises:
        InvalidMessage: If the message is malformed, an advertisement is not its client's, this client's own is not the
            one it sent, or fewer than the minimum of survivors advertised.
    """
    frame = Frame(protocol, Step.SHARE, plan.digest)
    advertisements = decode_advertisements(open_from_server(data, frame), len(plan.roster), frame)
    messages = _verified(advertisements, frame, plan, index=index, own=own, needed=plan.minimum_survivors)
    return session_id(plan, advertisements), messages


def open_sparse_roster_message(
    data: bytes, *, protocol: str, plan: SessionPlan, index: int, own: bytes, neighbours: Sequence[int]
) -> tuple[bytes, dict[int, Message]]:
    """Check a roster message as the client `index`, who is to see its neighbours, and derive the session id.

    Args:
        data: Bytes from the server.
        protocol: Name of the protocol.
        plan: The session's plan.
        index: Roster index of the receiving client.
        own: The advertisement that this client sent.
        neighbours: Its neighbours in the graph.

    Returns:
        The session id and the verified advertisements of this client and its neighbours by roster index.

    Raises:
        InvalidMessage: As `open_roster_message`, or if a path does not lead to the root, or with this client fewer than
            the recovery threshold and one advertised.
    """
    frame, num_clients = Frame(protocol, Step.SHARE, plan.digest), len(plan.roster)
    shown = sorted((index, *neighbours))
    root, proven = decode_proven_advertisements(open_from_server(data, frame), shown, num_clients, frame)
    for client, (advertisement, path) in proven.items():
        if root_of(leaf(advertisement), client, path, num_clients) != root:
            raise frame.refusal("the path of its advertisement does not lead to the root", client=client)
    advertisements = {client: message for client, (message, _) in proven.items() if message is not None}
    messages = _verified(advertisements, frame, plan, index=index, own=own, needed=plan.recovery_threshold + 1)
    return session_id_of_root(plan, root), messages


def _verified(
    advertisements: Mapping[int, bytes], frame: Frame, plan: SessionPlan, *, index: int, own: bytes, needed: int
) -> dict[int, Message]:
    if advertisements.get(index) != own:
        raise frame.refusal("this client's advertisement is not the one it sent", client=index)
    if len(advertisements) < needed:
        raise frame.refusal(f"{len(advertisements)} advertisements are fewer than {needed}")
    messages = {}
    advertise_frame = Frame(frame.protocol, Step.ADVERTISE, plan.digest)
    for sender, advertisement in advertisements.items():
        message = open_from_client(advertisement, advertise_frame, plan.roster)
        if message.sender != sender or message.part != 0:
            raise frame.refusal(f"its advertisement is that of client {message.sender}", client=sender)
        messages[sender] = message
    return messages
