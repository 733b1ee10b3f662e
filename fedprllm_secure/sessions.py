"""The sessions of a run: who takes part, what each binds, and how vectors pass through the protocol in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from fedprllm_secure.errors import InputError
from fedprllm_secure.manifest import Manifest
from fedprllm_secure.payloads.device_packing import pack_on_device
from fedprllm_secure.privacy.adjacency import READERS
from fedprllm_secure.privacy.release import Release
from fedprllm_secure.privacy.session_noise import SessionNoise
from fedprllm_secure.thresholds import Thresholds
from fedprllm_secure.work import WorkFolder
from protocols import (
    ClientRole,
    Integers,
    PackedVector,
    Roster,
    SecureAggregation,
    SessionPlan,
    SessionResult,
    Simulation,
    Step,
    TranscriptEntry,
    VectorSpec,
    generate_signing_key,
    open_together,
)

Dropouts = Callable[[int], Mapping[Step, frozenset[int]]]


@dataclass(frozen=True, slots=True)
class Contents:
    """What one session sums.

    Attributes:
        place: the block, or 0 for a session over all blocks; simulated dropouts and transcripts go by it.
        specs: its vectors, without noise.
        public: what parties must agree on beside the run's settings.
        noise: what is added to the totals, if anything.
        choices: what a trusted server releases of the totals, where it does not release the totals themselves; None
            where it does.
    """

    place: int
    specs: tuple[VectorSpec, ...]
    public: Mapping[str, Any] = field(default_factory=dict)
    noise: SessionNoise | None = None
    choices: tuple[Release, ...] | None = None

    @property
    def noisy_specs(self) -> tuple[VectorSpec, ...]:
        """Its vectors, with room for the noise."""
        return self.specs if self.noise is None else self.noise.specs(self.specs)

    @property
    def releases(self) -> tuple[Release, ...]:
        """What clients let out by taking part."""
        if self.choices is not None:
            return self.choices
        if self.noise is not None:
            return (self.noise.release,)
        dimension = sum(spec.length for spec in self.specs)
        return (Release(mechanism="exact", adjacency="client-zero-out", adversary=READERS, dimension=dimension),)


# Charges a release to a client's ledger before its message leaves: (client, release, identity of the message).
Charge = Callable[[int, Release, bytes], None]


class Transcript(Protocol):
    """Takes down what the server sees of sessions; several may be under way at once, each at a place of its own."""

    def begin(self, place: int, plan: SessionPlan) -> None:
        """Begin a session at a place; what was taken down of another one there belongs to no finished session."""

    def add(self, place: int, entry: TranscriptEntry) -> None:
        """Take down a message that the server has received or sent, in order."""


class Clients:
    """The parties' long-term keys and the roster that lists them; drawn anew for each run of a simulation."""

    def __init__(self, count: int) -> None:
        """Draw the keys."""
        self.keys = [generate_signing_key() for _ in range(count)]
        self.roster = Roster.of(self.keys)

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Clients({len(self.keys)})"


