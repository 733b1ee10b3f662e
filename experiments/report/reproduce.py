"""How every figure is made again: each run's and audit's command, what it ran on, and where its folder lies."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.report.audits import Audit
from experiments.report.commands import audit_command, prune_command
from experiments.report.document import Block, Command, Section, Table, Text
from experiments.report.fields import Fields
from experiments.report.groups import names_of
from experiments.report.runs import Run
from experiments.report.sources import Failure


def reproduce(runs: Sequence[Run], audits: Sequence[Audit]) -> Section:
    """List commands; tables name them in their last column."""
    names = names_of(runs)
    blocks: list[Block] = [
        Text(
            "Every table names, in its last column, the runs and audits that its figures are from. Put a folder of "
            "your own for DIR. Noise, keys and coins come from the operating system: noisy figures, and audits, come "
            "out alike but not the same."
        )
    ]
    for run in runs:
        line, unknown = prune_command(run.config)
        notes = [f"folder {run.folder}", f"{run.protocol} {run.protects}", *_environment(run.environment)]
        notes += [f"model digest {run.model_sha256}", *_unknown(unknown), *(f"note: {note}" for note in run.notes)]
        blocks.append(Command(run.name, names[run.name], line, tuple(notes)))
    for audit in audits:
        line, unknown = audit_command(audit.config)
        what = f"audit, {audit.kind}" + (f", {audit.adjacency}" if audit.adjacency else "")
        notes = [f"folder {audit.folder}", *_environment(audit.environment), *_unknown(unknown)]
        blocks.append(Command(audit.name, what, line, tuple(notes)))
    return Section("reproduce", "Every figure's command", tuple(blocks))


def _unknown(flags: Sequence[str]) -> list[str]:
    return [f"this version knows no {', '.join(flags)}; the command leaves them out"] if flags else []


def _environment(found: Fields) -> list[str]:
    """Say what a result was measured with."""
    versions = found.entries.get("versions")
    packages = versions if isinstance(versions, dict) else {}
    shown = ", ".join(f"{name} {number}" for name, number in packages.items() if number is not None)
    place = ", ".join(str(found.entries[name]) for name in ("device", "platform") if name in found.entries)
    threads = f", {found.entries['threads']} threads" if "threads" in found.entries else ""
    python = f"Python {found.entries['python']}, " if "python" in found.entries else ""
    return [f"measured on {place}{threads}", f"{python}{shown}"] if place or shown else []


def failed(failures: Sequence[Failure], complaints: Sequence[str]) -> Section | None:
    """List cells of sweeps that have no result, and what was left out; None where there is neither."""
    blocks: list[Block] = []
    if failures:
        blocks.append(
            Table(
                "Cells of sweeps without a result; no figure above counts them",
                ("cell", "state", "error", "flags"),
                tuple((each.name, each.state, each.error or "not tried", each.flags) for each in failures),
            )
        )
    if complaints:
        blocks.append(Table("Left out", ("what, and why",), tuple((line,) for line in complaints)))
    return Section("failed", "Failed and left out", tuple(blocks)) if blocks else None
