"""Statistics: a client shares the energy that enters each input channel, in fixed point, and no mask at all.

Wanda (Sun et al. 2024, section 3) needs of a text only the sum over tokens of each input channel's square. These sums
add up over clients, so their totals are what one party that held all text would compute: everything after the sum is
centralized Wanda. Clients with more tokens weigh more, as their tokens do. At LLaMA-7B it is 745,472 entries instead of
6.476 billion votes.

One entry is a word of its own. What a whole number stands for is a power of two a vector, set from public windows; an
entry that does not fit is an error and never clipped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fedprllm_secure.errors import InputError
from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.payloads.party_view import Decision, PartyView
from fedprllm_secure.privacy.adjacency import Adjacency
from fedprllm_secure.privacy.release import Sensitivity
from fedprllm_secure.pruners import PRUNERS, Pruned
from fedprllm_secure.sparsity import Group, Sparsity
from protocols import VectorSpec

if TYPE_CHECKING:
    from fedprllm_secure.method import Method

LARGEST_BOUND = 2**52  # within which every product and sum here is exact in float64
# How far a client's channel may exceed the largest of public text: 32 times its norm.
SAFETY = 2**10


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """The energy of every input channel, in whole multiples of a power of two.

    Attributes:
        sparsity: how much goes.
        pruner: a name in :data:`~fedprllm_secure.pruners.PRUNERS`, which the server applies to the totals.
        group: weights that compete at the server.
        local_group: weights that compete where a party prunes alone.
        bound: largest entry of a client.
        exponents: by vector name, e such that an entry q stands for q * 2**-e.
    """

    sparsity: Sparsity
    pruner: str = "wanda"
    group: Group = "row"
    local_group: Group = "row"
    bound: int = LARGEST_BOUND
    exponents: Mapping[str, int] = field(default_factory=dict)

    submits_decision = False

    @classmethod
    def of(cls, method: Method, *, largest_bound: int) -> Statistics:
        """Take the settings of a method, and as much of a word as the protocol can carry."""
        bound = 2 ** (min(largest_bound, LARGEST_BOUND).bit_length() - 1)
        return cls(
            sparsity=method.sparsity,
            pruner=method.pruner,
            group=method.group,
            local_group=method.local_group,
            bound=bound,
        )

    def in_model(self, model: StreamedModel) -> Statistics:
        """Give itself: any model will do."""
        return self

    def prepared(self, public: PartyView | None, *, share: float) -> Statistics:
        """Set what an entry stands for, from what public windows send into the block."""
        assert public is not None  # a run with this payload always has a public party
        exponents = {}
        for name, matrix in _inputs(public).items():
            energy = public.energy(matrix)
            largest = 1.0 if energy is None else float(energy.max())
            room = self.bound / (SAFETY * share * largest) if largest > 0 else 1.0
            exponents[name] = math.floor(math.log2(room))
        return replace(self, exponents=dict(self.exponents) | exponents)

    def centred(self) -> Statistics:
        """Refuse: energies have no bound that noise could be sized for.

        Raises:
            InputError: always; clipped residuals of the unpruned model's statistics are what takes noise.
        """
        raise InputError(
            "payload=statistics takes noise with propagate=dense only: one release of clipped residuals to public text"
        )

    def sensitivity(self, view: PartyView, adjacency: Adjacency) -> Sensitivity:
        """Refuse, as :meth:`centred`."""
        self.centred()
        raise AssertionError("unreachable")

    def public(self) -> dict[str, Any]:
        """List what parties must agree on beside the method."""
        return {"bound": self.bound, "exponents": dict(self.exponents)}

    def specs(self, view: PartyView) -> tuple[VectorSpec, ...]:
        """One vector for each input that matrices share, as long as it has channels."""
        inputs = _inputs(view).items()
        return tuple(VectorSpec(name, matrix.shape[1], self.bound) for name, matrix in inputs)

    def decide(self, view: PartyView) -> Decision:
        """Let one party prune alone."""
        return Decision(self._pruned(view, self.local_group))

    def vectors(self, view: PartyView, decision: Decision | None) -> Mapping[str, Tensor]:
        """Give a client's energies as whole numbers, int64, rounded to nearest.

        Raises:
            InputError: an entry is above the bound.
        """
        return {name: self._fixed_point(name, matrix, view) for name, matrix in _inputs(view).items()}

    def _fixed_point(self, name: str, matrix: PrunableMatrix, view: PartyView) -> Tensor:
        energy = view.energy(matrix)
        if energy is None:
            return torch.zeros(matrix.shape[1], dtype=torch.int64)
        scaled = torch.ldexp(energy.double(), torch.tensor(self.exponents[name]).to(energy.device)).round()
        largest = int(scaled.argmax())
        if float(scaled[largest]) > self.bound:
            raise InputError(
                f"{name}, channel {largest}: a client's energy is more than {float(scaled[largest]) / self.bound:.1f} "
                f"times what an entry can hold, which is {SAFETY} times the largest of public text; name public text "
                "that is more like the clients' (--public-data), or a protocol with wider words (additive)"
            )
        return scaled.to(torch.int64)

    def choose(self, view: PartyView, totals: Mapping[str, NDArray[Any]], *, survivors: int) -> dict[str, Tensor]:
        """Prune by the totals as one party would by its own sums."""
        return self.prune(self.pooled(view, totals))

    def prune(self, view: PartyView) -> dict[str, Tensor]:
        """Prune as the server does, by whatever energies: bool (out, in) by matrix name."""
        return Decision(self._pruned(view, self.group)).prune_masks

    def pooled(self, view: PartyView, totals: Mapping[str, NDArray[Any]]) -> PartyView:
        """Give the view of one party that holds all survivors' text, up to the rounding of entries."""
        energies: dict[str, Tensor | None] = {}
        for name, matrix in _inputs(view).items():
            total = torch.from_numpy(totals[name]).double()
            unseen = bool(matrix.region) and not bool(total.any())
            energies[view.source(matrix)] = None if unseen else torch.ldexp(total, torch.tensor(-self.exponents[name]))
        return replace(view, energies=energies)

    def undecided(self, view: PartyView, totals: Mapping[str, NDArray[Any]], *, survivors: int) -> int:
        """Count the weights whose order at the cutoff the rounding of entries could have changed.

        Each client rounds by at most half a unit, so a total is within survivors / 2 units of the exact sum.
        """
        pooled, count = self.pooled(view, totals), 0
        for matrix in view.matrices:
            energy = pooled.energy(matrix)
            if energy is None:
                continue
            name = vector_name(view, matrix)
            slack = math.ldexp(survivors / 2, -self.exponents[name])
            weight = view.weight(matrix)
            squares = weight.double().square()
            prune_mask = self._pruned(replace(pooled, matrices=[matrix]), self.group)[matrix.name].prune_mask
            low, high = squares * (energy - slack).clamp_min(0).to(squares), squares * (energy + slack).to(squares)
            count += _straddling(low, high, prune_mask, self.sparsity, self.group)
        return count

    def _pruned(self, view: PartyView, group: Group) -> dict[str, Pruned]:
        pruned = {}
        for matrix in view.matrices:
            weight = view.weight(matrix)
            energy = view.ranking_energy(matrix, weight)
            pruned[matrix.name] = PRUNERS[self.pruner](weight, energy, sparsity=self.sparsity, group=group)
        return pruned


