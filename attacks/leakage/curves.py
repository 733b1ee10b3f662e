"""The ROC curve of scores and the figures read off it, for one weighting of the coins or for many at once.

The curve is the exact step curve: a point for every distinct score as a cutoff ("at or above is a member"), so equal
scores enter together and no point lies between. Direction of scores: see :mod:`attacks.leakage.samples`. Knows nothing
of intervals or of epsilon.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from attacks.leakage.samples import Samples

# Sums of weights in another order differ in the last digits; a rate this little above the one allowed is that rate.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Roc:
    """ROC curves over the same cutoffs.

    Attributes:
        cutoffs: float64 (points,), falling, +inf first: the point where nothing is called a member.
        true_positive_rates: float64 (..., points), rising from 0 to 1.
        false_positive_rates: float64 (..., points), rising from 0 to 1.
    """

    cutoffs: np.ndarray = field(repr=False)
    true_positive_rates: np.ndarray = field(repr=False)
    false_positive_rates: np.ndarray = field(repr=False)

    def auc(self) -> np.ndarray:
        """Give the chance that a member scores above a non-member, equal scores counting half (Mann-Whitney), (...)."""
        heights = self.true_positive_rates[..., 1:] + self.true_positive_rates[..., :-1]
        return (np.diff(self.false_positive_rates) * heights).sum(axis=-1) / 2

    def tpr_at(self, fpr: float) -> np.ndarray:
        """Give the greatest true positive rate of a cutoff whose false positive rate is at most `fpr`, (...).

        Raises:
            ValueError: `fpr` is not in [0, 1].
        """
        if not 0 <= fpr <= 1:
            raise ValueError(f"fpr={fpr} must be in [0, 1]")
        last = (self.false_positive_rates <= fpr + ROUNDING).sum(axis=-1, keepdims=True) - 1
        return np.take_along_axis(self.true_positive_rates, last, axis=-1)[..., 0]

    def rates_at(self, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
        """Give true and false positive rates, (...) each, where scores at or above `cutoff` are called members."""
        last = int((self.cutoffs >= cutoff).sum()) - 1
        return self.true_positive_rates[..., last], self.false_positive_rates[..., last]

    def advantage_at(self, cutoff: float) -> np.ndarray:
        """Give how much more often members than non-members score at or above `cutoff`, (...)."""
        true, false = self.rates_at(cutoff)
        return true - false


class CutoffSteps:
    """The coins in the order in which a falling cutoff takes them in; sorted once, weighted as often as wanted."""

    def __init__(self, samples: Samples) -> None:
        self._order = np.argsort(-samples.scores, kind="stable")
        falling = samples.scores[self._order]
        self._starts = np.flatnonzero(np.diff(falling, prepend=np.inf))
        self._cutoffs = np.concatenate([[np.inf], falling[self._starts]])
        self._members = samples.members[self._order]

    def curve(self, weights: np.ndarray) -> Roc:
        """Weigh coins.

        Args:
            weights: float64 (..., coins), at least 0, and above 0 for some member and some non-member.
        """
        falling = weights[..., self._order]
        return Roc(
            cutoffs=self._cutoffs,
            true_positive_rates=self._rates(falling * self._members),
            false_positive_rates=self._rates(falling * ~self._members),
        )

    def _rates(self, weights: np.ndarray) -> np.ndarray:
        if len(self._starts) < len(self._members):
            weights = np.add.reduceat(weights, self._starts, axis=-1)
        rates = np.empty((*weights.shape[:-1], weights.shape[-1] + 1))
        rates[..., 0] = 0
        np.cumsum(weights, axis=-1, out=rates[..., 1:])
        rates /= rates[..., -1:].copy()
        return rates


def roc(samples: Samples) -> Roc:
    """Give the curve with every coin weighing the same."""
    return CutoffSteps(samples).curve(np.ones(len(samples)))


def balanced_accuracy(advantage: float) -> float:
    """Give the share of right calls where members and non-members are equally many."""
    return (1 + advantage) / 2


def ppv(true_positive_rate: float, false_positive_rate: float, *, prior: float) -> float:
    """Give the share of members among those called members where a share `prior` of all are.

    Raises:
        ValueError: `prior` is not in (0, 1), or both rates are 0, so that none is called a member.
    """
    if not 0 < prior < 1:
        raise ValueError(f"prior={prior} must be in (0, 1)")
    called = prior * true_positive_rate + (1 - prior) * false_positive_rate
    if called <= 0:
        raise ValueError(f"rates={true_positive_rate}, {false_positive_rate} must not both be 0")
    return prior * true_positive_rate / called
