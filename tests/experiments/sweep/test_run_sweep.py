"""A sweep as a user runs it: done cells are skipped, failures stay visible, and one table says it all."""

from __future__ import annotations

import json
import shutil

import pyarrow.parquet
import pytest
import torch

from experiments.cli import BAD_INPUT, DONE, REFUSED, UNEXPECTED
from experiments.sweep import read_sweep
from experiments.sweep import run as run_module
from experiments.sweep.folder import SweepFolder
from fedprllm_secure.errors import InputError
from tests.experiments.conftest import run_main
from tests.experiments.sweep.conftest import NOISE, tiny_flags


def words(inputs, **changed) -> list[str]:
    """Compose the flags of ``fedprllm sweep``."""
    return [f"--{name}={value}" for name, value in tiny_flags(inputs, **changed).items()]


@pytest.fixture(scope="module")
def finished(sweep, tmp_path_factory):
    """A sweep with a cell that cannot be: distributed noise under the protocol plain."""
    out = tmp_path_factory.mktemp("finished") / "sweep"
    noise = NOISE | {"dp": "distributed", "epsilon": ["none", 3], "recovery-threshold": 3, "minimum-survivors": 3}
    status = sweep(out, protocol=["plain", "additive"], **noise)
    return out, status


def test_failed_cell_stays_visible_and_the_rest_goes_on(finished):
    """The failed cell has its error and status, which is the sweep's; the others are done."""
    out, status = finished

    rows = read_sweep(out)
    assert status == BAD_INPUT
    assert [(row["protocol"], row["epsilon"], row["state"]) for row in rows] == [
        ("plain", None, "done"),
        ("plain", 3.0, "failed"),
        ("additive", None, "done"),
        ("additive", 3.0, "done"),
    ]
    assert rows[1]["status"] == BAD_INPUT
    assert "distributed" in rows[1]["error"]
    assert rows[1]["perplexity_result"] is None


def test_table_is_tidy(finished):
    """JSON Lines and Parquet have the same rows, every row every column, units in the names."""
    out, _ = finished

    lines = [json.loads(line) for line in (out / "table.jsonl").read_text().splitlines()]
    assert lines == pyarrow.parquet.read_table(out / "table.parquet").to_pylist()
    assert len({tuple(line) for line in lines}) == 1
    done = lines[3]
    assert done["perplexity_result"] > 1
    assert done["perplexity_central"] is None
    assert done["perplexity_central_simulation_only"] > 1
    assert done["claimed_epsilon"] <= 3
    assert done["ledger_charged"] is False
    assert done["bytes_client_up_max"] >= done["bytes_client_submit_max"] > 0
    assert done["seconds_total"] > 0
    assert done["peak_memory_bytes"] > 1 << 20
    assert done["version_torch"] == torch.__version__
    assert done["seed"] == 0
    assert {"commit", "device_name", "device", "clients", "sparsity", "model_digest"} - set(done) == {"device"}


def test_row_says_what_the_result_says(finished):
    """Figures are those of the cell's own result."""
    out, _ = finished

    for row in read_sweep(out):
        if row["state"] == "done":
            result = json.loads((out / "cells" / row["cell"] / "result.json").read_text())
            assert row["perplexity_result"] == result["perplexity"]["federated"]["perplexity"]
            assert row["bytes_client_up_max"] == sum(step["client_up_max_bytes"] for step in result["bytes"].values())


def test_done_cells_are_skipped_and_failed_ones_tried_again(finished, sweep, monkeypatch):
    """The same sweep again runs what is not done, and nothing else."""
    out, _ = finished
    asked = []
    original = run_module.work_off
    monkeypatch.setattr(run_module, "work_off", lambda tasks, **more: (asked.extend(tasks), original(tasks, **more)))
    before = read_sweep(out)
    noise = NOISE | {"dp": "distributed", "epsilon": ["none", 3], "recovery-threshold": 3, "minimum-survivors": 3}

    assert sweep(out, protocol=["plain", "additive"], **noise) == BAD_INPUT
    assert [task.name for task in asked] == [before[1]["cell"]]
    assert read_sweep(out) == before


