"""The server of `bfv` and `ckks`, which holds no key; what it can learn is in `protocols.homomorphic.protocol`.

It keeps the running sum of the session's ciphertexts and, of a submission that is not whole yet, its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.advertisements import session_id
from protocols.attendance import Attendance
from protocols.bodies import encode_advertisements, encode_bitmap, encode_confirmations
from protocols.errors import UnusableTotals
from protocols.homomorphic.ciphertexts import Adder
from protocols.homomorphic.keys import CHECK_BYTES, PUBLIC_KEY_BYTES, SEALED_BYTES
from protocols.homomorphic.parameters import Scheme, choose
from protocols.homomorphic.totals import decode_totals, sum_digest, totals_bytes
from protocols.packing import Integers
from protocols.roles import Totals
from protocols.session import SessionPlan, Step
from protocols.submission import SubmissionBuffers
from protocols.wire import Frame, Message, server_message

OPENERS = 2  # clients that open the sum and must agree; a plan's recovery threshold is never below, so they are there


class HomomorphicServer:
    """A server that adds ciphertexts and has two clients open the sum."""

    def __init__(self, scheme: Scheme, plan: SessionPlan) -> None:
        """Open advertise."""
        self._name = scheme.value
        self._plan = plan
        choice = choose(scheme, plan)
        self._layouts, self._parameters = choice.layouts, choice.parameters
        self._attendance = Attendance(self._name, plan)
        self._advertisements: dict[int, bytes] = {}
        self._sealed: dict[int, dict[int, bytes]] = {}  # by receiver, then by sender
        self._adder = Adder(self._parameters)
        self._buffers = SubmissionBuffers([choice.run(plan).ciphertexts * self._parameters.ring.upload_bytes])
        self._sums: list[Any] = []  # the library's ciphertexts
        self._list = b""
        self._content = b""
        self._signatures: dict[bytes, dict[int, bytes]] = {}  # by check of the key, then by client
        self._totals_bytes = totals_bytes(plan, self._layouts)
        self._openers: dict[int, bytes] = {}  # by client: digest of the totals that it reported
        self._totals: list[Integers] = []

    def _present(self, step: Step) -> tuple[int, ...]:
        return self._attendance.present(step)

    def receive_advertisement(self, data: bytes) -> None:
        """Take a public key."""
        message = self._attendance.open(Step.ADVERTISE, data, largest=PUBLIC_KEY_BYTES)
        _require_length(message, "a key", PUBLIC_KEY_BYTES)
        self._attendance.keep(message)
        self._advertisements[message.sender] = message.encode()

    def roster_message(self, recipient: int) -> bytes:
        """Return all advertisements; closes advertise."""
        if not self._attendance.is_closed(Step.ADVERTISE):
            self._attendance.close(Step.ADVERTISE, minimum=self._plan.minimum_survivors)
            self._attendance.begin_session(session_id(self._plan, self._advertisements))
        self._attendance.require_present(Step.ADVERTISE, recipient)
        frame = Frame(self._name, Step.SHARE, self._plan.digest)
        return server_message(frame, encode_advertisements(self._advertisements, len(self._plan.roster)))

    def receive_share(self, data: bytes) -> None:
        """Take what a client sealed for each other one that advertised."""
        message = self._attendance.open(Step.SHARE, data, largest=SEALED_BYTES * len(self._plan.roster))
        receivers = [client for client in self._present(Step.ADVERTISE) if client != message.sender]
        _require_length(message, "what a client sealed", SEALED_BYTES * len(receivers))
        self._attendance.keep(message)
        for position, receiver in enumerate(receivers):
            sealed = message.body[SEALED_BYTES * position :][:SEALED_BYTES]
            self._sealed.setdefault(receiver, {})[message.sender] = sealed

    def inbox(self, recipient: int) -> bytes:
        """Return who shared and what they sealed for this client; closes share."""
        if not self._attendance.is_closed(Step.SHARE):
            self._attendance.close(Step.SHARE, minimum=self._plan.minimum_survivors)
        self._attendance.require_present(Step.SHARE, recipient)
        sharers = self._present(Step.SHARE)
        sealed = [self._sealed[recipient][sender] for sender in sharers if sender != recipient]
        body = encode_bitmap(sharers, len(self._plan.roster)) + b"".join(sealed)
        return server_message(self._attendance.frame(Step.SUBMIT), body)

    def receive_submission(self, data: bytes) -> None:
        """Take a chunk of ciphertexts, or the closing message with which they are added."""
        self._buffers.receive(self._attendance, data, add=self._add)

    def _check_ciphertexts(self, message: Message) -> None:
        """Refuse a submission before any of it is added."""
        (content,) = self._buffers.view(message.sender)
        for number, ciphertext in enumerate(self._split(content)):
            try:
                self._adder.check(ciphertext)
            except ValueError as error:
                raise message.frame.refusal(f"ciphertext {number}: {error}", client=message.sender) from None

    def _split(self, content: NDArray[np.uint8]) -> Iterator[bytes]:
        size = self._parameters.ring.upload_bytes
        return (content[start : start + size].tobytes() for start in range(0, len(content), size))

    def _add(self, message: Message) -> None:
        self._check_ciphertexts(message)
        (content,) = self._buffers.take(message.sender)
        if not self._sums:
            self._sums = [self._adder.load(ciphertext) for ciphertext in self._split(content)]
            return
        for total, ciphertext in zip(self._sums, self._split(content), strict=True):
            self._adder.add(total, ciphertext)

    def survivor_list(self, recipient: int) -> bytes:
        """Return the bitmap of the survivors and the digest of the sum; closes submit."""
        if not self._attendance.is_closed(Step.SUBMIT):
            survivors = self._attendance.close(Step.SUBMIT, minimum=self._plan.minimum_survivors)
            self._buffers.clear()
            self._content = b"".join(map(self._adder.sum_to_wire, self._sums))
            self._sums.clear()
            self._list = encode_bitmap(survivors, len(self._plan.roster)) + sum_digest(self._content)
        self._attendance.require_present(Step.SUBMIT, recipient)
        return server_message(self._attendance.frame(Step.CONFIRM), self._list)

    def receive_confirmation(self, data: bytes) -> None:
        """Take a signature on survivor list, sum and key."""
        message = self._attendance.open(Step.CONFIRM, data, largest=len(self._list) + CHECK_BYTES)
        shown, check = message.body[:-CHECK_BYTES], message.body[-CHECK_BYTES:]
        if shown != self._list:
            raise message.frame.refusal("the confirmation is for another survivor list", client=message.sender)
        self._attendance.keep(message)
        self._signatures.setdefault(check, {})[message.sender] = message.signature

    def reveal_request(self, recipient: int) -> bytes:
        """Return as many confirmations as a client asks for and, until two clients opened it, the sum; closes confirm.

        A transport that asks one client after the other has the sum downloaded twice.

        Raises:
            UnusableTotals: If enough clients confirmed, but not enough of them hold the same key.
        """
        needed = self._plan.recovery_threshold
        largest = max(self._signatures.values(), key=len, default={})
        if not self._attendance.is_closed(Step.CONFIRM):
            if len(largest) < needed <= sum(map(len, self._signatures.values())):
                reason = f"only {len(largest)} clients hold the same key, {needed} are needed"
                raise UnusableTotals(reason, session=self._attendance.frame(Step.CONFIRM).context, step=Step.CONFIRM)
            self._attendance.close(Step.CONFIRM, minimum=needed)
        self._attendance.require_present(Step.CONFIRM, recipient)
        enough = {index: largest[index] for index in sorted(largest)[:needed]}
        bitmap = self._list[: len(self._list) - len(sum_digest(b""))]
        return server_message(self._attendance.frame(Step.REVEAL), encode_confirmations(bitmap, enough) + self._content)

    def receive_reveal(self, data: bytes) -> None:
        """Take the totals that a client opened, or an empty message once enough clients have opened them."""
        message = self._attendance.open(Step.REVEAL, data, largest=self._totals_bytes)
        if message.body or not self._is_opened():
            digest = hashlib.sha256(message.body).digest()
            if digest not in self._openers.values():
                totals = self._checked_totals(message)
                self._totals = self._totals or totals
            self._openers[message.sender] = digest
            if self._is_opened():
                self._content = b""
        self._attendance.keep(message)

    def _checked_totals(self, message: Message) -> list[Integers]:
        try:
            return decode_totals(message.body, self._plan, self._layouts, len(self.survivors()))
        except ValueError as error:
            raise message.frame.refusal(str(error), client=message.sender) from None

    def _is_opened(self) -> bool:
        """Return whether as many clients opened the sum as it takes to notice that one of them lies."""
        return len(self._openers) >= OPENERS

    def totals(self) -> dict[str, Totals]:
        """Return the sums over the survivors; closes reveal.

        Raises:
            UnusableTotals: If clients opened different totals.
        """
        if len(set(self._openers.values())) > 1:
            reason = f"clients {', '.join(map(str, self._openers))} opened different totals"
            raise UnusableTotals(reason, session=self._attendance.frame(Step.REVEAL).context, step=Step.REVEAL)
        if not self._attendance.is_closed(Step.REVEAL):
            self._attendance.close(Step.REVEAL, minimum=self._plan.recovery_threshold)
        return {vector.name: total for vector, total in zip(self._plan.vectors, self._totals, strict=True)}

    def survivors(self) -> tuple[int, ...]:
        """Return the roster indices in the sum, ascending."""
        return self._present(Step.SUBMIT)


def _require_length(message: Message, what: str, expected: int) -> None:
    if len(message.body) != expected:
        reason = f"{what} of {len(message.body)} bytes must have {expected}"
        raise message.frame.refusal(reason, client=message.sender)
