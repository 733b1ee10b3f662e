"""The federation against a slow, obvious oracle: identical votes and prune masks in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Baselines, local_variant
from fedprllm_secure.variants import scaled
from tests.fedprllm_secure.conftest import Checkpoints
from tests.fedprllm_secure.oracle import LocalRound, Oracle, count_votes, distance_to_cutoff
from tests.fedprllm_secure.tiny_models import (
    CPU,
    assert_same,
    make_method,
    matrices_of,
    prune_masks,
    random_windows,
    reference_model,
    run_federation,
    totals,
)

# Batches of 4 over 3 clients x 3 windows: 4, 4 and a ragged 1, two of them across clients.
BATCH = 4
WINDOWS = random_windows(3, 3, 12, seed=3)
SPARSITY = "0.45"  # of no group size a whole number of weights
SEED = 11


class Case:
    """A float64 checkpoint, open for streaming and in the hands of the oracle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = StreamedModel(folder, device=CPU, dtype=torch.float64)
        self.oracle = Oracle(folder)
        self.ids = [WINDOWS.of(client) for client in range(WINDOWS.num_clients)]
        self.local_round: Callable[[str, bool], LocalRound] = cache(
            lambda local_group, prune: self.oracle.local_rounds(self.ids, SPARSITY, local_group, prune=prune)
        )

    def expected(self, propagate: str, local_group: str, group: str, ties: str) -> tuple[dict, dict]:
        """Give the oracle's totals and prune masks."""
        if propagate == "global":
            return self.oracle.global_rounds(self.ids, SPARSITY, local_group, group, ties, SEED)
        votes = count_votes(self.local_round(local_group, propagate == "local").masks)
        return votes, self.oracle.server(votes, SPARSITY, group, ties, SEED)


@pytest.fixture(scope="module", params=["llama", "opt"])
def case(request: pytest.FixtureRequest, checkpoint: Checkpoints) -> Case:
    """A LLaMA and an OPT (with biases), in float64."""
    return Case(checkpoint(request.param, torch.float64))


LOCAL_GROUPS = [("row", "layer"), ("row", "row"), ("row", "column"), ("layer", "layer"), ("layer", "row")]


@pytest.mark.parametrize("ties", ["magnitude", "position", "random"])
@pytest.mark.parametrize("propagate", ["local", "global", "dense"])
@pytest.mark.parametrize(
    ("local_group", "group"),
    [*LOCAL_GROUPS, ("layer", "column"), ("column", "layer")],
    ids=lambda value: value,
)
def test_votes_and_masks_are_the_oracles(
    case: Case, tmp_path: Path, local_group: str, group: str, propagate: str, ties: str
) -> None:
    """Totals and prune masks are identical entry for entry, ragged batches across clients included."""
    method = make_method(SPARSITY, propagate, group=group, local_group=local_group, ties=ties, seed=SEED)
    work = run_federation(case.model, WINDOWS, method, tmp_path, batch_windows=BATCH)
    votes, masks = case.expected(propagate, local_group, group, ties)
    assert_same(totals(case.model, work), votes)
    assert_same(prune_masks(case.model, work), masks)


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 9])
def test_batch_size_changes_nothing(case: Case, tmp_path: Path, batch: int) -> None:
    """However windows are batched, every client's votes stay its own."""
    work = run_federation(case.model, WINDOWS, make_method(SPARSITY), tmp_path, batch_windows=batch)
    votes, masks = case.expected("local", "row", "layer", "magnitude")
    assert_same(totals(case.model, work), votes)
    assert_same(prune_masks(case.model, work), masks)


def test_hidden_states_on_disk_change_nothing(case: Case, tmp_path: Path) -> None:
    """A run whose hidden states lie partly on disk gives the same votes."""
    row_bytes = WINDOWS.length * 32 * 8
    work = run_federation(
        case.model, WINDOWS, make_method(SPARSITY), tmp_path, batch_windows=BATCH, hidden_memory_bytes=2 * row_bytes
    )
    assert_same(totals(case.model, work), case.expected("local", "row", "layer", "magnitude")[0])


