"""Shrinkage of a noisy mean toward the public prior, band by band of directions.

Each band is multiplied by the smaller of two factors. One is what the band itself shows (James and Stein 1961): it
lets a rank alone be, since in the first directions private text may stand far above the noise while later ones are
noise. The other is what public text lets expect (Wiener): a mean of clipped contributions has at most the clip for its
norm, spread over directions as public text's is, and under noise far above that nothing of it can be seen.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

EDGES = (0, 4, 16, 48, 128, 320, 800, 2000, 5000, 12_500)


def shrunk(mean: Tensor, *, deviation: float, expected: Tensor) -> Tensor:
    """Shrink each band of q directions by min(max(0, 1 - (q - 2) s^2 / |y|^2), T / (T + q s^2)).

    Args:
        mean: y, float64 (rank,), in order of public variance.
        deviation: s, the standard deviation of the noise on each coordinate.
        expected: float64 (rank,), the square that public text lets expect of each coordinate; T is a band's sum.
    """
    found = mean.clone()
    edges = [edge for edge in EDGES if edge < len(mean)] + [len(mean)]
    for first, last in pairwise(edges):
        band = mean[first:last]
        energy, prior = float(band @ band), float(expected[first:last].sum())
        noise = (last - first) * deviation**2
        shown = max(0.0, 1 - max(last - first - 2, 1) * deviation**2 / energy) if energy > 0 else 0.0
        believed = prior / (prior + noise) if prior > 0 else 0.0
        found[first:last] = band * min(shown, believed)
    return found
