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
from experiments.report.intervals import Spread
from experiments.studies.findings import Sentence, told
from experiments.studies.measured import WHOLE, Answer, Grid, Value, Values, plus_minus, publish
from experiments.studies.panels import Panel, Series
from experiments.studies.voters import Draw, Setting, add_voter_flags, draws
from fedprllm_secure.evaluation import Variant, dense, perplexities
from fedprllm_secure.models.matrices import PrunableMatrix

DENSE, KEPT, SCALED, RESTORED, SHRUNK, MEAN = "dense", "as they are", "scaled", "restored", "shrunk", "mean"
PRUNED = (KEPT, SCALED, RESTORED, SHRUNK, MEAN)
MEANING = {
    KEPT: "not changed",
    SCALED: "multiplied by the share of clients that kept them",
    RESTORED: "scaled, and one factor a matrix makes its output as large as unscaled",
    SHRUNK: "not scaled, and one factor a matrix makes its output as small as scaled",
    MEAN: "scaled, and those that the server would remove are too instead of going",
}
PERPLEXITY, ERROR, SIZE, ADDED, STREAM, DISTANCE = "perplexity", "error", "size", "added", "stream", "distance"
WEIGHTS, FACTOR, MAGNITUDE, ENERGY, LOST = "weights", "factor", "magnitude", "energy", "energy lost"
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


def answer(values: Values, setting: str) -> Answer:
    """Put the values into tables, panels and sentences."""
    meaning = "; ".join(f"{variant}: {MEANING[variant]}" for variant in PRUNED)
    return Answer(
        "Why does scaling kept weights by the share of clients that kept them hurt?",
        f"{setting} Kept weights are {meaning}.",
        _sentences(values),
        (_vote_grid(values), _variant_grid(values), _block_grid(values)),
        _panels(values),
    )


def _sentences(values: Values) -> list[Sentence]:
    counts = values.places(WEIGHTS, KEPT)
    unanimous = values.spread(WEIGHTS, KEPT, counts[0])
    lost = [values.of(LOST, KEPT, count) for count in counts]
    total = sum(sum(each) for each in lost) / len(values.seeds)
    shrinkage = values.spread(SIZE, SCALED).mean / values.spread(SIZE, KEPT).mean
    gone = 1 - values.spread(ADDED, SCALED, _last(values)).mean / values.spread(ADDED, KEPT, _last(values)).mean
    loss = values.difference(PERPLEXITY, SCALED, KEPT)
    found = told("Scaling", "leaving kept weights as they are", loss)
    found.append(
        Sentence(
            f"Of the weights that stay, {unanimous.mean:.0%} have no vote against them and are not touched; the others "
            f"lose {total:.1%} of all the energy that stays.",
            unanimous,
        )
    )
    found.append(
        Sentence(
            f"The output of a matrix is then {1 - shrinkage:.1%} smaller on average than it is after pruning alone, "
            f"and what the last block adds to the residual stream {gone:.1%}.",
            values.spread(SIZE, SCALED),
        )
    )
    found += told(
        "Scaled weights with the size of the output restored", "weights as they are", _above(values, RESTORED)
    )
    found += told("The shrinkage alone", "weights as they are", _above(values, SHRUNK))
    found += told("The mean of clients' pruned models, which is denser,", "weights as they are", _above(values, MEAN))
    if loss.low is None or loss.low <= 0:
        found.append(Sentence("As scaling cannot be told from not scaling here, no share of a loss is given.", loss))
        return found
    stays, alone = (values.share(PERPLEXITY, each, of=SCALED, above=KEPT) for each in (RESTORED, SHRUNK))
    found.append(
        Sentence(
            f"Restoring the size takes away {1 - stays.mean:.0%} of the loss and shrinkage alone makes "
            f"{alone.shown()} of it (1 is all): {_verdict(stays, alone)}.",
            stays,
        )
    )
    return found


def _above(values: Values, variant: str) -> Spread:
    return values.difference(PERPLEXITY, variant, KEPT)


def _verdict(stays: Spread, alone: Spread) -> str:
    """Say what explains the loss: what stays of it without shrinkage, and what shrinkage alone makes of it."""
    if stays.mean <= 0.25 and alone.mean >= 0.75:
        return "smaller outputs explain it"
    if stays.mean >= 0.75 and alone.mean <= 0.25:
        return (
            "smaller outputs do not explain it; that weights shrink unequally does: where clients disagree, a weight "
            "that the vote kept is taken out in part after all"
        )
    return "smaller outputs and which weights shrink both have a part in it"


def _last(values: Values) -> str:
    return values.places(ADDED, KEPT)[-1]


def _vote_grid(values: Values) -> Grid:
    rows = []
    for place in values.places(MAGNITUDE, KEPT):
        measured = (WEIGHTS, MAGNITUDE, ENERGY, LOST)
        found = (values.shown(each, KEPT, place, digits=3) for each in measured)
        rows.append((place.split()[0], f"{values.spread(FACTOR, KEPT, place).mean:.3f}", *found))
    headings = ("votes", "factor", "of weights", "magnitude", "of energy", "energy lost")
    return Grid("Kept weights by the votes against them (mean magnitude of all that is kept: 1)", headings, tuple(rows))


def _variant_grid(values: Values) -> Grid:
    rows: list[tuple[str, ...]] = [("unpruned", values.shown(PERPLEXITY, DENSE), "", "1", "0")]
    for variant in PRUNED:
        difference = "" if variant == KEPT else plus_minus(_above(values, variant))
        sizes = (values.shown(measured, variant, digits=4) for measured in (SIZE, ERROR))
        rows.append((variant, values.shown(PERPLEXITY, variant), difference, *sizes))
    headings = ("kept weights", "perplexity", "paired difference", "size of output", "error of output")
    return Grid("Perplexity, and outputs of matrices on unpruned inputs (unpruned: size 1)", headings, tuple(rows))


def _block_grid(values: Values) -> Grid:
    rows = []
    for place in values.places(ADDED, KEPT):
        added = (values.shown(ADDED, variant, place, digits=3) for variant in PRUNED)
        rows.append((place.split()[1], *added, values.shown(STREAM, SCALED, place, digits=3)))
    headings = ("block", *PRUNED, "stream, scaled")
    return Grid("Accumulated: norm of what a block adds to the stream (unpruned: 1)", headings, tuple(rows))


def _panels(values: Values) -> list[Panel]:
    def series(measured: str, names: Sequence[str], variants: Sequence[str]) -> list[Series]:
        return [
            Series(variant, {place.split()[1]: values.spread(measured, variant, place) for place in names})
            for variant in variants
        ]

    votes = {
        label: {place.split()[0]: values.spread(measured, KEPT, place) for place in values.places(measured, KEPT)}
        for label, measured in (("weights", WEIGHTS), ("energy", ENERGY), ("energy lost by scaling", LOST))
    }
    return [
        Panel(
            "kept weights by votes against them",
            "clients that would remove it",
            "share of all that is kept",
            [Series(label, points) for label, points in votes.items()],
        ),
        Panel(
            "what a block adds, each variant on its own states",
            "block",
            "norm, relative to unpruned",
            series(ADDED, values.places(ADDED, KEPT), PRUNED),
        ),
        Panel(
            "perplexity",
            "kept weights",
            "perplexity less that of weights as they are",
            [Series("paired difference", {v: _above(values, v) for v in PRUNED[1:]})],
            references={KEPT: 0.0},
        ),
    ]
