"""The log-likelihood ratio of two Gaussians of one covariance, with many more dimensions than vectors to learn it from.

Directions come from one sample (the population's draws), variances along them from another (reference rows): an
eigenvalue of a sample covariance describes its own sample, a variance along its eigenvector in other data does not
flatter (NERCOME: Lam 2016, Annals of Statistics 44; Joachimi 2017, MNRAS Letters 466). Variances fall along the
spectrum, so they are pooled where they do not; what is outside all directions gets one variance. No matrix of
dimensions by dimensions is made where draws are fewer. Knows nothing of candidates, masks and channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from sklearn.isotonic import IsotonicRegression

_RELATIVE_RANK = 1e-9  # eigenvalues of the draws below this share of the largest span nothing
_POOLED = 0.1  # share of the mean variance in every dimension's scale: few reference rows know single ones badly


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrunkGaussian:
    """A Gaussian's mean and covariance, the latter as a few directions and one variance for the rest.

    Attributes:
        mean: float64 (dimensions,).
        scale: float64 (dimensions,), by which vectors are divided first.
        directions: float64 (dimensions, directions), orthonormal, in scaled space; largest variance of draws first.
        variances: float64 (directions,), along them, falling.
        rest: variance of every direction outside; above 0.
    """

    mean: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    directions: np.ndarray = field(repr=False)
    variances: np.ndarray = field(repr=False)
    rest: float

    @classmethod
    def fit(cls, draws: np.ndarray, reference: np.ndarray) -> ShrunkGaussian:
        """Learn directions from draws, everything else from reference rows.

        Args:
            draws: float64 (draws, dimensions), of a distribution of nearly the same shape; only directions matter.
            reference: float64 (reference rows, dimensions), of the distribution meant.

        Raises:
            ValueError: fewer than 2 draws or reference rows, or other dimensions, or reference rows that are all alike.
        """
        if len(draws) < 2 or len(reference) < 2 or draws.shape[1] != reference.shape[1]:
            raise ValueError(f"draws={draws.shape} and reference={reference.shape} must be 2 rows or more, as wide")
        mean = reference.mean(0)
        spread = reference.var(0, ddof=1)
        if not spread.mean() > 0:
            raise ValueError(f"reference={reference.shape} must vary: all rows are alike")
        scale = np.sqrt((1 - _POOLED) * spread + _POOLED * spread.mean())
        directions = _principal((draws - draws.mean(0)) / scale)
        scaled = (reference - mean) / scale
        along = scaled @ directions
        within = (along**2).sum(0) / (len(reference) - 1)
        beyond = scaled.shape[1] - directions.shape[1]
        total = (scaled**2).sum() / (len(reference) - 1)
        rest = max((total - within.sum()) / beyond, 0.0) if beyond else float(within.min(initial=np.inf))
        variances = _falling(np.append(within, rest), weights=np.append(np.ones(len(within)), max(beyond, 1)))
        least = 1e-9 * total / scaled.shape[1]
        variances = np.maximum(variances, least)
        return cls(mean=mean, scale=scale, directions=directions, variances=variances[:-1], rest=float(variances[-1]))

    def coordinates(self, vectors: np.ndarray) -> np.ndarray:
        """Give float64 (n, directions), whitened: differences (n, dimensions) along directions, in deviations."""
        along: np.ndarray = (vectors / self.scale) @ self.directions / np.sqrt(self.variances)
        return along

    def products(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Give float64 (n, m), products of differences under the inverse covariance (Woodbury's identity)."""
        within = (left / self.scale) @ self.directions, (right / self.scale) @ self.directions
        everywhere = (left / self.scale**2) @ right.T
        found: np.ndarray = (within[0] * (1 / self.variances - 1 / self.rest)) @ within[1].T + everywhere / self.rest
        return found

    def log_ratio(self, rows: np.ndarray, shifts: np.ndarray, *, absent: np.ndarray) -> np.ndarray:
        """Give log p(row; mean + absent + shift) - log p(row; mean + absent), float64 (rows, shifts).

        Args:
            rows: float64 (rows, dimensions).
            shifts: float64 (shifts, dimensions).
            absent: float64 (shifts or 1, dimensions).
        """
        inner = self._pairwise(absent + shifts / 2, shifts)
        return self.products(rows - self.mean, shifts) - inner

    def squares(self, vectors: np.ndarray) -> np.ndarray:
        """Give float64 (n,), squared norms of differences under the inverse covariance."""
        return self._pairwise(vectors, vectors)

    def _pairwise(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Give the products of each with its counterpart, float64 (n,)."""
        one, other = left / self.scale, right / self.scale
        within = (one @ self.directions) * (other @ self.directions)
        found: np.ndarray = within @ (1 / self.variances - 1 / self.rest) + (one * other).sum(1) / self.rest
        return found


def _principal(vectors: np.ndarray) -> np.ndarray:
    """Give the orthonormal principal directions (dimensions, rank), by the smaller of the two Gram matrices."""
    if vectors.shape[1] <= len(vectors):
        values, found = np.linalg.eigh(vectors.T @ vectors)
        keep = values > _RELATIVE_RANK * max(values[-1], 1e-300)
        return np.asarray(found[:, keep][:, ::-1])
    values, left = np.linalg.eigh(vectors @ vectors.T)
    keep = values > _RELATIVE_RANK * max(values[-1], 1e-300)
    found = vectors.T @ (left[:, keep] / np.sqrt(values[keep]))
    return np.asarray(found[:, ::-1])


def _falling(values: np.ndarray, *, weights: np.ndarray) -> np.ndarray:
    fit = IsotonicRegression(increasing=False).fit_transform(np.arange(len(values)), values, sample_weight=weights)
    return np.asarray(fit, np.float64)