def test_sweep_file_lists_what_was_asked(finished):
    """``sweep.json`` holds base flags, axes, and every cell with its flags and state."""
    out, _ = finished

    found = json.loads((out / "sweep.json").read_text())
    assert found["schema"] == 1
    assert found["axes"] == {"protocol": ["plain", "additive"], "epsilon": ["none", "3"]}
    assert found["base"]["sparsity"] == "0.5"
    assert found["audit"] is None
    assert [cell["state"] for cell in found["cells"]] == ["done", "failed", "done", "done"]


def test_result_that_was_cut_short_is_made_again(sweep, tmp_path):
    """A run folder whose result cannot be read is missing, and the next sweep runs it again."""
    assert sweep(tmp_path / "sweep", protocol=["plain", "additive"]) == 0
    rows = read_sweep(tmp_path / "sweep")
    file = tmp_path / "sweep" / "cells" / rows[0]["cell"] / "result.json"
    file.write_bytes(file.read_bytes()[:100])
    assert [row["state"] for row in read_sweep(tmp_path / "sweep")] == ["missing", "done"]

    assert sweep(tmp_path / "sweep", protocol=["plain", "additive"]) == 0
    again = read_sweep(tmp_path / "sweep")
    assert [row["state"] for row in again] == ["done", "done"]
    assert again[0]["perplexity_result"] == rows[0]["perplexity_result"]


def test_text_that_changes_between_two_starts_is_refused(sweep, inputs, tmp_path):
    """One table never mixes cells of two texts: not even one that was not asked for in between, nor a half-done one."""
    text = tmp_path / "text.txt"
    text.write_bytes(inputs.text.read_bytes())
    out = tmp_path / "sweep"
    asked = {"data": str(text), "baselines": ""}
    assert sweep(out, protocol="plain", **asked) == 0
    (plain,) = read_sweep(out)
    assert sweep(out, protocol="additive", **asked) == 0
    (additive,) = read_sweep(out)

    text.write_bytes(b"Another text. " * 2000)
    with pytest.raises(InputError, match=f"--data .*text.txt is not what it was.*: 1 of .*first: {plain['cell']}"):
        sweep(out, protocol=["plain", "ckks"], **asked)
    (out / "cells" / additive["cell"] / "result.json").unlink()
    with pytest.raises(InputError, match=f"first: {additive['cell']}"):
        sweep(out, protocol="additive", **asked)
    shutil.rmtree(out / "cells" / plain["cell"])
    assert sweep(out, protocol=["plain"], **asked) == 0


def test_state_that_a_kill_left_beside_a_result_goes(sweep, tmp_path):
    """A run that was killed between its result and the clearing up is done; its private state is not kept."""
    assert sweep(tmp_path / "sweep", protocol="plain", baselines="") == 0
    (row,) = read_sweep(tmp_path / "sweep")
    work = tmp_path / "sweep" / "cells" / row["cell"] / "work"
    work.mkdir()
    (work / "hidden").write_text("private")

    assert sweep(tmp_path / "sweep", protocol="plain", baselines="") == 0
    assert not work.exists()
    assert (work.parent / "result.json").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cell_that_needs_a_gpu_fails_in_a_line(sweep, tmp_path):
    """Where there is no GPU, the cells that ask for one say so, and the others are done."""
    assert sweep(tmp_path / "sweep", device=["cuda", "cpu"]) == BAD_INPUT

    failed, done = read_sweep(tmp_path / "sweep")
    assert failed["error"] == "fedprllm: --device cuda: no CUDA device is available here; use --device cpu"
    assert done["state"] == "done"


