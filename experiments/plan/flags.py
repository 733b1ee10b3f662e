"""The flags of ``fedprllm plan``."""

from __future__ import annotations

import argparse

from experiments.flags import add_prune_flags
from experiments.plan.shapes import SHAPES

DESCRIPTION = """\
Say what `fedprllm prune` with these flags would cost and promise: entries, bytes by step, bits a weight, memory,
seconds, who may leave, whom it protects against, and under --dp what the noise leaves. No private text is read, and of
a model no weights: a folder with config.json alone, or --model-shape, will do. Seconds are an estimate from a short
measurement on this machine.
"""


def add_plan_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags: all of prune, of which only those that decide sizes are needed."""
    add_prune_flags(parser, is_run=False)
    plan = parser.add_argument_group("plan")
    plan.add_argument(
        "--model-shape", metavar="NAME", help=f"instead of --model, a published shape: {', '.join(SHAPES)}"
    )
    plan.add_argument(
        "--measure",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take some seconds to measure this machine; without, no seconds are estimated",
    )
