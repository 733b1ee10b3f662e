"""What a client's prune masks say of what entered its matrices, and how near that is to the truth.

Log-energies come up to a constant a matrix: both sides are taken less their mean over a matrix's channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from attacks.inversion import MaskInverter, centred
from experiments.audit.games.board import Board
from experiments.audit.statistics import AuditBlock, WindowStatistics
from fedprllm_secure.models.matrices import PrunableMatrix

LEAST_SHARE = 1e-6  # an energy below this share of its channel's mean counts as that: it has no logarithm


def log_energies(statistics: WindowStatistics, windows: np.ndarray) -> np.ndarray:
    """Give logarithms of the energies of clients with these windows, (..., windows): float64 (..., channels)."""
    energies = statistics.energies
    mean = energies.mean(0) * windows.shape[-1]
    found: np.ndarray = np.log(np.maximum(energies[windows].sum(-2), LEAST_SHARE * np.where(mean > 0, mean, 1.0)))
    return found


def channels_of(statistics: WindowStatistics, block: AuditBlock, matrix: PrunableMatrix) -> np.ndarray:
    """Name the channels that enter a matrix, among all of the model: int64 (in,)."""
    place = statistics.channels[block.index, block.view().source(matrix)]
    return np.arange(place.start, place.stop)


def recovered(board: Board, inverter: MaskInverter, masks: np.ndarray) -> np.ndarray:
    """Give float64 (rows, in), the log-energies behind masks (rows, out, in), of mean 0 over live channels."""
    return 2 * board.in_parts(inverter.invert, masks)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRecovery:
    """How near recovered log-energies of one matrix come, as means over clients.

    Attributes:
        block: its number.
        name: of the matrix.
        rank_correlation: Spearman's, over channels, of recovered and true log-energies.
        prior_rank_correlation: the same of the attacker's mean client, who saw no mask.
        relative_error: root mean square of what is wrong, over that of the true log-energies less their mean.
        error_nats: root mean square of what is wrong.
        median_error_nats: median over channels of what is wrong; as small as it is, the relative error of an energy.
        prior_error_nats: root mean square of what is wrong with the attacker's mean client.
        bounded: share of channels whose weights a client keeps all or removes all: their bits bound them on one side.
        bits_reproduced: share of mask bits that the recovered log-energies make again.
    """

    block: int
    name: str
    rank_correlation: float
    prior_rank_correlation: float
    relative_error: float
    error_nats: float
    median_error_nats: float
    prior_error_nats: float
    bounded: float
    bits_reproduced: float

    @classmethod
    def of(
        cls,
        block: int,
        name: str,
        *,
        found: np.ndarray,
        truth: np.ndarray,
        prior: np.ndarray,
        live: np.ndarray,
        masks: np.ndarray,
        bits_reproduced: float,
    ) -> MatrixRecovery:
        """Compare.

        Args:
            block: its number.
            name: of the matrix.
            found: float64 (clients, in), recovered.
            truth: likewise.
            prior: float64 (in,), the attacker's mean.
            live: bool (in,), channels of which anything comes back.
            masks: 0 and 1, (clients, out, in), what was inverted.
            bits_reproduced: share of mask bits.
        """
        truth, prior = centred(truth, live)[:, live], centred(prior, live)[live]
        found, rates = found[:, live], masks.mean(1)[:, live]
        return cls(
            block=block,
            name=name,
            rank_correlation=_rank_correlation(found, truth),
            prior_rank_correlation=_rank_correlation(np.broadcast_to(prior, truth.shape), truth),
            relative_error=_root_mean_square(found - truth) / _root_mean_square(truth),
            error_nats=_root_mean_square(found - truth),
            median_error_nats=float(np.median(np.abs(found - truth), axis=1).mean()),
            prior_error_nats=_root_mean_square(prior - truth),
            bounded=float(((rates == 0) | (rates == 1)).mean()),
            bits_reproduced=bits_reproduced,
        )

    def as_json(self) -> dict[str, Any]:
        """Give it as JSON can hold it."""
        return {name: getattr(self, name) for name in self.__slots__}


def _rank_correlation(found: np.ndarray, truth: np.ndarray) -> float:
    ranks = [rankdata(each, axis=1) for each in (found, truth)]
    ones, others = (each - each.mean(1, keepdims=True) for each in ranks)
    lengths = np.linalg.norm(ones, axis=1) * np.linalg.norm(others, axis=1)
    return float(((ones * others).sum(1) / np.where(lengths > 0, lengths, 1.0)).mean())


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean(1)).mean())
