"""From totals of prune masks back to the mean of the clients' log-norms.

A column of totals is an empirical distribution function of the clients' log-norms u at the public points
``tau_i - a_ij`` (a: logarithm of the absolute weight, tau: the row's cutoff). Of it one Newton step of the probit
likelihood is taken, from the reference rows' mean: linear in the totals, so that noise on them stays noise of mean 0.
As of single masks (:mod:`attacks.inversion`), u comes back up to one constant a matrix. Knows nothing of candidates and
populations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtr

from attacks.inversion import FAR, centred

_LEAST_SHARE = 1e-4  # a channel with less information than this share of the best one's tells nothing
_CHUNK = 1 << 24  # entries turned into floats at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanInverter:
    """Estimates from totals how far the clients' mean log-norms are from the reference rows'.

    Attributes:
        weights: float32 (out, in), a total's share in its channel's estimate, in nats.
        expected: float64 (in,), the weighted sum of the reference mean.
        information: float64 (in,), reciprocal variance of a channel's estimate if bits were independent, in 1/nats^2.
    """

    weights: np.ndarray = field(repr=False)
    expected: np.ndarray = field(repr=False)
    information: np.ndarray = field(repr=False)

    @classmethod
    def fit(
        cls,
        reference: np.ndarray,
        log_weights: np.ndarray,
        *,
        trials: int,
        spread: np.ndarray,
        noise_sd: float = 0.0,
        passes: int = 8,
    ) -> MeanInverter:
        """Weigh totals by the probability density at their public points over their variance.

        Args:
            reference: totals (reference rows, out, in), 0 to ``trials`` or noisy.
            log_weights: (out, in), -inf where a weight is 0.
            trials: how many votes a total adds up.
            spread: float64 (in,), standard deviation of log-norms behind one vote, in nats, above 0.
            noise_sd: of the noise on every total, in votes.
            passes: alternations of cutoffs and mean log-norms.

        Raises:
            ValueError: shapes do not fit, or ``trials`` or a spread is not above 0.
        """
        if reference.ndim != 3 or reference.shape[1:] != log_weights.shape or not len(reference):
            raise ValueError(f"reference={reference.shape} must be (at least 1, {str(log_weights.shape)[1:]}")
        if trials < 1 or spread.shape != log_weights.shape[1:] or not (spread > 0).all():
            raise ValueError(f"trials={trials} must be at least 1, spread={spread.shape} above 0 for every input")
        finite = np.isfinite(log_weights)
        known = np.where(finite, log_weights, -FAR).astype(np.float64)
        mean = reference.mean(0)
        z = _probit_fit(np.where(finite, mean / trials, 1.0), known, spread=spread, finite=finite, passes=passes)
        density = np.where(finite, _density(z), 0.0) / spread
        chance = ndtr(z)
        # Tail bits say little and are where the model is least true: no variance below that of a bit in a hundred.
        weights = density / (trials * np.maximum(chance * (1 - chance), 0.01) + noise_sd**2)
        information = trials * (weights * density).sum(0)
        information = np.where(information > _LEAST_SHARE * information.max(), information, 0.0)
        weights = np.where(information > 0, -weights / np.where(information > 0, information, 1.0), 0.0)
        return cls(weights=weights.astype(np.float32), expected=(weights * mean).sum(0), information=information)

    def invert(self, rows: np.ndarray) -> np.ndarray:
        """Give float64 (rows, in), shifts of the mean log-norm from the reference mean, of mean 0 a row.

        Raises:
            ValueError: the rows do not fit the weights.
        """
        if rows.ndim != 3 or rows.shape[1:] != self.weights.shape:
            raise ValueError(f"rows={rows.shape} must be (rows, {', '.join(map(str, self.weights.shape))})")
        found = np.empty((len(rows), rows.shape[2]))
        step = max(1, _CHUNK // self.weights.size)
        for first in range(0, len(rows), step):
            part = rows[first : first + step].astype(np.float32)
            found[first : first + step] = np.einsum("roi,oi->ri", part, self.weights)
        return centred(found - self.expected, self.information > 0)


def _probit_fit(
    rates: np.ndarray, log_weights: np.ndarray, *, spread: np.ndarray, finite: np.ndarray, passes: int
) -> np.ndarray:
    """Fit ``rate_ij = Phi((tau_i - a_ij - m_j) / spread_j)`` to the sums of rows and columns; give the arguments.

    Fitting ``out + in`` numbers instead of ``out * in`` rates keeps few or noisy reference rows from making noise of
    the weights. Sums that noise has carried past what is possible, or to where any mean would do, are cut to half a
    bit from there.
    """
    sums = [np.clip(rates.sum(axis), 0.5, rates.shape[axis] - 0.5) for axis in (0, 1)]
    ordered = np.sort(log_weights, axis=1)
    cutoffs = ordered[np.arange(len(rates)), sums[1].astype(np.int64)]
    cutoffs = np.maximum(cutoffs, log_weights[finite].min(initial=0.0))
    means = np.zeros(rates.shape[1])
    for _ in range(passes):
        for axis in (1, 0):
            z = (cutoffs[:, None] - log_weights - means) / spread
            slope = (_density(z) / spread).sum(axis)
            step = np.clip((sums[axis] - ndtr(z).sum(axis)) / np.maximum(slope, 1e-3), -1.0, 1.0)
            if axis:
                cutoffs = cutoffs + step
            else:
                means = means - step
    return np.asarray((cutoffs[:, None] - log_weights - means) / spread)


def _density(z: np.ndarray) -> np.ndarray:
    """Give the normal density, without the checks that `scipy.stats` spends most of its time on."""
    found: np.ndarray = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return found
