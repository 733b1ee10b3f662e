"""Input channels: what is estimated of them from one matrix after another, and what the population says of them.

Estimates of log-norms come up to a constant a matrix, and several matrices may share an input. :class:`Alignment`
takes the constants off, averages what is of the same channel, and does the same to vectors of the model, so that
both can be compared. :class:`LogNorms` is that model: energies of contributions add up within a client, and a row
holds the mean of its clients' log-norms, at least to first order. Knows nothing of masks, totals and scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from attacks.companions import Companions, floored
from attacks.evidence import Setting
from attacks.knowledge import Kept, MadeOnce

_QUANTILES = 16  # of the companions' energy in a channel, over which a candidate's shift is averaged


class Alignment:
    """Collects estimates of channels, matrix by matrix, each less its mean."""

    def __init__(self, channels: int) -> None:
        """Begin with no matrix, for so many channels of the model."""
        self._matrices: list[tuple[np.ndarray, np.ndarray]] = []
        self._total = np.zeros(channels)
        self._sums: dict[str, np.ndarray] = {}

    def add(self, channels: np.ndarray, weights: np.ndarray, **estimates: np.ndarray) -> None:
        """Take a matrix's estimates.

        Args:
            channels: int64 (in,), of the model.
            weights: float64 (in,), precision of each channel's estimate; 0 for one that tells nothing.
            estimates: by name, float64 (rows, in); the same names every time.
        """
        self._matrices.append((channels, weights))
        self._total[channels] += weights
        for name, values in estimates.items():
            if name not in self._sums:
                self._sums[name] = np.zeros((len(values), len(self._total)), np.float32)
            self._sums[name][:, channels] += (weights * _less_mean(values, weights)).astype(np.float32)

    @property
    def seen(self) -> np.ndarray:
        """Which channels any matrix told of, int64 ascending.

        Raises:
            ValueError: no matrix told of any.
        """
        seen = np.flatnonzero(self._total > 0)
        if not len(seen):
            raise ValueError("see() must be called, with a matrix that tells of a channel, before scores()")
        return seen

    def averaged(self, name: str) -> np.ndarray:
        """Give float64 (rows, channels seen), the weighted averages of the estimates of that name."""
        seen = self.seen
        return self._sums[name][:, seen].astype(np.float64) / self._total[seen]

    def applied(self, vectors: np.ndarray) -> np.ndarray:
        """Do to whole vectors (n, channels) what was done to estimates: float64 (n, channels seen)."""
        sums = np.zeros_like(vectors, dtype=np.float64)
        for channels, weights in self._matrices:
            sums[:, channels] += weights * _less_mean(vectors[:, channels], weights)
        seen = self.seen
        return sums[:, seen] / self._total[seen]


def _less_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    told = weights > 0
    centred: np.ndarray = values - (values[:, told].mean(1, keepdims=True) if told.any() else 0.0)
    return centred


@dataclass(frozen=True, slots=True, kw_only=True)
class _OneClient:
    """Log-norms of clients, float64 (contributions, channels), and candidates' shifts of one client's."""

    draws: np.ndarray = field(repr=False)
    shifts: np.ndarray = field(repr=False)


_ONE_CLIENT: MadeOnce[_OneClient] = MadeOnce()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNorms:
    """The population's log-norms of clients' inputs, and how a candidate's presence moves a row's.

    Attributes:
        clients: of a row.
        of_one: what is so for one client, which attacks share.
    """

    clients: int
    of_one: Kept[_OneClient] = field(repr=False)

    @classmethod
    def of(cls, setting: Setting) -> LogNorms:
        """Draw clients and average over companions; the generator is the attacker's own, always the same.

        Raises:
            ValueError: fewer than 2 contributions in the population.
        """
        if len(setting.population) < 2:
            raise ValueError(f"population={len(setting.population)} contributions must be at least 2")
        a_client = Companions.slots_of_a_client(setting)
        made = _ONE_CLIENT.get(setting, a_client, lambda: _one_client(setting, a_client))
        return cls(clients=setting.clients, of_one=made)

    @property
    def draws(self) -> np.ndarray:
        """Half the log of the energy of drawn clients, float64 (contributions, channels).

        Each is of as many contributions as a client has slots.
        """
        return self.of_one.value.draws

    @property
    def shifts(self) -> np.ndarray:
        """How far a candidate moves a row, float64 (candidates, channels).

        The expected log-norm of a row with the candidate in it, less that of a row with another contribution in its
        place.
        """
        return self.of_one.value.shifts / self.clients


def _one_client(setting: Setting, slots: int) -> _OneClient:
    candidates, population = floored(setting)
    generator = np.random.default_rng(0)
    companions = np.zeros_like(population)
    for _ in range(slots - 1):
        companions += population[generator.permutation(len(population))]
    places = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    levels = np.quantile(companions, places, axis=0) if slots > 1 else np.zeros((1, population.shape[1]))
    middle = _expected(population, levels).mean(0)
    return _OneClient(
        draws=np.log(population + companions) / 2,
        shifts=_expected(candidates, levels) - middle,
    )


def _expected(energies: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Give the mean over companions' levels (levels, channels) of the log-norm of their sum with each energy."""
    total = np.zeros_like(energies)
    for level in levels:
        total += np.log(energies + level)
    return total / (2 * len(levels))
