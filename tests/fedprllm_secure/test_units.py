"""Heads and neurons are found in every family that keeps them apart, and other architectures are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    BitNetConfig,
    DiffLlamaConfig,
    HeliumConfig,
    LlamaConfig,
    Olmo2Config,
    PreTrainedConfig,
)

from fedprllm_secure.errors import InputError
from fedprllm_secure.models import units
from fedprllm_secure.models.matrices import PrunableMatrix, prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.models.units import Member, UnitKind, unit_kinds
from tests.fedprllm_secure.conftest import Checkpoints
from tests.fedprllm_secure.tiny_models import CPU
from tests.fedprllm_secure.unit_models import (
    GROUPS,
    NEURONS,
    SHAPE,
    UNGROUPED_FAMILIES,
    UNIT_FAMILIES,
    open_random,
)

ALL = UNIT_FAMILIES | UNGROUPED_FAMILIES


@pytest.fixture(scope="module", params=ALL)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StreamedModel:
    """Every family that can be pruned by units."""
    return open_random(ALL[request.param](), tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> StreamedModel:
    """A LLaMA of eight heads that share four key-value heads."""
    return open_random(UNIT_FAMILIES["llama"](), tmp_path_factory.mktemp("llama"))


def head_lines(model: StreamedModel, unit: int, *, groups: int, is_shared: bool) -> list[int]:
    """List, one by one, the outputs that belong to a key-value head, or to the query heads that share it."""
    heads = model.config.num_attention_heads
    size = getattr(model.config, "head_dim", None) or model.hidden_size // heads
    return [
        head * size + place
        for head in range(groups if is_shared else heads)
        for place in range(size)
        if (head if is_shared else head * groups // heads) == unit
    ]


def test_a_head_is_what_computes_with_one_key_and_value(model: StreamedModel) -> None:
    """Rows of query, key and value, columns of the output: those of the group and no others."""
    heads, _ = unit_kinds(model, 1)
    groups = GROUPS if hasattr(model.config, "num_key_value_heads") else 4
    assert (heads.name, heads.count) == (f"{model.block_name(1)}.heads", groups)
    for unit in range(groups):
        masks = heads.prune_masks(torch.arange(groups) == unit)
        assert len(masks) == 4
        for name, prune_mask in masks.items():
            role = name.rpartition(".")[2]
            expected = torch.zeros(prune_mask.shape, dtype=torch.bool)
            for line in head_lines(model, unit, groups=groups, is_shared=role in ("k_proj", "v_proj")):
                if role in ("q_proj", "k_proj", "v_proj"):
                    expected[line, :] = True
                else:
                    expected[:, line] = True
            assert torch.equal(prune_mask, expected), name


def test_a_neuron_is_a_row_of_every_input_and_a_column_of_the_output(model: StreamedModel) -> None:
    """One line of each matrix of the feed-forward network."""
    _, neurons = unit_kinds(model, 0)
    assert (neurons.name, neurons.count) == (f"{model.block_name(0)}.neurons", NEURONS)
    for unit in (0, 7, NEURONS - 1):
        for name, prune_mask in neurons.prune_masks(torch.arange(NEURONS) == unit).items():
            expected = torch.zeros(prune_mask.shape, dtype=torch.bool)
            if name == neurons.output.matrix.name:
                expected[:, unit] = True
            else:
                expected[unit, :] = True
            assert torch.equal(prune_mask, expected), name


def test_every_matrix_belongs_to_one_kind(model: StreamedModel) -> None:
    """Removing all units of a block removes all its prunable weights, each by one kind."""
    for index in range(model.num_blocks):
        kinds = unit_kinds(model, index)
        masks = [kind.prune_masks(torch.ones(kind.count, dtype=torch.bool)) for kind in kinds]
        assert sorted(name for each in masks for name in each) == sorted(
            matrix.name for matrix in prunable_matrices(model, index)
        )
        assert all(bool(prune_mask.all()) for each in masks for prune_mask in each.values())


@pytest.mark.parametrize("groups", [1, 8])
def test_one_key_value_head_for_all_and_one_for_each(tmp_path: Path, groups: int) -> None:
    """With multi-query attention there is one unit, with plain attention as many as heads."""
    model = open_random(UNIT_FAMILIES["qwen3"](num_key_value_heads=groups), tmp_path)
    heads, _ = unit_kinds(model, 0)
    assert (heads.count, [member.width for member in heads.members]) == (groups, [64 // groups, 8, 8, 64 // groups])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), min_size=GROUPS, max_size=GROUPS), st.integers(0, 2**NEURONS - 1))
def test_prune_masks_tell_the_units_they_remove(llama: StreamedModel, groups: list[bool], bits: int) -> None:
    """Units to prune masks and back."""
    marks = [torch.tensor(groups), torch.tensor([bool(bits >> place & 1) for place in range(NEURONS)])]
    for kind, removed in zip(unit_kinds(llama, 0), marks, strict=True):
        assert torch.equal(kind.removed(kind.prune_masks(removed)), removed)


@pytest.mark.parametrize("kind_index", [0, 1])
@pytest.mark.parametrize("member_index", [0, 1, -1])
def test_prune_masks_that_are_not_of_whole_units_are_refused(
    llama: StreamedModel, kind_index: int, member_index: int
) -> None:
    """A single entry more or less, in any matrix, is no unit."""
    kind = unit_kinds(llama, 0)[kind_index]
    name = kind.members[member_index].matrix.name
    for entry in ((0, 0), (-1, -1)):
        masks = kind.prune_masks(torch.arange(kind.count) == 1)
        masks[name][entry] ^= True
        with pytest.raises(InputError, match=rf"^the prune mask of .* does not remove whole {kind.kind}$"):
            kind.removed(masks)


def matrix_of(shape: tuple[int, int]) -> PrunableMatrix:
    """A matrix of no model."""
    return PrunableMatrix("m", "m.weight", "m.weight", (), False, False, "m", shape)


@pytest.mark.parametrize(
    ("inputs", "output", "reason"),
    [
        (
            Member(matrix_of((8, 4)), 1, 1),
            Member(matrix_of((4, 8)), 1, 2),
            "axis=1 and width=1 of m must be 0 and 8 / 4",
        ),
        (
            Member(matrix_of((8, 4)), 0, 2),
            Member(matrix_of((8, 8)), 0, 2),
            "axis=0 and width=2 of m must be 1 and 8 / 4",
        ),
        (
            Member(matrix_of((8, 4)), 0, 1),
            Member(matrix_of((4, 8)), 1, 2),
            "axis=0 and width=1 of m must be 0 and 8 / 4",
        ),
    ],
)
def test_units_share_out_a_matrix_evenly(inputs: Member, output: Member, reason: str) -> None:
    """Any other member is a mistake of the caller."""
    with pytest.raises(ValueError, match=rf"^b\.heads: {reason}$"):
        UnitKind("b", "heads", 4, (inputs,), output)


def test_rows_of_a_matrix_that_is_stored_transposed_are_columns_on_disk() -> None:
    """And the other way round."""
    matrix = matrix_of((8, 4))
    transposed = dataclasses.replace(matrix, is_stored_transposed=True)
    assert [Member(matrix, axis, 1).stored_axis for axis in (0, 1)] == [0, 1]
    assert [Member(transposed, axis, 1).stored_axis for axis in (0, 1)] == [1, 0]


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("phi3", r"model\.layers\.0\.self_attn\.qkv_proj is neither the query, key, value or output of attention"),
        ("gpt2", r"transformer\.h\.0\.attn\.c_attn is neither"),
        ("gpt_neox", r"gpt_neox\.layers\.0\.attention\.query_key_value is neither"),
        ("bloom", r"transformer\.h\.0\.self_attention\.query_key_value is neither"),
        ("mixtral", r"model\.layers\.0\.block_sparse_moe\.experts\.0\.w1 belongs to one of several experts"),
        ("qwen3_moe", r"model\.layers\.0\.mlp\.experts\.0\.gate_proj belongs to one of several experts"),
    ],
)
def test_fused_projections_and_experts_are_refused(checkpoint: Checkpoints, family: str, reason: str) -> None:
    """The message names the type of model and the matrix, and says what would do."""
    model = StreamedModel(checkpoint(family), device=CPU)
    pattern = (
        f"a model of type '{family}' cannot be pruned by whole heads and neurons: {reason}.*; use --payload votes$"
    )
    with pytest.raises(InputError, match=pattern):
        unit_kinds(model, 0)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (Olmo2Config(**SHAPE), r"self_attn\.q_norm\.weight \(48,\) acts across units"),
        (DiffLlamaConfig(**SHAPE), r"self_attn\.lambda_q1 \(6,\) acts across units"),
        (BitNetConfig(**SHAPE), r"self_attn\.attn_sub_norm\.weight \(48,\) acts across units"),
        (HeliumConfig(**SHAPE), r"self_attn\.o_proj has 48 inputs, not 8 heads of 128"),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_what_ties_heads_together_is_refused(tmp_path: Path, config: PreTrainedConfig, reason: str) -> None:
    """A norm over all heads would see that some are gone."""
    model = open_random(config, tmp_path)
    with pytest.raises(InputError, match=reason):
        unit_kinds(model, 0)


def test_what_ties_neurons_together_is_refused(llama: StreamedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """So would a norm over all neurons; a number that holds for all of them may stay."""
    network = llama.block_module(0).get_submodule("mlp")
    monkeypatch.setitem(network._parameters, "scale", torch.nn.Parameter(torch.ones(1)))
    assert unit_kinds(llama, 0)[1].count == NEURONS
    norm = torch.nn.LayerNorm(NEURONS, bias=False)
    monkeypatch.setitem(network._modules, "norm", norm)
    with pytest.raises(InputError, match=r"model\.layers\.0\.mlp\.norm\.weight \(40,\) acts across units"):
        unit_kinds(llama, 0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_key_value_heads": 2}, "of 48, 24 and 24 outputs are not 8 heads of 6 that share 2 key-value heads"),
        ({"num_attention_heads": 6}, "are not 6 heads of 6 that share 4 key-value heads"),
        ({"head_dim": 12}, "are not 8 heads of 12 that share 4 key-value heads"),
    ],
)
def test_heads_that_the_configuration_does_not_explain_are_refused(
    llama: StreamedModel, monkeypatch: pytest.MonkeyPatch, changes: dict[str, int], reason: str
) -> None:
    """Names alone make no heads: the shapes must be those of the configuration."""
    for name, value in changes.items():
        monkeypatch.setattr(llama.config, name, value)
    with pytest.raises(InputError, match=f"query, key and value projections {reason}" if "of 48" in reason else reason):
        unit_kinds(llama, 0)


def test_heads_that_do_not_share_keys_evenly_are_refused(tmp_path: Path) -> None:
    """Six heads on four keys belong to no groups of one size."""
    model = open_random(UNIT_FAMILIES["qwen3"](num_attention_heads=6, hidden_size=64), tmp_path)
    with pytest.raises(InputError, match="of 48, 32 and 32 outputs are not 6 heads of 8 that share 4 key-value heads"):
        unit_kinds(model, 0)


Change = Callable[[PrunableMatrix], PrunableMatrix | None]


def renamed(old: str, new: str) -> Change:
    """Move a module."""
    return lambda matrix: dataclasses.replace(matrix, stream=matrix.stream.replace(old, new))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: None if "self_attn" in m.stream else m, "model.layers.0 has no attention, or more than one"),
        (renamed("self_attn.v_proj", "other.v_proj"), "model.layers.0 has no attention, or more than one"),
        (
            renamed("v_proj", "k_proj"),
            "model.layers.0.self_attn has not one query, key, value and output projection each",
        ),
        (lambda m: None if "o_proj" in m.stream else m, "self_attn has not one query, key, value and output"),
        (lambda m: None if "mlp" in m.stream else m, "model.layers.0 has no feed-forward network, or more than one"),
        (renamed("mlp.up_proj", "shared.up_proj"), "model.layers.0 has no feed-forward network, or more than one"),
        (lambda m: None if "down_proj" in m.stream else m, "network of model.layers.0 has 2 inputs and 0 outputs"),
        (
            lambda m: None if m.stream in ("mlp.up_proj", "mlp.gate_proj") else m,
            "network of model.layers.0 has 0 inputs and 1 outputs",
        ),
        (
            lambda m: dataclasses.replace(m, shape=(39, 48)) if "up_proj" in m.stream else m,
            r"mlp.up_proj \(39, 48\) does not fit model.layers.0.mlp.down_proj \(48, 40\)",
        ),
    ],
)
def test_blocks_of_another_build_are_refused(
    llama: StreamedModel, monkeypatch: pytest.MonkeyPatch, change: Change, reason: str
) -> None:
    """A part that is missing, doubled, somewhere else or of another shape is not guessed at."""
    changed = [new for matrix in prunable_matrices(llama, 0) if (new := change(matrix)) is not None]
    monkeypatch.setattr(units, "prunable_matrices", lambda *_: changed)
    with pytest.raises(InputError, match=reason):
        unit_kinds(llama, 0)


def test_biases_belong_to_their_matrices(tmp_path: Path) -> None:
    """They are no parameters beside them."""
    config = LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True)
    heads, neurons = unit_kinds(open_random(config, tmp_path), 0)
    assert (heads.count, neurons.count) == (GROUPS, NEURONS)


def test_masks_of_no_unit_are_empty(llama: StreamedModel) -> None:
    """Nothing removed, nothing masked."""
    for kind in unit_kinds(llama, 1):
        nothing = torch.zeros(kind.count, dtype=torch.bool)
        masks: dict[str, Tensor] = kind.prune_masks(nothing)
        assert not any(bool(prune_mask.any()) for prune_mask in masks.values())
        assert torch.equal(kind.removed(masks), nothing)
