"""The highest scores under Gumbel noise, without the noise: repeated exponential mechanisms in exact arithmetic.

Adding Gumbel noise of scale beta = R / epsilon_each to every score and listing the k largest has the same law as
choosing k times, among the units that are left, unit i with probability proportional to exp(score_i / beta) (Durfee and
Rogers 2019, "Practical Differentially Private Top-k Selection with Pay-what-you-get Composition"). The second form
needs no real numbers, whose roundings would tell scores apart (Mironov 2012).

Privacy. R is the range of one participant's influence: the largest change of a score less the smallest, over the
units. If its 0/1 votes are taken away, all changes have one sign and R = 1; if they are replaced by others, R = 2. (It
is a range and not the largest change in magnitude, so no factor 2 goes with it.) One choice then has bounded range
epsilon_each, hence epsilon_each**2 / 8 zero-concentrated DP, and all choices with their order are k epsilon_each**2 / 8
zero-concentrated DP (Cesar and Rogers 2021, "Bounding, Concentrating, and Truncating"). That covers the indices and
their order alone: the scores stay unpublished. Several calls add up.

Utility. The noise has standard deviation (pi / sqrt(6)) beta = 1.28 R / epsilon_each; of two units whose scores differ
by g the higher comes first with probability 1 / (1 + exp(-g epsilon_each / R)).

How. Units of equal score form a class. Draws with replacement, a class by its weight and then a member uniformly, visit
units for the first time in the order that is asked for, whatever is drawn twice. After a batch the visited units are
removed and the weights made anew, so that units of low score get their turn at full precision.

Distance from the law. The weights exp(-gap / beta) are integers within 1 in units of 2**-192 of the largest, so a
batch's thresholds are within 2**-129 + 2**-150 for up to 2**40 units, and a draw within classes * 2**-128 of its law. A
batch has at most (sum of weights) / (largest weight) draws, of which a share of 1 - 1/e, expected, visits a new unit: k
choices take fewer than 2 k draws, expected. `top_k_distance` = 2 k classes 2**-128, to be added to delta.

Adversary: whoever sees the result; who holds the scores and draws is trusted, and its running time is not covered.
Knows neither what a unit is nor who takes part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from protocols.noise.exponentials import scaled_exp
from protocols.noise.stream import SystemWords, WordSource
from protocols.noise.thresholds import BITS, Thresholds
from protocols.packing import Integers

PRECISION = 192


def top_k(
    scores: Integers,
    k: int,
    *,
    epsilon_each: Fraction | float,
    sensitivity: int,
    source: WordSource | None = None,
) -> NDArray[np.int64]:
    """Choose k units by their scores under Gumbel noise of scale sensitivity / epsilon_each.

    Args:
        scores: Integers (num_units,), higher is better.
        k: Number of units to choose, in [0, num_units].
        epsilon_each: Bounded range of one choice, above 0; a float stands for the fraction that it is.
        sensitivity: R of the module's text, at least 1: for 0/1 votes 1 if one participant's are taken away, 2
            if they are replaced.
        source: Where the randomness comes from; a fresh `SystemWords` if not given.

    Returns:
        int64 (k,): different indices of units, in the order in which they were chosen.

    Raises:
        ValueError: If the scores are no vector of integers or an argument is out of range.
    """
    if scores.ndim != 1 or scores.dtype.kind not in "iu":
        raise ValueError(f"scores with shape {scores.shape} and dtype {scores.dtype} must be integers (num_units,)")
    if not 0 <= k <= len(scores):
        raise ValueError(f"k={k} must be in [0, {len(scores)}]")
    if not 0 < epsilon_each < math.inf:
        raise ValueError(f"epsilon_each={epsilon_each} must be finite and above 0")
    if sensitivity < 1:
        raise ValueError(f"sensitivity={sensitivity} must be at least 1")
    source = SystemWords() if source is None else source
    rate = Fraction(epsilon_each) / sensitivity
    remaining = _Remaining(scores, cache(lambda gap: scaled_exp(rate * gap, PRECISION)))
    chosen = np.empty(k, np.int64)
    done = 0
    while done < k:
        batch = remaining.take_some(k - done, source)
        chosen[done : done + len(batch)] = batch
        done += len(batch)
    return chosen


def top_k_distance(k: int, num_scores: int) -> float:
    """Return a bound on the statistical distance of `top_k` from its law.

    Args:
        k: Number of units that are chosen, at least 0.
        num_scores: Number of different scores that are possible, at least 1: public, unlike those that occur.

    Raises:
        ValueError: If an argument is out of range.
    """
    if k < 0:
        raise ValueError(f"k={k} must be at least 0")
    if num_scores < 1:
        raise ValueError(f"num_scores={num_scores} must be at least 1")
    return math.ldexp(2 * k * num_scores, -BITS)


class _Remaining:
    """The units that are left, class by class from the highest score down.

    Class c holds units[starts[c] : starts[c] + sizes[c]]; what follows up to the next class has been taken.
    """

    def __init__(self, scores: Integers, weight_of_gap: Callable[[int], int]) -> None:
        values, sizes = np.unique(scores, return_counts=True)
        self.weight_of_gap = weight_of_gap
        self.scores: list[int] = values[::-1].tolist()
        self.sizes: NDArray[np.int64] = sizes[::-1].copy()
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.units = np.argsort(scores, kind="stable")[::-1].copy()
        self.first = 0  # no class before it has a unit left

    def take_some(self, most: int, source: WordSource) -> NDArray[np.int64]:
        """Take from 1 to `most` units, by draws with replacement from those that are left at the start."""
        cumulative = self._cumulative_weights()
        total = cumulative[-1]
        draws = min(most, total // self.weight_of_gap(0))
        rounded = (((weight << (BITS + 1)) + total) // (2 * total) for weight in cumulative[:-1])
        # A threshold that rounds to 2**128 is above every draw: the classes past it are out of reach in this batch.
        thresholds = Thresholds.of(threshold for threshold in rounded if threshold < 1 << BITS)
        classes = self.first + thresholds.ranks(source.words(draws), source)
        places = self.starts[classes] + _uniform_below(self.sizes[classes], source)
        places, first_visits = np.unique(places, return_index=True)
        in_order = places[np.argsort(first_visits)]
        taken = self.units[in_order]
        self._remove(places, classes[first_visits])
        return taken

    def _cumulative_weights(self) -> list[int]:
        """Return the summed weights of the classes from the first one that has units, as far as they count."""
        while not self.sizes[self.first]:
            self.first += 1
        best = self.scores[self.first]
        weights = []
        for index in range(self.first, len(self.scores)):
            weight = self.weight_of_gap(best - self.scores[index])
            if not weight:
                break
            weights.append(int(self.sizes[index]) * weight)
        return list(accumulate(weights))

    def _remove(self, places: NDArray[np.int64], classes: NDArray[np.int64]) -> None:
        """Fill the gaps that taken units leave with their class's last ones; places in rising order."""
        for place, taken_from in zip(places[::-1].tolist(), classes[::-1].tolist(), strict=True):
            # From the back: the last unit of the class is never one that has yet to be removed.
            self.sizes[taken_from] -= 1
            self.units[place] = self.units[self.starts[taken_from] + self.sizes[taken_from]]


def _uniform_below(bounds: NDArray[np.int64], source: WordSource) -> NDArray[np.int64]:
    """Return a uniform number in [0, bound) for every bound: words past the last whole multiple are drawn again."""
    limits = bounds.astype(np.uint64)
    surplus = (~limits + np.uint64(1)) % limits  # 2**64 mod bound
    words = source.words(len(limits))
    while len(again := np.flatnonzero(words > ~surplus)):
        words[again] = source.words(len(again))
    return (words % limits).view(np.int64)
