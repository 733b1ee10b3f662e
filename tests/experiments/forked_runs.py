"""Run commands of ``fedprllm`` in forked children, some of which are killed: ``python forked_runs.py < runs.json``.

Each run is ``{"arguments": [...], "kill": null | ["rename", N] | ["SIGKILL" | "SIGINT", SECONDS | FILE]}``: kill just
before the Nth rename of a file, or send the signal that long after the run began, or as soon as FILE has its name in
the folder of results. Statuses are printed as JSON, a signal as its negative number. Forking saves each run the seconds
that imports take.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

import experiments.prune_command  # noqa: F401 - so that children find it loaded
from experiments.cli import main


def kill_at_rename(number: int) -> None:
    """Make this process end, as by a power cut, before its ``number``-th rename."""
    original, left = Path.replace, [number]

    def replace(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, target)

    Path.replace = replace


def signal_after(file: str, number: signal.Signals) -> None:
    """Make this process send itself a signal when a file has got its name: however busy the machine is, then."""
    original = Path.replace

    def replace(self: Path, target: Path) -> Path:
        found = original(self, target)
        if Path(target).as_posix().endswith(file):
            os.kill(os.getpid(), number)
        return found

    Path.replace = replace


def status_of(arguments: list[str], kill: list | None) -> int:
    """Run a command in a child and return its status."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if kill and kill[0] == "rename":
            kill_at_rename(kill[1])
        elif kill and isinstance(kill[1], str):
            signal_after(kill[1], getattr(signal, kill[0]))
        os._exit(main(arguments))
    if kill and isinstance(kill[1], float):
        time.sleep(kill[1])
        os.kill(child, getattr(signal, kill[0]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    print(json.dumps([status_of(run["arguments"], run["kill"]) for run in json.load(sys.stdin)]))
