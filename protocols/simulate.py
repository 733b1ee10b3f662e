"""Whole sessions in one process, driven through the same role objects as a deployment.

Clients are served one after the other and hand in their vectors one at a time, so that no more than one client's
vectors need to exist at once. Sessions that are planned together may be opened together: then every client sends one
bundle for all of them in advertise and one in share, and is sent bundles, while each session keeps keys, id and
survivors of its own. Knows no protocol: any `SecureAggregation` will do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.bundle import bundle_overhead, decode_bundle, encode_bundle
from protocols.errors import TooFewSurvivors
from protocols.packing import Integers, PackedVector
from protocols.roles import ClientRole, SecureAggregation, Totals
from protocols.session import SessionPlan, Step
from protocols.simulated_roles import SimulatedRoles
from protocols.traffic import Direction, StepTraffic, TranscriptEntry


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
    """One session: `open` (or `open_together`), then `submit` for every client of `submitters`, then `close`."""

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
        self.roles = SimulatedRoles(protocol, plan, signing_keys, dropouts=dropouts or {}, transcript=transcript)

    @property
    def plan(self) -> SessionPlan:
        """The session's plan."""
        return self.roles.plan

    @property
    def traffic(self) -> Mapping[Step, StepTraffic]:
        """Bytes and seconds of each step so far."""
        return self.roles.traffic

    @property
    def failure(self) -> TooFewSurvivors | None:
        """Why the session ended without totals; None while it goes on or has its totals."""
        return self.roles.failure

    def role(self, client: int) -> ClientRole:
        """Return a client's role with the secrets it holds just now: what a client that helps the server hands over.

        Raises:
            ProtocolError: If the session is over.
            ValueError: If there is no such client.
        """
        return self.roles.role(client)

    def open(self) -> None:
        """Let every client that is there advertise and share, and hand it its inbox.

        Raises:
            TooFewSurvivors: If too few clients are left for the session to go on.
            RepeatedStep: If the session was opened before.
        """
        open_together([self])

    def submitters(self) -> tuple[int, ...]:
        """Return the clients that have yet to submit, ascending."""
        return tuple(sorted(self.roles.inboxes))

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
        if client not in self.roles.inboxes:
            raise ValueError(f"client={client} must be one of those that have yet to submit, {self.submitters()}")
        messages = self.roles.submission(client, vectors)
        sent = 0
        while sent != vanish_after and (message := next(messages, None)) is not None:
            self.roles.receive(Step.SUBMIT, client, message)
            sent += 1

    def close(self) -> SessionResult:
        """Let the survivors confirm and reveal, drop all roles with whatever they still hold, and return the totals.

        Raises:
            TooFewSurvivors: If too few clients are left for the totals to be opened, or the session failed before.
            RepeatedStep: If the session was closed before.
            ValueError: If a client that is there has not submitted.
        """
        if self.roles.inboxes:
            raise ValueError(f"clients {self.submitters()} must submit before the session is closed")
        for step in (Step.CONFIRM, Step.REVEAL):
            _round_trip([self.roles], step)
        totals, survivors = self.roles.finish()
        return SessionResult(totals, survivors, self.roles.traffic)


def open_together(sessions: Sequence[Simulation]) -> None:
    """Let every client that is there advertise and share in all sessions at once, and hand it its inboxes.

    What one party sends another in a step travels as one bundle (`protocols.bundle`), or bare if there is one session.
    Transcript and traffic of a session have its own messages, as they are cut out of the bundles; the other bytes of a
    bundle count as traffic of the first session that it holds a message of. Seconds are those of the roles.

    A session that fails falls silent while the others are opened; its `failure` says why.

    Args:
        sessions: Sessions of one roster that have not begun, ascending by session number.

    Raises:
        TooFewSurvivors: If too few clients are left for a session to go on; of several failures the first session's.
        RepeatedStep: If a session was opened before.
        ValueError: If the sessions do not belong in one bundle.
    """
    _check_together([session.plan for session in sessions])
    roles = [session.roles for session in sessions]
    for one in roles:
        one.require_running()
    for step in (Step.ADVERTISE, Step.SHARE, Step.SUBMIT):
        _round_trip(roles, step)
    for one in roles:
        if one.failure is not None:
            raise one.failure


def _check_together(plans: Sequence[SessionPlan]) -> None:
    if not plans:
        raise ValueError("sessions=() must have at least one session")
    if len({plan.roster.digest for plan in plans}) > 1:
        raise ValueError(f"sessions={len(plans)} sessions must have one roster: a bundle comes from one client")
    numbers = [plan.session_number for plan in plans]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise ValueError(f"sessions={numbers} must be in ascending order of distinct session numbers")


def _round_trip(sessions: Sequence[SimulatedRoles], step: Step) -> None:
    """Carry the server's messages of a step to each client in turn, and the client's answers back."""
    for client in range(len(sessions[0].plan.roster)):
        asked = [session.ask(step, client) for session in sessions]
        requests = _carried(sessions, step, Direction.SENT, client, asked)
        answered = [session.answer(step, client, request) for session, request in zip(sessions, requests, strict=True)]
        answers = _carried(sessions, step, Direction.RECEIVED, client, answered)
        for session, answer in zip(sessions, answers, strict=True):
            if answer:
                session.receive(step, client, answer)


def _carried(
    sessions: Sequence[SimulatedRoles], step: Step, direction: Direction, client: int, messages: Sequence[bytes]
) -> Sequence[bytes]:
    """Return what arrives of one message a session, empty where there is none."""
    if len(sessions) == 1 or not any(messages):
        return messages
    first = next(session for session, message in zip(sessions, messages, strict=True) if message)
    first.traffic[step].add_message(direction, client, bundle_overhead(len(sessions)))
    return decode_bundle(encode_bundle(messages), len(sessions))


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
