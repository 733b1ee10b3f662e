"""Mixtures of experts against a slow oracle: every expert is pruned by the tokens that its router sent there."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fedprllm_secure.data.windows import Windows
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Baselines
from tests.fedprllm_secure.conftest import Checkpoints
from tests.fedprllm_secure.oracle import Masks, block_linears, count_votes, decide, remove, remove_lowest
from tests.fedprllm_secure.tiny_models import (
    CPU,
    assert_same,
    make_method,
    prune_masks,
    random_windows,
    reference_model,
    run_federation,
    totals,
)

SPARSITY = "0.45"
EXPERTS, WIDTH = 4, 48
# Few tokens, so that some parties never reach some experts.
WINDOWS = random_windows(3, 2, 2, seed=5)
PUBLIC = random_windows(1, 4, 2, seed=6).ids


@dataclass
class Party:
    """One party's way through the model.

    Attributes:
        model: its own copy, pruned as far as it has come.
        windows: what it calibrates on.
        masks: its prune masks by name.
        unseen: (block, expert) pairs that none of its tokens reached.
    """

    model: nn.Module
    windows: Tensor
    masks: Masks = field(default_factory=dict)
    unseen: set[tuple[int, int]] = field(default_factory=set)

    def decide(self, number: int) -> Masks:
        """Decide on one block: attention by hooks, experts by the tokens that the router chose them for."""
        found, _ = decide(self.model, block_linears(self.model)[number], self.windows, SPARSITY, "row")
        entering = self.entering(number)
        moe = self.model.model.layers[number].mlp
        chosen = nn.functional.linear(entering, moe.gate.weight).topk(2).indices
        for expert in range(EXPERTS):
            tokens = entering[(chosen == expert).any(1)]
            w1, w3, w2 = matrices(moe, expert)
            middle = nn.functional.silu(tokens @ w1.t()) * (tokens @ w3.t())
            if len(tokens) == 0:
                self.unseen.add((number, expert))
            for kind, weight, inputs in (("w1", w1, tokens), ("w3", w3, tokens), ("w2", w2, middle)):
                norm = inputs.square().sum(0).sqrt() if len(tokens) else torch.ones(weight.shape[1])
                keys = [(score,) for score in (weight.abs() * norm).flatten().tolist()]
                found[expert_name(number, expert, kind)] = remove_lowest(keys, weight.shape, SPARSITY, "row")
        self.masks |= found
        return found

    def entering(self, number: int) -> Tensor:
        """Collect what enters a block's mixture of experts, (tokens, hidden), a window at a time."""
        seen: list[Tensor] = []
        hook = self.model.model.layers[number].mlp.register_forward_pre_hook(
            lambda _, args: seen.append(args[0].flatten(0, 1))
        )
        with torch.no_grad():
            for window in self.windows:
                self.model(input_ids=window[None], use_cache=False)
        hook.remove()
        return torch.cat(seen)

    def remove(self, number: int, masks: Masks) -> None:
        """Go on with a pruned block."""
        linears = block_linears(self.model)[number]
        remove(linears, {name: masks[name] for name in linears})
        for expert in range(EXPERTS):
            for kind, weight in zip(
                ("w1", "w3", "w2"), matrices(self.model.model.layers[number].mlp, expert), strict=True
            ):
                weight[masks[expert_name(number, expert, kind)]] = 0.0


def expert_name(number: int, expert: int, kind: str) -> str:
    """Name an expert's matrix as the checkpoint does."""
    return f"model.layers.{number}.block_sparse_moe.experts.{expert}.{kind}"


def matrices(moe: nn.Module, expert: int) -> tuple[Tensor, Tensor, Tensor]:
    """View an expert's w1, w3 and w2 within the fused parameters."""
    fused = moe.experts.gate_up_proj.data[expert]
    return fused[:WIDTH], fused[WIDTH:], moe.experts.down_proj.data[expert]


