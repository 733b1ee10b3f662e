"""Tiny models of the families whose heads and neurons can go whole, and units to remove from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPTJConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Starcoder2Config,
)

from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.models.units import unit_kinds
from tests.fedprllm_secure.tiny_models import CPU, VOCABULARY

HEADS, GROUPS, NEURONS = 8, 4, 40
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": GROUPS,
    "intermediate_size": NEURONS,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
UNGROUPED = {name: value for name, value in SHAPE.items() if name != "num_key_value_heads"}

UNIT_FAMILIES: dict[str, Callable[..., PreTrainedConfig]] = {
    "llama": lambda **changes: LlamaConfig(**(SHAPE | changes)),
    "mistral": lambda **changes: MistralConfig(**(SHAPE | {"sliding_window": 8} | changes)),
    "qwen2": lambda **changes: Qwen2Config(**(SHAPE | changes)),
    "qwen3": lambda **changes: Qwen3Config(**(SHAPE | {"head_dim": 8} | changes)),
    "gemma": lambda **changes: GemmaConfig(**(SHAPE | {"head_dim": 8} | changes)),
    "gemma2": lambda **changes: Gemma2Config(**(SHAPE | {"head_dim": 8, "sliding_window": 8} | changes)),
    "gemma3": lambda **changes: Gemma3TextConfig(**(SHAPE | {"head_dim": 8, "sliding_window": 8} | changes)),
    "starcoder2": lambda **changes: Starcoder2Config(**(SHAPE | changes)),
    "phi": lambda **changes: PhiConfig(**(SHAPE | {"hidden_size": 64} | changes)),
    "cohere": lambda **changes: CohereConfig(**(SHAPE | changes)),
}
# Every head has a key and a value of its own, and the size of a head is the hidden size over the number of heads.
UNGROUPED_FAMILIES: dict[str, Callable[..., PreTrainedConfig]] = {
    "opt": lambda **changes: OPTConfig(**(UNGROUPED | {"ffn_dim": NEURONS, "num_attention_heads": 4} | changes)),
    "gptj": lambda **changes: GPTJConfig(
        vocab_size=VOCABULARY, n_positions=64, n_embd=48, n_layer=2, n_head=4, n_inner=NEURONS, rotary_dim=4, **changes
    ),
}


def save_random(config: PreTrainedConfig, folder: Path, dtype: torch.dtype = torch.float32, **options: str) -> Path:
    """Save a model with parameters from normal(0, 0.2), biases included."""
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    model.save_pretrained(folder, **options)
    return folder


def open_random(config: PreTrainedConfig, folder: Path) -> StreamedModel:
    """Save a random model and open it."""
    return StreamedModel(save_random(config, folder), device=CPU)


def random_units(count: int, removed: int, seed: int) -> Tensor:
    """Mark ``removed`` of ``count`` units, bool."""
    marks = torch.zeros(count, dtype=torch.bool)
    marks[torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:removed]] = True
    return marks


def unit_prune_masks(model: StreamedModel, *, heads: int, neurons: int, blocks: Iterable[int]) -> dict[str, Tensor]:
    """Remove so many random heads (with all that share them) and neurons of every block; prune masks by matrix name."""
    masks: dict[str, Tensor] = {}
    for index in blocks:
        for seed, kind in enumerate(unit_kinds(model, index)):
            removed = random_units(kind.count, heads if kind.kind == "heads" else neurons, seed=2 * index + seed)
            masks |= kind.prune_masks(removed)
    return masks
