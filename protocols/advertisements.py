"""From the signed advertisements of the clients to the session id.

    session id = SHA-256("fedprllm/v1/session" || plan digest || Merkle root)

The tree has one leaf for every roster index, in roster order, whether its client advertised or not, so that two sets of
present clients can never give one root; it is split as in RFC 6962 (the left part is the largest power of two below the
size), with

    leaf of an advertisement   SHA-256(0x00 || message)
    leaf of an absent client   SHA-256(0x02)
    inner node                 SHA-256(0x01 || left || right)

A tree rather than one long hash, so that a client with few neighbours can check its part by a path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from protocols.bodies import decode_advertisements
from protocols.session import SessionPlan, Step
from protocols.wire import Frame, Message, open_from_client, open_from_server

SESSION_LABEL = b"fedprllm/v1/session"
ABSENT_LEAF = hashlib.sha256(b"\x02").digest()


def session_id(plan: SessionPlan, advertisements: Mapping[int, bytes]) -> bytes:
    """Return the 32-byte session id.

    Args:
        plan: The session's plan.
        advertisements: Signed advertise messages by roster index; a client without one is absent.
    """
    leaves = [
        hashlib.sha256(b"\x00" + advertisements[index]).digest() if index in advertisements else ABSENT_LEAF
        for index in range(len(plan.roster))
    ]
    return hashlib.sha256(SESSION_LABEL + plan.digest + _merkle_root(leaves)).digest()


def _merkle_root(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + _merkle_root(leaves[:split]) + _merkle_root(leaves[split:])).digest()


def open_roster_message(
    data: bytes, *, protocol: str, plan: SessionPlan, index: int, own: bytes
) -> tuple[bytes, dict[int, Message]]:
    """Check a roster message as the client `index` and derive the session id.

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
    if advertisements.get(index) != own:
        raise frame.refusal("this client's advertisement is not the one it sent", client=index)
    if len(advertisements) < plan.minimum_survivors:
        raise frame.refusal(f"{len(advertisements)} advertisements are fewer than {plan.minimum_survivors}")
    messages = {}
    advertise_frame = Frame(protocol, Step.ADVERTISE, plan.digest)
    for sender, advertisement in advertisements.items():
        message = open_from_client(advertisement, advertise_frame, plan.roster)
        if message.sender != sender or message.part != 0:
            raise frame.refusal(f"its advertisement is that of client {message.sender}", client=sender)
        messages[sender] = message
    return session_id(plan, advertisements), messages
