"""An audit of votes: victims' sessions and the attacker's own worlds, matrix by matrix, shown to every attack.

One population of the attacker's worlds serves every view, target and attack; no more than one block's rows of victims
and one matrix's rows of the attacker's worlds are in memory at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from attacks.evidence import NOT_IN_PLAY, Kind, Setting
from experiments.audit.jobs import Job, OwnRows, Truth
from experiments.audit.matrix import Cell, Configuration, cells_of
from experiments.audit.plan import AuditPlan, Contributions
from experiments.audit.scoring import AttackScores
from experiments.audit.statistics import WindowStatistics
from experiments.audit.victims import SeenBlock, Victims, VoteSessions
from experiments.audit.worlds import draw_worlds, operating_system_generator, without_targets
from experiments.audit.worlds_rows import MatrixRows
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.payloads.centring import AS_THEY_ARE
from fedprllm_secure.thresholds import Thresholds

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Scored:
    """A job and what every attack made of it.

    Attributes:
        job: what was seen, and the truth.
        scores: by attack, float64 (observed rows, targets).
        refused: attacks that could not be made, with the reason.
    """

    job: Job
    scores: Mapping[str, np.ndarray] = field(repr=False)
    refused: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Audit:
    """What came of an audit.

    Attributes:
        cells: every adversary of every configuration.
        scored: by job name.
        sessions: by configuration name.
    """

    cells: Sequence[Cell]
    scored: Mapping[str, Scored]
    sessions: Mapping[str, VoteSessions]


class VoteAudit:
    """Plays one game against several configurations."""

    def __init__(
        self,
        statistics: WindowStatistics,
        contributions: Contributions,
        plan: AuditPlan,
        *,
        methods: Mapping[Configuration, Method],
        thresholds: Callable[[Configuration], Thresholds],
        colluders: int,
        attacks: Sequence[str],
        progress: Progress = lambda *_: None,
    ) -> None:
        """Draw the worlds.

        Args:
            statistics: of all windows.
            contributions: who is who.
            plan: the game.
            methods: how each configuration prunes.
            thresholds: of each configuration's sessions.
            colluders: clients that help the server, where that is an adversary; the last ones of the roster.
            attacks: names.
            progress: receives (phase, done, total).
        """
        self._statistics, self._contributions, self._plan = statistics, contributions, plan
        self._methods, self._thresholds = dict(methods), thresholds
        self._colluders, self._attacks, self._progress = colluders, attacks, progress
        self._generator = np.random.Generator(np.random.PCG64([plan.seed, 1]))
        places, targets = plan.slots, contributions.targets
        victims = operating_system_generator()
        self.worlds = draw_worlds(victims, plan.runs, slots=places, targets=targets, others=contributions.companions)
        self.labelled = draw_worlds(
            self._generator, plan.labelled_runs, slots=places, targets=targets, others=contributions.population
        )
        self.reference = without_targets(
            self._generator, plan.reference_runs, slots=places, others=contributions.population
        )

    def run(self) -> Audit:
        """Hold all sessions and score."""
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            sessions = {
                configuration.name: VoteSessions(
                    self._statistics,
                    num_clients=self._plan.clients,
                    method=method,
                    thresholds=self._thresholds(configuration),
                    colluders=self._colluders,
                    folder=Path(folder) / str(number),
                )
                for number, (configuration, method) in enumerate(self._methods.items())
            }
            return self._play(sessions)

    def _play(self, sessions: Mapping[str, VoteSessions]) -> Audit:
        cells = [cell for each in self._methods for cell in cells_of(each, colluders=self._colluders)]
        jobs = self._jobs(cells, sessions)
        attacks = {name: AttackScores(self._setting(job), self._attacks) for name, job in jobs.items()}
        victims = Victims(self.worlds.contributions, self._contributions.groups, sessions=sessions)
        first = next(iter(sessions.values()))
        votes = replace(first.payload, centre=AS_THEY_ARE)
        empty_vote = max(each.empty_vote for each in sessions.values()) if self._plan.is_zero_out else 0.0
        done, total = 0, self._num_matrices()
        self._progress("audit", done, total)
        for block in self._statistics.blocks():
            seen = victims.block(block)
            for matrix in block.matrices:
                maker = MatrixRows(block, matrix, votes, self._contributions.groups, empty_vote)
                self._show(maker, seen, jobs, attacks)
                done += 1
                self._progress("audit", done, total)
        scored = {name: Scored(job, attacks[name].scores(), attacks[name].refused) for name, job in jobs.items()}
        return Audit(cells, scored, sessions)

    def _show(
        self,
        maker: MatrixRows,
        seen: Mapping[str, SeenBlock],
        jobs: Mapping[str, Job],
        attacks: Mapping[str, AttackScores],
    ) -> None:
        """Show a matrix to all attacks of all jobs."""
        counts = tuple({job.clients for job in jobs.values()})
        labelled = OwnRows.of(maker, self.labelled, counts=counts)
        reference = OwnRows.of(maker, self.reference, counts=counts)
        place = self._statistics.channels[maker.block.index, maker.block.view().source(maker.matrix)]
        alone = maker.alone(self._contributions.known)
        for name, job in jobs.items():
            attacks[name].see(
                job.sight(
                    maker,
                    seen,
                    channels=np.arange(place.start, place.stop),
                    labelled=labelled,
                    reference=reference,
                    alone=alone,
                    generator=self._generator,
                )
            )

    def _num_matrices(self) -> int:
        model = self._statistics.model
        return sum(len(prunable_matrices(model, index)) for index in range(model.num_blocks))

    def _setting(self, job: Job) -> Setting:
        """Give what the attacker knows of a job."""
        energies, groups = self._statistics.energies, self._contributions.groups
        return job.setting(
            slots_of_client=self._plan.slots.per_client,
            labelled=self.labelled,
            energies=energies[self._contributions.known].sum(1),
            population=energies[groups[self._contributions.population]].sum(1),
            targets=self._contributions.targets,
        )

    def _jobs(self, cells: Sequence[Cell], sessions: Mapping[str, VoteSessions]) -> dict[str, Job]:
        """Make one job of all cells that see the same thing."""
        runs = np.arange(len(self.worlds))
        clients, honest = self._plan.clients, self._plan.clients - self._colluders
        of_honest = np.where(self.worlds.clients_of < honest, self.worlds.coins, NOT_IN_PLAY).astype(np.int8)
        of_clients = Truth(self.worlds.client_rows()[0], np.repeat(runs, clients))
        jobs: dict[str, Job] = {}
        for cell in cells:
            own = sessions[cell.configuration.name]
            count = {"masks": 1, "less": honest}.get(cell.what, clients)
            noise_sd = own.noise_sd(cell.what, clients=count)
            kind: Kind = "choice" if cell.what == "choice" else "totals"
            if cell.what == "masks" and not noise_sd:
                kind = "masks"
            truth = {"masks": of_clients, "less": Truth(of_honest, runs)}.get(cell.what, Truth(self.worlds.coins, runs))
            job = Job(
                name=cell.job,
                what=cell.what,
                configuration=cell.configuration.name,
                kind=kind,
                clients=count,
                noise_sd=noise_sd,
                truth=truth,
            )
            jobs.setdefault(cell.job, job)
        return jobs
