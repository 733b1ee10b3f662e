"""Who masks with whom, and who holds whose shares.

Complete graph (`neighbours=0` in the plan): everyone with everyone; a client also holds a share of its own secrets.

Sparse graph: the Harary graph on a random order of the roster (Bell et al. 2020, section 4). The clients stand in a
circle in that order, each the neighbour of the k / 2 before and the k / 2 behind it, with odd k also of the one
opposite. The order is

    Fisher-Yates shuffle of 0, 1, ..., n - 1 by AES-256-CTR words under SHA-256("fedprllm/v1/graph" || plan digest)

where a word is 8 bytes of the key stream, little-endian, and one past the largest multiple of the number of choices is
drawn again, so that each order is as likely as any other. The plan digest holds the beacon: nobody chose it once the
roster and the rest of the plan were fixed, so nobody chose the graph. It is drawn over the whole roster; a client that
never comes is one that dropped out.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols.session import SessionPlan

LABEL = b"fedprllm/v1/graph"
WORD_BYTES = 8
_STREAM_BYTES = 2**12
_WORDS = struct.Struct(f"<{_STREAM_BYTES // WORD_BYTES}Q")


class Graph:
    """The graph of a plan. Holds no secret."""

    def __init__(self, plan: SessionPlan) -> None:
        """Draw the graph."""
        self._num_clients = len(plan.roster)
        self._degree = plan.neighbours
        self._order, self._position = _drawn(plan.digest, self._num_clients) if self._degree else ((), ())

    @property
    def is_complete(self) -> bool:
        """Whether everyone is everyone's neighbour because the plan says so."""
        return self._degree == 0

    def neighbours(self, client: int) -> tuple[int, ...]:
        """Return the clients with whom one masks, ascending."""
        if self.is_complete:
            return tuple(other for other in range(self._num_clients) if other != client)
        here, size = self._position[client], self._num_clients
        steps = [sign * step for step in range(1, self._degree // 2 + 1) for sign in (1, -1)]
        if self._degree % 2:
            steps.append(size // 2)
        return tuple(sorted(self._order[(here + step) % size] for step in steps))

    def holders(self, client: int) -> tuple[int, ...]:
        """Return the clients that hold a share of one's secrets, ascending; equally those whose shares one holds."""
        return tuple(range(self._num_clients)) if self.is_complete else self.neighbours(client)


# Every role of a simulation asks for the same graph: a pure function of public values.
@lru_cache(maxsize=8)
def _drawn(digest: bytes, num_clients: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    order = list(range(num_clients))
    words = _words(hashlib.sha256(LABEL + digest).digest())
    for last in range(num_clients - 1, 0, -1):
        chosen = _below(last + 1, words)
        order[last], order[chosen] = order[chosen], order[last]
    position = [0] * num_clients
    for place, client in enumerate(order):
        position[client] = place
    return tuple(order), tuple(position)


def _words(key: bytes) -> Iterator[int]:
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    while True:
        yield from _WORDS.unpack(stream.update(bytes(_STREAM_BYTES)))


def _below(choices: int, words: Iterator[int]) -> int:
    limit = 2**64 - 2**64 % choices
    word = next(words)
    while word >= limit:
        word = next(words)
    return word % choices
