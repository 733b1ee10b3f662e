"""Units: a client shares one 0/1 entry a head and a neuron, and whole ones go (structured pruning).

The methods are of the family of LLM-Pruner (Ma et al. 2023, arXiv 2305.11627), which removes what is coupled together,
and FLAP (An et al. 2024, arXiv 2312.11983, section 3), which rates a channel by the variance of what enters the output
projection times the squared norm of its column there. Here the energy, Wanda's statistic (Sun et al. 2024, arXiv
2306.11695), stands in place of the variance: FLAP makes up for the mean by a new bias, which a model of the same
architecture has no room for. Voting on units between parties is this project's own.

Entries are centred where noise is added, as those of :mod:`~fedprllm_secure.payloads.votes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fedprllm_secure.errors import InputError
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.models.units import UnitKind, unit_kinds
from fedprllm_secure.payloads.centring import AS_THEY_ARE, Centre, centred_votes, vote_spec
from fedprllm_secure.payloads.party_view import Decision, PartyView
from fedprllm_secure.privacy.adjacency import Adjacency
from fedprllm_secure.privacy.release import Sensitivity
from fedprllm_secure.privacy.sensitivity import VoteGroups, centred, votes_sensitivity
from fedprllm_secure.pruners.pruned import Pruned
from fedprllm_secure.selection import Ties, select, tie_order
from fedprllm_secure.sparsity import Sparsity
from protocols import VectorSpec
from protocols.noise import top_k

if TYPE_CHECKING:
    from fedprllm_secure.method import Method

# The local pruners that rate units, and whether they ask what enters them.
ASKS_ENERGY: Mapping[str, bool] = {"wanda": True, "magnitude": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """One vote for every head and neuron a client would remove; the most-voted go, as many in every block.

    Attributes:
        sparsity: the fraction of the heads and of the neurons of a block that goes.
        pruner: ``wanda`` or ``magnitude``.
        ties: the server's order among equal totals; by magnitude, the unit of least squared weights goes first.
        seed: for random ties.
        centre: ``(a, b)``: a vote v is sent as b v - a; (0, 1) sends it as it is.
        kinds: the units of the blocks it is used on.
        epsilon_each: bounded range of each pick of a noisy choice; None where the most-voted are taken.
        score_range: how far one participant moves the difference of two totals, for a noisy choice.
    """

    sparsity: Sparsity
    pruner: str = "wanda"
    ties: Ties = "magnitude"
    seed: int = 0
    centre: Centre = AS_THEY_ARE
    kinds: tuple[UnitKind, ...] = ()
    epsilon_each: Fraction | None = None
    score_range: int = 1

    submits_decision = True

    def __post_init__(self) -> None:
        """Check that units can be rated and counted this way.

        Raises:
            InputError: the sparsity is a pattern, or the pruner does not rate units.
        """
        if self.sparsity.is_pattern:
            raise InputError(
                f"sparsity={self.sparsity} does not go with payload=units: a pattern lies within rows, and units go "
                f"whole; give the fraction of heads and neurons to remove, such as {float(self.sparsity.fraction):g}"
            )
        if self.pruner not in ASKS_ENERGY:
            raise InputError(
                f"pruner={self.pruner} does not go with payload=units, which takes {' or '.join(ASKS_ENERGY)}"
            )

    @classmethod
    def of(cls, method: Method, *, largest_bound: int) -> Units:
        """Take the settings of a method."""
        return cls(sparsity=method.sparsity, pruner=method.pruner, ties=method.ties, seed=method.seed)

    def in_model(self, model: StreamedModel) -> Units:
        """Give the payload for the blocks of a model.

        Raises:
            InputError: the units of its architecture cannot be told apart.
        """
        return replace(
            self, kinds=tuple(kind for index in range(model.num_blocks) for kind in unit_kinds(model, index))
        )

    def prepared(self, public: PartyView | None, *, share: float) -> Units:
        """Give itself: votes need nothing of a public party."""
        return self

    def centred(self) -> Units:
        """Give the payload to add noise to: votes around zero, so that a client moves the totals least."""
        return replace(self, centre=centred(self.sparsity.fraction))

    def sensitivity(self, view: PartyView, adjacency: Adjacency) -> Sensitivity:
        """Say how far one participant moves a block's totals.

        Raises:
            InputError: the adjacency has no meaning for votes.
        """
        low, step = self.centre
        groups = [VoteGroups(kind.count, self.sparsity.count(kind.count)) for kind in self._of_block(view)]
        return votes_sensitivity(groups, a=low, b=step, adjacency=adjacency)

    def choices(self, view: PartyView) -> list[tuple[int, int]]:
        """List a block's choices: of how many units, and how many go."""
        counts = [(kind.count, self.sparsity.count(kind.count)) for kind in self._of_block(view)]
        return [(count, picks) for count, picks in counts if picks]

    def public(self) -> dict[str, Any]:
        """List what parties must agree on beside the method: how votes are centred, and how units are chosen."""
        return {
            "centre": list(self.centre),
            "epsilon_each": None if self.epsilon_each is None else str(self.epsilon_each),
        }

    def specs(self, view: PartyView) -> tuple[VectorSpec, ...]:
        """One vector a kind, such as ``model.layers.0.heads``, as long as it has units."""
        return tuple(vote_spec(kind.name, kind.count, self.centre) for kind in self._of_block(view))

    def decide(self, view: PartyView) -> Decision:
        """Remove the units that add least to the residual stream; votes are uint8 (units,).

        Raises:
            InputError: an output matrix takes no part in the model's forward pass.
        """
        pruned: dict[str, Pruned] = {}
        votes = {}
        for kind in self._of_block(view):
            matrix = kind.output.matrix
            energy = view.energy(matrix) if ASKS_ENERGY[self.pruner] else None
            removed = self._lowest([contribution(kind, view.stored(matrix), energy)])
            votes[kind.name] = removed.to(torch.uint8)
            pruned |= {name: Pruned(prune_mask) for name, prune_mask in kind.prune_masks(removed).items()}
        return Decision(pruned, votes)

    def vectors(self, view: PartyView, decision: Decision | None) -> Mapping[str, Tensor]:
        """Give the votes, centred if they are to be."""
        assert decision is not None  # this payload submits decisions
        return centred_votes(decision.votes, self.centre)

    def choose(self, view: PartyView, totals: Mapping[str, NDArray[Any]], *, survivors: int) -> dict[str, Tensor]:
        """Remove the units with the most votes, exactly as many of each kind as the sparsity says.

        A noisy choice draws its noise here, from the operating system's generator: once a session.
        """
        prune_masks: dict[str, Tensor] = {}
        for kind in self._of_block(view):
            if self.epsilon_each is not None:
                prune_masks |= kind.prune_masks(self._chosen(kind, totals[kind.name]))
                continue
            sizes = squared_weights(kind, view)
            fewest_first = -torch.from_numpy(totals[kind.name]).to(sizes.device, torch.int64)
            removed = self._lowest([fewest_first, *tie_order(self.ties, sizes, seed=self.seed, name=kind.name)])
            prune_masks |= kind.prune_masks(removed)
        return prune_masks

    def _chosen(self, kind: UnitKind, votes: NDArray[Any]) -> Tensor:
        """Mark the units that a noisy choice removes, bool (units,)."""
        removed = torch.zeros(kind.count, dtype=torch.bool)
        picks = self.sparsity.count(kind.count)
        if picks:
            assert self.epsilon_each is not None
            picked = top_k(votes, picks, epsilon_each=self.epsilon_each, sensitivity=self.score_range)
            removed[torch.from_numpy(picked)] = True
        return removed

    def _of_block(self, view: PartyView) -> Sequence[UnitKind]:
        """List the kinds of the block that is viewed."""
        names = {matrix.name for matrix in view.matrices}
        found = [kind for kind in self.kinds if kind.output.matrix.name in names]
        if not found:
            raise ValueError(f"kinds must list the units of {view.matrices[0].name}")
        return found

    def _lowest(self, keys: Sequence[Tensor]) -> Tensor:
        """Mark floor(sparsity x units) of the lowest by keys (units,), bool."""
        return select([key[None] for key in keys], self.sparsity, "layer")[0]


