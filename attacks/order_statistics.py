"""Order statistics: totals read as empirical distribution functions of clients' log-norms (A6).

C_ij, the total of weight ij over clients, counts those with u_j <= tau_i - a_ij: along the rows of weights it is n
times the empirical distribution function of the clients' log-norms of channel j, taken at public points. Isotonic
regression makes it one again where cutoffs or noise have bent it. Its steps are where clients lie; with the law of a
usual client's log-norm, and of one with the candidate, a channel's likelihood ratio is the mean over steps of the ratio
of the two laws' probabilities between the same points: one of n clients, any of them, has the candidate. Channels'
logarithms add up. Needs a matrix's rows of weights together: pieces of a matrix are read as matrices of fewer points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from attacks.companions import Companions, Spread, absent_is_empty
from attacks.evidence import Kind, MatrixSight, Scoring, Setting, Sight
from attacks.margins import normal_cdf, usual_cutoffs
from attacks.pieces import MEMORY_BYTES, Tally, require_kind


def steps_of(counts: np.ndarray, clients: int) -> np.ndarray:
    """Give what a distribution function rises by between points, after isotonic regression.

    Args:
        counts: float (..., points), ``clients`` times the function at ascending points, with error.
        clients: what it rises to.

    Returns:
        float32 (..., points + 1), nowhere negative, adding up to 1: below the first point, ..., above the last.
    """
    counts = np.clip(counts, 0, clients)
    flat = counts.reshape(-1, counts.shape[-1]).astype(np.float64)
    # One regression for all: each function lies above the one before, so that none is pooled with another.
    floors = np.arange(len(flat))[:, None] * (clients + 1.0)
    fitted = isotonic_regression((flat + floors).reshape(-1)).x.reshape(flat.shape) - floors
    steps = np.diff(fitted, prepend=0.0, append=float(clients), axis=1) / clients
    return np.maximum(steps, 0).astype(np.float32).reshape(*counts.shape[:-1], -1)


class _OrderStatistics:
    def __init__(self, setting: Setting, attack: OrderStatistics) -> None:
        self._attack = attack
        self._clients = setting.clients
        self._is_empty = absent_is_empty(setting)
        self._companions = Companions(setting, draws=attack.draws, least_sd=attack.least_sd)
        self._sum = Tally(setting)

    def see(self, sight: Sight) -> None:
        """Add a matrix's channels.

        Raises:
            ValueError: the sight is of statistics.
        """
        if not isinstance(sight, MatrixSight):
            raise ValueError(f"sight={type(sight).__name__} must be a MatrixSight for totals")
        norms = self._companions.norms(sight.channels)
        cutoffs = usual_cutoffs(sight.log_weights, norms.usual, share=sight.sparsity)[0]
        margins = np.clip(cutoffs[:, None] - sight.log_weights, -1e3, 1e3).T  # (in, out)
        order = np.argsort(margins, axis=1)
        points = self._cells(np.take_along_axis(margins, order, axis=1))  # (in, cells)
        for part in self._parts(points, rows=len(sight.rows)):
            picked = order[part] * sight.log_weights.shape[1] + part[:, None]
            steps = self._steps(sight.rows, picked)
            present, usual, short = (
                self._laws(points[part], spread, part) for spread in (norms.present, norms.usual, norms.short)
            )
            self._sum.add(self._log_ratio(steps, present / usual) - self._log_absent(steps, usual, short))

    def _parts(self, points: np.ndarray, *, rows: int) -> Iterator[np.ndarray]:
        """Give runs of channels whose temporary arrays fit the memory."""
        channels, cells = points.shape
        a_channel = 4 * ((cells + 1) * (8 * rows + 4 * len(self._is_empty)) + 2 * rows * len(self._is_empty))
        size = max(1, self._attack.memory_bytes // a_channel)
        for at in range(0, channels, size):
            yield np.arange(at, min(at + size, channels))

    def _cells(self, ascending: np.ndarray) -> np.ndarray:
        """Average neighbours along the last axis, so that at most ``cells`` values remain."""
        length = ascending.shape[-1]
        edges = np.linspace(0, length, min(self._attack.cells, length) + 1).astype(np.int64)
        sums = np.add.reduceat(ascending, edges[:-1], axis=-1, dtype=np.float32)
        found: np.ndarray = sums / np.diff(edges).astype(np.float32)
        return found

    def _steps(self, rows: np.ndarray, picked: np.ndarray) -> np.ndarray:
        """Give the steps of every row's channels, float32 (channels, rows, cells + 1)."""
        flat = rows.reshape(len(rows), -1)
        counts = np.stack([self._cells(row[picked]) for row in flat], axis=1)
        return steps_of(counts, self._clients)

    def _laws(self, points: np.ndarray, spread: Spread | None, part: np.ndarray) -> np.ndarray:
        """Give the probability of a log-norm between points, float32 (channels, clients of spread, cells + 1)."""
        if spread is None:  # nothing at all: a client like any place between points
            return np.full((len(points), 1, points.shape[1] + 1), 1 / (points.shape[1] + 1), np.float32)
        mean, sd = (each[:, part].T[:, :, None] for each in (spread.mean, spread.sd))
        below = normal_cdf((points[:, None, :] - mean) / sd)
        law = np.diff(below, prepend=np.float32(0), append=np.float32(1), axis=2)
        return np.maximum(law, 0) + np.float32(self._attack.least_rate)

    def _log_ratio(self, steps: np.ndarray, ratio: np.ndarray) -> np.ndarray:
        """Give the sum over channels of the logarithm of the mean ratio, float32 (rows, candidates)."""
        found: np.ndarray = np.log(steps @ ratio.transpose(0, 2, 1)).sum(0)
        return found

    def _log_absent(self, steps: np.ndarray, usual: np.ndarray, short: np.ndarray) -> np.ndarray:
        """Give the same for a client without the candidate: a usual one, or one with a slot empty."""
        if not self._is_empty.any():
            return np.zeros((1, 1), np.float32)
        return np.where(self._is_empty, self._log_ratio(steps, short / usual), np.float32(0))

    def scores(self) -> np.ndarray:
        """Give the sums of channels' log-likelihood ratios."""
        return self._sum.total()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderStatistics:
    """Likelihood ratio of clients' log-norms read from totals; for totals.

    Attributes:
        name: of the attack.
        kinds: of rows.
        is_taught: by labelled rows.
        cells: at most so many points a channel, each an average over neighbours.
        draws: of companions.
        least_sd: nats, spread of what the model leaves out.
        least_rate: added to every probability between points.
        memory_bytes: for temporary arrays.
    """

    name: str = "order-statistics"
    kinds: frozenset[Kind] = frozenset({"totals"})
    is_taught: bool = False
    cells: int = 32
    draws: int = 256
    least_sd: float = 0.03
    least_rate: float = 1e-3
    memory_bytes: int = MEMORY_BYTES

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ValueError: there are no cells, or probabilities may be 0.
        """
        if self.cells < 1 or not self.least_rate > 0:
            raise ValueError(f"cells={self.cells} must be at least 1 and least_rate={self.least_rate} above 0")

    def start(self, setting: Setting) -> Scoring:
        """Begin on new rows.

        Raises:
            ValueError: rows are no totals, or the population is empty.
        """
        require_kind(self.name, self.kinds, setting)
        return _OrderStatistics(setting, self)
