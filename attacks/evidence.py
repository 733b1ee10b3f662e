"""What an attack is given: what the attacker knows beforehand, and what it sees, a matrix at a time.

Words. A *contribution* is what one slot adds to an observation: a window (or, in games about clients, all windows of a
client). A *candidate* is a contribution whose presence is in question. A *target* is a coin: a slot holds the first or
the second of two candidates (replace), or a candidate or nothing (zero-out; the second is `NOTHING`). A *row* is one
observation: a client's prune mask, or what a run lets be seen of all its clients.

Rows come in three lots. *Observed* rows are the victims'. *Labelled* rows are worlds that the attacker made itself,
with coins it knows; attacks that learn, or need a score's distribution, take them. *Reference* rows are more such
worlds, with other coins and windows, for rates and means; no attack scores them. Knows nothing of models, protocols or
files.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np

Kind = Literal["masks", "totals", "choice", "statistics"]
KINDS: tuple[Kind, ...] = ("masks", "totals", "choice", "statistics")
NOTHING = -1
NOT_IN_PLAY = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the attacker knows before it looks.

    Attributes:
        kind: what a row is: one client's prune mask (0/1), totals of votes (0 to ``clients``, or noisy), the prune mask
            chosen from totals (0/1), or totals of statistics.
        clients: how many clients' vectors a row adds up; 1 for ``masks``.
        slots: how many contributions stand behind a row.
        noise_sd: standard deviation of the noise on every entry of a row, in the entry's unit; 0 for none.
        energies: float64 (candidates, channels), as the attacker knows them: for every distinct input channel of the
            model the sum over a contribution's tokens of the squared input. All matrices' channels, one after another.
        population: float64 (contributions, channels), of the same distribution, never candidates.
        targets: int64 (targets, 2), the candidates of each coin; the second may be ``NOTHING``. Candidates in no target
            are never in any row; attacks may compare with them.
        coins: int8 (labelled rows, targets): 1 the first is in, 0 the second is, ``NOT_IN_PLAY`` neither.
        observed: number of observed rows.
        in_play: bool (observed rows, targets), whether the coin decides about that row: the attacker knows which slots
            are in question, not how the coins fell.
    """

    kind: Kind
    clients: int
    slots: int
    noise_sd: float
    energies: np.ndarray = field(repr=False)
    population: np.ndarray = field(repr=False)
    targets: np.ndarray = field(repr=False)
    coins: np.ndarray = field(repr=False)
    observed: int
    in_play: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            ValueError: naming what does not fit.
        """
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r} must be one of {', '.join(KINDS)}")
        if self.kind == "masks" and self.clients != 1:
            raise ValueError(f"clients={self.clients} must be 1 for kind='masks'")
        if not (self.clients >= 1 and self.slots >= 1 and self.noise_sd >= 0 and self.observed >= 0):
            raise ValueError(
                f"clients={self.clients} and slots={self.slots} must be at least 1, noise_sd={self.noise_sd} and "
                f"observed={self.observed} at least 0"
            )
        candidates, channels = self.energies.shape
        if self.population.ndim != 2 or self.population.shape[1] != channels:
            raise ValueError(f"population={self.population.shape} must have {channels} channels as energies have")
        if self.targets.ndim != 2 or self.targets.shape[1] != 2:
            raise ValueError(f"targets={self.targets.shape} must be (targets, 2)")
        first, second = self.targets.T
        if ((first < 0) | (first >= candidates) | (second < NOTHING) | (second >= candidates)).any():
            raise ValueError(f"targets must name candidates 0 to {candidates - 1}, the second perhaps {NOTHING}")
        if (
            self.coins.ndim != 2
            or self.coins.shape[1] != len(self.targets)
            or not np.isin(self.coins, (-1, 0, 1)).all()
        ):
            raise ValueError(f"coins={self.coins.shape} must be (labelled rows, {len(self.targets)}) of -1, 0 and 1")
        if self.in_play.shape != (self.observed, len(self.targets)):
            raise ValueError(f"in_play={self.in_play.shape} must be {(self.observed, len(self.targets))}")

    @property
    def labelled(self) -> int:
        """Number of labelled rows."""
        return len(self.coins)

    @property
    def present(self) -> np.ndarray:
        """Whether a candidate is in a labelled row, bool (labelled rows, candidates)."""
        found = np.zeros((self.labelled, len(self.energies)), bool)
        for target, (first, second) in enumerate(self.targets):
            found[self.coins[:, target] == 1, first] = True
            if second != NOTHING:
                found[self.coins[:, target] == 0, second] = True
        return found

    @property
    def unlabelled(self) -> Setting:
        """The same without labelled rows, for attacks that these do not teach."""
        return replace(self, coins=self.coins[:0])

    def paired(self, scores: np.ndarray) -> np.ndarray:
        """Turn scores of candidates, higher for present, into scores of coins, higher for the first.

        Args:
            scores: float (rows, candidates), such as log-likelihood ratios of present against absent.

        Returns:
            float64 (rows, targets): the first's score less the second's, which is 0 for ``NOTHING``.
        """
        first, second = self.targets.T
        absent = np.where(second == NOTHING, 0.0, scores[:, second])
        return scores[:, first].astype(np.float64) - absent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class MatrixSight:
    """What is seen of one prunable matrix, or of some of its rows; for the kinds ``masks``, ``totals`` and ``choice``.

    Two sights are equal only if they are one and the same.

    Attributes:
        name: the matrix.
        log_weights: float32 (out, in), logarithm of absolute public weights; -inf where a weight is 0.
        channels: int64 (in,), which of the setting's channels enter it.
        sparsity: share of each row of weights that a client removes (in a pattern N:M, of every M).
        rows: integers (observed + labelled, out, in), observed rows first.
        reference: integers (reference rows, out, in).
        alone: bool (candidates, out, in), the prune mask that a candidate alone would make; True = removed.
    """

    name: str
    log_weights: np.ndarray = field(repr=False)
    channels: np.ndarray = field(repr=False)
    sparsity: float
    rows: np.ndarray = field(repr=False)
    reference: np.ndarray = field(repr=False)
    alone: np.ndarray = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsSight:
    """What is seen of shared statistics: one vector a row; for the kind ``statistics``.

    A row is the sum of its contributions, plus noise: entries are in the unit in which contributions are given.

    Attributes:
        name: the vector.
        rows: float64 (observed + labelled, entries), observed rows first.
        reference: float64 (reference rows, entries).
        contributions: float64 (candidates, entries), what each candidate adds.
        population: float64 (contributions, entries), what others of the same distribution add.
    """

    name: str
    rows: np.ndarray = field(repr=False)
    reference: np.ndarray = field(repr=False)
    contributions: np.ndarray = field(repr=False)
    population: np.ndarray = field(repr=False)


Sight = MatrixSight | StatisticsSight


class Scoring(Protocol):
    """An attack at work: it sees every matrix once, in order, then scores."""

    def see(self, sight: Sight) -> None:
        """Take the evidence of a matrix; nothing of the sight's arrays is kept that is as large as they are."""
        ...

    def scores(self) -> np.ndarray:
        """Give float64 (observed + labelled, candidates), higher = the candidate is more likely in the row.

        Where an attack has a likelihood, a score is the logarithm of its ratio, present against absent.
        """
        ...


