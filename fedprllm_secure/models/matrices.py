"""The prunable matrices of a decoder block: the one list that pruners, payloads, selection and attacks see.

A matrix carries the name its tensor has in the saved checkpoint and a view of shape ``(out, in)`` into the parameter
that holds it in memory: ``Linear`` as it is, GPT-2's ``Conv1D`` transposed, each expert of a fused parameter on its
own. Where the two names differ (Mixtral's experts), transformers' own weight conversion is run on tensors that carry
their number instead of weights, which shows where each tensor of the checkpoint comes to lie.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.core_model_loading import WeightConverter, dot_natural_key, rename_source_key
from transformers.pytorch_utils import Conv1D

from fedprllm_secure.errors import InputError
from fedprllm_secure.models.streamed import StreamedModel

# Gates choose experts; a missing entry there changes which expert runs. They stay dense, as do embeddings and head.
ROUTER_NAMES = frozenset({"gate", "router", "shared_expert_gate", "wg"})


@dataclass(frozen=True, slots=True)
class PrunableMatrix:
    """A weight matrix of shape ``(out, in)`` within a block.

    Attributes:
        name: the checkpoint's tensor name without ``.weight``, such as ``model.layers.0.self_attn.q_proj``.
        tensor_name: the checkpoint's tensor name.
        parameter: the parameter that holds it in memory, named from the block.
        region: the part of the parameter that is this matrix; empty for all of it.
        is_transposed: the region in memory is ``(in, out)``.
        is_stored_transposed: the tensor on disk is ``(in, out)``.
        stream: names the activations that enter it; matrices with the same inputs may have streams of their own.
        shape: ``(out, in)``.
    """

    name: str
    tensor_name: str
    parameter: str
    region: tuple[int | slice, ...]
    is_transposed: bool
    is_stored_transposed: bool
    stream: str
    shape: tuple[int, int]

    @property
    def numel(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]

    def view(self, parameter: Tensor) -> Tensor:
        """View the matrix ``(out, in)`` within its parameter's tensor (or any tensor of that shape)."""
        region = parameter[self.region] if self.region else parameter
        return region.t() if self.is_transposed else region

    def to_disk(self, matrix: Tensor) -> Tensor:
        """Turn a tensor ``(out, in)`` into the orientation of the checkpoint."""
        return matrix.t() if self.is_stored_transposed else matrix


def prunable_matrices(model: StreamedModel, index: int) -> list[PrunableMatrix]:
    """List a block's prunable matrices, in the order of its parameters.

    Raises:
        InputError: the block keeps weights in a form that cannot be pruned matrix by matrix.
    """
    block_name = model.block_name(index)
    block = model.block_module(index)
    disk_by_memory: dict[str, list[str]] = {}
    for disk in model.disk_names(index):
        disk_by_memory.setdefault(model.memory_names[disk], []).append(disk)
    found: list[PrunableMatrix] = []
    for module_name, module in block.named_modules():
        if _is_router(module_name):
            continue
        if isinstance(module, nn.Conv1d):
            raise InputError(
                f"{block_name}.{module_name} is a convolution; blocks with state-space layers cannot be pruned"
            )
        if isinstance(module, nn.Linear | Conv1D):
            found += _of_module(model, block_name, module_name, module, disk_by_memory)
        else:
            found += _of_experts(model, block_name, module_name, module, disk_by_memory)
    if not found:
        raise InputError(f"{block_name} has no prunable matrix (no Linear, Conv1D or fused experts)")
    _check_complete(block_name, block, found)
    return found


def _is_router(module_name: str) -> bool:
    return not ROUTER_NAMES.isdisjoint(module_name.split("."))


def _check_complete(block_name: str, block: nn.Module, found: list[PrunableMatrix]) -> None:
    """Refuse a block with weights that nobody would prune and nobody meant to leave dense."""
    listed = {matrix.parameter for matrix in found}
    for module_name, module in block.named_modules():
        if _is_router(module_name) or isinstance(module, nn.Embedding):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            full = f"{module_name}.{name}" if module_name else name
            if parameter.ndim >= 2 and name != "bias" and full not in listed:
                raise InputError(
                    f"{block_name}.{full} ({type(module).__name__}, shape {tuple(parameter.shape)}) is no matrix of a "
                    "known form; this architecture cannot be pruned yet"
                )


