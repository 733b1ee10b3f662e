"""Whatever parties could differ in gives another digest."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from fedprllm_secure import StreamedModel, Windows, sessions
from fedprllm_secure.manifest import Manifest
from fedprllm_secure.method import Method
from protocols import Roster, SessionPlan, Simulation, generate_signing_key
from tests.fedprllm_secure.conftest import Checkpoints
from tests.fedprllm_secure.tiny_models import CPU, make_method, random_windows, run_federation

ROSTER = Roster.of([generate_signing_key() for _ in range(3)])


@pytest.fixture(scope="module")
def folder(checkpoint: Checkpoints) -> Path:
    """A LLaMA's checkpoint."""
    return checkpoint("llama", torch.float32)


def digest(
    folder: Path, method: Method | None = None, *, roster: Roster = ROSTER, length: int = 12, **place: Any
) -> bytes:
    """Digest of the first session of a run."""
    model = StreamedModel(folder, device=CPU, dtype=torch.float32)
    manifest = Manifest(model, method or make_method("0.5"), roster, window_length=length)
    return manifest.digest(**({"block": 0, "session_number": 0} | place))


def changed_copy(folder: Path, to: Path, file: str, content: bytes) -> Path:
    """Copy a checkpoint with one file's end replaced."""
    shutil.copytree(folder, to)
    former = (to / file).read_bytes() if (to / file).exists() else b""
    (to / file).write_bytes(former[: len(former) - len(content)] + content)
    return to


def test_the_same_gives_the_same(folder: Path) -> None:
    """Two parties that agree get one digest."""
    assert digest(folder) == digest(folder)


@pytest.mark.parametrize(
    "changed",
    [
        {"method": make_method("0.6")},
        {"method": make_method("2:4")},
        {"method": make_method("0.5", propagate="dense")},
        {"method": make_method("0.5", propagate="global")},
        {"method": make_method("0.5", pruner="magnitude")},
        {"method": make_method("0.5", group="row")},
        {"method": make_method("0.5", local_group="layer")},
        {"method": make_method("0.5", ties="random")},
        {"method": make_method("0.5", seed=1)},
        {"roster": Roster.of([generate_signing_key() for _ in range(3)])},
        {"length": 13},
        {"block": 1},
        {"session_number": 1},
        {"payload": {"centre": [1, 2]}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_difference_shows(folder: Path, changed: dict) -> None:
    """In any setting, the roster, the windows' length or the place in the run."""
    assert digest(folder, **changed) != digest(folder)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "tokenizer_config.json"])
def test_another_model_or_tokenizer_shows(folder: Path, tmp_path: Path, file: str) -> None:
    """One weight's last byte is enough, and so is a tokenizer that one party lacks."""
    assert digest(changed_copy(folder, tmp_path / "copy", file, b"\x3f")) != digest(folder)


def test_what_was_announced_shows(folder: Path) -> None:
    """Clients that were told different results part ways."""
    model = StreamedModel(folder, device=CPU, dtype=torch.float32)
    digests = []
    for entries in ([], [[0, 0]], [[0, 1]], [[1, 0]], [[0, 1], [1, 0]]):
        manifest = Manifest(model, make_method("0.5"), ROSTER, window_length=12)
        for entry in entries:
            manifest.announce([torch.tensor([entry], dtype=torch.bool)])
        digests.append(manifest.digest(block=1, session_number=1))

    assert len(set(digests)) == len(digests)


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[bytes]]:
    """Run a federation with the same keys each time; give the digest that each of its sessions bound."""
    fixed = [generate_signing_key() for _ in range(3)]

    def run(
        folder: Path,
        windows: Windows,
        work: Path,
        propagate: str,
        *,
        stop_at: int | None = None,
        keys: Sequence[Any] = fixed,
        dtype: torch.dtype | None = None,
        **changes: Any,
    ) -> list[bytes]:
        drawn, digests = iter(keys), []

        def opened(protocol: Any, plan: SessionPlan, *rest: Any, **options: Any) -> Simulation:
            if len(digests) == stop_at:
                raise KeyboardInterrupt
            digests.append(plan.manifest_hash)
            return Simulation(protocol, plan, *rest, **options)

        monkeypatch.setattr(sessions, "generate_signing_key", lambda: next(drawn))
        monkeypatch.setattr(sessions, "Simulation", opened)
        method = make_method(**({"sparsity": "0.5", "propagate": propagate} | changes))
        with contextlib.suppress(KeyboardInterrupt):
            run_federation(StreamedModel(folder, device=CPU, dtype=dtype), windows, method, work)
        return digests

    return run


@pytest.mark.parametrize(("propagate", "is_told"), [("global", True), ("local", False), ("dense", False)])
def test_sessions_bind_the_results_that_clients_were_told(bound, folder, tmp_path, propagate, is_told) -> None:
    """Under iterative pruning a session binds the results of all blocks before; otherwise none was announced."""
    first, second = (
        bound(folder, random_windows(3, 2, 12, seed=seed), tmp_path / str(seed), propagate) for seed in (1, 2)
    )

    assert first[0] == second[0]
    assert (first[1] != second[1]) is is_told
    assert len(set(first)) == 3


def test_a_session_binds_the_run_it_belongs_to(bound, folder, checkpoint, tmp_path) -> None:
    """Runs of another model, dtype, method, windows' length or roster open their first session with another digest."""
    windows, other_keys = random_windows(3, 2, 12), [generate_signing_key() for _ in range(4)]
    runs = [
        {},
        {"folder": checkpoint("mistral", torch.float32)},
        {"dtype": torch.float64},
        {"windows": random_windows(3, 2, 13)},
        {"keys": other_keys[:3]},
        {"keys": [*other_keys[:2], other_keys[3]]},
        {"sparsity": "0.4"},
        {"pruner": "magnitude"},
        {"group": "row"},
        {"ties": "random"},
        {"ties": "random", "seed": 1},
    ]
    asked = {"folder": folder, "windows": windows, "propagate": "local", "stop_at": 1}
    first = [bound(**(asked | {"work": tmp_path / str(n)} | changed)) for n, changed in enumerate(runs)]

    assert [len(digests) for digests in first] == [1] * len(runs)
    assert len({digests[0] for digests in first}) == len(runs)
    assert bound(**(asked | {"work": tmp_path / "again"})) == first[0]


def test_a_session_binds_its_block_and_its_number(bound, folder, tmp_path) -> None:
    """The same number serves another block, or the same block takes another number, under another digest."""
    windows = random_windows(3, 2, 12)
    whole = bound(folder, windows, tmp_path / "whole", "local")
    bound(folder, windows, tmp_path / "parts", "local", stop_at=0)
    late = bound(folder, windows, tmp_path / "parts", "local", stop_at=2)

    assert len(whole) == 3
    assert len(late) == 2
    # Numbers 0, 1, 2 of blocks 0, 1, 2 against numbers 1, 2 of blocks 0, 1.
    assert len({*whole, *late}) == 5


def test_a_resumed_run_binds_the_same(bound, folder, tmp_path) -> None:
    """What was announced before the interruption counts as before."""
    windows = random_windows(3, 2, 12, seed=1)
    whole = bound(folder, windows, tmp_path / "whole", "global")
    before = bound(folder, windows, tmp_path / "parts", "global", stop_at=1)
    (tmp_path / "parts" / "sessions.json").write_text('{"opened": 1}')  # the number that the interruption spent
    after = bound(folder, windows, tmp_path / "parts", "global")

    assert before + after == whole
