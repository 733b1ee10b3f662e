"""Votes as they are sent: a vote v of 0 or 1 as b v - a, around zero where noise is to be added.

``(a, b) = (0, 1)`` sends votes as they are; which centre costs least noise is ``privacy.sensitivity``'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from protocols import VectorSpec

Centre = tuple[int, int]
AS_THEY_ARE: Centre = (0, 1)


def vote_spec(name: str, length: int, centre: Centre) -> VectorSpec:
    """Describe a vector of centred votes."""
    low, step = centre
    return VectorSpec(name, length, bound=max(low, step - low), signed=low > 0)


def centred_votes(votes: Mapping[str, Tensor], centre: Centre) -> Mapping[str, Tensor]:
    """Centre votes, uint8 (length,) by name: int8, or untouched where they are sent as they are."""
    if centre == AS_THEY_ARE:
        return votes
    low, step = centre
    return {name: each.to(torch.int8).mul_(step).sub_(low) for name, each in votes.items()}
