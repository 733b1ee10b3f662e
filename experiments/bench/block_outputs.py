"""How far the hidden states of edited models go from the unpruned one's, block after block, each on its own states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fedprllm_secure.editing import EditableBlock
from fedprllm_secure.evaluation import Variant, dense
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel


@dataclass(frozen=True, slots=True)
class BlockOutput:
    """What a block of an edited model does, relative to the unpruned model's block at the same place.

    Attributes:
        added: |out - in| / |out - in| there: what the block adds to the residual stream.
        size: |out| / |out| there.
        distance: |out - out there| / |out there|.
    """

    added: float
    size: float
    distance: float


@torch.no_grad()
def block_outputs(model: StreamedModel, ids: Tensor, variants: Mapping[str, Variant]) -> dict[str, list[BlockOutput]]:
    """Pass windows through every variant, and compare after each block.

    Args:
        model: the unpruned model.
        ids: int64 (windows, tokens); the hidden states of all variants are held in memory.
        variants: by name.

    Returns:
        By variant, one a block.
    """
    with model.outer():
        entering = torch.cat([model.embed(ids[row : row + 1]) for row in range(len(ids))])
    states = {name: entering for name in variants}
    there = entering
    found: dict[str, list[BlockOutput]] = {name: [] for name in variants}
    for index in range(model.num_blocks):
        with model.block(index) as block:
            editable = EditableBlock(block, prunable_matrices(model, index))
            before, there = there, _passed(model, index, editable, there, dense)
            for name, variant in variants.items():
                out = _passed(model, index, editable, states[name], variant)
                found[name].append(
                    BlockOutput(
                        added=float((out - states[name]).norm() / (there - before).norm()),
                        size=float(out.norm() / there.norm()),
                        distance=float((out - there).norm() / there.norm()),
                    )
                )
                states[name] = out
    return found


def _passed(model: StreamedModel, index: int, editable: EditableBlock, hidden: Tensor, variant: Variant) -> Tensor:
    with editable.edited(partial(variant, index)):
        return torch.cat([model.forward(index, hidden[row : row + 1]) for row in range(len(hidden))])
