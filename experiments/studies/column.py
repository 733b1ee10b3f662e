"""Why the comparison group of a column fails at the server, and what it does at a client.

A column holds all weights of one input channel. Wanda weighs them by |W| times one norm, the channel's, so that
inside a column the norm cannot act: it can only decide how much each channel gives. A group of columns takes that away
too, for every channel gives the same share. The study tells two things apart: *how much* goes from each channel (the
same share, or what the layer group takes) and *which* of its weights go (by votes, ties by position as in the published
code; by votes, ties by magnitude; by magnitude alone; at random). Magnitude inside each column with equal shares is
what a client does whose own group is the column: no text is in it.

That the same share alone is no disaster the paper's table 4 shows: LLaMA-7B at 50 % has 8.86 with columns on both
sides, 1524 with columns at the server. It explains that (section 4.2.1) by the conflict between client's and server's
groups. The study tests this with two conflicts more: clients that prune by magnitude and row under a server that
compares by column, who differ from it as much, but with no norm in their votes (``flat``); and clients that compare by
column under a server that compares by row (``reversed``). Were the conflict the cause by itself, the order of ties
would hardly matter.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from experiments.report.intervals import Spread
from experiments.studies.channel_shares import TENTHS, remove_from_channels, removed_by_tenths
from experiments.studies.findings import Sentence, told
from experiments.studies.measured import WHOLE, Answer, Grid, Value, Values, plus_minus, publish
from experiments.studies.panels import Panel, Series
from experiments.studies.voters import Draw, Setting, add_voter_flags, blocks_by_matrix, draws
from fedprllm_secure.evaluation import dense, perplexities
from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.pruners import PRUNERS
from fedprllm_secure.selection import Ties, select, tie_order
from fedprllm_secure.sparsity import Group
from fedprllm_secure.variants import masked

DENSE = "dense"
LAYER, ROW, COLUMN, COLUMN_POSITION = "layer", "row", "column", "column, position"
COLUMN_CLIENT, COLUMN_RANDOM = "column, client", "column, random"
SHARES_POSITION, SHARES_MAGNITUDE, SHARES_RANDOM = "shares, position", "shares, magnitude", "shares, random"
REVERSED, REVERSED_POSITION = "reversed", "reversed, position"
FLAT, FLAT_COLUMN, FLAT_POSITION = "flat, row", "flat, column", "flat, position"
PERPLEXITY, ENERGY, ERROR, UNVOTED = "perplexity", "energy kept", "error", "without a vote"
SHARE, LOST = "share removed", "energy lost"
SPARSITY, MINUTES = "0.5", 3
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


BOTH = "columns on both sides"
# Conflicts of a client's and the server's group: ties by position, ties by magnitude, and what has no conflict.
CONFLICTS = (
    (COLUMN_POSITION, COLUMN, LAYER),
    (FLAT_POSITION, FLAT_COLUMN, FLAT),
    (REVERSED_POSITION, REVERSED, COLUMN_CLIENT),
)
# How much goes from each channel, and by which order of its weights.
GRID = {
    "the same share": {
        "position": COLUMN_POSITION,
        "magnitude": COLUMN,
        "smallest": COLUMN_CLIENT,
        "random": COLUMN_RANDOM,
    },
    "what the layer group takes": {
        "position": SHARES_POSITION,
        "magnitude": LAYER,
        "smallest": SHARES_MAGNITUDE,
        "random": SHARES_RANDOM,
    },
    "the same share, no norm in votes": {"position": FLAT_POSITION, "magnitude": FLAT_COLUMN},
    "clients by column, server by row": {"position": REVERSED_POSITION, "magnitude": REVERSED},
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the study's flags."""
    add_voter_flags(parser, sparsity=SPARSITY, minutes=MINUTES)


def run(*, out: Path, sparsity: str, seeds: Sequence[int], **setting: object) -> Values:
    """Measure every draw, write the answer as :func:`~experiments.studies.measured.publish` does, and print it.

    Args:
        out: a folder that exists.
        sparsity: how much goes.
        seeds: one a draw.
        setting: further fields of :class:`~experiments.studies.voters.Setting`.

    Raises:
        InputError: model or text cannot be read, or the sparsity is a pattern.
    """
    asked = Setting(sparsity=sparsity, seeds=seeds, **setting)  # type: ignore[arg-type]
    values = Values([value for draw in draws(asked) for value in measure(draw)])
    publish(out, "column", values, answer(values, str(asked)))
    return values