class ExpertOracle:
    """Federated pruning of a Mixtral, in float64."""

    def __init__(self, folder: Path) -> None:
        """Load the whole model."""
        self.model = reference_model(folder, torch.float64)
        self.blocks = range(self.model.config.num_hidden_layers)

    def alone(self, windows: Tensor, propagate: str) -> Party:
        """Let one party prune alone."""
        party = Party(copy.deepcopy(self.model), windows)
        for number in self.blocks:
            decided = party.decide(number)
            if propagate != "dense":
                party.remove(number, decided)
        return party

    def clients(self, windows: Windows, propagate: str) -> tuple[Masks, int]:
        """Give the clients' votes, and how many (client, expert matrix) pairs saw no token."""
        if propagate != "global":
            alone = [self.alone(windows.of(client), propagate) for client in range(windows.num_clients)]
            return count_votes([party.masks for party in alone]), 3 * sum(len(party.unseen) for party in alone)
        parties = [Party(copy.deepcopy(self.model), windows.of(client)) for client in range(windows.num_clients)]
        votes: Masks = {}
        for number in self.blocks:
            counted = count_votes([party.decide(number) for party in parties])
            selected = self.server(number, counted)
            for party in parties:
                party.remove(number, selected)
            votes |= counted
        return votes, 3 * sum(len(party.unseen) for party in parties)

    def server(self, number: int, votes: Masks) -> Masks:
        """Remove the most-voted weights of every matrix, the smallest first among equals."""
        weights = {name: module.weight.data for name, module in block_linears(self.model)[number].items()}
        for expert in range(EXPERTS):
            for kind, weight in zip(
                ("w1", "w3", "w2"), matrices(self.model.model.layers[number].mlp, expert), strict=True
            ):
                weights[expert_name(number, expert, kind)] = weight
        keys = {
            name: list(zip((-total).flatten().tolist(), weights[name].abs().flatten().tolist(), strict=True))
            for name, total in votes.items()
        }
        return {name: remove_lowest(keys[name], total.shape, SPARSITY, "layer") for name, total in votes.items()}


@pytest.fixture(scope="module")
def oracle(checkpoint: Checkpoints) -> ExpertOracle:
    """A Mixtral in the oracle's hands."""
    return ExpertOracle(checkpoint("mixtral", torch.float64))


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoints) -> StreamedModel:
    """The same Mixtral, streamed."""
    return StreamedModel(checkpoint("mixtral", torch.float64), device=CPU, dtype=torch.float64)


@pytest.mark.parametrize("propagate", ["local", "global", "dense"])
def test_votes_of_clients_are_the_oracles(model, oracle, tmp_path: Path, propagate: str) -> None:
    """Whatever flows on, experts see the tokens of every batch, and only clients' unseen experts are counted."""
    baselines = Baselines(central=True, public=PUBLIC, local_only=(1,))
    work = run_federation(
        model, WINDOWS, make_method(SPARSITY, propagate), tmp_path, batch_windows=1, baselines=baselines
    )
    votes, unseen = oracle.clients(WINDOWS, propagate)

    assert unseen > 0
    assert_same(totals(model, work), votes)
    assert sum(work.record(index).unseen_experts for index in range(model.num_blocks)) == unseen


@pytest.mark.parametrize("propagate", ["local", "global", "dense"])
def test_baselines_prune_experts_by_their_own_tokens(model, oracle, tmp_path: Path, propagate: str) -> None:
    """An expert that only the public text reaches is pruned by magnitude in every other party."""
    windows = random_windows(2, 1, 1, seed=2)
    public = random_windows(1, 12, 1, seed=7).ids
    baselines = Baselines(central=True, public=public)
    work = run_federation(model, windows, make_method(SPARSITY, propagate), tmp_path, baselines=baselines)
    central, alone = oracle.alone(windows.ids, propagate), oracle.alone(public, propagate)

    assert central.unseen - alone.unseen
    assert_same(prune_masks(model, work, "central"), central.masks)
    assert_same(prune_masks(model, work, "public"), alone.masks)
