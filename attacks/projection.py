"""Evidence of all kinds in one space: rows as vectors, and what a candidate's presence adds to them.

Masks and totals are brought to log-norms of input channels, by inversion (each mask by itself) or by the one-step
estimator of the clients' mean; statistics are vectors already. Rows then are differences from the reference mean, and a
candidate is a shift of it: what a Gaussian test, or a learner, takes. Knows nothing of scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from attacks.channels import Alignment, LogNorms
from attacks.companions import absent_is_empty
from attacks.estimates import Estimates, made_once
from attacks.evidence import MatrixSight, Setting, Sight, StatisticsSight
from attacks.inversion import MaskInverter
from attacks.mean_inversion import MeanInverter
from attacks.pieces import votes_a_bit

_LEAST_SPREAD = 0.01  # nats; what a cutoff moves by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Projected:
    """All evidence in one space.

    Attributes:
        rows: float64 (observed + labelled, dimensions).
        reference: float64 (reference rows, dimensions).
        draws: float64 (draws, dimensions), of the population; only their differences mean something.
        shifts: float64 (candidates, dimensions), what presence adds to a row's mean.
        absent: float64 (candidates, dimensions) or (1, dimensions), the mean of a row without the candidate, less that
            of reference rows.
    """

    rows: np.ndarray = field(repr=False)
    reference: np.ndarray = field(repr=False)
    draws: np.ndarray = field(repr=False)
    shifts: np.ndarray = field(repr=False)
    absent: np.ndarray = field(repr=False)


class ChannelProjection:
    """Projects masks, choices and totals on log-norms of input channels, a matrix at a time."""

    def __init__(self, setting: Setting, *, by_mask: bool) -> None:
        """Begin.

        Args:
            setting: what the attacker knows.
            by_mask: invert every row's mask by itself; else estimate the mean of the clients' log-norms.

        Raises:
            ValueError: fewer than 2 contributions in the population.
        """
        self._by_mask = by_mask
        self._trials = votes_a_bit(setting)
        self._behind_a_vote = setting.clients / self._trials
        self._noise_sd = setting.noise_sd
        self._log_norms = LogNorms.of(setting)
        self._aligned = Alignment(setting.population.shape[1])

    def see(self, sight: Sight) -> None:
        """Take the evidence of a matrix.

        Raises:
            ValueError: statistics were given, or rows that do not fit the weights.
        """
        if not isinstance(sight, MatrixSight):
            raise ValueError(f"sight={type(sight).__name__} must be a MatrixSight for masks, choices and totals")
        made = made_once(sight, self._way(sight), lambda: self._estimates(sight))
        self._aligned.add(sight.channels, made.weights, rows=made.rows, reference=made.reference)

    def _way(self, sight: MatrixSight) -> tuple[object, ...]:
        """Name everything beside the sight that decides its estimates."""
        if self._by_mask:
            return ("by mask",)
        return ("mean", self._trials, self._noise_sd, self._spread(sight).tobytes())

    def _spread(self, sight: MatrixSight) -> np.ndarray:
        """Say how far log-norms of one vote are spread, (in,)."""
        drawn = self._log_norms.draws[:, sight.channels]
        spread = (drawn - drawn.mean(1, keepdims=True)).std(0) / np.sqrt(self._behind_a_vote)
        return np.hypot(spread, _LEAST_SPREAD)

    def _estimates(self, sight: MatrixSight) -> Estimates:
        estimator: MaskInverter | MeanInverter
        if self._by_mask:
            estimator = MaskInverter.fit(sight.reference, sight.log_weights)
            weights = len(sight.log_weights) * estimator.live.astype(np.float64)
        else:
            estimator = MeanInverter.fit(
                sight.reference,
                sight.log_weights,
                trials=self._trials,
                spread=self._spread(sight),
                noise_sd=self._noise_sd,
            )
            weights = estimator.information
        return Estimates(
            weights=weights, rows=estimator.invert(sight.rows), reference=estimator.invert(sight.reference)
        )

    def projected(self) -> Projected:
        """Give what was seen.

        Raises:
            ValueError: nothing was seen.
        """
        reference = self._aligned.averaged("reference")
        return Projected(
            rows=self._aligned.averaged("rows"),
            reference=reference,
            draws=self._aligned.applied(self._log_norms.draws),
            shifts=self._aligned.applied(self._log_norms.shifts),
            absent=np.zeros((1, reference.shape[1])),
        )


class StatisticsProjection:
    """Joins vectors of statistics, which are what contributions add up to."""

    def __init__(self, setting: Setting) -> None:
        """Begin."""
        self._or_nothing = absent_is_empty(setting)
        self._parts: list[StatisticsSight] = []

    def see(self, sight: Sight) -> None:
        """Take the evidence of a vector; it is its own projection, so its rows are kept, in single precision.

        Raises:
            ValueError: a matrix was given.
        """
        if not isinstance(sight, StatisticsSight):
            raise ValueError(f"sight={type(sight).__name__} must be a StatisticsSight for statistics")
        names = ("rows", "reference", "contributions", "population")
        self._parts.append(StatisticsSight(name=sight.name, **{n: getattr(sight, n).astype(np.float32) for n in names}))

    def projected(self) -> Projected:
        """Give what was seen.

        A slot that holds another contribution instead has the population's mean there; a slot that holds nothing has 0,
        and half that mean in reference rows, whose coins are fair.

        Raises:
            ValueError: nothing was seen.
        """
        if not self._parts:
            raise ValueError("see() must be called, with a vector, before scores()")
        rows, reference, contributions, population = (
            np.hstack([getattr(part, n) for part in self._parts]).astype(np.float64)
            for n in ("rows", "reference", "contributions", "population")
        )
        mean = population.mean(0)
        return Projected(
            rows=rows,
            reference=reference,
            draws=population,
            shifts=contributions - np.where(self._or_nothing[:, None], 0.0, mean),
            absent=np.where(self._or_nothing[:, None], -mean / 2, 0.0),
        )


Projection = ChannelProjection | StatisticsProjection


def projection(setting: Setting, *, by_mask: bool) -> Projection:
    """Begin the projection that fits the kind of rows; ``by_mask`` as in :class:`ChannelProjection`."""
    if setting.kind == "statistics":
        return StatisticsProjection(setting)
    return ChannelProjection(setting, by_mask=by_mask)
