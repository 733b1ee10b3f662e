"""The order of a client's steps: each once, one after the other."""

from __future__ import annotations

from protocols.errors import RepeatedStep
from protocols.session import SessionPlan, Step


class StepOrder:
    """Remembers which step a client has to do next.

    A refused message leaves the step open, so that a client may still be given the right one. A step that was begun,
    whose bytes may have left, is never begun again.
    """

    def __init__(self, plan: SessionPlan, client: int) -> None:
        """Start before advertise."""
        self._plan = plan
        self._client = client
        self._begun = 0
        self._finished = 0

    def require(self, step: Step) -> None:
        """Refuse a step that cannot begin now.

        Raises:
            RepeatedStep: If the step was begun before, or one before it is not finished.
        """
        if step <= self._begun:
            reason = "this step was done before"
        elif step > self._finished + 1:
            reason = "the steps before this one are not done"
        else:
            return
        raise RepeatedStep(reason, session=self._plan.digest, step=step, client=self._client)

    def begin(self, step: Step) -> None:
        """Record that bytes of this step may have left.

        Raises:
            RepeatedStep: As `require`.
        """
        self.require(step)
        self._begun = int(step)

    def finish(self, step: Step) -> None:
        """Record that the step is done, after beginning it if it was not begun.

        Raises:
            RepeatedStep: If the step was finished before, or cannot begin.
        """
        if not self._finished < step <= self._begun:
            self.begin(step)
        self._finished = int(step)
