"""Run commands of ``fedprllm`` in forked children, some of which are killed: ``python forked_runs.py < runs.json``.

Each run is ``{"arguments": [...], "kill": null | ["rename", N] | ["SIGKILL" | "SIGINT", SECONDS | FILE]}``: kill just
before the Nth rename of a file, or send the signal that long after the run began, or once FILE is in the folder of
results. Statuses are printed as JSON, a signal as its negative number. Forking saves each run the seconds that imports
take.
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


def wait_for(what: float | str, out: Path) -> None:
    """Wait so many seconds, or until there is such a file."""
    if isinstance(what, float):
        time.sleep(what)
        return
    deadline = time.monotonic() + 60
    while not (out / what).exists() and time.monotonic() < deadline:
        time.sleep(0.001)


def status_of(arguments: list[str], kill: list | None) -> int:
    """Run a command in a child and return its status."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if kill and kill[0] == "rename":
            kill_at_rename(kill[1])
        os._exit(main(arguments))
    if kill and kill[0] != "rename":
        wait_for(kill[1], next(Path(text.removeprefix("--out=")) for text in arguments if text.startswith("--out=")))
        os.kill(child, getattr(signal, kill[0]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    print(json.dumps([status_of(run["arguments"], run["kill"]) for run in json.load(sys.stdin)]))
