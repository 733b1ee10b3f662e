"""The blind baseline: scores candidates without a look at any row (A0).

How ordinary is a candidate among the population? In a game whose coins are fair that says nothing about them: an area
under the curve away from one half means that the game is not what it claims. Knows nothing of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from attacks.companions import floored
from attacks.evidence import KINDS, Kind, Scoring, Setting, Sight


class _Ordinary:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def see(self, sight: Sight) -> None:
        """Look away."""

    def scores(self) -> np.ndarray:
        """Give minus the mean squared deviation of log-energies from the population's, in its variance; equal rows."""
        energies, population = (np.log(each) for each in floored(self._setting))
        spread = population.std(0)
        told = spread > 0
        deviations = (energies[:, told] - population[:, told].mean(0)) / spread[told]
        scores = -(deviations**2).sum(1) / energies.shape[1]
        return np.tile(scores, (self._setting.observed + self._setting.labelled, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Blind:
    """Ordinary candidates score higher, whatever the rows; for all kinds."""

    name: str = "blind"
    kinds: frozenset[Kind] = field(default=frozenset(KINDS))
    is_taught: bool = False

    def start(self, setting: Setting) -> Scoring:
        """Begin on new rows."""
        return _Ordinary(setting)
