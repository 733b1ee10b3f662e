"""Runs a sweep: what is done already is skipped, what failed stands beside the rest, and the table is written."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from experiments.cli import DONE as SUCCESS
from experiments.cli import UNEXPECTED
from experiments.inputs import pick_device
from experiments.processes import available_cores
from experiments.sweep.audit_columns import RESULT as AUDIT_RESULT
from experiments.sweep.audits import match_audits
from experiments.sweep.cells import Cell, cells_of, model_digest
from experiments.sweep.commit import code_commit
from experiments.sweep.crew import work_off
from experiments.sweep.folder import DONE, FAILED, MISSING, Entry, SweepFolder, Texts, read_result
from experiments.sweep.live import LiveTable
from experiments.sweep.private_text import texts_of
from experiments.sweep.spec import SweepSpec
from experiments.sweep.table import read_rows, write_table
from experiments.sweep.tasks import Outcome, Task

SHARED_BYTES = 1 << 30
# Flags that change only how what clients made is summed, disturbed or chosen from: cells alike in all others share
# calibration, baselines and most of their perplexities.
OF_THE_SUM = frozenset(
    {
        "protocol", "graph", "neighbours", "recovery-threshold", "minimum-survivors", "assumed-colluders", "dropout",
        "dp", "epsilon", "delta", "noise-multiplier", "noise", "adjacency", "rank", "clip", "ledger", "data-set",
        "group", "ties", "scale", "save-model", "save-votes", "save-transcript",
    }
)  # fmt: skip
OF_THE_CHOICE = frozenset({"sparsity", "pruner", "local-group"})


def run_sweep(
    spec: SweepSpec,
    out: Path,
    *,
    jobs: int | None = None,
    shared_bytes: int = SHARED_BYTES,
    quiet: bool = False,
) -> int:
    """Run every cell of a sweep, and the audits that match, that is not done yet, and write the table.

    A cell is a run of ``fedprllm prune`` in ``out/cells/NAME`` with the very result that it would have on its own. Runs
    of one process share what they would compute alike; keys, sessions, noise and charges are each run's own. A failed
    cell is tried again when the sweep is run again. Safe to kill at any moment.

    Processes are started afresh (``spawn``): a script that calls this with more than one job needs its
    ``if __name__ == "__main__":``.

    Args:
        spec: what is asked.
        out: the folder of the sweep; one that holds other cells keeps them, and lists those asked for now.
        jobs: processes at a time; by default a core each, and no more than there are groups of cells that share their
            calibration; one for work on a GPU.
        shared_bytes: most memory for shared work, each process.
        quiet: shows nothing.

    Returns:
        An exit status: 0 when every cell and audit is done; else that of the failures, of the first where they differ,
        and 1 wherever one was unexpected.

    Raises:
        InputError: nothing of the kind can be run: a flag or a value is none, ``out`` is no folder for a sweep, or its
            cells were made of text that has changed since.
        KeyboardInterrupt: the user interrupted; the table has what is done.
    """
    digest_of = cache(model_digest)
    cells = cells_of(spec, digest_of=digest_of)
    folder = SweepFolder(out)
    with folder.locked():
        entries = [Entry(name=cell.name, flags=dict(cell.flags)) for cell in cells]
        audits: list[Entry] = []
        if spec.audit is not None:
            pairs = list(zip(cells, entries, strict=True))
            audits = match_audits(pairs, spec.audit, digest_of=digest_of)
        sweep = _Sweep(spec, folder, entries, audits)
        sweep.look()
        if any({"dp", "ledger"} & set(cell.flags) == {"dp"} for cell in cells):
            print(
                "cells with noise are a simulation and no claim: no --ledger remembers what they release",
                file=sys.stderr,
            )
        tasks = sweep.tasks()
        try:
            if tasks:
                wanted = jobs or default_jobs(cells, tasks)
                with LiveTable(tasks, skipped=sweep.done(), axes=axes_of(spec), quiet=quiet) as table:
                    work_off(tasks, jobs=wanted, shared_bytes=shared_bytes, watcher=_Both(sweep, table))
        finally:
            sweep.save()
            write_table(folder)
    return sweep.status()


def read_sweep(folder: Path) -> list[dict[str, Any]]:
    """Read a sweep's rows, one a cell (and audit of it), finished or not; see :mod:`experiments.sweep.table`.

    Raises:
        InputError: the folder holds no sweep that this version reads.
    """
    return read_rows(SweepFolder(folder))


def axes_of(spec: SweepSpec) -> list[str]:
    """List the flags of prune with several values."""
    return [name for name, values in spec.prune.items() if len(values) > 1]


def default_jobs(cells: Sequence[Cell], tasks: Sequence[Task]) -> int:
    """Choose the number of processes: a core each, as many as there is work that cannot be shared; one on a GPU."""
    devices = {cell.parsed(".").device for cell in cells}
    if any(pick_device(name).type == "cuda" for name in devices if name != "cuda") or devices == {"cuda"}:
        return 1
    return min(available_cores(), len({task.likeness for task in tasks}))


def likeness(flags: dict[str, str]) -> str:
    """Say which cells or audits share their costly work: those whose likeness is the same text."""
    # Statistics of the unpruned model are the same whatever is then removed.
    is_surveyed = flags.get("payload") == "statistics" and flags.get("schedule") != "iterative"
    free = OF_THE_SUM | OF_THE_CHOICE if is_surveyed else OF_THE_SUM
    return json.dumps({name: value for name, value in flags.items() if name not in free}, sort_keys=True)


class _Sweep:
    """What is known of the cells and audits, kept on disk as it changes."""

    def __init__(self, spec: SweepSpec, folder: SweepFolder, cells: list[Entry], audits: list[Entry]) -> None:
        self._spec, self._folder, self._cells, self._audits = spec, folder, cells, audits
        self._texts: dict[str, Texts | None] = {}
        self._by_name = {("cell", cell.name): cell for cell in cells} | {("audit", each.name): each for each in audits}

    def look(self) -> None:
        """Find what is done already; of earlier failures nothing is kept, for they are tried again."""
        former = self._former()
        kept = self._folder.texts()
        begun = {name: kept.get(name) for kind, name in self._by_name if self._place(kind, name).exists()}
        self._texts = kept | texts_of(self._by_name.values(), begun=begun)
        for (kind, name), entry in self._by_name.items():
            if read_result(self._place(kind, name), "result.json" if kind == "cell" else AUDIT_RESULT) is not None:
                entry.state, entry.status = DONE, SUCCESS
                # Left by a kill between the result and the clearing up: state of private text.
                shutil.rmtree(self._place(kind, name) / "work", ignore_errors=True)
                entry.commit = former[kind, name].commit if (kind, name) in former else None
        self.save()

    def _place(self, kind: str, name: str) -> Path:
        return self._folder.cell(name) if kind == "cell" else self._folder.audit(name)

    def _former(self) -> dict[tuple[str, str], Entry]:
        if not (self._folder.path / "sweep.json").exists():
            return {}
        cells, audits = self._folder.entries()
        return {("cell", cell.name): cell for cell in cells} | {("audit", each.name): each for each in audits}

    def tasks(self) -> list[Task]:
        """List what is to be done: cells first."""
        return [
            Task(
                kind="cell" if kind == "cell" else "audit",
                name=name,
                flags=entry.flags,
                out=self._place(kind, name),
                likeness=f"{kind} {likeness(entry.flags)}",
            )
            for (kind, name), entry in self._by_name.items()
            if entry.state == MISSING
        ]

    def done(self) -> int:
        """Count what is done."""
        return sum(entry.state == DONE for entry in self._by_name.values())

    def finished(self, task: Task, outcome: Outcome) -> None:
        """Take note of what came of a task, before the next begins."""
        entry = self._by_name[task.kind, task.name]
        entry.state = DONE if outcome.status == SUCCESS else FAILED
        entry.status, entry.error, entry.commit = outcome.status, outcome.error, code_commit()
        self.save()

    def save(self) -> None:
        """Write ``sweep.json``."""
        self._folder.write(self._spec, self._cells, self._audits, self._texts)

    def status(self) -> int:
        """Give the exit status."""
        failures = [each.status for each in self._by_name.values() if each.state == FAILED and each.status is not None]
        return UNEXPECTED if UNEXPECTED in failures else failures[0] if failures else SUCCESS


class _Both:
    """Tells the record and the table how the work goes on."""

    def __init__(self, sweep: _Sweep, table: LiveTable) -> None:
        self._sweep, self._table = sweep, table
        self.started, self.progressed = table.started, table.progressed

    def finished(self, task: Task, outcome: Outcome) -> None:
        self._sweep.finished(task, outcome)
        self._table.finished(task, outcome)
