"""What the study of scaling says: tables, panels and sentences of its values. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.report.intervals import Spread
from experiments.studies.findings import Sentence, told
from experiments.studies.measured import Answer, Grid, Values, plus_minus
from experiments.studies.panels import Panel, Series

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
    found += told("Scaling with the size of the output restored", "weights as they are", _above(values, RESTORED))
    found += told("The shrinkage alone", "weights as they are", _above(values, SHRUNK))
    found += told("The mean of clients' pruned models, which is denser,", "weights as they are", _above(values, MEAN))
    if loss.low is None or loss.low <= 0:
        found.append(Sentence("Scaling does no harm here that can be told, so that no share of a loss is given.", loss))
        return found
    stays, alone = (values.share(PERPLEXITY, each, of=SCALED, above=KEPT) for each in (RESTORED, SHRUNK))
    found.append(
        Sentence(
            f"With the size restored {stays.shown()} of the loss is left, and shrinkage alone makes {alone.shown()} of "
            f"it (1 is all): {_verdict(stays, alone)}.",
            stays,
        )
    )
    return found


def _above(values: Values, variant: str) -> Spread:
    return values.difference(PERPLEXITY, variant, KEPT)


def _verdict(stays: Spread, alone: Spread) -> str:
    """Say what explains the loss: what stays of it without shrinkage, and what shrinkage alone makes of it.

    A word is given only where whole intervals are beyond a quarter and three quarters.
    """
    if stays.low is None or stays.high is None or alone.low is None or alone.high is None:
        return "one draw does not say what explains it"
    if stays.high <= 0.25 and alone.low >= 0.75:
        return "smaller outputs explain it"
    if stays.low >= 0.75 and alone.high <= 0.25:
        return (
            "smaller outputs do not explain it; that weights shrink unequally does: where clients disagree, a weight "
            "that the vote kept is taken out in part after all"
        )
    return "neither smaller outputs nor which weights shrink explains it alone, as far as these draws tell"


def _last(values: Values) -> str:
    return values.places(ADDED, KEPT)[-1]


def _vote_grid(values: Values) -> Grid:
    rows = []
    for place in _kept_places(values):
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


def _kept_places(values: Values) -> list[str]:
    """List the counts of votes that kept weights have in every draw."""
    return [place for place in values.places(WEIGHTS, KEPT) if all(values.of(WEIGHTS, KEPT, place))]


def _panels(values: Values) -> list[Panel]:
    def series(measured: str, names: Sequence[str], variants: Sequence[str]) -> list[Series]:
        return [
            Series(variant, {place.split()[1]: values.spread(measured, variant, place) for place in names})
            for variant in variants
        ]

    votes = {
        label: {place.split()[0]: values.spread(measured, KEPT, place) for place in _kept_places(values)}
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
