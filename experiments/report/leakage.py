"""What adversaries learn: protocols against adversaries, every attack, and how claims fare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from attacks.leakage.ceilings import one_run_ceiling
from attacks.leakage.selection import holm_factor
from experiments.audit.matrix import ADVERSARIES
from experiments.report.audited import Cell
from experiments.report.audits import Audit
from experiments.report.document import Block, Entry, Grid, Picture, Points, Section, Table, Text
from experiments.report.document import Sources as Named
from experiments.report.roc import roc_pictures

MOST_ROWS = 40
MOST_COINS = 20_000


def leakage(audits: Sequence[Audit]) -> Section:
    """Report every audit."""
    blocks: list[Block] = []
    if not audits:
        blocks.append(
            Text(
                "No audit is among the inputs: what adversaries learn was not measured. fedprllm audit measures it, "
                "for played runs or for a finished run with canaries and a transcript."
            )
        )
    for audit in audits:
        blocks += _audit(audit) if audit.cells else _other(audit)
    return Section("leakage", "What adversaries learn", tuple(blocks))


def _audit(audit: Audit) -> list[Block]:
    kind = "of one recorded run" if audit.run_config is not None else "of played runs"
    chosen = (
        "nothing was chosen, so that the first attack named stands for each view"
        if audit.run_config is not None
        else "the strongest attack was chosen on half of the runs, and every figure is of the other half"
    )
    blocks: list[Block] = [
        Text(
            f"{audit.name}: an audit {kind}, game {audit.adjacency}, attacker's knowledge {audit.knowledge}; {chosen}. "
            f"Intervals at {100 * (1 - audit.level):.0f} %."
        )
    ]
    if audit.alarms:
        blocks.append(
            Text(f"The blind baseline beats chance on {', '.join(audit.alarms)}: there the game itself leaks.")
        )
    blocks.append(_matrix(audit))
    blocks += roc_pictures(audit)
    blocks.append(_attacks(audit))
    not_made = {
        f"{cell.sees}: {name} was not made: {why}" for cell in audit.cells for name, why in cell.not_made.items()
    }
    return [*blocks, *([Points(tuple(sorted(not_made)))] if not_made else [])]


def _matrix(audit: Audit) -> Picture:
    configurations = list(dict.fromkeys(cell.configuration for cell in audit.cells))
    present = {cell.adversary for cell in audit.cells}
    adversaries = [name for name in ADVERSARIES if name in present] + sorted(present - set(ADVERSARIES))
    cells = {(cell.configuration, cell.adversary): cell for cell in audit.cells}
    rows = [[cells.get((configuration, adversary)) for adversary in adversaries] for configuration in configurations]
    highest = max(audit.cells, key=lambda cell: cell.best.auc.value or 0.0)
    return Picture(
        key=f"matrix-{audit.name.lower()}",
        title=f"{audit.name}: AUC of the strongest attack, by protocol and adversary",
        says=f"{len(audit.cells)} cells; the highest AUC is {highest.best.auc} ({highest.configuration}, "
        f"{highest.adversary}). 0.5 is guessing, 1 is certainty. Empty: not played.",
        drawing=Grid(
            columns=tuple(adversaries),
            rows=tuple(configurations),
            values=tuple(tuple(None if cell is None else cell.best.auc.value for cell in row) for row in rows),
            texts=tuple(tuple("" if cell is None else _square(cell) for cell in row) for row in rows),
            low=0.5,
            high=1.0,
            unit="AUC",
            across="",
        ),
        table=Table(
            "Protocols and adversaries",
            ("configuration", "adversary", "sees", "strongest attack", "AUC", "claim", "how it fares", "from"),
            tuple(
                (
                    cell.configuration,
                    cell.adversary,
                    cell.sees,
                    cell.best.name,
                    str(cell.best.auc),
                    f"none: {cell.no_claim}" if cell.claim is None else str(cell.claim),
                    fate(audit, cell),
                    Named((audit.name,)),
                )
                for cell in audit.cells
            ),
        ),
    )


def _square(cell: Cell) -> str:
    value = cell.best.auc.value
    return "refused" if value is None else f"{value:.3f}"


def fate(audit: Audit, cell: Cell) -> str:
    """Say how a cell's claim fares under all attacks that were tried."""
    if cell.claim is None:
        return "nothing is claimed"
    broken = audit.exceeded_by(cell)
    if broken:
        return f"EXCEEDED by {', '.join(broken)}"
    if missing := audit.untested(cell):
        return "not tested" if len(missing) == len(cell.attacks) else f"not tested under {', '.join(missing)}"
    most = most_shown(audit, cell)
    if most < cell.claim.epsilon:
        return f"not exceeded (these coins show epsilon {most:.2f} at most)"
    return "not exceeded"


def most_shown(audit: Audit, cell: Cell) -> float:
    """Give the greatest epsilon that any attack could have shown on so many coins beside the other claims tested."""
    level = audit.level / holm_factor(audit.in_doubt, level=audit.level)
    return max(_ceiling(attack.members + attack.non_members, attack.delta, level) for attack in cell.attacks)


@lru_cache(maxsize=1024)
def _ceiling(coins: int, delta: float, level: float) -> float:
    """Bound what coins show; without bound where there are so many that it costs seconds and is above any claim."""
    return math.inf if coins > MOST_COINS else one_run_ceiling(coins, delta=delta, level=level)


def _attacks(audit: Audit) -> Table:
    """List every attack on every view once."""
    views = {cell.sees: cell for cell in audit.cells}
    rows: list[tuple[Entry, ...]] = [
        (
            cell.sees,
            f"{attack.name} (turned)" if attack.is_turned else attack.name,
            str(attack.auc),
            "not given" if attack.shown is None else f"{attack.shown:.2f} of {attack.most or 0:.2f}",
            f"{attack.members} / {attack.non_members} / {attack.runs}",
            Named((audit.name,)),
        )
        for cell in views.values()
        for attack in cell.attacks
    ]
    return Table(
        f"{audit.name}: every attack on every view",
        (
            "what is seen",
            "attack",
            "AUC",
            "epsilon at least (one run), of the most these coins show",
            "members / non-members / runs",
            "from",
        ),
        tuple(rows),
    )


def _other(audit: Audit) -> list[Block]:
    """Report what is no membership game: its figures as they stand."""
    note = audit.figures.entries.get("note")
    rows = [(place, f"{value:.4g}") for place, value in numbers_in(audit.figures.entries.get("figures", {}))]
    blocks: list[Block] = [
        Text(
            f"{audit.name}: {audit.kind}{f', game {audit.adjacency}' if audit.adjacency else ''}. {note or ''}".strip()
        )
    ]
    if rows:
        blocks.append(Table(f"{audit.name}: figures of {audit.kind}", ("figure", "value"), tuple(rows[:MOST_ROWS])))
    if len(rows) > MOST_ROWS or not rows:
        blocks.append(Text(f"All {len(rows) or 'its'} figures are in {audit.folder / 'audit.json'}."))
    return blocks


def numbers_in(value: object, place: str = "") -> list[tuple[str, float]]:
    """List numbers in a nest of objects and lists of objects, with where they stand; lists of numbers are left out."""
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [(place, float(value))]
    if isinstance(value, list):
        value = {str(number): entry for number, entry in enumerate(value, start=1) if isinstance(entry, dict)}
    if isinstance(value, dict):
        return [
            each
            for name, entry in value.items()
            for each in numbers_in(entry, f"{place}, {name}" if place else str(name))
        ]
    return []
