"""Votes: a client shares its prune masks, one 0/1 entry a weight (FedPrLLM, arXiv 2505.13547, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.pruners.pruned import Pruned
from protocols import VectorSpec


class Votes:
    """One vote for every weight a client would remove; the most-voted weights go."""

    def specs(self, matrices: Sequence[PrunableMatrix]) -> tuple[VectorSpec, ...]:
        """One vector a matrix, as long as it has weights, entries 0 or 1."""
        return tuple(VectorSpec(name=matrix.name, length=matrix.numel, bound=1) for matrix in matrices)

    def vector(self, matrix: PrunableMatrix, pruned: Pruned) -> Tensor:
        """Flatten the prune mask row by row, uint8."""
        return pruned.prune_mask.contiguous().view(torch.uint8).view(-1)

    def removal_keys(self, matrix: PrunableMatrix, total: NDArray[Any]) -> Tensor:
        """Negate the totals: the most votes go first."""
        return torch.from_numpy(np.negative(total)).view(matrix.shape)
