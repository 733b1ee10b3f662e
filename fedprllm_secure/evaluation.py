"""Perplexity of many variants of one model in a single pass over its blocks.

A variant is a source of edited weights, never a second model: each block is read once and computed once for every
variant, on that variant's own hidden states.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from fedprllm_secure.calibration import Stream, advance, row_batches
from fedprllm_secure.editing import EditableBlock
from fedprllm_secure.hidden_states import HiddenStates
from fedprllm_secure.models.matrices import PrunableMatrix, prunable_matrices
from fedprllm_secure.models.memory import release_freed_memory
from fedprllm_secure.models.streamed import StreamedModel

# Gives a matrix of block ``index`` its new weights, or None where they stay.
Variant = Callable[[int, PrunableMatrix, Tensor], Tensor | None]
LOGIT_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Cross-entropy on non-overlapping windows.

    Attributes:
        nats: summed cross-entropy.
        tokens: predicted tokens: all but the first of each window.
    """

    nats: float
    tokens: int

    @property
    def value(self) -> float:
        """Exponential of the mean cross-entropy; infinite where it overflows, NaN where it is undefined."""
        mean = self.nats / self.tokens
        return math.inf if mean > 700 else math.exp(mean)

    def bits_per_byte(self, covered_bytes: int) -> float:
        """Cross-entropy in bits per byte of the text that the predicted tokens cover."""
        return self.nats / math.log(2) / covered_bytes


def dense(index: int, matrix: PrunableMatrix, weight: Tensor) -> None:
    """Leave the model as it is."""


@torch.no_grad()
def perplexities(
    model: StreamedModel,
    ids: Tensor,
    variants: Mapping[str, Variant],
    *,
    batch_windows: int = 8,
    hidden_dtype: torch.dtype | None = None,
    hidden_memory_bytes: int = 4 << 30,
    folder: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> dict[str, Perplexity]:
    """Measure every variant's perplexity.

    Args:
        model: the unpruned model.
        ids: int64 (windows, tokens).
        variants: by name; :func:`dense` for the model itself.
        batch_windows: windows a forward pass.
        hidden_dtype: how hidden states are kept between blocks; the model's dtype if None.
        hidden_memory_bytes: past this, hidden states lie on disk.
        folder: where they lie then.
        progress: receives (phase, done, total).
    """
    rows = len(ids)
    streams = [Stream(name, number * rows, (number + 1) * rows) for number, name in enumerate(variants)]
    states = HiddenStates(
        rows * len(streams),
        (ids.shape[1], model.hidden_size),
        hidden_dtype or model.dtype,
        memory_limit_bytes=hidden_memory_bytes,
        folder=folder,
    )
    with model.outer():
        for batch in row_batches(0, rows, batch_windows):
            hidden = model.embed(ids[batch])
            for stream in streams:
                states.write(stream.start + batch.start, hidden)
    for index in range(model.num_blocks):
        progress("evaluate", index, model.num_blocks)
        _pass_block(model, index, variants.values(), streams, states, batch_windows)
        release_freed_memory(model.block_bytes(index))
    with model.outer():
        found = {stream.name: _cross_entropy(model, states, stream, ids) for stream in streams}
    progress("evaluate", model.num_blocks, model.num_blocks)
    return found


def _pass_block(
    model: StreamedModel,
    index: int,
    variants: Iterable[Variant],
    streams: Sequence[Stream],
    states: HiddenStates,
    batch_windows: int,
) -> None:
    with model.block(index) as block:
        editable = EditableBlock(block, prunable_matrices(model, index))
        for variant, stream in zip(variants, streams, strict=True):
            with editable.edited(partial(variant, index)):
                advance(model, index, states, stream, batch_windows=batch_windows)


def _cross_entropy(model: StreamedModel, states: HiddenStates, stream: Stream, ids: Tensor) -> Perplexity:
    """Sum cross-entropy a few hundred tokens at a time: logits of a whole window can exceed the model itself."""
    total = 0.0
    for row in range(len(ids)):
        hidden = states.read(slice(stream.start + row, stream.start + row + 1), model.device, model.dtype)[0]
        targets = ids[row].to(model.device)
        for start in range(0, len(targets) - 1, LOGIT_TOKENS):
            stop = min(start + LOGIT_TOKENS, len(targets) - 1)
            logits = model.logits(hidden[start:stop])
            dtype = torch.promote_types(logits.dtype, torch.float32)
            loss = nn.functional.cross_entropy(logits.to(dtype), targets[start + 1 : stop + 1], reduction="sum")
            total += loss.item()
    return Perplexity(total, len(ids) * (ids.shape[1] - 1))


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Give the mean and the sample standard deviation (0 for a single value)."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, 0.0
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
