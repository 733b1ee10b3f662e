"""Packing a client's vector where it was made: the layout of :mod:`protocols.packing`, computed with torch.

On a GPU, what crosses to the host is then the packed words (0.4 bytes a vote for 8 clients) and not the entries. Torch
has no arithmetic on unsigned 64-bit words; signed words wrap modulo 2**64 just the same, and their bytes are read as
unsigned at the end.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from protocols import Layout, PackedVector

BLOCK_WORDS = 1 << 20  # keeps the 64-bit digits of a block, eight times the entries, at tens of megabytes
LARGEST_RADIX = 2**63 - 1


def pack_on_device(values: Tensor, layout: Layout, *, bound: int) -> PackedVector:
    """Pack integers or bools (length,) on the device they are on.

    Args:
        values: entries in [0, bound], or in [-bound, bound] where the layout has an offset.
        layout: radix and lanes.
        bound: the vector's bound.

    Raises:
        ValueError: an entry is out of range, or the radix exceeds a signed 64-bit integer.
    """
    if layout.radix > LARGEST_RADIX:
        raise ValueError(f"radix={layout.radix} must be at most {LARGEST_RADIX} to be packed with torch")
    lowest = -bound if layout.offset else 0
    if values.numel() and (int(values.max()) > bound or int(values.min()) < lowest):
        raise ValueError(f"values must be in [{lowest}, {bound}]")
    words = np.empty(layout.words(len(values)), np.uint64)
    for first in range(0, len(words), BLOCK_WORDS):
        block = values[first * layout.lanes : (first + BLOCK_WORDS) * layout.lanes]
        packed = _pack_block(block, layout)
        words[first : first + len(packed)] = packed.cpu().numpy().view(np.uint64)
    return PackedVector(words=words, layout=layout, length=len(values))


def _pack_block(values: Tensor, layout: Layout) -> Tensor:
    missing = -len(values) % layout.lanes
    if missing:
        values = torch.cat([values, values.new_zeros(missing)])
    digits = values.view(-1, layout.lanes)
    words = torch.zeros(len(digits), dtype=torch.int64, device=values.device)
    for lane in reversed(range(layout.lanes)):
        words.mul_(layout.radix).add_(digits[:, lane])
    return words
