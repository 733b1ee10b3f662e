"""What can go wrong between parties.

    ProtocolError            the session cannot go on as this party was asked to
    ├── InvalidMessage       a received message is refused; the state of the receiver is unchanged
    │   ├── RepeatedMessage  the very bytes that were received before: a resend, safe to acknowledge
    │   └── UnsafeRequest    well formed, but answering it would expose this client
    ├── RepeatedStep         a role was asked to do a step twice or out of order
    ├── TooFewSurvivors      fewer clients than the plan requires are left; the session ends without totals
    └── UnusableTotals       what clients submitted and revealed contradicts itself; the session ends without totals

Bad arguments of the local caller are plain `ValueError`. An error names the session (a prefix of its id, or of the plan
digest while there is no id), the step and the client, never key material and never vector entries.
"""

from __future__ import annotations

from protocols.session import Step


class ProtocolError(Exception):
    """A session cannot go on as asked.

    Attributes:
        session: First eight hexadecimal digits of the session id (of the plan digest before there is one), or None.
        step: The step at which it happened, or None.
        client: Roster index of the client concerned, or None.
    """

    def __init__(
        self, reason: str, *, session: bytes | None = None, step: Step | None = None, client: int | None = None
    ) -> None:
        """Compose the message.

        Args:
            reason: What is wrong, without secrets or entries.
            session: Session id or plan digest; only its first four bytes are kept.
            step: Step concerned.
            client: Roster index concerned.
        """
        self.session = None if session is None else session[:4].hex()
        self.step = step
        self.client = client
        places = [
            None if self.session is None else f"session {self.session}",
            None if step is None else step.name.lower(),
            None if client is None else f"client {client}",
        ]
        where = ", ".join(place for place in places if place is not None)
        super().__init__(f"{where}: {reason}" if where else reason)


class InvalidMessage(ProtocolError):
    """A received message is refused and has changed nothing."""


class RepeatedMessage(InvalidMessage):
    """A received message is a copy of one that was received before."""


class UnsafeRequest(InvalidMessage):
    """A client refuses a request that a lying server could use against it."""


class RepeatedStep(ProtocolError):
    """A role was asked to do a step twice or out of order."""


class TooFewSurvivors(ProtocolError):
    """Fewer clients than the plan requires are left."""


class UnusableTotals(ProtocolError):
    """What clients submitted and revealed contradicts itself, so that no totals can be trusted."""