class Attack(Protocol):
    """A way to tell from rows how coins fell.

    Attributes:
        name: as in :data:`attacks.ATTACKS`, for flags and reports.
        kinds: the kinds of rows that it can read.
        is_taught: whether labelled rows teach it; others score them all the same, for refinements.
    """

    @property
    def name(self) -> str:
        """See above."""
        ...

    @property
    def kinds(self) -> frozenset[Kind]:
        """See above."""
        ...

    @property
    def is_taught(self) -> bool:
        """See above."""
        ...

    def start(self, setting: Setting) -> Scoring:
        """Begin on new rows.

        Raises:
            ValueError: the attack cannot read rows of this kind.
        """
        ...


class Refinement(Protocol):
    """A way to make better scores of another attack's scores, with labelled rows.

    Attributes:
        name: as in :data:`attacks.ATTACKS`.
        base: by kind, the name of the attack whose scores it takes.
    """

    @property
    def name(self) -> str:
        """See above."""
        ...

    @property
    def base(self) -> dict[Kind, str]:
        """See above."""
        ...

    def refine(self, setting: Setting, scores: np.ndarray) -> np.ndarray:
        """Give float64 (observed + labelled, targets), higher = the first candidate is more likely in the row.

        Args:
            setting: what the attacker knows.
            scores: the base's, float64 (observed + labelled, candidates).
        """
        ...
