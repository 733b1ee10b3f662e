"""Architectures at the border: gates that stay dense, and models that are refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    DbrxConfig,
    GptOssConfig,
    MambaConfig,
    PreTrainedConfig,
    Qwen2MoeConfig,
)
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeSparseMoeBlock

from fedprllm_secure.errors import InputError
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from tests.fedprllm_secure.conftest import Checkpoints
from tests.fedprllm_secure.tiny_models import (
    CPU,
    GROUPED,
    VOCABULARY,
    make_method,
    matrices_of,
    random_windows,
    run_federation,
)

WINDOWS = random_windows(2, 2, 8)


def saved(config: PreTrainedConfig, folder: Path) -> StreamedModel:
    """Save a tiny random model and open it."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return StreamedModel(folder, device=CPU)


@pytest.fixture(params=[False, True], ids=["as it is", "nested"])
def shared_gate_name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name the shared expert's gate in Qwen2-MoE, as it is or within a module of its own, as other families have it."""
    if not request.param:
        return "shared_expert_gate.weight"
    original = Qwen2MoeSparseMoeBlock.__init__

    def nest(self: Qwen2MoeSparseMoeBlock, *args: Any) -> None:
        original(self, *args)
        self.shared_expert_gate = nn.Sequential(self.shared_expert_gate)

    monkeypatch.setattr(Qwen2MoeSparseMoeBlock, "__init__", nest)
    return "shared_expert_gate.0.weight"


def test_the_gate_of_a_shared_expert_stays_dense(
    quiet_transformers: None, tmp_path: Path, shared_gate_name: str
) -> None:
    """Qwen2-MoE's gates, of the experts and of the shared one, are no prunable matrices; its experts all are."""
    config = Qwen2MoeConfig(
        **GROUPED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=40
    )
    model = saved(config, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    listed = {matrix.tensor_name for _, matrix in matrices_of(model)}
    gates = {name for name in stored if name.endswith(("mlp.gate.weight", shared_gate_name))}
    expected = {name for name, tensor in stored.items() if ".layers." in name and tensor.ndim == 2} - gates

    assert len(gates) == 2 * model.num_blocks
    assert listed == expected
    assert sum("shared_expert." in name for name in listed) == 3 * model.num_blocks


def bart() -> PreTrainedConfig:
    """A decoder with cross-attention that never runs."""
    size = {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 48,
    }
    return BartConfig(vocab_size=VOCABULARY, max_position_embeddings=64, is_decoder=True, **size)


REFUSED: dict[str, tuple[Callable[[], PreTrainedConfig], str]] = {
    "experts stored transposed": (
        lambda: GptOssConfig(
            **GROUPED, num_local_experts=4, num_experts_per_tok=2, head_dim=8, layer_types=["full_attention"] * 3
        ),
        r"model\.layers\.0\.mlp\.experts \(GptOssExperts\) stores its experts transposed",
    ),
    "experts in flat parameters": (
        lambda: DbrxConfig(
            vocab_size=VOCABULARY,
            d_model=32,
            n_heads=4,
            n_layers=2,
            max_seq_len=64,
            attn_config={"kv_n_heads": 2, "rope_theta": 1e4},
            ffn_config={"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32},
        ),
        r"is no matrix of a known form; this architecture cannot be pruned yet",
    ),
    "state space": (
        lambda: MambaConfig(vocab_size=VOCABULARY, hidden_size=32, state_size=4, num_hidden_layers=2),
        r"backbone\.layers\.0\.mixer\.conv1d is a convolution; blocks with state-space layers cannot be pruned",
    ),
    "matrices that never run": (bart, r"encoder_attn\.\w+ takes no part in the model's forward pass"),
}


@pytest.mark.parametrize(("config", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_pruned_is_refused(quiet_transformers: None, tmp_path: Path, config, message: str) -> None:
    """The message says what it is that cannot be pruned, and no block counts as finished."""
    model = saved(config(), tmp_path / "model")
    with pytest.raises(InputError, match=message):
        run_federation(model, WINDOWS, make_method(), tmp_path / "work")
    assert not list((tmp_path / "work").glob("block-*"))


@pytest.mark.parametrize("shifts_shape", [False, True], ids=["values", "shape"])
def test_arguments_that_depend_on_tokens_are_refused(
    checkpoint: Checkpoints, monkeypatch: pytest.MonkeyPatch, shifts_shape: bool
) -> None:
    """What blocks receive beside hidden states is recorded once a shape, so it must not hang on the tokens."""
    original = LlamaRotaryEmbedding.forward

    def forward(self: LlamaRotaryEmbedding, hidden: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        cosine, sine = original(self, hidden, position_ids)
        if shifts_shape and hidden[0, 0, 0] > 0:
            return cosine.expand(hidden.shape[0], -1, -1).contiguous(), sine
        return cosine if shifts_shape else cosine + hidden.mean(), sine

    monkeypatch.setattr(LlamaRotaryEmbedding, "forward", forward)
    model = StreamedModel(checkpoint("llama"), device=CPU)
    table = load_file(model.checkpoint.folder / "model.safetensors")["model.embed_tokens.weight"][:, 0]
    low, high = int(table.argmin()), int(table.argmax())
    model.embed(torch.full((2, 8), low))
    model.embed(torch.full((2, 8), low))
    with pytest.raises(InputError, match="block 0 takes arguments that depend on the tokens themselves"):
        model.embed(torch.full((2, 8), high))


@pytest.mark.parametrize("is_missing", [False, True], ids=["another shape", "missing"])
def test_a_broken_fused_expert_is_refused(checkpoint: Checkpoints, tmp_path: Path, is_missing: bool) -> None:
    """A checkpoint whose experts cannot be put together says so, when it is read and when its matrices are listed."""
    source = checkpoint("mixtral")
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    weights = load_file(source / "model.safetensors")
    name = "model.layers.0.block_sparse_moe.experts.1.w1.weight"
    if is_missing:
        del weights[name]
    else:
        weights[name] = weights[name][:-3].clone()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = StreamedModel(tmp_path, device=CPU)
    with pytest.raises(InputError, match=r"does not have the shape that config\.json asks for"), model.block(0):
        pass
    with pytest.raises(InputError, match=r"experts\.0\.w1\.weight and \d+ more\) do not fit together"):
        prunable_matrices(model, 0)
    prunable_matrices(model, 1)
