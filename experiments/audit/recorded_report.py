"""What an audit of one finished run says: every attack, and how little one run's coins show.

There is no other run to choose on: every attack is reported, in its own direction, at a cutoff settled beforehand, and
the bound is that for one run. Figures of several attacks are no reason to believe the best of them; p-values corrected
for their number stand beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from attacks.leakage.claims import Claim, Game
from attacks.leakage.plan import plan_beforehand
from attacks.leakage.report import leakage_report
from attacks.leakage.selection import holm
from experiments.audit.game import Audit
from experiments.audit.matrix import Cell
from experiments.audit.recorded_game import RecordedGame
from experiments.audit.report import LEVEL, CellReport, beside_simple, claim_of, samples_of
from fedprllm_secure.privacy.adjacency import Adjacency

ADJACENCY: Adjacency = "window-replace"  # what the coins of a run decide


def run_reports(game: RecordedGame, audit: Audit, *, seed: int) -> list[CellReport]:
    """Report every attack on every view, in the order in which attacks are named; nothing is chosen."""
    found = []
    for cell in audit.cells:
        scored = audit.scored[cell.job]
        claim, why = _claim(cell, game, audit)
        samples = samples_of(scored)
        reports = tuple(
            leakage_report(
                each,
                plan_beforehand(),
                attack=name,
                game=Game(ADJACENCY, cell.adversary) if claim is None else claim.game,
                claim=claim,
                level=LEVEL,
                generator=np.random.default_rng([seed, 2]),
            )
            for name, each in samples.items()
        )
        found.append(
            CellReport(
                cell=cell,
                reports=beside_simple(reports, samples, scored, seed=seed),
                strongest=samples[reports[0].attack],  # the first named: no choice was made
                claim=claim,
                no_claim=why,
                predicted_auc=None,
                refused=scored.refused,
            )
        )
    return found


def _claim(cell: Cell, game: RecordedGame, audit: Audit) -> tuple[Claim | None, str]:
    """Give what the run claims against an adversary: its own figure, which counts sessions that were held again."""
    claim, why = claim_of(cell, audit.sessions[cell.configuration.name], ADJACENCY)
    if claim is None:
        return None, why
    epsilon = game.run.result["privacy"]["epsilon"]
    if epsilon is None:
        return None, "the run's noise is too small for any claim"
    return replace(claim, epsilon=float(epsilon)), ""


def chances(reports: list[CellReport]) -> dict[str, float]:
    """Give the chance, at most, of as many right guesses without seeing anything, corrected for all attacks (Holm)."""
    return holm({f"{each.cell.job}; {report.attack}": report.p_value for each in reports for report in each.reports})


def least_chance(p_values: Mapping[str, float]) -> str:
    """Say which attack did better than luck, if one did.

    Args:
        p_values: as of :func:`chances`, by what is seen and attack.
    """
    tries = f"corrected for {len(p_values)} tries"
    lowest = min(p_values, key=p_values.__getitem__)
    if p_values[lowest] >= 1:
        return f"no attack made more right guesses than luck makes, {tries}"
    return f"least chance of so many right guesses by luck, {tries}: {p_values[lowest]:.2g} ({lowest})"
