"""What worlds would let be seen of one matrix: prune masks, totals, the chosen mask; made by the real payload.

For the attacker's own worlds. Victims' rows come from transcripts of real sessions (`experiments.audit.victims`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from experiments.audit.statistics import AuditBlock
from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.payloads import Votes

if TYPE_CHECKING:  # attacks, and what they import, take a second, which processes that hold sessions need not spend
    from experiments.audit.worlds import Worlds


def windows_of(contributions: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """List the windows behind contributions (..., slots): int64 (..., slots * windows of a group), -1 for none."""
    padded = np.concatenate([groups, np.full((1, groups.shape[1]), -1, groups.dtype)])
    found: np.ndarray = padded[contributions]
    return found.reshape(*contributions.shape[:-1], -1)


def votes_dtype(clients: int) -> type[np.uint8 | np.int32]:
    """Choose the smallest dtype for totals of whole votes: most of the work on them is moving them."""
    return np.uint8 if clients < 256 else np.int32


@dataclass(frozen=True, slots=True)
class MatrixRows:
    """Makes rows of one matrix.

    Attributes:
        block: on the device.
        matrix: one of its matrices.
        payload: votes as they are, without a centre.
        groups: int64 (contributions, windows of each): the windows behind every contribution.
        empty_vote: what a client without any window counts as on every weight: a zero vector of centred votes reads as
            their centre.
    """

    block: AuditBlock
    matrix: PrunableMatrix
    payload: Votes
    groups: np.ndarray = field(repr=False)
    empty_vote: float = 0.0

    def mask(self, windows: np.ndarray) -> np.ndarray:
        """Give the prune mask of a client with these windows, bool (out, in)."""
        decision = self.payload.decide(self.block.view(windows, (self.matrix,)))
        return decision.pruned[self.matrix.name].prune_mask.cpu().numpy()

    def clients(self, worlds: Worlds, world: int) -> Iterator[np.ndarray]:
        """Give what every client of a world submits, (out, in): its prune mask, or empty votes where it has no text."""
        for windows in windows_of(worlds.contributions[world], self.groups):
            if (windows < 0).all():
                yield np.full(self.matrix.shape, self.empty_vote, np.float32 if self.empty_vote else np.uint8)
            else:
                yield self.mask(windows).view(np.uint8)

    def choice(self, totals: np.ndarray, *, clients: int) -> np.ndarray:
        """Give the prune masks that a server chooses from totals, uint8 (worlds, out, in)."""
        server = self.block.view(matrices=(self.matrix,))
        found = np.empty(totals.shape, np.uint8)
        for world, each in enumerate(totals):
            flat = {self.matrix.name: each.reshape(-1)}
            found[world] = self.payload.choose(server, flat, survivors=clients)[self.matrix.name].cpu().numpy()
        return found

    def alone(self, known: np.ndarray) -> np.ndarray:
        """Give the prune mask that each candidate would make alone, bool (candidates, out, in).

        Args:
            known: int64 (candidates, windows of each), the windows as the attacker knows them.
        """
        found = np.empty((len(known), *self.matrix.shape), bool)
        for candidate, windows in enumerate(known):
            found[candidate] = self.mask(windows)
        return found

    def log_weights(self) -> np.ndarray:
        """Give logarithms of the absolute weights, float32 (out, in)."""
        weight = self.block.editable.weight(self.matrix).detach().float().abs().cpu()
        return torch.log(weight).numpy()
