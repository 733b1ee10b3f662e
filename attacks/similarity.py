"""Hamming similarity of a row with the prune mask that a candidate alone would make (A0).

The plainest look at a mask: in how many bits do the two agree? Optionally only in contested bits, those that reference
rows do not agree about among themselves. Uses no energies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attacks.evidence import Kind, Scoring, Setting, Sight
from attacks.pieces import MEMORY_BYTES, Tally, flat, pieces, require_kind


class _Similarity:
    def __init__(self, setting: Setting, attack: Similarity) -> None:
        self._attack = attack
        self._agreeing = Tally(setting)
        self._compared = 0

    def see(self, sight: Sight) -> None:
        """Count agreeing bits.

        Raises:
            ValueError: the sight is of statistics, or no reference row says what is contested.
        """
        for piece in pieces(sight, self._attack.memory_bytes):
            compared = self._compared_bits(piece.reference)
            alone = flat(piece.alone) * compared
            rows = flat(piece.rows)
            # Agreement of bits r and y is (1 - y) + r (2 y - 1).
            self._agreeing.add(rows @ (2 * alone - compared).T + (compared.sum() - alone.sum(1, dtype=np.float64)))
            self._compared += int(compared.sum(dtype=np.float64))

    def _compared_bits(self, reference: np.ndarray) -> np.ndarray:
        """Give float32 (bits,), 1 where bits are compared."""
        least = self._attack.least_rate
        if least == 0:
            return np.ones(reference.shape[1] * reference.shape[2], np.float32)
        if not len(reference):
            raise ValueError(f"reference={len(reference)} rows must be at least 1 to know what is contested")
        share = reference.mean(0).reshape(-1)
        return ((share > least) & (share < 1 - least)).astype(np.float32)

    def scores(self) -> np.ndarray:
        """Give the share of compared bits that agree; one half where none is compared.

        Raises:
            ValueError: nothing was seen.
        """
        agreeing = self._agreeing.total()
        return agreeing / self._compared if self._compared else agreeing + 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """Share of bits in which a row and a candidate's own prune mask agree; for masks and choices.

    Attributes:
        name: of the attack.
        kinds: of rows.
        is_taught: by labelled rows.
        least_rate: compare only bits that more than this share of reference rows removes, and more keeps; 0 for all.
        memory_bytes: for temporary arrays.
    """

    name: str = "similarity"
    kinds: frozenset[Kind] = frozenset({"masks", "choice"})
    is_taught: bool = False
    least_rate: float = 0.0
    memory_bytes: int = MEMORY_BYTES

    def __post_init__(self) -> None:
        """Check the rate.

        Raises:
            ValueError: it is not in [0, 1/2).
        """
        if not 0 <= self.least_rate < 0.5:
            raise ValueError(f"least_rate={self.least_rate} must be in [0, 1/2)")

    def start(self, setting: Setting) -> Scoring:
        """Begin on new rows.

        Raises:
            ValueError: rows are neither masks nor choices.
        """
        require_kind(self.name, self.kinds, setting)
        return _Similarity(setting, self)
