"""A learned test: logistic regression on what a row and a candidate's shift have in common, direction by direction.

The whitened test weighs every direction as a Gaussian with the population's variances would; this one learns the
weights from worlds that the attacker made itself. One model serves all pairs of a row and a candidate, since its
features are products: of the row's coordinate along a principal direction with the shift's, and of what is left outside
these directions, beside the squared norms that a likelihood ratio takes off. Labelled rows are scored by a model that
was trained on other labelled rows. Knows nothing of models and protocols.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from attacks.evidence import KINDS, NOT_IN_PLAY, NOTHING, Kind, Scoring, Setting, Sight
from attacks.pieces import require_kind
from attacks.projection import projection
from attacks.shrinkage import ShrunkGaussian

_PAIRS_AT_ONCE = 10_000  # a model's checks of what it is given cost as much as a row's pairs


def asked_pairs(setting: Setting) -> np.ndarray:
    """Give bool (labelled rows, candidates): a coin decides about the candidate's presence in the row."""
    asked = np.zeros((setting.labelled, len(setting.energies)), bool)
    for target, (first, second) in enumerate(setting.targets):
        decided = setting.coins[:, target] != NOT_IN_PLAY
        asked[decided, first] = True
        if second != NOTHING:
            asked[decided, second] = True
    return asked


class _Pairs:
    """Features of pairs of a row and a candidate, made when asked for: all at once would be many."""

    def __init__(self, gaussian: ShrunkGaussian, rows: np.ndarray, shifts: np.ndarray, *, directions: int) -> None:
        """Take differences from the absent mean (rows, dimensions) and shifts (candidates, dimensions)."""
        self._rows = gaussian.coordinates(rows)
        self._shifts = gaussian.coordinates(shifts)
        self._everything = gaussian.products(rows, shifts)
        self._norms = gaussian.squares(shifts)
        self._kept = min(directions, self._rows.shape[1])

    def features(self, rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Give float64 (pairs, kept directions + 2) of pairs of indices."""
        along = self._rows[rows, : self._kept] * self._shifts[candidates, : self._kept]
        left = self._everything[rows, candidates] - along.sum(1)
        return np.column_stack([along, left, self._norms[candidates]])


class _Learner:
    def __init__(self, setting: Setting, attack: Learned) -> None:
        self._setting = setting
        self._attack = attack
        self._projection = projection(setting, by_mask=setting.kind == "masks")

    def see(self, sight: Sight) -> None:
        """Take the evidence of a matrix or vector."""
        self._projection.see(sight)

    def scores(self) -> np.ndarray:
        """Give log odds of presence, float64 (observed + labelled, candidates).

        Raises:
            ValueError: nothing was seen, or labelled rows are fewer than folds, or coins all fell alike.
        """
        seen = self._projection.projected()
        if self._setting.labelled < self._attack.folds:
            raise ValueError(f"labelled={self._setting.labelled} rows must be at least folds={self._attack.folds}")
        gaussian = ShrunkGaussian.fit(seen.draws, seen.reference)
        # An empty slot's mean is below the reference rows'; a candidate's own part of that is in its squared norm.
        rows = seen.rows - gaussian.mean - seen.absent.mean(0)
        pairs = _Pairs(gaussian, rows, seen.shifts, directions=self._attack.directions)
        observed, labelled = self._setting.observed, self._setting.labelled
        fold = np.arange(labelled) % self._attack.folds
        found = np.empty((len(rows), len(seen.shifts)))
        _score(found, np.arange(observed), pairs, self._model(pairs, np.ones(labelled, bool)))
        for each in range(self._attack.folds):
            mine = np.flatnonzero(fold == each)
            _score(found, observed + mine, pairs, self._model(pairs, fold != each))
        return found

    def _model(self, pairs: _Pairs, taught_by: np.ndarray) -> Pipeline:
        """Train on the labelled rows marked in ``taught_by`` (labelled rows,)."""
        rows, candidates = np.nonzero(asked_pairs(self._setting) & taught_by[:, None])
        if len(rows) > self._attack.most_pairs:
            chosen = np.random.default_rng(0).choice(len(rows), self._attack.most_pairs, replace=False)
            rows, candidates = rows[chosen], candidates[chosen]
        is_in = self._setting.present[rows, candidates]
        if len(np.unique(is_in)) < 2:
            raise ValueError(
                f"coins={self._setting.coins.shape} must put candidates in and out of labelled rows, in every part of "
                f"{self._attack.folds - 1} of {self._attack.folds}"
            )
        features = pairs.features(self._setting.observed + rows, candidates)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=self._attack.inverse_penalty, max_iter=1000))
        model.fit(features, is_in)
        return model


def _score(found: np.ndarray, rows: np.ndarray, pairs: _Pairs, model: Pipeline) -> None:
    candidates = np.arange(found.shape[1])
    size = max(1, _PAIRS_AT_ONCE // len(candidates))
    for at in range(0, len(rows), size):
        some = rows[at : at + size]
        features = pairs.features(np.repeat(some, len(candidates)), np.tile(candidates, len(some)))
        found[some] = model.decision_function(features).reshape(len(some), -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Logistic regression over pairs of a row and a candidate; for all kinds of rows.

    Attributes:
        name: of the attack.
        kinds: of rows.
        is_taught: by labelled rows.
        directions: principal directions with a weight of their own, at most.
        inverse_penalty: on squared weights of standardised features; smaller means weights nearer 0.
        folds: parts of the labelled rows, each scored by a model trained on the others; 2 or more.
        most_pairs: to train on; of more, so many are drawn.
    """

    name: str = "learned"
    kinds: frozenset[Kind] = field(default=frozenset(KINDS))
    is_taught: bool = True
    directions: int = 32
    inverse_penalty: float = 0.1
    folds: int = 4
    most_pairs: int = 100_000

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ValueError: naming what is out of range.
        """
        if self.directions < 0 or self.folds < 2 or self.most_pairs < 2 or not self.inverse_penalty > 0:
            raise ValueError(
                f"directions={self.directions} must be at least 0, folds={self.folds} and "
                f"most_pairs={self.most_pairs} at least 2, inverse_penalty={self.inverse_penalty} above 0"
            )

    def start(self, setting: Setting) -> Scoring:
        """Begin on new rows.

        Raises:
            ValueError: rows are of another kind; fewer than 2 contributions in the population.
        """
        require_kind(self.name, self.kinds, setting)
        return _Learner(setting, self)
