"""Matrices a piece at a time, and what pieces add up to, so that no attack needs memory for a whole model.

A piece is a run of a matrix's rows of weights. Knows nothing of what an attack makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from attacks.evidence import Kind, MatrixSight, Setting, Sight

MEMORY_BYTES = 16 * 2**20  # such arrays are handed out again without new pages, which costs as much as the work
_COPIES = 4  # float32 arrays per candidate that an attack may hold at once


def require_kind(name: str, kinds: frozenset[Kind], setting: Setting) -> None:
    """Refuse rows that an attack cannot read.

    Raises:
        ValueError: the setting's kind is not among ``kinds``.
    """
    if setting.kind not in kinds:
        raise ValueError(f"kind={setting.kind!r} must be one of {', '.join(sorted(kinds))} for the attack {name!r}")


def votes_a_bit(setting: Setting) -> int:
    """Give the largest total of a bit: the number of clients for ``totals``, else 1."""
    return setting.clients if setting.kind == "totals" else 1


def pieces(sight: Sight, memory_bytes: int) -> Iterator[MatrixSight]:
    """Cut a matrix into pieces whose rows, and some arrays per candidate, fit the memory in single precision.

    Args:
        sight: of a matrix.
        memory_bytes: bytes; a piece has one row of weights at least.

    Raises:
        ValueError: the sight is of statistics.
    """
    if not isinstance(sight, MatrixSight):
        raise ValueError(f"sight={type(sight).__name__} must be a MatrixSight for masks, totals and choice")
    out, width = sight.log_weights.shape
    arrays = len(sight.rows) + _COPIES * len(sight.alone)
    size = max(1, memory_bytes // (4 * width * arrays))
    for at in range(0, out, size):
        yield replace(
            sight,
            log_weights=sight.log_weights[at : at + size],
            rows=sight.rows[:, at : at + size],
            reference=sight.reference[:, at : at + size],
            alone=sight.alone[:, at : at + size],
        )


def flat(array: np.ndarray) -> np.ndarray:
    """Copy (n, out, in) to float32 (n, out * in)."""
    return array.reshape(len(array), -1).astype(np.float32)


def rate(total: np.ndarray, trials: int | np.ndarray) -> np.ndarray:
    """Estimate the share of trials that a bit is set, by Jeffreys' rule (total + 1/2) / (trials + 1), as float32.

    Args:
        total: how often it was; noise may have pushed it out of range, and is cut to it.
        trials: of how many, for all or as an array that fits.
    """
    share: np.ndarray = (np.clip(total, 0, trials) + 0.5) / (np.asarray(trials, np.float64) + 1)
    return share.astype(np.float32)


class Tally:
    """Adds up scores, float64 (rows, candidates)."""

    def __init__(self, setting: Setting) -> None:
        """Begin at 0 for a setting's rows, observed and labelled, and candidates."""
        self._total = np.zeros((setting.observed + setting.labelled, len(setting.energies)))
        self._is_empty = True

    def add(self, scores: np.ndarray) -> None:
        """Add scores that broadcast to (rows, candidates)."""
        self._total += scores
        self._is_empty = False

    def total(self) -> np.ndarray:
        """Give the sum.

        Raises:
            ValueError: nothing was added.
        """
        if self._is_empty:
            raise ValueError("see() must be called before scores()")
        return self._total.copy()
