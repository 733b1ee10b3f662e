"""Privacy against utility: perplexity against epsilon, and against what the strongest attack reaches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from experiments.report.audited import Cell
from experiments.report.audits import Audit
from experiments.report.document import Axis, Block, Curves, Picture, Section, Series, Table, Text
from experiments.report.document import Sources as Named
from experiments.report.groups import Panel, Setting, names_of, panels_of, settings_of
from experiments.report.matching import DIFFERS, cell_of
from experiments.report.runs import Run

STRENGTH = ("noise strength",)
LINES = {"dense": "dense (unpruned)", "central": "central (one party holds all text)", "public": "public-only"}
ALIKE = 0.005  # perplexities that two digits do not tell apart
SIDE_BY_SIDE = 1.6  # how far, as a factor, points without a claim stand apart at most
MARGIN = 0.06  # of the axis, left free at both ends


def tradeoff(runs: Sequence[Run], audits: Sequence[Audit]) -> Section:
    """Draw what privacy costs in the largest group of runs that can be compared."""
    panels = panels_of(runs)
    blocks: list[Block] = [Text("No perplexity was measured, so there is no curve of privacy against utility.")]
    if panels:
        blocks = _panel(panels[0], audits, 0)
    if len(panels) > 1:
        blocks.append(Text(f"Below the cost: {len(panels) - 1} more group(s) of runs that can be compared."))
    return Section("trade-off", "Privacy against utility", tuple(blocks))


def further(runs: Sequence[Run], audits: Sequence[Audit]) -> list[Section]:
    """Draw the same for all other groups; none where there is no other."""
    panels = panels_of(runs)[1:]
    blocks = [block for number, panel in enumerate(panels, start=1) for block in _panel(panel, audits, number)]
    return [Section("further", "Privacy against utility in further settings", tuple(blocks))] if blocks else []


def _panel(panel: Panel, audits: Sequence[Audit], number: int) -> list[Block]:
    settings = settings_of(panel.runs)
    drawn = [setting for setting in settings if setting.figure(lambda run: run.value) is not None]
    blocks: list[Block] = [Text(f"{panel.title[:1].upper()}{panel.title[1:]}.")]
    if len(drawn) < len(settings):
        names = "; ".join(setting.name for setting in settings if setting not in drawn)
        blocks.append(Text(f"Not drawn, for its perplexity is infinite: {names}."))
    if not drawn:
        return blocks
    if any(setting.first.is_private for setting in drawn):
        blocks.append(_against_epsilon(panel, drawn, number))
    else:
        blocks.append(
            Text("No run of this panel used differential privacy: there is no epsilon to set perplexity against.")
        )
        blocks.append(_against_epsilon(panel, drawn, number))
    audited = [
        (setting, *found)
        for setting in drawn
        if (found := cell_of(setting.first, audits)) and found[1].best.auc.value is not None
    ]
    if audited:
        blocks.append(_against_attack(panel, audited, number))
    else:
        blocks.append(
            Text("No audit among the inputs is of a setting drawn here: there is no attack to set perplexity against.")
        )
    return blocks


def _lines(panel: Panel) -> dict[str, float]:
    """Give the baselines' perplexities by name: means over the panel's runs, which may hold different text."""
    found = {}
    for name, label in LINES.items():
        values = panel.values(name)
        if values:
            mean = math.fsum(values) / len(values)
            differs = f"mean of {min(values):.2f} to {max(values):.2f}, " if max(values) - min(values) > ALIKE else ""
            found[f"{label}: {differs}{mean:.2f}"] = mean
    return found


def _series(panel: Panel, drawn: Sequence[Setting], places: Sequence[float], notes: Sequence[str]) -> list[Series]:
    """Sort points into series: settings that differ in the strength of noise alone are one."""
    series_names = names_of([setting.first for setting in drawn], but=(*STRENGTH, "dp", "adjacency", "delta", "noise"))
    grouped: dict[str, list[int]] = {}
    for index, setting in enumerate(drawn):
        grouped.setdefault(series_names[setting.first.name], []).append(index)
    found = []
    for name, members in grouped.items():
        members.sort(key=lambda index: places[index])
        spreads = [spread for index in members if (spread := drawn[index].figure(lambda run: run.value))]
        has_intervals = any(spread.low is not None for spread in spreads)
        found.append(
            Series(
                name=name,
                x=tuple(places[index] for index in members),
                y=tuple(spread.mean for spread in spreads),
                low=tuple(spread.mean if spread.low is None else spread.low for spread in spreads)
                if has_intervals
                else (),
                high=tuple(spread.mean if spread.high is None else spread.high for spread in spreads)
                if has_intervals
                else (),
                notes=tuple(notes[index] for index in members),
            )
        )
    return found


def _height(series: Sequence[Series], lines: dict[str, float]) -> Axis:
    """Give the axis of perplexity: wide enough for all, with intervals, linear unless values differ a lot."""
    ends = [value for each in series for value in (*each.y, *each.low, *each.high)] + list(lines.values())
    positive = [value for value in ends if value > 0]
    low, high = min(positive), max(positive)
    if high > 5 * low:
        room = (high / low) ** MARGIN
        return Axis("perplexity (lower is better)", True, low / room, high * room)
    room = MARGIN * (high - low) or 1.0
    return Axis("perplexity (lower is better)", False, low - room, high + room)


def _guides(lines: dict[str, float], axis: Axis) -> tuple[Series, ...]:
    return tuple(
        Series(name=label, x=(axis.low, axis.high), y=(value, value), role="limit") for label, value in lines.items()
    )


def _against_epsilon(panel: Panel, drawn: Sequence[Setting], number: int) -> Picture:
    epsilons = sorted({each.first.epsilon for each in drawn if each.first.epsilon is not None})
    # What has no claim has no epsilon: it stands right of all, under a name of its own.
    beyond = 4 * epsilons[-1] if epsilons else 1.0
    places = [beyond if each.first.epsilon is None else each.first.epsilon for each in drawn]
    notes = [f"{each.name}: {_shown(each)}" for each in drawn]
    together = _series(panel, drawn, places, notes)
    asides = [SIDE_BY_SIDE ** ((2 * index + 1) / len(together) - 1) for index in range(len(together))]
    series = [_parted(each, beyond, aside=aside) for each, aside in zip(together, asides, strict=True)]
    lines = _lines(panel)
    low = epsilons[0] / 2 if epsilons else 0.5
    ticks = (*((epsilon, f"{epsilon:.3g}") for epsilon in _apart(epsilons)), (beyond, "no claim"))
    axis = Axis("claimed epsilon (smaller is more private)", True, low, 2 * beyond, ticks)
    flat = [piece for pieces in series for piece in pieces]
    return Picture(
        key=f"perplexity-epsilon-{number}",
        title="Perplexity against the claimed epsilon",
        says=_says(drawn, lines, "claimed epsilon"),
        drawing=Curves(axis, _height(flat, lines), (*flat, *_guides(lines, axis))),
        table=Table(
            "Perplexity and claims",
            ("setting", "epsilon", "perplexity", "seeds", "dense", "central", "public-only", "from"),
            tuple(
                (
                    each.name,
                    "no claim" if each.first.epsilon is None else f"{each.first.epsilon:.4g}",
                    _shown(each),
                    str(len({run.seed for run in each.runs})),
                    *(_baseline(each, name) for name in LINES),
                    Named(tuple(run.name for run in each.runs)),
                )
                for each in drawn
            ),
        ),
    )


def _apart(values: Sequence[float]) -> list[float]:
    """Leave out values so near to the one before that their names would lie on each other."""
    kept: list[float] = []
    for value in values:
        if not kept or value > 1.25 * kept[-1]:
            kept.append(value)
    return kept


def _parted(series: Series, beyond: float, *, aside: float) -> list[Series]:
    """Take points without a claim off a line, for nothing lies between them and the last epsilon.

    Args:
        series: by epsilon, rising.
        beyond: where points without a claim stand.
        aside: by what factor this series stands aside of there, so that equal ones do not cover each other.
    """
    count = sum(place < beyond for place in series.x)
    pieces = [_part(series, slice(0, count))] if count else []
    if count < len(series.x):
        rest = _part(series, slice(count, None))
        pieces.append(replace(rest, x=tuple(place * aside for place in rest.x), shape="points"))
    return pieces


def _part(series: Series, part: slice) -> Series:
    return replace(
        series,
        x=series.x[part],
        y=series.y[part],
        low=series.low[part],
        high=series.high[part],
        notes=series.notes[part],
    )


def _against_attack(panel: Panel, audited: Sequence[tuple[Setting, Audit, Cell]], number: int) -> Picture:
    drawn = [setting for setting, _, _ in audited]
    places = [cell.best.auc.value or 0.0 for _, _, cell in audited]
    notes = [f"{setting.name}: {_shown(setting)}; AUC {cell.best.auc}" for setting, _, cell in audited]
    series = [replace(each, shape="points") for each in _series(panel, drawn, places, notes)]
    lines = _lines(panel)
    axis = Axis("AUC of the strongest attack (0.5: guessing; 1: certain)", False, min(0.45, *places) - 0.02, 1.02)
    return Picture(
        key=f"perplexity-attack-{number}",
        title="Perplexity against the strongest attack",
        says=f"{_says(drawn, lines, 'AUC')} The adversary is the server that nobody helps; under central noise, "
        f"whoever reads the released totals. Note: {DIFFERS}.",
        drawing=Curves(axis, _height(series, lines), (*series, *_guides(lines, axis))),
        table=Table(
            "Perplexity and attacks",
            ("setting", "perplexity", "adversary", "sees", "strongest attack", "AUC", "game", "from"),
            tuple(
                (
                    setting.name,
                    _shown(setting),
                    cell.adversary,
                    cell.sees,
                    cell.best.name,
                    str(cell.best.auc),
                    f"{audit.adjacency}, knowledge {audit.knowledge}",
                    Named((*(run.name for run in setting.runs), audit.name)),
                )
                for setting, audit, cell in audited
            ),
        ),
    )


def _shown(setting: Setting) -> str:
    found = setting.figure(lambda run: run.value)
    return "infinite" if found is None else found.shown()


def _baseline(setting: Setting, name: str) -> str:
    found = setting.figure(lambda run: run.perplexity.get(name))
    return "not measured" if found is None else found.shown()


def _says(drawn: Sequence[Setting], lines: dict[str, float], against: str) -> str:
    """Put a picture in words."""
    values = [spread.mean for each in drawn if (spread := each.figure(lambda run: run.value))]
    levels = "; ".join(lines)
    counts = {len({run.seed for run in each.runs}) for each in drawn}
    intervals = "Bars are 95 % t intervals over seeds." if max(counts) > 1 else "One seed each: there are no intervals."
    return (
        f"{len(drawn)} setting{'' if len(drawn) == 1 else 's'} by {against}; perplexity "
        f"{' to '.join(dict.fromkeys(f'{value:.2f}' for value in (min(values), max(values))))}. "
        f"Lines: {levels or 'none was measured'}. {intervals}"
    )
