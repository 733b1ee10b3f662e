"""The sessions that a run will hold, and the bytes that they take, from shapes and public counts alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from experiments.plan.shared_inputs import shared_inputs
from fedprllm_secure.data import Windows
from fedprllm_secure.errors import InputError
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Baselines, Parties, yardstick_windows
from fedprllm_secure.payloads import PartyView, Payload
from fedprllm_secure.privacy.adjacency import is_window_level
from fedprllm_secure.privacy.session_noise import SessionNoise
from fedprllm_secure.private_sessions import FEWEST_PUBLIC, PrivateSessions, synthetic_public
from fedprllm_secure.residuals.clipping import grid_bound
from fedprllm_secure.surveyed import RESIDUALS, without_weights
from fedprllm_secure.thresholds import Thresholds
from fedprllm_secure.work import WorkFolder
from protocols import PROTOCOLS, Roster, SessionPlan, Step, VectorSpec
from protocols.costs import Presence, Traffic, add_bundles, expected_traffic

LENGTH = 2  # tokens of the windows that stand in for text: only their number counts
Leaving = Callable[[int], Mapping[Step, frozenset[int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Public counts of a run.

    Attributes:
        clients: size of the roster.
        per_client: windows a client.
        public: windows of the public party, None where there is none.
        central: whether a party that holds all text is measured beside.
        local_only: how many clients prune alone beside.
        magnitude: whether magnitude is measured beside.
    """

    clients: int
    per_client: int
    public: int | None = None
    central: bool = False
    local_only: int = 0
    magnitude: bool = False

    def windows(self) -> Windows:
        """Make windows of the right number that hold nothing."""
        rows = torch.zeros(self.clients * self.per_client, LENGTH, dtype=torch.int64)
        return Windows(rows, num_clients=self.clients, per_client=self.per_client, length=LENGTH)

    def baselines(self) -> Baselines:
        """Make the baselines over windows that hold nothing."""
        public = None if self.public is None else torch.zeros(self.public, LENGTH, dtype=torch.int64)
        return Baselines(
            central=self.central,
            local_only=tuple(range(min(self.local_only, self.clients))),
            public=public,
            magnitude=self.magnitude,
        )


