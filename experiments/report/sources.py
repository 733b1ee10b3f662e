"""Finds what paths hold: runs, audits, and sweeps of both. What cannot be read is named in a line; the rest goes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from experiments.report import audits, runs
from experiments.report.audits import Audit
from experiments.report.fields import FAULTS, Fields, Unreadable, one_line
from experiments.report.runs import Run
from experiments.sweep.folder import AUDITS, CELLS, DONE, SCHEMA
from experiments.sweep.folder import FILE as SWEEP
from fedprllm_secure.errors import InputError

FILES = (runs.FILE, audits.FILE, SWEEP)


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell of a sweep without a result.

    Attributes:
        sweep: its folder.
        name: of the cell, or of an audit.
        flags: what it was asked, in one line.
        state: `failed` or `missing`.
        error: what went wrong; empty where nothing was tried.
    """

    sweep: Path
    name: str
    flags: str
    state: str
    error: str


@dataclass(slots=True)
class Sources:
    """What paths hold, gathered one by one.

    Attributes:
        runs: finished runs.
        audits: finished audits.
        failures: cells of sweeps without a result.
        complaints: what was left out, a line each.
    """

    runs: list[Run] = field(default_factory=list)
    audits: list[Audit] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _seen: set[Path] = field(default_factory=set)

    @classmethod
    def gather(cls, paths: Iterable[Path]) -> Sources:
        """Read all of them.

        Args:
            paths: folders of runs, audits and sweeps, or folders of such folders.

        Raises:
            InputError: nothing was found in any.
        """
        found = cls()
        named = list(paths)
        for path in named:
            found._add(path)
        if not (found.runs or found.audits or found.failures):
            why = "; ".join(found.complaints) or "no path was named"
            raise InputError(f"nothing to report: {why}")
        return found

    def _add(self, path: Path) -> None:
        path = path.parent if path.name in FILES and path.is_file() else path
        if not path.exists():
            self.complaints.append(f"{path}: no such folder; left out")
        elif any((path / name).is_file() for name in FILES):
            self._add_folder(path)
        elif (path / "work").is_dir():
            self.complaints.append(f"{path}: a run that is not finished; the same command continues it; left out")
        else:
            inner = [each for each in _folders(path) if any((each / name).is_file() for name in FILES)]
            if not inner:
                self.complaints.append(f"{path}: holds none of {', '.join(FILES)}; left out")
            for each in inner:
                self._add_folder(each)

    def _add_folder(self, folder: Path) -> None:
        """Read a folder for what it holds; once, however it is named."""
        if folder.resolve() in self._seen:
            return
        self._seen.add(folder.resolve())
        try:
            if (folder / runs.FILE).is_file():
                self.runs.append(Run.read(folder, name=f"R{len(self.runs) + 1}"))
            if (folder / audits.FILE).is_file():
                self.audits.append(Audit.read(folder, name=f"A{len(self.audits) + 1}"))
            if (folder / SWEEP).is_file():
                self._add_sweep(folder)
        except Unreadable as error:
            self.complaints.append(str(error))
        except FAULTS as error:
            self.complaints.append(f"{folder}: cannot be read ({type(error).__name__}: {one_line(error)}); left out")

    def _add_sweep(self, folder: Path) -> None:
        """Read what is done; list what is not, for what a failed cell left is no result."""
        try:
            sweep = Fields.read(folder / SWEEP, schema=SCHEMA)
        except Unreadable as error:
            self.complaints.append(f"{error}; its finished cells and audits are read all the same")
            for part in (CELLS, AUDITS):
                for each in _folders(folder / part):
                    self._add_part(folder, part, each.name)
            return
        for part in (CELLS, AUDITS):
            for cell in sweep.each(part):
                name, state = cell.text("name"), cell.text("state")
                if Path(name).name != name or name in ("", ".", ".."):
                    raise Unreadable(f"{cell.file}: {cell.place}name must be that of a folder; left out")
                if state == DONE:
                    self._add_part(folder, part, name)
                else:
                    what = name if part == CELLS else f"audit {name}"
                    self.failures.append(Failure(folder, what, _flags(cell), state, cell.maybe_text("error") or ""))

    def _add_part(self, folder: Path, part: str, name: str) -> None:
        """Read a cell's or an audit's folder, unless it leads out of the sweep's."""
        place = folder / part / name
        if place.resolve().is_relative_to(folder.resolve()):
            self._add(place)
        else:
            self.complaints.append(f"{place}: lies outside its sweep; left out")


def _flags(cell: Fields) -> str:
    """Write a cell's flags in one line."""
    flags = cell.maybe_inside("flags").entries
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in flags.items() if value is not None)


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