@pytest.mark.parametrize("propagate", ["local", "global", "dense"])
def test_a_client_alone_prunes_as_the_oracle(case: Case, tmp_path: Path, propagate: str) -> None:
    """The local-only baseline of a client is what it gets without any federation."""
    baselines = Baselines(local_only=(0, 2))
    method = make_method(SPARSITY, propagate)
    work = run_federation(case.model, WINDOWS, method, tmp_path, batch_windows=BATCH, baselines=baselines)
    alone = case.local_round("row", propagate != "dense").masks
    for client in baselines.local_only:
        assert_same(prune_masks(case.model, work, local_variant(client)), alone[client])


@pytest.mark.parametrize("pruned", [True, False], ids=["local", "dense"])
def test_central_and_public_are_one_client_with_those_windows(case: Case, tmp_path: Path, pruned: bool) -> None:
    """A pseudo-client prunes alone, with the run's own propagation."""
    public = random_windows(1, 5, WINDOWS.length, seed=9).ids
    method = make_method(SPARSITY, "local" if pruned else "dense")
    baselines = Baselines(central=True, public=public, magnitude=True)
    work = run_federation(case.model, WINDOWS, method, tmp_path, batch_windows=BATCH, baselines=baselines)
    alone = case.oracle.local_rounds([WINDOWS.ids, public], SPARSITY, "row", prune=pruned).masks
    assert_same(prune_masks(case.model, work, "central"), alone[0])
    assert_same(prune_masks(case.model, work, "public"), alone[1])
    assert_same(totals(case.model, work), case.expected("local" if pruned else "dense", "row", "layer", "position")[0])


@pytest.mark.parametrize("propagate", ["local", "dense"])
@pytest.mark.parametrize("ties", ["magnitude", "random"])
def test_one_client_is_local_pruning(case: Case, tmp_path: Path, propagate: str, ties: str) -> None:
    """With one client and the same comparison group, the server removes what the client would."""
    windows = random_windows(1, 3, 12, seed=4)
    method = make_method(SPARSITY, propagate, group="row", local_group="row", ties=ties)
    work = run_federation(case.model, windows, method, tmp_path, batch_windows=2)
    alone = case.oracle.local_rounds([windows.ids], SPARSITY, "row", prune=propagate == "local").masks[0]
    assert_same(prune_masks(case.model, work), alone)
    assert_same(totals(case.model, work), alone)


@pytest.mark.parametrize("pattern", ["2:4", "1:2", "4:8"])
def test_patterns_keep_n_of_m(case: Case, tmp_path: Path, pattern: str) -> None:
    """Under N:M the clients' and the server's groups are M consecutive inputs of a row."""
    work = run_federation(case.model, WINDOWS, make_method(pattern), tmp_path, batch_windows=BATCH)
    votes = count_votes(case.oracle.local_rounds(case.ids, pattern, "row", prune=True).masks)
    assert_same(totals(case.model, work), votes)
    assert_same(prune_masks(case.model, work), case.oracle.server(votes, pattern, "row", "magnitude", 0))


@pytest.mark.parametrize("propagate", ["local", "global", "dense"])
def test_scaled_weights_are_the_mean_of_the_clients_models(case: Case, tmp_path: Path, propagate: str) -> None:
    """Scaling by (m - votes)/m is averaging the clients' pruned weights, under the global mask."""
    work = run_federation(case.model, WINDOWS, make_method(SPARSITY, propagate), tmp_path, batch_windows=BATCH)
    edit = scaled(case.model, work)
    votes, masks = case.expected(propagate, "row", "layer", "magnitude")
    for index, matrix in matrices_of(case.model):
        weight = case.oracle.weights[matrix.name]
        # A client that voted holds a zero there, every other one the weight.
        mean = torch.stack([weight * (votes[matrix.name] <= client) for client in range(3)]).mean(0)
        torch.testing.assert_close(
            edit(index, matrix, weight), mean.masked_fill(masks[matrix.name], 0), rtol=1e-14, atol=0
        )


@pytest.mark.parametrize("local_group", ["row", "layer"])
@pytest.mark.parametrize("propagate", ["local", "dense"])
def test_float32_differs_only_at_the_cutoff(case: Case, tmp_path: Path, propagate: str, local_group: str) -> None:
    """In float32, weights decided otherwise than in float64 lie within 1e-5 of their group's cutoff."""
    model = StreamedModel(case.folder, device=CPU, dtype=torch.float32)
    baselines = Baselines(local_only=(0, 1, 2))
    method = make_method(SPARSITY, propagate, local_group=local_group)
    work = run_federation(model, WINDOWS, method, tmp_path, batch_windows=BATCH, baselines=baselines)
    exact = case.local_round(local_group, propagate == "local")
    differing = entries = 0
    for client in baselines.local_only:
        for name, found in prune_masks(model, work, local_variant(client)).items():
            mask = exact.masks[client][name]
            distance = distance_to_cutoff(exact.saliencies[client][name], mask, local_group)
            assert distance[found != mask].le(1e-5).all(), name
            differing += int((found != mask).sum())
            entries += mask.numel()
    print(f"{case.folder.name}, {propagate}, {local_group}: {differing} of {entries} entries differ in float32")


