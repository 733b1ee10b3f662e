"""Payloads: what a client shares.

A payload turns what a party sees of a block into named integer vectors, and their totals into the prune masks of all.

It does not know which protocol carries it. To add one, write a file and name it in :data:`PAYLOADS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.payloads.party_view import Decision, PartyView
from fedprllm_secure.payloads.statistics import Statistics
from fedprllm_secure.payloads.units import Units
from fedprllm_secure.payloads.votes import Votes
from fedprllm_secure.privacy.adjacency import Adjacency
from fedprllm_secure.privacy.release import Sensitivity
from protocols import VectorSpec

if TYPE_CHECKING:
    from fedprllm_secure.method import Method

__all__ = ["PAYLOADS", "Decision", "PartyView", "Payload", "PayloadOf", "Statistics", "Units", "Votes"]


class Payload(Protocol):
    """Turns what parties see into integer vectors, and their totals into prune masks. A frozen value."""

    @property
    def submits_decision(self) -> bool:
        """Whether a client submits what it would remove, so that it has to decide that first."""
        ...

    def in_model(self, model: StreamedModel) -> Payload:
        """Give the payload for the blocks of a model.

        Raises:
            InputError: its architecture does not have what this payload shares.
        """
        ...

    def prepared(self, public: PartyView | None, *, share: float) -> Payload:
        """Give the payload fitted to a block by public text.

        Args:
            public: the view of a public party.
            share: tokens of one client for each token of the public party.
        """
        ...

    def centred(self) -> Payload:
        """Give the payload to add noise to.

        Raises:
            InputError: noise of whole vectors is not for this payload.
        """
        ...

    def sensitivity(self, view: PartyView, adjacency: Adjacency) -> Sensitivity:
        """Say how far one participant moves a block's totals.

        Raises:
            InputError: the adjacency has no meaning for this payload.
        """
        ...

    def public(self) -> dict[str, Any]:
        """List what parties must agree on beside the method, as JSON can hold it."""
        ...

    def specs(self, view: PartyView) -> tuple[VectorSpec, ...]:
        """Describe a block's vectors: name, length and bound, in the order they are submitted; needs no energies."""
        ...

    def decide(self, view: PartyView) -> Decision:
        """Let one party decide alone what it would remove."""
        ...

    def vectors(self, view: PartyView, decision: Decision | None) -> Mapping[str, Tensor]:
        """Make a client's vectors: integers (length,) within the bound, on the device they were made on."""
        ...

    def choose(self, view: PartyView, totals: Mapping[str, NDArray[Any]], *, survivors: int) -> dict[str, Tensor]:
        """Turn totals into prune masks, bool (out, in) by matrix name, True = removed.

        Args:
            view: the block, without anyone's energies.
            totals: by vector name, (length,), over all survivors.
            survivors: how many clients they are of.
        """
        ...


class PayloadOf(Protocol):
    """Makes a payload of a method's settings."""

    def of(self, method: Method, *, largest_bound: int) -> Payload:
        """Take the settings of a method; the protocol sums entries up to ``largest_bound`` exactly."""
        ...


PAYLOADS: Mapping[str, PayloadOf] = {"votes": Votes, "statistics": Statistics, "units": Units}
