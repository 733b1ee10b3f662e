"""Does pruning damage the demo model in the order the paper finds? Five draws of clients, three sparsities.

16 clients x 2 windows of 256 tokens, one-shot, server group layer, 64 evaluation windows; mean and 95 % t interval over
the draws, and of the paired difference to the federated result.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import statistics
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.console import VARIANT_NAMES

SEEDS, SPARSITIES = range(5), ("0.5", "0.6", "0.7")
T_QUANTILE = 2.776  # two-sided 95 %, 4 degrees of freedom


def bench_order() -> None:
    """Run every cell and print a table a sparsity."""
    for sparsity in SPARSITIES:
        runs = [_perplexities(sparsity, seed) for seed in SEEDS]
        table = Table("model", "perplexity", "minus federated (paired)", title=f"sparsity {sparsity}")
        for name in sorted(runs[0], key=lambda name: statistics.mean(run[name] for run in runs)):
            values = [run[name] for run in runs]
            differences = [run[name] - run["federated"] for run in runs]
            table.add_row(VARIANT_NAMES[name], _interval(values), "" if name == "federated" else _interval(differences))
        Console().print(table)


def _perplexities(sparsity: str, seed: int) -> dict[str, float]:
    from experiments.cli import main

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        demo = f"prune --model demo --data demo --clients 16 --sparsity {sparsity} --seed {seed}"
        arguments = f"{demo} --scale --json --out {out}"
        with contextlib.redirect_stdout(io.StringIO()):
            status = main(arguments.split())
        if status != 0:
            raise RuntimeError(f"fedprllm {arguments} ended with status {status}")
        found = json.loads((out / "result.json").read_text())["perplexity"]
    return {name: found[name]["perplexity"] for name in VARIANT_NAMES if name in found}


def _interval(values: list[float]) -> str:
    half = T_QUANTILE * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.3f} ± {half:.3f}"
