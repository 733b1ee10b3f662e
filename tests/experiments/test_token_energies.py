from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.audit.token_energies import token_energies
from experiments.demo import DEMO_MODEL
from fedprllm_secure.calibration import InputEnergy, InputRecorder
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from tests.fedprllm_secure.tiny_models import CPU, random_model


@pytest.fixture(scope="module")
def demo() -> StreamedModel:
    """Open the demo model."""
    return StreamedModel(DEMO_MODEL, device=CPU)


def open_tiny(family: str, folder: Path) -> StreamedModel:
    """Save a family's tiny model and open it."""
    random_model(family, torch.float32).save_pretrained(folder)
    return StreamedModel(folder, device=CPU)


def test_energies_are_those_of_the_formula(demo: StreamedModel) -> None:
    """On the demo model they are the squared RMSNorm of the embeddings, epsilon included."""
    with demo.outer(), demo.block(0) as block:
        embedded = demo.embed(torch.arange(256)[None])[0].double()
        gamma, epsilon = block.input_layernorm.weight.detach().double(), demo.config.rms_norm_eps
    expected = embedded**2 / ((embedded**2).mean(1, keepdim=True) + epsilon) * gamma**2

    found = token_energies(demo)

    assert found.shape == (demo.vocabulary_size, demo.hidden_size)
    assert found.dtype == np.float64
    assert np.allclose(found[:256], expected.numpy(), rtol=1e-4, atol=1e-7)


def test_a_texts_energies_are_its_histogram_times_the_table(demo: StreamedModel) -> None:
    """What calibration adds up in block 0 for a text is linear in its histogram of tokens."""
    ids = torch.randint(0, 40, (2, 64), generator=torch.Generator().manual_seed(1))
    sums = InputEnergy(1)
    with demo.outer(), demo.block(0) as block, torch.no_grad():
        recorder = InputRecorder(prunable_matrices(demo, 0), block, sums)
        with recorder.watching():
            recorder.run(demo, 0, demo.embed(ids), torch.zeros(2, dtype=torch.int64), keep_output=True)
    energies = sums.energies[next(iter(sums.sources.values()))][0].numpy()

    histogram = np.bincount(ids.flatten().numpy(), minlength=demo.vocabulary_size)

    assert np.allclose(histogram @ token_energies(demo), energies, rtol=1e-4)


@pytest.mark.parametrize("family", ["gemma2", "gpt_neox", "bloom"])
def test_models_whose_embeddings_know_no_position_are_taken(family: str, tmp_path: Path) -> None:
    """Rotary and ALiBi positions enter in attention, after the norm."""
    model = open_tiny(family, tmp_path)

    assert token_energies(model).shape == (model.vocabulary_size, model.hidden_size)


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_models_that_add_positions_are_refused(family: str, tmp_path: Path) -> None:
    """With learned positions a token has no energies of its own, and the message names the family."""
    with pytest.raises(InputError, match=f"'{family}' sends a token into block 0 differently at different places"):
        token_energies(open_tiny(family, tmp_path))
