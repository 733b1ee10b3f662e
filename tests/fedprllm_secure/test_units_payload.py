"""Votes on heads and neurons: what clients send, and what their totals remove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedprllm_secure.errors import InputError
from fedprllm_secure.models.matrices import PrunableMatrix, prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.models.units import UnitKind, unit_kinds
from fedprllm_secure.payloads.party_view import PartyView
from fedprllm_secure.payloads.units import Units, contribution, refuse_groups, squared_weights
from fedprllm_secure.sparsity import Sparsity
from tests.fedprllm_secure.tiny_models import make_method
from tests.fedprllm_secure.unit_models import GROUPS, NEURONS, UNIT_FAMILIES, open_random

TOKENS = 30


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StreamedModel:
    """A LLaMA of two blocks, eight heads that share four key-value heads, 40 neurons."""
    return open_random(UNIT_FAMILIES["llama"](), tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def kinds(model: StreamedModel) -> tuple[UnitKind, UnitKind]:
    """The units of block 1."""
    return unit_kinds(model, 1)


def activations(matrix: PrunableMatrix, seed: int) -> Tensor:
    """What one client's tokens send into a matrix, (tokens, in), some channels far larger than others."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.randn(matrix.shape[1], generator=generator).exp()
    return torch.randn(TOKENS, matrix.shape[1], generator=generator) * scales


def client_view(model: StreamedModel, seed: int, dtype: torch.dtype = torch.float32) -> PartyView:
    """Block 1 as one client sees it."""
    matrices = prunable_matrices(model, 1)
    weights = {m.name: model.checkpoint.read([m.tensor_name])[m.tensor_name].to(dtype) for m in matrices}
    energies: Mapping[str, Tensor | None] = {m.stream: activations(m, seed).square().sum(0) for m in matrices}
    return PartyView(matrices, lambda matrix: weights[matrix.name], energies=energies)


def payload(model: StreamedModel, sparsity: str = "0.3", **changes: object) -> Units:
    """The payload for the whole model."""
    return replace(Units(sparsity=Sparsity.parse(sparsity)).in_model(model), **changes)


