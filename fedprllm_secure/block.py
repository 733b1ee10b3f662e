"""A decoder block while it is on the device, and what a party or the server sees of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from fedprllm_secure.calibration import InputEnergy
from fedprllm_secure.editing import EditableBlock
from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.payloads import PartyView


@dataclass(frozen=True, slots=True)
class Block:
    """A block on the device.

    Attributes:
        index: its number.
        matrices: its prunable matrices.
        editable: its weights.
    """

    index: int
    matrices: Sequence[PrunableMatrix]
    editable: EditableBlock

    def view(self, sums: InputEnergy | None = None, energies: Mapping[str, Tensor | None] | None = None) -> PartyView:
        """Give a party's view of it; without energies the server's."""
        sources = {} if sums is None else sums.sources
        return PartyView(self.matrices, self.editable.weight, sources, energies or {})
