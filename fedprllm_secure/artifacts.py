"""What a finished run leaves: prune masks, votes, and the pruned model, each written tensor by tensor."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from fedprllm_secure.errors import InputError
from fedprllm_secure.evaluation import Variant
from fedprllm_secure.models.checkpoint import TensorWriter, copy_edited, read_header
from fedprllm_secure.models.matrices import PrunableMatrix, prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.saved_folder import whole_folder
from fedprllm_secure.variants import masked
from fedprllm_secure.work import WorkFolder

# Everything beside the weights that loading a model and its tokenizer reads.
# Named one by one: what else lies in a user's folder is none of the saved model's business.
SIDE_FILES = (
    "config.json",
    "generation_config.json",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "*.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.jinja",
    "LICENSE*",
)


def all_matrices(model: StreamedModel) -> Iterator[tuple[int, PrunableMatrix]]:
    """List (block, matrix) for the whole model, in order."""
    for index in range(model.num_blocks):
        for matrix in prunable_matrices(model, index):
            yield index, matrix


def save_prune_masks(model: StreamedModel, work: WorkFolder, file: Path, *, metadata: Mapping[str, str]) -> None:
    """Write the global prune masks: uint8 (out, in), 1 = removed, keyed by tensor name without ``.weight``."""
    layout = {matrix.name: (matrix.shape, torch.uint8) for _, matrix in all_matrices(model)}
    with TensorWriter(file, layout, metadata=metadata) as writer:
        for index, matrix in all_matrices(model):
            writer.write(matrix.name, work.prune_mask(index, matrix).to(torch.uint8))


def save_votes(
    model: StreamedModel, work: WorkFolder, file: Path, *, metadata: Mapping[str, str], are_noisy: bool = False
) -> None:
    """Write the totals by vector name; votes on weights are (out, in).

    Noisy totals, which have no bound, are int64; others int32, or int64 where that is not enough.
    """
    shapes = {matrix.name: matrix.shape for _, matrix in all_matrices(model)}
    layouts = [work.totals_layout(index) for index in range(model.num_blocks)]
    layout = {
        name: (shapes.get(name, (length,)), torch.int64 if are_noisy else dtype)
        for found in layouts
        for name, (length, dtype) in found.items()
    }
    with TensorWriter(file, layout, metadata=metadata) as writer:
        for index, found in enumerate(layouts):
            for name in found:
                shape, dtype = layout[name]
                writer.write(name, work.total(index, name).to(dtype).view(shape))


def mask_model_sha256(file: Path) -> str | None:
    """Read the digest of the model that saved prune masks were made for; None where the file does not say."""
    with safe_open(file, framework="pt") as opened:
        return (opened.metadata() or {}).get("model_sha256")


def saved_masks(model: StreamedModel, file: Path) -> Variant:
    """Use the prune masks of a file as a variant.

    Raises:
        InputError: the file is cut short, or does not fit the model.
    """
    header = read_header(file)
    for _, matrix in all_matrices(model):
        stored = header.get(matrix.name)
        if stored is None or stored.shape != matrix.shape or stored.dtype != torch.uint8:
            raise InputError(f"{file} does not fit the model: it has no uint8 mask {matrix.name} {matrix.shape}")

    def prune_mask(index: int, matrix: PrunableMatrix) -> Tensor:
        with safe_open(file, framework="pt") as opened:
            return opened.get_tensor(matrix.name).to(torch.bool)

    return masked(prune_mask)


def save_model(model: StreamedModel, variant: Variant, folder: Path, *, card: str) -> None:
    """Write the pruned model in the checkpoint's own layout; it loads with ``AutoModelForCausalLM.from_pretrained``.

    The folder appears under its name when it is whole.
    """
    placed = {matrix.tensor_name: (index, matrix) for index, matrix in all_matrices(model)}

    def edit(name: str, tensor: Tensor) -> Tensor:
        if name not in placed:
            return tensor
        index, matrix = placed[name]
        weight = matrix.to_disk(tensor)
        changed = variant(index, matrix, weight)
        return tensor if changed is None else matrix.to_disk(changed).contiguous()

    with whole_folder(folder) as partial:
        for pattern in SIDE_FILES:
            for source in model.checkpoint.folder.glob(pattern):
                shutil.copyfile(source, partial / source.name)
        copy_edited(model.checkpoint, partial, edit)
        (partial / "README.md").write_text(card)


def count_sparsity(model: StreamedModel, work: WorkFolder, *, is_voted: bool = True) -> dict[str, Any]:
    """Count the weights removed, by matrix and in all, and, of votes on weights, the zeros that scaling would add."""
    removed, total, extra, by_matrix = 0, 0, 0, {}
    for index, matrix in all_matrices(model):
        prune_mask = work.prune_mask(index, matrix)
        count = int(prune_mask.sum())
        survivors = len(work.record(index).survivors)
        if is_voted:
            extra += int((~prune_mask & (work.totals(index, matrix) == survivors)).sum())
        by_matrix[matrix.name] = count / matrix.numel
        removed, total = removed + count, total + matrix.numel
    counts: dict[str, Any] = {
        "removed_weights": removed,
        "prunable_weights": total,
        "achieved_fraction": removed / total,
    }
    if is_voted:
        counts["unanimous_but_kept_weights"] = extra
    return counts | {"fraction_by_matrix": by_matrix}
