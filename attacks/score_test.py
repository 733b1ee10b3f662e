"""The score test: one formula for a client's mask, totals, noisy totals and statistics (A1).

With totals C of n clients, population rates p and the prune mask y that a candidate alone would make,

    T = sum over bits of (C - n p) (y - p) / (n p (1 - p) + noise variance)

(Homer et al. 2008; Sankararaman et al. 2009; Dwork et al. 2015, "Robust traceability from trace amounts"). Statistics
have means and variances of their own and no rate: the same test is the log-likelihood ratio of independent Gaussians
that differ by what the candidate adds. Rates, means and variances come from reference rows. Uses no energies.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from attacks.companions import absent_is_empty
from attacks.evidence import KINDS, Kind, Scoring, Setting, Sight, StatisticsSight
from attacks.pieces import MEMORY_BYTES, Tally, flat, pieces, rate, require_kind, votes_a_bit


class _OfMatrices:
    def __init__(self, setting: Setting, memory_bytes: int) -> None:
        self._votes = votes_a_bit(setting)
        self._noise_variance = np.float32(setting.noise_sd**2)
        self._memory_bytes = memory_bytes
        self._sum = Tally(setting)

    def see(self, sight: Sight) -> None:
        """Add a matrix's part of the sum."""
        for piece in pieces(sight, self._memory_bytes):
            total = piece.reference.sum(0, dtype=np.float64).reshape(-1)
            p = rate(total, self._votes * len(piece.reference))
            weights = flat(piece.alone)
            weights -= p
            weights /= self._votes * p * (1 - p) + self._noise_variance
            rows = flat(piece.rows)
            rows -= self._votes * p  # centred first: single precision then loses nothing that matters
            self._sum.add(rows @ weights.T)

    def scores(self) -> np.ndarray:
        """Give the test's sums."""
        return self._sum.total()


class _OfStatistics:
    def __init__(self, setting: Setting) -> None:
        self._is_empty = absent_is_empty(setting)
        self._sum = Tally(setting)

    def see(self, sight: Sight) -> None:
        """Add a vector's part of the sum.

        Raises:
            ValueError: a matrix was given, or fewer than 2 reference rows.
        """
        if not isinstance(sight, StatisticsSight):
            raise ValueError(f"sight={type(sight).__name__} must be a StatisticsSight for statistics")
        if len(sight.reference) < 2:
            raise ValueError(f"reference={len(sight.reference)} rows must be at least 2 for a variance")
        variance = sight.reference.var(0, ddof=1)
        told = variance > 0
        usual = sight.population[:, told].mean(0)
        # Where absence means an empty slot, reference rows had it filled or empty by a fair coin.
        absent = np.where(self._is_empty[:, None], -usual / 2, 0.0)
        added = sight.contributions[:, told] - np.where(self._is_empty[:, None], 0.0, usual)
        rows = sight.rows[:, told] - sight.reference[:, told].mean(0)
        weights = added / variance[told]
        self._sum.add(rows @ weights.T - ((absent + added / 2) * weights).sum(1))

    def scores(self) -> np.ndarray:
        """Give log-likelihood ratios of independent Gaussians."""
        return self._sum.total()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTest:
    """The linear test of deviations from population rates; for all kinds of rows.

    Attributes:
        name: of the attack.
        kinds: of rows.
        is_taught: by labelled rows.
        memory_bytes: for temporary arrays.
    """

    name: str = "score-test"
    kinds: frozenset[Kind] = field(default=frozenset(KINDS))
    is_taught: bool = False
    memory_bytes: int = MEMORY_BYTES

    def start(self, setting: Setting) -> Scoring:
        """Begin on new rows."""
        require_kind(self.name, self.kinds, setting)
        return _OfStatistics(setting) if setting.kind == "statistics" else _OfMatrices(setting, self.memory_bytes)
