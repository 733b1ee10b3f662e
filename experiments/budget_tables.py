"""What a person sees of ``fedprllm budget``: the figures that it prints as JSON, as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from fedprllm_secure.privacy.budget import Budget

WIDEST = 10_000  # characters; wider than any of these tables


def show_table(table: Table) -> None:
    """Print a table whole: a terminal folds what is too wide, and a file or pipe takes lines of any length."""
    for column in table.columns:
        column.overflow = "fold"
    console = Console()
    if not console.is_terminal:
        natural = console.measure(table, options=console.options.update(max_width=WIDEST)).maximum
        console.width = max(console.width, natural)
    console.print(table)


def accounts_table(statements: Sequence[Mapping[str, Any]], *, title: str) -> Table:
    """Lay out data sets, one a line."""
    table = Table("data set", "windows", "budget", "releases", "spent", "left", title=title)
    for statement in statements:
        budget, spent = statement["budget"], statement["spent"]
        table.add_row(
            statement["data_set"],
            str(statement["windows"]) if statement["windows"] else "not yet used",
            str(Budget.of_record(budget)) if budget else "none: nothing is promised",
            str(len(statement["releases"])),
            f"epsilon {spent['epsilon']:.4g}" if spent else "",
            f"{spent['share_left']:.1%}" if spent else "",
        )
    return table


def releases_table(statement: Mapping[str, Any]) -> Table:
    """Lay out the releases that count for a data set."""
    title = f"releases that count for {statement['data_set']!r}"
    names = ("charged", "data set", "mechanism", "about", "against", "epsilon alone", "of the budget", "state")
    table = Table(*names, title=title)
    for release in statement["releases"]:
        alone, share = release.get("epsilon_alone"), release.get("share")
        table.add_row(
            release["charged"],
            release["data_set"],
            release["mechanism"],
            release["adjacency"],
            release["adversary"],
            "" if alone is None else f"{alone:.4g}",
            "" if share is None else "all, for good" if math.isinf(share) else f"{share:.1%}",
            release["state"],
        )
    return table


def notes(statements: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what the tables do not."""
    lines = ["Shares of a budget add up, and decide; epsilon is of all together. Every state counts in full."]
    for statement in statements:
        spent = statement["spent"]
        if spent and spent["why_infinite"]:
            lines.append(f"{statement['data_set']!r} is overspent for good: {spent['why_infinite']}.")
        if spent and len(spent["adversaries"]) > 1:
            against = "; ".join(spent["adversaries"])
            who = "the total holds only against an adversary that every release's claim covers"
            lines.append(f"{statement['data_set']!r}: {who} ({against}).")
    return lines


def plan_table(figures: Mapping[str, Any], data_set: str | None) -> Table:
    """Lay out what a plan costs."""
    number_of, reference = figures["releases"], figures["continuous_reference"]
    title = (
        f"plan: {number_of} release{'s' * (number_of != 1)} about {figures['adjacency']}, delta {figures['delta']:g}"
    )
    table = Table("", "", title=title, show_header=False)
    table.add_row(f"claim ({figures['mechanism']}, proven)", f"epsilon {figures['claimed_epsilon']:.4f}", style="bold")
    table.add_row("claim of one alone", f"epsilon {figures['claimed_epsilon_of_one']:.4f}")
    table.add_row(
        "noise on every number, standard deviation",
        f"{figures['noise_standard_deviation_in_sensitivities']:.4f} x sensitivity "
        f"= {figures['noise_standard_deviation_in_clips']:.4f} x clip",
    )
    table.add_row("continuous reference, exact Gaussian", f"epsilon {reference['gaussian_exact_epsilon']:.4f}")
    table.add_row("continuous reference, Opacus RDP", f"epsilon {reference['opacus_rdp_epsilon']:.4f}")
    table.add_row("continuous reference, Opacus PRV", f"epsilon {reference['opacus_prv_epsilon']:.4f}")
    if "after" in figures:
        before, after = figures["before"], figures["after"]
        table.add_row(f"spent of {data_set!r} so far", f"epsilon {before['epsilon']:.4f} ({before['share']:.1%})")
        table.add_row("spent after this plan", f"epsilon {after['epsilon']:.4f} ({after['share']:.1%})")
        table.add_row("left after this plan", f"{after['share_left']:.1%} of the budget")
    return table
