"""The public basis: directions in which public and synthetic windows vary, and how finely each is shared.

Coordinates are those of a principal component analysis of public residuals (not centred: a shift of the whole domain is
what is looked for). Directions of less variance are stretched before clipping, by the fourth root of the variances'
ratio: with one noise for all, that is how a total error is spread best (Li et al. 2015, the matrix mechanism, for a
diagonal strategy). How many directions are worth it depends on the noise: each takes its part of the clip from the
others. All is computed from inner products of windows, added up block by block, so that no vector of all channels is
ever held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fedprllm_secure.calibration import InputEnergy
from fedprllm_secure.errors import InputError
from fedprllm_secure.residuals.log_energies import InputResiduals, residuals

STRETCH = 0.25
SMALLEST_VARIANCE = 1e-6  # of the largest: below it, directions are rounding


@dataclass(frozen=True, slots=True)
class Rows:
    """Which windows are whose.

    Attributes:
        clients: those of all clients, in order.
        prior: public windows that make prior and basis.
        held_out: public windows that set the clip.
        synthetic: synthetic windows; with ``prior``, which they follow, they make the basis.
    """

    clients: slice
    prior: slice
    held_out: slice
    synthetic: slice

    def __post_init__(self) -> None:
        """Check that prior and synthetic windows are neighbours.

        Raises:
            ValueError: they are not.
        """
        if self.prior.stop != self.synthetic.start:
            raise ValueError(f"synthetic={self.synthetic} must follow prior={self.prior}")

    @property
    def basis(self) -> slice:
        """The windows that make the basis."""
        return slice(self.prior.start, self.synthetic.stop)


@dataclass(frozen=True, slots=True)
class PublicBasis:
    """Directions and their stretch.

    Attributes:
        variances: float64 (rank,), descending: of public and synthetic windows in each direction, times their number.
        weights: float64 (basis windows, rank): direction i is the sum of the windows' residuals with these weights.
        stretch: float64 (rank,), at least 1, ascending; 0 for a direction that is none.
        coordinates: of all windows, float64 (windows, rank), stretched.
        spread: float64 (rank,), each direction's share of the squared norm of a stretched public window; sums to 1.
    """

    variances: Tensor = field(repr=False)
    weights: Tensor = field(repr=False)
    stretch: Tensor = field(repr=False)
    coordinates: Tensor = field(repr=False)
    spread: Tensor = field(repr=False)

    @property
    def num_bytes(self) -> int:
        """Bytes of the tensors."""
        tensors = (self.variances, self.weights, self.stretch, self.coordinates, self.spread)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def worth_sharing(self, noise_ratio: float) -> int:
        """Give the number of directions, from the first on, that leaves most of public variance to be seen.

        With r directions a mean of clipped contributions has, in stretched coordinates, the part s_i of the squared
        clip in direction i, and noise of ``noise_ratio`` times the clip; a linear estimate keeps s_i / (s_i +
        noise_ratio^2) of it. What is kept of the variances, not stretched, is largest for some r.

        Args:
            noise_ratio: standard deviation of the noise on the mean, over the clip.
        """
        stretched = self.variances * self.stretch**2  # (rank,)
        best, kept = 1, -1.0
        for count in range(1, int((self.stretch > 0).sum()) + 1):
            parts = stretched[:count] / stretched[:count].sum()
            found = float((self.variances[:count] * parts / (parts + noise_ratio**2)).sum())
            if found > kept:
                best, kept = count, found
        return best

    def truncated(self, count: int) -> PublicBasis:
        """Give the basis without the directions from ``count`` on, which then carry nothing."""
        real = torch.arange(len(self.stretch)) < count
        spread = self.spread * real
        return replace(
            self, stretch=self.stretch * real, coordinates=self.coordinates * real, spread=spread / spread.sum()
        )

    def shift(self, inputs: InputResiduals, rows: Rows, point: Tensor) -> Tensor:
        """Turn stretched coordinates (rank,) back into a shift of one input's log-energies, (channels,)."""
        plain = torch.where(self.stretch > 0, point / self.stretch.clamp_min(1.0), 0.0)
        return inputs.rows[rows.basis].T @ (self.weights @ plain)


def public_basis(blocks: Callable[[], Iterator[InputEnergy]], rows: Rows, *, rank: int) -> PublicBasis:
    """Find the directions.

    Args:
        blocks: gives every block's statistics, each time from the first on.
        rows: which windows are whose.
        rank: most directions; there are no more than windows.

    Raises:
        InputError: public windows do not differ at all.
    """
    products: Tensor | None = None
    for sums in blocks():
        for inputs in residuals(sums, rows.prior):
            added = inputs.rows @ inputs.rows[rows.basis].T
            products = added if products is None else products.add_(added)
    assert products is not None  # a model has blocks
    inner = products[rows.basis]  # (basis windows, basis windows)
    variances, vectors = torch.linalg.eigh((inner + inner.T) / 2)
    variances, vectors = variances.flip(0)[:rank], vectors.flip(1)[:, :rank]
    if float(variances[0]) <= 0:
        raise InputError("public windows all have the same statistics: no basis can be made of them")
    real = variances > SMALLEST_VARIANCE * variances[0]
    weights = torch.where(real, vectors / variances.clamp_min(1e-300).sqrt(), 0.0)
    stretch = torch.where(real, (variances[0] / variances.clamp_min(1e-300)) ** STRETCH, 0.0)
    stretched = variances * stretch**2
    coordinates = products @ weights * stretch
    return PublicBasis(variances.clamp_min(0), weights, stretch, coordinates, stretched / stretched.sum())
