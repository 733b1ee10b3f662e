"""A cell that shares work has the very result of a run on its own; what is secret is each cell's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from safetensors.torch import load_file

from experiments.shared_inputs import _stamp
from experiments.sweep import read_sweep
from fedprllm_secure.evaluation import perplexities
from fedprllm_secure.propagation import Propagation
from protocols import simulate
from tests.experiments.conftest import run_main
from tests.experiments.sweep.conftest import NOISE

PROTOCOLS = ["plain", "additive", "ckks"]
WAYS = {
    "local": {},
    "dense": {"propagate": "dense", "scale": "true"},
    "global": {"schedule": "iterative", "scale": "true"},
    "statistics": {"payload": "statistics"},
    "statistics, global": {"payload": "statistics", "schedule": "iterative"},
    "units": {"payload": "units", "group": "none"},
    "random ties, two sparsities": {"ties": "random", "sparsity": ["0.5", "2:4"], "seed": ["0", "1"]},
    "hidden states of two types": {"hidden-dtype": ["float32", "bfloat16"]},
    "weights of two types": {"dtype": ["float32", "bfloat16"]},
    "who leaves": {"dropout": "0.3@submit", "recovery-threshold": "1", "minimum-survivors": "1"},
}


def alone(sweep_folder: Path, row: dict, out: Path) -> Path:
    """Run a cell of a sweep as a command of its own."""
    (cell,) = [
        each for each in json.loads((sweep_folder / "sweep.json").read_text())["cells"] if each["name"] == row["cell"]
    ]
    switches = ("true", "false")
    words = [f"--{n}" if v == "true" else f"--{n}={v}" for n, v in cell["flags"].items() if v != switches[1]]
    assert run_main("prune", *words, "--save-votes", "--json", f"--out={out}").status == 0
    return out


def results(folder: Path) -> tuple[bytes, dict, dict]:
    """Read what must not depend on sharing."""
    result = json.loads((folder / "result.json").read_text())
    return (folder / "prune_masks.safetensors").read_bytes(), result["perplexity"], result["sparsity"]


@pytest.mark.parametrize("way", WAYS)
def test_shared_cells_equal_separate_runs(sweep, tmp_path, way):
    """Masks, perplexities of all baselines and sparsity are those of each cell run alone, bit for bit."""
    protocols = ["plain", "additive"] if way != "who leaves" else ["plain"]
    out = tmp_path / "sweep"
    assert sweep(out, protocol=protocols, **WAYS[way]) == 0

    rows = read_sweep(out)
    assert all(row["state"] == "done" for row in rows)
    for number, row in enumerate(rows):
        assert results(out / "cells" / row["cell"]) == results(alone(out, row, tmp_path / str(number)))


def test_public_side_of_noisy_statistics_equals_a_separate_run(sweep, tmp_path):
    """Under noise, everything that no noise enters is that of a run alone: clip, baselines, costs."""
    out = tmp_path / "sweep"
    noise = NOISE | {"adjacency": "window-zero-out", "epsilon": [1, 8], "public_windows": 32}
    assert sweep(out, protocol=["plain", "additive"], payload="statistics", **noise) == 0

    rows = read_sweep(out)
    assert len(rows) == 4
    masks = {(out / "cells" / row["cell"] / "prune_masks.safetensors").read_bytes() for row in rows}
    assert len(masks) == 4  # each cell has noise of its own: equal masks would be equal noise
    for number, row in enumerate(rows):
        one, other = (
            json.loads((folder / "result.json").read_text())
            for folder in (out / "cells" / row["cell"], alone(out, row, tmp_path / str(number)))
        )
        for found in (one, other):
            del found["perplexity"]["federated"]
        for name in ("perplexity", "privacy", "simulation_only", "bytes"):
            assert one[name] == other[name]


@pytest.fixture
def counted(monkeypatch):
    """Count the passes that are computed and the variants that are measured."""
    counts = {"passes": 0, "variants": 0, "submissions": 0}
    shared_pass, submit = Propagation._shared_pass, simulate.Simulation.submit

    def count_pass(self, what, index, rows, compute, *, moves):
        def counting():
            counts["passes"] += 1
            return compute()

        return shared_pass(self, what, index, rows, counting, moves=moves)

    def count_submission(self, client, vectors):
        counts["submissions"] += 1
        return submit(self, client, vectors)

    def count_variants(model, ids, variants, **more):
        counts["variants"] += len(variants)
        return perplexities(model, ids, variants, **more)

    monkeypatch.setattr(Propagation, "_shared_pass", count_pass)
    monkeypatch.setattr(simulate.Simulation, "submit", count_submission)
    monkeypatch.setattr("fedprllm_secure.shared_evaluation.perplexities", count_variants)
    return counts


def test_work_is_shared_and_sessions_are_not(sweep, tmp_path, counted):
    """Of six cells with equal clients, one calibrates and measures; all hold their own sessions and noise."""
    assert sweep(tmp_path / "one", protocol="plain") == 0
    first = dict(counted)
    out = tmp_path / "all"
    assert sweep(out, protocol=PROTOCOLS, epsilon=["none", 3], **NOISE) == 0

    cells = read_sweep(out)
    noisy = [row for row in cells if row["claimed_epsilon"] is not None]
    assert len(noisy) == 3
    assert counted["passes"] == 2 * first["passes"]  # of the first sweep, and once for all of the second
    assert counted["variants"] == 2 * first["variants"] + 3  # and each noisy mask
    assert counted["submissions"] == 7 * first["submissions"]
    masks = [(out / "cells" / row["cell"] / "prune_masks.safetensors").read_bytes() for row in noisy]
    assert len(set(masks)) == 3  # equal masks would be equal noise
    exact = {row["cell"] for row in cells} - {row["cell"] for row in noisy}
    loaded = [load_file(out / "cells" / name / "prune_masks.safetensors") for name in exact]
    assert all((each[key] == loaded[0][key]).all() for each in loaded for key in each)


def test_two_evaluation_texts_are_two_measurements(sweep, inputs, tmp_path):
    """Perplexities are kept by the windows that they are of."""
    out = tmp_path / "sweep"
    assert sweep(out, eval_data=[str(inputs.eval_text), str(inputs.public_text)]) == 0

    for number, row in enumerate(read_sweep(out)):
        assert results(out / "cells" / row["cell"]) == results(alone(out, row, tmp_path / str(number)))


def test_what_a_noisy_cell_may_not_have_is_refused_after_an_exact_one_had_it(sweep, inputs, tmp_path):
    """Clients' text as evaluation text goes without noise and not with it, whatever was cut before."""
    out = tmp_path / "sweep"
    assert sweep(out, eval_data=str(inputs.text), epsilon=["none", 3], **NOISE) != 0

    states = {row["epsilon"]: (row["state"], row["error"]) for row in read_sweep(out)}
    assert states[None] == ("done", None)
    assert states[3][0] == "failed"
    assert "eval-data" in states[3][1]


