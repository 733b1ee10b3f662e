"""The client of `additive`. See `protocols.additive.protocol` for the adversary and the steps."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols.additive.bodies import (
    SEALED_BYTES,
    Advertisement,
    PeerShares,
    commitment_to,
    decode_inbox,
    sealed_at,
)
from protocols.additive.graph import Graph
from protocols.additive.mask_stream import WORD_BYTES, add_streams
from protocols.additive.pairwise_masks import PairSecrets
from protocols.additive.shamir import SECRET_BYTES, encode_share, split
from protocols.advertisements import open_roster_message, open_sparse_roster_message
from protocols.agreement import open_reveal_request, open_survivor_list
from protocols.bodies import decode_bitmap, encode_bitmap
from protocols.derivation import KeyTable, agree
from protocols.inputs import checked_vectors, checked_words
from protocols.packing import Integers, Layout, PackedVector
from protocols.sealing import Sealer
from protocols.session import SessionPlan, Step
from protocols.steps import StepOrder
from protocols.submission import Piece, chunks, write_submission
from protocols.wire import ClientPen, Frame, Message, open_from_server

NAME = "additive"
T = TypeVar("T")


class FreshSecrets:
    """The two private keys and the seed that a client draws for a session and shares out. Never shown."""

    def __init__(self) -> None:
        """Draw everything from the operating system's generator."""
        self.sealing_key = X25519PrivateKey.generate()
        self.masking_key = X25519PrivateKey.generate()
        self.seed = secrets.token_bytes(SECRET_BYTES)

    def __repr__(self) -> str:
        """Show no secret."""
        return "FreshSecrets()"

    def advertisement(self) -> Advertisement:
        """Return the public halves."""
        sealing_key = self.sealing_key.public_key().public_bytes_raw()
        masking_key = self.masking_key.public_key().public_bytes_raw()
        return Advertisement(sealing_key, masking_key, commitment_to(self.seed))


@dataclass(slots=True)
class SharedSecrets:
    """What a client holds between share and submit. Never shown.

    Attributes:
        sealer: Opens what peers seal for this client.
        pairs: What was agreed on with each peer for masking.
        seed: The self-mask seed.
        own: With a complete graph, this client's share of its own secrets.
    """

    sealer: Sealer = field(repr=False)
    pairs: dict[int, bytes] = field(repr=False)
    seed: bytes = field(repr=False)
    own: dict[int, PeerShares] = field(repr=False)


