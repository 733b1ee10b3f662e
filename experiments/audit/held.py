"""Real sessions of victims, held in this process, and what each adversary has of them when they are over.

What a server sees are the totals that its role came to and what the bytes it received say beside them
(`protocols.replay`): what a protocol hides cannot be in a view, because no other way leads there. Knows no coin and no
payload.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from experiments.audit.statistics import KeptStatistics
from fedprllm_secure.manifest import Manifest
from fedprllm_secure.method import Method
from fedprllm_secure.sessions import Clients, Contents, Sessions
from fedprllm_secure.thresholds import Thresholds
from fedprllm_secure.work import WorkFolder
from protocols import PROTOCOLS, SessionPlan, TranscriptEntry
from protocols.homomorphic.protocol import Homomorphic
from protocols.replay import ServerView, Submissions

HELPER = 0  # the client that helps the server where one is enough to open everything


class Recording:
    """Keeps one session's messages at a time."""

    def __init__(self) -> None:
        """Keep none yet."""
        self.plan: SessionPlan | None = None
        self.entries: list[TranscriptEntry] = []

    def begin(self, place: int, plan: SessionPlan) -> None:
        """Forget the session before."""
        self.plan, self.entries = plan, []

    def add(self, place: int, entry: TranscriptEntry) -> None:
        """Keep a message."""
        self.entries.append(entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What came of a session.

    Attributes:
        seen: what the server sees.
        left: the totals that leave it.
        vectors: by client, the vectors that somebody sees: a server of `plain`, or one that a key holder helps.
        colluding: what the colluders submitted, by client.
    """

    seen: ServerView
    left: Mapping[str, Any] = field(repr=False)
    vectors: Mapping[int, Mapping[str, Any]] = field(repr=False)
    colluding: Mapping[int, Mapping[str, Any]] = field(repr=False)


class SessionHolder:
    """Holds the sessions of one configuration, all of the same clients."""

    def __init__(
        self,
        statistics: KeptStatistics,
        *,
        num_clients: int,
        method: Method,
        thresholds: Thresholds,
        colluders: int,
        folder: Path,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            statistics: of all windows.
            num_clients: clients of every session.
            method: how they prune.
            thresholds: of every session.
            colluders: how many clients, the last ones, tell the server what they submitted.
            folder: a fresh one, for the numbers of sessions.
        """
        self._num_clients, self._colluders = num_clients, colluders
        self._protocol = PROTOCOLS[method.protocol]
        clients = Clients(num_clients)
        self._recording = Recording()
        folder.mkdir(parents=True)
        self._sessions = Sessions(
            self._protocol,
            thresholds,
            clients,
            Manifest(statistics.model, method, clients.roster, window_length=statistics.window_length),
            WorkFolder(folder),
            dropouts=lambda _: {},
            transcript=self._recording,
        )

    def hold(self, contents: Contents, vectors: Sequence[Mapping[str, Tensor]]) -> Held:
        """Hold one session.

        Args:
            contents: of the session.
            vectors: each client's, without noise.

        Raises:
            InputError: the protocol refuses the session.
        """
        (session,) = self._sessions.open([contents])
        colluding = {}
        for client, own in enumerate(vectors):
            submitted = session.submit(client, own)
            if client >= self._num_clients - self._colluders:
                colluding[client] = {name: each.cpu().numpy() for name, each in submitted.items()}
        plan, entries = self._recording.plan, self._recording.entries
        assert plan is not None  # the session is open
        opened: Mapping[int, Mapping[str, Any]] = {}
        submissions = Submissions(self._protocol, plan)
        for entry in entries:
            submissions.take(entry)
        if isinstance(self._protocol, Homomorphic):
            opened = submissions.opened_by(session.role(HELPER))
        at_server, left = session.close_showing_server()
        seen = submissions.view(at_server.totals, at_server.survivors)
        if seen.shows_vectors:
            opened = {client: seen.vectors(client) for client in range(self._num_clients)}
        return Held(seen=seen, left=left.totals, vectors=opened, colluding=colluding)
