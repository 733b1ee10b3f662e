"""What an audit settles before it looks at the runs that it reports: direction, cutoffs, which coins to guess.

Settled on the runs that they are reported on, these would flatter the attack and void every bound. A plan is either
fixed beforehand or chosen on other runs, and remembers which, so that a report can refuse runs it was chosen on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from attacks.leakage.curves import Roc, roc
from attacks.leakage.intervals import check_level
from attacks.leakage.lower_bounds import rates_epsilon
from attacks.leakage.samples import Samples

# Of coins guessed at either end; the two together never more than all.
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, slots=True)
class Guesses:
    """Which coins the one-run bound guesses; scores between the two cutoffs it leaves.

    The bound holds whatever number of coins is guessed, since it holds given the guesses (conditional on T = t in the
    theorem); only the coins must not have moved the cutoffs.

    Attributes:
        first_from: scores at or above it are guessed to be first; +inf for none.
        second_below: scores below it are guessed to be second; -inf for none.
    """

    first_from: float
    second_below: float

    def __post_init__(self) -> None:
        """Check that no coin is guessed twice.

        Raises:
            ValueError: the cutoffs are not in order, or not numbers.
        """
        if not self.second_below <= self.first_from:
            raise ValueError(f"second_below={self.second_below} must be at most first_from={self.first_from}")

    def told(self, samples: Samples) -> tuple[int, int]:
        """Guess; give how many were guessed, and how many of these rightly."""
        firsts, seconds = samples.scores >= self.first_from, samples.scores < self.second_below
        right = (firsts & samples.members) | (seconds & ~samples.members)
        return int((firsts | seconds).sum()), int(right.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is settled.

    Attributes:
        is_reversed: whether the attack scores the wrong way round, so that its scores are negated. Cutoffs and guesses
            are of the scores so turned.
        cutoff: for rates and advantage.
        clopper_pearson_cutoff: for the Clopper-Pearson bound.
        gaussian_cutoff: for the Gaussian bound.
        guesses: for the one-run bound.
        runs: int64, the runs it was chosen on; empty where it was fixed beforehand.
    """

    is_reversed: bool
    cutoff: float
    clopper_pearson_cutoff: float
    gaussian_cutoff: float
    guesses: Guesses
    runs: np.ndarray = field(repr=False)

    def turned(self, samples: Samples) -> Samples:
        """Turn scores into the plan's direction.

        Raises:
            ValueError: the plan was chosen on some of these runs.
        """
        both = np.intersect1d(self.runs, samples.runs)
        if both.size:
            raise ValueError(f"runs={both[:5].tolist()}... must not be among those that the plan was chosen on")
        return samples.reversed() if self.is_reversed else samples


def plan_beforehand(cutoff: float = 0.0) -> Plan:
    """Settle without looking at any score: the attack's own direction, one cutoff, and every coin guessed by it.

    Args:
        cutoff: 0 suits scores that are logarithms of ratios.
    """
    return Plan(
        is_reversed=False,
        cutoff=cutoff,
        clopper_pearson_cutoff=cutoff,
        gaussian_cutoff=cutoff,
        guesses=Guesses(cutoff, cutoff),
        runs=np.empty(0, np.int64),
    )


def chosen_plan(choosing: Samples, *, level: float) -> Plan:
    """Choose on some runs what is to be used on as many others.

    Args:
        choosing: coins that will not be reported.
        level: of the bounds, since the best cutoff for a bound depends on it.

    Raises:
        ValueError: `level` is not in (0, 1).
    """
    check_level(level)
    is_reversed = bool(roc(choosing).auc() < 0.5)
    turned = choosing.reversed() if is_reversed else choosing
    curve = roc(turned)
    true_low, false_high = _expected_limits(curve, choosing.num_runs / 2, level)
    cutoff = _cutoff(curve, (curve.true_positive_rates - curve.false_positive_rates)[1:])
    return Plan(
        is_reversed=is_reversed,
        cutoff=cutoff,
        clopper_pearson_cutoff=_cutoff(curve, rates_epsilon(true_low, false_high, 0.0)),
        gaussian_cutoff=_cutoff(curve, stats.norm.isf(false_high) - stats.norm.isf(true_low)),
        guesses=_chosen_guesses(turned, level, cutoff),
        runs=np.unique(choosing.runs),
    )


def _cutoff(curve: Roc, worth: np.ndarray) -> float:
    """Give the finite cutoff of the greatest worth."""
    return float(curve.cutoffs[1:][np.argmax(worth)])


def _expected_limits(curve: Roc, trials: float, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Give Clopper-Pearson limits that each finite cutoff's rates would have at `trials` coins a class."""
    true, false = curve.true_positive_rates[1:] * trials, curve.false_positive_rates[1:] * trials
    with np.errstate(invalid="ignore"):
        low = stats.beta.ppf(level / 2, true, trials - true + 1)
        high = stats.beta.isf(level / 2, false + 1, trials - false)
    # Where no member is called the least rate is 0, where all non-members are the greatest is 1; beta has no such.
    return np.where(true > 0, low, 0.0), np.where(false < trials, high, 1.0)


def _chosen_guesses(samples: Samples, level: float, cutoff: float) -> Guesses:
    """Give the guesses that show the greatest epsilon at delta 0, where the one-run bound is a binomial limit."""
    rising = np.sort(samples.scores)
    counts = [int(share * len(rising)) for share in SHARES]
    from_top = [float(rising[-count]) if count else np.inf for count in counts]
    from_bottom = [float(rising[count]) if count else -np.inf for count in counts]
    options = [Guesses(first, second) for first in from_top for second in from_bottom]
    options.append(Guesses(cutoff, cutoff))
    guesses, right = np.array([option.told(samples) for option in options]).T
    with np.errstate(invalid="ignore"):
        least = np.nan_to_num(stats.beta.ppf(level, right, guesses - right + 1))
    return options[int(np.argmax(least))]
