"""Every model family streams, prunes and saves the same way as transformers itself holds it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fedprllm_secure.artifacts import save_model
from fedprllm_secure.evaluation import dense, perplexities
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.variants import masked
from fedprllm_secure.work import WorkFolder
from tests.fedprllm_secure.conftest import Checkpoints
from tests.fedprllm_secure.tiny_models import (
    CPU,
    FAMILIES,
    VOCABULARY,
    make_method,
    matrices_of,
    prune_masks,
    random_windows,
    reference_model,
    run_federation,
    streamed_logits,
)

WINDOWS = random_windows(3, 2, 16)
HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}
PER_BLOCK = {
    "phi3": 4,  # qkv and gate-up are stored fused: one matrix each
    "opt": 6,
    "gpt2": 4,
    "gpt_neox": 4,
    "bloom": 4,
    "mixtral": 4 + 4 * 3,
    "qwen3_moe": 4 + 4 * 3,
}


@dataclass
class Run:
    """A finished federated run and the model it saved."""

    folder: Path
    model: StreamedModel
    work: WorkFolder
    saved: Path


@pytest.fixture(scope="module", params=[*FAMILIES, *HALF])
def run(request: pytest.FixtureRequest, checkpoint: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Prune one family, and Qwen2 in both half precisions; save the federated model."""
    half = HALF.get(request.param)
    folder = checkpoint("qwen2" if half else request.param, half or torch.float32)
    model = StreamedModel(folder, device=CPU)
    place = tmp_path_factory.mktemp("run")
    work = run_federation(model, WINDOWS, make_method(), place / "work", batch_windows=4)
    save_model(model, masked(work.prune_mask), place / "saved", card="# Pruned\n")
    return Run(folder, model, work, place / "saved")


@pytest.fixture(params=[*FAMILIES])
def family(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every family in turn."""
    return request.param


def test_streaming_gives_the_logits_of_the_whole_model(family: str, checkpoint: Checkpoints) -> None:
    """Blocks streamed one by one compute what the model loaded as a whole computes."""
    folder = checkpoint(family)
    ids = torch.cat([WINDOWS.ids[:2], WINDOWS.ids[4:5]])
    with torch.no_grad():
        expected = reference_model(folder, torch.float32)(input_ids=ids).logits
    found = streamed_logits(StreamedModel(folder, device=CPU), ids)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_streaming_handles_batches_of_several_shapes(family: str, checkpoint: Checkpoints) -> None:
    """What blocks need is kept for every batch shape, so that shapes may alternate."""
    model = StreamedModel(checkpoint(family), device=CPU)
    shapes = [WINDOWS.ids[:3], WINDOWS.ids[3:5], WINDOWS.ids[5:, :11]]
    hidden = [model.embed(ids) for ids in shapes]
    for index in range(model.num_blocks):
        with model.block(index):
            hidden = [model.forward(index, states) for states in hidden]
    reference = reference_model(model.checkpoint.folder, torch.float32)
    for ids, states in zip(shapes, hidden, strict=True):
        with torch.no_grad():
            expected = reference(input_ids=ids).logits
        found = torch.stack([model.logits(window) for window in states])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_matrices_are_tensors_of_the_checkpoint(run: Run) -> None:
    """A matrix is named after a checkpoint tensor and has its shape, GPT-2's transposed."""
    stored = load_tensors(run.folder)
    matrices = [matrix for _, matrix in matrices_of(run.model)]
    is_conv1d = run.model.config.model_type == "gpt2"
    for matrix in matrices:
        assert matrix.tensor_name in (f"{matrix.name}.weight", matrix.name)
        shape = tuple(stored[matrix.tensor_name].shape)
        assert matrix.shape == (shape[::-1] if is_conv1d else shape)
    assert len({matrix.name for matrix in matrices}) == len(matrices)


def test_every_two_dimensional_block_weight_but_routers_is_listed(run: Run) -> None:
    """Nothing prunable is forgotten; embeddings, heads, norms and routers are never listed."""
    listed = {matrix.tensor_name for _, matrix in matrices_of(run.model)}
    in_blocks = {
        name
        for name, tensor in load_tensors(run.folder).items()
        if tensor.ndim == 2 and re.search(r"\.(layers|h)\.\d+\.", name) and not name.endswith(".gate.weight")
    }
    assert listed == in_blocks
    expected = PER_BLOCK.get(run.model.config.model_type, 7)
    assert len(listed) == expected * run.model.num_blocks


def test_exactly_k_weights_go(run: Run) -> None:
    """Every matrix loses floor(sparsity x size) weights, and totals lie between 0 and the number of clients."""
    for index, matrix in matrices_of(run.model):
        prune_mask, votes = run.work.prune_mask(index, matrix), run.work.totals(index, matrix)
        assert prune_mask.shape == votes.shape == matrix.shape
        assert prune_mask.sum() == matrix.numel // 2
        assert votes.min() >= 0
        assert votes.max() <= 3
        assert votes.sum() == 3 * matrix.shape[0] * (matrix.shape[1] // 2)


def test_saved_model_is_the_masked_checkpoint(run: Run) -> None:
    """The saved tensors are the original ones with exactly the pruned entries at zero, names and dtypes kept."""
    original, saved = load_tensors(run.folder), load_tensors(run.saved)
    assert saved.keys() == original.keys()
    masks = prune_masks(run.model, run.work)
    for _, matrix in matrices_of(run.model):
        prune_mask = masks[matrix.name].t() if run.model.config.model_type == "gpt2" else masks[matrix.name]
        original[matrix.tensor_name] = original[matrix.tensor_name].masked_fill(prune_mask, 0)
    for name, tensor in original.items():
        assert saved[name].dtype == tensor.dtype
        assert torch.equal(saved[name], tensor), name


def test_saved_model_loads_and_has_the_measured_perplexity(run: Run) -> None:
    """What transformers loads from the saved folder has the perplexity that the streamed evaluation reports."""
    ids = random_windows(1, 3, 20, seed=5).ids
    variants = {"dense": dense, "federated": masked(run.work.prune_mask)}
    measured = perplexities(run.model, ids, variants, batch_windows=2)
    for name, folder in (("dense", run.folder), ("federated", run.saved)):
        assert measured[name].tokens == 3 * 19
        assert measured[name].value == pytest.approx(direct_perplexity(folder, ids), rel=1e-5)
    assert measured["dense"].value != pytest.approx(measured["federated"].value, rel=1e-4)


def test_mask_in_memory_acts_on_the_same_weights_as_on_disk(run: Run) -> None:
    """Streaming the saved model equals streaming the original with its masks applied, entry for entry."""
    saved = StreamedModel(run.saved, device=CPU)
    ids = WINDOWS.ids[:1]
    measured = perplexities(run.model, ids, {"federated": masked(run.work.prune_mask)})["federated"]
    assert perplexities(saved, ids, {"dense": dense})["dense"].nats == pytest.approx(measured.nats, rel=1e-9)


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """Read every tensor of a checkpoint folder."""
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def direct_perplexity(folder: Path, ids: Tensor) -> float:
    """Compute perplexity with the whole model, a window at a time."""
    model, nats = reference_model(folder, torch.float32), 0.0
    for window in ids:
        with torch.no_grad():
            scores = model(input_ids=window[None]).logits[0, :-1].double().log_softmax(-1)
        nats -= scores.gather(1, window[1:, None]).sum().item()
    assert ids.max() < VOCABULARY
    return math.exp(nats / (ids.numel() - len(ids)))