def contribution(kind: UnitKind, weight: Tensor, energy: Tensor | None) -> Tensor:
    """Rate units by what they add to the residual stream: the sum of squared Wanda scores of a unit's columns.

    For a neuron this is exact: its squared contribution, summed over tokens. For a head it leaves out that its
    channels may cancel each other.

    Args:
        kind: the units.
        weight: of their output matrix, (out, in).
        energy: (in,), or None where all inputs count alike.

    Returns:
        float64 (units,), higher = keep.
    """
    norms = _squared_norms(weight, axis=0)
    scores = norms if energy is None else norms * energy.to(norms)
    return scores.view(kind.count, kind.output.width).sum(1)


def squared_weights(kind: UnitKind, view: PartyView) -> Tensor:
    """Sum the squared weights of every unit over all its matrices, float64 (units,)."""
    parts = [
        _squared_norms(view.stored(member.matrix), axis=1 - member.axis).view(kind.count, member.width).sum(1)
        for member in kind.members
    ]
    return torch.stack(parts).sum(0)


def refuse_groups(groups: Mapping[str, str | None]) -> None:
    """Refuse comparison groups of weights, by flag; None where a flag is not given.

    Raises:
        InputError: one is given.
    """
    for flag, group in groups.items():
        if group is not None:
            raise InputError(
                f"{flag} {group} does not go with --payload units: the heads of a block compete with each other, and "
                "so do its neurons"
            )


def _squared_norms(weight: Tensor, *, axis: int) -> Tensor:
    dtype = torch.promote_types(weight.dtype, torch.float32)
    return torch.linalg.vector_norm(weight, dim=axis, dtype=dtype).double().square()
