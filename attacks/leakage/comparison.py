"""One attack against another on the same coins: by how much it does better, and whether that may be chance.

Scores of two attacks on the same coins rise and fall together, so that their difference is known far better than their
two intervals suggest: it is bootstrapped as a pair, runs and targets weighed alike for both. Where both attacks tell
nearly everything their AUCs differ by nothing; then true positive rates at a low false positive rate are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from attacks.leakage.ceilings import non_members_needed, smallest_supported_fpr
from attacks.leakage.curves import Roc, roc
from attacks.leakage.figures import Measured, too_few_runs, unless_stuck
from attacks.leakage.intervals import REPLICATES, paired_two_way_bootstrap
from attacks.leakage.samples import Samples

CEILING = 0.99  # AUC from which on an attack tells nearly everything
LOW_FPR = 0.001
HIGHEST_FPR = 0.25  # above it a rate says no more than an AUC


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How much better an attack does than another.

    Attributes:
        against: the other's name.
        figure: what is compared, in words; None where nothing can be.
        fpr: the false positive rate allowed, where true positive rates are compared.
        difference: this attack's figure less the other's; or why there is none.
    """

    against: str
    figure: str | None
    fpr: float | None
    difference: Measured

    @classmethod
    def absent(cls, against: str, reason: str) -> Comparison:
        """Compare nothing, and say why."""
        return cls(against=against, figure=None, fpr=None, difference=Measured(None, None, reason))


def compare(
    samples: Samples,
    other: Samples,
    *,
    against: str,
    level: float,
    generator: np.random.Generator,
    replicates: int = REPLICATES,
) -> Comparison:
    """Compare two attacks by AUC or, where both reach `CEILING`, by true positive rate.

    The false positive rate allowed is then `LOW_FPR` or, where these runs do not support it, the smallest that they do.

    Args:
        samples: of runs on which nothing was chosen, in the direction in which the attack is reported.
        other: the other attack's, likewise.
        against: the other's name.
        level: chance of the interval to miss.
        generator: of the bootstrap's weights.
        replicates: of the bootstrap.

    Raises:
        ValueError: the attacks scored other coins, or `level` is not in (0, 1).
    """
    curves = roc(samples), roc(other)
    statistic: Callable[[Roc], np.ndarray] = Roc.auc
    figure, fpr = "AUC", None
    if all(curve.auc() >= CEILING for curve in curves):
        fpr = supported_fpr(samples, level=level)
        if fpr > HIGHEST_FPR:
            runs = f"{samples.independent_non_members} runs with a non-member"
            reason = f"both AUCs are {CEILING} or more, and {runs} show no false positive rate of {HIGHEST_FPR}"
            return Comparison.absent(against, reason)
        statistic, figure = partial(Roc.tpr_at, fpr=fpr), f"TPR at FPR {100 * fpr:.3g} %"
    value = float(statistic(curves[0]) - statistic(curves[1]))
    if samples.num_runs < 2:
        difference = Measured(value, None, too_few_runs(samples))
    else:
        interval = paired_two_way_bootstrap(
            samples, other, statistic, generator=generator, level=level, replicates=replicates
        )
        difference = unless_stuck(value, interval)
    return Comparison(against=against, figure=figure, fpr=fpr, difference=difference)


def supported_fpr(samples: Samples, *, level: float) -> float:
    """Give `LOW_FPR` or, where so few runs do not support it, the smallest false positive rate that they do."""
    independent = samples.independent_non_members
    if independent >= non_members_needed(LOW_FPR, level=level):
        return LOW_FPR
    return smallest_supported_fpr(independent, level=level)