def test_text_that_changes_between_cells_is_read_again(inputs, tmp_path):
    """A file that is replaced or rewritten has another stamp, even with the same size and time."""
    file, other = tmp_path / "text.txt", tmp_path / "other.txt"
    file.write_text("one two three")
    before = _stamp(str(file))
    assert before == _stamp(str(file))
    found = file.stat()
    other.write_text("two one three")
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(file)

    assert _stamp(str(file)) != before
    assert len(_stamp(str(tmp_path))) == 1
    assert _stamp("no such place") == _stamp(None) == ()


def test_seconds_of_shared_work_are_said(sweep, tmp_path):
    """A cell says what the work took that it took over from another."""
    assert sweep(tmp_path / "sweep", protocol=["plain", "additive"]) == 0

    first, second = read_sweep(tmp_path / "sweep")
    assert first["seconds_shared"] == 0
    assert second["seconds_shared"] > 0


def test_nothing_is_shared_without_memory(sweep, tmp_path, counted):
    """A sweep that may keep nothing computes every cell."""
    assert sweep(tmp_path / "sweep", protocol=["plain", "additive"], shared_bytes=0) == 0

    one, other = read_sweep(tmp_path / "sweep")
    assert "seconds_shared" not in one
    assert one["perplexity_result"] == other["perplexity_result"]
