"""Puts pruned weights into the block on the device, and the original ones back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.pruners.pruned import Pruned, zero_removed

# Gives the new weights (out, in) of a matrix, or None where they stay as they are.
Edit = Callable[[PrunableMatrix, Tensor], Tensor | None]


class EditableBlock:
    """A block whose prunable matrices can be replaced for a while; one copy of its weights is kept for that."""

    def __init__(self, block: nn.Module, matrices: Sequence[PrunableMatrix]) -> None:
        """Remember the original weights."""
        self._matrices = list(matrices)
        self._parameters = {m.parameter: block.get_parameter(m.parameter) for m in matrices}
        self._originals = {name: parameter.data for name, parameter in self._parameters.items()}
        self._copies: dict[str, Tensor] = {}

    def weight(self, matrix: PrunableMatrix) -> Tensor:
        """View a matrix's original weights (out, in)."""
        return matrix.view(self._originals[matrix.parameter])

    @contextmanager
    def edited(self, edit: Edit) -> Iterator[None]:
        """Compute with edited weights for the length of a ``with``."""
        shared = {m.parameter for m in self._matrices if m.region}
        for name, original in self._originals.items():
            copy = self._copies.setdefault(name, torch.empty_like(original))
            if name in shared:  # other parts of the parameter may belong to no matrix
                copy.copy_(original)
        for matrix in self._matrices:
            weight = self.weight(matrix)
            changed = edit(matrix, weight)
            matrix.view(self._copies[matrix.parameter]).copy_(weight if changed is None else changed)
        try:
            for name, parameter in self._parameters.items():
                parameter.data = self._copies[name]
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.data = self._originals[name]


def pruned_edit(pruned: Mapping[str, Pruned]) -> Edit:
    """Apply prune masks (and a pruner's new weights, where it made any), by matrix name."""

    def edit(matrix: PrunableMatrix, weight: Tensor) -> Tensor:
        decision = pruned[matrix.name]
        return zero_removed(
            weight if decision.weight is None else decision.weight.to(weight.dtype), decision.prune_mask
        )

    return edit
