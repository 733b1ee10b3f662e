"""In which order clients and server act, and what flows from one block to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fedprllm_secure.errors import InputError

Rounds = Literal["one-shot", "iterative"]
Propagation = Literal["local", "global", "dense"]
ROUNDS: tuple[Rounds, ...] = get_args(Rounds)
PROPAGATIONS: tuple[Propagation, ...] = get_args(Propagation)
LEGAL: dict[Rounds, tuple[Propagation, ...]] = {"one-shot": ("local", "dense"), "iterative": ("global",)}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule and its propagation.

    Attributes:
        rounds: ``one-shot`` (clients wait for no result) or ``iterative`` (the server's result of a block comes back
            before the next).
        propagate: what enters the next block: the output of each client's own pruned block (``local``, the paper's
            one-shot), of the server's pruned block (``global``, the paper's iterative), or of the unpruned block
            (``dense``: one forward pass, statistics add up exactly over windows).
    """

    rounds: Rounds = "one-shot"
    propagate: Propagation = "local"

    def __post_init__(self) -> None:
        """Check that the two go together.

        Raises:
            InputError: they do not.
        """
        if self.rounds not in LEGAL:
            raise InputError(f"schedule={self.rounds} must be one of {', '.join(LEGAL)}")
        if self.propagate not in LEGAL[self.rounds]:
            raise InputError(
                f"propagate={self.propagate} does not go with schedule={self.rounds}, which takes "
                f"{' or '.join(LEGAL[self.rounds])}"
            )

    @classmethod
    def of(cls, rounds: Rounds, propagate: Propagation | None) -> Schedule:
        """Take the schedule's first legal propagation where none is named."""
        return cls(rounds, propagate or LEGAL.get(rounds, ("local",))[0])
