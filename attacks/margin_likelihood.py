"""The margin likelihood: a bit's probability from the spread of its channel's log-norm, with a candidate and without.

Needs no worlds of the attacker's own making: what a candidate does to a client's log-norms follows from energies, which
add up, and how likely a weight then goes from the margin to its row's cutoff (:mod:`attacks.margins`). For a client's
mask the score is the logarithm of the bits' likelihood ratio. In totals one of n clients holds the candidate; with p of
the n - 1 others, p1 and p0 of that client with and without it, and V = n p (1 - p) + noise variance, a total C has
ratio

    (1 + (p1 - p) (C - n p) / V) / (1 + (p0 - p) (C - n p) / V),

exact without noise, of first order in p1 - p with it; the test takes its logarithm's line through the totals nearest to
what is expected. Bits depend on each other strongly, so this is a score and no probability (A2m).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attacks.companions import Companions, MatrixNorms, Spread, absent_is_empty
from attacks.evidence import Kind, MatrixSight, Scoring, Setting, Sight
from attacks.margins import cutoffs_from, removal_probability, shifted_cutoffs, usual_cutoffs
from attacks.pieces import MEMORY_BYTES, Tally, flat, pieces, require_kind


def mask_line(present: np.ndarray, absent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give slope and value at 0 of a bit's log-likelihood ratio, from its probabilities with and without."""
    at_0 = np.log((1 - present) / (1 - absent))
    return np.log(present / absent) - at_0, at_0


def totals_line(
    present: np.ndarray, absent: np.ndarray, usual: np.ndarray, *, clients: int, noise_variance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Give slope and value at 0 of the line that stands for a total's log-likelihood ratio (module docstring).

    The line is 0 midway between the totals expected with and without: half of what the two means differ by.

    Args:
        present: float32, probability of the client with the candidate.
        absent: float32, of that client without it.
        usual: float32, of every other client.
        clients: n.
        noise_variance: of a total.
    """
    variance = clients * usual * (1 - usual) + np.float32(noise_variance)
    middle = (clients - 1) * usual + (present + absent) / 2
    low = np.clip(middle - np.float32(0.5), 0, clients - 1) - clients * usual
    gain = _gain((present - usual) / variance, low)
    if absent is not usual:
        lost = _gain((absent - usual) / variance, low)
        gain = (gain - lost) / (1 + lost)
    slope = np.log1p(gain)
    return slope, -slope * middle


def _gain(tilt: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Give by what share a likelihood 1 + tilt * total grows from one total to the next.

    The share and not the factor: under much noise it is far below what single precision tells from 1.
    """
    gain: np.ndarray = tilt / (1 + tilt * low)
    return gain


class _MarginLikelihood:
    def __init__(self, setting: Setting, attack: MarginLikelihood) -> None:
        self._attack = attack
        self._clients = setting.clients
        self._noise_variance = setting.noise_sd**2
        self._is_empty = absent_is_empty(setting)
        self._companions = Companions(setting, draws=attack.draws, least_sd=attack.least_sd)
        is_enough = Companions.slots_of_a_client(setting) >= attack.first_order_from
        self._steps = 0 if is_enough else attack.steps
        self._sum = Tally(setting)

    def see(self, sight: Sight) -> None:
        """Add a matrix's part of the logarithm."""
        for piece in pieces(sight, self._attack.memory_bytes):
            slope, at_0 = self._lines(piece)
            self._sum.add(flat(piece.rows) @ slope.T + at_0.sum(1, dtype=np.float64))

    def _lines(self, piece: MatrixSight) -> tuple[np.ndarray, np.ndarray]:
        """Give slopes and values at 0, each float32 (candidates, bits)."""
        norms = self._companions.norms(piece.channels)
        start = usual_cutoffs(piece.log_weights, norms.usual, share=piece.sparsity)
        usual = self._probability(start, piece, norms.usual, steps=0)
        absent = self._absent(start, piece, norms, usual)
        present = self._moved(start, piece, norms, norms.present)
        if self._clients == 1 and not self._noise_variance:
            return mask_line(present, absent)
        return totals_line(present, absent, usual, clients=self._clients, noise_variance=self._noise_variance)

    def _absent(self, start: np.ndarray, piece: MatrixSight, norms: MatrixNorms, usual: np.ndarray) -> np.ndarray:
        """Give the probabilities of a client whose candidate is not in, (candidates or 1, bits)."""
        if not self._is_empty.any():
            return usual
        if norms.short is None:  # a client with nothing counts as the share removed
            short = np.full_like(usual, np.clip(piece.sparsity, self._attack.least_rate, 1 - self._attack.least_rate))
        else:
            short = self._moved(start, piece, norms, norms.short)
        return short if self._is_empty.all() else np.where(self._is_empty[:, None], short, usual)

    def _moved(self, start: np.ndarray, piece: MatrixSight, norms: MatrixNorms, spread: Spread) -> np.ndarray:
        """Give the probabilities of clients whose log-norms are not the usual ones, (clients, bits)."""
        cutoffs = shifted_cutoffs(start, piece.log_weights, norms.usual, spread)
        return self._probability(cutoffs, piece, spread, steps=self._steps)

    def _probability(self, start: np.ndarray, piece: MatrixSight, spread: Spread, *, steps: int) -> np.ndarray:
        cutoffs = cutoffs_from(start, piece.log_weights, spread, share=piece.sparsity, steps=steps)
        probability = removal_probability(cutoffs, piece.log_weights, spread).reshape(len(spread.mean), -1)
        return np.clip(probability, self._attack.least_rate, 1 - self._attack.least_rate, out=probability)

    def scores(self) -> np.ndarray:
        """Give the sums of bits' log-likelihood ratios."""
        return self._sum.total()


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginLikelihood:
    """Likelihood ratio of bits with probabilities from margins; for masks and totals.

    Attributes:
        name: of the attack.
        kinds: of rows.
        is_taught: by labelled rows.
        draws: of companions.
        least_sd: nats, spread of what the model leaves out.
        least_rate: no probability is taken to be nearer to 0 or 1: the model is not that good.
        steps: of Newton's method for the cutoffs with a candidate, from those without moved to first order.
        first_order_from: slots of a client from which no step is taken: a candidate then moves cutoffs little. (With 2
            windows a client, block 0 of the demo, scores without steps correlate with those of three by 0.9997 and
            more, AUCs differ by 0.0002 at most; with one slot, on planted data, by as little as 0.997.)
        memory_bytes: for temporary arrays.
    """

    name: str = "margin-likelihood"
    kinds: frozenset[Kind] = frozenset({"masks", "totals"})
    is_taught: bool = False
    draws: int = 256
    least_sd: float = 0.03
    least_rate: float = 1e-3
    steps: int = 1
    first_order_from: int = 2
    memory_bytes: int = MEMORY_BYTES

    def __post_init__(self) -> None:
        """Check the rate.

        Raises:
            ValueError: it is not in (0, 1/2).
        """
        if not 0 < self.least_rate < 0.5:
            raise ValueError(f"least_rate={self.least_rate} must be in (0, 1/2)")

    def start(self, setting: Setting) -> Scoring:
        """Begin on new rows.

        Raises:
            ValueError: rows are neither masks nor totals, or the population is empty.
        """
        require_kind(self.name, self.kinds, setting)
        return _MarginLikelihood(setting, self)
