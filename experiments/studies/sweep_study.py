"""How a study that needs many runs goes: sweeps, then a table, a picture and sentences, all made from their rows.

A study resumes as its sweeps do: they lie in ``OUT/sweeps`` and are ordinary ones, for ``fedprllm report`` too. What it
found is written as ``NAME.csv``, ``.jsonl``, ``.md``, ``.png``, ``.svg`` and ``conclusions.json``. The seed decides
which text is whose and random ties; noise is drawn anew. Intervals are Student's, 95 %, over seeds, and each is of one
figure: they are not widened for the number of figures that are looked at.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.flags import positive
from experiments.report.intervals import Spread
from experiments.result import write_json
from experiments.studies.findings import Line, Row, Sentence
from experiments.studies.panels import Panel, draw
from experiments.sweep import SweepSpec, read_sweep, run_sweep
from experiments.sweep.commands import prune_actions
from experiments.sweep.folder import DONE
from experiments.sweep.values import split_values
from fedprllm_secure.errors import InputError

# Flags of prune that every study passes on as they are, and what they are where they are not given.
PASSED_ON: dict[str, str | None] = {
    "model": "demo",
    "model-sha256": None,
    "data": "demo",
    "text-field": None,
    "public-data": None,
    "public-windows": None,
    "eval-data": None,
    "eval-windows": "32",
    "window-length": None,
    "batch-windows": None,
    "dtype": None,
    "device": None,
}
SWEEPS = "sweeps"
WIDE = 200  # of a table that goes to a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a study is asked.

    Attributes:
        out: where it writes; a folder that exists.
        seeds: as ``--seed`` takes them.
        jobs: processes at a time; None as a sweep chooses.
        base: flags of prune that all runs share, by name.
        axes: flags of prune that the study itself varies, by name, as they were asked.
    """

    out: Path
    seeds: tuple[str, ...]
    jobs: int | None
    base: Mapping[str, str]
    axes: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, flags: Mapping[str, Any], *, out: Path, axes: Mapping[str, str]) -> Asked:
        """Read the flags that :func:`add_flags` added.

        Raises:
            InputError: a flag names no value.
        """
        actions = prune_actions()
        given = {name: flags[name.replace("-", "_")] for name in PASSED_ON}
        return cls(
            out=out,
            seeds=split_values(actions["seed"], flags["seeds"]),
            jobs=flags["jobs"],
            base={name: value for name, value in given.items() if value is not None},
            axes={name: split_values(actions[name], flags[name.replace("-", "_")]) for name in axes},
        )

    def spec(self, **values: Any) -> SweepSpec:
        """Ask for a sweep of every seed: flags by name with underscores, each with one value or several."""
        return SweepSpec.of({**self.base, "seed": self.seeds} | {n.replace("_", "-"): v for n, v in values.items()})

    def rows(self, label: str, spec: SweepSpec) -> list[Row]:
        """Run a sweep as far as it is not done, and give its rows, each with ``sweep``, its label.

        Raises:
            InputError: nothing of the kind can be run.
        """
        folder = self.folder(label)
        run_sweep(spec, folder, jobs=self.jobs)
        return [{"sweep": label, **row} for row in read_sweep(folder)]

    def folder(self, label: str) -> Path:
        """Name the folder of a sweep."""
        return self.out / SWEEPS / label


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a study found.

    Attributes:
        question: it set out with.
        lines: of its table.
        digits: of a figure, by title; 2 where it is not named.
        panels: of its picture.
        sentences: what follows.
        notes: what a reader must know of how it was made.
    """

    question: str
    lines: Sequence[Line]
    panels: Sequence[Panel]
    sentences: Sequence[Sentence]
    digits: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


def add_flags(
    parser: argparse.ArgumentParser,
    axes: Mapping[str, str],
    *,
    minutes: str,
    defaults: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Add the flags of every study, and one for each flag of prune that this one varies.

    Args:
        parser: of the study.
        axes: by name of a flag of prune, the values that it has by default.
        minutes: what the study takes as it is, in words.
        defaults: of flags that are passed on, where this study's are others.
    """
    parser.epilog = f"As it is, on the demo model: {minutes}. Killed, it continues by the same command."
    parser.add_argument("--seeds", default="0-2", metavar="LIST", help="such as 0-4; default 0-2: three")
    parser.add_argument("--jobs", type=positive, metavar="N", help="processes at a time; default as a sweep chooses")
    for name, default in axes.items():
        parser.add_argument(f"--{name}", default=default, metavar="LIST", help=f"values to study; default {default}")
    add_passed_on(parser, {**PASSED_ON, **defaults})


