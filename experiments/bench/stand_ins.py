"""Stand-ins for most clients of an `additive` session, so that a few real ones can be measured among very many.

What a session costs a client depends on its neighbours; what it costs the server depends on everyone's messages. So the
stand-ins do what real clients and the server would notice, and no more:

- their messages are signed, whole and in order; what they seal for real clients opens, for each other it is zeros;
- a stand-in shares its secrets by the constant polynomial, which any set of shares gives back, so nobody has to open
  what a stand-in would have sealed;
- it masks with real clients and with those that get lost, since the server will take these pairwise masks off; those
  among stand-ins that stay would cancel, and are left out;
- it checks nothing.

The server is the real one, does the whole of its work and gives exact totals. **Stand-ins protect nobody**: they are
for measuring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import PROTOCOLS, ClientRole, Integers, Layout, PackedVector, ServerRole, SessionPlan, Step, VectorSpec
from protocols.additive.bodies import SEALED_BYTES, Advertisement, PeerShares, decode_inbox, sealed_at
from protocols.additive.client import NAME, FreshSecrets, submission_sizes
from protocols.additive.graph import Graph
from protocols.additive.mask_stream import add_streams
from protocols.additive.pairwise_masks import PairSecrets
from protocols.additive.shamir import encode_share
from protocols.advertisements import session_id, session_id_of_root
from protocols.bodies import decode_advertisements, decode_bitmap, decode_proven_advertisements
from protocols.derivation import KeyTable, agree
from protocols.inputs import packed_words
from protocols.sealing import Sealer
from protocols.submission import chunks, write_submission
from protocols.wire import ClientPen, Frame, decode, open_from_server

ADDITIVE = PROTOCOLS[NAME]


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays what in a session.

    Attributes:
        real: Roster indices of the real clients.
        lost: Those that share and do not submit, none of them real.
        shares: What every holder holds of each stand-in's secrets; filled as they advertise.
    """

    real: frozenset[int]
    lost: frozenset[int]
    shares: dict[int, PeerShares] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Check that no real client gets lost.

        Raises:
            ValueError: If one does.
        """
        if both := self.real & self.lost:
            raise ValueError(f"real={sorted(both)} must not be among the lost clients")


class AmongStandIns:
    """The protocol `additive` in which all clients but a few are stand-ins. For one session."""

    name = NAME

    def __init__(self, cast: Cast, make_real: Callable[[SessionPlan, int, Ed25519PrivateKey], ClientRole]) -> None:
        """Take the cast, and what makes the role of a real client."""
        self._cast = cast
        self._make_real = make_real

    def check(self, plan: SessionPlan) -> None:
        """As `additive`."""
        ADDITIVE.check(plan)

    def claim(self, plan: SessionPlan) -> str:
        """As `additive`, with real clients."""
        return ADDITIVE.claim(plan)

    def largest_bound(self, clients: int) -> int:
        """As `additive`."""
        return ADDITIVE.largest_bound(clients)

    def layout(self, plan: SessionPlan, vector: VectorSpec) -> Layout:
        """As `additive`."""
        return ADDITIVE.layout(plan, vector)

    def server(self, plan: SessionPlan) -> ServerRole:
        """As `additive`: the real server."""
        return ADDITIVE.server(plan)

    def client(self, plan: SessionPlan, index: int, signing_key: Ed25519PrivateKey) -> ClientRole:
        """Return a real client or a stand-in."""
        if index in self._cast.real:
            return self._make_real(plan, index, signing_key)
        layouts = tuple(self.layout(plan, vector) for vector in plan.vectors)
        return StandIn(plan, ClientPen(index, signing_key), layouts, self._cast)


class StandIn:
    """A client that does no more than others can notice."""

    def __init__(self, plan: SessionPlan, pen: ClientPen, layouts: tuple[Layout, ...], cast: Cast) -> None:
        """Start before advertise."""
        self._plan = plan
        self._pen = pen
        self._layouts = layouts
        self._cast = cast
        self._graph = Graph(plan)
        self._fresh = FreshSecrets()
        self._sealer: Sealer | None = None
        self._session = plan.digest
        self._noticing: dict[int, Advertisement] = {}
        self._held: dict[int, PeerShares] = {}
        self._bitmap = b""

    def _frame(self, step: Step) -> Frame:
        return Frame(NAME, step, self._session)

    def advertise(self) -> bytes:
        """Return a true advertisement."""
        secrets = (self._fresh.masking_key.private_bytes_raw(), self._fresh.seed)
        self._cast.shares[self._pen.index] = PeerShares(*(int.from_bytes(secret, "little") for secret in secrets))
        return self._pen.write(self._frame(Step.ADVERTISE), self._fresh.advertisement().encode()).encode()

    def share(self, roster_message: bytes) -> bytes:
        """Return shares sealed for the real peers, and zeros for the others."""
        frame, index = self._frame(Step.SHARE), self._pen.index
        self._session, advertised = self._opened(roster_message, frame)
        self._noticing = {
            peer: Advertisement.decode(decode(advertised[peer]).body, frame, client=peer)
            for peer in sorted(advertised)
            if peer != index and peer in self._cast.real | self._cast.lost
        }
        self._sealer = Sealer(self._fresh.sealing_key, KeyTable(self._plan.digest, self._session), index)
        content = self._cast.shares[index].encode()
        body = b"".join(
            self._sealer.seal(peer, self._noticing[peer].sealing_key, content, frame)
            if peer in self._cast.real
            else bytes(SEALED_BYTES)
            for peer in sorted(advertised)
            if peer != index
        )
        return self._pen.write(self._frame(Step.SHARE), body).encode()

    def _opened(self, roster_message: bytes, frame: Frame) -> tuple[bytes, dict[int, bytes]]:
        body, size = open_from_server(roster_message, frame), len(self._plan.roster)
        if self._graph.is_complete:
            advertised = decode_advertisements(body, size, frame)
            return session_id(self._plan, advertised), advertised
        shown = sorted((self._pen.index, *self._graph.neighbours(self._pen.index)))
        root, proven = decode_proven_advertisements(body, shown, size, frame)
        advertised = {client: message for client, (message, _) in proven.items() if message is not None}
        return session_id_of_root(self._plan, root), advertised

    def submit(self, inbox: bytes, vectors: Mapping[str, Integers | PackedVector]) -> Iterator[bytes]:
        """Return the vectors under the self mask and those pairwise masks that will not cancel among stand-ins."""
        frame, index = self._frame(Step.SUBMIT), self._pen.index
        sharers, sealed = decode_inbox(open_from_server(inbox, frame), len(self._plan.roster), frame)
        circle = frozenset(self._graph.neighbours(index))
        peers = [client for client in sharers if client in circle]
        assert self._sealer is not None  # made in share
        for position, peer in enumerate(peers):
            if peer in self._cast.real:
                key = self._noticing[peer].sealing_key
                content = self._sealer.open(peer, key, sealed_at(sealed, position), frame)
                self._held[peer] = PeerShares.decode(content, frame, client=peer)
        self._held |= {client: self._cast.shares[client] for client in (*peers, index) if client not in self._cast.real}
        agreed = {
            peer: agree(self._fresh.masking_key, self._noticing[peer].masking_key, frame=frame, client=peer)
            for peer in peers
            if peer in self._noticing
        }
        contents = self._masked(vectors, PairSecrets(index, agreed))
        bodies = (
            b"".join(contents[piece.vector][piece.start : piece.stop] for piece in chunk)
            for chunk in chunks(submission_sizes(self._plan, self._layouts))
        )
        return write_submission(self._pen, frame, bodies, when_closing=lambda: None)

    def _masked(self, vectors: Mapping[str, Integers | PackedVector], pairs: PairSecrets) -> list[bytes]:
        table, contents = KeyTable(self._plan.digest, self._session), []
        for number, (spec, layout) in enumerate(zip(self._plan.vectors, self._layouts, strict=True)):
            words = np.array(packed_words(vectors[spec.name], layout, 0, layout.words(spec.length)), np.uint64)
            added, subtracted = pairs.keys(table, spec.name, number)
            added.append(table.self_mask(self._fresh.seed, self._pen.index, spec.name, number))
            add_streams(words, added, subtracted)
            contents.append(words.astype("<u8", copy=False).tobytes())
        return contents

    def confirm(self, survivor_list: bytes) -> bytes:
        """Sign whatever is shown."""
        self._bitmap = open_from_server(survivor_list, self._frame(Step.CONFIRM))
        return self._pen.write(self._frame(Step.CONFIRM), self._bitmap).encode()

    def reveal(self, request: bytes) -> bytes:
        """Return the shares that the survivor list calls for."""
        frame = self._frame(Step.REVEAL)
        survivors = frozenset(decode_bitmap(self._bitmap, len(self._plan.roster), frame))
        holders = frozenset(self._graph.holders(self._pen.index))
        body = b"".join(
            encode_share(shares.seed if client in survivors else shares.masking_key)
            for client, shares in sorted(self._held.items())
            if client in holders
        )
        return self._pen.write(frame, body).encode()
