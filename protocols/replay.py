"""What a server can compute from the bytes it received: a recorded session, walked again by the server's own role.

Received messages are given to a fresh server role, which checks and parses them as the first one did, and it is asked
for its answers where the first one was, since these close its steps. So nothing is learnt here that the protocol does
not let a server learn: totals, who is in them, and under `plain` each client's vectors. Two things that help a server
stand beside it: clients that tell it their own vectors (`totals_without`), and under `bfv` and `ckks` one client that
lends it the session's key (`Submissions.opened_by`). Whoever held the session has the server's totals and need not walk
it again: `Submissions` alone makes the same view of them and the messages.

Knows neither where transcripts are kept nor what the vectors mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from protocols.homomorphic.protocol import Homomorphic
from protocols.packing import Integers, unpack
from protocols.plain import Plain
from protocols.roles import ClientRole, SecureAggregation, ServerRole, Totals
from protocols.session import SessionPlan, Step
from protocols.simulated_roles import asking, receiving
from protocols.submission import closing_body
from protocols.traffic import Direction, TranscriptEntry
from protocols.wire import Message, decode


@dataclass(frozen=True, slots=True)
class ServerView:
    """What a server that follows the protocol has computed when a session is over.

    Attributes:
        protocol: The session's protocol.
        plan: The session's plan.
        totals: Sums over the survivors by vector name, (length,) int32 or int64.
        survivors: Roster indices in the sums, ascending.
    """

    protocol: SecureAggregation
    plan: SessionPlan
    totals: Mapping[str, Totals] = field(repr=False)
    survivors: tuple[int, ...]
    _uploads: Mapping[int, bytes] = field(repr=False)

    @property
    def shows_vectors(self) -> bool:
        """Whether the server sees single clients' vectors."""
        return isinstance(self.protocol, Plain)

    def vectors(self, client: int) -> dict[str, Integers]:
        """Return one client's vectors by name, each (length,).

        Raises:
            ValueError: If the protocol hides them, or the client is not among the survivors.
        """
        if not self.shows_vectors:
            raise ValueError(
                f"client={client}: {self.protocol.name} hides single clients' vectors from a server that follows it, "
                f"which sees totals alone; {self.protocol.claim(self.plan)}"
            )
        self._require_survivor(client)
        words = np.frombuffer(self._uploads[client], "<u8").astype(np.uint64, copy=False)
        found, start = {}, 0
        for spec in self.plan.vectors:
            layout = self.protocol.layout(self.plan, spec)
            stop = start + layout.words(spec.length)
            found[spec.name] = unpack(words[start:stop], layout, spec.length)
            start = stop
        return found

    def totals_without(self, known: Mapping[int, Mapping[str, Integers]]) -> dict[str, NDArray[np.int64]]:
        """Return the totals over the other survivors, to a server that some clients tell their own vectors.

        Args:
            known: Those clients' vectors by roster index, then by name, each (length,).

        Returns:
            For every name of the plan int64 (length,).

        Raises:
            ValueError: If one of the clients is not in the totals, nobody else is, or a vector is missing or has
                another length.
        """
        for client in known:
            self._require_survivor(client)
        if len(known) >= len(self.survivors):
            raise ValueError(f"known={len(known)} clients must be fewer than the {len(self.survivors)} survivors")
        rest = {}
        for spec in self.plan.vectors:
            rest[spec.name] = self.totals[spec.name].astype(np.int64)
            for client, vectors in known.items():
                vector = vectors.get(spec.name)
                if vector is None or vector.shape != (spec.length,):
                    raise ValueError(f"known[{client}] must have {spec.length} entries of {spec.name!r}")
                rest[spec.name] -= vector.astype(np.int64)
        return rest

    def _require_survivor(self, client: int) -> None:
        if client not in self.survivors:
            raise ValueError(f"client={client} must be among the survivors {self.survivors}")


