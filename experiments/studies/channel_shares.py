"""Prune masks that take from each input channel a share of one's own choice, and what a mask takes from which channel.

An input channel is a column of a matrix (out, in): all weights that one input of the matrix meets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

TENTHS = 10


def remove_from_channels(keys: Sequence[Tensor], counts: Tensor) -> Tensor:
    """Mark in every column the lowest entries by the first key, then the second, ..., then by position.

    Args:
        keys: tensors (out, in) of real numbers, none of them NaN.
        counts: how many entries go from each column, integers (in,).

    Returns:
        bool (out, in), True = removed.
    """
    order = np.lexsort([key.numpy() for key in reversed(keys)], axis=0)  # stable, so equal entries go by position
    removed = np.zeros(order.shape, dtype=bool)
    np.put_along_axis(removed, order, np.arange(len(order))[:, None] < counts.numpy()[None], axis=0)
    return torch.from_numpy(removed)


def removed_by_tenths(prune_mask: Tensor, energy: Tensor, weighed: Tensor | None = None) -> list[float]:
    """Say what goes from each tenth of the channels, from the tenth with the least energy to that with the most.

    Args:
        prune_mask: bool (out, in), with at least ten inputs.
        energy: of each input, (in,).
        weighed: what each weight counts, (out, in); if None, the share removed of each tenth is given.

    Raises:
        ValueError: there are fewer channels than tenths.
    """
    if len(energy) < TENTHS:
        raise ValueError(f"energy={len(energy)} channels must be at least {TENTHS}")
    order = energy.argsort(stable=True)
    if weighed is None:
        return [float(part.mean()) for part in prune_mask.double().mean(0)[order].tensor_split(TENTHS)]
    return [float(part.sum()) for part in (weighed * prune_mask).double().sum(0)[order].tensor_split(TENTHS)]
