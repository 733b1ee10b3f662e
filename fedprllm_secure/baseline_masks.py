"""Prune masks of baselines that need no forward pass of their own, made beside the federated ones."""

from __future__ import annotations

import torch
from torch import Tensor

from fedprllm_secure.block import Block
from fedprllm_secure.calibration import InputEnergy
from fedprllm_secure.method import Method
from fedprllm_secure.parties import CENTRAL, MAGNITUDE, Baselines, Parties
from fedprllm_secure.payloads import Payload
from fedprllm_secure.pruners.magnitude import magnitude

Masks = dict[str, dict[str, Tensor]]  # by variant, then by matrix name


class Shortcuts:
    """Makes them for one run."""

    def __init__(self, method: Method, payload: Payload, parties: Parties, baselines: Baselines) -> None:
        """Take the run's settings, and which baselines are wanted."""
        self._method, self._payload, self._parties, self._baselines = method, payload, parties, baselines

    def masks(self, block: Block, sums: InputEnergy) -> Masks:
        """Give a block's, by variant; none of a baseline that takes part in the forward passes."""
        found: Masks = {}
        if self._baselines.central and self._method.schedule.propagate == "dense":
            # Unpruned activations do not depend on who holds a window: the parties' sums are the central party's.
            view = block.view(sums, self._parties.clients_energies(sums))
            found[CENTRAL] = self._payload.decide(view).prune_masks
        if self._baselines.magnitude:
            found[MAGNITUDE] = {
                m.name: magnitude(
                    block.editable.weight(m),
                    torch.empty(0),
                    sparsity=self._method.sparsity,
                    group=self._method.local_group,
                ).prune_mask
                for m in block.matrices
            }
        return found