class PlannedRun:
    """A run of which nothing is done and no text is read.

    Attributes:
        method: how to prune.
        windows: as many as the run's, holding nothing.
        num_clients: size of the roster.
        parties: who calibrates.
        payload: what clients share.
        noises: the noise of each session.
        chooses: whether a trusted server releases a noisy choice, and no totals.
        vectors: what each session sums, in order.
        are_inputs_known: False where vectors of statistics are counted an input a matrix, which is more than there are.
    """

    def __init__(
        self, model: StreamedModel, method: Method, counts: Counts, thresholds: Thresholds, *, folder: Path
    ) -> None:
        """Work out sessions and noise.

        Args:
            model: opened, or a stand-in.
            method: how to prune.
            counts: how many of what there is.
            thresholds: who must stay and who may collude.
            folder: an empty one, not written to but for a lock.

        Raises:
            InputError: as :class:`~fedprllm_secure.federation.Federation`: payload, noise, sparsity, protocol and
                thresholds do not go together.
        """
        self.method, self.windows, self.num_clients = method, counts.windows(), counts.clients
        protocol = PROTOCOLS[method.protocol]
        payload = method.make_payload(largest_bound=protocol.largest_bound(counts.clients)).in_model(model)
        self.parties = _parties(model, method, payload, counts, self.windows)
        planned = PrivateSessions(
            model, method, payload, parties=self.parties, thresholds=thresholds, work=WorkFolder(folder)
        )
        for index in range(model.num_blocks):
            for matrix in prunable_matrices(model, index):
                method.sparsity.check_fits(matrix.name, matrix.shape)
        self.payload, self.noises, self.chooses = planned.payload, planned.noises, planned.chooses
        self.releases = planned.releases if method.privacy is not None else []
        self.are_inputs_known = True
        self.vectors = self._vectors(model, planned)
        self._plans = [_plan(vectors, thresholds, counts.clients, n) for n, vectors in enumerate(self.vectors)]
        try:
            for plan in {_shape(plan): plan for plan in self._plans}.values():
                protocol.check(plan)
        except ValueError as error:
            raise InputError(f"--protocol {protocol.name}: {thresholds.in_flags(str(error))}") from error
        self.claim = protocol.claim(self._plans[0])

    def _vectors(self, model: StreamedModel, planned: PrivateSessions) -> list[tuple[VectorSpec, ...]]:
        blocks = range(model.num_blocks)
        if self.method.payload != "statistics":
            return [planned.contents(index).noisy_specs for index in blocks]
        if self.noises:
            return [self.noises[0].specs((self._residuals(self.noises[0]),))]
        shared = shared_inputs(model)
        self.are_inputs_known = shared is not None
        sources = shared or [{} for _ in blocks]
        views = (PartyView(prunable_matrices(model, index), without_weights, sources[index]) for index in blocks)
        by_block = [self.payload.specs(view) for view in views]
        return [tuple(spec for block in by_block for spec in block)] if self.method.is_surveyed else by_block

    def _residuals(self, noise: SessionNoise) -> VectorSpec:
        assert self.method.privacy is not None  # else there were no noise
        rank = noise.release.dimension
        contributions = self.windows.per_client if is_window_level(self.method.privacy.adjacency) else 1
        return VectorSpec(RESIDUALS, rank, contributions * grid_bound(rank), signed=True)

    @property
    def are_together(self) -> bool:
        """Whether all sessions are opened in one go, so that keys travel in bundles."""
        return self.method.schedule.rounds == "one-shot" and len(self.vectors) > 1

    @property
    def plans(self) -> Sequence[SessionPlan]:
        """The plan of each session, with a stand-in for the roster's keys and the run's manifest."""
        return self._plans

    def traffic(self, leaving: Leaving = lambda _: {}) -> list[Traffic]:
        """Compute the bytes of every client in every step of every session.

        Args:
            leaving: by block, the clients that leave at each step.
        """
        known: dict[object, Traffic] = {}
        found, presences = [], []
        leavers = [leaving(place) for place in range(len(self._plans))]
        for plan, gone in zip(self._plans, leavers, strict=True):
            key = (_shape(plan), tuple(sorted((step, clients) for step, clients in gone.items())))
            if key not in known:
                known[key] = expected_traffic(self.method.protocol, plan, leaving=gone)
            # Where somebody leaves, bundles may be counted in any session; else in the first one alone.
            found.append(_copy(known[key]) if any(leavers) else known[key])
            presences.append(Presence.of(plan, gone))
        if self.are_together:
            found[0] = _copy(found[0])
            add_bundles(found, presences)
        return found


def _copy(traffic: Traffic) -> Traffic:
    return {
        step: replace(each, bytes_up=dict(each.bytes_up), bytes_down=dict(each.bytes_down))
        for step, each in traffic.items()
    }


def _parties(model: StreamedModel, method: Method, payload: Payload, counts: Counts, windows: Windows) -> Parties:
    baselines = counts.baselines()
    synthetic = None
    if method.is_surveyed and method.privacy is not None:
        if counts.public is None or counts.public < FEWEST_PUBLIC:
            synthetic_public(baselines.public, method, vocabulary_size=model.vocabulary_size)  # refuses
        synthetic = baselines.public
    return Parties(
        windows,
        baselines,
        method.schedule,
        yardstick=None if payload.submits_decision else yardstick_windows(LENGTH, model.vocabulary_size),
        synthetic=synthetic,
        by_window=method.is_surveyed,
    )


def _plan(vectors: tuple[VectorSpec, ...], thresholds: Thresholds, clients: int, number: int) -> SessionPlan:
    return SessionPlan(
        manifest_hash=bytes(32),
        session_number=number,
        roster=_stand_in_roster(clients),
        vectors=vectors,
        recovery_threshold=thresholds.recovery_threshold,
        minimum_survivors=thresholds.minimum_survivors,
        assumed_colluders=thresholds.assumed_colluders,
        neighbours=thresholds.neighbours,
        beacon=thresholds.beacon,
    )


@lru_cache(maxsize=2)
def _stand_in_roster(clients: int) -> Roster:
    """Give a roster of the right size, of keys that nobody holds."""
    return Roster(tuple(hashlib.sha256(f"stand-in {index}".encode()).digest() for index in range(clients)))


def _shape(plan: SessionPlan) -> tuple[tuple[int, int, bool, int], ...]:
    """Give what of a plan decides its bytes, within one run."""
    return tuple((spec.length, spec.bound, spec.signed, spec.headroom) for spec in plan.vectors)
