"""Wanda (Sun et al. 2024, section 3): remove the lowest |W| x ||X||_2."""

from __future__ import annotations

from torch import Tensor

from fedprllm_secure.pruners.pruned import Pruned
from fedprllm_secure.selection import select
from fedprllm_secure.sparsity import Group, Sparsity


def wanda_saliency(weight: Tensor, energy: Tensor) -> Tensor:
    """Weigh each weight by the norm of its input: |W| * sqrt(energy), (out, in)."""
    return (weight * energy.sqrt()).abs_()  # in place: one array less to fill


def wanda(weight: Tensor, energy: Tensor, *, sparsity: Sparsity, group: Group) -> Pruned:
    """Remove the weights of lowest saliency; see :class:`~fedprllm_secure.pruners.LocalPruner`."""
    return Pruned(select([wanda_saliency(weight, energy)], sparsity, group))
