"""Who does which task, and what becomes of one whose process dies."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.sweep.crew import Queue, _Crew, work_off
from experiments.sweep.run import likeness
from experiments.sweep.tasks import Outcome, Task
from tests.experiments.sweep.conftest import tiny_flags

ROOT = Path(__file__).parents[3]


def task(name: str, out: Path = Path(), **flags: str) -> Task:
    """Make a task whose likeness is the first letter of its name."""
    return Task(kind="cell", name=name, flags=flags, out=out, likeness=name[0])


def test_process_stays_with_what_it_has_shared():
    """A process goes on with tasks alike, then takes a kind that nobody has begun, then helps where most is left."""
    queue = Queue([task(name) for name in ("a1", "b1", "a2", "a3", "b2", "c1")])

    assert queue.next_for(None).name == "a1"
    assert queue.next_for(None).name == "b1"
    assert queue.next_for("b").name == "b2"
    assert queue.next_for("b").name == "c1"
    assert queue.next_for("c").name == "a2"
    assert queue.next_for("a").name == "a3"
    assert queue.next_for("a") is None


def test_cells_that_share_are_alike():
    """Protocols and noise make no difference; sparsity makes one, but not where statistics of all are surveyed once."""
    votes = [{"sparsity": "0.5"}, {"sparsity": "0.5", "protocol": "ckks", "epsilon": "3"}, {"sparsity": "0.7"}]
    statistics = [flags | {"payload": "statistics"} for flags in votes]

    assert likeness(votes[0]) == likeness(votes[1]) != likeness(votes[2])
    assert len({likeness(flags) for flags in statistics}) == 1
    assert len({likeness(flags | {"schedule": "iterative"}) for flags in statistics}) == 2


class Seen:
    """Remembers what a crew tells."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.outcomes: dict[str, Outcome] = {}
        self.phases: list[str] = []

    def started(self, task: Task) -> None:
        """Note that a task was begun."""
        self.phases.append(f"started {task.name}")

    def progressed(self, task: Task, phase: str, done: int, total: int) -> None:
        """Note the phase; kill whoever is at a task that is to die."""
        self.phases.append(phase)
        if task.name.endswith("dies"):
            for child in multiprocessing.active_children():
                child.kill()

    def finished(self, task: Task, outcome: Outcome) -> None:
        """Note the outcome."""
        self.outcomes[task.name] = outcome


@pytest.mark.slow
def test_processes_share_out_the_tasks(inputs, tmp_path):
    """Two processes do three tasks; one that fails says why."""
    flags = {name: str(value) for name, value in tiny_flags(inputs).items()}
    tasks = [
        task(name, tmp_path / name, **flags | more)
        for name, more in {"a1": {}, "a2": {"sparsity": "0.6"}, "b1": {"group": "row", "sparsity": "2:4"}}.items()
    ]
    seen = Seen()
    work_off(tasks, jobs=2, shared_bytes=1 << 20, watcher=seen)

    assert [seen.outcomes[name].status for name in ("a1", "a2", "b1")] == [0, 0, 2]
    assert "--group row does not go with --sparsity 2:4" in seen.outcomes["b1"].error
    assert json.loads((tmp_path / "a2" / "result.json").read_text())["environment"]["threads"] >= 1
    assert "evaluate" in seen.phases


@pytest.mark.slow
def test_task_of_a_process_that_dies_fails_and_the_rest_goes_on(inputs, tmp_path):
    """A killed process costs its task; another one takes its place."""
    flags = {name: str(value) for name, value in tiny_flags(inputs).items()}
    seen = Seen()
    tasks = [task(name, tmp_path / name, **flags) for name in ("dies", "stays")]
    crew = _Crew(tasks, jobs=1, shared_bytes=0, watcher=seen)
    crew.work()

    assert seen.outcomes["dies"].status == 1
    assert "the process that was at it ended (signal 9" in seen.outcomes["dies"].error
    assert seen.outcomes["stays"].status == 0


@pytest.mark.slow
def test_no_process_outlives_a_killed_sweep(inputs, tmp_path):
    """After SIGKILL of the command, its processes end, and the same command finishes the sweep."""
    flags = [f"--{name}={value}" for name, value in tiny_flags(inputs, sparsity="0.5,0.6").items()]
    command = [
        sys.executable,
        "-m",
        "experiments.cli",
        "sweep",
        *flags,
        "--jobs=2",
        "--json",
        f"--out={tmp_path / 's'}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "s").glob("cells/*/work")) and time.monotonic() < deadline:
        time.sleep(0.01)
    started.kill()
    started.wait()

    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert again.returncode == 0, again.stderr
    assert [json.loads(line)["state"] for line in again.stdout.splitlines()] == ["done", "done"]
