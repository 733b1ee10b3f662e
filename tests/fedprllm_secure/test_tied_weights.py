"""Tied embeddings, whichever of the two names a checkpoint stores."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig

from fedprllm_secure.models.streamed import StreamedModel


@pytest.mark.parametrize("stored", ["model.embed_tokens.weight", "lm_head.weight"])
def test_a_tied_pair_stored_under_one_name_fills_both(tmp_path, stored):
    """Logits equal transformers' own, whether the checkpoint names the embedding or the head."""
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights[stored] = weights.pop("model.embed_tokens.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids = torch.arange(16)[None]

    streamed = StreamedModel(tmp_path, device=torch.device("cpu"))
    hidden = streamed.embed(ids)
    for index in range(streamed.num_blocks):
        with streamed.block(index):
            hidden = streamed.forward(index, hidden)

    with torch.no_grad():
        expected = reference(input_ids=ids).logits[0]
    torch.testing.assert_close(streamed.logits(hidden[0]), expected, rtol=1e-5, atol=1e-5)
