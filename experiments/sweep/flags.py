"""Flags of ``fedprllm sweep``: those of ``fedprllm prune`` with several values, and ``--audit-...`` for audits."""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.flags import positive, size_in_bytes
from experiments.sweep.commands import LISTS, audit_actions, prune_actions
from experiments.sweep.spec import flag_dest
from experiments.sweep.values import is_switch

DESCRIPTION = (
    "Every combination of the flags' values is a run of fedprllm prune. Give several values with commas: --epsilon "
    "none,1,3,8 (none: the flag is not given; of --epsilon: the cell without noise), whole numbers also as a range: "
    "--seed 0-4; a flag that is on or off as --scale=true,false; values of a flag that is a list itself with "
    "semicolons: --baselines 'dense,central;dense'. A value with a comma in it can stand in a list of FILE only. Flags "
    "that do not apply to a cell are dropped, and cells that are alike run once. Cells that are done are skipped: the "
    "same command resumes. Exit status: 0 all done; else that of the failed cells, of the first where they differ, 1 "
    "if one was unexpected."
)
EXAMPLE = (
    "example: fedprllm sweep --model demo --data demo --clients 8 --sparsity 0.5,0.7 --protocol plain,additive,ckks "
    "--dp central --epsilon none,1,3,8 --delta 1e-5 --adjacency client-zero-out --out demo-sweep"
)


def add_sweep_flags(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="YAML: flag names to a value or a list, and a section audit:"
    )
    own = parser.add_argument_group("sweep")
    own.add_argument("--out", type=Path, required=True, metavar="SWEEP", help="folder of cells, audits and the table")
    own.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="processes at a time, each with its share of the cores; default as many as there are cores and groups of "
        "cells that share no calibration, one on a GPU",
    )
    own.add_argument(
        "--shared-memory",
        type=size_in_bytes,
        default=1 << 30,
        metavar="BYTES",
        help="kept by each process of what cells have in common, 0 for nothing; default 1G",
    )
    own.add_argument("--json", action="store_true", help="print the rows as JSON Lines instead of a table")
    _add(parser.add_argument_group("flags of prune, each with several values"), prune_actions(), prefix="")
    audits = parser.add_argument_group("audits of the cells; what a cell says itself is taken from it")
    audits.add_argument("--audit", action="store_true", help="play the audit that matches, for each configuration")
    _add(audits, audit_actions(), prefix="audit-")


def _add(group: argparse._ArgumentGroup, actions: dict[str, argparse.Action], *, prefix: str) -> None:
    for name, action in actions.items():
        more: dict[str, object] = {"nargs": "?", "const": "true"} if is_switch(action) else {}
        text = action.help if action.help is not argparse.SUPPRESS else None
        group.add_argument(
            f"--{prefix}{name}",
            dest=flag_dest(name, prefix=prefix),
            metavar="LISTS" if action.type in LISTS else "VALUES",
            help=f"{text} [{', '.join(map(str, action.choices))}]" if text and action.choices else text,
            **more,  # type: ignore[arg-type] # of a flag that may stand alone
        )
