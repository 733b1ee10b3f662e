"""The folder of a run: one process at a time, its owner alone, and nothing gone unnoticed."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedprllm_secure.errors import InputError
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.work import WorkFolder
from tests.fedprllm_secure.conftest import Checkpoints
from tests.fedprllm_secure.tiny_models import CPU, make_method, random_windows, run_federation
from tests.other_process import lock_held_elsewhere

WINDOWS = random_windows(3, 2, 12, seed=3)


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoints) -> StreamedModel:
    """A LLaMA of three blocks."""
    return StreamedModel(checkpoint("llama"), device=CPU)


@pytest.fixture
def held_elsewhere(tmp_path: Path) -> Iterator[WorkFolder]:
    """A folder at which another process is at work."""
    work = WorkFolder(tmp_path / "work")
    with lock_held_elsewhere(work.folder / "lock"):
        yield work


def test_a_second_process_is_refused(model: StreamedModel, held_elsewhere: WorkFolder) -> None:
    """While another process holds the folder, neither its lock is had nor a run begun; afterwards both are."""
    with pytest.raises(InputError, match="another process is at work here"), held_elsewhere.locked():
        pass
    with pytest.raises(InputError, match="another process is at work here"):
        run_federation(model, WINDOWS, make_method(), held_elsewhere.folder)
    assert [file.name for file in held_elsewhere.folder.iterdir()] == ["lock"]


def test_the_lock_may_be_nested_and_is_given_back(tmp_path: Path) -> None:
    """A process does not lock itself out, and leaves the folder to the next when it is done."""
    first, second = WorkFolder(tmp_path / "work"), WorkFolder(tmp_path / "work")
    with first.locked():
        with first.locked():
            pass
        with pytest.raises(InputError, match="another process is at work here"), second.locked():
            pass
    with second.locked():
        pass


def test_an_existing_folder_is_closed_to_others(tmp_path: Path) -> None:
    """A folder that everyone could enter becomes its owner's own."""
    (tmp_path / "work").mkdir(mode=0o755)
    (tmp_path / "work").chmod(0o755)
    WorkFolder(tmp_path / "work")
    assert stat.S_IMODE((tmp_path / "work").stat().st_mode) == 0o700


@pytest.mark.parametrize("done", [1, 3], ids=["unfinished", "finished"])
def test_hidden_states_that_are_gone_are_refused(model: StreamedModel, tmp_path: Path, done: int) -> None:
    """Sessions are not run a second time because a file was lost: the run stops before it opens another."""

    def stop(phase: str, finished: int, total: int) -> None:
        if finished == done < total:
            raise KeyboardInterrupt

    try:
        run_federation(model, WINDOWS, make_method(), tmp_path, progress=stop)
    except KeyboardInterrupt:
        assert done == 1
    (tmp_path / f"hidden-{done:04d}.bin").unlink()
    with pytest.raises(InputError, match=rf"hidden-{done:04d}\.bin is missing.*start over with --overwrite"):
        run_federation(model, WINDOWS, make_method(), tmp_path)
    assert json.loads((tmp_path / "sessions.json").read_text()) == {"opened": 3}
    assert WorkFolder(tmp_path).record(0).survivors == [0, 1, 2]
