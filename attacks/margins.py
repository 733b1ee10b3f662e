"""Margins: the probability that a client removes a weight, from the spread of its log-norms.

Weight ij goes if a_ij + u_j <= tau_i, with a the log-weight, u the log-norm of its channel and tau the row's cutoff;
with u normal, P = Phi((tau_i - a_ij - E u_j) / sd u_j). The cutoff is the one at which the expected number removed is
what a row removes. Reckoned by torch, several times as fast as numpy where rows and columns of numbers meet. Knows
nothing of candidates and scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from attacks.companions import Spread

_FURTHEST = 6.0  # standard deviations; beyond it a density does not move
_RATE = math.sqrt(2 / math.pi)
_CUBE = 0.044715 / _RATE**2  # of an argument times the rate
_LONGEST_STEP = 0.5  # nats
_STEPS = 12


def normal_cdf(deviations: np.ndarray) -> np.ndarray:
    """Give Phi to 2e-4 by its hyperbolic tangent form (Page 1977): a hundred times faster."""
    return _page(torch.from_numpy(np.require(deviations, requirements=["C", "W"])) * _RATE).numpy()


def _page(scaled: torch.Tensor) -> torch.Tensor:
    """Give Phi of what is given times the rate."""
    found = torch.addcmul(scaled, scaled, scaled * scaled, value=_CUBE).tanh_()
    return found.mul_(0.5).add_(0.5)


def removal_probability(cutoffs: np.ndarray, log_weights: np.ndarray, spread: Spread) -> np.ndarray:
    """Give P(removed), float32 (clients, out, in).

    Args:
        cutoffs: float32 (clients or 1, out).
        log_weights: float32 (out, in).
        spread: of log-norms, (clients, in).
    """
    return _probability(torch.from_numpy(cutoffs), torch.from_numpy(log_weights), _Scales.of(spread)).numpy()


def cutoffs_from(start: np.ndarray, log_weights: np.ndarray, spread: Spread, *, share: float, steps: int) -> np.ndarray:
    """Find the cutoffs at which a row's expected share removed is ``share``, by Newton's method.

    Args:
        start: float32 (clients or 1, out), to begin with.
        log_weights: float32 (out, in).
        spread: of log-norms, (clients, in).
        share: of a row that goes.
        steps: of the method; none is longer than half a nat.

    Returns:
        float32 (clients, out).
    """
    cutoffs = np.broadcast_to(start, (len(spread.mean), len(log_weights))).astype(np.float32)
    found, known, scales = torch.from_numpy(cutoffs), torch.from_numpy(log_weights), _Scales.of(spread)
    for _ in range(steps):
        probability = _probability(found, known, scales)
        missing = share - probability.mean(-1)
        # Of the logistic form p (1 - p), which the normal density follows closely enough for a step.
        slope = torch.addcmul(probability, probability, probability, value=-1) @ scales.inverse_sd[:, :, None]
        slope = (slope[..., 0] * (1.7 / log_weights.shape[1])).clamp_(min=1e-3)
        found += (missing / slope).clamp_(-_LONGEST_STEP, _LONGEST_STEP)
    return cutoffs


def shifted_cutoffs(start: np.ndarray, log_weights: np.ndarray, usual: Spread, spread: Spread) -> np.ndarray:
    """Move a usual client's cutoffs with log-norms, to first order: as the weights near the cutoff move on average.

    Args:
        start: float32 (1, out), of the usual client.
        log_weights: float32 (out, in).
        usual: the usual client's log-norms, (1, in).
        spread: of other clients, (clients, in).

    Returns:
        float32 (clients, out).
    """
    margins = start[0][:, None] - log_weights - usual.mean
    deviations = np.clip(margins / usual.sd, -_FURTHEST, _FURTHEST)
    density = np.exp(-(deviations**2) / 2) / usual.sd  # above 0: weights of 0 are within the bounds of the clip
    moved: np.ndarray = start + (spread.mean - usual.mean) @ (density / density.sum(1, keepdims=True)).T
    return moved.astype(np.float32)


def usual_cutoffs(log_weights: np.ndarray, spread: Spread, *, share: float) -> np.ndarray:
    """Find the cutoffs of one usual client (1, in), from scratch: float32 (1, out)."""
    scores = log_weights + spread.mean
    count = min(max(round(share * scores.shape[1]), 1), scores.shape[1]) - 1
    start = np.partition(scores, count, axis=1)[:, count]
    finite = np.isfinite(start)
    start = np.where(finite, start, start[finite].min() if finite.any() else 0.0)
    return cutoffs_from(start[None].astype(np.float32), log_weights, spread, share=share, steps=_STEPS)


@dataclass(frozen=True, slots=True)
class _Scales:
    """A spread as probabilities take it: float32 (clients, in).

    Attributes:
        inverse_sd: of log-norms.
        mean: of log-norms, in standard deviations.
    """

    inverse_sd: torch.Tensor
    mean: torch.Tensor

    @classmethod
    def of(cls, spread: Spread) -> _Scales:
        inverse_sd = 1 / torch.from_numpy(spread.sd)
        return cls(inverse_sd, torch.from_numpy(spread.mean) * inverse_sd)


def _probability(cutoffs: torch.Tensor, log_weights: torch.Tensor, scales: _Scales) -> torch.Tensor:
    """Give P(removed), (clients, out, in), in as few passes over it as there are."""
    margins = cutoffs[:, :, None] - log_weights
    scaled = torch.addcmul(-_RATE * scales.mean[:, None], margins, _RATE * scales.inverse_sd[:, None])
    return _page(scaled)
