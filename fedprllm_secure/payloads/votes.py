"""Votes: a client shares its prune masks, one entry a weight (FedPrLLM, arXiv 2505.13547, section 3).

Entries are 0 and 1. Where noise is added they are centred, ``b`` times the vote less ``a``, so that an average client
sends about zero and the noise that a sensitivity calls for is smallest; the order of totals is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.payloads.centring import AS_THEY_ARE, Centre, centred_votes, vote_spec
from fedprllm_secure.payloads.party_view import Decision, PartyView
from fedprllm_secure.privacy.adjacency import Adjacency
from fedprllm_secure.privacy.release import Sensitivity
from fedprllm_secure.privacy.sensitivity import VoteGroups, centred, votes_sensitivity
from fedprllm_secure.pruners import PRUNERS, Pruned
from fedprllm_secure.selection import Ties, select, tie_order
from fedprllm_secure.sparsity import Group, Sparsity
from protocols import VectorSpec

if TYPE_CHECKING:
    from fedprllm_secure.method import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """One vote for every weight a client would remove; the most-voted weights go.

    Attributes:
        sparsity: how much goes.
        pruner: a name in :data:`~fedprllm_secure.pruners.PRUNERS`.
        group: weights that compete at the server.
        local_group: weights that compete at a client.
        ties: the server's order among equal totals.
        seed: for random ties.
        centre: ``(a, b)``: a vote v is sent as b v - a; (0, 1) sends it as it is.
    """

    sparsity: Sparsity
    pruner: str = "wanda"
    group: Group = "layer"
    local_group: Group = "row"
    ties: Ties = "magnitude"
    seed: int = 0
    centre: Centre = AS_THEY_ARE

    submits_decision = True

    @classmethod
    def of(cls, method: Method, *, largest_bound: int) -> Votes:
        """Take the settings of a method."""
        return cls(
            sparsity=method.sparsity,
            pruner=method.pruner,
            group=method.group,
            local_group=method.local_group,
            ties=method.ties,
            seed=method.seed,
        )

    def in_model(self, model: StreamedModel) -> Votes:
        """Give itself: any model will do."""
        return self

    def prepared(self, public: PartyView | None, *, share: float) -> Votes:
        """Give itself: votes need nothing of a public party."""
        return self

    def centred(self) -> Votes:
        """Give the payload to add noise to: votes around zero, so that a client moves the totals least."""
        return replace(self, centre=centred(self.sparsity.fraction))

    def sensitivity(self, view: PartyView, adjacency: Adjacency) -> Sensitivity:
        """Say how far one participant moves a block's totals.

        Raises:
            InputError: the adjacency has no meaning for votes.
        """
        low, step = self.centre
        groups = [_groups(matrix.shape, self.sparsity, self.local_group) for matrix in view.matrices]
        return votes_sensitivity(groups, a=low, b=step, adjacency=adjacency)

    def public(self) -> dict[str, Any]:
        """List what parties must agree on beside the method: how votes are centred."""
        return {"centre": list(self.centre)}

    def specs(self, view: PartyView) -> tuple[VectorSpec, ...]:
        """One vector a matrix, as long as it has weights."""
        return tuple(vote_spec(matrix.name, matrix.numel, self.centre) for matrix in view.matrices)

    def decide(self, view: PartyView) -> Decision:
        """Let the local pruner decide, matrix by matrix; the votes are views of the prune masks, uint8."""
        pruned: dict[str, Pruned] = {}
        for matrix in view.matrices:
            weight = view.weight(matrix)
            energy = view.ranking_energy(matrix, weight)
            pruned[matrix.name] = PRUNERS[self.pruner](weight, energy, sparsity=self.sparsity, group=self.local_group)
        votes = {name: each.prune_mask.contiguous().view(torch.uint8).view(-1) for name, each in pruned.items()}
        return Decision(pruned, votes)

    def vectors(self, view: PartyView, decision: Decision | None) -> Mapping[str, Tensor]:
        """Give the votes, centred if they are to be."""
        assert decision is not None  # this payload submits decisions
        return centred_votes(decision.votes, self.centre)

    def choose(self, view: PartyView, totals: Mapping[str, NDArray[Any]], *, survivors: int) -> dict[str, Tensor]:
        """Remove the weights with the most votes, exactly as many as the sparsity says in every group."""
        chosen = {}
        for matrix in view.matrices:
            weight = view.stored(matrix)
            fewest_first = torch.from_numpy(_reversed(totals[matrix.name])).view(matrix.shape)
            ties = tie_order(self.ties, weight, seed=self.seed, name=matrix.name)
            chosen[matrix.name] = select([fewest_first.to(weight.device), *ties], self.sparsity, self.group)
        return chosen


def _reversed(totals: NDArray[Any]) -> NDArray[Any]:
    """Turn the order of totals round: of integers by their complement, which no dtype is too small for."""
    found: NDArray[Any] = np.negative(totals) if totals.dtype.kind == "f" else np.invert(totals)
    return found


def _groups(shape: tuple[int, int], sparsity: Sparsity, local_group: Group) -> VoteGroups:
    """Say in which groups of a matrix (out, in) every client marks equally many weights."""
    rows, columns = shape
    if sparsity.is_pattern:
        return VoteGroups(sparsity.window, sparsity.window - sparsity.kept, rows * columns // sparsity.window)
    size, number = {"row": (columns, rows), "column": (rows, columns), "layer": (rows * columns, 1)}[local_group]
    return VoteGroups(size, sparsity.count(size), number)
