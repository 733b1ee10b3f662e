r"""The frozen interface of every protocol: a client and a server that walk five steps.

                 client                                          server
    advertise    advertise() ------------------------------------> receive_advertisement
    share        share(...) <------------------------------------- roster_message(recipient)
                       \-----------------------------------------> receive_share
    submit       submit(...) <------------------------------------ inbox(recipient)
                       \-----------------------------------------> receive_submission, once a chunk
    confirm      confirm(...) <----------------------------------- survivor_list(recipient)
                       \-----------------------------------------> receive_confirmation
    reveal       reveal(...) <------------------------------------ reveal_request(recipient)
                       \-----------------------------------------> receive_reveal, then totals()

Roles are sans-I/O: bytes in, bytes out. A simulator and a network drive the same objects. What holds for every
protocol:

* One role object serves one session, one reveal. Every client method is called once, in this order; a second call, or
  one out of order, raises `RepeatedStep`. A message that is refused (`InvalidMessage`) has changed nothing.
* Each message is made once. A transport stores the bytes of all messages of a step (`protocols.outbox`) before the
  first one leaves, and a retry sends the stored bytes again; the server answers a copy with `RepeatedMessage`, which a
  transport acknowledges. A client that lost its role object (its session secrets are never stored) has left the
  session.
* The server closes a step when it is first asked for a message of the next one; what arrives later is refused. When too
  few clients are left it raises `TooFewSurvivors` and leaves the step open, so that a transport may wait longer or give
  up.
* A session succeeds if and only if minimum_survivors clients complete each of advertise, share and submit, and
  recovery_threshold of them complete confirm and reveal (with a sparse graph, also recovery_threshold of the neighbours
  of each that is there). A client that submitted counts, whatever becomes of it later.
* A role object is used by one thread at a time; different ones may run side by side.
* A message is in memory as a whole before a role sees it: a transport caps its size before it reads it. A submission's
  messages are little longer than 1 MiB; the others' sizes follow from the plan by the table of `protocols.wire`.

New protocols implement these classes by shape, in a file of their own; there is no base class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from protocols.packing import Integers, Layout, PackedVector
from protocols.session import SessionPlan, VectorSpec

Totals = NDArray[np.int32] | NDArray[np.int64]


class ClientRole(Protocol):
    """One client in one session."""

    def advertise(self) -> bytes:
        """Return this client's signed advertisement, with its fresh public keys."""

    def share(self, roster_message: bytes) -> bytes:
        """Check everybody's advertisements, derive the session id, and return what is sealed for each other client.

        Raises:
            InvalidMessage: If the roster message is malformed, forged, or has fewer clients than the minimum of
                survivors.
        """

    def submit(self, inbox: bytes, vectors: Mapping[str, Integers | PackedVector]) -> Iterator[bytes]:
        """Check the inbox and the vectors, then yield the signed messages that carry them.

        All checks are done before the first message is made. Messages are made as they are asked for, at most 1 MiB of
        content each; the step is done when the last one has been made.

        Args:
            inbox: Bytes from the server.
            vectors: For every name of the plan an integer or bool array (length,), or a vector already packed in the
                protocol's layout. They are read when messages are asked for, and must stay as they are until the last
                one has been made.

        Raises:
            InvalidMessage: If the inbox is malformed, lacks this client, or what it holds does not open.
            ValueError: If a vector is missing, unknown, of a wrong length, dtype or layout, or has an entry out of the
                range of its `VectorSpec`; from the iterator, if it has one by then. With headroom any 64-bit integer is
                in range, and packed words are not unpacked to look.
        """

    def confirm(self, survivor_list: bytes) -> bytes:
        """Sign the survivor list, once.

        Raises:
            InvalidMessage: If the list is malformed.
            UnsafeRequest: If the list lacks this client, names one that did not share, or is below the minimum.
        """

    def reveal(self, request: bytes) -> bytes:
        """Return this client's part of opening the totals, once.

        Raises:
            InvalidMessage: If the request is malformed.
            UnsafeRequest: If it lacks recovery_threshold valid signatures of distinct survivors on the list this client
                signed.
        """


class ServerRole(Protocol):
    """The server in one session.

    Every `receive_...` raises `InvalidMessage`, its state unchanged, for a message that is malformed, forged, late,
    early, repeated, from another session or from a client that did not do the step before. Every method with a
    `recipient` closes a step when first called; it raises `TooFewSurvivors` if too few clients did that step,
    `RepeatedStep` if the steps before are not closed, and `ValueError` if the recipient did not do it.
    """

    def receive_advertisement(self, data: bytes) -> None:
        """Take a client's advertisement."""

    def roster_message(self, recipient: int) -> bytes:
        """Return the advertisements that this client needs to see; closes advertise."""

    def receive_share(self, data: bytes) -> None:
        """Take what a client sealed for the others."""

    def inbox(self, recipient: int) -> bytes:
        """Return what the others sealed for this client; closes share."""

    def receive_submission(self, data: bytes) -> None:
        """Take one message of a client's submission; the vectors count once the last one has come."""

    def survivor_list(self, recipient: int) -> bytes:
        """Return the list of clients whose every vector arrived whole; closes submit."""

    def receive_confirmation(self, data: bytes) -> None:
        """Take a client's signature on the survivor list."""

    def reveal_request(self, recipient: int) -> bytes:
        """Return the request to open the totals, with enough signatures; closes confirm."""

    def receive_reveal(self, data: bytes) -> None:
        """Take a client's part of opening the totals."""

    def totals(self) -> dict[str, Totals]:
        """Return the sums over the survivors; closes reveal.

        Returns:
            For every name of the plan an array (length,): int32 where clients * bound fits, else int64.

        Raises:
            TooFewSurvivors: If fewer than recovery_threshold clients revealed.
            UnusableTotals: If what clients submitted and revealed contradicts itself.
            RepeatedStep: If the steps before reveal are not closed.
        """

    def survivors(self) -> tuple[int, ...]:
        """Return the roster indices in the sum, ascending.

        Raises:
            RepeatedStep: If submit is not closed.
        """


class SecureAggregation(Protocol):
    """A protocol: how the roles of a session are made. Holds no state."""

    @property
    def name(self) -> str:
        """Name on the command line and on the wire: 1 to 8 characters of a-z and 0-9."""

    def check(self, plan: SessionPlan) -> None:
        """Refuse a plan under which the protocol would not be secure or exact.

        Raises:
            ValueError: If a rule of the protocol fails, naming the field.
        """

    def claim(self, plan: SessionPlan) -> str:
        """Say in a line what a session under this plan protects against, for help texts and reports."""

    def layout(self, plan: SessionPlan, vector: VectorSpec) -> Layout:
        """Return the layout in which a client's vector is packed, for callers that pack it themselves."""

    def largest_bound(self, clients: int) -> int:
        """Return the largest bound of a vector without sign whose sum over these clients is exact; 0 if none is."""

    def client(self, plan: SessionPlan, index: int, signing_key: Ed25519PrivateKey) -> ClientRole:
        """Return the role of the client at this roster index.

        Raises:
            ValueError: As `check`, or if the key is not the one that the roster lists at this index.
        """

    def server(self, plan: SessionPlan) -> ServerRole:
        """Return the role of the server.

        Raises:
            ValueError: As `check`.
        """
