"""Figures of an attack with their intervals: AUC, rates at fixed false positive rates, and rates at one cutoff.

A figure that the coins cannot support is refused with the reason, never printed with a caveat.

A true positive rate at a low false positive rate is made of all coins, with a two-way bootstrap interval. It is given
only where *independent* non-members could show that false positive rate. Coins of one run are scored on one observation
and may depend on each other in any way, so that what counts are runs with a non-member, not non-members. Where in none
of R such runs a non-member scores at or above a cutoff, the chance of a run in which one does is at most
1 - (level / 2)^(1 / R) (Clopper-Pearson of R independent runs), and the share of a run's non-members that do is in the
mean no greater, whatever the dependence. That takes 36 runs for 10 %, 368 for 1 % and 3,688 for 0.1 % at level 0.05.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from attacks.leakage.ceilings import non_members_needed
from attacks.leakage.curves import Roc, balanced_accuracy, ppv, roc
from attacks.leakage.intervals import REPLICATES, Interval, Statistic, clopper_pearson, two_way_bootstrap
from attacks.leakage.lower_bounds import independent_counts
from attacks.leakage.samples import Samples

FPRS = (0.1, 0.01, 0.001)
PRIOR = 0.01


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure.

    Attributes:
        value: what was measured; None where it is refused.
        interval: where the true one lies, but for a chance of the level; None where none can be given.
        reason: why a value or an interval is missing; None where neither is.
    """

    value: float | None
    interval: Interval | None
    reason: str | None = None

    def __post_init__(self) -> None:
        """Check that what is missing has a reason.

        Raises:
            ValueError: something is missing without one, or a refused figure has an interval.
        """
        is_whole = self.value is not None and self.interval is not None
        if is_whole != (self.reason is None) or (self.value is None and self.interval is not None):
            raise ValueError(f"reason={self.reason!r} must be given where value or interval is missing, and only there")

    def through(self, rising: Callable[[float], float]) -> Measured:
        """Give the figure that a rising function makes of this one."""
        if self.value is None:
            return self
        interval = self.interval and Interval(rising(self.interval.low), rising(self.interval.high))
        return Measured(rising(self.value), interval, self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateAt:
    """What an attack reaches with few false accusations.

    Attributes:
        fpr: the false positive rate allowed.
        tpr: the greatest true positive rate.
        ppv: of those called members the share that is, at this rate allowed, where `PRIOR` of all are members.
        non_members_needed: how many independent non-members, one a run, are needed to show such a false positive rate.
    """

    fpr: float
    tpr: Measured
    ppv: Measured
    non_members_needed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoffFigures:
    """What one cutoff, settled on other runs, reaches.

    Attributes:
        cutoff: scores at or above it are called members.
        tpr: true positive rate among one coin a run, with its Clopper-Pearson interval.
        fpr: false positive rate likewise.
        advantage: true less false positive rate, of all coins, with its two-way bootstrap interval.
        balanced_accuracy: share of right calls among as many members as non-members, likewise.
    """

    cutoff: float
    tpr: Measured
    fpr: Measured
    advantage: Measured
    balanced_accuracy: Measured


def measured_figures(
    samples: Samples,
    *,
    cutoff: float,
    level: float,
    generator: np.random.Generator,
    replicates: int = REPLICATES,
) -> tuple[Measured, tuple[RateAt, ...], CutoffFigures]:
    """Give AUC, rates at `FPRS`, and figures at a cutoff.

    Args:
        samples: of the runs that are reported.
        cutoff: settled without them.
        level: chance of each interval to miss.
        generator: of the bootstrap's weights.
        replicates: of the bootstrap.

    Raises:
        ValueError: `level` is not in (0, 1).
    """
    statistics: dict[str, Statistic] = {f"tpr {fpr}": partial(_tpr_at, fpr=fpr) for fpr in FPRS}
    statistics |= {"auc": Roc.auc, "advantage": partial(_advantage_at, cutoff=cutoff)}
    found = _bootstrapped(samples, statistics, level=level, generator=generator, replicates=replicates)
    rates = tuple(_rate_at(fpr, found[f"tpr {fpr}"], samples.independent_non_members, level) for fpr in FPRS)
    tpr, fpr = _independent_rates(samples, cutoff, level)
    advantage = found["advantage"]
    at_cutoff = CutoffFigures(
        cutoff=cutoff, tpr=tpr, fpr=fpr, advantage=advantage, balanced_accuracy=advantage.through(balanced_accuracy)
    )
    return found["auc"], rates, at_cutoff


def _tpr_at(curve: Roc, fpr: float) -> np.ndarray:
    return curve.tpr_at(fpr)


def _advantage_at(curve: Roc, cutoff: float) -> np.ndarray:
    return curve.advantage_at(cutoff)


def _bootstrapped(
    samples: Samples,
    statistics: dict[str, Statistic],
    *,
    level: float,
    generator: np.random.Generator,
    replicates: int,
) -> dict[str, Measured]:
    """Give every statistic with its two-way bootstrap interval, where there is one."""
    curve = roc(samples)
    values = {name: float(statistic(curve)) for name, statistic in statistics.items()}
    if samples.num_runs < 2:
        return {name: Measured(value, None, too_few_runs(samples)) for name, value in values.items()}
    intervals = two_way_bootstrap(samples, statistics, generator=generator, level=level, replicates=replicates)
    return {name: unless_stuck(value, intervals[name]) for name, value in values.items()}


def too_few_runs(samples: Samples) -> str:
    """Say why so few runs give no interval."""
    return f"an interval needs 2 runs, here is {samples.num_runs}"


def unless_stuck(value: float, interval: Interval) -> Measured:
    """Refuse an interval without width: where weights change nothing, a bootstrap knows nothing of what is unseen."""
    if interval.high - interval.low > 1e-9:
        return Measured(value, interval)
    return Measured(value, None, "no weighting of runs and targets changes it, so that a bootstrap gives no interval")


def _rate_at(fpr: float, tpr: Measured, independent: int, level: float) -> RateAt:
    needed = non_members_needed(fpr, level=level)
    if independent < needed:
        here = f"here are {independent}"
        reason = f"needs {needed} runs with a non-member (coins of one run are not independent), {here}"
        tpr = Measured(None, None, reason)
    return RateAt(
        fpr=fpr, tpr=tpr, ppv=tpr.through(lambda rate: ppv(rate, fpr, prior=PRIOR)), non_members_needed=needed
    )


def _independent_rates(samples: Samples, cutoff: float, level: float) -> tuple[Measured, Measured]:
    """Give true and false positive rate with Clopper-Pearson intervals, of one coin a run."""
    counts = independent_counts(samples, cutoff)
    if counts is None:
        reason = (
            f"needs members and non-members among one coin a run, here are {samples.num_runs} runs, all coins alike"
        )
        return Measured(None, None, reason), Measured(None, None, reason)
    true, false = (counts.true_positives, counts.members), (counts.false_positives, counts.non_members)
    rates = [Measured(count / trials, clopper_pearson(count, trials, level=level)) for count, trials in (true, false)]
    return rates[0], rates[1]
