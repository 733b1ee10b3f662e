"""What it costs when clients leave: at each step, a share of them, by perplexity, bytes, seconds, and aborted runs.

Every client leaves with the given probability, in every session of a run (one a block) anew, under additive masks. A
run one of whose sessions keeps fewer clients than it takes to open the totals aborts, and has no perplexity: two thirds
by default, beside which stands a bare majority, which holds against a server that follows the protocol. What a client
has submitted is in the sum, even if it leaves later.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import ABORTED
from experiments.report.intervals import Spread
from experiments.studies import sweep_study
from experiments.studies.findings import Line, Row, Sentence, chosen, over_seeds, paired, summarise, told, value_of
from experiments.studies.panels import Panel, Series
from experiments.studies.sweep_study import Asked, Found

STEPS = ("share", "submit", "confirm", "reveal")
RATES = (0.1, 0.3)
NOBODY, DEFAULT = "none", "two thirds"
AXES = {
    "dropout": ",".join([NOBODY, *(f"{rate}@{step}" for rate in RATES for step in STEPS)]),
    "recovery-threshold": f"{NOBODY},9",
    "clients": "16",
    "protocol": "additive",
    "sparsity": "0.5",
}
MINUTES = "about 2 minutes on two cores"
BY = ("protocol", "clients", "sparsity", "recovery_threshold", "dropout")
FIGURES = {
    "perplexity": "perplexity_federated",
    "survivors": "survivors_min",
    "MB to the server": "megabytes_in",
    "client seconds": "seconds_client_max",
    "server seconds": "seconds_server",
}
ABORTS = "aborts"
COMPARED = {
    "perplexity_federated": "perplexity",
    "seconds_server": "seconds of the server",
    "megabytes_in": "MB to the server",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the study's flags."""
    sweep_study.add_flags(parser, AXES, minutes=MINUTES)


def run(*, out: Path, **flags: Any) -> Found:
    """Run what is missing, and write what it says.

    Args:
        out: a folder that exists.
        **flags: those of :func:`add_flags`.

    Raises:
        InputError: a flag is refused, or no run has a result.
    """
    asked = Asked.of(flags, out=out, axes=AXES)
    rows = asked.rows(
        "dropout", asked.spec(**{n.replace("-", "_"): v for n, v in asked.axes.items()}, baselines="dense")
    )
    return sweep_study.conclude("dropout", found(rows), rows, out=out)


def found(rows: Sequence[Row]) -> Found:
    """Read the rows."""
    rows = [_named(row) for row in rows]
    settings = list(dict.fromkeys(_setting(row) for row in rows))
    lines = [_with_aborted(line, rows) for line in summarise(rows, by=BY, figures=FIGURES)]
    return Found(
        question="What does it cost when clients leave at a step?",
        lines=lines,
        panels=[
            _panel(rows, settings, "perplexity_federated", "perplexity of runs that did not abort"),
            _panel(rows, settings, "megabytes_in", "MB that the server receives"),
            _panel(rows, settings, ABORTS, "share of runs that abort"),
        ],
        sentences=[sentence for setting in settings for sentence in _sentences(rows, setting)],
        digits={"survivors": 1, "MB to the server": 3, "client seconds": 3, "server seconds": 3},
        notes=("seconds were measured while other runs were under way, and compare within this table only",),
    )


def _named(row: Row) -> Row:
    sent = row.get("bytes_server_in")
    return row | {
        "dropout": value_of(row, "dropout") or NOBODY,
        "recovery_threshold": value_of(row, "recovery_threshold") or DEFAULT,
        "megabytes_in": None if sent is None else sent / 1e6,
    }


def _setting(row: Row) -> tuple[str, ...]:
    return tuple(value_of(row, name) for name in BY[:-1])


def _of(rows: Sequence[Row], setting: tuple[str, ...], dropout: str) -> list[Row]:
    return [row for row in rows if _setting(row) == setting and row["dropout"] == dropout]


def _with_aborted(line: Line, rows: Sequence[Row]) -> Line:
    *setting, dropout = line.setting.values()
    of = _of(rows, tuple(setting), dropout)
    aborted = sum(row.get("status") == ABORTED for row in of)
    return Line({**line.setting, "aborted": f"{aborted} of {len(of)}"}, line.seeds, line.figures)


def _sentences(rows: Sequence[Row], setting: tuple[str, ...]) -> list[Sentence]:
    sentences = []
    of_all = chosen(_of(rows, setting, NOBODY))
    for dropout in dict.fromkeys(row["dropout"] for row in rows if row["dropout"] != NOBODY):
        of = _of(rows, setting, dropout)
        aborted = sum(row.get("status") == ABORTED for row in of)
        name = f"{_words(setting)}: dropout {dropout}"
        sentences.append(Sentence(f"{name} aborts {aborted} of {len(of)} runs."))
        for figure, what in COMPARED.items():
            sentences += told(name, "none", paired(chosen(of), figure, of_all), what=what)
    return sentences


def _words(setting: tuple[str, ...]) -> str:
    protocol, clients, sparsity, threshold = setting
    return f"{protocol}, {clients} clients at {sparsity}, threshold {threshold}"


def _panel(rows: Sequence[Row], settings: Sequence[tuple[str, ...]], figure: str, words: str) -> Panel:
    places = list(dict.fromkeys(row["dropout"] for row in rows))

    def spread_at(setting: tuple[str, ...], place: str) -> Spread | None:
        of = _of(rows, setting, place)
        if figure == ABORTS:
            return (
                Spread(sum(row.get("status") == ABORTED for row in of) / len(of), None, None, len(of)) if of else None
            )
        return over_seeds(chosen(of), figure)

    varied = [number for number in range(len(BY) - 1) if len({setting[number] for setting in settings}) > 1]
    series = [
        Series(
            ", ".join(f"{BY[number].replace('_', ' ')} {setting[number]}" for number in varied) or setting[0],
            {place: spread_at(setting, place) for place in places},
        )
        for setting in settings
    ]
    return Panel(words, "share that leaves, at which step", words, series)
