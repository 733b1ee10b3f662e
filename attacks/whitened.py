"""The whitened score test: how far a row lies in the direction of a candidate, measured in the population's variance.

The plain linear test weighs every entry by its own variance; contributions vary together along few directions, and a
test that knows them sees much more. Evidence is brought to one vector a row (:mod:`attacks.projection`), a covariance
is shrunk from the population and reference rows (:mod:`attacks.shrinkage`), and the score is the logarithm of the ratio
of two Gaussians that differ by the candidate's shift. Knows nothing of models and protocols.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from attacks.evidence import KINDS, Kind, Scoring, Setting, Sight
from attacks.pieces import require_kind
from attacks.projection import Projection, projection
from attacks.shrinkage import ShrunkGaussian


class GaussianTest:
    """Scores rows by the log-likelihood ratio of what a projection makes of them."""

    def __init__(self, projection: Projection) -> None:
        """Begin, with a projection that has seen nothing."""
        self._projection = projection

    def see(self, sight: Sight) -> None:
        """Take the evidence of a matrix or vector."""
        self._projection.see(sight)

    def scores(self) -> np.ndarray:
        """Give log-likelihood ratios, float64 (observed + labelled, candidates)."""
        seen = self._projection.projected()
        gaussian = ShrunkGaussian.fit(seen.draws, seen.reference)
        return gaussian.log_ratio(seen.rows, seen.shifts, absent=seen.absent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whitened:
    """Gaussian log-likelihood ratio of the evidence, whitened by a shrunk covariance; for all kinds of rows."""

    name: str = "whitened"
    kinds: frozenset[Kind] = field(default=frozenset(KINDS))
    is_taught: bool = False

    def start(self, setting: Setting) -> Scoring:
        """Begin on new rows.

        Raises:
            ValueError: rows are of another kind; fewer than 2 contributions in the population.
        """
        require_kind(self.name, self.kinds, setting)
        return GaussianTest(projection(setting, by_mask=False))
