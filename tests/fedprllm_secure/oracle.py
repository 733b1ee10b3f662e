"""The paper's algorithm, written slowly and obviously: the whole model in memory, a window at a time, full sorts.

Shares nothing with the code under test but the random order of ties, which no second author could guess.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from fedprllm_secure.selection import tie_order
from tests.fedprllm_secure.tiny_models import reference_model

Masks = dict[str, Tensor]


@dataclass
class LocalRound:
    """What the clients decided: by client, then by matrix name.

    Attributes:
        masks: each client's prune masks.
        saliencies: each client's |W| x ||X||.
    """

    masks: list[Masks]
    saliencies: list[Masks] = field(default_factory=list)


class Oracle:
    """Federated pruning of one checkpoint, in float64."""

    def __init__(self, folder: Path) -> None:
        """Load the whole model."""
        self.model = reference_model(folder, torch.float64)
        self.blocks = block_linears(self.model)
        self.weights = {name: module.weight.detach().clone() for block in self.blocks for name, module in block.items()}

    def local_rounds(self, ids: list[Tensor], sparsity: str, local_group: str, *, prune: bool) -> LocalRound:
        """Let every client go through the model alone: with its own pruned blocks (``prune``) or the dense ones."""
        round_ = LocalRound([], [])
        for windows in ids:
            model = copy.deepcopy(self.model)
            masks: Masks = {}
            saliencies: Masks = {}
            for block in block_linears(model):
                decided, scores = decide(model, block, windows, sparsity, local_group)
                masks |= decided
                saliencies |= scores
                if prune:
                    remove(block, decided)
            round_.masks.append(masks)
            round_.saliencies.append(saliencies)
        return round_

    def global_rounds(
        self, ids: list[Tensor], sparsity: str, local_group: str, group: str, ties: str, seed: int
    ) -> tuple[Masks, Masks]:
        """Run block by block, every client going on from the server's pruned block; return totals and masks."""
        model = copy.deepcopy(self.model)
        totals: Masks = {}
        masks: Masks = {}
        for block in block_linears(model):
            decided = [decide(model, block, windows, sparsity, local_group)[0] for windows in ids]
            counted = count_votes(decided)
            selected = self.server(counted, sparsity, group, ties, seed)
            remove(block, selected)
            totals |= counted
            masks |= selected
        return totals, masks

    def server(self, totals: Masks, sparsity: str, group: str, ties: str, seed: int) -> Masks:
        """Remove the most-voted weights of every group; among equals by the tie order, then by position."""
        selected = {}
        for name, total in totals.items():
            tie_keys = [key.flatten().tolist() for key in tie_keys_of(ties, self.weights[name], seed, name)]
            keys = list(zip((-total).flatten().tolist(), *tie_keys, strict=True))
            selected[name] = remove_lowest(keys, total.shape, sparsity, group)
        return selected


def tie_keys_of(ties: str, weight: Tensor, seed: int, name: str) -> list[Tensor]:
    """Order equal totals by |W| in full precision, by position alone, or at random."""
    if ties == "magnitude":
        return [weight.abs()]
    return [] if ties == "position" else tie_order("random", weight, seed=seed, name=name)


def block_linears(model: PreTrainedModel) -> list[dict[str, nn.Linear]]:
    """List the Linear modules of every decoder block by their full names, which are their checkpoint names."""
    blocks: list[dict[str, nn.Linear]] = [{} for _ in range(model.config.num_hidden_layers)]
    for name, module in model.named_modules():
        number = next((part for part in name.split(".") if part.isdigit()), None)
        if isinstance(module, nn.Linear) and number is not None:
            blocks[int(number)][name] = module
    return blocks


def decide(
    model: PreTrainedModel, block: dict[str, nn.Linear], windows: Tensor, sparsity: str, group: str
) -> tuple[Masks, Masks]:
    """Let one client prune a block: sum squared inputs over its windows, then sort |W| x ||X||."""
    energies = {name: torch.zeros(module.in_features, dtype=torch.float64) for name, module in block.items()}
    with hooked(block, energies), torch.no_grad():
        for window in windows:
            model(input_ids=window[None], use_cache=False)
    masks: Masks = {}
    saliencies: Masks = {}
    for name, module in block.items():
        saliencies[name] = module.weight.detach().abs() * energies[name].sqrt()
        keys = [(score,) for score in saliencies[name].flatten().tolist()]
        masks[name] = remove_lowest(keys, module.weight.shape, sparsity, group)
    return masks, saliencies


@contextmanager
def hooked(block: dict[str, nn.Linear], energies: dict[str, Tensor]) -> Iterator[None]:
    """Add the squares of everything that enters a Linear to its energy."""
    with ExitStack() as stack:
        for name, module in block.items():

            def add(_: nn.Module, args: tuple[Tensor, ...], energy: Tensor = energies[name]) -> None:
                energy += args[0].to(energy.dtype).reshape(-1, args[0].shape[-1]).square().sum(0)

            stack.callback(module.register_forward_pre_hook(add).remove)
        yield


def group_members(shape: tuple[int, ...], group: str) -> list[list[int]]:
    """List the flat positions of every comparison group."""
    rows, columns = shape
    if group == "row":
        return [[row * columns + column for column in range(columns)] for row in range(rows)]
    if group == "column":
        return [[row * columns + column for row in range(rows)] for column in range(columns)]
    return [list(range(rows * columns))]


def pattern_members(shape: tuple[int, ...], window: int) -> list[list[int]]:
    """List the flat positions of every run of ``window`` consecutive inputs of a row."""
    return [list(range(start, start + window)) for start in range(0, shape[0] * shape[1], window)]


def remove_lowest(keys: list[tuple[float, ...]], shape: tuple[int, ...], sparsity: str, group: str) -> Tensor:
    """Sort every group by (keys, position) and remove the first floor(sparsity x size), or M - N of every M."""
    if ":" in sparsity:
        kept, window = map(int, sparsity.split(":"))
        groups, count = pattern_members(shape, window), window - kept
    else:
        groups = group_members(shape, group)
        count = math.floor(Fraction(sparsity) * len(groups[0]))
    prune_mask = torch.zeros(shape[0] * shape[1], dtype=torch.bool)
    for members in groups:
        prune_mask[sorted(members, key=lambda position: (*keys[position], position))[:count]] = True
    return prune_mask.view(*shape)


def count_votes(masks: list[Masks]) -> Masks:
    """Sum the clients' prune masks."""
    return {name: sum(mask[name].to(torch.int64) for mask in masks) for name in masks[0]}


def remove(block: dict[str, nn.Linear], masks: Masks) -> None:
    """Set removed weights to zero."""
    with torch.no_grad():
        for name, module in block.items():
            module.weight[masks[name]] = 0.0


def distance_to_cutoff(saliency: Tensor, prune_mask: Tensor, group: str) -> Tensor:
    """Give each entry's distance from the highest saliency removed in its group, relative to that."""
    distance = torch.empty(saliency.numel(), dtype=torch.float64)
    for members in group_members(saliency.shape, group):
        values = saliency.flatten()[members]
        cutoff = values[prune_mask.flatten()[members]].max()
        distance[members] = (values - cutoff).abs() / cutoff
    return distance.view(saliency.shape)
