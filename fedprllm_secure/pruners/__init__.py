"""Local pruners: how a client decides, from a weight and what flows into it, which weights to remove.

To add one, write a file with a function of the shape :class:`LocalPruner` and name it in :data:`PRUNERS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from fedprllm_secure.pruners.magnitude import magnitude
from fedprllm_secure.pruners.pruned import Pruned
from fedprllm_secure.pruners.wanda import wanda
from fedprllm_secure.sparsity import Group, Sparsity

__all__ = ["PRUNERS", "LocalPruner", "Pruned", "magnitude", "wanda"]


class LocalPruner(Protocol):
    """Decides which weights of one matrix a client would remove."""

    def __call__(self, weight: Tensor, energy: Tensor, *, sparsity: Sparsity, group: Group) -> Pruned:
        """Prune one matrix.

        Args:
            weight: (out, in), float32 or float64.
            energy: (in,), the sum over tokens of the squared input of each channel, same dtype as ``weight``.
            sparsity: how much.
            group: the weights that compete with each other.
        """
        ...


PRUNERS: Mapping[str, LocalPruner] = {"wanda": wanda, "magnitude": magnitude}
