"""The server of `additive`. See `protocols.additive.protocol` for the adversary and the steps."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols.additive.bodies import (
    ADVERTISEMENT_BYTES,
    SEALED_BYTES,
    Advertisement,
    check_sealed,
    decode_revealed,
    sealed_at,
)
from protocols.additive.client import NAME, submission_sizes
from protocols.additive.graph import Graph
from protocols.additive.pairwise_masks import PairSecrets
from protocols.additive.recovery import Recovery
from protocols.additive.shamir import SHARE_BYTES
from protocols.advertisements import session_id_of_root
from protocols.attendance import Attendance, Circles
from protocols.bodies import (
    encode_advertisements,
    encode_bitmap,
    encode_confirmations,
    encode_proven_advertisements,
)
from protocols.derivation import KeyTable, agree
from protocols.errors import UnusableTotals
from protocols.merkle import MerkleTree
from protocols.packing import Layout, Words, accumulate
from protocols.roles import Totals
from protocols.session import SessionPlan, Step
from protocols.submission import SubmissionBuffers
from protocols.wire import Frame, Message, server_message


class AdditiveServer:
    """A server that adds up masked words and, at the end, takes the masks off the sum."""

    def __init__(self, plan: SessionPlan, graph: Graph, layouts: tuple[Layout, ...]) -> None:
        """Open advertise."""
        self._plan = plan
        self._graph = graph
        self._layouts = layouts
        self._most_peers = plan.neighbours or len(plan.roster) - 1
        self._attendance = Attendance(NAME, plan)
        self._probe = X25519PrivateKey.generate()  # finds keys of small order before they can stop anyone else
        self._messages: dict[int, bytes] = {}
        self._advertisements: dict[int, Advertisement] = {}
        self._peers: dict[int, tuple[int, ...]] = {}
        self._tree: MerkleTree | None = None
        self._sealed: dict[int, bytes] = {}
        self._buffers = SubmissionBuffers(submission_sizes(plan, layouts))
        self._sums: list[Words] = []
        self._sharers = b""
        self._bitmap = b""
        self._signatures: dict[int, bytes] = {}
        self._revealed: dict[int, dict[int, int]] = {}
        self._totals: dict[str, Totals] = {}

    def _circles(self, members: Collection[int] | None = None) -> Circles | None:
        if self._graph.is_complete:
            return None
        return Circles(self._graph.neighbours, self._plan.recovery_threshold, members)

    def _close(self, step: Step, minimum: int) -> tuple[int, ...]:
        return self._attendance.close(step, minimum=minimum, circles=self._circles())

    def receive_advertisement(self, data: bytes) -> None:
        """Take an advertisement."""
        message = self._attendance.open(Step.ADVERTISE, data, largest=ADVERTISEMENT_BYTES)
        advertisement = Advertisement.decode(message.body, message.frame, client=message.sender)
        for key in (advertisement.sealing_key, advertisement.masking_key):
            agree(self._probe, key, frame=message.frame, client=message.sender)
        self._attendance.keep(message)
        self._messages[message.sender] = message.encode()
        self._advertisements[message.sender] = advertisement

    def roster_message(self, recipient: int) -> bytes:
        """Return the advertisements of the recipient and its neighbours; closes advertise."""
        if not self._attendance.is_closed(Step.ADVERTISE):
            advertised = frozenset(self._close(Step.ADVERTISE, self._plan.minimum_survivors))
            self._peers = {
                client: tuple(peer for peer in self._graph.neighbours(client) if peer in advertised)
                for client in advertised
            }
            self._tree = MerkleTree(self._messages, len(self._plan.roster))
            self._attendance.begin_session(session_id_of_root(self._plan, self._tree.root))
        self._attendance.require_present(Step.ADVERTISE, recipient)
        return server_message(Frame(NAME, Step.SHARE, self._plan.digest), self._shown_to(recipient))

    def _shown_to(self, recipient: int) -> bytes:
        if self._graph.is_complete:
            return encode_advertisements(self._messages, len(self._plan.roster))
        assert self._tree is not None  # made when advertise was closed
        shown = (recipient, *self._graph.neighbours(recipient))
        proven = {client: (self._messages.get(client), self._tree.path(client)) for client in shown}
        return encode_proven_advertisements(self._tree.root, proven)

    def receive_share(self, data: bytes) -> None:
        """Take what a client sealed for its neighbours."""
        message = self._attendance.open(Step.SHARE, data, largest=SEALED_BYTES * self._most_peers)
        check_sealed(message.body, self._peers[message.sender], message.frame, client=message.sender)
        self._attendance.keep(message)
        self._sealed[message.sender] = message.body

    def inbox(self, recipient: int) -> bytes:
        """Return who shared, and what was sealed for the recipient; closes share."""
        if not self._attendance.is_closed(Step.SHARE):
            sharers = self._close(Step.SHARE, self._plan.minimum_survivors)
            self._sharers = encode_bitmap(sharers, len(self._plan.roster))
            words = (layout.words(spec.length) for spec, layout in zip(self._plan.vectors, self._layouts, strict=True))
            self._sums = [np.zeros(count, np.uint64) for count in words]
        self._attendance.require_present(Step.SHARE, recipient)
        sealed = [
            sealed_at(self._sealed[sender], bisect_left(self._peers[sender], recipient))
            for sender in self._peers[recipient]
            if sender in self._sealed
        ]
        return server_message(self._attendance.frame(Step.SUBMIT), b"".join((self._sharers, *sealed)))

    def receive_submission(self, data: bytes) -> None:
        """Take a chunk of masked words, or the closing message with which the vectors count."""
        self._buffers.receive(self._attendance, data, add=self._add)

    def _add(self, message: Message) -> None:
        for words, content in zip(self._sums, self._buffers.take(message.sender), strict=True):
            np.add(words, content.view("<u8"), out=words)

    def survivor_list(self, recipient: int) -> bytes:
        """Return the bitmap of the survivors; closes submit."""
        if not self._attendance.is_closed(Step.SUBMIT):
            survivors = self._close(Step.SUBMIT, self._plan.minimum_survivors)
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
        """Return as many confirmations of clients that count for the recipient as it asks for; closes confirm."""
        if not self._attendance.is_closed(Step.CONFIRM):
            self._close(Step.CONFIRM, self._plan.recovery_threshold)
        self._attendance.require_present(Step.CONFIRM, recipient)
        counted = [client for client in self._graph.holders(recipient) if client in self._signatures]
        enough = {client: self._signatures[client] for client in counted[: self._plan.recovery_threshold]}
        return server_message(self._attendance.frame(Step.REVEAL), encode_confirmations(self._bitmap, enough))

    def receive_reveal(self, data: bytes) -> None:
        """Take one share of each peer of a client."""
        message = self._attendance.open(Step.REVEAL, data, largest=SHARE_BYTES * (self._most_peers + 1))
        held = [client for client in self._graph.holders(message.sender) if client in self._sealed]
        shares = decode_revealed(message.body, held, message.frame, client=message.sender)
        self._attendance.keep(message)
        self._revealed[message.sender] = shares

    def totals(self) -> dict[str, Totals]:
        """Return the sums over the survivors; closes reveal.

        Raises:
            UnusableTotals: If a secret cannot be rebuilt from the shares, or what remains without masks is no sum.
        """
        if not self._attendance.is_closed(Step.REVEAL):
            self._attendance.close(Step.REVEAL, minimum=self._plan.recovery_threshold, circles=self._to_recover())
        if not self._totals:
            self._totals = self._opened()
            self._sums, self._revealed, self._sealed = [], {}, {}
        return dict(self._totals)

    def _to_recover(self) -> Circles | None:
        if self._graph.is_complete or not self._attendance.is_closed(Step.CONFIRM):
            return None
        return self._circles([*self.survivors(), *self._lost()])

    def _lost(self) -> dict[int, list[int]]:
        """Return the clients that shared and did not survive, each with the survivors that masked with it."""
        survivors = frozenset(self.survivors())
        peers = {
            client: [peer for peer in self._peers[client] if peer in survivors]
            for client in self._attendance.present(Step.SHARE)
            if client not in survivors
        }
        return {client: found for client, found in peers.items() if found}

    def _opened(self) -> dict[str, Totals]:
        table = KeyTable(self._plan.digest, self._attendance.frame(Step.REVEAL).context)
        recovery = Recovery(table, self._advertisements, self._plan.recovery_threshold, set())
        seeds: dict[int, bytes] = {}
        for client in self.survivors():
            seed = recovery.seed(client, self._shares_of(client))
            if seed is None:
                raise self._unusable("its self-mask seed cannot be rebuilt from the shares revealed", client)
            seeds[client] = seed
        lost: list[PairSecrets] = []
        for client, peers in self._lost().items():
            frame = self._attendance.frame(Step.REVEAL)
            pairs = recovery.pairs(client, self._shares_of(client), peers, frame)
            if pairs is None:
                raise self._unusable("its masking key cannot be rebuilt from the shares revealed", client)
            lost.append(pairs)
        totals = {}
        for number, (vector, words) in enumerate(zip(self._plan.vectors, self._sums, strict=True)):
            opened = words.copy()
            recovery.unmask(opened, seeds, lost, vector.name, number)
            totals[vector.name] = self._unpacked(opened, number)
        return totals

    def _shares_of(self, client: int) -> dict[int, int]:
        holders = (holder for holder in self._graph.holders(client) if holder in self._revealed)
        return {holder + 1: self._revealed[holder][client] for holder in holders}

    def _unpacked(self, words: Words, number: int) -> Totals:
        spec = self._plan.vectors[number]
        totals = np.zeros(spec.length, self._plan.total_dtype(spec))
        try:
            accumulate(totals, words, self._layouts[number])
        except ValueError:
            raise self._unusable(f"the words of {spec.name!r} are no sum of packed vectors") from None
        lowest = int(totals.min()) if spec.signed else 0
        if max(int(totals.max()), -lowest) > spec.reach(len(self.survivors())):
            raise self._unusable(f"a total of {spec.name!r} is beyond what the survivors can reach")
        return totals

    def _unusable(self, reason: str, client: int | None = None) -> UnusableTotals:
        context = self._attendance.frame(Step.REVEAL).context
        return UnusableTotals(reason, session=context, step=Step.REVEAL, client=client)

    def survivors(self) -> tuple[int, ...]:
        """Return the roster indices in the sum, ascending."""
        return self._attendance.present(Step.SUBMIT)
