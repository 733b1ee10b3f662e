"""An audit of shared statistics: one session for all blocks, exact or clipped and noisy; one vector a row.

Victims' vectors go through the real protocol and noise, and what the server sees is computed from the bytes it
received, as in the audit of votes. The attacker makes its own sums of contributions, with noise of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.evidence import Kind, StatisticsSight
from experiments.audit.game import Audit, Game, Scored
from experiments.audit.held import Held, SessionHolder
from experiments.audit.jobs import Job
from experiments.audit.matrix import Configuration, What, cells_of
from experiments.audit.run import Progress
from experiments.audit.scoring import AttackScores
from experiments.audit.statistics import WindowStatistics
from experiments.audit.worlds import Worlds
from experiments.audit.worlds_rows import windows_of
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.payloads import PartyView, Statistics
from fedprllm_secure.privacy.adjacency import is_window_level
from fedprllm_secure.privacy.session_noise import SessionNoise, plan_noise
from fedprllm_secure.residuals.public_basis import public_basis
from fedprllm_secure.sessions import Contents
from fedprllm_secure.surveyed import NoisyResiduals, without_weights
from fedprllm_secure.thresholds import Thresholds
from protocols import PROTOCOLS

KINDS: Mapping[What, Kind] = {
    "masks": "statistics",
    "totals": "statistics",
    "less": "statistics",
    "released": "statistics",
}
Vectors = Mapping[str, Tensor]
Shares = Callable[[NDArray[np.int64]], Vectors]


@dataclass(frozen=True, slots=True)
class Sharing:
    """What a client with some windows shares.

    Attributes:
        contents: of the session.
        vectors: of windows by number, without noise.
    """

    contents: Contents
    vectors: Shares = field(repr=False)

    def row(self, vectors: Mapping[str, Any]) -> NDArray[np.float64]:
        """Put vectors one after another, float64 (entries,)."""
        return np.concatenate([np.asarray(vectors[spec.name], np.float64) for spec in self.contents.specs])


def exact_sharing(statistics: WindowStatistics, method: Method, *, num_clients: int, per_client: int) -> Sharing:
    """Share energies as they are, in fixed point."""
    federation, model = statistics.federation, statistics.model
    bound = PROTOCOLS[method.protocol].largest_bound(num_clients)
    payload = method.make_payload(largest_bound=bound).in_model(model)
    assert isinstance(payload, Statistics)  # the method is of statistics
    parties = federation.parties
    assert parties.public is not None  # a survey always has a public party
    public = parties.streams[parties.public]
    sums = list(statistics.state.blocks())

    def view(index: int, rows: slice | Tensor) -> PartyView:
        matrices = prunable_matrices(model, index)
        return PartyView(matrices, without_weights, sums[index].sources, sums[index].of(rows))

    for index in range(model.num_blocks):
        public_view = view(index, slice(public.start, public.stop))
        payload = payload.prepared(public_view, share=per_client / (public.stop - public.start))
    first = slice(0, 1)
    specs = tuple(spec for index in range(model.num_blocks) for spec in payload.specs(view(index, first)))

    def vectors(windows: NDArray[np.int64]) -> Vectors:
        found: dict[str, Tensor] = {}
        for index in range(model.num_blocks):
            found |= payload.vectors(view(index, torch.from_numpy(windows)), None)
        return found

    return Sharing(Contents(0, specs, payload.public()), vectors)


def noisy_sharing(
    statistics: WindowStatistics, method: Method, noise: SessionNoise, *, num_clients: int, per_client: int
) -> Sharing:
    """Share clipped residuals to the public prior."""
    federation = statistics.federation
    assert method.privacy is not None  # there is noise
    payload = method.make_payload(largest_bound=PROTOCOLS[method.protocol].largest_bound(num_clients))
    payload = payload.in_model(statistics.model)
    assert isinstance(payload, Statistics)  # the method is of statistics
    rows = federation.public_rows()
    noisy = NoisyResiduals(
        statistics.model,
        federation.parties,
        statistics.state,
        payload,
        basis=public_basis(statistics.state.blocks, rows, rank=noise.release.dimension),
        rows=rows,
        noise=noise,
        num_clients=num_clients,
        per_client=per_client,
        by_window=is_window_level(method.privacy.adjacency),
        clip=method.clip,
    )
    return Sharing(noisy.contents(), lambda windows: noisy.of_windows(torch.from_numpy(windows)))


class StatisticsSessions:
    """The sessions of one configuration."""

    def __init__(self, game: Game, method: Method, *, thresholds: Thresholds, folder: Path) -> None:
        """Prepare.

        Args:
            game: its statistics were surveyed with public text where there is noise.
            method: of statistics.
            thresholds: of every session.
            folder: a fresh one, for the numbers of sessions.

        Raises:
            InputError: a target of differential privacy cannot be met.
        """
        self.method, self._windows_of_client = method, game.plan.windows_per_client
        self._clients = game.plan.clients
        self.noises: list[SessionNoise] = []
        sizes = {"num_clients": self._clients, "per_client": self._windows_of_client}
        if method.privacy is None:
            self.sharing = exact_sharing(game.statistics, method, **sizes)
        else:
            exact = [game.statistics.federation.residual_sensitivity(method.privacy.adjacency, method.rank)]
            self.noises = plan_noise(
                method.privacy,
                exact,
                protocol=method.protocol,
                thresholds=thresholds,
                num_clients=self._clients,
            )
            self.sharing = noisy_sharing(game.statistics, method, self.noises[0], **sizes)
        self._holder = SessionHolder(
            game.statistics,
            num_clients=self._clients,
            method=method,
            thresholds=thresholds,
            colluders=game.colluders,
            folder=folder,
        )

    def noise_sd(self, what: What, *, clients: int) -> float:
        """Give the standard deviation of the noise on every entry of what is seen of these clients."""
        if not self.noises:
            return 0.0
        noise = self.noises[0]
        if noise.is_distributed:
            return float(clients * noise.added) ** 0.5
        return float(noise.full) ** 0.5 if what == "released" else 0.0

    def client(self, windows: NDArray[np.int64]) -> Vectors:
        """Give what a client with these windows submits, negative numbers none; zeros without any."""
        own = windows[windows >= 0]
        if len(own):
            return self.sharing.vectors(own)
        return {spec.name: torch.zeros(spec.length, dtype=torch.int64) for spec in self.sharing.contents.specs}

    def hold(self, windows: NDArray[np.int64]) -> Held:
        """Hold a session of clients with these windows, (clients, windows)."""
        return self._holder.hold(self.sharing.contents, [self.client(own) for own in windows])


def audit_statistics(
    game: Game,
    methods: Mapping[Configuration, Method],
    *,
    thresholds: Callable[[Configuration], Thresholds],
    attacks: Sequence[str],
    progress: Progress = lambda *_: None,
) -> Audit:
    """Hold all sessions of all configurations and score; what the public sees of the pruned model is not played.

    Args:
        game: the worlds.
        methods: how each configuration prunes: statistics, with dense propagation.
        thresholds: of each configuration's sessions.
        attacks: names.
        progress: receives (phase, done, total).

    Raises:
        InputError: a configuration cannot be run by so few clients, or its privacy target cannot be met.
    """
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        sessions = {
            each.name: StatisticsSessions(game, method, thresholds=thresholds(each), folder=Path(folder) / str(number))
            for number, (each, method) in enumerate(methods.items())
        }
        cells = [
            replace(cell, job=f"{cell.job.removesuffix(f' of {each.name}')} of {each.name}")  # units may differ
            for each in methods
            for cell in cells_of(each, colluders=game.colluders)
            if cell.what != "choice"
        ]
        jobs = game.jobs(cells, sessions, KINDS)
        seen = {}
        progress("audit", 0, len(sessions) + len(jobs))
        for done, (name, each) in enumerate(sessions.items(), start=1):
            seen[name] = _seen(game, each)
            progress("audit", done, len(sessions) + len(jobs))
        scored = {}
        for done, (name, job) in enumerate(jobs.items(), start=len(sessions) + 1):
            scoring = AttackScores(game.setting(job), attacks)
            sight = _sight(game, job, sessions[job.configuration], seen[job.configuration][job.what])
            with ThreadPoolExecutor(1) as workers:
                scoring.see(sight, workers)
            scored[name] = Scored(job, scoring.scores(), scoring.refused)
            progress("audit", done, len(sessions) + len(jobs))
        return Audit(cells, scored, sessions)


def _seen(game: Game, sessions: StatisticsSessions) -> dict[What, NDArray[np.float64]]:
    """Take every world through a session; gives rows (rows, entries) by what is seen."""
    rows: dict[What, list[NDArray[np.float64]]] = {"masks": [], "totals": [], "less": [], "released": []}
    row = sessions.sharing.row
    for windows in windows_of(game.worlds.contributions, game.contributions.groups):
        held = sessions.hold(windows)
        totals = row(held.seen.totals)
        rows["totals"].append(totals)
        rows["released"].append(row(held.left))
        rows["less"].append(totals - sum(row(each) for each in held.colluding.values()))
        rows["masks"] += [row(held.vectors[client]) for client in sorted(held.vectors)]
    return {what: np.stack(found) for what, found in rows.items() if found}


def _sight(game: Game, job: Job, sessions: StatisticsSessions, observed: NDArray[np.float64]) -> StatisticsSight:
    """Give what is seen, in units of each entry's mean among the attacker's contributions."""
    contributions = game.contributions
    single = [sessions.sharing.row(sessions.client(own)) for own in contributions.groups[contributions.population]]
    population = np.stack(single)
    known = np.stack([sessions.sharing.row(sessions.client(own)) for own in contributions.known])
    unit = np.sqrt((population**2).mean(0))
    unit[unit == 0] = 1.0
    own = [_own_rows(game, job, sessions, worlds) for worlds in (game.labelled, game.reference)]
    rows = np.concatenate([observed, own[0]])
    return StatisticsSight(
        name="statistics",
        rows=rows / unit,
        reference=own[1] / unit,
        contributions=known / unit,
        population=population / unit,
    )


def _own_rows(game: Game, job: Job, sessions: StatisticsSessions, worlds: Worlds) -> NDArray[np.float64]:
    """Make the attacker's own rows: sums of what its clients would share, with noise of its own."""
    found = []
    for windows in windows_of(worlds.contributions, game.contributions.held):
        clients = [sessions.sharing.row(sessions.client(own)) for own in windows[: job.clients]]
        found.append(np.sum(clients, axis=0))
    rows = np.stack(found)
    return rows + job.noise_sd * game.generator.standard_normal(rows.shape)
