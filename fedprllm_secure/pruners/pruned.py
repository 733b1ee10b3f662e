"""What a local pruner returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Pruned:
    """A client's decision on one matrix.

    Attributes:
        prune_mask: bool (out, in), True = removed.
        weight: new weights (out, in) for the entries kept, or None where they stay; never leaves the client.
    """

    prune_mask: Tensor
    weight: Tensor | None = None
