"""Files are on disk before they have their name, and their name is on disk before anything rests on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fedprllm_secure.durable import write_durably
from fedprllm_secure.hidden_states import HiddenStates
from fedprllm_secure.models.checkpoint import TensorWriter

CONTENT = b"x" * 5000


def write_small(file: Path) -> None:
    """Write a small file at once."""
    write_durably(file, CONTENT)


def write_states(file: Path) -> None:
    """Save hidden states."""
    states = HiddenStates(50, (2, 3), torch.float32, memory_limit_bytes=100)
    states.write(0, torch.ones(50, 2, 3))
    states.save(file)


def write_tensors(file: Path) -> None:
    """Write tensors one by one."""
    with TensorWriter(file, {"a": ((3, 4), torch.float32), "b": ((2,), torch.int64)}, metadata={}) as writer:
        writer.write("a", torch.ones(3, 4))
        writer.write("b", torch.tensor([1, 2]))


@pytest.mark.parametrize("write", [write_small, write_states, write_tensors])
def test_what_is_renamed_is_on_disk_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    """The whole content is forced out first, then comes the name, then the folder that holds the name."""
    events: list[tuple[object, ...]] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        names = [place.name for place in [tmp_path, *tmp_path.iterdir()] if place.stat().st_ino == found.st_ino]
        events.append(("sync", *names, None if names == [tmp_path.name] else found.st_size))
        fsync(descriptor)

    def watched_replace(self: Path, target: Path) -> Path:
        events.append(("rename", self.name, target.name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    write(tmp_path / "file")
    monkeypatch.undo()

    size = (tmp_path / "file").stat().st_size
    assert size > 0
    assert events == [
        ("sync", "file.partial", size),
        ("rename", "file.partial", "file"),
        ("sync", tmp_path.name, None),
    ]
