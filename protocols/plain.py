"""`plain`: no protection. The baseline that the other protocols are measured against, and the test double.

Adversary.
  Who may be corrupted: nobody. The server, and whoever reads what it receives, is trusted with every client's vectors.
  What they learn: everything. The server sees each client's every entry, also of clients that do not survive.
  What aborts the session: fewer clients than the plan's minimum (`TooFewSurvivors`). Signatures still keep strangers,
  the network and copies of old messages from changing a total; a client of the roster can always send what it likes
  within the bound.

The five steps are walked as in every protocol, with nothing to advertise, share or reveal. Vectors are packed for one
summand (a vote is one bit); the server unpacks and adds each submission when it is whole. See `protocols.roles` for the
methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.advertisements import open_roster_message, session_id
from protocols.agreement import open_reveal_request, open_survivor_list
from protocols.attendance import Attendance
from protocols.bodies import decode_bitmap, encode_advertisements, encode_bitmap, encode_confirmations
from protocols.inputs import checked_vectors, checked_words, layout_for
from protocols.packing import Integers, Layout, PackedVector, accumulate, check_words
from protocols.roles import Totals
from protocols.session import LARGEST_INT64, SessionPlan, Step, VectorSpec
from protocols.steps import StepOrder
from protocols.submission import Piece, SubmissionBuffers, chunks, write_submission
from protocols.wire import ClientPen, Frame, Message, open_from_server, server_message

NAME = "plain"
WORD_BYTES = 8


class Plain:
    """The protocol `plain`."""

    name = NAME

    def check(self, plan: SessionPlan) -> None:
        """Accept every plan but one with a graph: there is nothing that a recovery threshold could protect.

        Raises:
            ValueError: If the plan has neighbours, of whom nobody here would take notice.
        """
        if plan.neighbours:
            raise ValueError(f"neighbours={plan.neighbours} must be 0: {NAME} has no graph")

    def claim(self, plan: SessionPlan) -> str:
        """Say that nothing is protected."""
        return "protects nothing: the server sees every client's vectors"

    def layout(self, plan: SessionPlan, vector: VectorSpec) -> Layout:
        """Return the layout for one summand: the server unpacks before it adds."""
        return layout_for(vector, 1)

    def largest_bound(self, clients: int) -> int:
        """Return the largest bound whose total over these clients fits a 64-bit integer."""
        return LARGEST_INT64 // clients

    def client(self, plan: SessionPlan, index: int, signing_key: Ed25519PrivateKey) -> PlainClient:
        """Return the role of the client at this roster index."""
        self.check(plan)
        return PlainClient(plan, ClientPen.of(plan.roster, index, signing_key))

    def server(self, plan: SessionPlan) -> PlainServer:
        """Return the role of the server."""
        self.check(plan)
        return PlainServer(plan)


def _layouts(plan: SessionPlan) -> tuple[Layout, ...]:
    return tuple(layout_for(vector, 1) for vector in plan.vectors)


def _sizes(plan: SessionPlan, layouts: tuple[Layout, ...]) -> tuple[int, ...]:
    pairs = zip(plan.vectors, layouts, strict=True)
    return tuple(WORD_BYTES * layout.words(vector.length) for vector, layout in pairs)


def _require_empty(message: Message) -> None:
    if message.body:
        raise message.frame.refusal("the message has content, which this protocol has not", client=message.sender)


class PlainClient:
    """A client that sends its vectors in the clear."""

    def __init__(self, plan: SessionPlan, pen: ClientPen) -> None:
        """Start before advertise."""
        self._plan = plan
        self._pen = pen
        self._order = StepOrder(plan, pen.index)
        self._layouts = _layouts(plan)
        self._advertisement = b""
        self._session = plan.digest
        self._sharers: frozenset[int] = frozenset()
        self._bitmap = b""

    def _frame(self, step: Step) -> Frame:
        return Frame(NAME, step, self._session)

    def advertise(self) -> bytes:
        """Return the signed advertisement, which holds no key."""
        self._order.finish(Step.ADVERTISE)
        self._advertisement = self._pen.write(self._frame(Step.ADVERTISE), b"").encode()
        return self._advertisement

    def share(self, roster_message: bytes) -> bytes:
        """Check the advertisements, derive the session id, and return a message without content."""
        self._order.require(Step.SHARE)
        session, messages = open_roster_message(
            roster_message, protocol=NAME, plan=self._plan, index=self._pen.index, own=self._advertisement
        )
        for message in messages.values():
            _require_empty(message)
        self._order.finish(Step.SHARE)
        self._session = session
        return self._pen.write(self._frame(Step.SHARE), b"").encode()

    def submit(self, inbox: bytes, vectors: Mapping[str, Integers | PackedVector]) -> Iterator[bytes]:
        """Check inbox and vectors, then yield the signed chunks of packed words."""
        self._order.require(Step.SUBMIT)
        frame = self._frame(Step.SUBMIT)
        sharers = frozenset(decode_bitmap(open_from_server(inbox, frame), len(self._plan.roster), frame))
        if self._pen.index not in sharers:
            raise frame.refusal("the inbox lacks this client though it shared", client=self._pen.index)
        ordered = checked_vectors(self._plan, self._layouts, vectors)
        self._order.begin(Step.SUBMIT)
        self._sharers = sharers
        closing = partial(self._order.finish, Step.SUBMIT)
        return write_submission(self._pen, frame, self._bodies(ordered), when_closing=closing)

    def _bodies(self, vectors: list[Integers | PackedVector]) -> Iterator[bytes]:
        for chunk in chunks(_sizes(self._plan, self._layouts)):
            yield b"".join(self._piece(vectors[piece.vector], piece) for piece in chunk)

    def _piece(self, vector: Integers | PackedVector, piece: Piece) -> bytes:
        spec, layout = self._plan.vectors[piece.vector], self._layouts[piece.vector]
        words = checked_words(vector, spec, layout, piece.start // WORD_BYTES, piece.stop // WORD_BYTES)
        return words.astype("<u8", copy=False).tobytes()

    def confirm(self, survivor_list: bytes) -> bytes:
        """Sign the survivor list."""
        self._order.require(Step.CONFIRM)
        frame = self._frame(Step.CONFIRM)
        bitmap = open_survivor_list(survivor_list, frame, self._plan, index=self._pen.index, sharers=self._sharers)
        self._order.finish(Step.CONFIRM)
        self._bitmap = bitmap
        return self._pen.write(frame, bitmap).encode()

    def reveal(self, request: bytes) -> bytes:
        """Check the signatures of the others and return a message without content."""
        self._order.require(Step.REVEAL)
        frame = self._frame(Step.REVEAL)
        if open_reveal_request(request, frame, self._plan, bitmap=self._bitmap):
            raise frame.refusal("the reveal request has content, which this protocol has not")
        self._order.finish(Step.REVEAL)
        return self._pen.write(frame, b"").encode()


class PlainServer:
    """A server that sees every vector and adds them up."""

    def __init__(self, plan: SessionPlan) -> None:
        """Open advertise."""
        self._plan = plan
        self._layouts = _layouts(plan)
        self._attendance = Attendance(NAME, plan)
        self._advertisements: dict[int, bytes] = {}
        self._buffers = SubmissionBuffers(_sizes(plan, self._layouts))
        self._totals: list[Totals] = []
        self._bitmap = b""
        self._signatures: dict[int, bytes] = {}

    def _receive_empty(self, step: Step, data: bytes) -> Message:
        message = self._attendance.open(step, data, largest=0)
        self._attendance.keep(message)
        return message

    def receive_advertisement(self, data: bytes) -> None:
        """Take an advertisement."""
        message = self._receive_empty(Step.ADVERTISE, data)
        self._advertisements[message.sender] = message.encode()

    def roster_message(self, recipient: int) -> bytes:
        """Return all advertisements; closes advertise."""
        if not self._attendance.is_closed(Step.ADVERTISE):
            self._attendance.close(Step.ADVERTISE, minimum=self._plan.minimum_survivors)
            self._attendance.begin_session(session_id(self._plan, self._advertisements))
        self._attendance.require_present(Step.ADVERTISE, recipient)
        frame = Frame(NAME, Step.SHARE, self._plan.digest)
        return server_message(frame, encode_advertisements(self._advertisements, len(self._plan.roster)))

    def receive_share(self, data: bytes) -> None:
        """Take a share message, which is empty."""
        self._receive_empty(Step.SHARE, data)

    def inbox(self, recipient: int) -> bytes:
        """Return who shared; closes share."""
        if not self._attendance.is_closed(Step.SHARE):
            self._attendance.close(Step.SHARE, minimum=self._plan.minimum_survivors)
            self._totals = [np.zeros(vector.length, self._plan.total_dtype(vector)) for vector in self._plan.vectors]
        self._attendance.require_present(Step.SHARE, recipient)
        sharers = self._attendance.present(Step.SHARE)
        return server_message(self._attendance.frame(Step.SUBMIT), encode_bitmap(sharers, len(self._plan.roster)))

    def receive_submission(self, data: bytes) -> None:
        """Take a chunk of packed words, or the closing message with which the vectors count."""
        self._buffers.receive(self._attendance, data, check=self._check_words, add=self._add)

    def _check_words(self, message: Message, chunk: Sequence[Piece]) -> None:
        words, offset = np.frombuffer(message.body, "<u8"), 0
        for piece in chunk:
            spec, layout = self._plan.vectors[piece.vector], self._layouts[piece.vector]
            first, last = piece.start // WORD_BYTES, piece.stop // WORD_BYTES
            entries = min(spec.length, last * layout.lanes) - first * layout.lanes
            try:
                check_words(words[offset : offset + last - first], layout, entries)
            except ValueError as error:
                reason = f"vector {spec.name!r}: {error}"
                raise message.frame.refusal(reason, client=message.sender) from None
            offset += last - first

    def _add(self, message: Message) -> None:
        vectors = zip(self._totals, self._buffers.take(message.sender), self._layouts, strict=True)
        for totals, content, layout in vectors:
            accumulate(totals, content.view("<u8"), layout)

    def survivor_list(self, recipient: int) -> bytes:
        """Return the bitmap of the survivors; closes submit."""
        if not self._attendance.is_closed(Step.SUBMIT):
            survivors = self._attendance.close(Step.SUBMIT, minimum=self._plan.minimum_survivors)
            self._bitmap = encode_bitmap(survivors, len(self._plan.roster))
            self._buffers.clear()
        self._attendance.require_present(Step.SUBMIT, recipient)
        return server_message(self._attendance.frame(Step.CONFIRM), self._bitmap)

    def receive_confirmation(self, data: bytes) -> None:
        """Take a signature on the survivor list."""
        message = self._attendance.open(Step.CONFIRM, data, largest=len(self._bitmap))
        if message.body != self._bitmap:
            raise message.frame.refusal("the confirmation is for another survivor list", client=message.sender)
        self._attendance.keep(message)
        self._signatures[message.sender] = message.signature

    def reveal_request(self, recipient: int) -> bytes:
        """Return as many confirmations as a client asks for; closes confirm."""
        needed = self._plan.recovery_threshold
        if not self._attendance.is_closed(Step.CONFIRM):
            self._attendance.close(Step.CONFIRM, minimum=needed)
        self._attendance.require_present(Step.CONFIRM, recipient)
        enough = {index: self._signatures[index] for index in sorted(self._signatures)[:needed]}
        return server_message(self._attendance.frame(Step.REVEAL), encode_confirmations(self._bitmap, enough))

    def receive_reveal(self, data: bytes) -> None:
        """Take a reveal message, which is empty."""
        self._receive_empty(Step.REVEAL, data)

    def totals(self) -> dict[str, Totals]:
        """Return the sums over the survivors; closes reveal."""
        if not self._attendance.is_closed(Step.REVEAL):
            self._attendance.close(Step.REVEAL, minimum=self._plan.recovery_threshold)
        return {vector.name: total for vector, total in zip(self._plan.vectors, self._totals, strict=True)}

    def survivors(self) -> tuple[int, ...]:
        """Return the roster indices in the sum, ascending."""
        return self._attendance.present(Step.SUBMIT)
