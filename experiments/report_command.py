"""``fedprllm report``: one page of what runs, audits and sweeps found."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_report_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``fedprllm report``."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="folders that prune, audit and sweep wrote, or folders of such folders, in any mix",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="report.html, which needs nothing else, report.md and figures/; an earlier report there is replaced",
    )


def run(flags: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    # Plotly and matplotlib load only when a report is written.
    from experiments.report.write import write_report

    written = write_report(flags.paths, flags.out)
    for line in written.complaints:
        print(f"fedprllm: {line}", file=sys.stderr)
    print(written.page)
    return 0
