"""One run or audit of a sweep, done in this process: quietly, and with its failure in a line."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from experiments.cli import guarded
from experiments.prune_command import Bars, prune_once
from experiments.sweep.commands import parse_audit, parse_prune
from experiments.sweep.folder import mend
from fedprllm_secure.shared_work import SharedWork


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done.

    Attributes:
        kind: a run of ``fedprllm prune``, or an audit.
        name: of the cell or the audit.
        flags: of the command, as text.
        out: the folder of its results.
        likeness: tasks that share work say the same.
    """

    kind: Literal["cell", "audit"]
    name: str
    flags: Mapping[str, str]
    out: Path
    likeness: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task.

    Attributes:
        status: as of the command on its own.
        error: in a line; None where there was none.
        seconds: it took.
    """

    status: int
    error: str | None
    seconds: float


def perform(task: Task, *, shared: SharedWork, bars: Bars) -> Outcome:
    """Do a task; what its command would print goes nowhere.

    Raises:
        KeyboardInterrupt: the user interrupted it; the same task continues later.
    """
    started, said = time.perf_counter(), list[str]()
    forget_peaks()
    with contextlib.redirect_stdout(io.StringIO()):
        status = guarded(_work(task, shared, bars), out=task.out, say=said.append, catches_interrupts=False)
    return Outcome(status, said[-1] if status and said else None, time.perf_counter() - started)


def _work(task: Task, shared: SharedWork, bars: Bars) -> Callable[[], int]:
    def run_cell() -> int:
        mend(task.out)
        prune_once(parse_prune(task.flags, out=str(task.out)), bars=bars, shared=shared)
        return 0

    def run_audit() -> int:
        from experiments.audit_command import run  # attacks and pictures are needed here only

        return run(parse_audit(dict(task.flags) | {"json": "true"}, out=str(task.out)))

    return run_cell if task.kind == "cell" else run_audit


def forget_peaks() -> None:
    """Count this process's peak of memory from now on, where the system lets it (Linux), and the device's."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
