"""What a report says, apart from how it is written: sections of text, tables, commands and pictures.

A picture is described once, as numbers; pages draw it in their own way. Every string may come from a file, so whoever
writes a document escapes all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Role = Literal["data", "limit", "claim"]
Shape = Literal["points", "line", "steps"]
NEAR = 0.012  # of an axis: points nearer than that lie on each other


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    words: str


@dataclass(frozen=True, slots=True)
class Points:
    """A list of short statements."""

    each: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sources:
    """A table's cell that names runs and audits, each with its command below.

    Attributes:
        names: such as ``R1``.
    """

    names: tuple[str, ...]


Entry = str | Sources


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first column names the rows.

    Attributes:
        title: what it shows, units included.
        columns: their names.
        rows: as many entries each.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]

    def __post_init__(self) -> None:
        """Check its shape.

        Raises:
            ValueError: a row has another number of entries than there are columns.
        """
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"row={row} must have {len(self.columns)} entries")


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis.

    Attributes:
        title: with its unit.
        is_log: logarithmic.
        low: where it begins.
        high: where it ends.
        ticks: (place, text); empty where the plotter chooses.
    """

    title: str
    is_log: bool
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...] = ()

    def share(self, place: float) -> float:
        """Say how far along the axis a place is: 0 where it begins, 1 where it ends."""
        if self.is_log:
            return math.log(place / self.low) / math.log(self.high / self.low)
        return (place - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Numbers drawn alike.

    Attributes:
        name: in the legend.
        x: places.
        y: heights, as many.
        low: ends of intervals, as many; empty where there are none.
        high: likewise.
        notes: what a reader sees at each point; empty for its numbers alone.
        shape: how they are drawn.
        role: `data`; `limit`, a line to compare with; `claim`, a line that data must not pass.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    shape: Shape = "line"
    role: Role = "data"

    def __post_init__(self) -> None:
        """Check lengths.

        Raises:
            ValueError: they differ.
        """
        for name in ("y", "low", "high", "notes"):
            values = getattr(self, name)
            if len(values) != len(self.x) and (values or name == "y"):
                raise ValueError(f"{name}={len(values)} must be as many as x={len(self.x)}")


@dataclass(frozen=True, slots=True)
class Curves:
    """Series on two axes.

    Attributes:
        x: axis.
        y: axis.
        series: drawn in this order.
        unseen: part of the x axis (low, high, name) about which the data say nothing; None where they do everywhere.
    """

    x: Axis
    y: Axis
    series: tuple[Series, ...]
    unseen: tuple[float, float, str] | None = None

    def covered(self, series: Series) -> int:
        """Count the series of data, drawn later, that have a point on one of this one's: it is drawn larger."""
        own = self._places(series)
        later = self.series[self.series.index(series) + 1 :]
        return sum(
            any(abs(x - a) < NEAR and abs(y - b) < NEAR for x, y in self._places(other) for a, b in own)
            for other in later
            if other.role == "data" and other.shape == series.shape == "points"
        )

    def _places(self, series: Series) -> list[tuple[float, float]]:
        return [(self.x.share(x), self.y.share(y)) for x, y in zip(series.x, series.y, strict=True)]


@dataclass(frozen=True, slots=True)
class Grid:
    """Squares, darker where the value is greater.

    Attributes:
        columns: from the left.
        rows: from above.
        values: a row each; None where there is nothing.
        texts: what each square says, likewise.
        low: value of the lightest.
        high: value of the darkest.
        unit: what values are.
        across: what columns are; empty where their names say it.
    """

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    low: float
    high: float
    unit: str
    across: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture, what it says in words, and its numbers.

    Attributes:
        key: names its files; unique in a document.
        title: above it.
        says: what one sees there, for those who do not.
        drawing: the numbers to draw.
        table: the same numbers to read.
    """

    key: str
    title: str
    says: str
    drawing: Curves | Grid
    table: Table


@dataclass(frozen=True, slots=True)
class Command:
    """How figures are made again.

    Attributes:
        name: such as ``R1``.
        what: in a line.
        line: for a shell.
        notes: what to know besides.
    """

    name: str
    what: str
    line: str
    notes: tuple[str, ...] = ()


Block = Text | Points | Table | Picture | Command


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report.

    Attributes:
        key: names its anchor; unique in a document.
        title: its heading.
        blocks: what it holds.
    """

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A report.

    Attributes:
        title: its heading.
        sections: its parts.
        made: by what, in a line.
    """

    title: str
    sections: tuple[Section, ...]
    made: str

    def pictures(self) -> tuple[Picture, ...]:
        """List all pictures in order."""
        return tuple(block for section in self.sections for block in section.blocks if isinstance(block, Picture))
