"""What the study of the column group says: tables, panels and sentences of its values. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.report.intervals import Spread
from experiments.studies.channel_shares import TENTHS
from experiments.studies.column_masks import (
    COLUMN,
    COLUMN_CLIENT,
    COLUMN_POSITION,
    FLAT,
    FLAT_COLUMN,
    FLAT_POSITION,
    LAYER,
    MASKS,
    MEANING,
    REVERSED,
    REVERSED_POSITION,
    ROW,
    SHARES_MAGNITUDE,
    SHARES_POSITION,
)
from experiments.studies.findings import Sentence, told
from experiments.studies.measured import WHOLE, Answer, Grid, Values, plus_minus
from experiments.studies.panels import Panel, Series

DENSE = "dense"
PERPLEXITY, ENERGY, ERROR, UNVOTED = "perplexity", "energy kept", "error", "without a vote"
SHARE, LOST = "share removed", "energy lost"
BOTH = "columns on both sides"
# Conflicts of a client's and the server's group: ties by position, ties by magnitude, and what has no conflict.
CONFLICTS = (
    (COLUMN_POSITION, COLUMN, LAYER),
    (FLAT_POSITION, FLAT_COLUMN, FLAT),
    (REVERSED_POSITION, REVERSED, COLUMN_CLIENT),
)
# How much goes from each channel, and by which order of its weights; what goes at random stands in the table alone.
GRID = {
    "the same share": {
        "position": COLUMN_POSITION,
        "magnitude": COLUMN,
        "smallest": COLUMN_CLIENT,
    },
    "what the layer group takes": {
        "position": SHARES_POSITION,
        "magnitude": LAYER,
        "smallest": SHARES_MAGNITUDE,
    },
    "the same share, no norm in votes": {"position": FLAT_POSITION, "magnitude": FLAT_COLUMN},
    "clients by column, server by row": {"position": REVERSED_POSITION, "magnitude": REVERSED},
}


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
    shown = [f"{each.mean:.1%}" + ("" if each.low is None else f" [{each.low:.1%}, {each.high:.1%}]") for each in left]
    # A word is given only where whole intervals are beyond a quarter and three quarters.
    if all(each.high is not None and each.high <= 0.25 for each in left):
        meaning = (
            "the collapse comes of deciding by position among weights with equal votes, which a conflict of groups "
            "makes matter; neither the conflict nor the same share of each channel explains it alone"
        )
    elif all(each.low is not None and each.low >= 0.75 for each in left):
        meaning = "the order of ties hardly matters; the conflict of groups explains the damage"
    else:
        meaning = "neither the order of ties nor the conflict of groups explains it alone, as far as these draws tell"
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
            "order of a channel's weights",
            "perplexity",
            [
                Series(name, {label: values.spread(PERPLEXITY, variant) for label, variant in variants.items()})
                for name, variants in GRID.items()
            ],
            references={"unpruned": values.spread(PERPLEXITY, DENSE).mean},
        ),
    ]
