"""Benchmarks: speed and memory side by side, in one run, with a peer or a measured limit."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from experiments.bench.calibration import bench_calibration
from experiments.bench.memory import bench_memory
from experiments.bench.order import bench_order
from experiments.bench.protocols import bench_protocols

BENCHMARKS: Mapping[str, Callable[[], None]] = {
    "calibration": bench_calibration,
    "memory": bench_memory,
    "order": bench_order,
    "protocols": bench_protocols,
}


def summaries() -> dict[str, str]:
    """Give each benchmark's first line."""
    return {name: (sys.modules[bench.__module__].__doc__ or "").splitlines()[0] for name, bench in BENCHMARKS.items()}


def run(flags: argparse.Namespace) -> int:
    """Run a benchmark by name; returns the exit status."""
    BENCHMARKS[flags.name]()
    return 0
