"""Pruners that make new weights: what a client goes on with, and what it shares."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fedprllm_secure.editing import EditableBlock, pruned_edit
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.pruners import PRUNERS, Pruned, wanda
from tests.fedprllm_secure.conftest import Checkpoints
from tests.fedprllm_secure.oracle import Masks, Oracle, block_linears, count_votes, decide, remove
from tests.fedprllm_secure.tiny_models import (
    CPU,
    assert_same,
    make_method,
    matrices_of,
    random_windows,
    run_federation,
    totals,
)

WINDOWS = random_windows(3, 2, 12, seed=3)


def tripling(weight: Tensor, energy: Tensor, **settings: object) -> Pruned:
    """Remove what Wanda would, and triple the rest."""
    return Pruned(wanda(weight, energy, **settings).prune_mask, 3 * weight)


@pytest.fixture
def model(checkpoint: Checkpoints) -> StreamedModel:
    """A LLaMA of three blocks, in float64."""
    return StreamedModel(checkpoint("llama", torch.float64), device=CPU, dtype=torch.float64)


def test_a_clients_new_weights_flow_on(model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each client's later blocks see the activations of its own new weights, removed ones at zero."""
    monkeypatch.setitem(PRUNERS, "tripling", tripling)
    work = run_federation(model, WINDOWS, make_method("0.45", pruner="tripling"), tmp_path)
    oracle = Oracle(model.checkpoint.folder)
    clients = []
    for client in range(3):
        pruned, masks = copy.deepcopy(oracle.model), {}
        for block in block_linears(pruned):
            decided, _ = decide(pruned, block, WINDOWS.of(client), "0.45", "row")
            remove(block, decided)
            triple(block)
            masks |= decided
        clients.append(masks)
    without: list[Masks] = oracle.local_rounds([WINDOWS.of(c) for c in range(3)], "0.45", "row", prune=True).masks

    assert_same(totals(model, work), count_votes(clients))
    assert any((clients[0][name] != without[0][name]).any() for name in without[0])


def triple(block: dict[str, nn.Linear]) -> None:
    """Multiply a block's weights by 3."""
    with torch.no_grad():
        for module in block.values():
            module.weight *= 3


def test_new_weights_stand_only_within_the_with(model: StreamedModel) -> None:
    """Where a pruner made weights they stand in the block, zeros where removed; the rest keeps its own."""
    matrices = [matrix for index, matrix in matrices_of(model) if index == 0]
    with model.block(0) as block:
        before = {m.name: m.view(block.get_parameter(m.parameter)).clone() for m in matrices}
        removed = {m.name: torch.arange(m.numel).view(m.shape) % 3 == 0 for m in matrices}
        changed = {m.name for m in matrices[::2]}
        decisions = {n: Pruned(removed[n], (before[n] + 5).float() if n in changed else None) for n in before}
        editable = EditableBlock(block, matrices)
        with editable.edited(pruned_edit(decisions)):
            for m in matrices:
                expected = (before[m.name] + 5).float().double() if m.name in changed else before[m.name]
                found = m.view(block.get_parameter(m.parameter))
                assert torch.equal(found, expected.masked_fill(removed[m.name], 0))
        for m in matrices:
            assert torch.equal(m.view(block.get_parameter(m.parameter)), before[m.name])
