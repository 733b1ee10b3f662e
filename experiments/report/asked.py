"""What was asked, read off the configurations: what all runs share, and what was varied."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.report.audits import Audit
from experiments.report.document import Points, Section
from experiments.report.groups import TELLING, trait
from experiments.report.intervals import listed
from experiments.report.runs import Run
from experiments.report.sources import Failure

AXES = tuple(name for name in TELLING if name != "eval_windows")  # the evaluation says them
WITH_NOISE = ("adjacency", "delta", "noise", "dp")
SHOWN_ONCE = ("model", "data", "sparsity", "clients", "windows_per_client", "payload", "protocol", "partition")


def asked(runs: Sequence[Run], audits: Sequence[Audit], failures: Sequence[Failure]) -> Section:
    """Say what the inputs are and what differs among them."""
    lines = [
        f"{_count(len(runs), 'pruning run')}, {_count(len(audits), 'audit')}"
        + (f", {_count(len(failures), 'cell')} of sweeps without a result" if failures else "")
    ]
    if runs:
        values = {name: list(dict.fromkeys(trait(run, name) for run in runs)) for name in AXES}
        same = [f"{_named(name)} {values[name][0]}" for name in SHOWN_ONCE if len(values[name]) == 1]
        lines.append(f"In all runs: {'; '.join(same)}")
        varied = [
            f"{_named(name)}: {', '.join(value or 'none' for value in found)}"
            for name, found in values.items()
            if len(set(found) - ({""} if name in WITH_NOISE else set())) > 1
        ]
        seeds = sorted({str(run.seed) for run in runs})
        varied.append(f"seeds: {', '.join(seeds)}")
        lines.append(f"Varied: {'; '.join(varied)}")
    for audit in audits:
        lines.append(_audit(audit))
    return Section("asked", "What was asked", tuple([Points(tuple(lines))]))


def _audit(audit: Audit) -> str:
    if not audit.cells:
        return f"{audit.name}: {audit.kind}"
    names = list(dict.fromkeys(cell.configuration for cell in audit.cells))
    return f"{audit.name}: what adversaries of {listed(names)} learn, {audit.adjacency}, knowledge {audit.knowledge}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _named(name: str) -> str:
    return "differential privacy" if name == "noise strength" else name.replace("_", " ")