def test_exit_status_is_that_of_the_failures(sweep, tmp_path, monkeypatch):
    """Of several failures the first counts, but an unexpected one before all."""
    ledger = {"ledger": tmp_path / "ledger.json", "epsilon": 3} | NOISE
    assert sweep(tmp_path / "refused", protocol=["plain", "additive"], **ledger) == REFUSED
    charged, refused = read_sweep(tmp_path / "refused")
    assert charged["ledger_charged"]
    assert refused["error"].startswith("privacy budget refused")

    def breaks(*_, **__):
        raise RuntimeError("quite unexpected")

    monkeypatch.setattr("experiments.prune_command.prune_result", breaks)
    assert sweep(tmp_path / "both", protocol=["plain"], sparsity=["2:4", "3:4"], group="none") == UNEXPECTED
    assert "unexpected RuntimeError: quite unexpected" in read_sweep(tmp_path / "both")[0]["error"]


def test_command_prints_cells_and_failures(inputs, tmp_path):
    """The command ends with a table of all cells, a line for each failure, and the status of the failures."""
    ran = run_main("sweep", *words(inputs, device="cpu,cuda", eval_windows=2), "--jobs=1", f"--out={tmp_path / 's'}")

    assert ran.status == (DONE if torch.cuda.is_available() else BAD_INPUT)
    assert "2 cells" in ran.stdout
    assert "no CUDA device" in ran.stdout or torch.cuda.is_available()
    assert "1 of 2, about" in ran.stderr
    again = run_main("sweep", *words(inputs, device="cpu", eval_windows=2), "--json", f"--out={tmp_path / 's'}")
    assert again.status == DONE
    assert [json.loads(line)["state"] for line in again.stdout.splitlines()] == ["done"]


def test_noise_without_a_ledger_is_said_to_be_a_simulation(inputs, tmp_path):
    """A sweep with noise says before the work that nothing remembers it."""
    given = words(inputs, dp="central", epsilon="3", delta="1e-5", adjacency="client-zero-out", baselines="none")
    ran = run_main("sweep", *given, "--jobs=1", "--json", f"--out={tmp_path / 'sweep'}")

    assert ran.status == DONE
    assert ran.stderr == "cells with noise are a simulation and no claim: no --ledger remembers what they release\n"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--protocol="], "fedprllm: --protocol '' names no value"),
        (["--protocol=plian"], "invalid choice: 'plian'"),
        (["FILE"], "names the unknown flag 'protcol'; the nearest is 'protocol'"),
    ],
)
def test_bad_usage_is_one_line(inputs, tmp_path, given, line):
    """What is no sweep at all is refused in a line, with status 2, and writes nothing."""
    (tmp_path / "sweep.yaml").write_text("protcol: plain\n")
    given = [str(tmp_path / "sweep.yaml") if each == "FILE" else each for each in given]
    ran = run_main("sweep", *given[:1], *words(inputs), f"--out={tmp_path / 'out'}")

    assert ran.status == BAD_INPUT
    assert line in ran.line
    assert not (tmp_path / "out").exists()


def test_foreign_folder_is_refused(sweep, tmp_path):
    """A folder with other files, a file, and a folder of another schema are no place for a sweep."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files \(notes.txt\)"):
        sweep(tmp_path)
    with pytest.raises(InputError, match="is a file; name a folder"):
        sweep(tmp_path / "notes.txt")
    out = tmp_path / "newer"
    out.mkdir()
    (out / "sweep.json").write_text('{"schema": 2}')
    with pytest.raises(InputError, match="is of schema 2, not 1: another version"):
        sweep(out)
    (out / "sweep.json").write_text('{"schema": 1}')
    with pytest.raises(InputError, match="does not list cells and audits"):
        read_sweep(out)
    (out / "sweep.json").write_text('{"schema"')
    with pytest.raises(InputError, match=r"is no sweep: sweep\.json is missing or cut short"):
        read_sweep(out)


def test_two_sweeps_in_one_folder_are_refused(sweep, tmp_path):
    """While a sweep is at work, another one stays out."""
    with SweepFolder(tmp_path / "sweep").locked(), pytest.raises(InputError, match="another sweep is at work here"):
        sweep(tmp_path / "sweep")
