"""Stand-ins for models whose weights are not here, and the inputs that their matrices share."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from experiments.plan.shapes import SHAPES, published_shape, shape_of_model, write_stand_in
from experiments.plan.shared_inputs import shared_inputs
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel

CPU = torch.device("cpu")
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
FAMILIES = {
    "llama": SMALL,
    "qwen2": SMALL,
    "gemma2": SMALL | {"head_dim": 16},
    "mixtral": SMALL | {"num_local_experts": 3},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 100},
}
# Parameters as the papers and model cards state them, in billions.
STATED = {"llama-7b": 6.7, "llama-13b": 13.0, "llama-2-70b": 69.0, "llama-3.1-8b": 8.0, "llama-3.1-70b": 70.6}
STATED |= {"qwen2.5-0.5b": 0.63, "qwen2.5-1.5b": 1.78, "qwen2.5-7b": 7.6, "qwen2.5-72b": 72.7}


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_stand_in_has_the_matrices_of_the_model(family, tmp_path):
    """Names, shapes and order are those of the saved model, fused experts among them."""
    config = AutoConfig.for_model(family, **FAMILIES[family])
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "real")
    (tmp_path / "stand-in").mkdir()

    stand_in = StreamedModel(write_stand_in(config, tmp_path / "stand-in"), device=CPU)

    real = StreamedModel(tmp_path / "real", device=CPU)
    assert stand_in.num_blocks == real.num_blocks == 2
    for index in range(2):
        assert prunable_matrices(stand_in, index) == prunable_matrices(real, index)


def test_published_shapes_are_as_large_as_stated(tmp_path):
    """Their parameters, a tied head counted twice, are those that are published."""
    assert set(SHAPES) == set(STATED)
    for name, billions in STATED.items():
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(published_shape(name))
        assert sum(each.numel() for each in network.parameters()) / 1e9 == pytest.approx(billions, rel=0.01)


def test_a_stand_in_of_seventy_billion_takes_no_room(tmp_path):
    """Its files are holes, none larger than memory, and read as those of any model."""
    model = StreamedModel(write_stand_in(published_shape("llama-2-70b"), tmp_path), device=CPU)

    assert sum(matrix.numel for matrix in prunable_matrices(model, 79)) == 855_638_016
    assert sum(file.stat().st_blocks * 512 for file in tmp_path.iterdir()) < 10_000_000
    assert max(file.stat().st_size for file in tmp_path.iterdir()) < 2 << 30


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_inputs_that_are_shared(family, tmp_path):
    """Query, key and value take one input, gate and up another: four a block."""
    config = AutoConfig.for_model(family, **FAMILIES[family])
    found = shared_inputs(StreamedModel(write_stand_in(config, tmp_path), device=CPU))

    assert found is not None
    for sources in found:
        assert sources["self_attn.k_proj"] == sources["self_attn.v_proj"] == sources["self_attn.q_proj"]
        assert sources["mlp.up_proj"] == sources["mlp.gate_proj"]
        assert len(set(sources.values())) == 4


def test_inputs_of_experts_are_not_known(tmp_path):
    """Which tokens an expert gets depends on their content."""
    config = AutoConfig.for_model("mixtral", **FAMILIES["mixtral"])

    assert shared_inputs(StreamedModel(write_stand_in(config, tmp_path), device=CPU)) is None


def test_a_whole_model_needs_no_stand_in(inputs):
    """A folder with its weights is opened as it is."""
    assert shape_of_model(str(inputs.model)) is None


@pytest.mark.parametrize(
    "content", [None, "{", '{"model_type": "unheard-of"}', '{"model_type": "llama", "hidden_size": "many"}']
)
def test_a_folder_without_configuration_is_refused(tmp_path, content):
    """Neither weights nor a configuration that means anything: nothing to plan with."""
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"^--model .* has no readable config\.json \(."):
        shape_of_model(str(tmp_path))


def test_another_kind_of_model_is_refused(tmp_path):
    """An encoder generates no text."""
    with pytest.raises(InputError, match=r"model type 'vit' is no causal language model"):
        write_stand_in(AutoConfig.for_model("vit"), tmp_path)


def test_an_unknown_shape_is_refused():
    """The message lists those that are known."""
    with pytest.raises(InputError, match=r"--model-shape llama-9b must be one of llama-7b, llama-13b"):
        published_shape("llama-9b")
