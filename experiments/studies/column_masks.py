"""The masks that the study of the column group compares, each made of the votes, weights and norms of one draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from experiments.studies.channel_shares import remove_from_channels
from experiments.studies.voters import Draw
from fedprllm_secure.pruners import PRUNERS
from fedprllm_secure.selection import Ties, select, tie_order
from fedprllm_secure.sparsity import Group

LAYER, ROW, COLUMN, COLUMN_POSITION = "layer", "row", "column", "column, position"
COLUMN_CLIENT, COLUMN_RANDOM = "column, client", "column, random"
SHARES_POSITION, SHARES_MAGNITUDE, SHARES_RANDOM = "shares, position", "shares, magnitude", "shares, random"
REVERSED, REVERSED_POSITION = "reversed", "reversed, position"
FLAT, FLAT_COLUMN, FLAT_POSITION = "flat, row", "flat, column", "flat, position"
Mask = Callable[["Matrix"], Tensor]


class Matrix:
    """One matrix of a draw, with what masks are made of."""

    def __init__(self, draw: Draw, name: str) -> None:
        """Look it up."""
        self.draw, self.name = draw, name
        self.weight = draw.outputs.weights[name]
        self.energy = draw.outputs.energy(name)
        self.votes = draw.votes[name]
        self.by_layer = draw.prune_masks[name]

    def ties(self, ties: Ties) -> list[Tensor]:
        """Give the keys that order equal votes."""
        return tie_order(ties, self.weight, seed=self.draw.seed, name=self.name)

    def by_votes(self, group: Group, ties: Ties) -> Tensor:
        """Remove the most-voted weights of each group."""
        return select([-self.votes, *self.ties(ties)], self.draw.sparsity, group)

    def by_client(self) -> Tensor:
        """Remove what a client removes whose own group is the column; on any text, the smallest weights."""
        wanda = PRUNERS["wanda"]
        return wanda(self.weight, self.energy, sparsity=self.draw.sparsity, group="column").prune_mask

    def with_layers_shares(self, *keys: Tensor) -> Tensor:
        """Remove from each channel as many weights as the layer group does, the lowest by ``keys``."""
        return remove_from_channels(keys, self.by_layer.sum(0))

    def flat(self) -> Tensor:
        """Remove by row what clients remove who do not look at norms, all alike."""
        return PRUNERS["magnitude"](self.weight, self.energy, sparsity=self.draw.sparsity, group="row").prune_mask

    def by_alike(self, removed: Tensor, group: Group, ties: Ties) -> Tensor:
        """Remove the most-voted weights of each group where all clients would remove the same, bool (out, in)."""
        return select([(~removed).to(self.votes.dtype), *self.ties(ties)], self.draw.sparsity, group)

    def energies(self) -> Tensor:
        """Give the share of each weight in the sum of (|W| x norm of its input)^2, (out, in)."""
        energy = self.weight.square() * self.energy
        return energy / energy.sum()


MASKS: Mapping[str, Mask] = {
    LAYER: lambda matrix: matrix.by_layer,
    ROW: lambda matrix: matrix.by_votes("row", "magnitude"),
    COLUMN: lambda matrix: matrix.by_votes("column", "magnitude"),
    COLUMN_POSITION: lambda matrix: matrix.by_votes("column", "position"),
    COLUMN_CLIENT: lambda matrix: matrix.by_client(),
    COLUMN_RANDOM: lambda matrix: select(matrix.ties("random"), matrix.draw.sparsity, "column"),
    SHARES_POSITION: lambda matrix: matrix.with_layers_shares(-matrix.votes),
    SHARES_MAGNITUDE: lambda matrix: matrix.with_layers_shares(matrix.weight.abs()),
    SHARES_RANDOM: lambda matrix: matrix.with_layers_shares(*matrix.ties("random")),
    FLAT: lambda matrix: matrix.flat(),
    FLAT_COLUMN: lambda matrix: matrix.by_alike(matrix.flat(), "column", "magnitude"),
    FLAT_POSITION: lambda matrix: matrix.by_alike(matrix.flat(), "column", "position"),
    REVERSED: lambda matrix: matrix.by_alike(matrix.by_client(), "row", "magnitude"),
    REVERSED_POSITION: lambda matrix: matrix.by_alike(matrix.by_client(), "row", "position"),
}
MEANING = {
    LAYER: "votes, server group layer",
    ROW: "votes, server group row",
    COLUMN: "votes, server group column, ties by magnitude",
    COLUMN_POSITION: "the same, ties by position",
    COLUMN_CLIENT: "magnitude within each column, which is what a client's group of columns is",
    COLUMN_RANDOM: "the same share of each channel at random",
    SHARES_POSITION: "from each channel what the layer group takes, by votes, ties by position",
    SHARES_MAGNITUDE: "as much, by magnitude",
    SHARES_RANDOM: "as much, at random",
    FLAT: "clients prune by magnitude and row: all alike",
    FLAT_COLUMN: "their votes, server group column, ties by magnitude",
    FLAT_POSITION: "the same, ties by position",
    REVERSED: "clients compare by column and the server by row, ties by magnitude",
    REVERSED_POSITION: "the same, ties by position",
}