class AdditiveClient:
    """A client that sends its vectors hidden under masks."""

    def __init__(self, plan: SessionPlan, pen: ClientPen, graph: Graph, layouts: tuple[Layout, ...]) -> None:
        """Start before advertise."""
        self._plan = plan
        self._pen = pen
        self._graph = graph
        self._layouts = layouts
        self._order = StepOrder(plan, pen.index)
        self._advertisement = b""
        self._session = plan.digest
        self._fresh: FreshSecrets | None = None
        self._shared: SharedSecrets | None = None
        self._sealing_keys: dict[int, bytes] = {}
        self._held: dict[int, PeerShares] = {}
        self._sharers = b""
        self._bitmap = b""

    def _frame(self, step: Step) -> Frame:
        return Frame(NAME, step, self._session)

    def _table(self, session: bytes) -> KeyTable:
        return KeyTable(self._plan.digest, session)

    def advertise(self) -> bytes:
        """Return the signed advertisement of two fresh public keys and the commitment to a fresh seed."""
        self._order.finish(Step.ADVERTISE)
        self._fresh = FreshSecrets()
        body = self._fresh.advertisement().encode()
        self._advertisement = self._pen.write(self._frame(Step.ADVERTISE), body).encode()
        return self._advertisement

    def share(self, roster_message: bytes) -> bytes:
        """Check the advertisements, share out both secrets, and return the shares sealed for each peer."""
        self._order.require(Step.SHARE)
        fresh = _present(self._fresh)
        session, messages = self._open_roster(roster_message)
        frame = self._frame(Step.SHARE)
        peers = {
            client: Advertisement.decode(message.body, frame, client=client)
            for client, message in messages.items()
            if client != self._pen.index
        }
        pairs = {
            client: agree(fresh.masking_key, peer.masking_key, frame=frame, client=client)
            for client, peer in peers.items()
        }
        shares = self._split(fresh, [index for index in self._graph.holders(self._pen.index) if index in messages])
        sealer = Sealer(fresh.sealing_key, self._table(session), self._pen.index)
        body = b"".join(
            sealer.seal(client, peers[client].sealing_key, shares[client].encode(), frame) for client in sorted(peers)
        )
        self._order.finish(Step.SHARE)
        self._session = session
        own = {client: both for client, both in shares.items() if client == self._pen.index}
        self._shared = SharedSecrets(sealer, pairs, fresh.seed, own)
        self._fresh = None
        self._sealing_keys = {client: peer.sealing_key for client, peer in peers.items()}
        return self._pen.write(self._frame(Step.SHARE), body).encode()

    def _open_roster(self, roster_message: bytes) -> tuple[bytes, dict[int, Message]]:
        index, own = self._pen.index, self._advertisement
        if self._graph.is_complete:
            return open_roster_message(roster_message, protocol=NAME, plan=self._plan, index=index, own=own)
        neighbours = self._graph.neighbours(index)
        return open_sparse_roster_message(
            roster_message, protocol=NAME, plan=self._plan, index=index, own=own, neighbours=neighbours
        )

    def _split(self, fresh: FreshSecrets, holders: list[int]) -> dict[int, PeerShares]:
        points, largest = [index + 1 for index in holders], len(self._plan.roster)
        keys, seeds = (
            split(secret, threshold=self._plan.recovery_threshold, points=points, largest=largest)
            for secret in (fresh.masking_key.private_bytes_raw(), fresh.seed)
        )
        return {holder: PeerShares(*both) for holder, *both in zip(holders, keys, seeds, strict=True)}

    def submit(self, inbox: bytes, vectors: Mapping[str, Integers | PackedVector]) -> Iterator[bytes]:
        """Check inbox and vectors, then yield the signed chunks of masked words."""
        self._order.require(Step.SUBMIT)
        shared = _present(self._shared)
        sharers, held = self._open_inbox(inbox, shared)
        ordered = checked_vectors(self._plan, self._layouts, vectors)
        self._order.begin(Step.SUBMIT)
        self._sharers = encode_bitmap(sharers, len(self._plan.roster))
        pairs = PairSecrets(self._pen.index, {peer: shared.pairs[peer] for peer in held if peer != self._pen.index})
        bodies = self._masked_chunks(ordered, pairs, shared.seed)
        self._held = shared.own | held
        shared.sealer.forget()
        self._shared, self._sealing_keys = None, {}
        closing = partial(self._order.finish, Step.SUBMIT)
        return write_submission(self._pen, self._frame(Step.SUBMIT), bodies, when_closing=closing)

    def _open_inbox(self, inbox: bytes, shared: SharedSecrets) -> tuple[tuple[int, ...], dict[int, PeerShares]]:
        frame = self._frame(Step.SUBMIT)
        sharers, sealed = decode_inbox(open_from_server(inbox, frame), len(self._plan.roster), frame)
        if self._pen.index not in sharers:
            raise frame.refusal("the inbox lacks this client though it shared", client=self._pen.index)
        if len(sharers) < self._plan.minimum_survivors:
            raise frame.refusal(f"{len(sharers)} clients that shared are fewer than {self._plan.minimum_survivors}")
        circle = frozenset(self._graph.neighbours(self._pen.index))
        peers = [client for client in sharers if client in circle]
        if not self._graph.is_complete and len(peers) < self._plan.recovery_threshold:
            raise frame.refusal(f"{len(peers)} neighbours that shared are fewer than {self._plan.recovery_threshold}")
        for client in peers:
            if client not in self._sealing_keys:
                raise frame.refusal("the inbox names a client that did not advertise", client=client)
        if len(sealed) != SEALED_BYTES * len(peers):
            raise frame.refusal(f"{len(sealed)} sealed bytes must be {SEALED_BYTES * len(peers)}")
        held = {}
        for position, client in enumerate(peers):
            content = shared.sealer.open(client, self._sealing_keys[client], sealed_at(sealed, position), frame)
            held[client] = PeerShares.decode(content, frame, client=client)
        return sharers, held

    def _masked_chunks(
        self, vectors: list[Integers | PackedVector], pairs: PairSecrets, seed: bytes
    ) -> Iterator[bytes]:
        table, current = self._table(self._session), -1
        added: list[bytes] = []
        subtracted: list[bytes] = []
        for chunk in chunks(submission_sizes(self._plan, self._layouts)):
            content = []
            for piece in chunk:
                if piece.vector != current:
                    current, name = piece.vector, self._plan.vectors[piece.vector].name
                    added, subtracted = pairs.keys(table, name, current)
                    added.append(table.self_mask(seed, self._pen.index, name, current))
                content.append(self._masked(vectors[current], piece, added, subtracted))
            yield b"".join(content)

    def _masked(
        self, vector: Integers | PackedVector, piece: Piece, added: list[bytes], subtracted: list[bytes]
    ) -> bytes:
        first, last = piece.start // WORD_BYTES, piece.stop // WORD_BYTES
        spec, layout = self._plan.vectors[piece.vector], self._layouts[piece.vector]
        words = np.array(checked_words(vector, spec, layout, first, last), np.uint64)
        add_streams(words, added, subtracted, start=first)
        return words.astype("<u8", copy=False).tobytes()

    def confirm(self, survivor_list: bytes) -> bytes:
        """Sign the survivor list."""
        self._order.require(Step.CONFIRM)
        frame = self._frame(Step.CONFIRM)
        sharers = frozenset(decode_bitmap(self._sharers, len(self._plan.roster), frame))
        bitmap = open_survivor_list(
            survivor_list, frame, self._plan, index=self._pen.index, sharers=sharers, circle=self._circle()
        )
        self._order.finish(Step.CONFIRM)
        self._bitmap = bitmap
        return self._pen.write(frame, bitmap).encode()

    def reveal(self, request: bytes) -> bytes:
        """Check the signatures of the others and return, of each peer, the one share that the signed list calls for."""
        self._order.require(Step.REVEAL)
        frame = self._frame(Step.REVEAL)
        if open_reveal_request(request, frame, self._plan, bitmap=self._bitmap, circle=self._circle()):
            raise frame.refusal("the reveal request has content, which this protocol has not")
        self._order.finish(Step.REVEAL)
        survivors = frozenset(decode_bitmap(self._bitmap, len(self._plan.roster), frame))
        body = b"".join(
            encode_share(shares.seed if client in survivors else shares.masking_key)
            for client, shares in sorted(self._held.items())
        )
        self._held = {}
        return self._pen.write(frame, body).encode()

    def _circle(self) -> tuple[int, ...] | None:
        return None if self._graph.is_complete else self._graph.neighbours(self._pen.index)


def submission_sizes(plan: SessionPlan, layouts: tuple[Layout, ...]) -> tuple[int, ...]:
    """Return the bytes of each vector's words, in the order of the plan."""
    pairs = zip(plan.vectors, layouts, strict=True)
    return tuple(WORD_BYTES * layout.words(vector.length) for vector, layout in pairs)


def _present(secret: T | None) -> T:
    assert secret is not None  # the order of the steps sees to it
    return secret
