"""From prune masks back to log-norms: every bit of a mask compares an input channel's norm with a cutoff.

A client removes the weight of output row i and input j if ``a_ij + u_j <= tau_i``: a is the logarithm of the public
absolute weight, u that of the norm of the input channel (half the log energy), tau the row's cutoff. Adding a constant
to u and to every tau changes no bit, so u comes back up to one constant, here such that its mean is 0; where a
comparison group is smaller than a row of the matrix (N of M), each group has a constant of its own, which no bit tells.

With the reference rows' cutoffs, the number of removed weights in a column says between which two of the public points
``tau_i - a_ij`` the channel's u is. From there alternating Newton steps on a squared hinge of falling width fit the
row's own cutoffs. Torch adds up a matrix along an axis several times as fast as numpy, and most of the time goes there.
Knows nothing of candidates and populations.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

FAR = 1e3  # a log-weight this far below all others: always removed, and outside every hinge
_IN_CACHE = 2**18  # numbers of masks at work at once: that many stay in a core's cache, where passes cost half


def _binary(rows: np.ndarray, log_weights: np.ndarray) -> None:
    if rows.ndim != 3 or rows.shape[1:] != log_weights.shape or not len(rows):
        raise ValueError(f"rows={rows.shape} must be (at least 1, {', '.join(map(str, log_weights.shape))})")
    if rows.dtype != bool and (rows.min() < 0 or rows.max() > 1):
        raise ValueError(f"rows={rows.min()} to {rows.max()} must be prune masks, of 0 and 1")


def centred(log_norms: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Take the mean over live channels (in,) off log-norms (..., in); others are 0."""
    found: np.ndarray = np.where(live, log_norms - log_norms[..., live].mean(-1, keepdims=True), 0.0)
    return found


def _bracket(points: np.ndarray, removed: np.ndarray, gap: float) -> np.ndarray:
    """Give the midpoint between the sorted points (out, in) that ``removed`` (..., in) weights a column are above."""
    out, columns = len(points), np.arange(points.shape[1])
    above = np.clip(out - removed, 0, out)
    upper = points[np.minimum(above, out - 1), columns]
    lower = points[np.maximum(above - 1, 0), columns]
    upper = np.where((above == out) | (upper > FAR / 2), lower + gap, upper)
    lower = np.where(above == 0, upper - gap, lower)
    midpoint: np.ndarray = (lower + upper) / 2
    return midpoint


