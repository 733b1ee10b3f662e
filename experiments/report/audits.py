"""One audit, as its ``audit.json`` tells it: who saw what, what each attack reached, and how claims fare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.audit.out_folder import RESULT, SCHEMA
from experiments.report.audited import Cell
from experiments.report.fields import LEVEL, SHARE, Fields

FILE = RESULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """An audit.

    Attributes:
        name: how the report calls it, such as ``A1``.
        folder: where it lies.
        config: flags that decide it.
        run_config: of the run that was recorded; None where runs were played.
        model_sha256: digest of the model; empty where the file does not say.
        kind: the game's name: ``membership``, or another that has no cells.
        adjacency: what a coin decided; empty where none was tossed.
        knowledge: what the attacker held of a candidate; empty likewise.
        level: chance of each interval and bound to be wrong.
        cells: of the membership game; none where masks were given or another game was played.
        in_doubt: p-values of claims under attacks, corrected for their number.
        alarms: views on which the blind baseline beats chance: there the game itself leaks.
        figures: the whole file, for what has no cells.
        environment: likewise named in it.
    """

    name: str
    folder: Path
    config: Mapping[str, Any] = field(repr=False)
    run_config: Mapping[str, Any] | None = field(repr=False)
    model_sha256: str
    kind: str
    adjacency: str
    knowledge: str
    level: float
    cells: tuple[Cell, ...]
    in_doubt: Mapping[str, float]
    alarms: tuple[str, ...]
    figures: Fields = field(repr=False)
    environment: Fields = field(repr=False)

    @classmethod
    def read(cls, folder: Path, *, name: str) -> Audit:
        """Read an audit's folder.

        Raises:
            Unreadable: its result is cut short, of another schema, or lacks something.
        """
        found = Fields.read(folder / FILE, schema=SCHEMA)
        game = found.maybe_inside("game")
        cells = tuple(Cell.read(cell) for cell in found.each("cells")) if found.has("cells") else ()
        run = found.maybe_inside("run")
        kind = game.maybe_text("name") or ("membership" if cells else "given masks")
        return cls(
            name=name,
            folder=folder,
            config=found.inside("config").entries,
            run_config=run.inside("config").entries if run.has("config") else None,
            model_sha256=found.maybe_inside("model").maybe_text("sha256") or "",
            kind=kind,
            adjacency=game.maybe_text("adjacency") or "",
            knowledge=game.maybe_text("knowledge") or "",
            level=found.number("level", within=LEVEL) if cells else 0.05,
            cells=cells,
            in_doubt=found.by_name("claims_p_values_holm", within=SHARE),
            alarms=found.texts("baseline_alarms"),
            figures=found,
            environment=found.maybe_inside("environment"),
        )

    def exceeded_by(self, cell: Cell) -> list[str]:
        """Name the attacks that a cell's claim does not stand, allowing for how many were tried."""
        return [name for name, value in self._p_values(cell).items() if value is not None and value < self.level]

    def untested(self, cell: Cell) -> list[str]:
        """Name the attacks under which a cell's claim was not tested: the file has no p-value of them."""
        return [name for name, value in self._p_values(cell).items() if value is None and cell.claim is not None]

    def _p_values(self, cell: Cell) -> dict[str, float | None]:
        """Give p-values by attack; None where the file has none, which is no sign that a claim holds."""
        return {
            each.name: self.in_doubt.get(f"{cell.configuration}; {cell.adversary}; {each.name}")
            for each in cell.attacks
        }
