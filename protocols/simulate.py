"""A whole session in one process, driven through the same role objects as a deployment.

Clients are served one after the other and hand in their vectors one at a time, so that no more than one client's
vectors need to exist at once. Knows no protocol: any `SecureAggregation` will do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.packing import Integers, PackedVector
from protocols.roles import SecureAggregation, Totals
from protocols.session import SessionPlan, Step
from protocols.traffic import Direction, StepTraffic, TranscriptEntry

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SessionResult:
    """What came of a session.

    Attributes:
        totals: Sums over the survivors by vector name, (length,) int32 or int64.
        survivors: Roster indices in the sums, ascending.
        traffic: Bytes and seconds of each step.
    """

    totals: Mapping[str, Totals] = field(repr=False)
    survivors: tuple[int, ...]
    traffic: Mapping[Step, StepTraffic] = field(repr=False)


class Simulation:
    """One session: `open`, then `submit` for every client of `submitters`, then `close`."""

    def __init__(
        self,
        protocol: SecureAggregation,
        plan: SessionPlan,
        signing_keys: Sequence[Ed25519PrivateKey],
        *,
        dropouts: Mapping[Step, frozenset[int]] | None = None,
        transcript: Callable[[TranscriptEntry], None] | None = None,
    ) -> None:
        """Make all roles.

        Args:
            protocol: One of `PROTOCOLS`, or anything of that shape.
            plan: The session's plan.
            signing_keys: Every client's long-term key, in roster order.
            dropouts: Clients that do neither this step nor any later one.
            transcript: Called with every message that the server receives or sends, in order.

        Raises:
            ValueError: If keys do not fit the roster, a dropout is not of the roster, or the protocol refuses the plan.
        """
        if len(signing_keys) != len(plan.roster):
            raise ValueError(
                f"signing_keys={len(signing_keys)} keys must be one for each of {len(plan.roster)} clients"
            )
        self._dropped_at = dict.fromkeys(range(len(plan.roster)), Step.REVEAL + 1)
        for step, clients in (dropouts or {}).items():
            for client in clients:
                if client not in self._dropped_at:
                    raise ValueError(f"dropouts={client} at {step.name.lower()} must be an index of the roster")
                self._dropped_at[client] = min(self._dropped_at[client], step)
        self.plan = plan
        self._clients = [protocol.client(plan, index, key) for index, key in enumerate(signing_keys)]
        self._server = protocol.server(plan)
        self._transcript = transcript
        self._to_submit: set[int] = set()
        self._submitted: list[int] = []
        self.traffic: dict[Step, StepTraffic] = {step: StepTraffic() for step in Step}

    def open(self) -> None:
        """Let every client that is there advertise and share.

        Raises:
            TooFewSurvivors: If too few clients are left for the session to go on.
        """
        server = self._server
        advertised = [client for client in range(len(self._clients)) if self._does(client, Step.ADVERTISE)]
        for client in advertised:
            message = self._at_client(Step.ADVERTISE, client, self._clients[client].advertise)
            self._up(Step.ADVERTISE, client, message, server.receive_advertisement)
        shared = self._round_trip(
            Step.SHARE,
            advertised,
            server.roster_message,
            lambda client: self._clients[client].share,
            server.receive_share,
        )
        self._to_submit = {client for client in shared if self._does(client, Step.SUBMIT)}
        # The first inbox closes share, so that a session without enough clients ends before anyone computes a vector.
        self._at_server(Step.SUBMIT, partial(server.inbox, min(shared, default=0)))
        for client in shared:
            if client not in self._to_submit:
                self._down(Step.SUBMIT, client, server.inbox)

    def submitters(self) -> tuple[int, ...]:
        """Return the clients that have yet to submit, ascending."""
        return tuple(sorted(self._to_submit))

    def submit(
        self, client: int, vectors: Mapping[str, Integers | PackedVector], *, vanish_after: int | None = None
    ) -> None:
        """Let one client submit its vectors.

        Args:
            client: Roster index, one of `submitters`.
            vectors: As `ClientRole.submit`.
            vanish_after: Number of messages after which the client leaves the session for good; None: it stays.

        Raises:
            ValueError: If the client is not one of `submitters`, or as `ClientRole.submit`.
        """
        if client not in self._to_submit:
            raise ValueError(f"client={client} must be one of those that have yet to submit, {self.submitters()}")
        inbox = self._down(Step.SUBMIT, client, self._server.inbox)
        messages = self._at_client(Step.SUBMIT, client, partial(self._clients[client].submit, inbox, vectors))
        self._to_submit.discard(client)
        sent = 0
        while sent != vanish_after:
            message = self._at_client(Step.SUBMIT, client, partial(next, messages, None))
            if message is None:
                self._submitted.append(client)
                return
            self._up(Step.SUBMIT, client, message, self._server.receive_submission)
            sent += 1

    def close(self) -> SessionResult:
        """Let the survivors confirm and reveal, and return the totals.

        Raises:
            TooFewSurvivors: If too few clients are left for the totals to be opened.
            ValueError: If a client that is there has not submitted.
        """
        if self._to_submit:
            raise ValueError(f"clients {self.submitters()} must submit before the session is closed")
        server = self._server
        confirmed = self._round_trip(
            Step.CONFIRM,
            sorted(self._submitted),
            server.survivor_list,
            lambda client: self._clients[client].confirm,
            server.receive_confirmation,
        )
        self._round_trip(
            Step.REVEAL,
            confirmed,
            server.reveal_request,
            lambda client: self._clients[client].reveal,
            server.receive_reveal,
        )
        totals = self._at_server(Step.REVEAL, server.totals)
        return SessionResult(totals, server.survivors(), self.traffic)

    def _round_trip(
        self,
        step: Step,
        recipients: Sequence[int],
        ask: Callable[[int], bytes],
        answer: Callable[[int], Callable[[bytes], bytes]],
        receive: Callable[[bytes], None],
    ) -> list[int]:
        """Send the server's message to each recipient and its answer back; return the clients that answered."""
        answered = []
        for client in recipients or [0]:  # with nobody left, asking is what makes the server end the session
            message = self._down(step, client, ask)
            if self._does(client, step):
                reply = self._at_client(step, client, partial(answer(client), message))
                self._up(step, client, reply, receive)
                answered.append(client)
        return answered

    def _does(self, client: int, step: Step) -> bool:
        return step < self._dropped_at[client]

    def _down(self, step: Step, client: int, make: Callable[[int], bytes]) -> bytes:
        message = self._at_server(step, partial(make, client))
        self._record(step, Direction.SENT, client, message)
        return message

    def _up(self, step: Step, client: int, message: bytes, receive: Callable[[bytes], None]) -> None:
        self._record(step, Direction.RECEIVED, client, message)
        self._at_server(step, partial(receive, message))

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


def run_session(
    protocol: SecureAggregation,
    plan: SessionPlan,
    signing_keys: Sequence[Ed25519PrivateKey],
    inputs: Mapping[int, Mapping[str, Integers | PackedVector]],
    *,
    dropouts: Mapping[Step, frozenset[int]] | None = None,
    transcript: Callable[[TranscriptEntry], None] | None = None,
) -> SessionResult:
    """Run a whole session.

    Args:
        protocol: As `Simulation`.
        plan: As `Simulation`.
        signing_keys: As `Simulation`.
        inputs: Vectors of every client that submits, by roster index.
        dropouts: As `Simulation`.
        transcript: As `Simulation`.

    Raises:
        ValueError: As `Simulation`, or if a client that submits has no inputs.
        TooFewSurvivors: If too few clients are left at some step.
    """
    simulation = Simulation(protocol, plan, signing_keys, dropouts=dropouts, transcript=transcript)
    simulation.open()
    for client in simulation.submitters():
        if client not in inputs:
            raise ValueError(f"inputs must have the vectors of client {client}")
        simulation.submit(client, inputs[client])
    return simulation.close()
