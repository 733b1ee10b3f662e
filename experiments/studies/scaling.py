"""Why multiplying each kept weight by the share of clients that kept it hurts.

Scaling does two things to a matrix: its output shrinks, and weights on which clients disagree shrink more than others.
The study tells them apart. One number a matrix, chosen on the clients' windows, takes the first away (``restored``:
scaled weights, with the size of output that the unscaled ones have), or brings it alone (``shrunk``: unscaled weights,
with the size of output that the scaled ones have). Were shrinkage all, the first would lose nothing and the second as
much as scaling.

The paper (section 4.2.2) supposes that the mean of clients' pruned models is poor because each of them is. That mean,
before the server's mask takes anything from it, stands beside the others (``mean``); more of its weights are left.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from experiments.bench.block_outputs import block_outputs
from experiments.studies.measured import WHOLE, Value, Values, publish
from experiments.studies.scaling_answer import (
    ADDED,
    DENSE,
    DISTANCE,
    ENERGY,
    ERROR,
    FACTOR,
    KEPT,
    LOST,
    MAGNITUDE,
    MEAN,
    PERPLEXITY,
    PRUNED,
    RESTORED,
    SCALED,
    SHRUNK,
    SIZE,
    STREAM,
    WEIGHTS,
    answer,
)
from experiments.studies.voters import Draw, Setting, add_voter_flags, draws
from fedprllm_secure.evaluation import Variant, dense, perplexities
from fedprllm_secure.models.matrices import PrunableMatrix

SPARSITY, MINUTES = "0.7", 2


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
    publish(out, "scaling", values, answer(values, str(asked)))
    return values


def measure(draw: Draw) -> list[Value]:
    """Measure a draw: kept weights by vote count, outputs of matrices and of blocks, perplexity."""
    names = list(draw.outputs.weights)
    factors = {name: _shrinkage(draw, name) for name in names}
    variants = {variant: _editing(draw, variant, factors) for variant in PRUNED}

    def value(variant: str, measured: str, place: str, found: float) -> Value:
        return Value(seed=draw.seed, variant=variant, measure=measured, place=place, value=found)

    found = [value(KEPT, measured, place, each) for measured, place, each in _by_votes(draw)]
    for variant in PRUNED:
        sizes, errors = [], []
        for name, weight in draw.outputs.weights.items():
            edited = _weights(draw, variant, name, weight, factors[name])
            sizes.append(draw.outputs.relative(name, edited))
            errors.append(draw.outputs.relative(name, weight - edited))
            found += [value(variant, SIZE, name, sizes[-1]), value(variant, ERROR, name, errors[-1])]
        found.append(value(variant, SIZE, WHOLE, sum(sizes) / len(names)))
        found.append(value(variant, ERROR, WHOLE, sum(errors) / len(names)))
    for variant, blocks in block_outputs(draw.model, draw.calibration, variants).items():
        for index, block in enumerate(blocks):
            found.append(value(variant, ADDED, f"block {index}", block.added))
            found.append(value(variant, STREAM, f"block {index}", block.size))
            found.append(value(variant, DISTANCE, f"block {index}", block.distance))
    evaluated = perplexities(draw.model, draw.evaluation, {DENSE: dense, **variants})
    return found + [value(variant, PERPLEXITY, WHOLE, each.value) for variant, each in evaluated.items()]


def _by_votes(draw: Draw) -> list[tuple[str, str, float]]:
    """Say of the weights that stay, by how many clients would have removed them: how many, how large, how important.

    ``weights`` and ``energy`` are shares of all that stay, energy being (|W| x norm of the input)^2, each matrix's in
    units of its own sum; ``magnitude`` is the mean |W| over that of all that stay in the matrix; ``energy lost`` is
    what scaling takes of the energy, as a share of all that stays.
    """
    counts, magnitudes, energies = ([0.0] * (draw.voters + 1) for _ in range(3))
    for name, weight in draw.outputs.weights.items():
        stays, votes = ~draw.prune_masks[name], draw.votes[name]
        energy = weight.square() * draw.outputs.energy(name) * stays
        energy, magnitude = energy / energy.sum(), weight.abs() / weight.abs()[stays].mean()
        for count in range(draw.voters + 1):
            here = stays & (votes == count)
            counts[count] += float(here.sum())
            magnitudes[count] += float(magnitude[here].sum())
            energies[count] += float(energy[here].sum()) / len(draw.outputs.weights)
    found = []
    for count, number in enumerate(counts):
        place, factor = f"{count} votes", (draw.voters - count) / draw.voters
        found += [(WEIGHTS, place, number / sum(counts)), (FACTOR, place, factor), (ENERGY, place, energies[count])]
        found.append((LOST, place, energies[count] * (1 - factor**2)))
        if number:
            found.append((MAGNITUDE, place, magnitudes[count] / number))
    return found


def _shrinkage(draw: Draw, name: str) -> float:
    """Give |X W scaled| / |X W kept| of a matrix; 1 where nothing comes out at all."""
    weight = draw.outputs.weights[name]
    kept = draw.outputs.size(name, _weights(draw, KEPT, name, weight, 1.0))
    return draw.outputs.size(name, _weights(draw, SCALED, name, weight, 1.0)) / kept if kept else 1.0


def _weights(draw: Draw, variant: str, name: str, weight: Tensor, shrinkage: float) -> Tensor:
    """Edit a matrix (out, in): what its pruned weights are in a variant."""
    kept = weight if variant == MEAN else weight * ~draw.prune_masks[name]
    if variant in (SCALED, RESTORED, MEAN):
        kept = kept * ((draw.voters - draw.votes[name]).to(weight.dtype) / draw.voters)
    return kept * {RESTORED: 1 / shrinkage, SHRUNK: shrinkage}.get(variant, 1.0)


def _editing(draw: Draw, variant: str, factors: Mapping[str, float]) -> Variant:
    def edit(_: int, matrix: PrunableMatrix, weight: Tensor) -> Tensor:
        return _weights(draw, variant, matrix.name, weight, factors[matrix.name])

    return edit