def vector_name(view: PartyView, matrix: PrunableMatrix) -> str:
    """Name the vector of what enters a matrix: after the first matrix that takes the same input."""
    source = view.source(matrix)
    return next(f"{m.name}.input" for m in view.matrices if view.source(m) == source)


def _inputs(view: PartyView) -> dict[str, PrunableMatrix]:
    """List the distinct inputs of a block: by vector name, the first matrix that takes it."""
    found: dict[str, PrunableMatrix] = {}
    for matrix in view.matrices:
        found.setdefault(vector_name(view, matrix), matrix)
    return found


def _straddling(low: Tensor, high: Tensor, prune_mask: Tensor, sparsity: Sparsity, group: Group) -> int:
    """Count weights whose interval [low, high] of scores reaches across the cutoff of their group."""
    rows, columns = prune_mask.shape
    if sparsity.is_pattern:
        shape = (-1, sparsity.window)
    elif group == "layer":
        shape = (1, rows * columns)
    else:
        shape = (rows, columns)
    if group == "column" and not sparsity.is_pattern:
        low, high, prune_mask = low.t(), high.t(), prune_mask.t()
        shape = (columns, rows)
    low, high, prune_mask = (each.reshape(shape) for each in (low, high, prune_mask))
    highest_removed = high.masked_fill(~prune_mask, -math.inf).amax(1, keepdim=True)
    lowest_kept = low.masked_fill(prune_mask, math.inf).amin(1, keepdim=True)
    return int(((prune_mask & (high >= lowest_kept)) | (~prune_mask & (low <= highest_removed))).sum())
