"""Intervals: of a rate among independent coins, and of figures of coins that share runs and targets.

Coins of one run are scored on one observation, and coins of one target share its windows, so an interval that took
coins for independent would be too narrow. The two-way bootstrap weighs runs and targets at random, a coin by the
product of both (Owen & Eckles 2012, "Bootstrapping data arrays of arbitrary order", weights of mean 1 and variance 1).
It errs to the wide side: where neither runs nor targets differ, an interval is up to sqrt(3) times too wide.
Exponential weights are used: none is 0, so no replicate lacks members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from attacks.leakage.curves import CutoffSteps, Roc
from attacks.leakage.samples import Samples

REPLICATES = 2000
CHUNK_ENTRIES = 2_000_000  # weights drawn for at once
PIECE_ENTRIES = 40_000  # weights held at once: what is made of them stays in a core's cache

Statistic = Callable[[Roc], np.ndarray]


@dataclass(frozen=True, slots=True)
class Interval:
    """Between what bounds a figure lies, but for a chance `level`.

    Attributes:
        low: lower bound.
        high: upper bound.
    """

    low: float
    high: float


def check_level(level: float) -> None:
    """Refuse a level that is no chance of being wrong.

    Raises:
        ValueError: `level` is not in (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be in (0, 1), the chance of an interval to miss, such as 0.05")


def clopper_pearson(count: int, trials: int, *, level: float) -> Interval:
    """Bound the rate behind `count` of `trials` independent coins, missing with a chance of at most `level`.

    Each side misses with at most `level / 2` (Clopper & Pearson 1934).

    Raises:
        ValueError: there are no trials, the count is not among them, or `level` is not in (0, 1).
    """
    check_level(level)
    if not 0 <= count <= trials or trials < 1:
        raise ValueError(f"count={count} must be 0 to trials={trials}, and trials at least 1")
    low = 0.0 if count == 0 else float(stats.beta.ppf(level / 2, count, trials - count + 1))
    high = 1.0 if count == trials else float(stats.beta.isf(level / 2, count + 1, trials - count))
    return Interval(low, high)


def two_way_bootstrap(
    samples: Samples,
    statistics: Mapping[str, Statistic],
    *,
    generator: np.random.Generator,
    level: float,
    replicates: int = REPLICATES,
) -> dict[str, Interval]:
    """Give the percentile interval of every statistic, all from the same replicates.

    Args:
        samples: of two runs or more.
        statistics: by name, of curves (replicates, points) to (replicates,).
        generator: of the weights.
        level: chance of an interval to miss.
        replicates: how many weightings.

    Raises:
        ValueError: there is one run only, or `level` is not in (0, 1).
    """
    steps = CutoffSteps(samples)
    found: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for weights in _weights(samples, generator, replicates):
        curve = steps.curve(weights)
        for name, statistic in statistics.items():
            found[name].append(statistic(curve))
    return {name: _percentiles(np.concatenate(values), level) for name, values in found.items()}


def paired_two_way_bootstrap(
    first: Samples,
    second: Samples,
    statistic: Statistic,
    *,
    generator: np.random.Generator,
    level: float,
    replicates: int = REPLICATES,
) -> Interval:
    """Give the percentile interval of the first attack's figure less the second's, on the same coins.

    Raises:
        ValueError: the attacks scored other coins, there is one run only, or `level` is not in (0, 1).
    """
    if not first.is_of_same_coins(second):
        raise ValueError("first and second must be scores of the same coins in the same order")
    ours, theirs = CutoffSteps(first), CutoffSteps(second)
    differences = [
        statistic(ours.curve(weights)) - statistic(theirs.curve(weights))
        for weights in _weights(first, generator, replicates)
    ]
    return _percentiles(np.concatenate(differences), level)


def _weights(samples: Samples, generator: np.random.Generator, replicates: int) -> Iterator[np.ndarray]:
    """Draw weights (some replicates, coins), a piece at a time."""
    runs, run_of = np.unique(samples.runs, return_inverse=True)
    targets, target_of = np.unique(samples.targets, return_inverse=True)
    if len(runs) < 2:
        raise ValueError(f"runs={len(runs)} must be at least 2: one run says nothing of how runs differ")
    chunk, piece = (max(1, entries // len(samples)) for entries in (CHUNK_ENTRIES, PIECE_ENTRIES))
    for start in range(0, replicates, chunk):
        count = min(chunk, replicates - start)
        of_runs = generator.standard_exponential((count, len(runs)))
        # A single target cannot be weighed against others: its weight cancels.
        of_targets = generator.standard_exponential((count, len(targets)))
        for at in range(0, count, piece):
            yield of_runs[at : at + piece, run_of] * of_targets[at : at + piece, target_of]


def _percentiles(values: np.ndarray, level: float) -> Interval:
    check_level(level)
    low, high = np.quantile(values, [level / 2, 1 - level / 2])
    return Interval(float(low), float(high))
