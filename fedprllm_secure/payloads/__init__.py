"""Payloads: what a client shares. A payload turns a client's result into named integer vectors and totals into scores.

It does not know which protocol carries it. To add one, write a file and name it in :data:`PAYLOADS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.payloads.votes import Votes
from fedprllm_secure.pruners.pruned import Pruned
from protocols import VectorSpec

__all__ = ["PAYLOADS", "Payload", "Votes"]


class Payload(Protocol):
    """Turns clients' results into integer vectors, and their totals into an order of removal."""

    def specs(self, matrices: Sequence[PrunableMatrix]) -> tuple[VectorSpec, ...]:
        """Describe a block's vectors: name, length and bound, in the order they are submitted."""
        ...

    def vector(self, matrix: PrunableMatrix, pruned: Pruned) -> Tensor:
        """Make a client's vector for one matrix: integers (length,) in [0, bound], on the device they were made on."""
        ...

    def removal_keys(self, matrix: PrunableMatrix, total: NDArray[Any]) -> Tensor:
        """Turn a total into a tensor (out, in); the lowest is removed first."""
        ...


PAYLOADS: Mapping[str, Payload] = {"votes": Votes()}