def slow_contribution(kind: UnitKind, weight: Tensor, energy: list[float]) -> list[float]:
    """Add up squared Wanda scores entry by entry."""
    rows, columns = weight.shape
    scores = [0.0] * kind.count
    for row in range(rows):
        for column in range(columns):
            score = abs(float(weight[row, column])) * energy[column] ** 0.5
            scores[column * kind.count // columns] += score**2
    return scores


def slow_sizes(kind: UnitKind, view: PartyView) -> list[float]:
    """Add up squared weights entry by entry."""
    sizes = [0.0] * kind.count
    for member in kind.members:
        weight = view.stored(member.matrix).double()
        for row in range(weight.shape[0]):
            for column in range(weight.shape[1]):
                line, lines = (row, weight.shape[0]) if member.axis == 0 else (column, weight.shape[1])
                sizes[line * kind.count // lines] += float(weight[row, column]) ** 2
    return sizes


def lowest(keys: list[tuple[float, ...]], count: int) -> Tensor:
    """Mark the lowest by a full sort; equal ones by position."""
    order = sorted(range(len(keys)), key=lambda unit: (*keys[unit], unit))
    return torch.tensor([unit in order[:count] for unit in range(len(keys))])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saliency_is_the_sum_of_squared_wanda_scores(model: StreamedModel, kinds, dtype: torch.dtype) -> None:
    """Over the columns of the output matrix that a unit owns, in float64 whatever the weights are in."""
    view = client_view(model, seed=1, dtype=dtype)
    for kind in kinds:
        weight, energy = view.stored(kind.output.matrix), view.energy(kind.output.matrix)
        found = contribution(kind, weight, energy)
        assert found.dtype == torch.float64
        assert found.tolist() == pytest.approx(slow_contribution(kind, weight, energy.tolist()), rel=1e-5)
        uniform = contribution(kind, weight, None)
        assert uniform.tolist() == pytest.approx(slow_contribution(kind, weight, [1.0] * weight.shape[1]), rel=1e-5)


def test_saliency_of_a_neuron_is_what_it_adds_to_the_residual_stream(model: StreamedModel, kinds) -> None:
    """Squared, summed over tokens: the change of the block's output if the neuron alone goes."""
    _, neurons = kinds
    view = client_view(model, seed=2)
    matrix = neurons.output.matrix
    weight, inputs = view.stored(matrix).double(), activations(matrix, 2).double()
    found = contribution(neurons, view.stored(matrix), view.energy(matrix))
    for unit in range(neurons.count):
        without = inputs.clone()
        without[:, unit] = 0
        change = (inputs @ weight.t() - without @ weight.t()).square().sum()
        assert float(found[unit]) == pytest.approx(float(change), rel=1e-5)


def test_the_size_of_a_unit_is_that_of_all_its_weights(model: StreamedModel, kinds) -> None:
    """Squared weights of every matrix it has a part in."""
    view = client_view(model, seed=1)
    for kind in kinds:
        assert squared_weights(kind, view).tolist() == pytest.approx(slow_sizes(kind, view), rel=1e-5)


@pytest.mark.parametrize("pruner", ["wanda", "magnitude"])
@pytest.mark.parametrize("sparsity", ["0.01", "0.29", "0.5", "0.99"])
def test_a_client_votes_for_exactly_k_units_of_each_kind(
    model: StreamedModel, kinds, sparsity: str, pruner: str
) -> None:
    """Those that add least; its prune masks remove these units and no others."""
    view = client_view(model, seed=3)
    decision = payload(model, sparsity, pruner=pruner).decide(view)
    assert list(decision.votes) == [kind.name for kind in kinds]
    assert decision.pruned.keys() == {matrix.name for matrix in view.matrices}
    for kind in kinds:
        matrix = kind.output.matrix
        energy = view.energy(matrix).tolist() if pruner == "wanda" else [1.0] * matrix.shape[1]
        scores = slow_contribution(kind, view.stored(matrix), energy)
        count = int(float(sparsity) * 100 + 0.5) * kind.count // 100
        expected = lowest([(score,) for score in scores], count)
        votes = decision.votes[kind.name]
        assert votes.dtype == torch.uint8
        assert torch.equal(votes.bool(), expected)
        for name, prune_mask in kind.prune_masks(expected).items():
            assert torch.equal(decision.prune_masks[name], prune_mask)
            assert decision.pruned[name].weight is None


def test_equal_saliencies_go_by_position(model: StreamedModel, kinds) -> None:
    """Of units that all add nothing, the first go."""
    view = client_view(model, seed=3)
    silent = replace(view, energies={stream: torch.zeros_like(energy) for stream, energy in view.energies.items()})
    for kind, votes in zip(kinds, payload(model, "0.5").decide(silent).votes.values(), strict=True):
        assert torch.equal(votes.bool(), torch.arange(kind.count) < kind.count // 2)


def test_text_changes_votes_but_not_under_magnitude(model: StreamedModel) -> None:
    """Two clients differ by what enters their matrices only."""
    one, other = client_view(model, seed=3), client_view(model, seed=4)
    for pruner, is_equal in (("wanda", False), ("magnitude", True)):
        rated = payload(model, "0.5", pruner=pruner)
        pairs = zip(rated.decide(one).votes.values(), rated.decide(other).votes.values(), strict=True)
        assert all(torch.equal(left, right) for left, right in pairs) == is_equal


def test_vectors_are_named_and_as_long_as_there_are_units(model: StreamedModel) -> None:
    """One of each kind a block, bound 1, in the order in which they are submitted."""
    view = client_view(model, seed=3)
    votes = payload(model)
    specs = votes.specs(view)
    assert [(spec.name, spec.length, spec.bound, spec.signed) for spec in specs] == [
        ("model.layers.1.heads", GROUPS, 1, False),
        ("model.layers.1.neurons", NEURONS, 1, False),
    ]
    decision = votes.decide(view)
    assert votes.vectors(view, decision) is decision.votes
    assert votes.submits_decision
    assert votes.public()["centre"] == [0, 1]
    assert votes.prepared(None, share=1.0) is votes


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=GROUPS, max_size=GROUPS),
    st.lists(st.integers(0, 3), min_size=NEURONS, max_size=NEURONS),
    st.sampled_from(["0.01", "0.25", "0.5", "0.77"]),
    st.sampled_from(["magnitude", "position"]),
)
def test_most_votes_go_first(
    model: StreamedModel, head_votes: list[int], neuron_votes: list[int], sparsity: str, ties: str
) -> None:
    """Then the smallest unit or none of that, then the first; exactly as many as the sparsity says."""
    view = client_view(model, seed=1)
    chosen = payload(model, sparsity, ties=ties)
    totals = {
        kind.name: np.array(votes, np.int32)
        for kind, votes in zip(unit_kinds(model, 1), (head_votes, neuron_votes), strict=True)
    }
    found = chosen.choose(view, totals, survivors=3)
    assert found.keys() == {matrix.name for matrix in view.matrices}
    for kind in unit_kinds(model, 1):
        sizes = squared_weights(kind, view).tolist() if ties == "magnitude" else [0.0] * kind.count
        keys = [(-int(votes), size) for votes, size in zip(totals[kind.name], sizes, strict=True)]
        removed = lowest(keys, Sparsity.parse(sparsity).count(kind.count))
        for name, prune_mask in kind.prune_masks(removed).items():
            assert torch.equal(found[name], prune_mask), name


def test_random_ties_follow_seed_and_kind(model: StreamedModel) -> None:
    """The same seed gives the same units, another seed others, and blocks have an order of their own."""
    orders = {}
    for index in (0, 1):
        matrices = prunable_matrices(model, index)
        view = PartyView(matrices, lambda matrix: torch.ones(matrix.shape))
        neurons = unit_kinds(model, index)[1]
        for seed in (0, 0, 1):
            totals = {kind.name: np.zeros(kind.count, np.int64) for kind in unit_kinds(model, index)}
            masks = payload(model, "0.5", ties="random", seed=seed).choose(view, totals, survivors=3)
            removed = neurons.removed(masks)
            assert torch.equal(orders.setdefault((index, seed), removed), removed)
    assert not torch.equal(orders[1, 0], orders[1, 1])
    assert not torch.equal(orders[0, 0], orders[1, 0])


@pytest.mark.parametrize("centre", [(1, 2), (2, 3), (1, 4)])
def test_centred_votes_give_the_same_units(model: StreamedModel, centre: tuple[int, int]) -> None:
    """Entries are b v - a, within their bound; the order of totals stays."""
    views = [client_view(model, seed) for seed in range(5)]
    plain, centred = payload(model), payload(model, centre=centre)
    low, step = centre
    totals: list[dict[str, np.ndarray]] = [{}, {}]
    for view in views:
        decision = plain.decide(view)
        for sums, sender in zip(totals, (plain, centred), strict=True):
            for name, vector in sender.vectors(view, decision).items():
                sums[name] = sums.get(name, 0) + vector.numpy().astype(np.int64)
        for spec in centred.specs(view):
            entries = centred.vectors(view, decision)[spec.name]
            assert spec.signed
            assert set(entries.unique().tolist()) <= {-low, step - low}
            assert int(entries.abs().max()) <= spec.bound == max(low, step - low)
            assert torch.equal(entries, decision.votes[spec.name].to(torch.int8) * step - low)
    found = [sender.choose(views[0], sums, survivors=5) for sums, sender in zip(totals, (plain, centred), strict=True)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert centred.public()["centre"] == list(centre)


def test_settings_come_from_the_method() -> None:
    """Sparsity, pruner, ties and seed."""
    method = make_method("0.3", pruner="magnitude", ties="random", seed=7)
    expected = Units(sparsity=Sparsity.parse("0.3"), pruner="magnitude", ties="random", seed=7)
    assert Units.of(method, largest_bound=1) == expected


def test_patterns_are_refused() -> None:
    """N:M lies within rows; the message gives the fraction that is as sparse."""
    with pytest.raises(InputError, match=r"^sparsity=1:4 does not go with payload=units: .*, such as 0\.75$"):
        Units(sparsity=Sparsity.parse("1:4"))


def test_pruners_that_rate_no_units_are_refused() -> None:
    """The message lists those that do."""
    with pytest.raises(
        InputError, match=r"^pruner=other does not go with payload=units, which takes wanda or magnitude$"
    ):
        Units(sparsity=Sparsity.parse("0.5"), pruner="other")


@pytest.mark.parametrize("flag", ["--group", "--local-group"])
def test_groups_are_refused(flag: str) -> None:
    """Units compete within their kind; a flag that is not given is no matter."""
    refuse_groups({"--group": None, "--local-group": None})
    with pytest.raises(
        InputError, match=rf"^{flag} row does not go with --payload units: the heads of a block compete"
    ):
        refuse_groups({"--group": None, "--local-group": None} | {flag: "row"})


def test_a_block_whose_units_were_not_named_is_a_mistake(model: StreamedModel) -> None:
    """The payload is made for a model first."""
    view = client_view(model, seed=1)
    with pytest.raises(ValueError, match=r"^kinds must list the units of model\.layers\.1\.self_attn\.q_proj$"):
        Units(sparsity=Sparsity.parse("0.5")).specs(view)


def test_an_output_that_nothing_entered_is_refused(model: StreamedModel) -> None:
    """Without activations there is nothing to rate."""
    view = replace(client_view(model, seed=1), energies={})
    with pytest.raises(InputError, match=r"o_proj takes no part in the model's forward pass"):
        payload(model).decide(view)
    assert payload(model, pruner="magnitude").decide(view).votes
