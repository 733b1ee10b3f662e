"""A client role that takes the time of its own steps, as if it were alone in its process.

In a simulation all clients share a process, and pure functions of public values (checked signatures, the graph,
tables of the secret sharing) are worked out once for all of them. A deployed client works them out itself. So before
each step every cache of `protocols` is emptied, outside the time taken. Knows no protocol.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from protocols import ClientRole, Integers, PackedVector, Step

T = TypeVar("T")


class TimedClient:
    """A role whose steps are timed with cold caches.

    Attributes:
        setup_seconds: What making the role took: checking the plan and drawing the graph.
        seconds: What each step took.
    """

    def __init__(self, make: Callable[[], ClientRole]) -> None:
        """Make the role that is timed."""
        self.seconds: dict[Step, float] = {}
        self._role, self.setup_seconds = _timed(make)

    def _step(self, step: Step, work: Callable[[], T]) -> T:
        result, self.seconds[step] = _timed(work)
        return result

    def advertise(self) -> bytes:
        """As the role."""
        return self._step(Step.ADVERTISE, self._role.advertise)

    def share(self, roster_message: bytes) -> bytes:
        """As the role."""
        return self._step(Step.SHARE, lambda: self._role.share(roster_message))

    def submit(self, inbox: bytes, vectors: Mapping[str, Integers | PackedVector]) -> Iterator[bytes]:
        """As the role, but all messages are made at once."""
        return iter(self._step(Step.SUBMIT, lambda: list(self._role.submit(inbox, vectors))))

    def confirm(self, survivor_list: bytes) -> bytes:
        """As the role."""
        return self._step(Step.CONFIRM, lambda: self._role.confirm(survivor_list))

    def reveal(self, request: bytes) -> bytes:
        """As the role."""
        return self._step(Step.REVEAL, lambda: self._role.reveal(request))


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    _empty_caches()
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def _empty_caches() -> None:
    for name, module in list(sys.modules.items()):
        if name == "protocols" or name.startswith("protocols."):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
