"""Which clients of a session do which step, if it is known beforehand who leaves when. Knows no message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocols.session import SessionPlan, Step


@dataclass(frozen=True, slots=True)
class Presence:
    """Who does each step.

    Attributes:
        done: For each step the clients that do it, ascending; nobody does a step without the one before.
        num_clients: Size of the roster.
    """

    done: Mapping[Step, tuple[int, ...]]
    num_clients: int

    @classmethod
    def of(cls, plan: SessionPlan, leaving: Mapping[Step, frozenset[int]]) -> Presence:
        """Return the presence of a session.

        Args:
            plan: The session's plan.
            leaving: Clients that do neither this step nor any later one.

        Raises:
            ValueError: If one that leaves is not of the roster.
        """
        present = set(range(len(plan.roster)))
        gone = set[int]().union(*leaving.values())
        if not gone <= present:
            raise ValueError(f"leaving={min(gone - present)} must be an index of the roster")
        done: dict[Step, tuple[int, ...]] = {}
        for step in Step:
            present -= leaving.get(step, frozenset())
            done[step] = tuple(sorted(present))
        return cls(done, len(plan.roster))

    def asked(self, step: Step) -> tuple[int, ...]:
        """Return the clients that the server sends a message for a step: those that did the one before."""
        return () if step is Step.ADVERTISE else self.done[Step(step - 1)]

    def short_at(self, plan: SessionPlan) -> Step | None:
        """Return the first step that too few clients do for the session to go on, None if it comes to its end.

        In a sparse graph a session can end although enough clients are there: if one loses too many neighbours.
        """
        needed = dict.fromkeys(Step, plan.minimum_survivors)
        needed |= dict.fromkeys((Step.CONFIRM, Step.REVEAL), plan.recovery_threshold)
        return next((step for step in Step if len(self.done[step]) < needed[step]), None)
