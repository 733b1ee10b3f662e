"""What an audit plays: the game, its size, and what the attacker knows; numbers that check themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from attacks.evidence import NOTHING
from experiments.audit.texts import AuditTexts
from experiments.audit.worlds import Slots
from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy.adjacency import Adjacency

Knowledge = Literal["exact", "near-duplicate", "same-source"]
KNOWLEDGE: tuple[Knowledge, ...] = get_args(Knowledge)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPlan:
    """The game.

    Attributes:
        adjacency: what a coin decides: which of two windows (or clients) fills a slot, or whether one does.
        knowledge: what the attacker holds of a candidate: its very text, a near-duplicate, or other text of its source.
        clients: of a run.
        windows_per_client: of each client.
        targets: coins that are asked about, over all runs.
        canaries: slots of one run that are asked about.
        runs: victims' runs.
        labelled_runs: the attacker's own runs with known coins.
        reference_runs: the attacker's own runs for rates.
        population: windows that the attacker holds beside.
        strangers: candidates in no run, to compare with.
        seed: of windows and of the attacker's own randomness; victims' coins come from the operating system.
    """

    adjacency: Adjacency
    knowledge: Knowledge
    clients: int
    windows_per_client: int
    targets: int
    canaries: int
    runs: int
    labelled_runs: int
    reference_runs: int
    population: int
    strangers: int
    seed: int

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: one is too small, or they do not go together.
        """
        smallest = {
            "clients": 2, "windows_per_client": 1, "targets": 2, "canaries": 1, "runs": 2, "labelled_runs": 8,
            "reference_runs": 8, "strangers": 2,
        }  # fmt: skip
        for name, least in smallest.items():
            if getattr(self, name) < least:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)} must be at least {least}")
        if self.canaries > self.places:
            raise InputError(
                f"--canaries {self.canaries} must be at most {self.places}, the "
                f"{'clients' if self.is_client_level else 'windows'} of a run"
            )
        if self.targets < self.canaries:
            raise InputError(f"--targets {self.targets} must be at least --canaries {self.canaries}")
        if self.population < self.clients * self.windows_per_client:
            raise InputError(
                f"--population {self.population} must be at least {self.clients * self.windows_per_client}, the "
                "windows of a run"
            )

    @property
    def is_client_level(self) -> bool:
        """Whether a coin is about all windows of a client."""
        return self.adjacency.startswith("client")

    @property
    def is_zero_out(self) -> bool:
        """Whether the other side of a coin is nothing."""
        return self.adjacency.endswith("zero-out")

    @property
    def group_size(self) -> int:
        """Windows of a contribution."""
        return self.windows_per_client if self.is_client_level else 1

    @property
    def slots(self) -> Slots:
        """The slots of a run."""
        per_client = 1 if self.is_client_level else self.windows_per_client
        return Slots(clients=self.clients, per_client=per_client, in_play=self.canaries)

    @property
    def places(self) -> int:
        """Slots of a run."""
        return self.clients * (1 if self.is_client_level else self.windows_per_client)

    @property
    def candidates(self) -> int:
        """Contributions in question."""
        return self.targets * (1 if self.is_zero_out else 2)

    @property
    def companions(self) -> int:
        """Contributions that victims' other slots draw from."""
        return 4 * (self.places - self.canaries)

    def windows_needed(self) -> dict[str, int]:
        """Count windows by what they are for, as :func:`~experiments.audit.texts.audit_texts` takes them."""
        counts = {"candidates": self.candidates, "strangers": self.strangers, "companions": self.companions}
        return {name: count * self.group_size for name, count in counts.items()} | {"population": self.population}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributions:
    """Contributions by number: candidates first, then strangers, then the population's, then the companions'.

    Attributes:
        groups: int64 (contributions, windows of each), windows by number.
        known: int64 (candidates and strangers, windows of each), as the attacker knows them.
        targets: int64 (targets, 2).
        population: numbers of the attacker's contributions.
        companions: numbers of the contributions that fill victims' other slots.
    """

    groups: np.ndarray
    known: np.ndarray
    targets: np.ndarray
    population: np.ndarray
    companions: np.ndarray

    @property
    def held(self) -> np.ndarray:
        """The windows behind every contribution as the attacker holds them: it makes its own worlds of these."""
        return np.concatenate([self.known, self.groups[len(self.known) :]])

    def energies(self, of_windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add up windows' energies (windows, channels) to those of candidates, as known, and of the population.

        Nobody may write to them: what attacks make of them is kept for others.
        """
        found = of_windows[self.known].sum(1), of_windows[self.groups[self.population]].sum(1)
        for each in found:
            each.setflags(write=False)
        return found

    @classmethod
    def of(cls, plan: AuditPlan, texts: AuditTexts) -> Contributions:
        """Lay windows out."""
        size = plan.group_size
        parts = [each.reshape(-1, size) for each in (texts.candidates, texts.strangers)]
        usable = len(texts.population) // size * size
        parts += [texts.population[:usable].reshape(-1, size), texts.companions.reshape(-1, size)]
        starts = np.cumsum([0, *(len(part) for part in parts)])
        known = {
            "exact": texts.candidates, "near-duplicate": texts.near_duplicates, "same-source": texts.same_source
        }[plan.knowledge]  # fmt: skip
        numbers = np.arange(starts[1])
        if plan.is_zero_out:
            targets = np.stack([numbers, np.full(len(numbers), NOTHING)], axis=1)
        else:
            targets = numbers.reshape(-1, 2)
        return cls(
            groups=np.concatenate(parts),
            known=np.concatenate([known.reshape(-1, size), parts[1]]),
            targets=targets,
            population=np.arange(starts[2], starts[3]),
            companions=np.arange(starts[3], starts[4]),
        )
