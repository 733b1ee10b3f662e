"""Scores in, a leakage report out: every figure with its interval, or with the reason why it has none.

A report names its game, and is compared with a claim of the same game only. All its figures are of runs on which
nothing was chosen. Coins must have been fair and independent: members and non-members are the same targets under
different coins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from attacks.leakage.bounds import Bound, clopper_pearson_bound, gaussian_bound, one_run_bound
from attacks.leakage.claims import Claim, ClaimCheck, Game, check_claim
from attacks.leakage.comparison import Comparison, compare
from attacks.leakage.figures import CutoffFigures, Measured, RateAt, measured_figures
from attacks.leakage.intervals import REPLICATES
from attacks.leakage.lower_bounds import one_run_p_value
from attacks.leakage.plan import Plan, chosen_plan
from attacks.leakage.samples import Samples
from attacks.leakage.selection import check_same_coins, strongest_first


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakageReport:
    """What an attack shows.

    Attributes:
        attack: its name.
        game: what was guessed, and by whom.
        members: reported coins whose first candidate is in.
        non_members: reported coins whose first candidate is not.
        runs: reported runs; independent of each other.
        targets: different targets among the reported coins.
        level: chance of each interval and of each bound to be wrong.
        is_reversed: whether scores were found, on other runs, to point the wrong way, and were turned.
        auc: chance that a member scores above a non-member.
        rates: true positive rates at fixed false positive rates.
        at_cutoff: rates at one cutoff.
        p_value: chance, at most, of as many right guesses without seeing anything.
        clopper_pearson: lower bound on epsilon.
        one_run: lower bound on epsilon.
        gaussian: lower bound on a Gaussian-like mechanism's epsilon; none for others, and not to be set against claims.
        delta: at which bounds hold: the claim's, or 0.
        claim: how a claim fares; None where nothing is claimed.
        against_simple: how much better it does than the simple attack; None until :func:`compared` says so.
    """

    attack: str
    game: Game
    members: int
    non_members: int
    runs: int
    targets: int
    level: float
    is_reversed: bool
    auc: Measured
    rates: tuple[RateAt, ...]
    at_cutoff: CutoffFigures
    p_value: float
    clopper_pearson: Bound
    one_run: Bound
    gaussian: Bound
    delta: float
    claim: ClaimCheck | None
    against_simple: Comparison | None = None

    def as_json(self) -> dict[str, Any]:
        """Give all of it as dicts, lists, strings, numbers and None."""
        return asdict(self)


def leakage_report(
    samples: Samples,
    plan: Plan,
    *,
    attack: str,
    game: Game,
    claim: Claim | None,
    level: float,
    generator: np.random.Generator,
    replicates: int = REPLICATES,
) -> LeakageReport:
    """Report an attack.

    Args:
        samples: of the runs to report.
        plan: fixed beforehand, or chosen on other runs.
        attack: its name.
        game: what was played.
        claim: what is claimed of this very game; None for nothing.
        level: chance of each interval and bound to be wrong, such as 0.05.
        generator: of the bootstrap's weights; nothing secret.
        replicates: of the bootstrap.

    Raises:
        ValueError: the plan was chosen on a run to report, the claim is of another game, or `level` is not in (0, 1).
    """
    turned = plan.turned(samples)
    delta = 0.0 if claim is None else claim.delta
    auc, rates, at_cutoff = measured_figures(
        turned, cutoff=plan.cutoff, level=level, generator=generator, replicates=replicates
    )
    bounds = {
        "clopper_pearson": clopper_pearson_bound(turned, cutoff=plan.clopper_pearson_cutoff, delta=delta, level=level),
        "one_run": one_run_bound(turned, guesses=plan.guesses, delta=delta, level=level),
    }
    guessed, right = plan.guesses.told(turned)
    return LeakageReport(
        attack=attack,
        game=game,
        members=turned.num_members,
        non_members=turned.num_non_members,
        runs=turned.num_runs,
        targets=len(np.unique(turned.targets)),
        level=level,
        is_reversed=plan.is_reversed,
        auc=auc,
        rates=rates,
        at_cutoff=at_cutoff,
        p_value=one_run_p_value(len(turned), guessed, right, epsilon=0.0, delta=0.0),
        clopper_pearson=bounds["clopper_pearson"],
        one_run=bounds["one_run"],
        gaussian=gaussian_bound(turned, cutoff=plan.gaussian_cutoff, delta=delta, level=level),
        delta=delta,
        claim=None
        if claim is None
        else check_claim(claim, game=game, samples=turned, guesses=plan.guesses, bounds=bounds),
    )


def leakage_reports(
    samples: Mapping[str, Samples],
    *,
    game: Game,
    claim: Claim | None,
    level: float,
    generator: np.random.Generator,
    replicates: int = REPLICATES,
) -> tuple[LeakageReport, ...]:
    """Report many attacks on the same coins, the strongest first.

    Order, directions, cutoffs and guesses are chosen on half of the runs; all figures are of the other half.

    Args:
        samples: by attack.
        game: as of :func:`leakage_report`, and so are the others.
        claim: likewise.
        level: likewise.
        generator: likewise.
        replicates: likewise.

    Raises:
        ValueError: as of :func:`leakage_report`; or there is no attack, attacks scored other coins, or there are too
            few runs for two halves.
    """
    check_same_coins(samples)
    halves = {name: each.halves() for name, each in samples.items()}
    order = strongest_first({name: choosing for name, (choosing, _) in halves.items()})
    return tuple(
        leakage_report(
            halves[name][1],
            chosen_plan(halves[name][0], level=level),
            attack=name,
            game=game,
            claim=claim,
            level=level,
            generator=generator,
            replicates=replicates,
        )
        for name in order
    )


def compared(
    reports: Sequence[LeakageReport],
    samples: Mapping[str, Samples],
    *,
    simple: str,
    missing: str,
    generator: np.random.Generator,
    replicates: int = REPLICATES,
) -> tuple[LeakageReport, ...]:
    """Set every attack beside a simple one, on the same coins.

    Args:
        reports: of attacks on the same coins.
        samples: by attack, of the runs that are reported.
        simple: the simple attack's name.
        missing: why there is none, to be said where it is not among the reports.
        generator: of the bootstrap's weights; nothing secret.
        replicates: of the bootstrap.

    Raises:
        ValueError: attacks scored other coins.
    """
    turned = {each.attack: _as_reported(samples[each.attack], each) for each in reports}

    def against(report: LeakageReport) -> Comparison:
        if simple not in turned:
            return Comparison.absent(simple, missing)
        if report.attack == simple:
            return Comparison.absent(simple, "it is the simple attack itself")
        return compare(
            turned[report.attack],
            turned[simple],
            against=simple,
            level=report.level,
            generator=generator,
            replicates=replicates,
        )

    return tuple(replace(report, against_simple=against(report)) for report in reports)


def _as_reported(samples: Samples, report: LeakageReport) -> Samples:
    return samples.reversed() if report.is_reversed else samples
