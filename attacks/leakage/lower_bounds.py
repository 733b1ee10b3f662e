"""Lower bounds on epsilon: what a mechanism's coins, once told, show that its true epsilon must at least be.

Three bounds, each sound only for the coins that it names:

- Clopper-Pearson (Jagielski et al. 2020; Nasr et al. 2021): coins of independent runs, one a run; no assumption about
  the mechanism.
- one-run (Steinke, Nasr & Jagielski 2023, Theorem 5.2): all coins, of one run or many; no assumption about the
  mechanism. Runs pool, for a coin that touches only its own run leaves epsilon as it is.
- Gaussian (Nasr et al. 2023): coins of independent runs; **only for Gaussian-like mechanisms**. It takes the whole
  trade-off curve to be that of a Gaussian and overstates others' epsilon.

Cutoffs and numbers of guesses are fixed beforehand or chosen on other runs. `level` is the chance of a bound to be
wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from attacks.leakage.intervals import check_level, clopper_pearson
from attacks.leakage.samples import Samples

TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True)
class IndependentCounts:
    """How often a cutoff called coins members, one coin a run; coins pooled from one run are not independent.

    Attributes:
        true_positives: members called so.
        members: of how many.
        false_positives: non-members called members.
        non_members: of how many.
    """

    true_positives: int
    members: int
    false_positives: int
    non_members: int

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: a class is empty, or a count is not among its class.
        """
        for count, trials in ((self.true_positives, self.members), (self.false_positives, self.non_members)):
            if not 0 <= count <= trials or trials < 1:
                raise ValueError(f"counts={self} must be 0 to the class's number, which must be at least 1")


def independent_counts(samples: Samples, cutoff: float) -> IndependentCounts | None:
    """Count with one coin a run; None where these are all members, or none is."""
    scores, members = samples.one_coin_a_run()
    if members.all() or not members.any():
        return None
    called = scores >= cutoff
    return IndependentCounts(
        int((called & members).sum()), int(members.sum()), int((called & ~members).sum()), int((~members).sum())
    )


def check_delta(delta: float) -> None:
    """Refuse a delta that is no chance.

    Raises:
        ValueError: `delta` is not in [0, 1).
    """
    if not 0 <= delta < 1:
        raise ValueError(f"delta={delta} must be in [0, 1)")


def clopper_pearson_epsilon(counts: IndependentCounts, *, delta: float, level: float) -> float:
    """Bound epsilon from both ratios, true to false positives and true to false negatives; at least 0.

    The least true positive rate and the greatest false positive rate miss with `level / 2` each; both ratios are made
    of these two, so that taking the greater one costs nothing.

    Raises:
        ValueError: `delta` or `level` is out of range.
    """
    check_delta(delta)
    true_low = clopper_pearson(counts.true_positives, counts.members, level=level).low
    false_high = clopper_pearson(counts.false_positives, counts.non_members, level=level).high
    return float(rates_epsilon(true_low, false_high, delta))


def rates_epsilon(
    true_positive_rates: np.ndarray | float, false_positive_rates: np.ndarray | float, delta: float
) -> np.ndarray:
    """Give the least epsilon under which a test may have these rates, elementwise; 0 where any may."""
    true, false = np.asarray(true_positive_rates, np.float64), np.asarray(false_positive_rates, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_positives = np.log((true - delta) / false)
        by_negatives = np.log((1 - false - delta) / (1 - true))
    return np.fmax(np.fmax(by_positives, by_negatives), 0.0)


def gaussian_epsilon(counts: IndependentCounts, *, delta: float, level: float) -> float:
    """Bound epsilon of a Gaussian-like mechanism through its mu; **no bound for other mechanisms**.

    Raises:
        ValueError: `delta` is 0, under which a Gaussian has no epsilon, or out of range, as `level` may be.
    """
    true_low = clopper_pearson(counts.true_positives, counts.members, level=level).low
    false_high = clopper_pearson(counts.false_positives, counts.non_members, level=level).high
    return epsilon_of_mu(max(0.0, float(stats.norm.isf(false_high) - stats.norm.isf(true_low))), delta=delta)


def epsilon_of_mu(mu: float, *, delta: float) -> float:
    """Give the exact epsilon of a Gaussian mechanism, mu = sensitivity / standard deviation (Balle & Wang 2018).

    Raises:
        ValueError: `mu` is below 0 or not finite, or `delta` is not in (0, 1).
    """
    if not 0 <= mu < np.inf or not 0 < delta < 1:
        raise ValueError(f"mu={mu} must be at least 0 and finite, and delta={delta} in (0, 1)")

    def is_too_small(epsilon: float) -> bool:
        beyond = np.exp(epsilon + stats.norm.logcdf(-epsilon / mu - mu / 2))
        return bool(stats.norm.cdf(-epsilon / mu + mu / 2) - beyond > delta)

    return 0.0 if mu == 0 else _largest(is_too_small)


def one_run_p_value(coins: int, guesses: int, right: int, *, epsilon: float, delta: float) -> float:
    """Bound the chance that a mechanism of this epsilon lets so many guesses be right.

    Steinke, Nasr & Jagielski 2023, Theorem 5.2: P[W >= v] + 2 m delta max_i P[v > W >= v - i] / i, with W binomial of
    the guesses and e^epsilon / (e^epsilon + 1). At epsilon and delta 0: the chance with which coins are so well guessed
    without seeing anything.

    Args:
        coins: m, all fair and independent, guessed or not.
        guesses: r, how many were guessed.
        right: v, how many of these rightly.
        epsilon: of the mechanism, at least 0.
        delta: of the mechanism.

    Raises:
        ValueError: a number is out of range.
    """
    check_delta(delta)
    if not 0 <= right <= guesses <= coins or not epsilon >= 0:
        raise ValueError(f"right={right} <= guesses={guesses} <= coins={coins} and epsilon={epsilon} >= 0 must hold")
    chance = 1 / (1 + np.exp(-epsilon))
    by_chance = float(stats.binom.sf(right - 1, guesses, chance))
    if delta == 0 or right == 0:
        return by_chance
    fewer = np.arange(1, right + 1)
    between = np.cumsum(stats.binom.pmf(right - fewer, guesses, chance))
    return min(1.0, by_chance + 2 * coins * delta * float((between / fewer).max()))


def one_run_epsilon(coins: int, guesses: int, right: int, *, delta: float, level: float) -> float:
    """Give the largest epsilon that so many right guesses refute, at least 0.

    Raises:
        ValueError: a number is out of range.
    """
    check_level(level)

    def refuted(epsilon: float) -> bool:
        return one_run_p_value(coins, guesses, right, epsilon=epsilon, delta=delta) <= level

    return _largest(refuted)


def _largest(holds: Callable[[float], bool]) -> float:
    """Bisect for an epsilon at which `holds` turns false, and give the side on which it holds; 0 if it never does."""
    if not holds(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while holds(high):
        low, high = high, 2 * high
    while high - low > TOLERANCE:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
