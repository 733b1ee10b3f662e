"""How a client's vectors travel: in signed chunks and a closing message that signs them all.

Each chunk is signed, so that nobody else can spoil a half-received submission; nothing is added before the closing
message has come, so that a client that vanishes midway leaves no trace in the totals. The server therefore keeps the
packed bytes of each unfinished submission (one bit a vote in `plain`), and nothing else of it.

Knows sizes and bytes, not what the bytes mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.attendance import Attendance
from protocols.session import Step
from protocols.wire import ClientPen, Frame, Message

CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one vector's bytes.

    Attributes:
        vector: Position of the vector in the plan.
        start: First byte.
        stop: One past the last byte.
    """

    vector: int
    start: int
    stop: int


def chunks(sizes: Sequence[int]) -> tuple[tuple[Piece, ...], ...]:
    """Return the chunks in the order of their parts: the vectors end to end, cut every `CHUNK_BYTES`.

    Args:
        sizes: Bytes of each vector, in the order of the plan.
    """
    found: list[list[Piece]] = []
    room = 0
    for vector, size in enumerate(sizes):
        start = 0
        while start < size:
            if room == 0:
                found.append([])
                room = CHUNK_BYTES
            stop = min(start + room, size)
            found[-1].append(Piece(vector, start, stop))
            room -= stop - start
            start = stop
    return tuple(tuple(pieces) for pieces in found)


def chunk_bytes(chunk: Sequence[Piece]) -> int:
    """Return the length of a chunk."""
    return sum(piece.stop - piece.start for piece in chunk)


def closing_body(digests: Iterable[bytes]) -> bytes:
    """Return the body of the closing message over the digests of all chunk messages."""
    return hashlib.sha256(b"".join(digests)).digest()


def write_submission(
    pen: ClientPen, frame: Frame, bodies: Iterable[bytes], *, when_closing: Callable[[], None]
) -> Iterator[bytes]:
    """Yield the messages of a submission, the closing one last.

    Args:
        pen: Writes for the client.
        frame: Frame of the submit step.
        bodies: The chunks' bytes, in order; consumed one at a time.
        when_closing: Called just before the closing message is handed out.
    """
    digests = []
    for part, body in enumerate(bodies):
        message = pen.write(frame, body, part=part)
        digests.append(message.digest)
        yield message.encode()
    closing = pen.write(frame, closing_body(digests), part=len(digests)).encode()
    when_closing()
    yield closing


class SubmissionBuffers:
    """The server's memory of unfinished submissions."""

    def __init__(self, sizes: Sequence[int]) -> None:
        """Lay out the chunks; memory is taken when a client's first chunk is written."""
        self._sizes = tuple(sizes)
        self._chunks = chunks(sizes)
        self._buffers: dict[int, list[NDArray[np.uint8]]] = {}

    @property
    def parts(self) -> int:
        """Messages of a whole submission, the closing one included."""
        return len(self._chunks) + 1

    def chunk(self, part: int) -> tuple[Piece, ...] | None:
        """Return what a part carries, or None for the closing message."""
        return self._chunks[part] if part < len(self._chunks) else None

    def receive(
        self,
        attendance: Attendance,
        data: bytes,
        *,
        check: Callable[[Message, Sequence[Piece]], None] | None = None,
        add: Callable[[Message], None],
    ) -> None:
        """Take one message of a submission at the server: a chunk, or the closing message with which all of it counts.

        Args:
            attendance: The book of who has done which step.
            data: Received bytes.
            check: Refuses a chunk of the right length for what it says; not needed if any bytes will do.
            add: Adds the sender's vectors, which `take` hands over; may refuse them before it changes anything.

        Raises:
            InvalidMessage: As `Attendance.open`, for a chunk of another length, for a closing message that is not over
                the chunks received, or from `check` or `add`; nothing has changed then.
        """
        message = attendance.open(Step.SUBMIT, data, parts=self.parts, largest=CHUNK_BYTES)
        chunk = self.chunk(message.part)
        if chunk is not None:
            if len(message.body) != chunk_bytes(chunk):
                reason = f"a chunk of {len(message.body)} bytes must have {chunk_bytes(chunk)}"
                raise message.frame.refusal(reason, client=message.sender)
            if check is not None:
                check(message, chunk)
            self.write(message.sender, chunk, message.body)
        elif message.body != closing_body(attendance.digests(Step.SUBMIT, message.sender)):
            raise message.frame.refusal("the closing message is not over the chunks received", client=message.sender)
        else:
            add(message)
        attendance.keep(message, parts=self.parts)

    def write(self, client: int, chunk: Sequence[Piece], body: bytes) -> None:
        """Store a chunk, whose length the caller has checked."""
        if client not in self._buffers:
            self._buffers[client] = [np.empty(size, np.uint8) for size in self._sizes]
        content, offset = np.frombuffer(body, np.uint8), 0
        for piece in chunk:
            length = piece.stop - piece.start
            self._buffers[client][piece.vector][piece.start : piece.stop] = content[offset : offset + length]
            offset += length

    def view(self, client: int) -> list[NDArray[np.uint8]]:
        """Return a client's vectors as bytes and keep them."""
        return self._buffers[client]

    def take(self, client: int) -> list[NDArray[np.uint8]]:
        """Return a client's vectors as bytes and forget them."""
        return self._buffers.pop(client)

    def clear(self) -> None:
        """Forget every unfinished submission."""
        self._buffers.clear()