class Sessions:
    """Opens the sessions of a run and takes clients' vectors through them."""

    def __init__(
        self,
        protocol: SecureAggregation,
        thresholds: Thresholds,
        clients: Clients,
        manifest: Manifest,
        work: WorkFolder,
        *,
        dropouts: Dropouts,
        transcript: Transcript | None,
        charge: Charge | None = None,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            protocol: one of :data:`~protocols.PROTOCOLS`.
            thresholds: who must stay and who may collude.
            clients: keys and roster.
            manifest: what all parties must agree on.
            work: remembers which session numbers were taken.
            dropouts: by place, the clients that leave at each step (simulated).
            transcript: takes down every message the server sees.
            charge: charges each client's ledger; None where nobody keeps one.
        """
        self._charge = charge
        self._protocol, self._thresholds, self._clients = protocol, thresholds, clients
        self._manifest, self._work = manifest, work
        self._dropouts, self._transcript = dropouts, transcript

    def check(self, contents: Contents) -> None:
        """Refuse contents that the protocol could not sum securely and exactly under the thresholds.

        Raises:
            InputError: with the protocol's reason, in flags where it is about thresholds.
        """
        try:
            self._protocol.check(self._plan(contents, session_number=0))
        except ValueError as error:
            reason = self._thresholds.in_flags(str(error))
            raise InputError(f"--protocol {self._protocol.name}: {reason}") from error

    def claim(self, contents: Contents) -> str:
        """Say in a line what the protocol protects against."""
        return self._protocol.claim(self._plan(contents, session_number=0))

    def open(self, wanted: Sequence[Contents]) -> list[OpenSession]:
        """Open sessions together: every client sends the keys of all in one message, and its shares in another.

        Raises:
            InputError: as :meth:`check`.
            protocols.ProtocolError: too few clients are left for one of them.
        """
        simulations = []
        for contents in wanted:
            self.check(contents)
            plan = self._plan(contents, session_number=self._work.next_session_number())
            recorder = None
            if self._transcript is not None:
                self._transcript.begin(contents.place, plan)
                recorder = partial(self._transcript.add, contents.place)
            leaving = self._dropouts(contents.place)
            simulations.append(
                Simulation(self._protocol, plan, self._clients.keys, dropouts=leaving, transcript=recorder)
            )
        if simulations:
            open_together(simulations)
        return [
            OpenSession(self._protocol, simulation, contents, self._charge, self._work)
            for simulation, contents in zip(simulations, wanted, strict=True)
        ]

    def _plan(self, contents: Contents, *, session_number: int) -> SessionPlan:
        digest = self._manifest.digest(block=contents.place, session_number=session_number, payload=contents.public)
        return SessionPlan(
            manifest_hash=digest,
            session_number=session_number,
            roster=self._clients.roster,
            vectors=contents.noisy_specs,
            recovery_threshold=self._thresholds.recovery_threshold,
            minimum_survivors=self._thresholds.minimum_survivors,
            assumed_colluders=self._thresholds.assumed_colluders,
            neighbours=self._thresholds.neighbours,
            beacon=self._thresholds.beacon,
        )


class OpenSession:
    """A session whose clients have shared their keys."""

    def __init__(
        self,
        protocol: SecureAggregation,
        simulation: Simulation,
        contents: Contents,
        charge: Charge | None,
        work: WorkFolder,
    ) -> None:
        """Take over an opened simulation."""
        self._protocol, self._simulation, self._contents, self._charge = protocol, simulation, contents, charge
        self._work, self._is_begun = work, False

    def submitters(self) -> tuple[int, ...]:
        """List the clients that have yet to submit, ascending."""
        return self._simulation.submitters()

    def submit(self, client: int, vectors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Charge a client's ledger, add its share of the noise, and let it submit.

        What lies on a GPU and takes no noise is packed there, so that packed words cross to the host.

        Args:
            client: its index, one of :meth:`submitters`.
            vectors: by name, integers (length,) within the bound.

        Returns:
            what was submitted, with the client's share of the noise: it knows that, and could tell a server.

        Raises:
            fedprllm_secure.privacy.BudgetRefused: the release would overspend a budget of this client.
        """
        plan = self._simulation.plan
        if self._charge is not None:
            for number, release in enumerate(self._contents.releases):
                self._charge(client, release, plan.digest + bytes([number]))
        if not self._is_begun:
            self._work.note_submissions(self._contents.place)
            self._is_begun = True
        if self._contents.noise is not None:
            vectors = self._contents.noise.with_share(vectors)
        ready: dict[str, Integers | PackedVector] = {}
        for spec in plan.vectors:
            values = vectors[spec.name]
            if values.device.type == "cpu":
                ready[spec.name] = values.numpy()
            else:
                ready[spec.name] = pack_on_device(values, self._protocol.layout(plan, spec), bound=spec.bound)
        self._simulation.submit(client, ready)
        return vectors

    def role(self, client: int) -> ClientRole:
        """Give a client's role with the secrets it holds just now: what a client that helps the server hands over.

        Raises:
            protocols.ProtocolError: the session is over.
            ValueError: there is no such client.
        """
        return self._simulation.role(client)

    def close(self) -> SessionResult:
        """Let the survivors open the totals, and add the server's noise, if it is the one to add it."""
        return self.close_showing_server()[1]

    def close_showing_server(self) -> tuple[SessionResult, SessionResult]:
        """Close, and give the result as the server has it before it adds noise, and as it leaves the server."""
        result = self._simulation.close()
        if self._contents.noise is None:
            return result, result
        return result, replace(result, totals=self._contents.noise.released(result.totals))


def cost_by_step(result: SessionResult) -> dict[str, dict[str, float]]:
    """List what each step of a session cost: bytes and seconds of the client with the most, and of the server."""
    return {
        step.name.lower(): {
            "client_up_max_bytes": max(traffic.bytes_up.values(), default=0),
            "client_down_max_bytes": max(traffic.bytes_down.values(), default=0),
            "server_in_bytes": traffic.server_bytes_in,
            "server_out_bytes": traffic.server_bytes_out,
            "client_max_seconds": max(traffic.client_seconds.values(), default=0.0),
            "server_seconds": traffic.server_seconds,
        }
        for step, traffic in result.traffic.items()
    }
