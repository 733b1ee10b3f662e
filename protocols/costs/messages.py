"""Lengths of messages and of what several protocols put in them, by the table of `protocols.wire`.

Computes with lengths alone: nothing is packed, encrypted or sent, so it serves for vectors of any length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from protocols.bodies import bitmap_bytes
from protocols.costs.presence import Presence
from protocols.session import DIGEST_BYTES, Step
from protocols.submission import CHUNK_BYTES
from protocols.traffic import Direction, StepTraffic
from protocols.wire import HEADER, SIGNATURE_BYTES

COUNT_BYTES = 4
CONFIRMATION_BYTES = COUNT_BYTES + SIGNATURE_BYTES

Traffic = dict[Step, StepTraffic]


def from_client(body: int) -> int:
    """Return the bytes of a client's message with a body of so many."""
    return HEADER.size + body + SIGNATURE_BYTES


def from_server(body: int) -> int:
    """Return the bytes of a message from the server with a body of so many."""
    return HEADER.size + body


def submission(content: int) -> int:
    """Return the bytes of all messages of a submission: chunks of so many bytes in all, and the closing one."""
    chunks = -(-content // CHUNK_BYTES)
    return chunks * from_client(0) + content + from_client(DIGEST_BYTES)


def all_advertisements(presence: Presence, body: int) -> int:
    """Return the bytes of a list of all advertisements, each with a body of so many."""
    return presence.num_clients * COUNT_BYTES + len(presence.done[Step.ADVERTISE]) * from_client(body)


def confirmations(presence: Presence, count: int) -> int:
    """Return the bytes of a survivor bitmap and so many confirmations."""
    return bitmap_bytes(presence.num_clients) + COUNT_BYTES + count * CONFIRMATION_BYTES


def traffic_of(presence: Presence, *, up: Mapping[Step, Length], down: Mapping[Step, Length]) -> Traffic:
    """Return the bytes of every client in every step.

    Args:
        presence: Who does which step.
        up: For each step the bytes of what a client sends, by roster index, or the same for all.
        down: For each step after advertise the bytes of what it is sent.
    """
    traffic = {step: StepTraffic() for step in Step}
    for step in Step:
        _count(traffic[step], Direction.RECEIVED, presence.done[step], up[step])
        _count(traffic[step], Direction.SENT, presence.asked(step), down.get(step, 0))
    return traffic


Length = int | Callable[[int], int]


def _count(traffic: StepTraffic, direction: Direction, clients: Iterable[int], length: Length) -> None:
    for client in clients:
        traffic.add_message(direction, client, length if isinstance(length, int) else length(client))
