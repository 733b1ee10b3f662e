"""Whether a client is known again in another run: the nearest prune mask.

The attacker holds one mask of every client from either of two runs, and asks who of the first is who of the second:
clients whose masks differ in the fewest entries (Hamming distance) are taken for the same. A run is deterministic, so
that a client with the very same windows sends the very same mask and is found by construction; what counts is how fast
identification falls with the share of windows that both runs have in common. Knows nothing of models or files.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

WORDS_AT_ONCE = 1 << 20  # 8 MiB: a matrix of distances is counted in pieces of this size


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """How well clients of the second run are known again from the first.

    All figures of one pair of runs share their masks and depend on one another: their spread is over pairs of runs.

    Attributes:
        distances: int64 (clients of the first run, clients of the second), entries that differ.
        entries: number of entries of a mask.
        same: int64 (clients of the second run,), which client of the first run each one is.
        shared: share of windows that a client has in both runs, 0 to 1.
    """

    distances: np.ndarray = field(repr=False)
    entries: int
    same: np.ndarray = field(repr=False)
    shared: float

    @property
    def is_by_construction(self) -> bool:
        """Whether the windows are the same, so that masks are equal bit by bit and identification says nothing."""
        return self.shared == 1.0

    @property
    def identification_rate(self) -> float:
        """Share of clients of the second run whose nearest mask in the first is their own; a tie of m counts 1/m."""
        nearest = self.distances == self.distances.min(0)
        own = nearest[self.same, np.arange(len(self.same))]
        return float((own / nearest.sum(0)).mean())

    @property
    def chance(self) -> float:
        """The identification rate of guessing."""
        return 1 / len(self.distances)

    @property
    def equal_error_rate(self) -> float:
        """Rate at which one cutoff on the distance takes strangers for the same as often as it misses the same.

        0 where the two are apart, 0.5 for guessing. Where no cutoff makes them equal, the mean of the two closest.
        """
        is_same = np.zeros(self.distances.shape, bool)
        is_same[self.same, np.arange(len(self.same))] = True
        own, strangers = np.sort(self.distances[is_same]), np.sort(self.distances[~is_same])
        cutoffs = np.unique(self.distances)
        cutoffs = np.append(cutoffs[0] - 1, cutoffs)
        missed = 1 - np.searchsorted(own, cutoffs, side="right") / len(own)
        taken = np.searchsorted(strangers, cutoffs, side="right") / len(strangers)
        closest = int(np.argmin(np.abs(missed - taken)))
        return float((missed[closest] + taken[closest]) / 2)


class Linkage:
    """Compares two runs' masks, a matrix at a time."""

    def __init__(self, same: np.ndarray, *, first_clients: int, shared: float) -> None:
        """Begin on two runs.

        Args:
            same: int64 (clients of the second run,), which client of the first run each one is.
            first_clients: number of clients of the first run, at least 2.
            shared: share of windows that a client has in both runs, 0 to 1; only reported.

        Raises:
            ValueError: a value is out of range.
        """
        if first_clients < 2 or same.ndim != 1 or len(same) == 0 or same.min() < 0 or same.max() >= first_clients:
            raise ValueError(f"same={same.shape} must name clients 0 to {first_clients - 1}, of at least 2")
        if not 0 <= shared <= 1:
            raise ValueError(f"shared={shared} must be in [0, 1]")
        self._same, self._shared, self._entries = same, shared, 0
        self._distances = np.zeros((first_clients, len(same)), np.int64)

    def see(self, first: np.ndarray, second: np.ndarray, *, entries: int | None = None) -> None:
        """Take a matrix of all clients; nothing of it is kept.

        Args:
            first: bool (clients of the first run, ...), or uint8 packed by :func:`numpy.packbits`.
            second: likewise of the second run.
            entries: number of entries of a packed mask; None where masks are bool.

        Raises:
            ValueError: the two do not fit each other.
        """
        if first.dtype != second.dtype or first.shape[1:] != second.shape[1:]:
            raise ValueError(f"first={first.dtype}{first.shape} must be masks as second={second.dtype}{second.shape}")
        if (len(first), len(second)) != self._distances.shape:
            raise ValueError(f"clients={(len(first), len(second))} must be {self._distances.shape}")
        if first.dtype != (bool if entries is None else np.uint8):
            raise ValueError(f"first={first.dtype} must be bool, or uint8 with entries={entries} given")
        self._entries += first[0].size if entries is None else entries
        ones, others = _words(first), _words(second)
        for start in range(0, ones.shape[1], step := max(1, WORDS_AT_ONCE // len(others))):
            piece = others[:, start : start + step]
            for client, own in enumerate(ones[:, start : start + step]):
                self._distances[client] += np.bitwise_count(own ^ piece).sum(1, dtype=np.int64)

    def result(self) -> Linked:
        """Give what all matrices so far tell.

        Raises:
            ValueError: no matrix was seen.
        """
        if self._entries == 0:
            raise ValueError("entries=0 must be at least 1: no matrix was seen")
        return Linked(distances=self._distances.copy(), entries=self._entries, same=self._same, shared=self._shared)


def _words(masks: np.ndarray) -> np.ndarray:
    """Turn masks into uint64 (clients, words), filled up with zeros."""
    flat = masks.reshape(len(masks), -1)
    packed = np.packbits(flat, axis=1) if flat.dtype == bool else flat
    filled = np.zeros((len(flat), -(-packed.shape[1] // 8) * 8), np.uint8)
    filled[:, : packed.shape[1]] = packed
    return filled.view(np.uint64)