def test_mixtral_experts_are_pruned_by_their_own_tokens(checkpoint: Checkpoints, tmp_path: Path) -> None:
    """Votes on experts equal those from the tokens the router sent there, computed a window at a time."""
    folder = checkpoint("mixtral", torch.float64)
    model = StreamedModel(folder, device=CPU, dtype=torch.float64)
    work = run_federation(model, WINDOWS, make_method(SPARSITY, "dense"), tmp_path, batch_windows=2)
    expected, unseen = mixtral_votes(folder)
    found = {name: total for name, total in totals(model, work).items() if "experts" in name}
    assert_same(found, expected)
    assert sum(work.record(index).unseen_experts for index in range(3)) == unseen


def test_experts_without_tokens_get_the_magnitude_vote(checkpoint: Checkpoints, tmp_path: Path) -> None:
    """An expert that no token of a client reached gets that client's magnitude vote, and is counted."""
    folder = checkpoint("mixtral", torch.float64)
    windows = random_windows(2, 1, 1, seed=2)  # a single token, two of four experts
    model = StreamedModel(folder, device=CPU, dtype=torch.float64)
    work = run_federation(model, windows, make_method(SPARSITY, "dense"), tmp_path)
    expected, unseen = mixtral_votes(folder, windows)
    assert unseen == 3 * 2 * 2 * 3  # blocks x clients x unseen experts x matrices
    assert [work.record(index).unseen_experts for index in range(3)] == [12, 12, 12]
    assert_same({name: total for name, total in totals(model, work).items() if "experts" in name}, expected)


def mixtral_votes(folder: Path, windows: object = WINDOWS) -> tuple[dict[str, Tensor], int]:
    """Compute the clients' votes on Mixtral's experts from hooks on the whole dense model, with full sorts."""
    model = reference_model(folder, torch.float64)
    clients, unseen = [], 0
    for client in range(windows.num_clients):
        masks = {}
        for number, entering in enumerate(moe_inputs(model, windows.of(client))):
            moe = model.model.layers[number].mlp
            chosen = nn.functional.linear(entering, moe.gate.weight).topk(2).indices
            for expert in range(4):
                tokens = entering[(chosen == expert).any(1)]
                w1, w3 = moe.experts.gate_up_proj[expert].detach().chunk(2)
                w2 = moe.experts.down_proj[expert].detach()
                middle = nn.functional.silu(tokens @ w1.t()) * (tokens @ w3.t())
                unseen += 3 * (len(tokens) == 0)
                for name, weight, inputs in (("w1", w1, tokens), ("w3", w3, tokens), ("w2", w2, middle)):
                    norm = inputs.square().sum(0).sqrt() if len(tokens) else torch.ones(weight.shape[1])
                    full = f"model.layers.{number}.block_sparse_moe.experts.{expert}.{name}"
                    masks[full] = rows_lowest(weight.abs() * norm)
        clients.append(masks)
    return count_votes(clients), unseen


def moe_inputs(model: nn.Module, windows: Tensor) -> list[Tensor]:
    """Collect what enters each mixture of experts, (tokens, hidden), a window at a time."""
    seen: list[list[Tensor]] = [[] for _ in model.model.layers]
    handles = [
        layer.mlp.register_forward_pre_hook(lambda _, args, kept=kept: kept.append(args[0].flatten(0, 1)))
        for layer, kept in zip(model.model.layers, seen, strict=True)
    ]
    with torch.no_grad():
        for window in windows:
            model(input_ids=window[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return [torch.cat(kept) for kept in seen]


def rows_lowest(saliency: Tensor) -> Tensor:
    """Remove the lowest of every row by a full stable sort."""
    count = saliency.shape[1] * 45 // 100
    order = saliency.sort(dim=1, stable=True).indices[:, :count]
    return torch.zeros_like(saliency, dtype=torch.bool).scatter(1, order, True)
