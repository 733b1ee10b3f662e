"""Shrinkage of a noisy mean toward the public prior, band by band of directions (James and Stein 1961).

Directions come in order of public variance. In the first ones private text may stand far above the noise while later
ones are noise alone; so each band is shrunk by what it shows itself, and no rank has to be chosen.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

EDGES = (0, 4, 16, 48, 128, 320, 800, 2000, 5000, 12_500)


def shrunk(mean: Tensor, *, deviation: float) -> Tensor:
    """Shrink each band by the positive-part James-Stein factor max(0, 1 - (q - 2) deviation^2 / |y|^2).

    Args:
        mean: float64 (rank,), in order of public variance.
        deviation: standard deviation of the noise on each coordinate.
    """
    found = mean.clone()
    edges = [edge for edge in EDGES if edge < len(mean)] + [len(mean)]
    for first, last in pairwise(edges):
        band = mean[first:last]
        energy = float(band @ band)
        degrees = max(last - first - 2, 1)
        factor = max(0.0, 1 - degrees * deviation**2 / energy) if energy > 0 else 0.0
        found[first:last] = band * factor
    return found