class _Hinge:
    """A squared hinge of one width over all weights: its slope goes from 0 to 1 across a row's cutoff."""

    def __init__(self, half: float, log_weights: torch.Tensor) -> None:
        """Scale the log-weights (out, in) such that the slope is 0 half a width below the cutoff, and 1 above."""
        self._scale = 0.5 / half
        self._log_weights = log_weights * self._scale

    def fit(
        self,
        cutoffs: torch.Tensor,
        log_norms: torch.Tensor,
        counts: tuple[torch.Tensor, torch.Tensor],
        scratch: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take Newton's step in cutoffs (masks, out), then in log-norms (masks, in); none is over half a width.

        Args:
            cutoffs: from where.
            log_norms: from where.
            counts: of weights removed a column (masks, in) and a row (masks, out).
            scratch: (masks, out, in), to be overwritten.
        """
        of_columns, of_rows = counts
        cutoffs = cutoffs * self._scale + 0.5
        log_norms = log_norms * self._scale
        cutoffs += self._step(cutoffs, log_norms, of_rows, scratch, axis=2)
        log_norms -= self._step(cutoffs, log_norms, of_columns, scratch, axis=1)
        return (cutoffs - 0.5) / self._scale, log_norms / self._scale

    def _step(
        self, cutoffs: torch.Tensor, log_norms: torch.Tensor, removed: torch.Tensor, scratch: torch.Tensor, *, axis: int
    ) -> torch.Tensor:
        """Give Newton's step in widths.

        A slope x inside the hinge is as likely anywhere in (0, 1), where x - x^2 is 1/6 on average, and 0 outside: so
        many weights are inside, counted without another pass that compares.
        """
        torch.sub(cutoffs[:, :, None], self._log_weights, out=scratch)
        scratch.sub_(log_norms[:, None]).clamp_(0, 1)
        expected = scratch.sum(axis)
        inside = (expected - scratch.mul_(scratch).sum(axis)).mul_(6).clamp_(min=1)
        return (removed - expected).div_(inside).clamp_(-0.5, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskInverter:
    """Inverts prune masks of one matrix, each by itself.

    Attributes:
        log_weights: float32 (out, in), finite; weights of 0 far below all others.
        live: bool (in,), channels with a weight that is not 0: only of these anything comes back.
        cutoffs: float64 (out,), of the reference rows' mean.
        points: float64 (out, in), ``tau_i - a_ij`` sorted along a column.
        gap: typical distance of neighbouring points, in nats.
    """

    log_weights: np.ndarray = field(repr=False)
    live: np.ndarray = field(repr=False)
    cutoffs: np.ndarray = field(repr=False)
    points: np.ndarray = field(repr=False)
    gap: float

    @classmethod
    def fit(cls, reference: np.ndarray, log_weights: np.ndarray, *, passes: int = 6) -> MaskInverter:
        """Find the cutoffs at which the mean mask has the row and column counts that it has.

        Args:
            reference: 0 and 1, (reference rows, out, in), 1 = removed.
            log_weights: (out, in), -inf where a weight is 0.
            passes: alternations of cutoffs by row counts and log-norms by column counts.

        Raises:
            ValueError: reference rows are no masks, or do not fit the weights, or all weights are 0.
        """
        _binary(reference, log_weights)
        finite = np.isfinite(log_weights)
        if not finite.any():
            raise ValueError("log_weights=-inf everywhere must have a finite entry")
        known = np.where(finite, log_weights, -FAR).astype(np.float64)
        mean = np.where(finite, reference.mean(0), 1.0)
        out, inputs = known.shape
        live = finite.any(0)
        row_counts = np.clip(np.rint(mean.sum(1)).astype(np.int64), 1, max(inputs - 1, 1))
        column_counts = np.rint(mean.sum(0)).astype(np.int64)
        log_norms = np.zeros(inputs)
        for _ in range(passes):
            ordered = np.sort(known + log_norms, axis=1)
            low, high = ordered[np.arange(out), row_counts - 1], ordered[np.arange(out), row_counts % inputs]
            cutoffs = np.where(low > -FAR / 2, (low + high) / 2, high)
            points = np.sort(cutoffs[:, None] - known, axis=0)
            near = points[points < FAR / 2]
            gap = float(np.subtract(*np.quantile(near, (0.75, 0.25)))) / max(out / 2, 1) + 1e-9
            log_norms = centred(_bracket(points, column_counts, gap), live)
        return cls(log_weights=known.astype(np.float32), live=live, cutoffs=cutoffs, points=points, gap=gap)

    def invert(self, rows: np.ndarray, *, widths: tuple[float, ...] = (12.0, 3.0)) -> np.ndarray:
        """Give float64 (rows, in), the log-norms behind each mask, of mean 0 over live channels and 0 at others.

        Args:
            rows: 0 and 1, (rows, out, in), 1 = removed.
            widths: half-widths of the hinge in gaps, one alternation each.

        Raises:
            ValueError: the rows are no masks, or do not fit the weights.
        """
        _binary(rows, self.log_weights)
        dead_weights = self.log_weights < -FAR / 2
        any_dead = bool(dead_weights.any())
        log_weights = torch.from_numpy(self.log_weights)
        together = max(1, _IN_CACHE // log_weights.numel())
        scratch = torch.empty(together, *log_weights.shape)
        counts = torch.empty(len(rows), rows.shape[2]), torch.empty(len(rows), rows.shape[1])
        parts = [slice(first, first + together) for first in range(0, len(rows), together)]
        for part in parts:
            masks = torch.from_numpy(np.where(dead_weights, 1, rows[part]) if any_dead else rows[part])
            room = scratch[: len(masks)].copy_(masks)
            torch.sum(room, 1, out=counts[0][part])
            torch.sum(room, 2, out=counts[1][part])
        start = [_bracket(self.points, each.numpy().astype(np.int64), self.gap) for each in counts[0]]
        log_norms = torch.from_numpy(np.stack(start)).float()
        cutoffs = torch.from_numpy(self.cutoffs).float().repeat(len(rows), 1)
        for width in widths:  # one after the other for all masks: a hinge's log-weights stay in the cache, too
            hinge = _Hinge(width * self.gap, log_weights)
            for part in parts:
                room = scratch[: len(cutoffs[part])]
                of_part = counts[0][part], counts[1][part]
                cutoffs[part], log_norms[part] = hinge.fit(cutoffs[part], log_norms[part], of_part, room)
        return centred(log_norms.numpy().astype(np.float64), self.live)

    def reproduced(self, rows: np.ndarray, log_norms: np.ndarray) -> float:
        """Give the share of bits that masks made of these log-norms (rows, in) have right, row counts as they are."""
        right = 0
        for row, u in zip(rows, log_norms, strict=True):
            rank = np.argsort(np.argsort(self.log_weights + u, axis=1, kind="stable"), axis=1)
            right += int((row.astype(bool) == (rank < row.sum(1, keepdims=True))).sum())
        return right / rows.size
