"""RMIA: of how many people like the candidate would the row have said less?

Zarifzadeh, Liu and Shokri 2024, "Low-cost high-power membership inference attacks": a candidate's likelihood ratio is
compared with the ratios that candidates of the same population have in the same row, though they are never in any. The
score is the share of them that it beats by a factor gamma, which takes off what makes a row give every candidate a high
ratio. Base scores here are logarithms of ratios. Knows nothing of evidence: it takes scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from attacks.evidence import NOTHING, Kind, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Rmia:
    """The share of never present candidates whose ratio a target's beats.

    Shares tie, at 1 above all; ties are broken by the mean margin in nats, for less than the step of a share.

    Attributes:
        name: of the attack.
        base: by kind, the attack whose scores are taken: the one with a likelihood that suits the kind.
        gamma: factor by which a ratio must be larger; above 0.
    """

    name: str = "rmia"
    base: dict[Kind, str] = field(
        default_factory=lambda: {
            "masks": "inverted",
            "totals": "whitened",
            "choice": "whitened",
            "statistics": "whitened",
        }
    )
    gamma: float = 1.0

    def __post_init__(self) -> None:
        """Check the factor.

        Raises:
            ValueError: it is not above 0.
        """
        if not self.gamma > 0:
            raise ValueError(f"gamma={self.gamma} must be above 0")

    def refine(self, setting: Setting, scores: np.ndarray) -> np.ndarray:
        """Give float64 (observed + labelled, targets), higher = the first candidate is more likely in the row.

        Args:
            setting: what the attacker knows.
            scores: the base's, float64 (observed + labelled, candidates), log-likelihood ratios.

        Raises:
            ValueError: scores do not fit the setting, or every candidate is in a target.
        """
        if scores.shape != (setting.observed + setting.labelled, len(setting.energies)):
            raise ValueError(
                f"scores={scores.shape} must be {(setting.observed + setting.labelled, len(setting.energies))}"
            )
        never = np.setdiff1d(np.arange(len(setting.energies)), setting.targets)
        if not len(never):
            raise ValueError(f"targets={setting.targets.shape} must leave candidates that are in none, to compare with")
        compared = np.sort(scores[:, never], axis=1)
        share = np.empty(scores.shape)
        for row, others in enumerate(compared):
            share[row] = np.searchsorted(others, scores[row] - np.log(self.gamma), side="right") / len(never)
        first, second = setting.targets.T
        usual = compared.mean(1, keepdims=True)
        margin = scores[:, first] - np.where(second == NOTHING, usual, scores[:, second])
        return setting.paired(share) + margin / (1 + np.abs(margin)) / (2 * len(never))
