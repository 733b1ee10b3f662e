"""The Python interface: prune, measure, save, and the folder that belongs to one run."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fedprllm_secure import Baselines, InputError, StreamedModel, Windows, prune
from fedprllm_secure.work import OtherRun, WorkFolder
from tests.fedprllm_secure.conftest import Checkpoints
from tests.fedprllm_secure.tiny_models import CPU, make_method, matrices_of, random_windows, reference_model

WINDOWS = random_windows(3, 2, 12, seed=3)


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoints) -> StreamedModel:
    """A LLaMA of three blocks, in float32."""
    return StreamedModel(checkpoint("llama", torch.float32), device=CPU)


def test_a_saved_model_gives_the_measured_perplexity(model: StreamedModel, tmp_path: Path) -> None:
    """What transformers loads computes what was measured while streaming."""
    pruned = prune(model, WINDOWS, make_method("0.5"), folder=tmp_path / "run")
    measured = pruned.perplexities(WINDOWS.ids)["pruned"]
    pruned.save(tmp_path / "saved")
    loaded = reference_model(tmp_path / "saved", torch.float32)
    with torch.no_grad():
        losses = [loaded(input_ids=ids[None], labels=ids[None]).loss.item() for ids in WINDOWS.ids]

    assert measured.nats / measured.tokens == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_a_model_is_saved_scaled_only_if_asked_for(model: StreamedModel, tmp_path: Path) -> None:
    """Scaled weights are multiplied by the share of clients that kept them, plain ones are the checkpoint's."""
    pruned = prune(model, WINDOWS, make_method("0.5"), folder=tmp_path / "run")
    for name, scale in (("plain", False), ("scaled", True)):
        pruned.save(tmp_path / name, scale=scale)
    original, plain, scaled = (
        load_file(folder / "model.safetensors")
        for folder in (model.checkpoint.folder, tmp_path / "plain", tmp_path / "scaled")
    )
    for index, matrix in matrices_of(model):
        weight = original[matrix.tensor_name].masked_fill(pruned.work.prune_mask(index, matrix), 0)
        kept = (3 - pruned.work.totals(index, matrix)) / 3

        assert torch.equal(plain[matrix.tensor_name], weight)
        torch.testing.assert_close(scaled[matrix.tensor_name], weight * kept, rtol=1e-6, atol=0)
        assert not torch.equal(plain[matrix.tensor_name], scaled[matrix.tensor_name])


def other_windows() -> Windows:
    """The same windows but for one token."""
    ids = WINDOWS.ids.clone()
    ids[0, 0] += 1
    return Windows(ids, num_clients=3, per_client=2, length=12)


@pytest.mark.parametrize(
    ("windows", "method", "options", "difference"),
    [
        (WINDOWS, make_method("0.6"), {}, "sparsity=1/2, not 3/5"),
        (WINDOWS, make_method("0.5", ties="position"), {}, "ties=magnitude, not position"),
        (WINDOWS, make_method("0.5"), {"baselines": Baselines(magnitude=True)}, "magnitude=False, not True"),
        (WINDOWS, make_method("0.5"), {"baselines": Baselines(public=WINDOWS.ids)}, "other public windows"),
        (other_windows(), make_method("0.5"), {}, "other windows"),
    ],
)
def test_a_folder_of_another_run_is_refused(model, tmp_path, windows, method, options, difference) -> None:
    """Blocks of two runs never mix, whatever differs between them."""
    prune(model, WINDOWS, make_method("0.5"), folder=tmp_path)
    before = sorted(file.read_bytes() for file in tmp_path.iterdir())
    with pytest.raises(OtherRun, match=f"holds a run with {difference}; name another folder"):
        prune(model, windows, method, folder=tmp_path, **options)

    assert sorted(file.read_bytes() for file in tmp_path.iterdir()) == before


def test_the_same_windows_dealt_otherwise_are_refused(model: StreamedModel, tmp_path: Path) -> None:
    """Three clients of two windows are not two clients of three, though the text is the same."""
    prune(model, WINDOWS, make_method("0.5"), folder=tmp_path)
    dealt = Windows(WINDOWS.ids, num_clients=2, per_client=3, length=12)
    with pytest.raises(OtherRun, match="holds a run with clients=3, not 2; name another folder"):
        prune(model, dealt, make_method("0.5"), folder=tmp_path)


def test_another_model_is_refused(model: StreamedModel, checkpoint: Checkpoints, tmp_path: Path) -> None:
    """Also where the two have the same shapes."""
    prune(model, WINDOWS, make_method("0.5"), folder=tmp_path)
    other = StreamedModel(checkpoint("llama", torch.bfloat16), device=CPU)
    with pytest.raises(InputError, match="holds a run with other model"):
        prune(other, WINDOWS, make_method("0.5"), folder=tmp_path)


def test_the_same_run_is_continued(model: StreamedModel, tmp_path: Path) -> None:
    """A finished folder opens without another session."""
    prune(model, WINDOWS, make_method("0.5"), folder=tmp_path)
    opened = (tmp_path / "sessions.json").read_text()
    again = prune(model, WINDOWS, make_method("0.5"), folder=tmp_path)

    assert (tmp_path / "sessions.json").read_text() == opened
    assert again.work.finished_blocks() == model.num_blocks


def test_text_leaves_only_a_keyed_digest(tmp_path: Path) -> None:
    """The same text leaves another digest in another folder, and only the owner reads the key."""
    digests = []
    for name in ("a", "b"):
        WorkFolder(tmp_path / name).claim("federation", {}, texts={"windows": WINDOWS.ids}, digests={})
        digests.append(json.loads((tmp_path / name / "federation.json").read_text())["named"]["windows"])

        assert stat.S_IMODE((tmp_path / name / "key").stat().st_mode) == 0o600
    assert len(set(digests)) == 2
