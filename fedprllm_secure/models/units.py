"""The units of a decoder block: what structured pruning removes whole.

Two kinds: ``heads``, a key-value head with all the query heads that read it (rows of the query, key and value
projections, columns of the output projection), and ``neurons`` of the feed-forward network (rows of its inputs,
columns of its output). Both are found from module names, and checked against shapes and the configuration; a block
with weights that fit neither kind is refused, never pruned in part. Knows neither votes nor how a unit is rated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fedprllm_secure.errors import InputError
from fedprllm_secure.models.matrices import PrunableMatrix, prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel

Kind = Literal["heads", "neurons"]

# What a matrix does in its block, by the last part of its module's name. Shapes decide whether that is so.
QUERY, KEY, VALUE = "q_proj", "k_proj", "v_proj"
ATTENTION_OUTPUTS = frozenset({"o_proj", "out_proj", "dense"})
NEURON_INPUTS = frozenset({"gate_proj", "up_proj", "fc1", "fc_in", "c_fc"})
NEURON_OUTPUTS = frozenset({"down_proj", "fc2", "fc_out", "c_proj"})
ATTENTION = frozenset({QUERY, KEY, VALUE}) | ATTENTION_OUTPUTS
FEED_FORWARD = NEURON_INPUTS | NEURON_OUTPUTS


@dataclass(frozen=True, slots=True)
class Member:
    """A matrix's part in a kind of unit: unit ``u`` owns rows or columns ``u * width`` to ``(u + 1) * width - 1``.

    Attributes:
        matrix: the matrix.
        axis: 0 where a unit owns rows, 1 where it owns columns.
        width: rows or columns a unit.
    """

    matrix: PrunableMatrix
    axis: int
    width: int

    @property
    def stored_axis(self) -> int:
        """The dimension of the tensor on disk along which a unit owns lines."""
        return 1 - self.axis if self.matrix.is_stored_transposed else self.axis


@dataclass(frozen=True, slots=True)
class UnitKind:
    """The units of one kind in one block.

    Attributes:
        block_name: the block, such as ``model.layers.0``.
        kind: ``heads`` or ``neurons``.
        count: number of units.
        inputs: the matrices of which a unit owns rows.
        output: the one of which it owns columns: what it adds to the residual stream passes through it.
    """

    block_name: str
    kind: Kind
    count: int
    inputs: tuple[Member, ...]
    output: Member

    def __post_init__(self) -> None:
        """Check that units share out every matrix evenly.

        Raises:
            ValueError: a member's axis or width is not what its place and the count ask for.
        """
        for member in self.members:
            axis = 1 if member is self.output else 0
            size = member.matrix.shape[axis]
            if member.axis != axis or member.width * self.count != size:
                raise ValueError(
                    f"{self.name}: axis={member.axis} and width={member.width} of {member.matrix.name} must be {axis} "
                    f"and {size} / {self.count}"
                )

    @property
    def name(self) -> str:
        """Name the kind within the model, such as ``model.layers.0.heads``."""
        return f"{self.block_name}.{self.kind}"

    @property
    def members(self) -> tuple[Member, ...]:
        """List every matrix a unit has a part in, the output last."""
        return (*self.inputs, self.output)

    def prune_masks(self, removed: Tensor) -> dict[str, Tensor]:
        """Turn the units to remove, bool (count,), into prune masks, bool (out, in), by matrix name."""
        masks = {}
        for member in self.members:
            lines = removed.repeat_interleave(member.width)
            shaped = lines[:, None] if member.axis == 0 else lines[None, :]
            masks[member.matrix.name] = shaped.expand(member.matrix.shape).contiguous()
        return masks

    def removed(self, prune_masks: Mapping[str, Tensor]) -> Tensor:
        """Read back which units prune masks remove, bool (count,).

        Raises:
            InputError: a prune mask removes something else than whole units.
        """
        output = prune_masks[self.output.matrix.name]
        removed = output[0].view(self.count, self.output.width)[:, 0]
        for name, expected in self.prune_masks(removed).items():
            if not torch.equal(prune_masks[name], expected):
                raise InputError(f"the prune mask of {name} does not remove whole {self.kind}")
        return removed


def unit_kinds(model: StreamedModel, index: int) -> tuple[UnitKind, UnitKind]:
    """Find the heads and the neurons of a block; every prunable matrix belongs to exactly one of them.

    Raises:
        InputError: the architecture keeps them in a form in which they cannot be told apart.
    """
    attention: list[PrunableMatrix] = []
    feed_forward: list[PrunableMatrix] = []
    for matrix in prunable_matrices(model, index):
        if matrix.region:
            raise _refusal(model, f"{matrix.name} belongs to one of several experts")
        if _role(matrix) not in ATTENTION | FEED_FORWARD:
            raise _refusal(
                model, f"{matrix.name} is neither the query, key, value or output of attention nor of an FFN"
            )
        (attention if _role(matrix) in ATTENTION else feed_forward).append(matrix)
    return _heads(model, index, attention), _neurons(model, index, feed_forward)


def _heads(model: StreamedModel, index: int, matrices: Sequence[PrunableMatrix]) -> UnitKind:
    name = model.block_name(index)
    inputs = [matrix for matrix in matrices if _role(matrix) not in ATTENTION_OUTPUTS]
    outputs = [matrix for matrix in matrices if _role(matrix) in ATTENTION_OUTPUTS]
    parent = _only_parent(model, matrices, f"{name} has no attention, or more than one")
    if sorted(map(_role, inputs)) != [KEY, QUERY, VALUE] or len(outputs) != 1:
        raise _refusal(model, f"{name}.{parent} has not one query, key, value and output projection each")
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    size = _head_size(model, {_role(matrix): matrix.shape[0] for matrix in inputs}, heads=heads, groups=groups)
    if outputs[0].shape[1] != heads * size:
        raise _refusal(model, f"{outputs[0].name} has {outputs[0].shape[1]} inputs, not {heads} heads of {size}")
    _check_alone(model, index, parent, matrices, widths={1, size})
    return _kind(name, "heads", groups, inputs, outputs[0])


def _head_size(model: StreamedModel, rows: Mapping[str, int], *, heads: int, groups: int) -> int:
    """Give the entries a head, from the outputs of the projections."""
    size = rows[QUERY] // heads
    stated = getattr(model.config.get_text_config(), "head_dim", None) or size
    expected = {QUERY: heads * stated, KEY: groups * stated, VALUE: groups * stated}
    if heads % groups or rows != expected:
        raise _refusal(
            model,
            f"query, key and value projections of {rows[QUERY]}, {rows[KEY]} and {rows[VALUE]} outputs are not {heads} "
            f"heads of {stated} that share {groups} key-value heads",
        )
    return size


def _neurons(model: StreamedModel, index: int, matrices: Sequence[PrunableMatrix]) -> UnitKind:
    name = model.block_name(index)
    inputs = [matrix for matrix in matrices if _role(matrix) in NEURON_INPUTS]
    outputs = [matrix for matrix in matrices if _role(matrix) in NEURON_OUTPUTS]
    parent = _only_parent(model, matrices, f"{name} has no feed-forward network, or more than one")
    if not inputs or len(outputs) != 1:
        raise _refusal(model, f"the feed-forward network of {name} has {len(inputs)} inputs and {len(outputs)} outputs")
    count = outputs[0].shape[1]
    for matrix in inputs:
        if matrix.shape != (count, outputs[0].shape[0]):
            raise _refusal(model, f"{matrix.name} {matrix.shape} does not fit {outputs[0].name} {outputs[0].shape}")
    if parent:
        _check_alone(model, index, parent, matrices, widths={1})
    return _kind(name, "neurons", count, inputs, outputs[0])


def _kind(
    block_name: str, kind: Kind, count: int, inputs: Sequence[PrunableMatrix], output: PrunableMatrix
) -> UnitKind:
    return UnitKind(
        block_name,
        kind,
        count,
        tuple(Member(matrix, 0, matrix.shape[0] // count) for matrix in inputs),
        Member(output, 1, output.shape[1] // count),
    )


def _role(matrix: PrunableMatrix) -> str:
    return matrix.stream.rpartition(".")[2]


def _only_parent(model: StreamedModel, matrices: Sequence[PrunableMatrix], reason: str) -> str:
    parents = {matrix.stream.rpartition(".")[0] for matrix in matrices}
    if len(parents) != 1:
        raise _refusal(model, reason)
    return parents.pop()


def _check_alone(
    model: StreamedModel, index: int, parent: str, matrices: Sequence[PrunableMatrix], *, widths: set[int]
) -> None:
    """Refuse a module with parameters beside its matrices that may tie units together.

    A norm over all heads would see the zeros that masking leaves, and not see units that are gone; one over a single
    head (``widths``) does not, nor does a number that holds for all units.
    """
    module: nn.Module = model.block_module(index).get_submodule(parent)
    own = {matrix.stream.removeprefix(f"{parent}.") for matrix in matrices}
    for name, parameter in module.named_parameters():
        owner = name.rpartition(".")[0]
        if owner not in own and (parameter.numel() not in widths or not (owner or parameter.numel() == 1)):
            raise _refusal(
                model,
                f"{model.block_name(index)}.{parent}.{name} {tuple(parameter.shape)} acts across units, so that "
                "removing one would change the others",
            )


def _refusal(model: StreamedModel, reason: str) -> InputError:
    return InputError(
        f"{model.checkpoint.folder}: a model of type {model.config.model_type!r} cannot be pruned by whole heads and "
        f"neurons: {reason}; use --payload votes"
    )
