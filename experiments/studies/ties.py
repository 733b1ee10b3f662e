"""Which of equally voted weights go: the smallest (magnitude), drawn ones (random), or the first (position).

With n clients there are n + 1 totals, so that the last weights to go are chosen among equal ones. How large a share of
all weights stands in such a tie is counted from the totals of the runs themselves. Layer group.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from experiments.studies import sweep_study
from experiments.studies.findings import Row, Sentence, chosen, over_seeds, paired, summarise, told
from experiments.studies.panels import Panel, Series
from experiments.studies.sweep_study import Asked, Found
from experiments.sweep.folder import DONE, SweepFolder

AXES = {"ties": "magnitude,random,position", "clients": "2,4,8,16", "sparsity": "0.5,0.7"}
MINUTES = "about 5 minutes on two cores, and 0.7 GB on disk"
BY = ("sparsity", "clients", "ties")
TIED = "tied_fraction"
FIGURES = {"federated": "perplexity_federated", "central": "perplexity_central", "share in a tie": TIED}


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
    first, *others = asked.axes["ties"]
    shared = {"clients": asked.axes["clients"], "sparsity": asked.axes["sparsity"], "group": "layer"}
    # The totals, which take room, are the same whatever breaks ties: one rule's runs keep them.
    rows = asked.rows("counted", asked.spec(ties=first, baselines="central", save_votes=True, **shared))
    folder = SweepFolder(asked.folder("counted"))
    rows = [row | {TIED: tied_fraction(folder.cell(row["cell"]))} if row["state"] == DONE else row for row in rows]
    if others:
        rows += asked.rows("others", asked.spec(ties=others, baselines="", **shared))
    return sweep_study.conclude("ties", found(rows), rows, out=out)


def tied_fraction(run: Path) -> float:
    """Count the share of weights among which the order of ties chose, from a run's totals and prune masks.

    In each matrix that is the weights whose total is that of the last weight removed, unless they all go.

    Args:
        run: folder of a finished run of votes with the layer group and ``--save-votes``.
    """
    tied = weights = 0
    with (
        safe_open(run / "votes.safetensors", framework="pt") as votes,
        safe_open(run / "prune_masks.safetensors", framework="pt") as masks,
    ):
        for name in masks.keys():  # noqa: SIM118 - a file, no mapping
            total, prune_mask = votes.get_tensor(name), masks.get_tensor(name).bool()
            weights += prune_mask.numel()
            if bool(prune_mask.any()):
                at_cutoff = total == total[prune_mask].min()
                tied += int(at_cutoff.sum()) if bool((at_cutoff & ~prune_mask).any()) else 0
    return tied / weights


def found(rows: Sequence[Row]) -> Found:
    """Read the rows."""
    lines = sorted(
        summarise(rows, by=BY, figures=FIGURES),
        key=lambda line: (line.setting["sparsity"], int(line.setting["clients"])),
    )
    return Found(
        question="Which of equally voted weights should go?",
        lines=lines,
        panels=[_panel(rows, sparsity) for sparsity in _sparsities(rows)],
        sentences=[sentence for sparsity in _sparsities(rows) for sentence in _sentences(rows, sparsity)],
        digits={"share in a tie": 3},
    )


def _sparsities(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(str(row["sparsity"]) for row in rows))


def _clients(rows: Sequence[Row]) -> list[int]:
    return sorted({int(row["clients"]) for row in rows})


def _sentences(rows: Sequence[Row], sparsity: str) -> list[Sentence]:
    sentences = []
    rules = list(dict.fromkeys(row["ties"] for row in rows))
    for count in _clients(rows):
        of = {rule: chosen(rows, sparsity=sparsity, clients=count, ties=rule) for rule in rules}
        share = over_seeds(of[rules[0]], TIED)
        if share is not None:
            text = f"{count} clients at {sparsity}: {share.shown(3)} of all weights stand in the tie at the cutoff."
            sentences.append(Sentence(text, share))
        for rule in rules[1:]:
            difference = paired(of[rule], "perplexity_federated", of[rules[0]])
            sentences += told(f"ties by {rule}, {count} clients at {sparsity},", f"by {rules[0]}", difference)
    return sentences


def _panel(rows: Sequence[Row], sparsity: str) -> Panel:
    def series(name: str, figure: str, **setting: str) -> Series:
        of = {str(count): chosen(rows, sparsity=sparsity, clients=count, **setting) for count in _clients(rows)}
        return Series(name, {place: over_seeds(each, figure) for place, each in of.items()})

    rules = dict.fromkeys(row["ties"] for row in rows)
    found = [series(f"ties by {rule}", "perplexity_federated", ties=rule) for rule in rules]
    found.append(series("central", "perplexity_central", sweep="counted"))
    return Panel(f"sparsity {sparsity}", "number of clients", "perplexity", found)
