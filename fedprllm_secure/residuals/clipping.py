"""From coordinates to integers of bounded norm, and the clip that public windows set.

The norm that a claim rests on is that of the integers that are summed, so it is checked on integers: coordinates are
scaled, rounded toward zero, and shrunk again if the sum of their squares is above the bound. No float norm and no
rounding probability enters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fedprllm_secure.errors import InputError

GRID_PER_ROOT = 32  # grid units of the clip for each root of the dimension: rounding then costs about 1 % of the norm


def grid_bound(dimension: int) -> int:
    """Give the clip in grid units, D2: a power of two, large against the rounding of all coordinates."""
    return 2 ** math.ceil(math.log2(GRID_PER_ROOT * math.sqrt(dimension)))


def to_grid(coordinates: Tensor, *, clip: float, bound: int) -> Tensor:
    """Clip contributions and round them.

    Args:
        coordinates: float64 (contributions, rank).
        clip: the largest norm that is not shrunk.
        bound: what ``clip`` is in grid units.

    Returns:
        int64 (contributions, rank), each row's squares summing to at most ``bound`` squared.

    Raises:
        InputError: a coordinate is not finite.
    """
    if not bool(coordinates.isfinite().all()):
        raise InputError("a client's statistics are not finite: the model overflows on its text")
    norms = torch.linalg.vector_norm(coordinates, dim=1, keepdim=True)
    scale = bound / torch.maximum(norms, torch.tensor(clip, dtype=coordinates.dtype))
    whole = (coordinates * scale).trunc().to(torch.int64)
    over = (whole * whole).sum(1) > bound * bound  # by the rounding of a norm
    whole[over] -= whole[over].sign()
    if bool((whole.abs() > bound).any()) or bool(((whole * whole).sum(1) > bound * bound).any()):
        raise AssertionError("a clipped contribution is above its bound")
    return whole


def public_clip(held_out: Tensor, *, group: int) -> float:
    """Set the clip: the median norm of what held-out public windows would contribute.

    Args:
        held_out: their coordinates, (windows, rank).
        group: windows that make one contribution, as their mean: 1, or those of a client.

    Raises:
        InputError: there are too few, or they contribute nothing.
    """
    groups = len(held_out) // group
    if groups < 1:
        raise InputError(
            f"{len(held_out)} public windows are held out to set the clip, {group} are needed; name more public text "
            "(--public-data, --public-windows)"
        )
    means = held_out[: groups * group].view(groups, group, -1).mean(1)
    clip = float(torch.linalg.vector_norm(means, dim=1).median())
    if not clip > 0:
        raise InputError("held-out public windows have no residual at all: no clip can be set from them")
    return clip