class Submissions:
    """The submissions of one session, put together from the messages that its server took."""

    def __init__(self, protocol: SecureAggregation, plan: SessionPlan) -> None:
        """Begin without any."""
        self._protocol, self._plan = protocol, plan
        self._messages: dict[int, list[Message]] = {}

    def take(self, entry: TranscriptEntry) -> None:
        """Take a message that the server took or sent.

        Raises:
            ValueError: If an entry of a received message names another client than the message does.
        """
        if entry.direction is Direction.SENT:
            return
        message = decode(entry.message)  # the server took it, so it is what it says
        if message.sender != entry.client:
            raise ValueError(f"client={entry.client} of an entry must be the sender of its message, {message.sender}")
        if entry.step is Step.SUBMIT:
            self._messages.setdefault(entry.client, []).append(message)

    def view(self, totals: Mapping[str, Totals], survivors: tuple[int, ...]) -> ServerView:
        """Return what the server has, with the totals that it came to."""
        uploads = dict(self._whole()) if isinstance(self._protocol, Plain) else {}
        return ServerView(self._protocol, self._plan, totals, survivors, uploads)

    def opened_by(self, helper: ClientRole) -> dict[int, dict[str, Integers]]:
        """Open every client's upload with the key of one client that helps the server, under `bfv` or `ckks`.

        That this works is the limit of the two protocols' claim: all clients hold one key.

        Args:
            helper: The helping client's role, in the middle of the session: it has submitted and not revealed, after
                which a role no longer has the key.

        Returns:
            By roster index of each client whose submission is whole, then by name, (length,) each.

        Raises:
            ValueError: If the protocol has no such key, the helper does not hold it now, or an upload does not open
                under it.
        """
        if not isinstance(self._protocol, Homomorphic):
            raise ValueError(
                f"protocol={self._protocol.name} must be bfv or ckks: under others no client holds a key to uploads"
            )
        from protocols.homomorphic.uploads import open_upload  # needs TenSEAL

        scheme = self._protocol.scheme
        return {client: open_upload(scheme, self._plan, upload, helper) for client, upload in self._whole()}

    def _whole(self) -> Iterator[tuple[int, bytes]]:
        """Yield each client whose closing message has come, with the content of its submission."""
        for client, (*chunks, last) in self._messages.items():
            if last.body == closing_body(chunk.digest for chunk in chunks):
                yield client, b"".join(chunk.body for chunk in chunks)


class Replay:
    """A recorded session on its way through a fresh server role."""

    def __init__(self, protocol: SecureAggregation, plan: SessionPlan) -> None:
        """Begin a session again.

        Raises:
            ValueError: If the plan is none of the protocol's.
        """
        self._server = protocol.server(plan)
        self._submissions = Submissions(protocol, plan)

    def follow(self, entries: Iterable[TranscriptEntry]) -> None:
        """Take the next messages.

        Args:
            entries: In the order in which the server received and sent them.

        Raises:
            ValueError: If an entry names another client than its message does, or the server sent what one that follows
                the protocol does not send.
            ProtocolError: If a message is refused.
        """
        for entry in entries:
            if entry.direction is Direction.SENT:
                _ask_again(self._server, entry)
            else:
                receiving(self._server, entry.step)(entry.message)
            self._submissions.take(entry)

    def view(self) -> ServerView:
        """Return what the server has when the last message is taken.

        Raises:
            ProtocolError: If too few messages are there for the session to end.
        """
        return self._submissions.view(self._server.totals(), self._server.survivors())

    def opened_by(self, helper: ClientRole) -> dict[int, dict[str, Integers]]:
        """Open uploads as :meth:`Submissions.opened_by`."""
        return self._submissions.opened_by(helper)


def replay(protocol: SecureAggregation, plan: SessionPlan, entries: Iterable[TranscriptEntry]) -> ServerView:
    """Walk a whole session again.

    Args:
        protocol: The session's protocol.
        plan: The session's plan.
        entries: All messages, in the order in which the server received and sent them.

    Raises:
        ValueError: If the plan is none of the protocol's; and as `Replay.follow`.
        ProtocolError: If a message is refused, or too few are there for the session to end.
    """
    again = Replay(protocol, plan)
    again.follow(entries)
    return again.view()


def _ask_again(server: ServerRole, entry: TranscriptEntry) -> None:
    if entry.step is Step.ADVERTISE:
        raise ValueError(f"client={entry.client}: a message of step advertise must be received, not sent")
    if asking(server, entry.step)(entry.client) != entry.message:
        raise ValueError(
            f"the {entry.step.name.lower()} message to client {entry.client} must be what a server that follows the "
            "protocol sends after the messages before it"
        )
