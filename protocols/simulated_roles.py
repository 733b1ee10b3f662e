"""The roles of one session in one process, with the clock, the counts and the transcript of what passes between them.

Does single moves (the server asks, a client answers, the server receives) and remembers who did which step. Which move
comes when, and in what its message travels, is `protocols.simulate`'s to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.errors import RepeatedStep, TooFewSurvivors
from protocols.packing import Integers, PackedVector
from protocols.roles import ClientRole, SecureAggregation, ServerRole, Totals
from protocols.session import SessionPlan, Step
from protocols.traffic import Direction, StepTraffic, TranscriptEntry

T = TypeVar("T")


class SimulatedRoles:
    """All clients and the server of one session.

    Attributes:
        plan: The session's plan.
        traffic: Bytes and seconds of each step.
        inboxes: What each client that has yet to submit was told, by roster index.
        failure: Why the session ended without totals, if it did.
    """

    def __init__(
        self,
        protocol: SecureAggregation,
        plan: SessionPlan,
        signing_keys: Sequence[Ed25519PrivateKey],
        *,
        dropouts: Mapping[Step, frozenset[int]],
        transcript: Callable[[TranscriptEntry], None] | None,
    ) -> None:
        """Make all roles; arguments and errors are those of `protocols.simulate.Simulation`."""
        if len(signing_keys) != len(plan.roster):
            raise ValueError(
                f"signing_keys={len(signing_keys)} keys must be one for each of {len(plan.roster)} clients"
            )
        self._dropped_at = dict.fromkeys(range(len(plan.roster)), Step.REVEAL + 1)
        for step, clients in dropouts.items():
            for client in clients:
                if client not in self._dropped_at:
                    raise ValueError(f"dropouts={client} at {step.name.lower()} must be an index of the roster")
                self._dropped_at[client] = min(self._dropped_at[client], step)
        self.plan = plan
        self.traffic: dict[Step, StepTraffic] = {step: StepTraffic() for step in Step}
        self.inboxes: dict[int, bytes] = {}
        self.failure: TooFewSurvivors | None = None
        self._clients = [protocol.client(plan, index, key) for index, key in enumerate(signing_keys)]
        self._server: ServerRole | None = protocol.server(plan)
        self._transcript = transcript
        self._did: dict[Step, set[int]] = {step: set() for step in Step}

    def role(self, client: int) -> ClientRole:
        """Return a client's role with the secrets it holds just now: what a client that helps the server hands over.

        Raises:
            TooFewSurvivors: If the session failed.
            RepeatedStep: If it has its totals.
            ValueError: If there is no such client.
        """
        self.require_running()
        if not 0 <= client < len(self._clients):
            raise ValueError(f"client={client} must be in [0, {len(self._clients)})")
        return self._clients[client]

    def require_running(self) -> ServerRole:
        """Return the server of a session that goes on.

        Raises:
            TooFewSurvivors: If the session failed.
            RepeatedStep: If it has its totals.
        """
        if self.failure is not None:
            raise self.failure
        if self._server is None:
            raise RepeatedStep("the session was closed before", session=self.plan.digest, step=Step.REVEAL)
        return self._server

    def ask(self, step: Step, client: int) -> bytes:
        """Return what the server sends a client for a step, nothing if that client did not do the one before.

        With too few clients left, the session ends: `failure` says why.
        """
        server = self._server
        if server is None or step is Step.ADVERTISE:
            return b""
        # With nobody left, asking is what makes the server end the session.
        if client not in (self._did[Step(step - 1)] or {0}):
            return b""
        try:
            message = self._at_server(step, partial(asking(server, step), client))
        except TooFewSurvivors as failure:
            self._end(failure)
            return b""
        self._record(step, Direction.SENT, client, message)
        return message

    def answer(self, step: Step, client: int, request: bytes) -> bytes:
        """Return the client's message of a step, nothing if it was not asked or has left; in submit keep its inbox."""
        if step >= self._dropped_at[client] or not (request or step is Step.ADVERTISE):
            return b""
        if step is Step.SUBMIT:
            self.inboxes[client] = request
            return b""
        message = self._at_client(step, client, partial(_answering(self._clients[client], step), request))
        self._did[step].add(client)
        return message

    def submission(self, client: int, vectors: Mapping[str, Integers | PackedVector]) -> Iterator[bytes]:
        """Return the messages of a client's submission; it has submitted once they are exhausted."""
        role, inbox = self._clients[client], self.inboxes[client]
        messages = self._at_client(Step.SUBMIT, client, partial(role.submit, inbox, vectors))
        del self.inboxes[client]
        return self._timed(client, messages)

    def _timed(self, client: int, messages: Iterator[bytes]) -> Iterator[bytes]:
        while (message := self._at_client(Step.SUBMIT, client, partial(next, messages, None))) is not None:
            yield message
        self._did[Step.SUBMIT].add(client)

    def receive(self, step: Step, client: int, message: bytes) -> None:
        """Give the server a client's message."""
        self._record(step, Direction.RECEIVED, client, message)
        self._at_server(step, partial(receiving(self.require_running(), step), message))

    def finish(self) -> tuple[dict[str, Totals], tuple[int, ...]]:
        """Return totals and survivors, and drop all roles with whatever they still hold.

        Raises:
            TooFewSurvivors: If too few clients revealed, or the session failed before.
            RepeatedStep: If the session was finished before.
        """
        server = self.require_running()
        try:
            totals = self._at_server(Step.REVEAL, server.totals)
        except TooFewSurvivors as failure:
            self._end(failure)
            raise
        self._end()
        return totals, server.survivors()

    def _end(self, failure: TooFewSurvivors | None = None) -> None:
        """Drop the roles, and with them the secrets of clients that left early."""
        self.failure = failure
        self._clients, self._server = [], None

    def _record(self, step: Step, direction: Direction, client: int, message: bytes) -> None:
        self.traffic[step].add_message(direction, client, len(message))
        if self._transcript is not None:
            self._transcript(TranscriptEntry(step, direction, client, message))

    def _at_client(self, step: Step, client: int, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        self.traffic[step].add_client_seconds(client, time.perf_counter() - start)
        return result

    def _at_server(self, step: Step, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        self.traffic[step].server_seconds += time.perf_counter() - start
        return result


def asking(server: ServerRole, step: Step) -> Callable[[int], bytes]:
    """Return the method with which a server makes its message for a step, one after advertise, by recipient."""
    return {
        Step.SHARE: server.roster_message,
        Step.SUBMIT: server.inbox,
        Step.CONFIRM: server.survivor_list,
        Step.REVEAL: server.reveal_request,
    }[step]


def _answering(client: ClientRole, step: Step) -> Callable[[bytes], bytes]:
    return {
        Step.ADVERTISE: lambda _: client.advertise(),
        Step.SHARE: client.share,
        Step.CONFIRM: client.confirm,
        Step.REVEAL: client.reveal,
    }[step]


def receiving(server: ServerRole, step: Step) -> Callable[[bytes], None]:
    """Return the method with which a server takes a client's message of a step."""
    return {
        Step.ADVERTISE: server.receive_advertisement,
        Step.SHARE: server.receive_share,
        Step.SUBMIT: server.receive_submission,
        Step.CONFIRM: server.receive_confirmation,
        Step.REVEAL: server.receive_reveal,
    }[step]