def measure(draw: Draw) -> list[Value]:
    """Measure a draw: what each mask keeps and takes, what it does to outputs, perplexity."""
    blocks = blocks_by_matrix(draw.model)
    found, chosen = list[Value](), dict[str, dict[str, Tensor]]()

    def note(variant: str, measured: str, place: str, value: float) -> None:
        found.append(Value(seed=draw.seed, variant=variant, measure=measured, place=place, value=value))

    for variant, mask in MASKS.items():
        masks = {name: mask(Matrix(draw, name)) for name in blocks}
        chosen[variant] = masks
        note(variant, ERROR, WHOLE, draw.outputs(masks))
        kept = {name: float((Matrix(draw, name).energies() * ~masks[name]).sum()) for name in blocks}
        note(variant, ENERGY, WHOLE, _mean(kept.values()))
        for block in range(draw.model.num_blocks):
            note(variant, ENERGY, f"block {block}", _mean([kept[name] for name in blocks if blocks[name] == block]))
        removed = sum(int(masks[name].sum()) for name in blocks)
        note(variant, UNVOTED, WHOLE, sum(int((draw.votes[n][masks[n]] == 0).sum()) for n in blocks) / removed)
        for measured, weighed in ((SHARE, None), (LOST, lambda name: Matrix(draw, name).energies())):
            tenths = [removed_by_tenths(masks[n], draw.outputs.energy(n), weighed and weighed(n)) for n in blocks]
            for number in range(TENTHS):
                note(variant, measured, f"tenth {number + 1}", _mean([each[number] for each in tenths]))
    variants = {variant: masked(_source(masks)) for variant, masks in chosen.items()}
    for variant, each in perplexities(draw.model, draw.evaluation, {DENSE: dense, **variants}).items():
        note(variant, PERPLEXITY, WHOLE, each.value)
    return found


def _source(masks: Mapping[str, Tensor]) -> Callable[[int, PrunableMatrix], Tensor]:
    return lambda _, matrix: masks[matrix.name]


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)


def answer(values: Values, setting: str) -> Answer:
    """Put the values into tables, panels and sentences."""
    meaning = "; ".join(f"{variant}: {MEANING[variant]}" for variant in MASKS)
    return Answer(
        "Why does the comparison group of a column fail at the server?",
        f"{setting} Removed are: {meaning}. Energy is the sum of (|W| x norm of its input)^2, error "
        "|X (W - W pruned)| / |X W|, both on the clients' windows and unpruned inputs, mean over matrices.",
        _sentences(values),
        (_variant_grid(values), _share_grid(values), _block_grid(values)),
        _panels(values),
    )


def _less(values: Values, variant: str, other: str) -> Spread:
    return values.difference(PERPLEXITY, variant, other)


def _sentences(values: Values) -> list[Sentence]:
    first, last = "tenth 1", f"tenth {TENTHS}"
    low, high = (values.spread(SHARE, LAYER, place) for place in (first, last))
    unvoted = values.spread(UNVOTED, COLUMN)
    compared = (LAYER, COLUMN, COLUMN_POSITION)
    kept = [values.spread(ENERGY, each).mean for each in compared]
    lost = [values.spread(LOST, each, last).mean for each in compared]
    found = [
        Sentence(
            f"By layer the server takes {low.mean:.0%} of the weights of the tenth of channels with the least energy "
            f"and {high.mean:.0%} of the tenth with the most; by column "
            f"{values.spread(SHARE, COLUMN, last).mean:.0%} of each, whatever its norm.",
            high,
        ),
        Sentence(
            f"To fill these shares, {unvoted.mean:.1%} of what goes by column are weights that no client voted for (by "
            f"layer {values.spread(UNVOTED, LAYER).mean:.1%}): there only the order of ties decides.",
            unvoted,
        ),
        Sentence(
            f"Of the energy {kept[0]:.1%} stays by layer, {kept[1]:.1%} by column with ties by magnitude and "
            f"{kept[2]:.1%} with ties by position; the tenth of channels with the most energy loses {lost[0]:.1%}, "
            f"{lost[1]:.1%} and {lost[2]:.1%} of it all.",
            values.spread(ENERGY, COLUMN_POSITION),
        ),
    ]
    pairs = {
        (COLUMN_POSITION, LAYER): ("The column group with ties by position", "the layer group"),
        (COLUMN, LAYER): ("The column group with ties by magnitude", "the layer group"),
        (SHARES_POSITION, LAYER): ("Votes within the layer group's shares, ties by position,", "the layer group"),
        (COLUMN_CLIENT, COLUMN): ("The client's group of columns, which no text enters,", "the column group by votes"),
        (SHARES_MAGNITUDE, COLUMN_CLIENT): (
            "Magnitude within the layer group's shares",
            "magnitude within equal shares",
        ),
        (FLAT_COLUMN, FLAT): ("The column group on votes without norms, ties by magnitude,", "the row group on them"),
        (FLAT_POSITION, FLAT): ("The column group on votes without norms, ties by position,", "the row group on them"),
        (REVERSED, COLUMN_CLIENT): ("Clients by column and a server by row, ties by magnitude,", BOTH),
        (REVERSED_POSITION, COLUMN_CLIENT): ("Clients by column and a server by row, ties by position,", BOTH),
    }
    for (variant, other), words in pairs.items():
        found += _told(*words, _less(values, variant, other))
    return [*found, _verdict(values)]


