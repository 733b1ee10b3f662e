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

from experiments.studies.channel_shares import TENTHS, removed_by_tenths
from experiments.studies.column_answer import DENSE, ENERGY, ERROR, LOST, PERPLEXITY, SHARE, UNVOTED, answer
from experiments.studies.column_masks import MASKS, Matrix
from experiments.studies.measured import WHOLE, Value, Values, publish
from experiments.studies.voters import Draw, Setting, add_voter_flags, blocks_by_matrix, draws
from fedprllm_secure.evaluation import dense, perplexities
from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.variants import masked

SPARSITY, MINUTES = "0.5", 2.5


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
