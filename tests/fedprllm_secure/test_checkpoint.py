"""Model folders: what their digest covers, and copies of checkpoints in several files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fedprllm_secure import StreamedModel, prune
from fedprllm_secure.models.checkpoint import Checkpoint
from tests.fedprllm_secure.conftest import Checkpoints
from tests.fedprllm_secure.tiny_models import (
    CPU,
    make_method,
    matrices_of,
    random_model,
    random_windows,
    reference_model,
)

WINDOWS = random_windows(3, 2, 12, seed=3)


def changed_config(folder: Path) -> None:
    """Change what the same weights compute."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))


def changed_weight(folder: Path) -> None:
    """Change the last byte of the weights."""
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("change", [changed_config, changed_weight])
def test_the_digest_covers_configuration_and_weights(checkpoint: Checkpoints, tmp_path: Path, change) -> None:
    """A copy has the same digest, until a byte that a result depends on is another."""
    folder = shutil.copytree(checkpoint("llama"), tmp_path / "copy")

    assert Checkpoint(folder).sha256 == Checkpoint(checkpoint("llama")).sha256
    change(folder)
    assert Checkpoint(folder).sha256 != Checkpoint(checkpoint("llama")).sha256


def test_the_digest_leaves_out_what_is_no_model(checkpoint: Checkpoints, tmp_path: Path) -> None:
    """A read-me beside the weights changes nothing."""
    folder = shutil.copytree(checkpoint("llama"), tmp_path / "copy")
    (folder / "README.md").write_text("mine")

    assert Checkpoint(folder).sha256 == Checkpoint(checkpoint("llama")).sha256


def test_a_checkpoint_in_several_files_is_pruned_in_all_of_them(quiet_transformers: None, tmp_path: Path) -> None:
    """Every shard is copied under its name, and what transformers loads has zeros where the prune masks say."""
    original = random_model("llama", torch.float32)
    original.save_pretrained(tmp_path / "model", max_shard_size="20KB")
    model = StreamedModel(tmp_path / "model", device=CPU)
    pruned = prune(model, WINDOWS, make_method("0.5"), folder=tmp_path / "run")
    pruned.save(tmp_path / "saved")
    names = sorted(file.name for file in (tmp_path / "model").glob("*.safetensors*"))
    expected = {name: parameter.detach().clone() for name, parameter in original.named_parameters()}
    for index, matrix in matrices_of(model):
        expected[matrix.tensor_name].masked_fill_(pruned.work.prune_mask(index, matrix), 0)
    loaded = dict(reference_model(tmp_path / "saved", torch.float32).named_parameters())

    assert len(names) > 4
    assert sorted(file.name for file in (tmp_path / "saved").glob("*.safetensors*")) == names
    assert loaded.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(loaded[name], weight), name
    for name in names:
        if name.endswith(".safetensors"):
            assert load_file(tmp_path / "saved" / name).keys() == load_file(tmp_path / "model" / name).keys()
