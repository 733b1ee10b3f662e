"""Benchmarks: speed and memory side by side, in one run, with a peer or a measured limit."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from experiments.bench.calibration import bench_calibration
from experiments.bench.memory import bench_memory
from experiments.bench.order import bench_order
from experiments.bench.privacy import bench_privacy
from experiments.bench.protocols import bench_protocols
from experiments.bench.scale import bench_scale


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark and its own flags.

    Attributes:
        run: Called with a file, or None, for each of the flags, by name.
        files: For each flag that names a file, its help.
    """

    run: Callable[..., None]
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first line of what its module says."""
        return (sys.modules[self.run.__module__].__doc__ or "").splitlines()[0]


BENCHMARKS: Mapping[str, Benchmark] = {
    "calibration": Benchmark(bench_calibration),
    "memory": Benchmark(bench_memory),
    "order": Benchmark(bench_order),
    "privacy": Benchmark(
        bench_privacy,
        {
            "private": "clients' text, .txt (default: the demo's own, which resembles the public text)",
            "evaluation": "held-out text of the same kind, .txt (with --private)",
            "table": "write every figure here too, .jsonl",
        },
    ),
    "protocols": Benchmark(bench_protocols),
    "scale": Benchmark(bench_scale, {"plot": "write the figure here too, .svg or .png (needs matplotlib)"}),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give every benchmark a parser of its own, so that none takes the flags of another."""
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, benchmark in BENCHMARKS.items():
        own = names.add_parser(name, help=benchmark.summary, description=benchmark.summary)
        for flag, text in benchmark.files.items():
            own.add_argument(f"--{flag}", type=Path, metavar="FILE", help=text)


def run(flags: argparse.Namespace) -> int:
    """Run a benchmark by name; returns the exit status."""
    benchmark = BENCHMARKS[flags.name]
    benchmark.run(**{flag: getattr(flags, flag) for flag in benchmark.files})
    return 0