def add_passed_on(parser: argparse.ArgumentParser, standards: Mapping[str, str | None]) -> None:
    """Add flags of prune that go to every run as they are, each with its default here; None for prune's own."""
    actions = prune_actions()
    passed = parser.add_argument_group("flags of prune, for every run")
    for name, standard in standards.items():
        text = f"{actions[name].help}" + (f"; here default {standard}" if standard else "")
        passed.add_argument(f"--{name}", default=standard, metavar="VALUE", help=text)


def conclude(name: str, found: Found, rows: Sequence[Row], *, out: Path) -> Found:
    """Write and print what a study found.

    Args:
        name: of the study.
        found: it.
        rows: of all its runs; those without a result are named.
        out: where files go.

    Raises:
        InputError: no run has a result.
    """
    failed = [row for row in rows if row["state"] != DONE]
    if len(failed) == len(rows):
        says = f"; the first says: {rows[0]['error']}" if rows else ", for there is none"
        raise InputError(f"no run of the study has a result{says}")
    flat = [line.flat() for line in found.lines]
    (out / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in flat))
    with (out / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for line in flat for key in line)))
        writer.writeheader()
        writer.writerows(flat)
    notes = [*found.notes, *missing(failed, of=len(rows))]
    (out / f"{name}.md").write_text(markdown(found, notes, picture=f"{name}.png"))
    conclusions = [asdict(each) for each in found.sentences]
    write_json(out / "conclusions.json", {"study": name, "conclusions": conclusions, "notes": notes})
    for ending in ("png", "svg"):
        draw(found.panels, out / f"{name}.{ending}")
    console = Console()
    console.width = max(console.width, WIDE) if not console.is_terminal else console.width
    console.print(table(found, title=name))
    for line in [*(each.text for each in found.sentences), *(f"note: {note}" for note in notes)]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"table, picture and conclusions: {out}", highlight=False, markup=False, soft_wrap=True)
    return found


def missing(failed: Sequence[Row], *, of: int) -> list[str]:
    """Say in a line for each reason how many runs have no result; digests and counts in reasons may differ."""
    reasons: dict[str, int] = {}
    for row in failed:
        kind = "the protocol aborted" if row.get("status") == 3 else str(row.get("error") or "not run yet")
        reasons[kind] = reasons.get(kind, 0) + 1
    return [f"{count} of {of} runs have no result: {reason}" for reason, count in reasons.items()]


def table(found: Found, *, title: str) -> Table:
    """Lay the lines out."""
    laid = Table(title=f"{title}: mean ± half of its 95 % interval over seeds", pad_edge=False)
    cells = _cells(found)
    for number, name in enumerate(cells[0]):
        laid.add_column(name, justify="left" if number < len(found.lines[0].setting) else "right", no_wrap=True)
    for line in cells[1:]:
        laid.add_row(*line)
    return laid


def markdown(found: Found, notes: Sequence[str], *, picture: str) -> str:
    """Write it all, with a picture that lies beside it."""
    head, *body = _cells(found)
    rows = [f"| {' | '.join(cells)} |\n" for cells in ([*head], ["---"] * len(head), *body)]
    remarks = "".join(f"Note: {note}.\n" for note in notes)
    parts = [f"# {found.question}\n", "".join(f"- {each.text}\n" for each in found.sentences)]
    parts += [f"![{found.question}]({picture})\n", remarks, "".join(rows)]
    return "\n".join(part for part in parts if part)


def _cells(found: Found) -> list[list[str]]:
    first = found.lines[0]
    rows = [[*(name.replace("_", " ") for name in first.setting), "seeds", *first.figures]]
    for line in found.lines:
        figures = [_shown(each, found.digits.get(title, 2)) for title, each in line.figures.items()]
        rows.append([*line.setting.values(), str(line.seeds), *figures])
    return rows


def _shown(each: Spread | None, digits: int) -> str:
    if each is None:
        return ""
    if each.low == each.high or each.high is None:  # the same on every seed, or one seed
        return f"{each.mean:.{digits}f}"
    return f"{each.mean:.{digits}f} ± {each.high - each.mean:.{digits}f}"
