"""Companions: what else stands behind a client's mask, and how its log-norms are spread with a candidate and without.

A prune mask depends on u, half the logarithm of a channel's energy added up over a client's slots, and only on
differences of u within a matrix. The attacker knows candidates' energies and draws their companions from the
population. Knows nothing of weights, masks and scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from attacks.evidence import NOTHING, Setting
from attacks.knowledge import MadeOnce

_FLOOR = 1e-6  # an energy below this share of its channel's mean counts as that: it has no logarithm


def floored(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Give the energies of candidates and population, float64, nowhere below a small share of the channel's mean."""
    mean = setting.population.mean(0) if len(setting.population) else np.ones(setting.population.shape[1])
    least = _FLOOR * np.where(mean > 0, mean, 1.0)
    return np.maximum(setting.energies, least), np.maximum(setting.population, least)


def absent_is_empty(setting: Setting) -> np.ndarray:
    """Say for which candidates absence means an empty slot, bool (candidates,); else another contribution is in it.

    So it is for the candidates of targets whose second is ``NOTHING``; for candidates in no target, if it is for all
    targets.
    """
    first, second = setting.targets.T
    empty = np.full(len(setting.energies), len(first) > 0 and bool((second == NOTHING).all()))
    empty[first] = second == NOTHING
    return empty


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of log-norms in nats, less their mean over a matrix: float32 (clients, in)."""

    mean: np.ndarray = field(repr=False)
    sd: np.ndarray = field(repr=False)


@dataclass(frozen=True, slots=True)
class MatrixNorms:
    """How a client's log-norms are spread in one matrix.

    Attributes:
        present: a client for every candidate, which is in it: (candidates, in).
        usual: a client of population alone: (1, in).
        short: a client with a slot empty: (1, in); None if it then has nothing at all.
    """

    present: Spread
    usual: Spread
    short: Spread | None


class Companions:
    """Gives log-norms a matrix at a time; companions are drawn once for all attacks that ask for as many."""

    def __init__(self, setting: Setting, *, draws: int, least_sd: float) -> None:
        """Draw.

        Args:
            setting: what the attacker knows.
            draws: how many clients of companions.
            least_sd: nats, added in squares to every standard deviation: what moves a cutoff beside log-norms.

        Raises:
            ValueError: no population, no draws, or a spread below 0.
        """
        if draws < 2 or not least_sd > 0 or not len(setting.population):
            raise ValueError(
                f"draws={draws} must be at least 2, least_sd={least_sd} above 0 and "
                f"population={len(setting.population)} contributions at least 1"
            )
        slots = self.slots_of_a_client(setting)
        self._drawn = _DRAWN.get(
            setting,
            (draws, slots, least_sd),
            lambda: _Drawn(setting, draws=draws, slots=slots, least_sd=least_sd),
        )

    @staticmethod
    def slots_of_a_client(setting: Setting) -> int:
        """Share a row's slots equally among its clients; at least one each."""
        return max(1, round(setting.slots / setting.clients))

    def norms(self, channels: np.ndarray) -> MatrixNorms:
        """Give the log-norms of a matrix's channels, int64 (in,)."""
        return self._drawn.value.norms(channels)


class _Drawn:
    """Drawn companions, and the log-norms last asked for: attacks take one matrix after another, and share them."""

    def __init__(self, setting: Setting, *, draws: int, slots: int, least_sd: float) -> None:
        candidates, population = floored(setting)
        self._candidates = candidates.astype(np.float32)
        self._least_sd = least_sd
        # Always the same draws: the attacker's own, and no secret.
        picks = np.random.default_rng(0).integers(len(population), size=(draws, slots))
        self._others = np.zeros((draws, population.shape[1]), np.float32)
        for slot in range(slots - 1):
            self._others += population[picks[:, slot]].astype(np.float32)
        self._has_others = slots > 1
        self._full = self._others + population[picks[:, -1]].astype(np.float32)
        self._last: tuple[np.ndarray, MatrixNorms] | None = None
        self._lock = Lock()  # attacks that work side by side wait for the one that asks first

    def norms(self, channels: np.ndarray) -> MatrixNorms:
        """Give the log-norms of a matrix's channels; the last answer is kept: matrices share channels."""
        with self._lock:
            if self._last is None or not np.array_equal(self._last[0], channels):
                self._last = (channels, self._made(channels))
            return self._last[1]

    def _made(self, channels: np.ndarray) -> MatrixNorms:
        others = self._others[:, channels]
        present = [self._spread(candidate + others) for candidate in self._candidates[:, channels]]
        return MatrixNorms(
            present=Spread(np.stack([each.mean[0] for each in present]), np.stack([each.sd[0] for each in present])),
            usual=self._spread(self._full[:, channels]),
            short=self._spread(others) if self._has_others else None,
        )

    def _spread(self, energies: np.ndarray) -> Spread:
        logs = np.log(energies)
        logs /= 2
        logs -= logs.mean(1, keepdims=True)
        return Spread(logs.mean(0, keepdims=True), np.sqrt(logs.var(0, keepdims=True) + np.float32(self._least_sd**2)))


_DRAWN: MadeOnce[_Drawn] = MadeOnce()
