"""Scores and coins of an audit, as flat arrays; which of them are independent; and halves to choose and report on.

Direction, once for everything in this package: a *higher* score says that the coin's *first* candidate is in (in games
where the second is nothing, that the candidate is in). `members` is True where the first is in; the others are the
*non-members*, whose rate of scores at or above a cutoff is the false positive rate. Coins are fair, independent of each
other and of the scores' making. Knows nothing of attacks or of how scores came about.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """One attack's scores of coins, a coin an entry.

    Attributes:
        scores: float64 (coins,), finite, higher = the first is more likely in.
        members: bool (coins,), whether the first is in.
        runs: int64 (coins,), the run of each coin. Runs are independent, coins' scores within one are not.
        targets: int64 (coins,), the target of each coin, at most one coin a run and target.
    """

    scores: np.ndarray = field(repr=False)
    members: np.ndarray = field(repr=False)
    runs: np.ndarray = field(repr=False)
    targets: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        """Check shapes, types and that figures can be made of them.

        Raises:
            ValueError: naming what does not fit.
        """
        shapes = {each.shape for each in (self.scores, self.members, self.runs, self.targets)}
        if len(shapes) != 1 or self.scores.ndim != 1:
            raise ValueError(f"shapes={sorted(shapes)} of scores, members, runs, targets must be one and the same (n,)")
        if self.scores.dtype != np.float64 or not np.isfinite(self.scores).all():
            raise ValueError(f"scores={self.scores.dtype} must be float64 and finite")
        if self.members.dtype != np.bool_:
            raise ValueError(f"members={self.members.dtype} must be bool")
        if not all(np.issubdtype(each.dtype, np.integer) for each in (self.runs, self.targets)):
            raise ValueError(f"runs={self.runs.dtype} and targets={self.targets.dtype} must be integers")
        if not 0 < self.num_members < len(self):
            raise ValueError(f"members={self.num_members} of {len(self)} must be some, but not all")
        if len(np.unique(np.stack([self.runs, self.targets]), axis=1).T) != len(self):
            raise ValueError("runs and targets must name each coin once")

    def __len__(self) -> int:
        """Number of coins."""
        return len(self.scores)

    @property
    def num_members(self) -> int:
        """Coins whose first is in."""
        return int(self.members.sum())

    @property
    def num_non_members(self) -> int:
        """Coins whose first is not in."""
        return len(self) - self.num_members

    @property
    def num_runs(self) -> int:
        """Independent runs."""
        return len(np.unique(self.runs))

    @property
    def independent_non_members(self) -> int:
        """Runs that hold a non-member: one of each is independent of the others, more of one run are not."""
        return len(np.unique(self.runs[~self.members]))

    def one_coin_a_run(self) -> tuple[np.ndarray, np.ndarray]:
        """Take of each run the coin of its lowest target: a choice that neither scores nor coins can sway.

        Returns:
            float64 (runs,) scores and bool (runs,) members, independent of each other.
        """
        order = np.lexsort((self.targets, self.runs))
        _, first = np.unique(self.runs[order], return_index=True)
        return self.scores[order[first]], self.members[order[first]]

    def of_runs(self, runs: np.ndarray) -> Samples:
        """Keep the coins of some runs.

        Raises:
            ValueError: their coins are all members, or none is.
        """
        return self._kept(np.isin(self.runs, runs))

    def halves(self) -> tuple[Samples, Samples]:
        """Deal runs in turn into a half to choose on and a half to report on; the same runs always, without a draw.

        Raises:
            ValueError: there is one run only, or a half's coins are all members, or none is.
        """
        runs = np.unique(self.runs)
        if len(runs) < 2:
            raise ValueError(f"runs={len(runs)} must be at least 2, some to choose on and some to report on")
        return self.of_runs(runs[0::2]), self.of_runs(runs[1::2])

    def reversed(self) -> Samples:
        """Turn the scores' direction, for an attack found to score the wrong way round."""
        return Samples(scores=-self.scores, members=self.members, runs=self.runs, targets=self.targets)

    def is_of_same_coins(self, other: Samples) -> bool:
        """Say whether another attack's scores are of the same coins in the same order."""
        return all(
            np.array_equal(own, others)
            for own, others in zip(
                (self.members, self.runs, self.targets), (other.members, other.runs, other.targets), strict=True
            )
        )

    def _kept(self, kept: np.ndarray) -> Samples:
        return Samples(
            scores=self.scores[kept], members=self.members[kept], runs=self.runs[kept], targets=self.targets[kept]
        )
