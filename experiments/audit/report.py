"""What an audit says: every adversary of every protocol, the attacks on it strongest first, and how claims fare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from attacks import ATTACKS
from attacks.leakage.claims import Claim, Game
from attacks.leakage.dimension import effective_dimension, predicted_auc
from attacks.leakage.report import LeakageReport, compared, leakage_reports
from attacks.leakage.samples import Samples
from attacks.leakage.selection import holm, holm_factor
from experiments.audit.curve_points import curve_points
from experiments.audit.game import Audit, NoisySessions, Scored
from experiments.audit.matrix import Cell
from fedprllm_secure.privacy.adjacency import Adjacency
from fedprllm_secure.privacy.session_noise import claimed_epsilon

LEVEL = 0.05
BLIND = "blind"
SIMPLE = "simple-test"  # what others are compared with
BLIND_LEVEL = 0.001  # one baseline among many cells: it must not raise false alarms


@dataclass(frozen=True, slots=True)
class CellReport:
    """What one adversary of one configuration learns.

    Attributes:
        cell: who.
        reports: of all attacks, the strongest first, as chosen on half of the runs; figures are of the other half.
        strongest: the samples of the strongest attack on the half that is reported.
        claim: what is claimed against this adversary in this game; None where nothing is.
        no_claim: why nothing is claimed.
        predicted_auc: of the plain score, by the law of effective dimension; None for prune masks.
        refused: attacks that could not be made, with the reason.
    """

    cell: Cell
    reports: tuple[LeakageReport, ...]
    strongest: Samples = field(repr=False)
    claim: Claim | None
    no_claim: str
    predicted_auc: float | None
    refused: Mapping[str, str]

    @property
    def best(self) -> LeakageReport:
        """The strongest attack."""
        return self.reports[0]


def samples_of(scored: Scored) -> dict[str, Samples]:
    """Flatten the scores of every attack: a coin an entry."""
    truth = scored.job.truth
    rows, targets = np.nonzero(truth.in_play)
    return {
        name: Samples(
            scores=np.ascontiguousarray(scores[rows, targets], np.float64),
            members=truth.coins[rows, targets] == 1,
            runs=truth.runs[rows],
            targets=targets,
        )
        for name, scores in scored.scores.items()
    }


def cell_reports(
    audit: Audit, *, adjacency: Adjacency, effective: float, slots_of_client: int, seed: int
) -> list[CellReport]:
    """Report every cell; attacks on the same thing are reported once and shared.

    Args:
        audit: what came of it.
        adjacency: of the game.
        effective: effective dimension of the contributions.
        slots_of_client: contributions of a client.
        seed: of the bootstrap's weights.
    """
    found = []
    made: dict[tuple[str, Claim | None], _JobReport] = {}
    for cell in audit.cells:
        scored, sessions = audit.scored[cell.job], audit.sessions[cell.configuration.name]
        claim, why = claim_of(cell, sessions, adjacency)
        game = Game(adjacency, cell.adversary) if claim is None else claim.game
        if (cell.job, claim) not in made:
            made[cell.job, claim] = _job_report(scored, game=game, claim=claim, seed=seed)
        job = made[cell.job, claim]
        slots = slots_of_client * scored.job.clients
        found.append(
            CellReport(
                cell=cell,
                reports=tuple(replace(each, game=game) for each in job.reports),
                strongest=job.strongest,
                claim=claim,
                no_claim=why,
                predicted_auc=predicted_auc(effective, slots) if scored.job.kind != "choice" else None,
                refused=scored.refused,
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class _JobReport:
    """What attacks on one thing show, whoever sees it."""

    reports: tuple[LeakageReport, ...]
    strongest: Samples = field(repr=False)


def _job_report(scored: Scored, *, game: Game, claim: Claim | None, seed: int) -> _JobReport:
    samples = samples_of(scored)
    reports = leakage_reports(samples, game=game, claim=claim, level=LEVEL, generator=np.random.default_rng([seed, 2]))
    reported = {name: each.halves()[1] for name, each in samples.items()}
    return _JobReport(
        beside_simple(reports, reported, scored, seed=seed), _turned(reported[reports[0].attack], reports[0])
    )


def beside_simple(
    reports: Sequence[LeakageReport], reported: Mapping[str, Samples], scored: Scored, *, seed: int
) -> tuple[LeakageReport, ...]:
    """Set the attacks on one thing beside the simple one, or say why there is none.

    Args:
        reports: of the attacks.
        reported: by attack, samples of the runs that are reported.
        scored: what was attacked.
        seed: of the bootstrap's weights.
    """
    if SIMPLE in scored.refused:
        missing = f"{SIMPLE} was not made: {scored.refused[SIMPLE]}"
    elif scored.job.kind not in ATTACKS[SIMPLE].kinds:
        missing = f"{SIMPLE} does not read rows of the kind {scored.job.kind}"
    else:
        missing = f"{SIMPLE} is not among --attacks"
    return compared(reports, reported, simple=SIMPLE, missing=missing, generator=np.random.default_rng([seed, 3]))


def _turned(samples: Samples, report: LeakageReport) -> Samples:
    """Give an attack's samples in the direction in which it is reported."""
    return samples.reversed() if report.is_reversed else samples


