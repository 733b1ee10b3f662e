"""What one party sees of a decoder block when it decides: public weights, and what its own windows sent into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedprllm_secure.errors import InputError
from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.pruners.pruned import Pruned


@dataclass(frozen=True, slots=True)
class PartyView:
    """One party's view of a block; the server's, and that of whoever needs no text, has no energies.

    Attributes:
        matrices: the block's prunable matrices.
        stored: gives a matrix's weights (out, in) in the dtype in which they are computed.
        sources: by input stream of a matrix, the one stream that stands for all with the very same activations.
        energies: by such a source, what entered it: float (in,), the sum over the party's tokens of each channel's
            square; None where none of its tokens got there.
    """

    matrices: Sequence[PrunableMatrix]
    stored: Callable[[PrunableMatrix], Tensor] = field(repr=False)
    sources: Mapping[str, str] = field(default_factory=dict)
    energies: Mapping[str, Tensor | None] = field(default_factory=dict, repr=False)

    def weight(self, matrix: PrunableMatrix) -> Tensor:
        """Give a matrix's weights (out, in), at least in float32; one matrix at a time needs no second copy of all."""
        weight = self.stored(matrix)
        return weight.to(torch.promote_types(weight.dtype, torch.float32))

    def source(self, matrix: PrunableMatrix) -> str:
        """Name what enters a matrix; before anything was calibrated, each has an input of its own."""
        return self.sources.get(matrix.stream, matrix.stream)

    def energy(self, matrix: PrunableMatrix) -> Tensor | None:
        """Give what entered a matrix, (in,); None for an expert that this party's tokens never reached.

        Raises:
            InputError: the matrix takes no part in the model's forward pass at all.
        """
        energy = self.energies.get(self.source(matrix))
        if energy is None and not matrix.region:
            raise InputError(
                f"{matrix.name} takes no part in the model's forward pass, so it cannot be calibrated; this "
                "architecture cannot be pruned"
            )
        return energy

    def ranking_energy(self, matrix: PrunableMatrix, weight: Tensor) -> Tensor:
        """Give the energy to rank a matrix's weights by, on the device and in the dtype of ``weight``.

        Without a single token, all inputs of an expert count alike, which is magnitude.

        Raises:
            InputError: as :meth:`energy`.
        """
        energy = self.energy(matrix)
        if energy is None:
            return torch.ones(matrix.shape[1], dtype=weight.dtype, device=weight.device)
        return energy.to(weight.device, weight.dtype)

    def unseen(self) -> int:
        """Count the expert matrices that none of this party's tokens reached."""
        return sum(self.energy(matrix) is None for matrix in self.matrices)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a party would remove from a block.

    Attributes:
        pruned: by matrix name.
        votes: the same decision as integers, by vector name; what a payload of votes submits.
    """

    pruned: Mapping[str, Pruned]
    votes: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def prune_masks(self) -> dict[str, Tensor]:
        """The prune masks by matrix name, bool (out, in)."""
        return {name: pruned.prune_mask for name, pruned in self.pruned.items()}
