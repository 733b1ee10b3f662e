"""Mask inversion and a likelihood ratio: log-norms read back from each mask, then compared with what a candidate adds.

A mask gives away its client's input norms nearly exactly (:mod:`attacks.inversion`); estimates of a channel from all
matrices that it enters are averaged. Log-norms with a candidate and without are taken for Gaussians of one covariance;
the means come from energies, which add up over contributions, the covariance from drawn clients and from reference
rows, which went through the same inversion and so bring its error along. Knows nothing of models and protocols.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from attacks.evidence import Kind, Scoring, Setting
from attacks.pieces import require_kind
from attacks.projection import ChannelProjection
from attacks.whitened import GaussianTest


@dataclass(frozen=True, slots=True, kw_only=True)
class InvertedLikelihood:
    """Gaussian log-likelihood ratio of inverted prune masks: of single clients, or the one chosen from totals."""

    name: str = "inverted"
    kinds: frozenset[Kind] = field(default=frozenset({"masks", "choice"}))
    is_taught: bool = False

    def start(self, setting: Setting) -> Scoring:
        """Begin on new rows.

        Raises:
            ValueError: rows are no masks; fewer than 2 contributions in the population.
        """
        require_kind(self.name, self.kinds, setting)
        return GaussianTest(ChannelProjection(setting, by_mask=True))