def _told(left: str, right: str, difference: Spread) -> list[Sentence]:
    """Say how the left one stands to the right one, where neither hangs on the draw too."""
    if difference.low == difference.high == difference.mean != 0:
        where = "higher" if difference.mean > 0 else "lower"
        text = f"{left} has {where} perplexity than {right}: {difference.mean:+.3g} whatever the draw."
        return [Sentence(text, difference)]
    return told(left, right, difference)


def _verdict(values: Values) -> Sentence:
    """Say how much of what each conflict of groups costs is left where ties go by magnitude."""
    damages = [_less(values, position, calm) for position, _, calm in CONFLICTS]
    if not all(damage.low is not None and damage.low > 0 for damage in damages):
        return Sentence("Not every conflict of groups does damage here, so that none is split into parts.", damages[0])
    left = [values.share(PERPLEXITY, mild, of=position, above=calm) for position, mild, calm in CONFLICTS]
    shown = [f"{each.mean:.1%}" for each in left]
    if max(each.mean for each in left) <= 0.25:
        meaning = (
            "the collapse comes of deciding by position among weights with equal votes, which a conflict of groups "
            "makes matter; neither the conflict nor the same share of each channel explains it alone"
        )
    elif min(each.mean for each in left) >= 0.75:
        meaning = "the order of ties hardly matters; the conflict of groups explains the damage"
    else:
        meaning = "the order of ties and the conflict of groups both have a part in it"
    return Sentence(
        f"With ties by magnitude {shown[0]} is left of the damage that the column group does with ties by position, "
        f"{shown[1]} where votes hold no norm, {shown[2]} with the groups reversed: {meaning}.",
        left[0],
    )


def _variant_grid(values: Values) -> Grid:
    rows: list[tuple[str, ...]] = [("unpruned", values.shown(PERPLEXITY, DENSE), "", "1", "0", "")]
    for variant in MASKS:
        difference = "" if variant == LAYER else plus_minus(_less(values, variant, LAYER))
        others = (values.shown(measured, variant, digits=3) for measured in (ENERGY, ERROR, UNVOTED))
        rows.append((variant, values.shown(PERPLEXITY, variant), difference, *others))
    headings = ("removed", "perplexity", "minus layer", "energy kept", "error", "no vote")
    return Grid("What each removal does (no vote: share of what goes)", headings, tuple(rows))


def _share_grid(values: Values) -> Grid:
    compared = [(SHARE, LAYER), (SHARE, COLUMN), (SHARE, FLAT), (LOST, LAYER), (LOST, COLUMN), (LOST, COLUMN_POSITION)]
    rows = tuple(
        (place.split()[1], *(values.shown(measured, variant, place, digits=3) for measured, variant in compared))
        for place in values.places(SHARE, LAYER)
    )
    headings = ("tenth", *(variant if measured == SHARE else f"energy, {variant}" for measured, variant in compared))
    return Grid("Share removed of each tenth of channels (least energy first), and of all energy", headings, rows)


def _block_grid(values: Values) -> Grid:
    compared = (LAYER, ROW, COLUMN, COLUMN_POSITION)
    rows = tuple(
        (place.split()[1], *(values.shown(ENERGY, variant, place, digits=3) for variant in compared))
        for place in values.places(ENERGY, LAYER)
        if place != WHOLE
    )
    return Grid("Share of the energy that is kept, by block", ("block", *compared), rows)


def _panels(values: Values) -> list[Panel]:
    def series(measured: str, variants: Sequence[str]) -> list[Series]:
        places = [place for place in values.places(measured, LAYER) if place != WHOLE]
        return [Series(v, {place.split()[1]: values.spread(measured, v, place) for place in places}) for v in variants]

    return [
        Panel(
            "share removed of each channel",
            "tenth of channels, most energy on the right",
            "share removed",
            series(SHARE, (LAYER, ROW, COLUMN, FLAT)),
        ),
        Panel(
            "energy kept",
            "block",
            "share of the sum of (|W| x norm)^2",
            series(ENERGY, (LAYER, ROW, COLUMN, COLUMN_POSITION)),
        ),
        Panel(
            "perplexity, by what goes from each channel",
            "then, of its weights: by votes, ties by position or magnitude; smallest; at random",
            "perplexity",
            [
                Series(name, {label: values.spread(PERPLEXITY, variant) for label, variant in variants.items()})
                for name, variants in GRID.items()
            ],
            references={"unpruned": values.spread(PERPLEXITY, DENSE).mean},
            is_log=True,
        ),
    ]
