"""A game: the victims' worlds, the attacker's own, and what there is to attack; the same for every payload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from attacks.evidence import NOT_IN_PLAY, Kind, Setting
from experiments.audit.jobs import Job, Truth
from experiments.audit.matrix import Cell, What
from experiments.audit.plan import AuditPlan, Contributions
from experiments.audit.statistics import WindowStatistics
from experiments.audit.worlds import draw_worlds, operating_system_generator, reference_worlds
from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy.session_noise import SessionNoise


class NoisySessions(Protocol):
    """The sessions of one configuration, as far as their noise goes."""

    @property
    def noises(self) -> Sequence[SessionNoise]:
        """The noise of each session; none without differential privacy."""
        ...

    def noise_sd(self, what: What, *, clients: int) -> float:
        """Give the standard deviation of the noise on something that is seen of these clients."""
        ...


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
    sessions: Mapping[str, NoisySessions]


class Game:
    """One game, with its worlds.

    Attributes:
        statistics: of all windows.
        contributions: who is who.
        plan: how large it is.
        colluders: clients that help the server, where that is an adversary; the last ones of the roster.
        worlds: the victims'; their coins come from the operating system.
        labelled: the attacker's own, with coins it knows.
        reference: the attacker's own, of its own windows alone.
        generator: of the attacker's other randomness.
    """

    def __init__(
        self, statistics: WindowStatistics, contributions: Contributions, plan: AuditPlan, *, colluders: int
    ) -> None:
        """Draw the worlds."""
        self.statistics, self.contributions, self.plan = statistics, contributions, plan
        self.colluders = colluders
        self.generator = np.random.Generator(np.random.PCG64([plan.seed, 1]))
        slots, targets, population = plan.slots, contributions.targets, contributions.population
        self.worlds = draw_worlds(
            operating_system_generator(), plan.runs, slots=slots, targets=targets, others=contributions.companions
        )
        self.labelled = draw_worlds(self.generator, plan.labelled_runs, slots=slots, targets=targets, others=population)
        self.reference = reference_worlds(
            self.generator, plan.reference_runs, slots=slots, population=population, is_zero_out=plan.is_zero_out
        )

    @cached_property
    def _known_energies(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies of candidates and of the population; the same arrays for all jobs, so that attacks share work."""
        return self.contributions.energies(self.statistics.energies)

    def setting(self, job: Job) -> Setting:
        """Give what the attacker knows of a job."""
        energies, population = self._known_energies
        return job.setting(
            slots_of_client=self.plan.slots.per_client,
            labelled=self.labelled,
            energies=energies,
            population=population,
            targets=self.contributions.targets,
        )

    def jobs(
        self, cells: Sequence[Cell], sessions: Mapping[str, NoisySessions], kinds: Mapping[What, Kind]
    ) -> dict[str, Job]:
        """Make one job of all cells that see the same thing.

        Args:
            cells: every adversary of every configuration.
            sessions: by configuration.
            kinds: of rows, by what is seen; vectors of single clients under noise count as totals of one client.

        Raises:
            InputError: so few coins are tossed that those of one half of the runs fell alike.
        """
        runs = np.arange(len(self.worlds))
        clients, honest = self.plan.clients, self.plan.clients - self.colluders
        of_honest = np.where(self.worlds.clients_of < honest, self.worlds.coins, NOT_IN_PLAY).astype(np.int8)
        truths = {
            "masks": Truth(self.worlds.client_rows()[0], np.repeat(runs, clients)),
            "less": Truth(of_honest, runs),
        }
        jobs: dict[str, Job] = {}
        for cell in cells:
            count = {"masks": 1, "less": honest}.get(cell.what, clients)
            noise_sd = sessions[cell.configuration.name].noise_sd(cell.what, clients=count)
            kind = kinds[cell.what]
            job = Job(
                name=cell.job,
                what=cell.what,
                configuration=cell.configuration.name,
                kind="totals" if kind == "masks" and noise_sd else kind,
                clients=count,
                noise_sd=noise_sd,
                truth=truths.get(cell.what, Truth(self.worlds.coins, runs)),
            )
            jobs.setdefault(cell.job, job)
        for job in jobs.values():
            self._check_coins(job)
        return jobs

    def _check_coins(self, job: Job) -> None:
        """Refuse coins of which no rate can be given: attacks are chosen on half of the runs, reported on the other."""
        coins, runs = job.truth.coins, job.truth.runs
        told = np.unique(runs[job.truth.in_play.any(1)])  # runs without a coin in play are in no half
        for half in (coins[np.isin(runs, told[0::2])], coins[np.isin(runs, told[1::2])]):
            if not ((half == 1).any() and (half == 0).any()):
                raise InputError(
                    f"--runs {self.plan.runs}: all coins that {job.name} tell of fell alike in half of the runs, so "
                    "that no rate can be given; ask for more --runs"
                )
