"""The folder of results: a kill amid clearing it, and a process that is at work in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from experiments.run_folder import holds_another, is_finished, open_work
from fedprllm_secure.errors import InputError
from tests.other_process import lock_held_elsewhere

CONFIG = {"sparsity": "0.5"}
FILES = ("prune_masks.safetensors", "votes.safetensors", "result.json.partial")
FOLDERS = ("model", "transcript", "work", "model.partial")


class Killed(BaseException):
    """The process was killed."""


def finished_folder(out: Path) -> Path:
    """Make a folder with everything that a run may leave."""
    for name in FOLDERS:
        (out / name).mkdir(parents=True)
        (out / name / "content").write_text(name)
    for name in FILES:
        (out / name).write_text(name)
    (out / "result.json").write_text(json.dumps({"config": CONFIG}))
    return out


def names(out: Path) -> set[str]:
    """List what lies in a folder, but for folders that hold nothing."""
    return {path.name for path in out.iterdir() if path.is_file() or any(path.iterdir())}


@pytest.mark.parametrize("survived", range(len(FILES) + len(FOLDERS) + 1))
def test_a_kill_amid_clearing_leaves_nothing_that_looks_done(tmp_path, monkeypatch, survived):
    """Wherever it comes, either the whole result is there or no result is."""
    out = finished_folder(tmp_path / "run")
    whole, left = names(out), [survived]
    unlink, rmtree = Path.unlink, shutil.rmtree

    def counted(original, place, **options):
        if not Path(place).exists():
            return None
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return original(place, **options)

    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: counted(unlink, self))
    monkeypatch.setattr(shutil, "rmtree", lambda place, **options: counted(rmtree, place, **options))
    with pytest.raises(Killed):
        open_work(out, CONFIG, texts={}, model_sha256="0", overwrite=True)
    monkeypatch.undo()

    assert (names(out) == whole) == (survived == 0)
    assert (out / "result.json").exists() == (survived == 0)
    assert len(names(out)) == len(whole) - survived


def test_cleared_folder_holds_a_new_claim_alone(tmp_path):
    """Without a kill nothing of the former run is left."""
    out = finished_folder(tmp_path / "run")
    (out / "notes.txt").write_text("mine")
    open_work(out, CONFIG, texts={}, model_sha256="0", overwrite=True)

    assert names(out) == {"notes.txt", "work"}
    assert not (out / "work" / "content").exists()
    assert not is_finished(tmp_path / "other", CONFIG, overwrite=False)


@pytest.mark.parametrize("overwrite", [None, True])
def test_folder_where_another_process_works_is_refused(prune, tmp_path, overwrite):
    """A second run exits 2 with one line and touches nothing; the first is not disturbed."""
    work = tmp_path / "run" / "work"
    work.mkdir(parents=True)
    (work / "key").write_bytes(b"k" * 32)
    with lock_held_elsewhere(work / "lock"):
        ran = prune(tmp_path / "run", baselines="", overwrite=overwrite)

    assert ran.status == 2
    assert "another process is at work here; wait for it or name another folder" in ran.line
    assert not (tmp_path / "run" / "result.json").exists()
    assert prune(tmp_path / "run", baselines="", overwrite=overwrite).status == 0


def test_result_of_another_configuration_is_refused(tmp_path):
    """The message names the flag and both values."""
    out = finished_folder(tmp_path / "run")
    with pytest.raises(InputError, match=r"holds a run with --sparsity 0\.5, not 0\.6; name another folder or add"):
        is_finished(out, {"sparsity": "0.6"}, overwrite=False)
    assert is_finished(out, CONFIG, overwrite=False)


@pytest.mark.parametrize(
    ("former", "now", "told"),
    [
        (None, "row", "without --some-flag, not with --some-flag row"),
        ("row", None, "with --some-flag row, not without --some-flag"),
        (True, False, "with --some-flag, not without --some-flag"),
        (["a", "b"], [], "with --some-flag a,b, not ''"),
        (0, 1, "with --some-flag 0, not 1"),
    ],
)
def test_a_flag_is_named_as_it_is_given(tmp_path, former, now, told):
    """On a command line, where nothing is called None or True."""
    error = holds_another(tmp_path, "a run", "some_flag", former, now)

    assert str(error) == f"--out {tmp_path} holds a run {told}; name another folder or add --overwrite"
