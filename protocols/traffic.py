"""What a session costs and what passes over the wire, as the simulator records it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from protocols.session import Step


class Direction(enum.Enum):
    """Which way a message goes, seen from the server."""

    RECEIVED = "received"
    SENT = "sent"


@dataclass(frozen=True, slots=True)
class TranscriptEntry:
    """A message, exactly as the server received or sent it.

    Attributes:
        step: The step it belongs to; a message from the server belongs to the step that its receiver does next.
        direction: Received or sent by the server.
        client: Roster index of the other end.
        message: All its bytes.
    """

    step: Step
    direction: Direction
    client: int
    message: bytes = field(repr=False)


@dataclass(slots=True)
class StepTraffic:
    """Bytes and seconds of one step.

    Attributes:
        bytes_up: Bytes from each client to the server, by roster index.
        bytes_down: Bytes from the server to each client, by roster index.
        client_seconds: Wall-clock seconds of each client's work, by roster index.
        server_seconds: Wall-clock seconds of the server's work.
    """

    bytes_up: dict[int, int] = field(default_factory=dict)
    bytes_down: dict[int, int] = field(default_factory=dict)
    client_seconds: dict[int, float] = field(default_factory=dict)
    server_seconds: float = 0.0

    @property
    def server_bytes_in(self) -> int:
        """Bytes that the server received."""
        return sum(self.bytes_up.values())

    @property
    def server_bytes_out(self) -> int:
        """Bytes that the server sent."""
        return sum(self.bytes_down.values())

    def add_message(self, direction: Direction, client: int, num_bytes: int) -> None:
        """Count a message."""
        counts = self.bytes_up if direction is Direction.RECEIVED else self.bytes_down
        counts[client] = counts.get(client, 0) + num_bytes

    def add_client_seconds(self, client: int, seconds: float) -> None:
        """Count a client's work."""
        self.client_seconds[client] = self.client_seconds.get(client, 0.0) + seconds
