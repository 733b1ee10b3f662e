"""What adversaries learn: ROC curves with what could be seen at all, and protocols against adversaries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attacks.leakage.ceilings import epsilon_delta_tpr, one_run_ceiling, smallest_supported_fpr
from experiments.audit.matrix import ADVERSARIES
from experiments.report.audits import Audit, Cell, Claim, Curve
from experiments.report.document import Axis, Block, Curves, Entry, Grid, Picture, Points, Section, Series, Table, Text
from experiments.report.document import Sources as Named

LOWEST = 1e-3
MOST_CURVES = 6
MOST_ROWS = 40
GUIDE_POINTS = 60
RATES = (1.0, 0.1, 0.01, 0.001, 1e-4)


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
    blocks += _rocs(audit)
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
                    _claim(cell.claim) or f"none: {cell.no_claim}",
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


def _claim(claim: Claim | None) -> str:
    return "" if claim is None else f"epsilon {claim.epsilon:.3g}, delta {claim.delta:g}, {claim.adjacency}"


def fate(audit: Audit, cell: Cell) -> str:
    """Say how a cell's claim fares under all attacks that were tried."""
    if cell.claim is None:
        return "nothing is claimed"
    broken = audit.exceeded_by(cell)
    if broken:
        return f"EXCEEDED by {', '.join(broken)}"
    most = max((attack.most or 0.0 for attack in cell.attacks), default=0.0)
    if most < cell.claim.epsilon:
        return f"not exceeded (these coins show epsilon {most:.2f} at most)"
    return "not exceeded"


def _rocs(audit: Audit) -> list[Block]:
    """Draw every view once, in pictures of one claim each."""
    found: list[Block] = []
    if any(cell.curve is None for cell in audit.cells):
        found.append(
            Text(f"{audit.name} was written by a version that kept no curves: its folder's own roc.png shows them.")
        )
    drawn = 0
    for claim in dict.fromkeys(cell.claim for cell in audit.cells):
        views = {cell.sees: cell for cell in audit.cells if cell.claim == claim and cell.curve is not None}
        cells = list(views.values())
        for start in range(0, len(cells), MOST_CURVES):
            found.append(_roc(audit, claim, cells[start : start + MOST_CURVES], drawn))
            drawn += 1
    return found


def _roc(audit: Audit, claim: Claim | None, cells: Sequence[Cell], number: int) -> Picture:
    curves = [(cell, cell.curve) for cell in cells if cell.curve is not None]
    supported = smallest_supported_fpr(min(curve.independent for _, curve in curves), level=audit.level)
    lowest = min(LOWEST, supported / 2)
    series = [
        Series(
            name=f"{cell.sees}: AUC {cell.best.auc.value or 0:.3f} ({cell.best.name})",
            # A rate of 0 has no place on a logarithmic axis: the curve comes in from beyond its left end.
            x=tuple(max(rate, lowest / 10) for rate in curve.false),
            y=tuple(max(rate, lowest / 10) for rate in curve.true),
            shape="steps",
        )
        for cell, curve in curves
    ]
    coins = min(curve.coins for _, curve in curves)
    title = "no claim" if claim is None else f"claimed {_claim(claim)}"
    ticks = tuple((rate, f"{100 * rate:g} %") for rate in RATES if rate >= lowest)
    return Picture(
        key=f"roc-{audit.name.lower()}-{number}",
        title=f"{audit.name}: ROC of the strongest attack on each view, {title}",
        says=f"True against false positive rate, both logarithmic. Left of {100 * supported:.3g} % these runs show "
        f"nothing. At least {coins:,} coins a view. " + " ".join(_in_words(cell, curve) for cell, curve in curves),
        drawing=Curves(
            Axis("false positive rate", True, lowest, 1.0, ticks),
            Axis("true positive rate", True, lowest, 1.15, ticks),
            (*series, *_limits(lowest, claim, coins=coins, level=audit.level)),
            unseen=(lowest, min(supported, 1.0), f"below {100 * supported:.3g} %: too few independent non-members"),
        ),
        table=Table(
            "True positive rates at fixed false positive rates",
            ("what is seen", "attack", *(f"at {100 * rate:g} %" for rate, _ in curves[0][0].best.rates), "from"),
            tuple(
                (cell.sees, cell.best.name, *(str(figure) for _, figure in cell.best.rates), Named((audit.name,)))
                for cell, _ in curves
                if len(cell.best.rates) == len(curves[0][0].best.rates)
            ),
        ),
    )


def _in_words(cell: Cell, curve: Curve) -> str:
    at = max((true for false, true in zip(curve.false, curve.true, strict=True) if false <= 0.1), default=0.0)
    return f"{cell.sees}: {100 * at:.0f} % of members found at a false positive rate of at most 10 %."


def _limits(lowest: float, claim: Claim | None, *, coins: int, level: float) -> list[Series]:
    """Draw guessing, the greatest epsilon that so many coins can show, and the curve of the claim."""
    false = np.geomspace(lowest, 1, GUIDE_POINTS)
    delta = 0.0 if claim is None else claim.delta
    ceiling = one_run_ceiling(coins, delta=delta, level=level)

    def line(name: str, values: np.ndarray, *, is_claim: bool = False) -> Series:
        return Series(name=name, x=_plain(false), y=_plain(values), role="claim" if is_claim else "limit")

    found = [
        line("guessing", false),
        line(
            f"epsilon {ceiling:.2f}: the most that {coins:,} coins show",
            epsilon_delta_tpr(false, epsilon=ceiling, delta=delta),
        ),
    ]
    if claim is not None:
        allowed = epsilon_delta_tpr(false, epsilon=claim.epsilon, delta=claim.delta)
        found.append(line(f"claimed: {_claim(claim)}", allowed, is_claim=True))
    return found


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.5g}") for value in values)


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
    """List numbers in a nest of objects, with where they stand; lists are left out."""
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [(place, float(value))]
    if isinstance(value, dict):
        return [
            each
            for name, entry in value.items()
            for each in numbers_in(entry, f"{place}, {name}" if place else str(name))
        ]
    return []
