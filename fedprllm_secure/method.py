"""How clients and server prune: the public settings that every party of a run must share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fedprllm_secure.errors import InputError
from fedprllm_secure.payloads import PAYLOADS, Payload
from fedprllm_secure.privacy.target import PrivacyTarget
from fedprllm_secure.pruners import PRUNERS
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.selection import TIES, Ties
from fedprllm_secure.sparsity import GROUPS, Group, Sparsity
from protocols import PROTOCOLS


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How clients and server prune: everything public that both sides must agree on.

    Attributes:
        sparsity: how much goes.
        pruner: a name in :data:`~fedprllm_secure.pruners.PRUNERS`.
        group: weights that compete at the server; if not given, the layer's for votes, the row's for statistics.
        local_group: weights that compete at a client.
        schedule: rounds and propagation.
        ties: the server's order among equal totals.
        seed: for random ties.
        payload: a name in :data:`~fedprllm_secure.payloads.PAYLOADS`.
        protocol: a name in :data:`~protocols.PROTOCOLS`.
        privacy: the target of differential privacy, if there is one.
        rank: under it, most directions in which statistics are shared.
        clip: under it, the largest contribution to statistics, in the basis; None: what public text says.
    """

    sparsity: Sparsity
    pruner: str = "wanda"
    group: Group = ""  # type: ignore[assignment] # not given; never seen after __post_init__
    local_group: Group = "row"
    schedule: Schedule = field(default_factory=Schedule)
    ties: Ties = "magnitude"
    seed: int = 0
    payload: str = "votes"
    protocol: str = "plain"
    privacy: PrivacyTarget | None = None
    rank: int = 1000
    clip: float | None = None

    def __post_init__(self) -> None:
        """Check every name.

        Raises:
            InputError: a name is not known; the message lists those that are.
        """
        if not self.group:
            object.__setattr__(self, "group", "row" if self.payload == "statistics" else "layer")
        known: dict[str, Sequence[str]] = {
            "pruner": list(PRUNERS),
            "group": GROUPS,
            "local_group": GROUPS,
            "ties": TIES,
            "payload": list(PAYLOADS),
            "protocol": list(PROTOCOLS),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise InputError(f"{name}={getattr(self, name)} must be one of {', '.join(values)}")
        if self.rank < 1:
            raise InputError(f"rank={self.rank} must be at least 1")
        if self.clip is not None and not 1e-100 < self.clip < 1e100:
            raise InputError(f"clip={self.clip} must be above 0 and finite, and of sensible size")
        if self.payload == "statistics" and self.schedule.propagate == "local":
            raise InputError(
                "propagate=local does not go with payload=statistics, which takes dense or global: a client that "
                "shares no prune mask has no pruned block of its own"
            )

    @property
    def is_surveyed(self) -> bool:
        """Whether one session sums statistics of the unpruned model, for all blocks at once."""
        return self.payload == "statistics" and self.schedule.propagate == "dense"

    def make_payload(self, *, largest_bound: int) -> Payload:
        """Make the payload; the protocol sums entries up to ``largest_bound`` exactly."""
        return PAYLOADS[self.payload].of(self, largest_bound=largest_bound)

    def manifest(self) -> dict[str, Any]:
        """List what a session's manifest says of the method."""
        return {
            "sparsity": str(self.sparsity.fraction),
            "pattern": f"{self.sparsity.kept}:{self.sparsity.window}",
            "pruner": self.pruner,
            "group": self.group,
            "local_group": self.local_group,
            "schedule": self.schedule.rounds,
            "propagate": self.schedule.propagate,
            "ties": self.ties,
            "seed": self.seed,
            "payload": self.payload,
            "protocol": self.protocol,
            "privacy": None if self.privacy is None else self.privacy.public(),
            "rank": self.rank,
            "clip": self.clip,
        }
