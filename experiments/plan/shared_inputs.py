"""Which matrices of a block take the very same input, found without weights and without text.

Statistics are shared once for each distinct input, so their number depends on it: query, key and value projections
share one. The network is run on fake tensors, which have shapes and no content.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM

from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel, find_blocks

TOKENS = 8


def shared_inputs(model: StreamedModel) -> list[Mapping[str, str]] | None:
    """Find for every block, by input stream of a matrix, the one stream that stands for all with the same input.

    Args:
        model: opened; nothing of it is loaded.

    Returns:
        A mapping a block, or None where the network does not run without content, as where tokens choose experts.
    """
    listed = [prunable_matrices(model, index) for index in range(model.num_blocks)]
    if any(matrix.region for matrices in listed for matrix in matrices):
        return None
    found: list[dict[str, str]] = [{} for _ in listed]
    with FakeTensorMode(), torch.no_grad(), ExitStack() as stack:
        network = AutoModelForCausalLM.from_config(model.config).eval()
        _, blocks = find_blocks(network)
        for sources, block, matrices in zip(found, blocks, listed, strict=True):
            watcher = _Watcher(sources)
            for matrix in matrices:
                handle = block.get_submodule(matrix.stream).register_forward_pre_hook(watcher.hook(matrix.stream))
                stack.callback(handle.remove)
        try:
            network(input_ids=torch.zeros(1, TOKENS, dtype=torch.int64), use_cache=False)
        except (NotImplementedError, RuntimeError, ValueError):
            return None
    return list(found)


class _Watcher:
    """Remembers the last input of a block's matrices, as calibration does."""

    def __init__(self, sources: dict[str, str]) -> None:
        self._sources = sources
        self._last: tuple[Tensor | None, str] = (None, "")

    def hook(self, stream: str) -> Any:
        def look(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            if args[0] is not self._last[0]:
                self._last = (args[0], stream)
            self._sources[stream] = self._last[1]

        return look
