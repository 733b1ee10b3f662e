"""Maps over the model: how sparse each matrix became, and how far the clients agreed on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from experiments.report.document import Axis, Block, Curves, Grid, Picture, Section, Series, Table, Text
from experiments.report.document import Sources as Named
from experiments.report.fields import Unreadable
from experiments.report.groups import Setting, settings_of
from experiments.report.intervals import listed
from experiments.report.runs import Run
from experiments.report.saved import VOTES, Agreement, agreement, place

EVEN = 1e-3  # sparsities that differ by less are one: a group's share is rounded down to whole weights
MOST_MAPS = 6


def layers(runs: Sequence[Run], complaints: list[str]) -> Section:
    """Draw maps, one for each setting; seeds of a setting share the map of the first.

    Args:
        runs: all.
        complaints: gets a line for every file that cannot be read.
    """
    blocks: list[Block] = []
    settings = settings_of(runs)
    blocks += _sparsities(settings)
    blocks += _agreements(settings, complaints)
    return Section("layers", "Layer by layer", tuple(blocks))


def _sparsities(settings: Sequence[Setting]) -> list[Block]:
    uneven = [each for each in settings if each.first.fractions and _spread(each.first.fractions) > EVEN]
    even = [each for each in settings if each.first.fractions and each not in uneven]
    blocks: list[Block] = []
    if even:
        shares = ", ".join(dict.fromkeys(f"{100 * each.first.achieved:.2f} %" for each in even))
        named = tuple(run.name for each in even for run in each.runs)
        blocks.append(
            Text(f"Every matrix lost the same share of its weights, {shares}, in {', '.join(named)}: no map is needed.")
        )
    for number, each in enumerate(uneven[:MOST_MAPS]):
        blocks.append(
            _map(
                each.first.fractions,
                key=f"sparsity-{number}",
                title=f"Share of weights removed, by matrix: {each.name}",
                unit="share removed",
                run=each.first,
                ends=(0.0, 1.0),
            )
        )
    return [*blocks, *_rest(uneven)]


def _rest(settings: Sequence[object]) -> list[Block]:
    if len(settings) <= MOST_MAPS:
        return []
    return [Text(f"{len(settings) - MOST_MAPS} more settings have no map here; report them alone to see theirs.")]


def _agreements(settings: Sequence[Setting], complaints: list[str]) -> list[Block]:
    found: list[tuple[Setting, Run, Agreement]] = []
    without = []
    for each in settings:
        measured = _first_saved(each, complaints)
        if measured is None:
            without.append(each)
        else:
            found.append((each, *measured))
    blocks: list[Block] = []
    maps = _different(found)
    for number, (name, run, alike) in enumerate(maps[:MOST_MAPS]):
        blocks.append(
            _map(
                alike.by_matrix,
                key=f"agreement-{number}",
                title=f"Agreement between clients, by matrix: {name}",
                unit="agreement",
                run=run,
                ends=(min(alike.by_matrix.values()), 1.0),
            )
        )
    if found:
        blocks.append(_votes(maps))
    if without:
        blocks.append(
            Text("Agreement between clients is not known for " + "; ".join(_why(each.first) for each in without) + ".")
        )
    return [*blocks, *_rest(maps)]


def _different(found: Sequence[tuple[Setting, Run, Agreement]]) -> list[tuple[str, Run, Agreement]]:
    """Draw what is the same once, under all its names: protocols that add exactly give the same votes."""
    merged: list[tuple[list[str], Run, Agreement]] = []
    for setting, run, measured in found:
        names = next((names for names, _, former in merged if former == measured), None)
        if names is None:
            merged.append(([setting.name], run, measured))
        else:
            names.append(setting.name)
    return [(listed(names), run, measured) for names, run, measured in merged]


def _first_saved(setting: Setting, complaints: list[str]) -> tuple[Run, Agreement] | None:
    for run in setting.runs:
        try:
            measured = agreement(run)
        except Unreadable as error:
            complaints.append(str(error))
            continue
        if measured is not None:
            return run, measured
    return None


def _why(run: Run) -> str:
    if run.payload != "votes":
        return f"{run.name} (clients shared {run.payload}, not votes on weights)"
    if run.is_private:
        return f"{run.name} (votes are noisy)"
    if (run.folder / VOTES).is_file():
        return f"{run.name} (its {VOTES} tells of no two clients)"
    return f"{run.name} (needs --save-votes)"


def _spread(values: Mapping[str, float]) -> float:
    return max(values.values()) - min(values.values())


def chance_of(sparsity: float) -> float:
    """Give how often two clients that drew their weights blindly would treat one alike."""
    return sparsity**2 + (1 - sparsity) ** 2


def _map(
    values: Mapping[str, float], *, key: str, title: str, unit: str, run: Run, ends: tuple[float, float]
) -> Picture:
    """Lay values out by block and by what a matrix is there; what shares a square is averaged."""
    squares: dict[tuple[str, str], list[float]] = {}
    for name, value in values.items():
        block, kind = place(name)
        squares.setdefault(("-" if block is None else str(block), kind), []).append(value)
    blocks = list(dict.fromkeys(block for block, _ in squares))
    kinds = list(dict.fromkeys(kind for _, kind in squares))

    def at(block: str, kind: str) -> float | None:
        found = squares.get((block, kind))
        return None if found is None else math.fsum(found) / len(found)

    rows = tuple(tuple(at(block, kind) for block in blocks) for kind in kinds)
    lowest, highest = (function(values, key=values.__getitem__) for function in (min, max))
    chance = (
        " It is the chance that two clients treat a weight alike; of two that removed weights blindly it would be "
        f"{chance_of(run.achieved):.3f}."
        if unit == "agreement"
        else ""
    )
    return Picture(
        key=key,
        title=title,
        says=f"{unit.capitalize()}, from {values[lowest]:.3f} ({lowest}) to {values[highest]:.3f} ({highest}).{chance}",
        drawing=Grid(
            columns=tuple(blocks),
            rows=tuple(kinds),
            values=rows,
            texts=tuple(tuple("" if value is None else f"{value:.2f}" for value in row) for row in rows),
            low=ends[0],
            high=ends[1],
            unit=unit,
            across="block",
        ),
        table=Table(
            f"{title} ({unit})",
            ("matrix", *(f"block {block}" for block in blocks), "from"),
            tuple(
                (kind, *("" if value is None else f"{value:.4f}" for value in row), Named((run.name,)))
                for kind, row in zip(kinds, rows, strict=True)
            ),
        ),
    )


def _votes(found: Sequence[tuple[str, Run, Agreement]]) -> Picture:
    """Draw how many weights got how many votes."""
    series = []
    for name, _, measured in found[:MOST_MAPS]:
        last = len(measured.by_votes) - 1
        places = tuple(votes / last for votes in range(last + 1))
        notes = tuple(
            f"{votes} of {last} clients: {100 * share:.1f} % of weights"
            for votes, share in enumerate(measured.by_votes)
        )
        series.append(Series(name=name, x=places, y=measured.by_votes, notes=notes))
    highest = max(value for each in series for value in each.y)
    unanimous = "; ".join(
        f"{name}: {100 * (measured.by_votes[0] + measured.by_votes[-1]):.1f} % of weights unanimous"
        for name, _, measured in found[:MOST_MAPS]
    )
    ticks = tuple((share, f"{100 * share:g} %") for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    return Picture(
        key="votes",
        title="Agreement between clients: weights by votes",
        says=f"Share of weights by the share of clients that vote to remove them. {unanimous}.",
        drawing=Curves(
            Axis("clients that vote to remove a weight", False, -0.03, 1.03, ticks),
            Axis("share of weights", False, 0.0, 1.05 * highest),
            tuple(series),
        ),
        table=Table(
            "Share of weights by number of votes",
            ("setting", "clients", "votes: share of weights", "mean agreement of two clients", "from"),
            tuple(
                (
                    name,
                    str(len(measured.by_votes) - 1),
                    "; ".join(f"{votes}: {share:.4f}" for votes, share in enumerate(measured.by_votes)),
                    f"{math.fsum(measured.by_matrix.values()) / len(measured.by_matrix):.4f}",
                    Named((run.name,)),
                )
                for name, run, measured in found[:MOST_MAPS]
            ),
        ),
    )
