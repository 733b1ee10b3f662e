"""Tables of the paper's shape: groups, schedules, scaling and sparsity; numbers of clients; windows a client.

Every federated figure stands beside what one party with all text reaches (central), what a client reaches alone, and
the dense model. One-shot runs propagate locally, as in the paper (arXiv 2505.13547, tables 1 to 7, figures 2 and 3);
2:4 has no group. The paper shares 128 windows out over the clients; here each client holds its own, so that more
clients are more text.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.report.intervals import spread
from experiments.studies import sweep_study
from experiments.studies.findings import NOTHING, Row, Sentence, chosen, over_seeds, paired, summarise, told
from experiments.studies.panels import Panel, Series
from experiments.studies.sweep_study import Asked, Found

AXES = {
    "group": "layer,row,column",
    "schedule": "one-shot,iterative",
    "sparsity": "0.5,0.6,2:4",
    "clients": "2,4,8,16,32,64",
    "windows-per-client": "1,2,4,8,16",
}
MINUTES = "about 12 minutes of one core"
MANY, FEW = "16", "8"  # clients of the table of methods, and of that of windows
STANDARD_WINDOWS = "2"
SWEEPS = ("methods", "clients", "windows")
BASELINES = "dense,central,local"
BY = ("sweep", "sparsity", "schedule", "group", "clients", "windows_per_client")
FIGURES = {
    "federated": "perplexity_federated",
    "scaled": "perplexity_scaled",
    "central": "perplexity_central",
    "local-only": "perplexity_local_mean",
    "dense": "perplexity_dense",
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
    axes, first = asked.axes, asked.axes["sparsity"][0]
    methods = asked.spec(
        group=axes["group"],
        schedule=axes["schedule"],
        sparsity=axes["sparsity"],
        scale=True,  # such a run measures the unscaled model too
        clients=MANY if MANY in axes["clients"] else axes["clients"][-1],
        windows_per_client=STANDARD_WINDOWS,
        baselines=BASELINES,
    )
    clients = asked.spec(
        clients=axes["clients"], sparsity=first, windows_per_client=STANDARD_WINDOWS, baselines=BASELINES
    )
    windows = asked.spec(
        windows_per_client=axes["windows-per-client"],
        sparsity=first,
        clients=FEW if FEW in axes["clients"] else axes["clients"][-1],
        baselines=BASELINES,
    )
    rows = [
        row for label, spec in zip(SWEEPS, (methods, clients, windows), strict=True) for row in asked.rows(label, spec)
    ]
    return sweep_study.conclude("paper", found(rows, sparsity=first), rows, out=out)


def found(rows: Sequence[Row], *, sparsity: str) -> Found:
    """Read the rows.

    Args:
        rows: of the three sweeps.
        sparsity: that of clients, windows and the picture of methods.
    """
    sparsities = list(dict.fromkeys(str(row["sparsity"]) for row in rows))
    return Found(
        question="Which method, and how many clients and windows, does pruning by votes need?",
        lines=sorted(
            summarise(rows, by=BY, figures=FIGURES),
            key=lambda line: (SWEEPS.index(line.setting["sweep"]), sparsities.index(line.setting["sparsity"])),
        ),
        panels=[
            _methods_panel(rows, sparsity),
            _counts_panel(rows, "clients", "clients", "number of clients"),
            _counts_panel(rows, "windows", "windows_per_client", "windows a client"),
        ],
        sentences=[*_of_methods(rows), *_of_counts(rows)],
    )


def _of_methods(rows: Sequence[Row]) -> list[Sentence]:
    methods = [row for row in rows if row["sweep"] == "methods"]
    sentences = []
    for sparsity in dict.fromkeys(str(row["sparsity"]) for row in methods):
        for schedule in dict.fromkeys(row["schedule"] for row in methods):
            groups = dict.fromkeys(row["group"] for row in methods if str(row["sparsity"]) == sparsity)
            best = next(iter(groups), None)  # the first that was asked: layer
            name = f"{best or 'votes'} {schedule} at {sparsity}"
            base = chosen(methods, sparsity=sparsity, schedule=schedule, group=best)
            sentences += told(name, "central", paired(base, "perplexity_federated", base, "perplexity_central"))
            sentences += told(name, "local-only", paired(base, "perplexity_federated", base, "perplexity_local_mean"))
            sentences += told(f"{name}, scaled,", name, paired(base, "perplexity_scaled", base, "perplexity_federated"))
            for other in list(groups)[1:]:
                rest = chosen(methods, sparsity=sparsity, schedule=schedule, group=other)
                sentences += told(f"{other} {schedule} at {sparsity}", name, paired(rest, "perplexity_federated", base))
        one_shot, iterative = (
            chosen(methods, sparsity=sparsity, schedule=schedule, group=best) for schedule in ("one-shot", "iterative")
        )
        sentences += told(
            f"iterative at {sparsity}", f"one-shot at {sparsity}", paired(iterative, "perplexity_federated", one_shot)
        )
    return sentences


def _of_counts(rows: Sequence[Row]) -> list[Sentence]:
    sentences = []
    for label, name, words in (
        ("clients", "clients", "clients"),
        ("windows", "windows_per_client", "windows a client"),
    ):
        own = [row for row in rows if row["sweep"] == label]
        counts = sorted({int(row[name]) for row in own})
        for count in counts:
            of = chosen(own, **{name: count})
            for other in ("local_mean", "central"):
                sentences += told(
                    f"federated, {_counted(count, words)},",
                    other.replace("local_mean", "local-only"),
                    paired(of, "perplexity_federated", of, f"perplexity_{other}"),
                )
        if len(counts) > 1:
            fewest, most = chosen(own, **{name: counts[0]}), chosen(own, **{name: counts[-1]})
            sentences += told(
                f"federated, {_counted(counts[-1], words)},",
                f"federated, {_counted(counts[0], words)}",
                paired(most, "perplexity_federated", fewest),
            )
    return sentences


def _counted(count: int, words: str) -> str:
    return f"{count} {words.replace('windows', 'window').replace('clients', 'client') if count == 1 else words}"


def _methods_panel(rows: Sequence[Row], sparsity: str) -> Panel:
    own = [row for row in rows if row["sweep"] == "methods" and str(row["sparsity"]) == sparsity]
    groups = list(dict.fromkeys(row["group"] for row in own))
    series = []
    for schedule in dict.fromkeys(row["schedule"] for row in own):
        for words, figure in (("", "perplexity_federated"), (", scaled", "perplexity_scaled")):
            points = {
                str(group or NOTHING): over_seeds(chosen(own, group=group, schedule=schedule), figure)
                for group in groups
            }
            series.append(Series(f"{schedule}{words}", points))
    return Panel(f"methods, sparsity {sparsity}", "comparison group", "perplexity", series, _references(own))


def _counts_panel(rows: Sequence[Row], label: str, name: str, words: str) -> Panel:
    own = [row for row in rows if row["sweep"] == label]
    series = [
        Series(title, {float(row[name]): over_seeds(chosen(own, **{name: row[name]}), FIGURES[title]) for row in own})
        for title in ("federated", "central", "local-only")
    ]
    return Panel(f"{words}, sparsity {own[0]['sparsity']}", words, "perplexity", series)


def _references(rows: Sequence[Row]) -> dict[str, float]:
    values = {
        title: [float(row[FIGURES[title]]) for row in rows if row.get(FIGURES[title]) is not None]
        for title in ("dense", "central", "local-only")
    }
    return {title: spread(each).mean for title, each in values.items() if each}
