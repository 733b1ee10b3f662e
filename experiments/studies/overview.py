"""What each protection gives and costs, on one page: every protocol without noise, one with, and an audit of each.

Clients are calibrated once for all protocols, whose prune masks must be the same. The audits are small ones, to be
looked at within minutes: ``fedprllm audit`` plays more runs, and only those say anything of rare false positives.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.flags import positive
from experiments.studies.findings import Row
from experiments.studies.sweep_study import PASSED_ON, add_passed_on
from experiments.sweep import SweepSpec, read_sweep, run_sweep
from experiments.sweep.folder import DONE
from fedprllm_secure.errors import InputError

PROTOCOLS = "plain,additive,ckks"
PRIVATE_UNDER = "additive"  # noise under a protocol that hides it from the server
# Public text is passed through the model too: fewer windows than by default, since this is to be quick.
PASSED = {**PASSED_ON, "eval-windows": "64", "public-windows": "256"}
# A small audit: 32 pairs in question, 16 shadow runs of 8 clients each.
AUDIT = {"targets": "32", "runs": "24", "labelled-runs": "16", "reference-runs": "16", "population": "128"}
# Statistics are a vector a run: more runs cost next to nothing.
NOISY_AUDIT = {"targets": "32", "runs": "72", "labelled-runs": "64", "reference-runs": "64", "population": "256"}
# Of the table that is printed: by title the column, what it is divided by, and digits.
FIGURES = {
    "perplexity": ("perplexity_result", 1, 2),
    "AUC, server": ("audit_auc_server", 1, 3),
    "AUC, public": ("audit_auc_public_observer", 1, 3),
    "kB sent": ("bytes_client_up_max", 1000, 1),
}
BESIDE = ("dense", "central", "public", "magnitude")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the study's flags."""
    parser.epilog = (
        "As it is, on the demo model: about 4 minutes on two cores. Killed, it continues by the same command."
    )
    parser.add_argument("--clients", default="8", metavar="N", help="parties; default 8")
    parser.add_argument("--windows-per-client", default="2", metavar="M", help="default 2")
    parser.add_argument("--sparsity", default="0.6", help="share of weights removed; default 0.6")
    parser.add_argument("--epsilon", default="8", metavar="E", help="of the run with noise; default 8")
    parser.add_argument("--delta", default="1e-5", metavar="D", help="default 1e-5")
    parser.add_argument("--seed", default="0", metavar="S", help="of who holds which text; default 0")
    parser.add_argument("--jobs", type=positive, metavar="N", help="processes at a time; default as a sweep chooses")
    add_passed_on(parser, PASSED)


def run(*, out: Path, jobs: int | None, **flags: Any) -> Path:
    """Run what is missing, show the table, write the page; returns where the page is.

    Args:
        out: a folder that exists.
        jobs: processes at a time.
        **flags: the others of :func:`add_flags`.

    Raises:
        InputError: a flag is refused, or no run has a result.
    """
    given = {name.replace("_", "-"): value for name, value in flags.items() if value is not None}
    epsilon, delta = given.pop("epsilon"), given.pop("delta")
    # One group for all, that of the central baseline and of public-only, so that perplexities can be compared.
    shared = given | {"propagate": "dense", "group": "row"}
    noise = {
        "payload": "statistics", "protocol": PRIVATE_UNDER, "dp": "distributed", "epsilon": epsilon, "delta": delta,
        "adjacency": "window-zero-out",
    }  # fmt: skip
    sweeps = {
        "protocols": SweepSpec.of(shared | {"protocol": PROTOCOLS.split(","), "save-votes": True}, audit=AUDIT),
        "noise": SweepSpec.of(shared | noise, audit=NOISY_AUDIT),
    }
    rows = []
    for label, spec in sweeps.items():
        run_sweep(spec, out / label, jobs=jobs)
        rows += read_sweep(out / label)
    _show(rows)
    # What draws pages takes a while to import, and every command names the studies.
    from experiments.report.write import write_report

    written = write_report([out / label for label in sweeps], out / "report")
    for line in written.complaints:
        print(f"fedprllm: {line}", file=sys.stderr)
    Console().print(f"the page: {written.page}", highlight=False, markup=False, soft_wrap=True)
    return written.page


def _show(rows: Sequence[Row]) -> None:
    """Print what decides, or raise where there is nothing to print.

    Raises:
        InputError: no run has a result.
    """
    if all(row["state"] != DONE for row in rows):
        raise InputError(f"no run of the study has a result; the first says: {rows[0]['error']}")
    table = Table(title="AUC of the strongest attack: 0.5 is guessing, 1 is certain")
    table.add_column("protection", no_wrap=True)
    for title in FIGURES:
        table.add_column(title, justify="right")
    for row in rows:
        noise = f", eps {row['epsilon']:g}" if row["epsilon"] is not None else ""
        figures = (
            "" if row.get(name) is None else f"{row[name] / unit:,.{digits}f}"
            for name, unit, digits in FIGURES.values()
        )
        table.add_row(f"{row['protocol']}, {row['payload']}{noise}", *figures)
    done = next(row for row in rows if row["state"] == DONE)
    beside = ", ".join(f"{name} {done[f'perplexity_{name}']:.2f}" for name in BESIDE if done.get(f"perplexity_{name}"))
    console = Console()
    console.print(table)
    console.print(f"perplexity beside: {beside}", highlight=False)
    console.print(
        "without noise the attack tells which of two windows is in a run, with noise whether a window is; noise is a "
        "simulation here: no ledger remembers it",
        highlight=False,
    )
    for text in dict.fromkeys(each for row in rows for each in (row.get("error"), row.get("audit_error")) if each):
        console.print(text, style="red", highlight=False, markup=False, soft_wrap=True)
