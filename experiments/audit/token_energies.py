"""What one token sends into block 0, whatever surrounds it; for models in which that is a function of the token alone.

With embeddings that know no position (rotary or ALiBi attention) the input of block 0's first matrices is the norm of a
token's embedding: the energies of a text are then its histogram of tokens times the energies of each token. Learned
positions (GPT-2, OPT) are added to the embedding before the norm, and there is no such table.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedprllm_secure.errors import InputError
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel

LONGEST_WINDOW = 1024
TOLERANCE = 1e-3


def token_energies(model: StreamedModel) -> np.ndarray:
    """Pass every token through the embedding and block 0's input norm, by the model's own modules.

    Each token is seen twice, at two positions and after two different tokens; what enters block 0's first matrices must
    be the same.

    Args:
        model: an open model; its block 0 is loaded here.

    Returns:
        float64 (vocabulary, channels): the squared input of each channel of the matrices that block 0 runs first (q, k
        and v), the norm's own epsilon included.

    Raises:
        InputError: the input depends on a token's position or on the tokens before it.
    """
    length = min(LONGEST_WINDOW, model.context_length or LONGEST_WINDOW)
    length -= length % 2  # in a window of even length, no token keeps its place when the order is reversed
    with model.outer(), model.block(0):
        forwards = _energies(model, torch.arange(model.vocabulary_size), length)
        backwards = _energies(model, torch.arange(model.vocabulary_size).flip(0), length).flip(0)
    difference, size = float((forwards - backwards).abs().max()), float(forwards.mean())
    if not difference <= TOLERANCE * size:
        raise InputError(
            f"a model of type {model.config.model_type!r} sends a token into block 0 differently at different places "
            f"(energies differ by {difference:.2g}, their mean is {size:.2g}), because it adds positions to embeddings "
            "or mixes tokens there; histograms of tokens can be read from energies only where neither happens, as in "
            "LLaMA-like models"
        )
    return forwards.numpy()


def _energies(model: StreamedModel, tokens: Tensor, length: int) -> Tensor:
    """Give float64 (tokens, channels) of tokens passed in this order, in windows of one length."""
    missing = -len(tokens) % length
    windows = torch.cat([tokens, tokens[:1].expand(missing)]).reshape(-1, 1, length)
    found = torch.cat([_first_input(model, model.embed(window)) for window in windows])
    return found[: len(tokens)].cpu().double().square()


def _first_input(model: StreamedModel, hidden: Tensor) -> Tensor:
    """Give what enters the first matrix that block 0 runs, (tokens, channels), for a window (1, tokens, hidden)."""
    seen: list[Tensor] = []

    def stop(_: nn.Module, args: tuple[Any, ...]) -> None:
        seen.append(args[0])
        raise _Seen

    block = model.block_module(0)
    with ExitStack() as stack, suppress(_Seen):
        for stream in {matrix.stream for matrix in prunable_matrices(model, 0) if not matrix.region}:
            stack.callback(block.get_submodule(stream).register_forward_pre_hook(stop).remove)
        model.forward(0, hidden)
    return seen[0].reshape(-1, seen[0].shape[-1])


class _Seen(Exception):
    """The first input has been seen."""
