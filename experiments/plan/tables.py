"""A plan as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def show_plan(plan: Mapping[str, Any]) -> None:
    """Print a plan."""
    console = Console()
    console.print(bytes_table(plan))
    if plan["seconds"] is not None:
        console.print(seconds_table(plan["seconds"]))
    console.print(_facts(plan))


def bytes_table(plan: Mapping[str, Any]) -> Table:
    """Lay out bytes by step, all sessions together."""
    payload = plan["payload"]
    table = Table(title=f"bytes under protocol {plan['protocol']['name']}, {_sessions(payload)} together")
    table.add_column("step", no_wrap=True)
    names = {
        "client_up_max_bytes": "client up",
        "client_down_max_bytes": "client down",
        "server_in_bytes": "server in",
        "server_out_bytes": "server out",
    }
    for title in names.values():
        table.add_column(title, justify="right")
    table.add_column("may be gone", justify="right")
    for step, figures in [*plan["bytes"].items(), ("all", plan["bytes_total"])]:
        losses = plan["protocol"]["tolerated_losses"].get(step)
        cells = [size(figures[name]) for name in names]
        table.add_row(step, *cells, "" if losses is None else str(losses), style="bold" if step == "all" else None)
    return table


def seconds_table(seconds: Mapping[str, Any]) -> Table:
    """Lay out the estimated seconds."""
    table = Table(title="seconds, estimated")
    table.add_column("where", no_wrap=True)
    table.add_column("phases")
    table.add_column("all", justify="right")
    titles = {"simulation": "this machine, all parties", "client": "one client", "server": "the server"}
    for name, title in titles.items():
        phases = {phase: value for phase, value in seconds[name].items() if phase != "total"}
        shown = ", ".join(f"{phase} {duration(value)}" for phase, value in phases.items() if value > 0)
        table.add_row(title, shown, duration(sum(phases.values())))
    return table


def _facts(plan: Mapping[str, Any]) -> Table:
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(no_wrap=True)
    facts.add_column()
    model, payload, privacy = plan["model"], plan["payload"], plan["privacy"]
    facts.add_row(
        "model",
        f"{model['source']}: {model['parameters']:,} parameters, {model['prunable_weights']:,} of them prunable in "
        f"{model['blocks']} blocks" + (", by its shapes alone" if model["is_stand_in"] else ""),
    )
    facts.add_row(
        "payload",
        f"{payload['name']}: {payload['entries']:,} entries in {_sessions(payload)}; a client submits "
        f"{payload['submitted_bits_per_entry']:.2f} bits an entry, {payload['submitted_bits_per_weight']:.3g} a weight",
    )
    facts.add_row("protocol", plan["protocol"]["protects"])
    facts.add_row("privacy", f"dp {privacy['dp']}; claim {privacy['claim']}")
    if "adversary" in privacy:
        facts.add_row("", f"{privacy['mechanism']} noise, against {privacy['adversary']}")
        facts.add_row("", f"{privacy['adjacency']}: {privacy['adjacency_means']}")
    for line in privacy.get("what_the_noise_leaves", []):
        facts.add_row("", line)
    memory = plan["peak_memory_bytes"]
    facts.add_row(
        "peak memory",
        f"client {size(memory['client'])}, server {size(memory['server'])}, all parties here "
        f"{size(memory['simulation'])}, beside libraries of {size(memory['libraries'])}; {memory['how']}",
    )
    if plan["seconds"] is not None:
        facts.add_row("seconds", plan["seconds"]["how"])
    for line in plan["notes"]:
        facts.add_row("note", line)
    return facts


def size(num_bytes: float) -> str:
    """Write bytes in three digits."""
    power = 0
    while num_bytes >= 999.5 and power < len(UNITS) - 1:
        num_bytes, power = num_bytes / 1000, power + 1
    return f"{num_bytes:.0f} {UNITS[power]}" if num_bytes >= 100 or power == 0 else f"{num_bytes:.3g} {UNITS[power]}"


def count(number: int) -> str:
    """Write how many there are, in three digits."""
    for power, letter in ((9, "B"), (6, "M"), (3, "k")):
        if number >= 10**power:
            return f"{number / 10**power:.3g}{letter}"
    return str(number)


def duration(seconds: float) -> str:
    """Write seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360000 else f"{seconds / 86400:.0f} days"


def _sessions(payload: Mapping[str, Any]) -> str:
    return f"{payload['sessions']} session" + ("s" if payload["sessions"] != 1 else "")
