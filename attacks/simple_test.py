"""The simple test: rates with a candidate in and out, bit by bit, on a few rows of a few matrices (A2 on shadows).

For every bit the labelled rows give the rate with the candidate in, p1, and without, p0, and a row scores

    sum over bits of C log(p1 / p0) + (n - C) log((1 - p1) / (1 - p0)).

Bits depend on each other strongly, so this is a score and no probability. Labelled rows are scored with rates that they
are part of themselves: their own scores are *in-sample*, further apart than those of fresh rows. Uses no energies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attacks.evidence import Kind, MatrixSight, Scoring, Setting, Sight
from attacks.pieces import MEMORY_BYTES, Tally, flat, pieces, rate, require_kind, votes_a_bit


class _SimpleTest:
    def __init__(self, setting: Setting, attack: SimpleTest) -> None:
        self._attack = attack
        self._votes = votes_a_bit(setting)
        self._observed = setting.observed
        self._present = setting.present.astype(np.float32)  # (labelled, candidates)
        self._known = self._present.any(0)
        self._rows_left: dict[str, int] = {}
        self._sum = Tally(setting)

    def see(self, sight: Sight) -> None:
        """Add a matrix's part of the sum, if it is among the first."""
        for piece in pieces(sight, self._attack.memory_bytes):
            if piece.name not in self._rows_left and len(self._rows_left) < self._attack.matrices:
                self._rows_left[piece.name] = self._attack.rows
            taken = min(self._rows_left.get(piece.name, 0), len(piece.log_weights))
            if taken:
                self._rows_left[piece.name] -= taken
                self._add(piece, taken)

    def _add(self, piece: MatrixSight, taken: int) -> None:
        rows = flat(piece.rows[:, :taken])
        labelled = rows[self._observed :]
        inside = self._present.sum(0)[:, None]  # (candidates, 1)
        total_in = self._present.T @ labelled  # (candidates, bits)
        p1 = rate(total_in, self._votes * inside)
        p0 = rate(labelled.sum(0) - total_in, self._votes * (len(labelled) - inside))
        kept = np.log((1 - p1) / (1 - p0))
        removed = np.log(p1 / p0)
        scores = rows @ (removed - kept).T + self._votes * kept.sum(1, dtype=np.float64)
        self._sum.add(np.where(self._known, scores, 0.0))

    def scores(self) -> np.ndarray:
        """Give the sums: 0 for a candidate that no labelled row holds; those of labelled rows are in-sample."""
        return self._sum.total()


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleTest:
    """Log-likelihood ratio of independent bits with rates from labelled rows; for masks and totals.

    Attributes:
        name: of the attack.
        kinds: of rows.
        is_taught: by labelled rows.
        matrices: how many it looks at, the first that it sees.
        rows: of weights, how many of each matrix, the first.
        memory_bytes: for temporary arrays.
    """

    name: str = "simple-test"
    kinds: frozenset[Kind] = frozenset({"masks", "totals"})
    is_taught: bool = True
    matrices: int = 4
    rows: int = 64
    memory_bytes: int = MEMORY_BYTES

    def start(self, setting: Setting) -> Scoring:
        """Begin on new rows.

        Raises:
            ValueError: rows are neither masks nor totals, or none is labelled.
        """
        require_kind(self.name, self.kinds, setting)
        if not setting.labelled:
            raise ValueError(f"labelled={setting.labelled} rows must be at least 1 for rates")
        return _SimpleTest(setting, self)
