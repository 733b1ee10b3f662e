"""ROC curves of an audit on logarithmic axes, with what could be seen at all and what a claim allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attacks.leakage.ceilings import epsilon_delta_tpr, one_run_ceiling, smallest_supported_fpr
from experiments.report.audited import Cell, Claim, Curve
from experiments.report.audits import Audit
from experiments.report.document import Axis, Block, Curves, Picture, Series, Table, Text
from experiments.report.document import Sources as Named

LOWEST = 1e-3
MOST_CURVES = 6
GUIDE_POINTS = 60
UNSUPPORTED = "not given: too few independent non-members"
RATES = (1.0, 0.1, 0.01, 0.001, 1e-4)


def roc_pictures(audit: Audit) -> list[Block]:
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
    title = "no claim" if claim is None else f"claimed {claim}"
    ticks = tuple((rate, f"{100 * rate:g} %") for rate in RATES if rate >= lowest)
    return Picture(
        key=f"roc-{audit.name.lower()}-{number}",
        title=f"{audit.name}: ROC of the strongest attack on each view, {title}",
        says=f"True against false positive rate, both logarithmic. Left of {100 * supported:.3g} % these runs show "
        f"nothing. At least {coins:,} coins a view. "
        + " ".join(_in_words(cell, curve, level=audit.level) for cell, curve in curves),
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
                (
                    cell.sees,
                    cell.best.name,
                    *(
                        str(figure) if _is_supported(rate, curve, level=audit.level) else UNSUPPORTED
                        for rate, figure in cell.best.rates
                    ),
                    Named((audit.name,)),
                )
                for cell, curve in curves
                if len(cell.best.rates) == len(curves[0][0].best.rates)
            ),
        ),
    )


def _in_words(cell: Cell, curve: Curve, *, level: float) -> str:
    """Give the rates that the audit gives and that the runs support; the curve alone supports none."""
    given = [
        f"{100 * figure.value:.0f} % of members found at a false positive rate of {100 * rate:g} %"
        for rate, figure in cell.best.rates
        if figure.value is not None and _is_supported(rate, curve, level=level)
    ]
    return f"{cell.sees}: {', '.join(given) or 'rates: not given'}."


def _is_supported(rate: float, curve: Curve, *, level: float) -> bool:
    """Say whether so many independent runs with a non-member can show so low a false positive rate."""
    return rate >= smallest_supported_fpr(curve.independent, level=level)


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
        found.append(line(f"claimed: {claim}", allowed, is_claim=True))
    return found


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.5g}") for value in values)
