"""What a study measured, a value at a time; its tables and sentences, printed and written. Measures nothing itself."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.report.intervals import Spread, spread
from experiments.result import write_json
from experiments.studies.findings import Sentence
from experiments.studies.panels import Panel, draw

WHOLE = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One number of one draw of clients.

    Attributes:
        seed: of the draw.
        variant: whose weights it is about.
        measure: what was measured.
        place: where, such as a matrix's name, ``block 3`` or ``model``.
        value: what was found.
    """

    seed: int
    variant: str
    measure: str
    place: str
    value: float


class Values:
    """Values of several draws, looked up by what they are of."""

    def __init__(self, values: Sequence[Value]) -> None:
        """Take all values of a study.

        Raises:
            ValueError: two say the same thing of one draw.
        """
        self.all = list(values)
        self.seeds = sorted({value.seed for value in values})
        self._by_name = {(v.seed, v.variant, v.measure, v.place): v.value for v in values}
        if len(self._by_name) != len(self.all):
            raise ValueError(f"values={len(self.all)} must be of different draws, variants, measures or places")

    def __iter__(self) -> Iterator[Value]:
        """Go through them in the order of measuring."""
        return iter(self.all)

    def places(self, measure: str, variant: str) -> list[str]:
        """List where something was measured, in that order."""
        return list(dict.fromkeys(v.place for v in self.all if (v.measure, v.variant) == (measure, variant)))

    def of(self, measure: str, variant: str, place: str = WHOLE) -> list[float]:
        """Give a value for each draw, by ascending seed.

        Raises:
            KeyError: it was not measured.
        """
        return [self._by_name[seed, variant, measure, place] for seed in self.seeds]

    def spread(self, measure: str, variant: str, place: str = WHOLE) -> Spread:
        """Give mean and interval over draws."""
        return spread(self.of(measure, variant, place))

    def shown(self, measure: str, variant: str, place: str = WHOLE, *, digits: int = 2) -> str:
        """Give mean and half an interval in words; nothing where some draw has no such value."""
        if any((seed, variant, measure, place) not in self._by_name for seed in self.seeds):
            return ""
        return plus_minus(self.spread(measure, variant, place), digits=digits)

    def difference(self, measure: str, variant: str, other: str) -> Spread:
        """Give mean and interval of ``variant`` less ``other``, draw by draw."""
        pairs = zip(self.of(measure, variant), self.of(measure, other), strict=True)
        return spread([one - two for one, two in pairs])

    def share(self, measure: str, variant: str, *, of: str, above: str) -> Spread:
        """Give mean and interval of (``variant`` - ``above``) / (``of`` - ``above``), draw by draw.

        Raises:
            ZeroDivisionError: ``of`` and ``above`` are the same in some draw.
        """
        triples = zip(self.of(measure, variant), self.of(measure, of), self.of(measure, above), strict=True)
        return spread([(part - floor) / (whole - floor) for part, whole, floor in triples])


def plus_minus(found: Spread, *, digits: int = 2) -> str:
    """Write mean and half an interval; the mean alone where there is none or it is nothing."""
    if found.high is None or found.high == found.mean:
        return f"{found.mean:.{digits}f}"
    return f"{found.mean:.{digits}f} ± {found.high - found.mean:.{digits}f}"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of words; the first column is on the left.

    Attributes:
        title: stands above it.
        headings: one a column.
        rows: cells, as many as there are headings.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def printed(self) -> Table:
        """Lay it out for a terminal."""
        found = Table(title=self.title, title_justify="left", pad_edge=False, padding=(0, 0, 0, 1))
        for number, heading in enumerate(self.headings):
            found.add_column(heading, justify="right" if number else "left")
        for row in self.rows:
            found.add_row(*row)
        return found

    def markdown(self) -> str:
        """Write it as a Markdown table under its title."""
        rule = "|---|" + "---:|" * (len(self.headings) - 1)
        lines = [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join([f"**{self.title}**", "", f"| {' | '.join(self.headings)} |", rule, *lines]) + "\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a study says.

    Attributes:
        question: it set out with.
        setting: on what it was measured.
        sentences: made of the values.
        grids: tables of them.
        panels: pictures of them.
    """

    question: str
    setting: str
    sentences: Sequence[Sentence]
    grids: Sequence[Grid]
    panels: Sequence[Panel]

    def markdown(self, picture: str) -> str:
        """Write it all, with a picture that lies beside it."""
        parts = [f"# {self.question}\n", "\n".join(f"- {sentence.text}" for sentence in self.sentences) + "\n"]
        parts += [f"![{self.question}]({picture})\n", f"{self.setting}\n", *(grid.markdown() for grid in self.grids)]
        return "\n".join(parts)


def publish(out: Path, name: str, values: Values, answer: Answer) -> None:
    """Write ``name.jsonl``, ``.csv``, ``.md``, ``.png``, ``.svg`` and ``conclusions.json``; print tables and sentences.

    Args:
        out: a folder that exists.
        name: of the study.
        values: go into JSON Lines and CSV, a line each.
        answer: goes into the others.
    """
    lines = [asdict(value) for value in values]
    (out / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with (out / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    (out / f"{name}.md").write_text(answer.markdown(f"{name}.png"))
    conclusions = [asdict(sentence) for sentence in answer.sentences]
    write_json(out / "conclusions.json", {"study": name, "conclusions": conclusions, "notes": [answer.setting]})
    for ending in ("png", "svg"):
        draw(answer.panels, out / f"{name}.{ending}")
    console = Console()
    for grid in answer.grids:
        console.print(grid.printed())
    for line in (answer.setting, *(sentence.text for sentence in answer.sentences), f"table and picture: {out}"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
