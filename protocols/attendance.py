"""The server's book of who has done which step.

Every message of a client passes here: it must be for the step that is open, from a client that did the step before, and
the next of that client's messages. `open` only looks; `keep` records. So a protocol can check the body in between, and
whatever is refused has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from protocols.errors import RepeatedMessage, RepeatedStep, TooFewSurvivors
from protocols.session import SessionPlan, Step
from protocols.wire import Frame, Message, open_from_client


@dataclass(frozen=True, slots=True)
class Circles:
    """What a sparse graph needs besides a minimum of clients: that none of them loses too many neighbours.

    Attributes:
        circle_of: The clients that one client depends on.
        threshold: How many of them must have done the step.
        members: The clients that depend on others; None: those that did the step.
    """

    circle_of: Callable[[int], Collection[int]]
    threshold: int
    members: Collection[int] | None = None


class Attendance:
    """Messages received in each step, and which step is open."""

    def __init__(self, protocol: str, plan: SessionPlan) -> None:
        """Open the first step to every client of the roster."""
        self._protocol = protocol
        self._plan = plan
        self._context = plan.digest
        self._open_step: Step | None = Step.ADVERTISE
        self._expected: dict[Step, frozenset[int]] = {Step.ADVERTISE: frozenset(range(len(plan.roster)))}
        self._digests: dict[Step, dict[int, list[bytes]]] = {step: {} for step in Step}
        self._finished: dict[Step, set[int]] = {step: set() for step in Step}

    def frame(self, step: Step) -> Frame:
        """Return what clients' messages of a step must belong to."""
        return Frame(self._protocol, step, self._plan.digest if step is Step.ADVERTISE else self._context)

    def open(self, step: Step, data: bytes, *, parts: int = 1, largest: int) -> Message:
        """Return a received message after all checks but those of its body; record nothing.

        Args:
            step: The step the transport delivers it for.
            data: Received bytes.
            parts: Number of messages that a client sends in this step.
            largest: Most bytes that the body of one of them has.

        Raises:
            RepeatedMessage: If these very bytes were received before, even if the step is closed by now.
            InvalidMessage: If anything else is wrong with it.
        """
        frame = self.frame(step)
        if step not in self._expected:
            raise frame.refusal("the step has not begun")
        expected = self._expected[step]
        message = open_from_client(data, frame, self._plan.roster, expected=expected, largest=largest)
        self._check_part(message, parts)
        if step is not self._open_step:
            raise frame.refusal("the message came after the step was closed", client=message.sender)
        return message

    def _check_part(self, message: Message, parts: int) -> None:
        frame = message.frame
        digests = self._digests[frame.step].get(message.sender, [])
        if message.part < len(digests):
            if digests[message.part] == message.digest:
                reason = "the message was received before"
                raise RepeatedMessage(reason, session=frame.context, step=frame.step, client=message.sender)
            raise frame.refusal("the message contradicts one that was received before", client=message.sender)
        if message.part >= parts or message.part > len(digests):
            reason = f"part {message.part} is not part {len(digests)} of {parts}, the next one"
            raise frame.refusal(reason, client=message.sender)

    def digests(self, step: Step, client: int) -> tuple[bytes, ...]:
        """Return the digests of the messages kept from a client, in order of parts."""
        return tuple(self._digests[step].get(client, ()))

    def keep(self, message: Message, *, parts: int = 1) -> None:
        """Record a message that `open` returned; with the last of its parts the sender has done the step."""
        digests = self._digests[message.frame.step].setdefault(message.sender, [])
        digests.append(message.digest)
        if len(digests) == parts:
            self._finished[message.frame.step].add(message.sender)

    def present(self, step: Step) -> tuple[int, ...]:
        """Return the clients that did a closed step, ascending.

        Raises:
            RepeatedStep: If the step is still open or has not begun.
        """
        self._require_closed(step)
        return tuple(sorted(self._finished[step]))

    def _require_closed(self, step: Step) -> None:
        if not self.is_closed(step):
            raise RepeatedStep("the step is not closed yet", session=self._context, step=step)

    def close(self, step: Step, *, minimum: int, circles: Circles | None = None) -> tuple[int, ...]:
        """Close the open step and open the next one to the clients that did it.

        Args:
            step: The step to close.
            minimum: Fewest clients with which the session can go on.
            circles: Who must not lose too many of which others; None: the minimum is enough.

        Returns:
            The clients that did the step, ascending.

        Raises:
            RepeatedStep: If this step is not the open one.
            TooFewSurvivors: If fewer than `minimum` clients did it, or too few of a circle; the step stays open.
        """
        if step is not self._open_step:
            raise RepeatedStep("only the open step can be closed", session=self._context, step=step)
        done = self._finished[step]
        if len(done) < minimum:
            reason = f"{len(done)} of {len(self._plan.roster)} clients are left, {minimum} are needed"
            raise TooFewSurvivors(reason, session=self._context, step=step)
        if circles is not None:
            self._check_circles(step, circles)
        self._open_step = None if step is Step.REVEAL else Step(step + 1)
        if self._open_step is not None:
            self._expected[self._open_step] = frozenset(done)
        return tuple(sorted(done))

    def _check_circles(self, step: Step, circles: Circles) -> None:
        done = self._finished[step]
        for client in sorted(done) if circles.members is None else circles.members:
            left = sum(other in done for other in circles.circle_of(client))
            if left < circles.threshold:
                reason = f"{left} of its neighbours are left, {circles.threshold} are needed"
                raise TooFewSurvivors(reason, session=self._context, step=step, client=client)

    def is_closed(self, step: Step) -> bool:
        """Return whether a step was closed."""
        return step in self._expected and step is not self._open_step

    def begin_session(self, session: bytes) -> None:
        """Set the session id, which all messages after advertise carry."""
        self._context = session

    def require_present(self, step: Step, client: int) -> None:
        """Refuse to address a client that did not do a closed step.

        Raises:
            RepeatedStep: As `present`.
            ValueError: If the client did not do it.
        """
        self._require_closed(step)
        if client not in self._finished[step]:
            raise ValueError(f"recipient={client} must be a client that did {step.name.lower()}")
