"""An audit in the terminal: protocols against adversaries, and below it what each attack reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Column, Table

from attacks.leakage.figures import Measured
from attacks.leakage.report import LeakageReport
from experiments.audit.matrix import ADVERSARIES
from experiments.audit.report import SIMPLE, CellReport, claims_in_doubt, fate


def show_cells(reports: Sequence[CellReport], *, title: str, console: Console) -> None:
    """Print the matrix of protocols and adversaries: the strongest attack's AUC, its interval, and the claim."""
    configurations = list(dict.fromkeys(each.cell.configuration.name for each in reports))
    in_doubt = claims_in_doubt(reports)
    table = Table("what sees it", *configurations, title=title, show_lines=True)
    for adversary in ADVERSARIES:
        of_adversary = {each.cell.configuration.name: each for each in reports if each.cell.adversary == adversary}
        if of_adversary:
            cells = [_cell(of_adversary[name], in_doubt) if name in of_adversary else "" for name in configurations]
            table.add_row(adversary, *cells)
    console.print(table)


def _cell(report: CellReport, in_doubt: Mapping[str, float]) -> str:
    best = report.best
    lines = [f"{report.cell.job}", f"AUC {measured(best.auc)}", f"by {best.attack}"]
    if report.cell.configuration.privacy is not None:
        lines.append(fate(report, in_doubt))
    return "\n".join(lines)


def show_attacks(reports: Sequence[CellReport], *, console: Console) -> None:
    """Print every attack on everything that is seen, once each, strongest first."""
    seen = set()
    for each in reports:
        if each.cell.job in seen:
            continue
        seen.add(each.cell.job)
        best = each.best
        predicted = "" if each.predicted_auc is None else f"; plain score predicted {each.predicted_auc:.3f}"
        table = Table(
            Column("attack", no_wrap=True),
            *("AUC", "TPR at FPR 10 %", "1 %", "0.1 %", "advantage", "epsilon ≥ (one run)"),
            Column(f"less {SIMPLE}'s", overflow="fold"),
            title=f"{each.cell.job}: {best.members} members, {best.non_members} non-members, {best.runs} runs"
            + predicted,
        )
        for report in each.reports:
            table.add_row(*_row(report))
        console.print(table)
        for rate in best.rates:
            if rate.tpr.value is None:
                console.print(
                    f"  true positive rate at {100 * rate.fpr:g} % not given: {rate.tpr.reason}", highlight=False
                )
        missing = {_why_not_compared(report) for report in each.reports if report.attack != SIMPLE} - {""}
        for reason in sorted(missing):
            console.print(f"  not compared with {SIMPLE}: {reason}", highlight=False)
        for name, reason in each.refused.items():
            console.print(f"  {name} not made: {reason}", highlight=False)


def _row(report: LeakageReport) -> list[str]:
    rates = ["" if rate.tpr.value is None else measured(rate.tpr) for rate in report.rates]
    bound = report.one_run
    found = "" if bound.epsilon is None else f"{bound.epsilon:.2f} of {bound.ceiling:.2f}"
    name = f"{report.attack} (turned)" if report.is_reversed else report.attack
    return [name, measured(report.auc), *rates, measured(report.at_cutoff.advantage), found, _compared(report)]


def _compared(report: LeakageReport) -> str:
    """Write by how much an attack does better than the simple one, and in what; nothing where they are not compared."""
    comparison = report.against_simple
    if comparison is None or comparison.figure is None:
        return ""
    return f"{comparison.figure} {measured(comparison.difference, sign='+')}"


def _why_not_compared(report: LeakageReport) -> str:
    comparison = report.against_simple
    return "" if comparison is None or comparison.figure is not None else comparison.difference.reason or ""


def measured(figure: Measured, *, sign: str = "") -> str:
    """Write a figure with its interval, or why there is none; of a difference with a `sign` of ``+``."""
    if figure.value is None:
        return figure.reason or ""
    if figure.interval is None:
        return f"{figure.value:{sign}.3f}"
    return f"{figure.value:{sign}.3f} [{figure.interval.low:{sign}.3f}, {figure.interval.high:{sign}.3f}]"
