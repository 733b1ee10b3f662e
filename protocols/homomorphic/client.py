"""The client of `bfv` and `ckks`; adversary and sources are in `protocols.homomorphic.protocol`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols.advertisements import open_roster_message
from protocols.agreement import open_reveal_request, open_survivor_list
from protocols.bodies import bitmap_bytes, decode_bitmap
from protocols.derivation import KeyTable
from protocols.errors import UnsafeRequest, UnusableTotals
from protocols.homomorphic import workers as worker_processes
from protocols.homomorphic.ciphertexts import KeyHolder, NotASum
from protocols.homomorphic.keys import PUBLIC_KEY_BYTES, SEALED_BYTES, SessionKey, derive_key, draw_contribution
from protocols.homomorphic.parameters import Scheme, choose
from protocols.homomorphic.totals import sum_digest, unpack_sum
from protocols.inputs import checked_vectors, checked_words
from protocols.packing import Integers, PackedVector, Words
from protocols.sealing import Sealer
from protocols.session import DIGEST_BYTES, SessionPlan, Step
from protocols.steps import StepOrder
from protocols.submission import CHUNK_BYTES, write_submission
from protocols.wire import ClientPen, Frame, open_from_server


class HomomorphicClient:
    """A client that encrypts its vectors under the session's key and opens the sum, at most once."""

    def __init__(self, scheme: Scheme, plan: SessionPlan, pen: ClientPen, *, workers: int) -> None:
        """Start before advertise; encrypt in this many processes if there is much to encrypt."""
        self._name = scheme.value
        self._plan = plan
        self._pen = pen
        self._workers = workers
        self._order = StepOrder(plan, pen.index)
        choice = choose(scheme, plan)
        self._parameters, self._layouts, self._run = choice.parameters, choice.layouts, choice.run(plan)
        self._session = plan.digest
        self._private_key: X25519PrivateKey | None = None
        self._advertisement = b""
        self._public_keys: dict[int, bytes] = {}
        self._contribution = b""
        self._sealer: Sealer | None = None
        self._sharers: tuple[int, ...] = ()
        self._holder: KeyHolder | None = None
        self._check = b""
        self._signed_list = b""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"HomomorphicClient({self._name}, client {self._pen.index})"

    def _frame(self, step: Step) -> Frame:
        return Frame(self._name, step, self._session)

    def advertise(self) -> bytes:
        """Return the signed advertisement with a fresh X25519 key."""
        self._order.finish(Step.ADVERTISE)
        self._private_key = X25519PrivateKey.generate()
        body = self._private_key.public_key().public_bytes_raw()
        self._advertisement = self._pen.write(self._frame(Step.ADVERTISE), body).encode()
        return self._advertisement

    def share(self, roster_message: bytes) -> bytes:
        """Derive the session id and seal a contribution to the key for every other client."""
        self._order.require(Step.SHARE)
        session, messages = open_roster_message(
            roster_message, protocol=self._name, plan=self._plan, index=self._pen.index, own=self._advertisement
        )
        for sender, message in messages.items():
            if len(message.body) != PUBLIC_KEY_BYTES:
                reason = f"a key of {len(message.body)} bytes must have {PUBLIC_KEY_BYTES}"
                raise message.frame.refusal(reason, client=sender)
        assert self._private_key is not None
        frame = Frame(self._name, Step.SHARE, session)
        sealer = Sealer(self._private_key, KeyTable(self._plan.digest, session), self._pen.index)
        contribution = draw_contribution()
        others = {sender: messages[sender].body for sender in sorted(messages) if sender != self._pen.index}
        sealed = [sealer.seal(receiver, key, contribution, frame) for receiver, key in others.items()]
        self._order.finish(Step.SHARE)
        self._session, self._public_keys = session, others
        self._sealer, self._contribution, self._private_key = sealer, contribution, None
        return self._pen.write(frame, b"".join(sealed)).encode()

    def submit(self, inbox: bytes, vectors: Mapping[str, Integers | PackedVector]) -> Iterator[bytes]:
        """Check inbox and vectors, derive the key, then yield the signed chunks of ciphertexts."""
        self._order.require(Step.SUBMIT)
        contributions = self._open_inbox(inbox)
        ordered = checked_vectors(self._plan, self._layouts, vectors)
        key = derive_key(contributions, plan_digest=self._plan.digest, session=self._session)
        holder = KeyHolder(self._parameters, key)
        self._order.begin(Step.SUBMIT)
        assert self._sealer is not None
        self._sealer.forget()
        self._sealer, self._contribution = None, b""
        self._sharers, self._holder, self._check = tuple(contributions), holder, key.check
        closing = partial(self._order.finish, Step.SUBMIT)
        bodies = _in_chunks(self._ciphertexts(holder, key, ordered))
        return write_submission(self._pen, self._frame(Step.SUBMIT), bodies, when_closing=closing)

    def _open_inbox(self, inbox: bytes) -> dict[int, bytes]:
        """Return every sharer's contribution to the key, this client's own among them, ascending."""
        frame = self._frame(Step.SUBMIT)
        body = open_from_server(inbox, frame)
        start, index = bitmap_bytes(len(self._plan.roster)), self._pen.index
        sharers = decode_bitmap(body[:start], len(self._plan.roster), frame)
        if index not in sharers:
            raise frame.refusal("the inbox lacks this client though it shared", client=index)
        if len(sharers) < self._plan.minimum_survivors:
            raise frame.refusal(f"{len(sharers)} clients that shared are fewer than {self._plan.minimum_survivors}")
        senders = [sender for sender in sharers if sender != index]
        if len(body) != start + SEALED_BYTES * len(senders):
            raise frame.refusal(f"an inbox of {len(body)} bytes must have {start + SEALED_BYTES * len(senders)}")
        assert self._sealer is not None
        contributions = {index: self._contribution}
        for position, sender in enumerate(senders):
            if sender not in self._public_keys:
                raise frame.refusal("the inbox names a client that did not advertise", client=sender)
            sealed = body[start + SEALED_BYTES * position :][:SEALED_BYTES]
            contributions[sender] = self._sealer.open(sender, self._public_keys[sender], sealed, frame)
        return dict(sorted(contributions.items()))

    def _ciphertexts(
        self, holder: KeyHolder, key: SessionKey, vectors: list[Integers | PackedVector]
    ) -> Iterator[bytes]:
        if self._workers > 1 and self._run.ciphertexts >= worker_processes.LEAST_CIPHERTEXTS:
            contents = self._contents(vectors)
            return worker_processes.encrypt_in_processes(contents, self._parameters, key, workers=self._workers)
        return map(holder.encrypt, self._contents(vectors))

    def _contents(self, vectors: list[Integers | PackedVector]) -> Iterator[Words]:
        """Yield the packed words of each ciphertext, packing only those."""
        for ciphertext in range(self._run.ciphertexts):
            words = []
            for at in self._run.stretches(ciphertext):
                spec, layout = self._plan.vectors[at.vector], self._layouts[at.vector]
                words.append(checked_words(vectors[at.vector], spec, layout, at.first, at.last))
            yield np.concatenate(words)

    def confirm(self, survivor_list: bytes) -> bytes:
        """Sign the survivor list, the digest of the sum that comes with it, and the check of the key."""
        self._order.require(Step.CONFIRM)
        frame = self._frame(Step.CONFIRM)
        signed = open_survivor_list(
            survivor_list, frame, self._plan, index=self._pen.index, sharers=self._sharers, attached=DIGEST_BYTES
        )
        self._order.finish(Step.CONFIRM)
        self._signed_list = signed
        return self._pen.write(frame, signed + self._check).encode()

    def reveal(self, request: bytes) -> bytes:
        """Check the signatures of the others, decrypt the sum that they are for, and return the packed totals.

        Returns an empty message if the request holds no ciphertexts, as when enough other clients have opened them.

        Raises:
            UnusableTotals: If the ciphertexts do not open to a possible sum; the step is spent.
        """
        self._order.require(Step.REVEAL)
        frame = self._frame(Step.REVEAL)
        bitmap, digest = self._signed_list[:-DIGEST_BYTES], self._signed_list[-DIGEST_BYTES:]
        content = open_reveal_request(request, frame, self._plan, bitmap=bitmap, attached=digest + self._check)
        body = b""
        if content:
            if sum_digest(content) != digest:
                reason = "the ciphertexts are not those whose digest this client signed"
                raise UnsafeRequest(reason, session=frame.context, step=frame.step)
            body = self._open(content, frame, survivors=len(decode_bitmap(bitmap, len(self._plan.roster), frame)))
        self._order.finish(Step.REVEAL)
        self._holder = None
        return self._pen.write(frame, body).encode()

    def _open(self, content: bytes, frame: Frame, *, survivors: int) -> bytes:
        """Decrypt once. Whatever comes of it, the step is spent, and a failure is always the same error."""
        holder, size = self._holder, self._parameters.ring.sum_bytes
        assert holder is not None
        expected = size * self._run.ciphertexts
        if len(content) != expected:
            raise frame.refusal(f"summed ciphertexts of {len(content)} bytes must have {expected}")
        try:
            for start in range(0, expected, size):
                holder.check_sum(content[start : start + size])
        except ValueError as error:
            raise frame.refusal(str(error)) from None
        self._order.begin(Step.REVEAL)
        self._holder = None
        opened = []
        try:
            words = [
                holder.open(content[at : at + size], shift=self._run.shift(number))
                for number, at in enumerate(range(0, expected, size))
            ]
            parts = zip(self._plan.vectors, self._layouts, self._run.split(np.concatenate(words)), strict=True)
            for spec, layout, part in parts:
                unpack_sum(part, layout, spec.length, spec.reach(survivors))
                opened.append(part.astype("<u8", copy=False).tobytes())
        except (NotASum, ValueError):
            reason = "the ciphertexts do not open to a sum"
            raise UnusableTotals(reason, session=frame.context, step=frame.step) from None
        return b"".join(opened)


def _in_chunks(contents: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes, cut every `CHUNK_BYTES` as `protocols.submission.chunks` cuts them."""
    waiting = bytearray()
    for content in contents:
        waiting += content
        while len(waiting) >= CHUNK_BYTES:
            yield bytes(waiting[:CHUNK_BYTES])
            del waiting[:CHUNK_BYTES]
    if waiting:
        yield bytes(waiting)
