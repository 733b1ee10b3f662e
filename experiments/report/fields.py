"""Reads a JSON file entry by entry: what is missing or of another kind is named, with the file that it should be in.

Whoever wrote the file is not trusted: nothing is taken for what it was not checked to be.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 28


class Unreadable(Exception):
    """A file that cannot be reported, in one line: which, and why."""


# What values that nobody foresaw raise, in reading or in composing: they cost a file or a section, not the report.
FAULTS = (
    Unreadable, ValueError, TypeError, LookupError, OverflowError, ZeroDivisionError, MemoryError, RecursionError,
    OSError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Range:
    """Where a number must lie.

    Attributes:
        words: after "a number".
        holds: whether one lies there.
    """

    words: str
    holds: Callable[[float], bool]


SHARE = Range(" in [0, 1]", lambda value: 0 <= value <= 1)
LEVEL = Range(" in (0, 1)", lambda value: 0 < value < 1)
DELTA = Range(" in [0, 1)", lambda value: 0 <= value < 1)
EPSILON = Range(" of at least 0", lambda value: value >= 0)
COUNT = Range(" from 0 to below 10,000,000", lambda value: 0 <= value < 1e7)
ANY = Range("", lambda value: True)


@dataclass(frozen=True, slots=True)
class Fields:
    """An object of a JSON file.

    Attributes:
        file: where it stands.
        entries: what it holds.
        place: its name in the file; empty for the whole of it.
    """

    file: Path
    entries: dict[str, Any]
    place: str = ""

    @classmethod
    def read(cls, file: Path, *, schema: int) -> Fields:
        """Read a file.

        Args:
            file: to read.
            schema: the version that the caller understands.

        Raises:
            Unreadable: it is no JSON object, is cut short, or of another schema.
        """
        try:
            if file.stat().st_size > MOST_BYTES:
                raise Unreadable(f"{file}: larger than any result, {MOST_BYTES:,} bytes; left out")
            found = json.loads(file.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise Unreadable(f"{file}: cut short or no JSON ({one_line(error)}); left out") from error
        if not isinstance(found, dict):
            raise Unreadable(f"{file}: holds no JSON object; left out")
        if found.get("schema") != schema:
            raise Unreadable(
                f"{file}: schema {one_line(found.get('schema'))} is not {schema}, which this version reads; left out"
            )
        return cls(file, found)

    def _missing(self, name: str, kind: str) -> Unreadable:
        return Unreadable(f"{self.file}: {self.place}{name} must be {kind}; left out")

    def has(self, name: str) -> bool:
        """Say whether there is an entry, even an empty one."""
        return name in self.entries

    def inside(self, name: str) -> Fields:
        """Go into an object."""
        value = self.entries.get(name)
        if not isinstance(value, dict):
            raise self._missing(name, "an object")
        return Fields(self.file, value, f"{self.place}{name}.")

    def maybe_inside(self, name: str) -> Fields:
        """Go into an object that may be missing or null: then it is an empty one."""
        return (
            self.inside(name) if self.entries.get(name) is not None else Fields(self.file, {}, f"{self.place}{name}.")
        )

    def each(self, name: str) -> list[Fields]:
        """Go into every object of a list."""
        value = self.entries.get(name)
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self._missing(name, "a list of objects")
        return [Fields(self.file, entry, f"{self.place}{name}[{index}].") for index, entry in enumerate(value)]

    def text(self, name: str) -> str:
        """Read a string."""
        value = self.entries.get(name)
        if not isinstance(value, str):
            raise self._missing(name, "a string")
        return value

    def maybe_text(self, name: str) -> str | None:
        """Read a string that may be missing or null."""
        return None if self.entries.get(name) is None else self.text(name)

    def number(self, name: str, *, within: Range = ANY) -> float:
        """Read a finite number."""
        value = self.entries.get(name)
        if value is None or not _is_number(value) or not within.holds(value):
            raise self._missing(name, f"a number{within.words}")
        return float(value)

    def maybe_number(self, name: str, *, within: Range = ANY) -> float | None:
        """Read a number that may be missing or null."""
        return None if self.entries.get(name) is None else self.number(name, within=within)

    def whole(self, name: str, *, within: Range = ANY) -> int:
        """Read a whole number of at least 0."""
        value = self.entries.get(name)
        if not _is_number(value) or not isinstance(value, int) or value < 0 or not within.holds(value):
            raise self._missing(name, f"a whole number{within.words}")
        return value

    def numbers(self, name: str, *, within: Range = ANY) -> tuple[float, ...]:
        """Read a list of finite numbers."""
        value = self.entries.get(name)
        if not isinstance(value, list) or not all(_is_number(entry) and within.holds(entry) for entry in value):
            raise self._missing(name, f"a list of numbers{within.words}")
        return tuple(float(entry) for entry in value)

    def texts(self, name: str) -> tuple[str, ...]:
        """Read a list of strings that may be missing."""
        value = self.entries.get(name, [])
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise self._missing(name, "a list of strings")
        return tuple(value)

    def by_name(self, name: str, *, within: Range = ANY) -> dict[str, float]:
        """Read an object of finite numbers that may be missing."""
        found = self.maybe_inside(name)
        return {key: found.number(key, within=within) for key in found.entries}


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def one_line(value: object) -> str:
    """Write anything in one short line."""
    return " ".join(str(value).split())[:120]
