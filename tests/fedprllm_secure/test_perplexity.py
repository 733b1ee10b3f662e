"""Perplexity is what transformers' own loss says, for windows of any length and values of any size."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from fedprllm_secure.evaluation import Perplexity, dense, perplexities
from fedprllm_secure.models.streamed import StreamedModel
from tests.fedprllm_secure.conftest import Checkpoints
from tests.fedprllm_secure.tiny_models import CPU, GROUPED, random_windows, reference_model


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory, quiet_transformers: None) -> Path:
    """A LLaMA of two blocks with a context of 600 tokens."""
    folder = tmp_path_factory.mktemp("roomy")
    torch.manual_seed(0)
    config = LlamaConfig(**(GROUPED | {"max_position_embeddings": 600, "num_hidden_layers": 2}), initializer_range=0.2)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("length", [2, 256, 257, 258, 513, 600])
def test_every_token_but_the_first_is_predicted(roomy: Path, length: int) -> None:
    """Windows longer than what goes through the head at once lose no token at the seams."""
    ids = random_windows(1, 2, length, seed=length).ids
    reference = reference_model(roomy, torch.float32)
    with torch.no_grad():
        expected = sum((length - 1) * reference(input_ids=row[None], labels=row[None]).loss.item() for row in ids)
    found = perplexities(StreamedModel(roomy, device=CPU), ids, {"dense": dense})["dense"]

    assert found.tokens == 2 * (length - 1)
    assert found.nats == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("nats", "tokens"), [(1e3, 1), (7.2e5, 1000), (math.inf, 3)])
def test_a_perplexity_beyond_floats_is_infinite(nats: float, tokens: int) -> None:
    """What overflows is infinite, and raises nothing."""
    assert Perplexity(nats, tokens).value == math.inf


def test_an_undefined_perplexity_stays_undefined() -> None:
    """NaN is neither infinite nor a number."""
    assert math.isnan(Perplexity(math.nan, 5).value)


def test_a_large_perplexity_is_exact() -> None:
    """Just below the overflow the exponential is still given."""
    assert Perplexity(699.0 * 2, 2).value == pytest.approx(math.exp(699.0))


def test_hidden_states_are_kept_in_the_dtype_asked_for(checkpoint: Checkpoints) -> None:
    """In bfloat16 what enters every block, and the head, is rounded; the block itself computes in float32."""
    folder, ids = checkpoint("llama"), random_windows(1, 1, 4, seed=7).ids
    reference = reference_model(folder, torch.float32)
    for module in [*reference.model.layers, reference.model.norm]:
        module.register_forward_pre_hook(lambda _, args: (args[0].bfloat16().float(), *args[1:]))
    with torch.no_grad():
        expected = sum(3 * reference(input_ids=row[None], labels=row[None]).loss.item() for row in ids)
    model = StreamedModel(folder, device=CPU)
    rounded = perplexities(model, ids, {"dense": dense}, hidden_dtype=torch.bfloat16)["dense"].nats
    whole = perplexities(model, ids, {"dense": dense})["dense"].nats

    assert rounded == pytest.approx(expected, rel=1e-5)
    assert whole != pytest.approx(expected, rel=1e-4)
