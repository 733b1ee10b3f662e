"""Claims of differential privacy, each with what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.report.document import Block, Points, Section, Table, Text
from experiments.report.document import Sources as Named
from experiments.report.groups import names_of
from experiments.report.runs import Run


def claims(runs: Sequence[Run]) -> Section:
    """List every run's claim; runs are not averaged, for each made releases of its own."""
    private = [run for run in runs if run.is_private]
    if not private:
        return Section(
            "claims",
            "Claims of differential privacy",
            (Text("No run used differential privacy: nothing bounds what totals and prune masks tell of the text."),),
        )
    names = names_of(private)
    rows = tuple(_row(run, names[run.name]) for run in private)
    blocks: list[Block] = [
        Table(
            "Claims, proven for the mechanism that ran",
            (
                "setting",
                "claim",
                "adjacency",
                "adversary",
                "mechanism",
                "noise multiplier",
                "releases (uninterrupted run)",
                "ledger",
                "from",
            ),
            rows,
        ),
        Table(
            "Continuous references: what other accountants say of continuous noise of the same size; no claims",
            ("setting", "exact Gaussian", "Opacus PRV", "Opacus RDP", "wrap probability", "from"),
            tuple(_references(run, names[run.name]) for run in private),
        ),
    ]
    means = {_text(run, "adjacency"): _text(run, "adjacency_means") for run in private}
    blocks.append(Points(tuple(f"{name}: {meaning}" for name, meaning in means.items() if meaning)))
    not_covered = dict.fromkeys(line for run in private for line in run.privacy.texts("not_covered"))
    if not_covered:
        blocks.append(Text(f"Not covered by any claim: {'; '.join(not_covered)}."))
    if silent := [run.name for run in private if not run.privacy.texts("not_covered")]:
        blocks.append(Text(f"The result file does not say what is not covered: {', '.join(silent)}."))
    return Section("claims", "Claims of differential privacy", tuple(blocks))


def _row(run: Run, name: str) -> tuple[str | Named, ...]:
    return (
        name,
        _text(run, "claim"),
        _text(run, "adjacency"),
        _text(run, "adversary"),
        f"{_text(run, 'mechanism')}, {_text(run, 'dp')}",
        _number(run.privacy.entries.get("noise_multiplier")),
        f"{_number(run.privacy.entries.get('releases'))} "
        f"({_number(run.privacy.entries.get('releases_of_an_uninterrupted_run'))})",
        _text(run, "ledger"),
        Named((run.name,)),
    )


def _references(run: Run, name: str) -> tuple[str | Named, ...]:
    found = run.privacy.maybe_inside("continuous_reference").entries
    return (
        name,
        *(_number(found.get(f"{which}_epsilon")) for which in ("gaussian", "opacus_prv", "opacus_rdp")),
        _number(run.privacy.entries.get("wrap_probability")),
        Named((run.name,)),
    )


def _text(run: Run, name: str) -> str:
    value = run.privacy.entries.get(name)
    return value if isinstance(value, str) else ""


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "not given"
