"""A causal language model whose weights stay on disk: one decoder block at a time is on the device.

Any Hugging Face causal LM works without per-family code. The network is built without memory (on the meta device) and
filled by transformers' own checkpoint conversion, block by block. What a block needs beside the hidden states
(position embeddings, attention arguments) is recorded by running the network with its blocks replaced by
pass-throughs; these arguments differ from block to block and with the shape of the batch. The same replacement
turns hidden states after the last block into logits, final norm and any logit scaling included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    convert_and_load_state_dict_in_model,
    rename_source_key,
)
from transformers.modeling_utils import LoadStateDictConfig
from transformers.utils import logging as transformers_logging

from fedprllm_secure.errors import InputError
from fedprllm_secure.models.checkpoint import Checkpoint, model_folder
from fedprllm_secure.models.memory import release_freed_memory

# The first positional argument of a block is its hidden states; the rest is recorded.
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class StreamedModel:
    """A model folder opened for streaming.

    Attributes:
        checkpoint: the tensors on disk.
        config: the model's configuration.
        num_blocks: number of decoder blocks.
        device: where a block is computed.
        dtype: the dtype of weights and of a block's computation.
    """

    def __init__(self, source: str | Path, *, device: torch.device, dtype: torch.dtype | None = None) -> None:
        """Open a folder or hub model; reads headers only.

        Args:
            source: model folder or hub name.
            device: where blocks are computed.
            dtype: computation dtype; None takes the checkpoint's, or float32 where the device is a CPU and the
                checkpoint is in half precision.

        Raises:
            InputError: the source is no causal language model, or its weights do not fit its configuration.
        """
        self.checkpoint = Checkpoint(model_folder(source))
        self.device = device
        try:
            self.config = AutoConfig.from_pretrained(self.checkpoint.folder)
        except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
            raise InputError(f"{source} has no readable config.json ({str(error).splitlines()[0]})") from error
        self.config._experts_implementation = "eager"  # the only one that hands each expert its own tokens
        self.dtype = dtype or _default_dtype(self.checkpoint, device)
        self._network = _build_network(self.config, self.dtype)
        self._blocks_name, self._blocks = find_blocks(self._network)
        self.num_blocks = len(self._blocks)
        mapping: list[Any] = get_model_conversion_mapping(self._network)
        self._mapping = mapping
        self._renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
        self._converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
        self.memory_names = self._find_memory_names()
        self._arguments: dict[tuple[int, int], list[Arguments]] = {}
        self._returned: Callable[[Tensor], Any] | None = None
        self._outer_depth = 0
        self._check_coverage()

    def __reduce__(self) -> tuple[Callable[..., StreamedModel], tuple[Path]]:
        """Let a copy in another process open the folder again; what it records of batches is its own."""
        return partial(type(self), device=self.device, dtype=self.dtype), (self.checkpoint.folder,)

    @property
    def context_length(self) -> int | None:
        """Longest sequence the model was made for, where its configuration says."""
        return getattr(self.config.get_text_config(), "max_position_embeddings", None)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids the model knows."""
        return int(self.config.get_text_config().vocab_size)

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states between blocks."""
        return int(self.config.get_text_config().hidden_size)

    def block_name(self, index: int) -> str:
        """Give a block's name in memory, such as ``model.layers.0``."""
        return f"{self._blocks_name}.{index}"

    def block_module(self, index: int) -> nn.Module:
        """Give a block's module; its weights are there only within :meth:`block`."""
        return self._blocks[index]

    def disk_names(self, index: int) -> list[str]:
        """List the checkpoint tensors that make up a block."""
        prefix = self.block_name(index) + "."
        return [disk for disk, memory in self.memory_names.items() if memory.startswith(prefix)]

    def block_bytes(self, index: int) -> int:
        """Give the size on disk of a block's weights."""
        return self._num_bytes(self.disk_names(index))

    @contextmanager
    def block(self, index: int) -> Iterator[nn.Module]:
        """Hold one block's weights on the device for the length of a ``with``."""
        module = self._blocks[index]
        with self._on_device(module, self.disk_names(index)):
            yield module

    @contextmanager
    def outer(self) -> Iterator[None]:
        """Hold everything but the blocks (embeddings, final norm, head) on the device; may be nested."""
        self._outer_depth += 1
        if self._outer_depth > 1:
            try:
                yield
            finally:
                self._outer_depth -= 1
            return
        prefix = self._blocks_name + "."
        names = [disk for disk, memory in self.memory_names.items() if not memory.startswith(prefix)]
        try:
            with self._on_device(self._network, names, skip=self._blocks):
                yield
        finally:
            self._outer_depth -= 1
        release_freed_memory(self._num_bytes(names))

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        """Turn token ids into the hidden states that enter block 0, and record what blocks need for this shape.

        Args:
            ids: int64 (windows, tokens).

        Returns:
            (windows, tokens, hidden) on the device.

        Raises:
            InputError: a block's arguments depend on the tokens; such models cannot be streamed.
        """
        if self._returned is None:
            self._returned = self._probe_return(ids[:1])
        returned = self._returned
        entering: list[Tensor] = []
        recorded: list[Arguments] = []

        def record(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
            if not entering:
                entering.append(hidden)
            recorded.append((args, kwargs))
            if len(recorded) == self.num_blocks:
                raise _AllRecorded  # what follows is the head, whose logits can be larger than the model
            return returned(hidden)

        with suppress(_AllRecorded), self._refusing_architecture():
            self._run(ids.to(self.device), record)
        if len(recorded) != self.num_blocks:
            raise InputError(
                f"{self.checkpoint.folder}: {len(recorded)} of {self.num_blocks} decoder blocks ran; this architecture "
                "does not pass its hidden states through one list of blocks"
            )
        shape = (ids.shape[0], ids.shape[1])
        if shape in self._arguments:
            _check_same_arguments(self._arguments[shape], recorded)
        else:
            self._arguments[shape] = recorded
        return entering[0]

    @torch.no_grad()
    def forward(self, index: int, hidden: Tensor) -> Tensor:
        """Run the block on the device: (windows, tokens, hidden) to the same shape.

        Raises:
            KeyError: :meth:`embed` has not yet seen a batch of this shape.
        """
        args, kwargs = self._arguments[hidden.shape[0], hidden.shape[1]][index]
        output = self._blocks[index](hidden, *args, **kwargs)
        return output[0] if isinstance(output, tuple | list) else output

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """Turn hidden states after the last block, (tokens, hidden), into logits (tokens, vocabulary)."""
        returned = self._returned
        assert returned is not None  # embed comes before

        def inject(_: Tensor, *args: Any, **kwargs: Any) -> Any:
            return returned(hidden[None])

        # Every step after the blocks acts on one position at a time, so a row of positions is a sequence of its own.
        ids = torch.zeros(1, hidden.shape[0], dtype=torch.int64, device=self.device)
        return self._run(ids, inject).logits[0]

    def _run(self, ids: Tensor, replacement: Callable[..., Any]) -> Any:
        with self.outer(), ExitStack() as patches:
            for block in self._blocks:
                patches.enter_context(_replaced_forward(block, replacement))
            return self._network(input_ids=ids, use_cache=False)

    @torch.no_grad()
    def _probe_return(self, ids: Tensor) -> Callable[[Tensor], Any]:
        """Run the real block 0 on one short sequence, and give what wraps hidden states as it does."""
        first = self._blocks[0]
        original = type(first).forward
        returned: list[Any] = []

        class Seen(Exception):
            pass

        def probe(*args: Any, **kwargs: Any) -> Any:
            returned.append(original(first, *args, **kwargs))
            raise Seen

        patched = _replaced_forward(first, probe)
        with self.outer(), self.block(0), patched, suppress(Seen), self._refusing_architecture():
            self._network(input_ids=ids[:, :8].to(self.device), use_cache=False)
        if isinstance(returned[0], tuple):
            return lambda hidden: (hidden,)
        if isinstance(returned[0], list):
            return lambda hidden: [hidden]
        return lambda hidden: hidden

    @contextmanager
    def _refusing_architecture(self) -> Iterator[None]:
        """Say of a network that will not run with its blocks replaced that it cannot be streamed."""
        try:
            yield
        except (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self.checkpoint.folder}: a model of type {self.config.model_type!r} does not run block by block "
                f"({type(error).__name__}: {reason}); it cannot be streamed"
            ) from error

    @contextmanager
    def _on_device(self, module: nn.Module, names: list[str], *, skip: nn.Module | None = None) -> Iterator[None]:
        skipped = set(skip.modules()) if skip is not None else set()
        owners = [owner for owner in module.modules() if owner not in skipped]
        empty = [
            (owner, name, parameter)
            for owner in owners
            for name, parameter in owner._parameters.items()
            if parameter is not None
        ]
        buffers = [
            (owner, name, buffer) for owner in owners for name, buffer in owner._buffers.items() if buffer is not None
        ]
        try:
            self._load(names)
            if module is self._network:
                # A tied pair may be stored under either of its names; the one that is missing follows the other.
                stored = set(self.memory_names.values())
                missing = {name for name in self._network.state_dict() if name not in stored}
                self._network.tie_weights(missing_keys=missing, recompute_mapping=False)
            for owner, name, buffer in buffers:
                if not buffer.is_meta:
                    owner._buffers[name] = buffer.to(self.device)
            _check_filled(owners, self.checkpoint.folder)
            yield
        finally:
            for owner, name, parameter in empty:
                owner._parameters[name] = parameter
            for owner, name, buffer in buffers:
                owner._buffers[name] = buffer

    def _load(self, names: list[str]) -> None:
        config = LoadStateDictConfig(
            device_map={"": self.device},
            dtype=self.dtype,
            dtype_plan=self._network._get_dtype_plan(self.dtype),
            weight_mapping=self._mapping,
        )
        with _LOADING, _quiet_loading():
            report, _ = convert_and_load_state_dict_in_model(self._network, self.checkpoint.read(names), config)
        if report.mismatched_keys or report.conversion_errors:
            problem = next(iter(report.mismatched_keys or report.conversion_errors))
            raise InputError(f"{self.checkpoint.folder}: {problem} does not have the shape that config.json asks for")

    def _num_bytes(self, names: list[str]) -> int:
        return sum(self.checkpoint.tensors[name].num_bytes for name in names)

    def _find_memory_names(self) -> dict[str, str]:
        """Map each tensor name on disk to its parameter in memory (fused experts: many to one)."""
        state = self._network.state_dict()
        names = {}
        for disk in self.checkpoint.tensors:
            memory, _ = rename_source_key(
                disk, self._renamings, self._converters, self._network.base_model_prefix, state
            )
            if memory not in state and disk in state:
                memory = disk
            if memory in state:
                names[disk] = memory
        return names

    def _check_coverage(self) -> None:
        covered = set(self.memory_names.values())
        prefix = self._blocks_name + "."
        missing = [
            name for name, _ in self._network.named_parameters() if name.startswith(prefix) and name not in covered
        ]
        # A converter of one checkpoint tensor into many parameters names only the first.
        split = [c for c in self._converters if len(c.target_patterns) > 1]
        missing = [
            n
            for n in missing
            if not any(re.search(p.replace("*", r"\d+"), n) for c in split for p in c.target_patterns)
        ]
        if missing:
            raise InputError(
                f"{self.checkpoint.folder} holds no tensor for {missing[0]} ({len(missing)} missing): the weights do "
                "not belong to this config.json"
            )


