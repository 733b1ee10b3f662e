"""Magnitude pruning (Han et al. 2015): remove the smallest |W|; needs no data."""

from __future__ import annotations

from torch import Tensor

from fedprllm_secure.pruners.pruned import Pruned
from fedprllm_secure.selection import select
from fedprllm_secure.sparsity import Group, Sparsity


def magnitude(weight: Tensor, energy: Tensor, *, sparsity: Sparsity, group: Group) -> Pruned:
    """Remove the smallest weights; ``energy`` is not used."""
    return Pruned(select([weight.abs()], sparsity, group))