def _of_module(
    model: StreamedModel, block_name: str, module_name: str, module: nn.Module, disk_by_memory: dict[str, list[str]]
) -> list[PrunableMatrix]:
    memory = f"{block_name}.{module_name}.weight"
    disk = disk_by_memory.get(memory, [])
    transposed = isinstance(module, Conv1D)
    shape = tuple(module.get_parameter("weight").shape)
    if len(disk) != 1 or model.checkpoint.tensors[disk[0]].shape != shape:
        raise InputError(
            f"{memory} is made of {len(disk)} checkpoint tensors {disk[:3]} of other shapes; re-save the model with "
            "save_pretrained so that the two agree"
        )
    return [
        PrunableMatrix(
            name=disk[0].removesuffix(".weight"),
            tensor_name=disk[0],
            parameter=f"{module_name}.weight",
            region=(),
            is_transposed=transposed,
            is_stored_transposed=transposed,
            stream=module_name,
            shape=(shape[1], shape[0]) if transposed else (shape[0], shape[1]),
        )
    ]


def _of_experts(
    model: StreamedModel, block_name: str, module_name: str, module: nn.Module, disk_by_memory: dict[str, list[str]]
) -> list[PrunableMatrix]:
    fused = [(name, p) for name, p in module.named_parameters(recurse=False) if p.ndim == 3]
    if fused and getattr(module, "is_transposed", False):
        raise InputError(
            f"{block_name}.{module_name} ({type(module).__name__}) stores its experts transposed; this layout cannot "
            "be pruned yet"
        )
    found = []
    for name, parameter in fused:
        memory = f"{block_name}.{module_name}.{name}"
        for disk, region, stored_transposed in regions(model, memory, disk_by_memory.get(memory, []), parameter):
            stored = model.checkpoint.tensors[disk].shape
            found.append(
                PrunableMatrix(
                    name=disk.removesuffix(".weight"),
                    tensor_name=disk,
                    parameter=f"{module_name}.{name}",
                    region=region,
                    is_transposed=False,
                    is_stored_transposed=stored_transposed,
                    stream=f"{module_name}.{name}[{region[0]}]",
                    shape=(stored[1], stored[0]) if stored_transposed else (stored[0], stored[1]),
                )
            )
    return found


def regions(
    model: StreamedModel, memory: str, disk_names: Iterable[str], parameter: Tensor
) -> list[tuple[str, tuple[int | slice, ...], bool]]:
    """Find where each checkpoint tensor lies within a fused parameter ``(experts, out, in)``.

    Returns:
        ``(tensor name, (expert, rows, columns), whether it is stored transposed)`` in checkpoint order.

    Raises:
        InputError: a tensor does not come to lie in one rectangle of one expert.
    """
    names = sorted(disk_names, key=dot_natural_key)
    placed = _convert_numbers(model, memory, names)
    if placed.shape != parameter.shape:
        raise InputError(
            f"{memory} has shape {tuple(parameter.shape)}, its checkpoint tensors make {tuple(placed.shape)}"
        )
    found = {}
    for expert, slab in enumerate(placed):
        # Numbers are 1, 2, ...; the first column of a tensor carries them negated, which shows its orientation.
        for number in slab.abs().unique().tolist():
            where = slab.abs() == number
            rows, columns = where.any(1).nonzero()[:, 0], where.any(0).nonzero()[:, 0]
            region = (expert, slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
            rectangle = placed[region]
            is_transposed = bool((rectangle[0] < 0).all())
            stored = model.checkpoint.tensors[names[number - 1]].shape
            expected = tuple(reversed(stored)) if is_transposed else tuple(stored)
            if number in found or not bool((rectangle.abs() == number).all()) or tuple(rectangle.shape) != expected:
                raise InputError(
                    f"{names[number - 1]} is spread over {memory} in a way that is no single matrix; this layout "
                    "cannot be pruned yet"
                )
            found[number] = (names[number - 1], region, is_transposed)
    return [found[number] for number in sorted(found)]


def _convert_numbers(model: StreamedModel, memory: str, names: list[str]) -> Tensor:
    state = model._network.state_dict()
    converters = [entry for entry in model._mapping if isinstance(entry, WeightConverter)]
    collected: Any = None
    for number, name in enumerate(names, start=1):
        numbers = torch.full(model.checkpoint.tensors[name].shape, number, dtype=torch.int16)
        numbers[..., 0] *= -1
        _, pattern = rename_source_key(name, model._renamings, converters, model._network.base_model_prefix, state)
        if pattern is None:
            return numbers if numbers.ndim == 3 else numbers[None]
        if collected is None:
            collected = copy.deepcopy(next(entry for entry in converters if pattern in entry.source_patterns))
        collected.add_tensor(memory, name, pattern, numbers)
    if collected is None:
        raise InputError(f"the checkpoint holds no tensor for {memory}")
    try:
        realised = collected.convert(memory, model=model._network, config=model.config)[memory]
    except (RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the checkpoint's tensors for {memory} ({names[0]} and {len(names) - 1} more) do not fit together "
            f"({reason}); one is missing or has another shape"
        ) from error
    return realised[0] if isinstance(realised, list) else realised
