"""What all parties of a session agree on before it starts, and the five steps they walk.

A *session* is one reveal: one survivor set for all its vectors. Every value here is public, frozen and checked when
made. Which recovery thresholds make sense depends on the protocol, so each protocol checks that itself.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from dataclasses import dataclass, field

import numpy as np

from protocols.roster import Roster

DIGEST_BYTES = 32
LARGEST_INT32 = 2**31 - 1
LARGEST_INT64 = 2**63 - 1


class Step(enum.IntEnum):
    """The steps of a session, after Bonawitz et al. 2017 (Figure 4), in order.

    A message from the server belongs to the step that its receiver does next: the roster message to `SHARE`, the inbox
    to `SUBMIT`, the survivor list to `CONFIRM`, the reveal request to `REVEAL`.
    """

    ADVERTISE = 1
    SHARE = 2
    SUBMIT = 3
    CONFIRM = 4
    REVEAL = 5


@dataclass(frozen=True, slots=True)
class VectorSpec:
    """A named integer vector.

    Attributes:
        name: Unique within a session, not empty.
        length: Number of entries, at least 1.
        bound: Each client's entries are integers in [0, bound]; 1 for votes.
        signed: Whether they are in [-bound, bound] instead.
        headroom: How far noise, which has no bound, may take a total past clients * bound, in either direction. If not
            0, the entries are signed and clients add noise to them: any 64-bit integer is then a client's entry. A
            total past this moves others, or is refused; how probable that is, the maker of the noise says.
    """

    name: str
    length: int
    bound: int
    signed: bool = False
    headroom: int = 0

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: If the name is empty or too long, or length or bound is out of range.
        """
        if not 1 <= len(self.name.encode()) < 2**16:
            raise ValueError(f"name={self.name[:40]!r} must have between 1 and {2**16 - 1} bytes in UTF-8")
        if not 1 <= self.length <= LARGEST_INT64:
            raise ValueError(f"length={self.length} of {self.name!r} must be between 1 and {LARGEST_INT64}")
        if not 1 <= self.bound <= LARGEST_INT64:
            raise ValueError(f"bound={self.bound} of {self.name!r} must be between 1 and {LARGEST_INT64}")
        if not 0 <= self.headroom <= LARGEST_INT64:
            raise ValueError(f"headroom={self.headroom} of {self.name!r} must be between 0 and {LARGEST_INT64}")
        if self.headroom and not self.signed:
            raise ValueError(
                f"headroom={self.headroom} of {self.name!r} must be 0: entries without sign carry no noise"
            )

    def reach(self, summands: int) -> int:
        """Return the largest absolute value of a total over so many clients."""
        return summands * self.bound + self.headroom


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """Everything public that the parties of one session agree on.

    The manifest of a run (model, data handling, pruning, privacy: nothing this package understands) enters as its hash.
    `digest` completes that hash by the fields below, the session number among them; wherever the protocols speak of the
    manifest of a session, `digest` is what they bind. Parties whose plans differ in anything cannot complete a session.

    Attributes:
        manifest_hash: SHA-256 of the run's manifest.
        session_number: Position of the session in the run, from 0; a number is never used twice under one manifest.
        roster: The clients that may take part.
        vectors: The vectors to sum, in wire order.
        recovery_threshold: Clients needed to open the totals.
        minimum_survivors: Fewest clients whose sum may be opened.
        assumed_colluders: Clients assumed to help the server.
        neighbours: Clients that each one masks with and hands shares to; 0: all others. If not 0, `recovery_threshold`
            counts neighbours.
        beacon: 32 bytes of a public randomness beacon, published after everything else here was fixed, from which the
            graph of neighbours is drawn, so that nobody (above all not the server) chooses it. Empty without graph.
        digest: SHA-256 over all of the above.
    """

    manifest_hash: bytes
    session_number: int
    roster: Roster
    vectors: tuple[VectorSpec, ...]
    recovery_threshold: int
    minimum_survivors: int
    assumed_colluders: int = 0
    neighbours: int = 0
    beacon: bytes = field(default=b"", repr=False)
    digest: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check what holds for every protocol.

        Raises:
            ValueError: If a field is out of range, two vectors share a name, or a total could overflow 64-bit integers.
        """
        clients = len(self.roster)
        if len(self.manifest_hash) != DIGEST_BYTES:
            raise ValueError(f"manifest_hash={len(self.manifest_hash)} bytes must be {DIGEST_BYTES} bytes")
        if not 0 <= self.session_number < 2**64:
            raise ValueError(f"session_number={self.session_number} must be in [0, 2**64)")
        if not 1 <= self.minimum_survivors <= clients:
            raise ValueError(f"minimum_survivors={self.minimum_survivors} must be between 1 and {clients} clients")
        if not 1 <= self.recovery_threshold <= self.minimum_survivors:
            raise ValueError(
                f"recovery_threshold={self.recovery_threshold} must be between 1 and "
                f"minimum_survivors={self.minimum_survivors}"
            )
        if not 0 <= self.assumed_colluders < clients:
            raise ValueError(f"assumed_colluders={self.assumed_colluders} must be in [0, {clients})")
        self._check_graph()
        self._check_vectors()
        object.__setattr__(self, "digest", self._hash())

    def _check_graph(self) -> None:
        clients = len(self.roster)
        if self.neighbours == 0:
            if self.beacon:
                raise ValueError(f"beacon={len(self.beacon)} bytes must be empty without a graph of neighbours")
            return
        if not 2 <= self.neighbours < clients or self.neighbours * clients % 2:
            raise ValueError(
                f"neighbours={self.neighbours} must be 0, or between 2 and {clients - 1} with an even product with the "
                f"{clients} clients"
            )
        if len(self.beacon) != DIGEST_BYTES:
            raise ValueError(
                f"beacon={len(self.beacon)} bytes must be {DIGEST_BYTES} bytes of a public beacon: nobody may choose "
                "who is whose neighbour"
            )
        if self.recovery_threshold > self.neighbours:
            raise ValueError(
                f"recovery_threshold={self.recovery_threshold} must be at most neighbours={self.neighbours}"
            )

    def _check_vectors(self) -> None:
        if not self.vectors:
            raise ValueError("vectors=() must name at least one vector")
        names = [vector.name for vector in self.vectors]
        if len(set(names)) < len(names):
            raise ValueError(f"vectors={names} must have distinct names")
        for vector in self.vectors:
            if vector.reach(len(self.roster)) > LARGEST_INT64:
                most = max(0, LARGEST_INT64 - vector.headroom) // len(self.roster)
                raise ValueError(
                    f"bound={vector.bound} of {vector.name!r} must be at most {most}: "
                    f"the total over {len(self.roster)} clients must fit a 64-bit integer"
                )

    def _hash(self) -> bytes:
        counts = (self.recovery_threshold, self.minimum_survivors, self.assumed_colluders, self.neighbours)
        content = [b"fedprllm/v1/plan", self.manifest_hash, self.session_number.to_bytes(8, "little")]
        content += [self.roster.digest, struct.pack("<4I", *counts), self.beacon]
        content.append(struct.pack("<I", len(self.vectors)))
        for vector in self.vectors:
            name = vector.name.encode()
            shape = struct.pack("<QQ?Q", vector.length, vector.bound, vector.signed, vector.headroom)
            content.append(struct.pack("<H", len(name)) + name + shape)
        return hashlib.sha256(b"".join(content)).digest()

    def total_dtype(self, vector: VectorSpec) -> np.dtype[np.int32] | np.dtype[np.int64]:
        """Return the dtype of a vector's totals: int32 where every total fits, else int64."""
        if vector.reach(len(self.roster)) <= LARGEST_INT32:
            return np.dtype(np.int32)
        return np.dtype(np.int64)
