"""The variants of a model that a run leaves behind, as sources of edited weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fedprllm_secure.evaluation import Variant
from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.pruners.pruned import zero_removed
from fedprllm_secure.shared_work import digest
from fedprllm_secure.work import FEDERATED, WorkFolder

MaskSource = Callable[[int, PrunableMatrix], Tensor]
KeyedVariant = tuple[Variant, Callable[[], bytes]]  # a variant, and what gives the key of its weights
DENSE_KEY = b"dense"


def masked(prune_mask: MaskSource) -> Variant:
    """Set the weights of a prune mask to zero."""

    def edit(index: int, matrix: PrunableMatrix, weight: Tensor) -> Tensor:
        return zero_removed(weight, prune_mask(index, matrix))

    return edit


def masks_key(work: WorkFolder, variant: str) -> bytes:
    """Give what decides a variant of stored prune masks."""
    return digest("masked", work.mask_digest(variant))


def scaled_key(model: StreamedModel, work: WorkFolder) -> bytes:
    """Give what decides :func:`scaled`: prune masks, totals and survivors."""
    blocks = [
        (len(work.record(index).survivors), *(work.total(index, name) for name in sorted(work.totals_layout(index))))
        for index in range(model.num_blocks)
    ]
    return digest("scaled", work.mask_digest(FEDERATED), *(part for block in blocks for part in block))


def scaled(model: StreamedModel, work: WorkFolder) -> Variant:
    """Prune, and multiply each weight that stays by (m - votes) / m, m the block's survivors.

    This is the mean of the survivors' pruned models (FedAvg). Computed in float32 and rounded to the checkpoint's
    dtype, which is what a saved model holds.
    """

    def edit(index: int, matrix: PrunableMatrix, weight: Tensor) -> Tensor:
        survivors = len(work.record(index).survivors)
        exact = torch.promote_types(weight.dtype, torch.float32)
        share = (survivors - work.totals(index, matrix).to(weight.device)).to(exact) / survivors
        kept = (weight.to(exact) * share).to(model.checkpoint.tensors[matrix.tensor_name].dtype)
        return zero_removed(kept.to(weight.dtype), work.prune_mask(index, matrix, FEDERATED))

    return edit
