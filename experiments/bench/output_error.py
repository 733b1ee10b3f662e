"""By how much a prune mask moves what the layers of the unpruned model put out: far less noisy than perplexity.

    error of a matrix = |X (W - W masked)| / |X W|     (Frobenius norms over all tokens of the windows)

X are the inputs in the unpruned model. Only their inner products are kept, so that one pass serves every mask, and any
other weights that a matrix could have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fedprllm_secure.calibration import Stream, advance
from fedprllm_secure.hidden_states import HiddenStates
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel


class OutputError:
    """Inner products of the inputs of every matrix.

    Attributes:
        weights: of the unpruned model, float32 (out, in), by matrix name.
    """

    def __init__(self, model: StreamedModel, ids: Tensor) -> None:
        """Pass windows (windows, tokens) through the unpruned model."""
        shape = (ids.shape[1], model.hidden_size)
        states = HiddenStates(len(ids), shape, model.dtype, memory_limit_bytes=4 << 30)
        self.weights: dict[str, Tensor] = {}
        self._products: dict[str, Tensor] = {}
        self._sizes: dict[str, float] = {}
        with model.outer():
            for row in range(len(ids)):
                states.write(row, model.embed(ids[row : row + 1]))
        for index in range(model.num_blocks):
            with model.block(index) as block:
                self._watch(model, index, block, states, len(ids))

    def _watch(self, model: StreamedModel, index: int, block: nn.Module, states: HiddenStates, windows: int) -> None:
        handles = []
        matrices = prunable_matrices(model, index)
        for matrix in matrices:
            size = matrix.shape[1]
            self._products[matrix.name] = torch.zeros(size, size)
            handles.append(block.get_submodule(matrix.stream).register_forward_pre_hook(self._hook(matrix.name)))
        advance(model, index, states, Stream("evaluation", 0, windows), batch_windows=1)
        for handle in handles:
            handle.remove()
        for matrix in matrices:
            weight = matrix.view(block.get_parameter(matrix.parameter)).detach().float().clone()  # (out, in)
            self.weights[matrix.name] = weight
            self._sizes[matrix.name] = self.size(matrix.name, weight)

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            inputs = args[0].reshape(-1, args[0].shape[-1]).float()  # (tokens, in)
            self._products[name] += inputs.T @ inputs

        return add

    def energy(self, name: str) -> Tensor:
        """Give the squared norm of each input of a matrix, (in,)."""
        return self._products[name].diagonal()

    def size(self, name: str, weight: Tensor) -> float:
        """Give |X W| of a matrix for weights (out, in), its own or others."""
        return max(0.0, float(((weight @ self._products[name]) * weight).sum())) ** 0.5

    def relative(self, name: str, weight: Tensor) -> float:
        """Give |X W| of a matrix for weights (out, in) in units of what the unpruned one puts out."""
        return self.size(name, weight) / self._sizes[name]

    def __call__(self, masks: Mapping[str, Tensor]) -> float:
        """Give the mean error over matrices for prune masks, bool (out, in) by matrix name."""
        errors = [self.relative(name, weight * masks[name]) for name, weight in self.weights.items()]
        return sum(errors) / len(errors)