class _AllRecorded(Exception):
    """Every block's arguments have been seen."""


def find_blocks(network: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Find a causal LM's decoder blocks: the outermost list of as many modules as the configuration has layers.

    Raises:
        InputError: there is none.
    """
    depth = network.config.get_text_config().num_hidden_layers
    lists = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    if not lists:
        raise InputError(f"{type(network).__name__} has no list of {depth} decoder blocks; it cannot be streamed")
    return min(lists, key=lambda entry: (entry[0].count("."), entry[0]))


def _build_network(config: Any, dtype: torch.dtype) -> PreTrainedModel:
    try:
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config, dtype=dtype)
    except ValueError as error:
        raise InputError(f"model type {config.model_type!r} is no causal language model of transformers") from error
    # Buffers that no checkpoint holds (rotary frequencies, causal triangles) are recomputed for real.
    for name, buffer in list(network.named_non_persistent_buffers()):
        owner = network.get_submodule(name.rpartition(".")[0])
        owner._buffers[name.rpartition(".")[2]] = torch.empty_like(buffer, device="cpu")
    for module in network.modules():
        module._is_hf_initialized = False
    network.initialize_weights()
    return network.eval()


def _default_dtype(checkpoint: Checkpoint, device: torch.device) -> torch.dtype:
    stored = max((t for t in checkpoint.tensors.values()), key=lambda t: t.stop - t.start).dtype
    half = stored in (torch.float16, torch.bfloat16)
    return torch.float32 if half and device.type == "cpu" else stored


def _check_filled(owners: list[nn.Module], folder: Path) -> None:
    for owner in owners:
        for name, parameter in owner._parameters.items():
            if parameter is not None and parameter.is_meta:
                raise InputError(f"{folder} holds no weights for {type(owner).__name__}.{name}")


def _check_same_arguments(first: list[Arguments], second: list[Arguments]) -> None:
    checked: set[tuple[int, int]] = set()
    for index, pair in enumerate(zip(first, second, strict=True)):
        left, right = (tensor_leaves(arguments) for arguments in pair)
        for one, other in zip(left, right, strict=True):
            if one is other or (id(one), id(other)) in checked:
                continue
            checked.add((id(one), id(other)))
            if one.shape != other.shape or not torch.equal(one, other):
                raise InputError(
                    f"block {index} takes arguments that depend on the tokens themselves; a model of this family "
                    "cannot be streamed block by block"
                )


def tensor_leaves(arguments: Any) -> list[Tensor]:
    """List every tensor inside nested tuples, lists and dicts, in order."""
    if isinstance(arguments, Tensor):
        return [arguments]
    if isinstance(arguments, dict):
        arguments = list(arguments.values())
    if isinstance(arguments, tuple | list):
        return [leaf for argument in arguments for leaf in tensor_leaves(argument)]
    return []


@contextmanager
def _replaced_forward(module: nn.Module, replacement: Callable[..., Any]) -> Iterator[None]:
    module.__dict__["forward"] = replacement
    try:
        yield
    finally:
        del module.__dict__["forward"]


_LOADING = Lock()  # two blocks may be held at once, in two threads; progress bars are switched for all of them


@contextmanager
def _quiet_loading() -> Iterator[None]:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
