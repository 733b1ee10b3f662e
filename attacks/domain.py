"""Which domain a client's text is of, and how much of each domain there is in a total.

From one client's mask or statistics: multinomial logistic regression on principal components of channel estimates
(logarithms of energies, up to a constant a group). From totals: entries of totals (or channel estimates made of them)
are taken as linear in the proportions of the domains; each domain's profile is learnt from worlds with known
proportions, and the proportions of an observed row are those on the simplex whose mixture fits best. Learns from
labelled worlds that the attacker made of other windows. Knows nothing of models, protocols or files.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls
from scipy.stats import binomtest
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

SUM_WEIGHT = 1e4  # how much firmer proportions sum to 1 than a profile fits, in units of the profiles' own size


class DomainModel:
    """Tells the domain of a row."""

    def __init__(self, rows: np.ndarray, labels: np.ndarray, *, components: int = 64, strength: float = 1.0) -> None:
        """Learn from labelled worlds.

        Args:
            rows: float64 (worlds, channels), channel estimates.
            labels: (worlds,), each one's domain; at least two domains.
            components: principal components that are used, at most; fewer where there are fewer rows or channels.
            strength: inverse strength of the regularisation, positive, for components scaled by the first one's
                standard deviation.

        Raises:
            ValueError: shapes do not fit, or there is one domain only.
        """
        _check(rows, len(labels))
        self.domains = np.unique(labels)
        if len(self.domains) < 2:
            raise ValueError(f"labels={self.domains.tolist()} must name at least two domains")
        if components < 1 or not strength > 0:
            raise ValueError(f"components={components} must be at least 1 and strength={strength} positive")
        self._projection, projected = _fit_projection(rows, components)
        self._regression = LogisticRegression(C=strength, max_iter=10_000).fit(projected, labels)
        counts = np.array([(labels == domain).sum() for domain in self.domains])
        self.prior = counts / counts.sum()

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Give float64 (rows, domains), how likely each domain is for rows (rows, channels)."""
        return np.asarray(self._regression.predict_proba(self._projection.apply(rows)), np.float64)

    def accuracy(self, rows: np.ndarray, truth: np.ndarray, *, level: float = 0.95) -> DomainAccuracy:
        """Measure the share of rows whose domain is told.

        Args:
            rows: float64 (rows, channels) of observed worlds, independent of one another and of those learnt from.
            truth: (rows,), their domains.
            level: of the interval.

        Raises:
            ValueError: shapes do not fit.
        """
        _check(rows, len(truth))
        guessed = self.domains[self.probabilities(rows).argmax(1)]
        blind = self.domains[self.prior.argmax()]
        correct = int((guessed == truth).sum())
        interval = binomtest(correct, len(truth)).proportion_ci(level, method="exact")
        return DomainAccuracy(
            correct=correct,
            rows=len(truth),
            interval=(float(interval.low), float(interval.high)),
            level=level,
            prior_accuracy=float((truth == blind).mean()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainAccuracy:
    """How often a domain was told.

    Attributes:
        correct: rows whose likeliest domain was theirs.
        rows: number of rows.
        interval: Clopper and Pearson's for the share of correct rows; for independent rows only.
        level: its level.
        prior_accuracy: share of rows of the domain that most worlds learnt from had: what guessing without looking
            gets.
    """

    correct: int
    rows: int
    interval: tuple[float, float]
    level: float
    prior_accuracy: float

    @property
    def accuracy(self) -> float:
        """Share of correct rows."""
        return self.correct / self.rows


class MixtureModel:
    """Tells the proportions of domains behind a row of totals."""

    def __init__(self, rows: np.ndarray, proportions: np.ndarray, *, components: int = 64) -> None:
        """Learn each domain's profile, and how rows scatter around mixtures, from labelled worlds.

        Args:
            rows: float64 (worlds, entries), totals or channel estimates.
            proportions: float64 (worlds, domains), non-negative, 1 in every row; more worlds than domains.
            components: principal components that are used, at most.

        Raises:
            ValueError: shapes or proportions do not fit.
        """
        _check(rows, len(proportions))
        if proportions.ndim != 2 or (proportions < 0).any() or not np.allclose(proportions.sum(1), 1):
            raise ValueError(f"proportions={proportions.shape} must be (worlds, domains), 0 or more and 1 in every row")
        if len(rows) <= proportions.shape[1] or np.linalg.matrix_rank(proportions) < proportions.shape[1]:
            raise ValueError(f"proportions={proportions.shape} must vary in every domain, in more worlds than domains")
        if components < 1:
            raise ValueError(f"components={components} must be at least 1")
        self._projection, projected = _fit_projection(rows, components)
        profiles = np.linalg.lstsq(proportions, projected, rcond=None)[0]  # (domains, components)
        scatter = LedoitWolf(assume_centered=True).fit(projected - proportions @ profiles).precision_
        self._whitening = np.linalg.cholesky(scatter)  # whitened: values @ whitening
        self._profiles = profiles @ self._whitening
        self.prior = proportions.mean(0)

    def proportions(self, rows: np.ndarray) -> np.ndarray:
        """Give float64 (rows, domains), non-negative and 1 in every row, for rows (rows, entries)."""
        firmness = SUM_WEIGHT * max(float(np.abs(self._profiles).max()), 1.0)
        system = np.vstack([self._profiles.T, np.full(len(self._profiles), firmness)])
        whitened = self._projection.apply(rows) @ self._whitening
        found = np.stack([nnls(system, np.append(row, firmness))[0] for row in whitened])
        return found / found.sum(1, keepdims=True)

    def errors(self, rows: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give total variation distances from the truth (rows, domains): the estimate's and the mean proportions'."""
        return (
            np.abs(self.proportions(rows) - truth).sum(1) / 2,
            np.abs(self.prior - truth).sum(1) / 2,
        )


@dataclass(frozen=True, slots=True)
class _Projection:
    principal: PCA = field(repr=False)
    scale: float

    def apply(self, rows: np.ndarray) -> np.ndarray:
        return self.principal.transform(rows) / self.scale


def _fit_projection(rows: np.ndarray, components: int) -> tuple[_Projection, np.ndarray]:
    """Find principal components, in units of the first one's standard deviation, and apply them."""
    if (rows == rows[0]).all():
        raise ValueError(f"rows={rows.shape} must differ from one another")
    count = min(components, len(rows) - 1, rows.shape[1])
    principal = PCA(count, svd_solver="full").fit(rows)
    projection = _Projection(principal, float(np.sqrt(principal.explained_variance_[0])))
    return projection, projection.apply(rows)


def _check(rows: np.ndarray, labels: int) -> None:
    if rows.ndim != 2 or len(rows) != labels or labels < 2:
        raise ValueError(f"rows={rows.shape} must be (worlds, channels) with one of {labels} labels each, at least two")
