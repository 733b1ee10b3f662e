"""What a person sees of a sweep: one live table with the time left, and at the end every cell."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from experiments.console import PHASE_NAMES
from experiments.sweep.folder import DONE, FAILED
from experiments.sweep.tasks import Outcome, Task

LINES_OF_THE_PAST = 8
SHORT = 6  # letters of a name
FIGURES = {
    "perplexity_dense": "dense",
    "perplexity_result": "pruned",
    "claimed_epsilon": "claimed epsilon",
    "audit_auc_server": "AUC of the server",
    "audit_auc_public_observer": "of the public",
    "bits_per_weight_submit": "bits",
    "seconds_total": "s",
}
STYLES = {FAILED: "bold red", DONE: ""}


class LiveTable:
    """One line for each task under way and the last ones that ended; also where the terminal is none, a line each."""

    def __init__(self, tasks: Sequence[Task], *, skipped: int, axes: Sequence[str], quiet: bool = False) -> None:
        """Prepare.

        Args:
            tasks: to be done.
            skipped: how many more were done before.
            axes: flags by which cells differ.
            quiet: shows nothing.
        """
        self._total, self._skipped, self._axes, self._quiet = len(tasks), skipped, axes, quiet
        self._console = Console(file=sys.stderr)
        self._is_live = self._console.is_terminal and not quiet
        self._at: dict[str, tuple[Task, str]] = {}
        self._past: list[tuple[Task, Outcome]] = []
        self._started = time.monotonic()
        self._live = Live(console=self._console, get_renderable=self._table, transient=True, refresh_per_second=2)

    def __enter__(self) -> LiveTable:
        """Show the table."""
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the table away."""
        if self._is_live:
            self._live.stop()

    def started(self, task: Task) -> None:
        """Show that a task was begun."""
        self._at[task.name] = (task, "begins")

    def progressed(self, task: Task, phase: str, done: int, total: int) -> None:
        """Show how far it is."""
        self._at[task.name] = (task, f"{PHASE_NAMES.get(phase, phase)} {done}/{total}")

    def finished(self, task: Task, outcome: Outcome) -> None:
        """Show what came of it."""
        self._at.pop(task.name, None)
        self._past.append((task, outcome))
        if not self._is_live and not self._quiet:
            state = DONE if outcome.status == 0 else f"{FAILED}: {outcome.error}"
            text = f"{self._heading()}: {task.kind} {task.name} ({self._label(task)}) {state}"
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _heading(self) -> str:
        done = len(self._past)
        failed = sum(outcome.status != 0 for _, outcome in self._past)
        text = f"{done} of {self._total}"
        text += f", {failed} failed" if failed else ""
        text += f", {self._skipped} done before" if self._skipped else ""
        if 0 < done < self._total:
            left = (time.monotonic() - self._started) / done * (self._total - done)
            text += f", about {duration(left)} left"
        return text

    def _label(self, task: Task) -> str:
        return " ".join(f"{name}={task.flags[name]}" for name in self._axes if name in task.flags)

    def _table(self) -> Table:
        table = Table(title=f"sweep: {self._heading()}", title_justify="left")
        for name in ("", "cell", *self._axes, "state", "time"):
            table.add_column(name, no_wrap=name in ("", "cell"))
        for task, outcome in self._past[-LINES_OF_THE_PAST:]:
            state = DONE if outcome.status == 0 else FAILED
            table.add_row(*self._names(task), state, duration(outcome.seconds), style=STYLES[state])
        for task, at in self._at.values():
            table.add_row(*self._names(task), at, "")
        return table

    def _names(self, task: Task) -> list[str]:
        return [task.kind, task.name, *(task.flags.get(name, "") for name in self._axes)]


def duration(seconds: float) -> str:
    """Put a time in a few letters."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def show_rows(rows: Sequence[Mapping[str, Any]], *, axes: Sequence[str], console: Console) -> None:
    """Print every cell with the figures that decide, and each failure in a line."""
    table = Table(title=f"{len(rows)} cells; perplexity of the dense and the pruned model, bits a weight submitted")
    names = [axis.replace("-", "_") for axis in axes]
    figures = {name: title for name, title in FIGURES.items() if any(row.get(name) is not None for row in rows)}
    table.add_column("cell", no_wrap=True)
    for title in [*axes, "state", *figures.values()]:
        table.add_column(title, justify="right")
    for row in rows:
        told = [_shown(row.get(name)) for name in (*names, "state", *figures)]
        table.add_row(row["cell"][:SHORT], *told, style=STYLES.get(row["state"], "dim"))
    console.print(table)
    failures = [
        f"{name} {row.get(name) or row['cell']}: {error}"
        for row in rows
        for name, error in (("cell", row.get("error")), ("audit", row.get("audit_error")))
        if error
    ]
    for text in dict.fromkeys(failures):  # cells share audits
        console.print(text, style="red", highlight=False, markup=False, soft_wrap=True)


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
