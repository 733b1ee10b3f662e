"""What a person sees in the terminal: progress bars while work goes on, tables when it is done."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from experiments.result import finite

LOG_SECONDS = 30.0
PHASE_NAMES = {
    "survey": "calibrating block",
    "prune": "pruning block",
    "evaluate": "evaluating block",
    "audit": "attacking matrix",
}
VARIANT_NAMES = {
    "dense": "dense (unpruned)",
    "central": "central (one party holds all text)",
    "federated": "federated",
    "scaled": "federated, scaled",
    "local": "local-only",
    "public": "public-only (no client at all)",
    "magnitude": "magnitude (no data)",
}


class PhaseBars:
    """One progress bar a phase, on stderr so that stdout stays clean; a line now and then where that is a file."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Make the bars; ``quiet`` hides them."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=quiet,
        )
        self._tasks: dict[str, Any] = {}
        self._said_at = time.monotonic()

    def __enter__(self) -> PhaseBars:
        """Show the bars."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bars as they stand."""
        if self._tasks:  # stopping bars that were never shown would print an empty line
            self._progress.stop()

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(line, highlight=False)

    def update(self, phase: str, done: int, total: int) -> None:
        """Set a phase's progress."""
        if phase not in self._tasks:
            self._progress.start()  # not before there is something to show: an early error is to be the only line
            self._tasks[phase] = self._progress.add_task(PHASE_NAMES.get(phase, phase), total=total, completed=done)
        self._progress.update(self._tasks[phase], completed=done)
        if not self._progress.console.is_terminal and not self._progress.disable:
            now = time.monotonic()
            if now - self._said_at >= LOG_SECONDS:
                self._said_at = now
                self.say(f"{PHASE_NAMES.get(phase, phase)} {done}/{total}")


def show_prune_result(result: Mapping[str, Any], out: Path, *, as_json: bool, note: str = "") -> None:
    """Print a result as tables, or as JSON."""
    if as_json:
        print(json.dumps(finite(result), indent=2))
        return
    result = finite(result)
    console = Console()
    if result["perplexity"]:
        console.print(perplexity_table(result["perplexity"], result.get("simulation_only", {}).get("perplexity")))
    console.print(cost_table(result))
    facts = Table(show_header=False, box=None, pad_edge=False)
    sparsity, data = result["sparsity"], result["data"]
    facts.add_row(
        "pruned",
        f"{sparsity['achieved_fraction']:.2%} of {sparsity['prunable_weights']:,} prunable weights by "
        f"{data['clients']} clients x {data['windows_per_client']} windows of {data['window_length_tokens']} tokens",
    )
    facts.add_row("time", ", ".join(f"{name} {value:.1f} s" for name, value in result["seconds"].items()))
    facts.add_row(
        "peak memory", ", ".join(f"{where} {_size(size)}" for where, size in result["peak_memory_bytes"].items())
    )
    privacy = result["privacy"]
    facts.add_row("protocol", f"{result['protocol']['name']}: {result['protocol']['protects']}")
    facts.add_row("privacy", f"dp {privacy['dp']}; claim {privacy['claim']}")
    if "mechanism" in privacy:
        facts.add_row("", f"{privacy['mechanism']}{_noise(privacy)}, against {privacy['adversary']}")
        facts.add_row("", f"{privacy['adjacency']}: {privacy['adjacency_means']}")
    if "continuous_reference" in privacy:
        reference = privacy["continuous_reference"]
        facts.add_row(
            "",
            f"continuous reference: Gaussian {_shown(reference['gaussian_epsilon'])}, Opacus PRV "
            f"{_shown(reference['opacus_prv_epsilon'])}, RDP {_shown(reference['opacus_rdp_epsilon'])}",
        )
    if "ledger" in privacy:
        facts.add_row("", f"ledger: {privacy['ledger']}")
    for line in [*result["notes"], *([note] if note else [])]:
        facts.add_row("note", line)
    facts.add_row("results", str(out))
    console.print(facts)


def cost_table(result: Mapping[str, Any]) -> Table:
    """Lay out what the protocol's steps cost a client and the server, all sessions together."""
    protocol, steps = result["protocol"], result["bytes"]
    bits = steps["submit"]["client_up_max_bytes"] * 8 / result["sparsity"]["prunable_weights"]
    submitted = f"{bits:.2f} bits a weight" if bits >= 0.1 else _size(steps["submit"]["client_up_max_bytes"])
    table = Table(title=f"cost of protocol {protocol['name']}: a client submits {submitted}")
    table.add_column("step", no_wrap=True)
    for name in ("client up", "client down", "server in", "server out", "client", "server"):
        table.add_column(name, justify="right")
    rows: dict[str, list[float]] = {}
    for step, figures in steps.items():
        seconds = protocol["seconds_by_step"][step]
        sizes = [figures[f"{where}_bytes"] for where in ("client_up_max", "client_down_max", "server_in", "server_out")]
        rows[step] = [*sizes, seconds["client_max_seconds"], seconds["server_seconds"]]
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    for step, values in rows.items():
        sizes = [_size(value) for value in values[:4]]
        table.add_row(
            step, *sizes, *(f"{value:.2f} s" for value in values[4:]), style="bold" if step == "all" else None
        )
    return table


def perplexity_table(perplexity: Mapping[str, Any], simulated: Mapping[str, Any] | None = None) -> Table:
    """Lay out perplexities, best first after the unpruned model; those that no claim covers are marked."""
    shape = f"{perplexity['windows']} windows of {perplexity['context_tokens']} tokens"
    table = Table(title=f"perplexity on {shape} (lower is better)")
    table.add_column("model")
    table.add_column("perplexity", justify="right")
    table.add_column("bits per byte", justify="right")
    every = {**perplexity, **(simulated or {})}
    rows = [(name, every[name]) for name in VARIANT_NAMES if name in every]
    rows.sort(
        key=lambda row: (row[0] != "dense", row[1]["perplexity"] if row[1]["perplexity"] is not None else math.inf)
    )
    for name, figures in rows:
        value = "inf" if figures["perplexity"] is None else f"{figures['perplexity']:.3f}"
        if figures.get("standard_deviation") is not None:
            value += f" ± {figures['standard_deviation']:.3f}"
        bits = f"{figures['bits_per_byte']:.4f}" if "bits_per_byte" in figures else ""
        label = VARIANT_NAMES[name]
        if "clients" in figures:
            label += f", mean ± standard deviation over {len(figures['clients'])} clients"
        if name in (simulated or {}):
            label += " (simulation only)"
        is_result = name == perplexity["result"]
        table.add_row(label, value, bits, style="bold" if is_result else None)
    return table


def _noise(privacy: Mapping[str, Any]) -> str:
    """Say how much noise there is, in votes or in units of the clip."""
    for unit in ("votes", "clips"):
        deviation = privacy["noise_standard_deviation"].get(f"if_nobody_leaves_{unit}")
        if deviation is not None:
            return f" noise of standard deviation {deviation:.3g} {unit}"
    return " noise"


def _shown(value: float | None) -> str:
    """Show an epsilon of a reference, which is None where it is infinite or was not computed."""
    return "none" if value is None else f"{value:.4g}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
