"""Tiny random models of every supported family, saved as checkpoints, and runs of the federation over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from fedprllm_secure.data.windows import Windows
from fedprllm_secure.federation import Federation
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import PrunableMatrix, prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.work import FEDERATED, WorkFolder

CPU = torch.device("cpu")
VOCABULARY = 97
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
GROUPED = SHAPE | {"num_key_value_heads": 2, "intermediate_size": 48}
OLD_SHAPE = {"vocab_size": VOCABULARY, "n_layer": 3, "n_head": 4}

FAMILIES: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**GROUPED),
    "llama_tied": lambda: LlamaConfig(**GROUPED, tie_word_embeddings=True),
    "mistral": lambda: MistralConfig(**GROUPED, sliding_window=8),
    "qwen2": lambda: Qwen2Config(**GROUPED),
    "qwen3": lambda: Qwen3Config(**GROUPED, head_dim=8),
    "gemma2": lambda: Gemma2Config(**GROUPED, head_dim=8, sliding_window=8),
    # Every sixth block attends globally, the others within the sliding window.
    "gemma3": lambda: Gemma3TextConfig(**(GROUPED | {"num_hidden_layers": 7}), head_dim=8, sliding_window=8),
    "phi3": lambda: Phi3Config(**GROUPED, pad_token_id=0),
    "opt": lambda: OPTConfig(**SHAPE, ffn_dim=48, word_embed_proj_dim=16),
    "gpt2": lambda: GPT2Config(**OLD_SHAPE, n_embd=32, n_positions=64),
    "gpt_neox": lambda: GPTNeoXConfig(**SHAPE, intermediate_size=48),
    "bloom": lambda: BloomConfig(**OLD_SHAPE, hidden_size=32),
    "mixtral": lambda: MixtralConfig(**GROUPED, num_local_experts=4),
    "qwen3_moe": lambda: Qwen3MoeConfig(
        **GROUPED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, head_dim=8
    ),
}


def random_model(family: str, dtype: torch.dtype, blocks: int | None = None) -> PreTrainedModel:
    """Build a family's tiny model with parameters from normal(0, 0.2)."""
    config = FAMILIES[family]()
    config.num_hidden_layers = blocks or config.num_hidden_layers
    model = AutoModelForCausalLM.from_config(config).to(dtype).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2
            parameter.copy_(values)
    return model


def reference_model(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load a checkpoint the way users do, without streaming."""
    # The fused kernels for experts know no float64.
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, experts_implementation="eager").eval()


def random_windows(num_clients: int, per_client: int, length: int, seed: int = 0) -> Windows:
    """Draw token ids."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, VOCABULARY, (num_clients * per_client, length), generator=generator)
    return Windows(ids, num_clients=num_clients, per_client=per_client, length=length)


def make_method(sparsity: str = "0.5", propagate: str = "local", **changes: str | int) -> Method:
    """Make a method; the rounds follow from the propagation."""
    schedule = Schedule("iterative" if propagate == "global" else "one-shot", propagate)
    return Method(sparsity=Sparsity.parse(sparsity), schedule=schedule, **changes)


def run_federation(
    model: StreamedModel, windows: Windows, method: Method, folder: Path, **options: object
) -> WorkFolder:
    """Run the federation to its end and return what it left."""
    work = WorkFolder(folder)
    Federation(model, windows, method, work, **options).run()
    return work


def streamed_logits(model: StreamedModel, ids: Tensor) -> Tensor:
    """Pass ids (windows, tokens) through embed, every block and logits."""
    hidden = model.embed(ids)
    for index in range(model.num_blocks):
        with model.block(index):
            hidden = model.forward(index, hidden)
    return torch.stack([model.logits(window) for window in hidden])


def matrices_of(model: StreamedModel) -> list[tuple[int, PrunableMatrix]]:
    """List (block, matrix) for the whole model."""
    return [(index, matrix) for index in range(model.num_blocks) for matrix in prunable_matrices(model, index)]


def prune_masks(model: StreamedModel, work: WorkFolder, variant: str = FEDERATED) -> dict[str, Tensor]:
    """Read a variant's prune masks by matrix name."""
    return {matrix.name: work.prune_mask(index, matrix, variant) for index, matrix in matrices_of(model)}


def totals(model: StreamedModel, work: WorkFolder) -> dict[str, Tensor]:
    """Read the totals by matrix name."""
    return {matrix.name: work.totals(index, matrix) for index, matrix in matrices_of(model)}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare tensors by name, bit for bit."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name].to(torch.int64), tensor.to(torch.int64)), name
