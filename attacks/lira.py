"""LiRA: how likely is a score among labelled rows with the coin one way, against the other way?

Carlini et al. 2022, "Membership inference attacks from first principles": scores of another attack, a Gaussian fitted
per target to those of rows whose coin fell on the first candidate, another to the second. *Online* compares the two
densities; *offline* asks how far above the second a score lies. With few labelled rows single variances are noise, so
residuals of all targets are pooled, each side by itself. A labelled row is scored by the others. Knows nothing of
evidence: it takes scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.stats import norm

from attacks.evidence import Kind, Setting

_LEAST_SD = 1e-9  # of the largest absolute score: scores that never vary are still finite evidence


@dataclass(frozen=True, slots=True)
class _Fit:
    """Means and standard deviations of scores on one side of the coins, float64 (..., targets) each."""

    mean: np.ndarray
    sd: np.ndarray


def _without_each(values: np.ndarray) -> np.ndarray:
    """Give the sums over all rows but one, for each (rows, ...); a row that dwarfs the others is not taken off them."""
    found = np.zeros_like(values)
    found[1:] = np.cumsum(values[:-1], axis=0)
    found[:-1] += np.cumsum(values[:0:-1], axis=0)[::-1]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Lira:
    """Gaussian densities of another attack's scores, learned from labelled rows.

    Attributes:
        online: compare both sides' densities; else only how far a score is above the second side's.
        base: by kind, the attack whose scores are taken: the one with a likelihood that suits the kind.
        pool_below: labelled rows a target and side below which all targets share a side's variance.
    """

    online: bool = True
    base: dict[Kind, str] = field(
        default_factory=lambda: {
            "masks": "inverted",
            "totals": "whitened",
            "choice": "whitened",
            "statistics": "whitened",
        }
    )
    pool_below: int = 64

    @property
    def name(self) -> str:
        """``lira-online`` or ``lira-offline``."""
        return "lira-online" if self.online else "lira-offline"

    def refine(self, setting: Setting, scores: np.ndarray) -> np.ndarray:
        """Give float64 (observed + labelled, targets), higher = the first candidate is more likely in the row.

        Args:
            setting: what the attacker knows.
            scores: the base's, float64 (observed + labelled, candidates).

        Raises:
            ValueError: scores do not fit the setting; a target has fewer than 2 labelled rows on a side that is
                needed, or none has more.
        """
        if scores.shape != (setting.observed + setting.labelled, len(setting.energies)):
            raise ValueError(
                f"scores={scores.shape} must be {(setting.observed + setting.labelled, len(setting.energies))}"
            )
        paired = setting.paired(scores)
        known, coins = paired[setting.observed :], setting.coins
        sides = (1, 0) if self.online else (0,)
        for side in sides:
            fewest = int((coins == side).sum(0).min(initial=2))
            if fewest < 2 or (coins == side).sum() <= 2 * len(setting.targets):
                raise ValueError(f"coins={coins.shape} must fall on {side} twice for every target, and 3 times for one")
        observed = {side: self._fit(known, coins == side) for side in sides}
        labelled = {side: self._fit_by_others(known, coins == side) for side in sides}
        return np.concatenate(
            [self._ratio(paired[: setting.observed], observed), self._ratio(paired[setting.observed :], labelled)]
        )

    def _fit(self, scores: np.ndarray, taken: np.ndarray) -> _Fit:
        """Fit the scores (labelled rows, targets) marked in ``taken``."""
        count = taken.sum(0)
        mean = (scores * taken).sum(0) / count
        squares = (((scores - mean) * taken) ** 2).sum(0)
        return _Fit(mean, self._deviation(squares, count, largest=np.abs(scores).max()))

    def _fit_by_others(self, scores: np.ndarray, taken: np.ndarray) -> _Fit:
        """Fit, for every labelled row, the scores of the others that are marked: (labelled rows, targets) each."""
        # Near the mean of the others, whichever these are: little is lost where a mean's square is taken off below.
        middle = np.nanmedian(np.where(taken, scores, np.nan), axis=0)
        apart = np.where(taken, scores - middle, 0.0)
        others = taken.sum(0) - taken
        total = _without_each(apart)
        squares = np.maximum(_without_each(apart**2) - total**2 / others, 0.0)
        largest = np.abs(scores).max(1, keepdims=True)
        two_largest = np.sort(largest, axis=0)[-2:]
        of_others = np.where(largest == two_largest[1], two_largest[0], two_largest[1])
        return _Fit(middle + total / others, self._deviation(squares, others, largest=of_others))

    def _deviation(self, squares: np.ndarray, count: np.ndarray, *, largest: np.ndarray) -> np.ndarray:
        """Give standard deviations (..., targets), of all targets together where a single one has few scores.

        Args:
            squares: sums of squared differences from the mean, (..., targets).
            count: how many differences, (..., targets).
            largest: the largest absolute score, which broadcasts to them.
        """
        pooled = squares.sum(-1, keepdims=True) / (count - 1).sum(-1, keepdims=True)
        single = squares / np.maximum(count - 1, 1)
        variance = np.where(count.min(-1, keepdims=True) < self.pool_below, pooled, single)
        found: np.ndarray = np.maximum(np.sqrt(variance), _LEAST_SD * np.maximum(largest, 1.0))
        return found

    def _ratio(self, scores: np.ndarray, fits: dict[int, _Fit]) -> np.ndarray:
        second = fits[0]
        if not self.online:
            tail: np.ndarray = -norm.logsf(scores, second.mean, second.sd)
            return tail
        first = fits[1]
        ratio: np.ndarray = norm.logpdf(scores, first.mean, first.sd) - norm.logpdf(scores, second.mean, second.sd)
        return ratio
