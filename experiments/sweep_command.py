"""``fedprllm sweep``: many runs, and audits of them, by flags that have several values; one tidy table."""

from __future__ import annotations

import argparse
import json

from rich.console import Console

from experiments.result import finite
from experiments.sweep.folder import PARQUET, TABLE
from experiments.sweep.live import show_rows
from experiments.sweep.run import axes_of, read_sweep, run_sweep
from experiments.sweep.spec import SweepSpec


def run(flags: argparse.Namespace) -> int:
    """Run the command; returns the exit status.

    Raises:
        InputError: as :func:`~experiments.sweep.run_sweep`.
    """
    spec = SweepSpec.of_flags(flags)
    status = run_sweep(spec, flags.out, jobs=flags.jobs, shared_bytes=flags.shared_memory, quiet=flags.json)
    rows = read_sweep(flags.out)
    if flags.json:
        for row in rows:
            print(json.dumps(finite(row)))
        return status
    console = Console()
    show_rows(rows, axes=axes_of(spec), console=console)
    console.print(f"{flags.out / TABLE}, {flags.out / PARQUET}", highlight=False, soft_wrap=True)
    return status
