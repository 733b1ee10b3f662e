"""The pruned model at its smaller size: heads and neurons that were removed are not stored as zeros but left out.

The model computes what the full-size one with its prune masks computes, and loads with
``AutoModelForCausalLM.from_pretrained`` without code of its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedprllm_secure.artifacts import SIDE_FILES
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.checkpoint import INDEX, Checkpoint, TensorWriter
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.models.units import Kind, UnitKind, unit_kinds
from fedprllm_secure.saved_folder import whole_folder
from fedprllm_secure.smaller_config import Shape, smaller_config
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.variants import MaskSource

# Says which units of a kind go, bool (units,).
Removed = Callable[[int, UnitKind], Tensor]


@dataclass(frozen=True, slots=True)
class Cut:
    """What is left of a stored tensor.

    Attributes:
        axis: the dimension that shrinks.
        kept: int64, the places along it that stay, ascending.
    """

    axis: int
    kept: Tensor

    def shape(self, shape: Shape) -> Shape:
        """Give the shape of what is left of a tensor of this shape."""
        return (*shape[: self.axis], len(self.kept), *shape[self.axis + 1 :])


def check_smaller_model(model: StreamedModel, sparsity: Sparsity) -> str:
    """Make sure, before a run, that the model can be saved at the size that this sparsity leaves.

    Returns:
        the model type it will have; ``mistral`` for some sizes of LLaMA (see :mod:`fedprllm_secure.smaller_config`).

    Raises:
        InputError: its units cannot be told apart, or transformers would not load the smaller model.
    """
    _, config = _plan(model, lambda _, kind: torch.arange(kind.count) < sparsity.count(kind.count))
    return str(config["model_type"])


def save_smaller_model(model: StreamedModel, prune_mask: MaskSource, folder: Path, *, card: str) -> None:
    """Write the pruned model without the units that prune masks remove; the folder appears when it is whole.

    Args:
        model: the full model.
        prune_mask: gives the prune mask (out, in) of a matrix of a block.
        folder: where to; what is there is replaced.
        card: the model card.

    Raises:
        InputError: prune masks remove something else than whole units or not the same number in every block, or
            transformers would not load the smaller model.
    """

    def removed(index: int, kind: UnitKind) -> Tensor:
        return kind.removed({m.matrix.name: prune_mask(index, m.matrix).cpu() for m in kind.members})

    cuts, config = _plan(model, removed)
    with whole_folder(folder) as partial:
        for pattern in SIDE_FILES:
            for source in model.checkpoint.folder.glob(pattern):
                shutil.copyfile(source, partial / source.name)
        (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (partial / "README.md").write_text(card)
        _write_weights(model.checkpoint, partial, cuts)


def _plan(model: StreamedModel, removed: Removed) -> tuple[dict[str, Cut], dict[str, Any]]:
    """Find what is left of every tensor that shrinks, by its name on disk, and the configuration that fits."""
    cuts: dict[str, Cut] = {}
    counts: dict[Kind, int] = {}
    for index in range(model.num_blocks):
        for kind in unit_kinds(model, index):
            gone = removed(index, kind)
            count = int(gone.sum())
            if counts.setdefault(kind.kind, count) != count:
                raise InputError(
                    f"{count} {kind.kind} of block {index} are removed and {counts[kind.kind]} of block 0; a smaller "
                    "model must have as many in every block"
                )
            cuts |= _cuts(model, kind, gone)
    shapes = {model.memory_names[name]: cut.shape(model.checkpoint.tensors[name].shape) for name, cut in cuts.items()}
    return cuts, smaller_config(model, unit_kinds(model, 0), removed=counts, shapes=shapes)


def _cuts(model: StreamedModel, kind: UnitKind, removed: Tensor) -> dict[str, Cut]:
    """List what is left of a kind's matrices, and of the biases of those that lose outputs."""
    on_disk = {memory: disk for disk, memory in model.memory_names.items()}
    found = {}
    for member in kind.members:
        matrix = member.matrix
        kept = (~removed).repeat_interleave(member.width).nonzero()[:, 0]
        found[matrix.tensor_name] = Cut(member.stored_axis, kept)
        bias = on_disk.get(f"{kind.block_name}.{matrix.stream}.bias")
        if member.axis == 0 and bias is not None:
            found[bias] = Cut(0, kept)
    return found


def _write_weights(checkpoint: Checkpoint, out: Path, cuts: Mapping[str, Cut]) -> None:
    """Copy every weight file, tensor by tensor, and what shrinks without what is removed."""
    num_bytes = num_parameters = 0
    for file in checkpoint.files:
        layout = {
            name: (cuts[name].shape(stored.shape) if name in cuts else stored.shape, stored.dtype)
            for name, stored in checkpoint.tensors.items()
            if stored.file == file
        }
        with TensorWriter(out / file.name, layout, metadata={"format": "pt"}) as writer:
            for name in layout:
                tensor = checkpoint.read([name])[name]
                if name in cuts:
                    tensor = tensor.index_select(cuts[name].axis, cuts[name].kept)
                num_bytes, num_parameters = num_bytes + tensor.nbytes, num_parameters + tensor.numel()
                writer.write(name, tensor)
    _update_index(out / INDEX, {"total_size": num_bytes, "total_parameters": num_parameters})


def _update_index(file: Path, totals: Mapping[str, int]) -> None:
    """Correct the totals that the index of a sharded checkpoint states, those that it states."""
    if not file.exists():
        return
    index = json.loads(file.read_text())
    stated = index.get("metadata", {})
    stated |= {name: total for name, total in totals.items() if name in stated}
    file.write_text(json.dumps(index, indent=2) + "\n")
