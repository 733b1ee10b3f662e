"""Votes, statistics and units at equal epsilon: what noise leaves of each.

The server adds the noise (``--dp central``), which is the best that each payload can do; no ledger remembers the
releases, so that these are simulations and no claims. All propagate densely, as statistics do. Lines show what needs
no private text: public-only, where public text is named (the demo brings its own), and magnitude.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.studies import sweep_study
from experiments.studies.findings import Row, Sentence, chosen, over_seeds, paired, summarise, told
from experiments.studies.panels import Panel, Series
from experiments.studies.sweep_study import Asked, Found

NOISELESS = "none"
OF_NOISE = ("dp", "epsilon", "adjacency", "delta")
AXES = {
    "payload": "votes,statistics,units",
    "epsilon": f"{NOISELESS},1,3,8",
    "clients": "16",
    "sparsity": "0.5",
    "adjacency": "client-zero-out",
    "delta": "1e-5",
}
MINUTES = "about 3 minutes of one core"
PUBLIC_WINDOWS = "256"
BY = ("sparsity", "clients", "payload", "epsilon")
FIGURES = {
    "perplexity": "perplexity_federated",
    "public-only": "perplexity_public",
    "magnitude": "perplexity_magnitude",
    "noise multiplier": "noise_multiplier_found",
}
PERPLEXITIES = ("perplexity_federated", "perplexity_public", "perplexity_magnitude")
LOG = "log perplexity"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the study's flags."""
    sweep_study.add_flags(parser, AXES, minutes=MINUTES, defaults={"public-windows": PUBLIC_WINDOWS})


def run(*, out: Path, **flags: Any) -> Found:
    """Run what is missing, and write what it says.

    Args:
        out: a folder that exists.
        **flags: those of :func:`add_flags`.

    Raises:
        InputError: a flag is refused, or no run has a result.
    """
    asked = Asked.of(flags, out=out, axes=AXES)
    axes = {"dp": ("central",), **asked.axes}
    if axes["epsilon"] == (NOISELESS,):
        axes = {name: values for name, values in axes.items() if name not in OF_NOISE}
    spec = asked.spec(
        **axes,
        propagate="dense",
        baselines="dense,central,public,magnitude",
    )
    rows = asked.rows("payloads", spec)
    return sweep_study.conclude("payloads", found(rows), rows, out=out)


def found(rows: Sequence[Row]) -> Found:
    """Read the rows."""
    rows = [_named(row) for row in rows]
    settings = list(dict.fromkeys((str(row["sparsity"]), row["clients"]) for row in rows))
    return Found(
        question="What does noise leave of votes, statistics and units at equal epsilon?",
        lines=summarise(rows, by=BY, figures=FIGURES),
        panels=[_panel(rows, *setting) for setting in settings],
        sentences=[sentence for setting in settings for sentence in _sentences(rows, *setting)],
        notes=("no ledger was charged: runs with noise are simulations and no claim about anybody",),
    )


def _named(row: Row) -> Row:
    """Name the run without noise, and take logarithms: noisy votes spread over powers of ten."""
    logs = {f"log_{name}": math.log(row[name]) for name in PERPLEXITIES if row.get(name) is not None}
    return row | logs | {"epsilon": f"{float(row['epsilon']):g}" if row.get("epsilon") else NOISELESS}


def _sentences(rows: Sequence[Row], sparsity: str, clients: int) -> list[Sentence]:
    sentences = []
    payloads = list(dict.fromkeys(row["payload"] for row in rows))
    for epsilon in dict.fromkeys(row["epsilon"] for row in rows):
        of = {
            payload: chosen(rows, sparsity=sparsity, clients=clients, epsilon=epsilon, payload=payload)
            for payload in payloads
        }
        level = "without noise" if epsilon == NOISELESS else f"epsilon {epsilon}"
        for payload in payloads:
            name = f"{payload}, {level}, {clients} clients at {sparsity},"
            ours = f"log_{FIGURES['perplexity']}"
            if payload != payloads[0]:
                sentences += told(name, payloads[0], paired(of[payload], ours, of[payloads[0]]), what=LOG)
            for other in ("public-only", "magnitude"):
                if other != "magnitude" or payload != "units":  # that baseline removes weights
                    difference = paired(of[payload], ours, of[payload], f"log_{FIGURES[other]}")
                    sentences += told(name, other, difference, what=LOG)
    return sentences


def _panel(rows: Sequence[Row], sparsity: str, clients: int) -> Panel:
    own = chosen(rows, sparsity=sparsity, clients=clients)
    levels = sorted(dict.fromkeys(row["epsilon"] for row in own), key=lambda each: (each == NOISELESS, _number(each)))
    series = []
    for payload in dict.fromkeys(row["payload"] for row in own):
        of = {level: chosen(own, payload=payload, epsilon=level) for level in levels}
        series.append(Series(payload, {place: over_seeds(each, "perplexity_federated") for place, each in of.items()}))
    # Of weights, not of units, whose baselines remove units too.
    weights = [row for row in own if row["payload"] == own[0]["payload"] and row["epsilon"] == own[0]["epsilon"]]
    lines = {name: over_seeds(weights, f"perplexity_{name}") for name in ("dense", "public", "magnitude")}
    references = {f"{name} ({own[0]['payload']})": each.mean for name, each in lines.items() if each is not None}
    return Panel(f"{clients} clients, sparsity {sparsity}", "epsilon", "perplexity", series, references)


def _number(level: str) -> float:
    return float("inf") if level == NOISELESS else float(level)
