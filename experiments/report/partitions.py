"""How text that falls unevenly to clients changes the result, where partitions differ."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.report.document import Axis, Block, Curves, Picture, Section, Series, Table, Text
from experiments.report.document import Sources as Named
from experiments.report.groups import Panel, Setting, names_of, panels_of, settings_of
from experiments.report.intervals import Spread
from experiments.report.runs import Run

BASELINES = {"central": "central (one party holds all text)", "public": "public-only", "dense": "dense (unpruned)"}
ROOM = 0.06


def partitions(runs: Sequence[Run]) -> Section:
    """Set partitions side by side, a panel for each group of runs that can be compared."""
    blocks: list[Block] = []
    for number, panel in enumerate(panels_of(runs)):
        kinds = list(dict.fromkeys(run.partition for run in panel.runs))
        if len(kinds) > 1:
            blocks.append(_picture(panel, kinds, number))
    if not blocks:
        blocks.append(
            Text("All runs that can be compared had the same partition of text: nothing is said of non-IID clients.")
        )
    return Section("partitions", "Clients whose text differs", tuple(blocks))


def _picture(panel: Panel, kinds: Sequence[str], number: int) -> Picture:
    settings = settings_of(panel.runs)
    names = names_of([each.first for each in settings], but=("partition", "client_field", "label_field"))
    places = {kind: float(place) for place, kind in enumerate(kinds)}
    series = [
        _joined(name, [each for each in settings if names[each.first.name] == name], places)
        for name in dict.fromkeys(names.values())
    ]
    alone = [(places[run.partition], value, run) for run in panel.runs for value in run.alone]
    if alone:
        series.append(
            Series(
                name="clients that prune alone, one each",
                x=tuple(place + 0.12 for place, _, _ in alone),
                y=tuple(value for _, value, _ in alone),
                notes=tuple(f"{run.name}: a client alone, {value:.2f}" for _, value, run in alone),
                shape="points",
            )
        )
    drawn = tuple(each for each in series if each.x)
    ends = [value for each in drawn for value in (*each.y, *each.low, *each.high)]
    room = ROOM * (max(ends) - min(ends)) or 1.0
    return Picture(
        key=f"partitions-{number}",
        title="Perplexity by partition of the text",
        says=f"{panel.title}. Partitions: {', '.join(kinds)}; perplexity from {min(ends):.2f} to {max(ends):.2f}. The "
        "evaluation text is one for all clients; perplexity on each client's own text is not in a run's result.",
        drawing=Curves(
            Axis(
                "how text falls to clients",
                False,
                -0.5,
                len(kinds) - 0.5,
                tuple((place, kind) for kind, place in places.items()),
            ),
            Axis("perplexity (lower is better)", False, min(ends) - room, max(ends) + room),
            drawn,
        ),
        table=Table(
            "Perplexity by partition",
            ("setting", "partition", "result", *BASELINES, "clients alone, worst to best", "from"),
            tuple(
                (
                    each.name,
                    each.first.partition,
                    _shown(each.figure(lambda run: run.value)),
                    *(_shown(each.figure(lambda run, name=name: run.perplexity.get(name))) for name in BASELINES),  # type: ignore[misc]
                    ", ".join(f"{value:.2f}" for run in each.runs for value in sorted(run.alone, reverse=True))
                    or "not measured",
                    Named(tuple(run.name for run in each.runs)),
                )
                for each in settings
            ),
        ),
    )


def _joined(name: str, settings: Sequence[Setting], places: dict[str, float]) -> Series:
    pairs = [(each, spread) for each in settings if (spread := each.figure(lambda run: run.value)) is not None]
    pairs.sort(key=lambda pair: places[pair[0].first.partition])
    has_intervals = any(spread.low is not None for _, spread in pairs)
    return Series(
        name=name,
        x=tuple(places[each.first.partition] for each, _ in pairs),
        y=tuple(spread.mean for _, spread in pairs),
        low=tuple(spread.mean if spread.low is None else spread.low for _, spread in pairs) if has_intervals else (),
        high=tuple(spread.mean if spread.high is None else spread.high for _, spread in pairs) if has_intervals else (),
        notes=tuple(f"{each.name}: {spread.shown()}" for each, spread in pairs),
    )


def _shown(found: Spread | None) -> str:
    return "not measured" if found is None else found.shown()