def claim_of(cell: Cell, sessions: NoisySessions, adjacency: Adjacency) -> tuple[Claim | None, str]:
    """Give what is claimed against an adversary in a game, or why nothing is.

    Only a claim of the very adjacency and of this adversary counts.
    """
    target = cell.configuration.privacy
    if target is None:
        return None, "no differential privacy"
    if not cell.is_claimed:
        return None, "the noise is not claimed to hold against this adversary"
    if target.adjacency != adjacency:
        return None, f"the claim is of {target.adjacency}, the game of {adjacency}"
    adversary = sessions.noises[0].release.adversary
    epsilon = claimed_epsilon(sessions.noises, target.delta)
    if not math.isfinite(epsilon):
        return None, "the noise is too small for any claim"
    return Claim(epsilon, target.delta, Game(adjacency, adversary)), ""


def claims_in_doubt(reports: Sequence[CellReport]) -> dict[str, float]:
    """Give p-values, corrected for their number (Holm), of all claims under all attacks, by cell and attack."""
    values = {
        _tried(each, report): report.claim.p_value
        for each in reports
        for report in each.reports
        if report.claim is not None
    }
    return holm(values)


def fate(report: CellReport, in_doubt: Mapping[str, float]) -> str:
    """Say how a cell's claim fares, in words that allow for the number of claims and attacks that were tried.

    Args:
        report: of the cell.
        in_doubt: as of :func:`claims_in_doubt`, over all cells.
    """
    if report.claim is None:
        return f"no claim: {report.no_claim}"
    claimed = f"epsilon {report.claim.epsilon:.3g}"
    broken = [each.attack for each in report.reports if in_doubt[_tried(report, each)] < LEVEL]
    if broken:
        return f"{claimed}: EXCEEDED by {', '.join(broken)}"
    least = min(each.claim.least_p_value for each in report.reports if each.claim is not None)
    if least * holm_factor(in_doubt, level=LEVEL) >= LEVEL:
        return f"{claimed}: these coins cannot exceed it"
    return f"{claimed}: not exceeded"


def _tried(report: CellReport, attack: LeakageReport) -> str:
    return f"{report.cell.configuration.name}; {report.cell.adversary}; {attack.attack}"


def blind_alarms(reports: Sequence[CellReport]) -> list[str]:
    """Name the cells in which the baseline that sees nothing does better than chance: then the game leaks."""
    values = {each.cell.job: report.p_value for each in reports for report in each.reports if report.attack == BLIND}
    return [job for job, value in holm(values).items() if value < BLIND_LEVEL]


def as_json(reports: Sequence[CellReport]) -> list[dict[str, Any]]:
    """Give every cell as JSON can hold it."""
    return [
        {
            "protocol": each.cell.configuration.protocol,
            "configuration": each.cell.configuration.name,
            "adversary": each.cell.adversary,
            "sees": each.cell.job,
            "claim": None
            if each.claim is None
            else {
                "epsilon": each.claim.epsilon,
                "delta": each.claim.delta,
                "adjacency": each.claim.game.adjacency,
                "adversary": each.claim.game.adversary,
            },
            "no_claim": each.no_claim or None,
            "plain_score_predicted_auc": each.predicted_auc,
            "attacks": [report.as_json() for report in each.reports],
            "roc": curve_points(each.strongest),
            "attacks_not_made": dict(each.refused),
        }
        for each in reports
    ]


def dimension_of(energies: np.ndarray) -> float:
    """Give the effective dimension of contributions (contributions, channels) by their log-energies."""
    return effective_dimension(np.log(np.maximum(energies, 1e-300)))
