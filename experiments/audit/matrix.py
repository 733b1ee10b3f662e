"""Who sees what: the adversaries of every protocol, what each sees, and whether a claim speaks about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from fedprllm_secure.privacy.target import PrivacyTarget

SERVER, COLLUDERS, KEY_HOLDER, READERS, PUBLIC = (
    "server",
    "server and colluders",
    "server and a key holder",
    "readers of the totals",
    "public observer",
)
ADVERSARIES = (SERVER, COLLUDERS, KEY_HOLDER, READERS, PUBLIC)
HOMOMORPHIC = ("ckks", "bfv")
What = Literal["masks", "totals", "less", "released", "choice"]


@dataclass(frozen=True, slots=True)
class Configuration:
    """A way to run: a protocol, with noise or without.

    Attributes:
        protocol: a name in ``PROTOCOLS``.
        privacy: the target of its noise, if there is any.
    """

    protocol: str
    privacy: PrivacyTarget | None = None

    @property
    def name(self) -> str:
        """How tables call it."""
        if self.privacy is None:
            return self.protocol
        strength = (
            f"epsilon {self.privacy.epsilon:g}"
            if self.privacy.epsilon is not None
            else f"multiplier {self.privacy.noise_multiplier:g}"
        )
        return f"{self.protocol}, {self.privacy.place} {strength}"


@dataclass(frozen=True, slots=True)
class Cell:
    """An adversary of a configuration.

    Attributes:
        configuration: how the run is.
        adversary: one of ``ADVERSARIES``.
        job: what it sees, by the name of a job; equal names are the very same thing.
        what: the same, as :class:`~experiments.audit.victims.SeenBlock` has it.
        is_claimed: whether the configuration's claim holds against this adversary.
    """

    configuration: Configuration
    adversary: str
    job: str
    what: What
    is_claimed: bool


def cells_of(configuration: Configuration, *, colluders: int) -> list[Cell]:
    """List the adversaries of a configuration and what each sees.

    A server of `plain` sees masks; colluders add nothing to that. Any client that helps opens all ciphertexts of the
    homomorphic protocols, so there a colluder is a key holder. Under central noise the server sees exact totals: the
    claim is about readers of what leaves it. The prune mask is made of what leaves, so a claim covers it.
    """
    privacy, protocol = configuration.privacy, configuration.protocol
    place = None if privacy is None else privacy.place
    own = configuration.name
    of_own = f" of {own}" if place == "distributed" else ""
    server = Cell(configuration, SERVER, f"totals{of_own}", "totals", place == "distributed")
    if protocol == "plain":
        server = replace(server, job="masks", what="masks")
    cells = [server]
    if protocol in HOMOMORPHIC:
        cells.append(Cell(configuration, KEY_HOLDER, f"masks{of_own}", "masks", False))
    elif protocol != "plain" and colluders:
        name = f"totals less colluders{of_own}"
        cells.append(Cell(configuration, COLLUDERS, name, "less", place == "distributed"))
    of_own = "" if place is None else f" of {own}"
    if place == "central":
        cells.append(Cell(configuration, READERS, f"released totals{of_own}", "released", True))
    cells.append(Cell(configuration, PUBLIC, f"prune mask{of_own}", "choice", place is not None))
    return cells
