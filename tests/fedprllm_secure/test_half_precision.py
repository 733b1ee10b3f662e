"""Models in bfloat16: what is computed in more than the weights' dtype, and what is rounded back to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fedprllm_secure import StreamedModel, prune
from fedprllm_secure.evaluation import dense, perplexities
from fedprllm_secure.parties import Baselines, local_variant
from tests.fedprllm_secure.conftest import Checkpoints
from tests.fedprllm_secure.oracle import Masks, block_linears, distance_to_cutoff, hooked, remove_lowest
from tests.fedprllm_secure.tiny_models import (
    CPU,
    make_method,
    matrices_of,
    prune_masks,
    random_windows,
    reference_model,
    run_federation,
)

WINDOWS = random_windows(3, 2, 12, seed=3)
SPARSITY = "0.45"


@pytest.fixture(scope="module")
def folder(checkpoint: Checkpoints) -> Path:
    """A LLaMA of three blocks, saved in bfloat16."""
    return checkpoint("llama", torch.bfloat16)


def wanda_saliencies(folder: Path, windows: Tensor) -> Masks:
    """Compute |W| x ||X|| in float64 from the activations of the whole model in bfloat16, a window at a time."""
    model = reference_model(folder, torch.bfloat16)
    linears = {name: module for block in block_linears(model) for name, module in block.items()}
    energies = {name: torch.zeros(module.in_features, dtype=torch.float64) for name, module in linears.items()}
    with hooked(linears, energies), torch.no_grad():
        for window in windows:
            model(input_ids=window[None], use_cache=False)
    return {name: linears[name].weight.detach().double().abs() * energies[name].sqrt() for name in linears}


def test_votes_are_wandas_of_the_half_precision_activations(folder: Path, tmp_path: Path) -> None:
    """Saliencies have at least the precision of float32: only weights within 1e-5 of the cutoff may go otherwise."""
    model = StreamedModel(folder, device=CPU, dtype=torch.bfloat16)
    baselines = Baselines(local_only=(0, 1, 2))
    method = make_method(SPARSITY, "dense")
    work = run_federation(model, WINDOWS, method, tmp_path, batch_windows=1, baselines=baselines)
    for client in baselines.local_only:
        saliencies = wanda_saliencies(folder, WINDOWS.of(client))
        for name, found in prune_masks(model, work, local_variant(client)).items():
            keys = [(score,) for score in saliencies[name].flatten().tolist()]
            expected = remove_lowest(keys, found.shape, SPARSITY, "row")
            differing = found != expected

            assert distance_to_cutoff(saliencies[name], expected, "row")[differing].le(1e-5).all(), name


def test_a_scaled_model_is_saved_as_it_was_measured(folder: Path, tmp_path: Path) -> None:
    """Measured in float32 and saved in bfloat16, the scaled weights are the same bit for bit."""
    model = StreamedModel(folder, device=CPU)
    pruned = prune(model, WINDOWS, make_method("0.5"), folder=tmp_path / "run")
    pruned.save(tmp_path / "saved", scale=True)
    original, saved = load_file(folder / "model.safetensors"), load_file(tmp_path / "saved" / "model.safetensors")
    variant = pruned.variant(scale=True)

    assert model.dtype == torch.float32
    for index, matrix in matrices_of(model):
        measured = variant(index, matrix, original[matrix.tensor_name].float())
        assert measured.dtype == torch.float32
        assert torch.equal(saved[matrix.tensor_name].float().view(torch.int32), measured.view(torch.int32)), matrix.name
        kept = 3 - pruned.work.totals(index, matrix).double()
        exact = (original[matrix.tensor_name].double() * kept / 3).masked_fill(pruned.work.prune_mask(index, matrix), 0)
        torch.testing.assert_close(measured.double(), exact, rtol=2**-8, atol=0)


@pytest.mark.parametrize("seed", range(4))
def test_cross_entropy_is_summed_in_more_than_half_precision(folder: Path, seed: int) -> None:
    """A model that computes in bfloat16 has the perplexity of its logits, not of their rounded losses."""
    ids = random_windows(1, 1, 40, seed=seed).ids
    with torch.no_grad():
        logits = reference_model(folder, torch.bfloat16)(input_ids=ids).logits[0, :-1]
    expected = nn.functional.cross_entropy(logits.double(), ids[0, 1:], reduction="sum").item()
    model = StreamedModel(folder, device=CPU, dtype=torch.bfloat16)

    assert logits.dtype == torch.bfloat16
    assert perplexities(model, ids, {"dense": dense})["dense"].nats == pytest.approx(expected, rel=1e-4)
