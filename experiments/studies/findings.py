"""What rows of sweeps say: means and intervals over seeds by setting, differences paired by seed, sentences of them.

Knows no study: what is compared with what is named by who asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.report.intervals import Spread, spread
from experiments.sweep.folder import DONE

Row = dict[str, Any]
NOTHING = ""  # how a flag that is not given stands in a table


@dataclass(frozen=True, slots=True)
class Line:
    """One setting of a study.

    Attributes:
        setting: by name of a flag, its value.
        seeds: runs with a result.
        figures: by title, over those runs; None where no run has the figure.
    """

    setting: Mapping[str, str]
    seeds: int
    figures: Mapping[str, Spread | None]

    def flat(self) -> dict[str, Any]:
        """Give one level of names: settings, ``seeds``, and each figure with the ends of its interval."""
        found: dict[str, Any] = {**self.setting, "seeds": self.seeds}
        for title, each in self.figures.items():
            name = title.replace(" ", "_")
            found[name] = None if each is None else each.mean
            found[f"{name}_low"] = None if each is None else each.low
            found[f"{name}_high"] = None if each is None else each.high
        return found


@dataclass(frozen=True, slots=True)
class Sentence:
    """A conclusion.

    Attributes:
        text: in words.
        spread: the figure that it rests on; None where it rests on a count that it names itself.
    """

    text: str
    spread: Spread | None = None


def value_of(row: Row, name: str) -> str:
    """Give a setting as text; nothing for a flag that is not given."""
    found = row.get(name)
    return NOTHING if found is None else str(found)


def chosen(rows: Sequence[Row], **setting: object) -> list[Row]:
    """Pick the finished rows of a setting."""
    wanted = {name: NOTHING if value is None else str(value) for name, value in setting.items()}
    return [
        row
        for row in rows
        if row["state"] == DONE and all(value_of(row, name) == value for name, value in wanted.items())
    ]


def by_seed(rows: Sequence[Row], figure: str) -> dict[int, float]:
    """Give a figure of each seed that has it.

    Raises:
        ValueError: two rows are of one seed, so that they are no one setting.
    """
    found: dict[int, float] = {}
    for row in rows:
        if row.get(figure) is None:
            continue
        if row["seed"] in found:
            raise ValueError(f"seed={row['seed']} must be of one row of a setting, not of two")
        found[row["seed"]] = float(row[figure])
    return found


def over_seeds(rows: Sequence[Row], figure: str) -> Spread | None:
    """Give the mean of a figure over the seeds that have it, and its interval; None where none has."""
    values = list(by_seed(rows, figure).values())
    return spread(values) if values else None


def paired(left: Sequence[Row], figure: str, right: Sequence[Row], other: str | None = None) -> Spread | None:
    """Give the left figure less the right one over the seeds that have both; None where none has.

    Args:
        left: rows of one setting.
        figure: column of the left ones.
        right: rows of another setting, or the same ones.
        other: column of the right ones; ``figure`` by default.
    """
    ours, theirs = by_seed(left, figure), by_seed(right, other or figure)
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    return spread(differences) if differences else None


def summarise(rows: Sequence[Row], *, by: Sequence[str], figures: Mapping[str, str]) -> list[Line]:
    """Give a line for each setting, in the order in which they come; those without any result too.

    Args:
        rows: of sweeps.
        by: columns that make a setting.
        figures: by title, the column.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(value_of(row, name) for name in by), []).append(row)
    lines = []
    for setting, found in groups.items():
        done = [row for row in found if row["state"] == DONE]
        values = {title: over_seeds(done, column) for title, column in figures.items()}
        lines.append(Line(dict(zip(by, setting, strict=True)), len(done), values))
    return lines


def told(left: str, right: str, difference: Spread | None, *, what: str = "perplexity") -> list[Sentence]:
    """Say how the left one stands to the right one; nothing where no seed has both.

    Args:
        left: what is looked at, in words that begin a sentence.
        right: what it is compared with, without a comma at its end.
        difference: left less right, over seeds.
        what: the figure.
    """
    if difference is None:
        return []
    shown = signed(difference)
    if difference.low is None or difference.high is None:
        return [Sentence(f"{left}: {what} {shown} against {right}, of one seed, which gives no interval.", difference)]
    if difference.low == difference.high == 0:
        text = f"{left} and {right} have the very same {what} on {difference.count} seeds."
    elif difference.low <= 0 <= difference.high:
        text = f"{left} cannot be told from {right}: {what} {shown}, {difference.count} seeds."
    else:
        where = "higher" if difference.mean > 0 else "lower"
        text = f"{left} has {where} {what} than {right}: {shown}, {difference.count} seeds."
    return [Sentence(text, difference)]


def signed(difference: Spread) -> str:
    """Write a difference with its sign, and its interval."""
    if difference.low is None or difference.high is None:
        return f"{difference.mean:+.3g}"
    return f"{difference.mean:+.3g} [{difference.low:+.3g}, {difference.high:+.3g}]"
