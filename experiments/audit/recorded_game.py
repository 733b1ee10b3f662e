"""The game about one finished run: its coins are to be told from what could be seen of it.

The attacker knows which slots are in question and holds both windows of every pair, and windows of its own. In its
worlds the pairs stand in the very slots of the run, under coins of its own; its windows fill the others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attacks.evidence import MatrixSight, Setting
from experiments.audit.ahead import Check
from experiments.audit.game import Audit, Scored
from experiments.audit.jobs import Job, Truth
from experiments.audit.matrix import Cell, Configuration, cells_of
from experiments.audit.plan import Contributions
from experiments.audit.recorded import RecordedRun
from experiments.audit.run import KINDS, Progress, matrix_sights, show_all
from experiments.audit.scoring import AttackScores
from experiments.audit.statistics import WindowStatistics
from experiments.audit.victims import VoteSessions
from experiments.audit.worlds import Slots, Worlds, reference_worlds
from experiments.audit.worlds_rows import MatrixRows
from fedprllm_secure.payloads.centring import AS_THEY_ARE


def pairs_and_others(run: RecordedRun, apart: Tensor, *, strangers: int) -> tuple[Tensor, Contributions]:
    """Lay windows out: both of every pair, strangers, and the attacker's population.

    Args:
        run: the run.
        apart: int64 (windows, tokens), the attacker's.
        strangers: how many of these are in no world, to compare with.

    Returns:
        int64 (windows, tokens), and who is who.
    """
    pairs = torch.tensor([slot.windows for slot in run.coins.slots]).flatten(0, 1)
    ids = torch.cat([pairs, apart])
    numbers = np.arange(len(ids))
    known = numbers[: len(pairs) + strangers]
    contributions = Contributions(
        groups=numbers[:, None],
        known=known[:, None],
        targets=numbers[: len(pairs)].reshape(-1, 2),
        population=numbers[len(known) :],
        companions=numbers[:0],
    )
    return ids, contributions


def labelled_worlds(
    generator: np.random.Generator, count: int, *, run: RecordedRun, targets: np.ndarray, population: np.ndarray
) -> Worlds:
    """Draw worlds in which every pair stands where it stands in the run, under a coin of the attacker's.

    Args:
        generator: of coins and of what fills the other slots.
        count: how many.
        run: says the slots.
        targets: int64 (coins, 2).
        population: contributions of the attacker's, at least one a slot of a world.
    """
    places = run.clients * run.per_client
    coins = generator.integers(0, 2, (count, len(targets)))
    contributions = np.stack([generator.choice(population, places, replace=False) for _ in range(count)])
    contributions[:, run.places] = targets[np.arange(len(targets)), 1 - coins]
    return Worlds(
        contributions=contributions.reshape(count, run.clients, run.per_client),
        coins=coins.astype(np.int8),
        clients_of=np.repeat(run.truth().clients_of, count, axis=0),
    )


@dataclass(frozen=True, kw_only=True)
class RecordedGame:
    """The game.

    Attributes:
        run: what is attacked.
        statistics: of all windows that the attacker holds.
        contributions: who is who.
        labelled: the attacker's worlds, with coins that it knows.
        reference: the attacker's worlds, of its own windows alone.
        generator: of the attacker's other randomness.
    """

    run: RecordedRun
    statistics: WindowStatistics = field(repr=False)
    contributions: Contributions = field(repr=False)
    labelled: Worlds = field(repr=False)
    reference: Worlds = field(repr=False)
    generator: np.random.Generator = field(repr=False)

    @classmethod
    def drawn(
        cls,
        run: RecordedRun,
        statistics: WindowStatistics,
        contributions: Contributions,
        *,
        labelled: int,
        reference: int,
        generator: np.random.Generator,
    ) -> RecordedGame:
        """Draw the attacker's worlds, so many of either."""
        population = contributions.population
        slots = Slots(clients=run.clients, per_client=run.per_client, in_play=len(run.coins.slots))
        return cls(
            run=run,
            statistics=statistics,
            contributions=contributions,
            labelled=labelled_worlds(
                generator, labelled, run=run, targets=contributions.targets, population=population
            ),
            reference=reference_worlds(generator, reference, slots=slots, population=population, is_zero_out=False),
            generator=generator,
        )

    @property
    def configuration(self) -> Configuration:
        """The run's protocol and noise."""
        return Configuration(self.run.config["protocol"], self.run.privacy())

    def cells(self) -> list[Cell]:
        """List the adversaries whose views the run left."""
        return [cell for cell in cells_of(self.configuration, colluders=1) if cell.what not in self.run.hidden()]

    def not_seen(self) -> dict[str, str]:
        """Name the adversaries whose views it did not leave, and why."""
        hidden = self.run.hidden()
        return {
            cell.adversary: hidden[cell.what]
            for cell in cells_of(self.configuration, colluders=1)
            if cell.what in hidden
        }

    def job(self, cell: Cell, sessions: VoteSessions) -> Job:
        """Make a job of what an adversary sees."""
        clients = 1 if cell.what == "masks" else self.run.clients
        noise_sd = sessions.noise_sd(cell.what, clients=clients)
        truth, kind = self.run.truth(), KINDS[cell.what]
        coins = truth.client_rows()[0] if cell.what == "masks" else truth.coins
        return Job(
            name=cell.job,
            what=cell.what,
            configuration=cell.configuration.name,
            kind="totals" if kind == "masks" and noise_sd else kind,
            clients=clients,
            noise_sd=noise_sd,
            truth=Truth(coins, np.zeros(len(coins), np.int64)),
        )

    @cached_property
    def _known_energies(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies of candidates and of the population; the same arrays for all jobs, so that attacks share work."""
        return self.contributions.energies(self.statistics.energies)

    def setting(self, job: Job) -> Setting:
        """Give what the attacker knows of a job."""
        energies, population = self._known_energies
        return job.setting(
            slots_of_client=self.run.per_client,
            labelled=self.labelled,
            energies=energies,
            population=population,
            targets=self.contributions.targets,
        )


def play(game: RecordedGame, *, attacks: Sequence[str], progress: Progress = lambda *_: None) -> Audit:
    """Show what could be seen of the run to every attack, matrix by matrix, and score.

    Args:
        game: the game.
        attacks: names.
        progress: receives (phase, done, total).

    Raises:
        InputError: the transcript or a file of the run cannot be followed, or is of another model.
    """
    run, model = game.run, game.statistics.model
    with tempfile.TemporaryDirectory() as folder:
        sessions = VoteSessions(  # none is held; they know the noise, and how vectors turn back into votes
            game.statistics,
            num_clients=run.clients,
            method=run.method(),
            thresholds=run.thresholds(),
            colluders=0,
            folder=Path(folder) / "sessions",
        )
        cells = game.cells()
        jobs = {cell.job: game.job(cell, sessions) for cell in cells}
        scorings = {name: AttackScores(game.setting(job), attacks) for name, job in jobs.items()}
        show_all(model, lambda check: _sights(game, sessions, jobs, check), scorings, progress)
        scored = {name: Scored(job, scorings[name].scores(), scorings[name].refused) for name, job in jobs.items()}
        return Audit(cells, scored, {game.configuration.name: sessions})


def _sights(
    game: RecordedGame, sessions: VoteSessions, jobs: Mapping[str, Job], check: Check
) -> Iterator[dict[str, MatrixSight]]:
    """Yield what is seen of each matrix, by job."""
    votes = replace(sessions.payload, centre=AS_THEY_ARE)
    with torch.no_grad():
        for block in game.statistics.blocks():
            seen = {game.configuration.name: game.run.seen(block, sessions)}
            for matrix in block.matrices:
                maker = MatrixRows(block, matrix, votes, game.contributions.groups)
                yield matrix_sights(game, maker, seen, jobs, check)
