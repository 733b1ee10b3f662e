"""``fedprllm budget``: what a ledger says was spent, what a plan would cost, and new budgets.

Prints claims, which are proven of the mechanism that runs, and beside them what others print for continuous noise.
"""

from __future__ import annotations

import argparse
import json
import math
import textwrap
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.budget_tables import accounts_table, notes, plan_table, releases_table, show_table
from experiments.flags import positive
from experiments.ledger_names import ledgers_named_after
from experiments.result import finite
from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy import (
    ADJACENCIES,
    MEANINGS,
    READERS,
    Release,
    clipped_sensitivity,
    epsilon_of,
    gaussian_reference,
    opacus_prv_reference,
    opacus_rdp_reference,
    sized,
)
from fedprllm_secure.privacy.adjacency import Adjacency
from fedprllm_secure.privacy.budget import Budget
from fedprllm_secure.privacy.ledger import Ledger
from fedprllm_secure.privacy.ledger_book import Account, Book, Charge, Spent
from protocols.noise import NOISES

# The samplers' distance from their laws is below this whatever the variance.
SAMPLER_DISTANCE = 2.0**-100

DESCRIPTION = """\
Show what was spent of the budgets in a ledger; with --plan what releases would cost, with --open fix a budget.

A ledger belongs to one client. It is charged before a message leaves, and nothing is refunded: not after a failed
session, since a message that may have left cannot be fetched back. Only sending the very same bytes again is free. A
release that would overspend is refused (exit status 4) before anything changes. A budget is fixed before the first
release that counts for it, and stays.
"""
EPILOG = """\
adjacency: what two inputs differ in that an outsider could hardly tell apart. There is no default.
{meanings}
An epsilon under one of them is no epsilon under another, with one exception: client-replace covers window-replace.
Window adjacencies count, for each window, the releases of every data set that it is in; client adjacencies count all
releases of the ledger. An exact release (dp none) costs infinitely much: no budget survives it.

examples:
  fedprllm budget --plan --epsilon 3 --delta 1e-5 --adjacency window-replace --releases 32
  fedprllm budget --ledger FILE --data-set clinic --open --epsilon 8 --delta 1e-5 --adjacency client-replace
  fedprllm budget --ledger FILE --data-set clinic --plan --noise-multiplier 20 --releases 4
  fedprllm budget --ledger FILE
"""


def add_budget_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``fedprllm budget``, and what its help explains."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = DESCRIPTION
    meanings = (
        textwrap.fill(f"{name}: {text}", 118, initial_indent="  ", subsequent_indent="      ")
        for name, text in MEANINGS.items()
    )
    parser.epilog = EPILOG.format(meanings="\n".join(meanings))
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="the client's ledger; its key lies beside it")
    parser.add_argument("--data-set", metavar="NAME", help="one of its data sets; default all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables; infinite is null")
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--plan", action="store_true", help="show what releases would cost; charges nothing")
    task.add_argument("--open", action="store_true", help="fix the budget of a data set before its first release")
    amount = parser.add_argument_group("a budget (--open) or a plan (--plan)")
    amount.add_argument("--epsilon", type=number, metavar="E", help="what all releases together may cost")
    amount.add_argument("--delta", type=number, metavar="D", help="default with --plan: the data set's budget's")
    amount.add_argument("--adjacency", choices=ADJACENCIES, help="see below; default with --plan as for --delta")
    plan = parser.add_argument_group("a plan")
    plan.add_argument(
        "--noise-multiplier",
        type=number,
        metavar="Z",
        help="instead of --epsilon: standard deviation of the noise over the L2 sensitivity (the most that a neighbour "
        "moves the total: the clip, or twice that under replace)",
    )
    plan.add_argument("--releases", type=positive, default=1, metavar="N", help="how many, all alike; default 1")
    plan.add_argument("--noise", choices=list(NOISES), default="skellam", help="law of the noise; default skellam")
    plan.add_argument("--dimension", type=positive, default=1, metavar="D", help="numbers in a release; default 1")
    plan.add_argument(
        "--clip", type=positive, default=1024, metavar="C", help="largest L2 norm in units of the grid; default 1024"
    )


def number(text: str) -> float:
    """Read a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return value


def run(flags: argparse.Namespace) -> int:
    """Run the command; returns the exit status.

    Raises:
        InputError: flags do not go together, or the ledger cannot be read.
        BudgetRefused: a plan would overspend, or a budget comes too late.
    """
    if flags.plan:
        return _plan(flags)
    if flags.noise_multiplier is not None:
        raise InputError("--noise-multiplier belongs to a plan; add --plan")
    return _open(flags) if flags.open else _show(flags)


def _open(flags: argparse.Namespace) -> int:
    for name in ("ledger", "data_set", "epsilon", "delta", "adjacency"):
        if getattr(flags, name) is None:
            raise InputError(f"--open needs --{name.replace('_', '-')}")
    budget = Budget(flags.epsilon, flags.delta, flags.adjacency)
    account = Ledger(flags.ledger).open_account(flags.data_set, None, budget=budget)
    if flags.json:
        print(json.dumps({"data_set": account.name, "budget": budget.to_record()}, indent=2))
    else:
        print(f"data set {account.name!r} has the budget {budget}")
    return 0


def _show(flags: argparse.Namespace) -> int:
    for name in ("epsilon", "delta", "adjacency"):
        if getattr(flags, name) is not None:
            raise InputError(f"--{name} belongs to a plan or a new budget; add --plan or --open")
    if flags.ledger is None:
        raise InputError("--ledger is needed: name the ledger to show, or add --plan")
    ledger = _existing(flags.ledger)
    book = ledger.book()
    if flags.data_set is not None:
        ledger.account(flags.data_set)
    statements = [
        _statement(book, account) for account in book.accounts.values() if flags.data_set in (None, account.name)
    ]
    if flags.json:
        print(json.dumps(finite({"ledger": str(ledger.file), "data_sets": statements}), indent=2))
        return 0
    number_of = f"{len(statements)} data set{'s' * (len(statements) != 1)}"
    show_table(accounts_table(statements, title=f"{ledger.file}: {number_of}"))
    for statement in statements:
        if statement["releases"]:
            show_table(releases_table(statement))
    for line in notes(statements):
        Console().print(line, soft_wrap=True)
    return 0


def _existing(file: Path) -> Ledger:
    """Name a ledger that is to be there already.

    Raises:
        InputError: it is not, and the ledgers of a simulation's clients are, which are named after the same file.
    """
    siblings = [] if file.expanduser().exists() else ledgers_named_after(file)
    if siblings:
        others = f" to {siblings[-1].name}" if len(siblings) > 1 else ""
        raise InputError(
            f"no ledger at {file}; each simulated client has its own: {siblings[0].name}{others} "
            f"(--ledger {siblings[0]})"
        )
    return Ledger(file)


def _statement(book: Book, account: Account) -> dict[str, Any]:
    """Say what counts for a data set: the releases for the window for which they take most."""
    if account.budget is None:
        charges, spent = tuple(charge for charge in book.charges if charge.account == account.name), None
    else:
        spent = book.spent(account)
        charges = spent.charges
    return {
        "data_set": account.name,
        "opened": account.opened,
        "windows": len(account.windows),
        "budget": account.budget.to_record() if account.budget else None,
        "spent": None if spent is None else _spent(spent),
        "releases": [_release(charge, spent, place) for place, charge in enumerate(charges)],
    }


def _spent(spent: Spent) -> dict[str, Any]:
    return {
        "epsilon": spent.epsilon,
        "share": spent.share,
        "share_left": spent.left,
        "adversaries": list(spent.adversaries),
        "why_infinite": spent.why_infinite,
    }


def _release(charge: Charge, spent: Spent | None, place: int) -> dict[str, Any]:
    """Describe a charge; its epsilon alone is about its own adjacency, at the delta of the budget."""
    described: dict[str, Any] = {
        "data_set": charge.account,
        "charged": charge.time,
        "state": charge.state,
        "mechanism": charge.release.mechanism,
        "adjacency": charge.release.adjacency,
        "adversary": charge.release.adversary,
    }
    if spent is not None and spent.yardstick is not None:
        described["epsilon_alone"] = epsilon_of([charge.release], spent.budget.delta)
        described["share"] = spent.yardstick.share(spent.budget, [spent.releases[place]])
    return described


def _plan(flags: argparse.Namespace) -> int:
    delta, adjacency = flags.delta, flags.adjacency
    if (flags.ledger is None) != (flags.data_set is None):
        raise InputError("--ledger and --data-set go together in a plan")
    if flags.ledger is not None:
        budget = _existing(flags.ledger).account(flags.data_set).budget
        if budget is not None:
            delta, adjacency = delta or budget.delta, adjacency or budget.adjacency
    if delta is None or adjacency is None:
        raise InputError(f"--plan needs --{'delta' if delta is None else 'adjacency'}")
    if (flags.epsilon is None) == (flags.noise_multiplier is None):
        raise InputError("--plan needs --epsilon or --noise-multiplier, and not both")
    releases = _planned(flags, adjacency, delta)
    figures = _figures(releases, delta, clip=flags.clip)
    if flags.ledger is not None:
        ledger = Ledger(flags.ledger)
        ledger.check(flags.data_set, releases)
        figures["before"], figures["after"] = (
            _spent(ledger.would_spend(flags.data_set, added)) for added in ((), releases)
        )
    if flags.json:
        print(json.dumps(finite(figures), indent=2))
    else:
        show_table(plan_table(figures, flags.data_set))
    return 0


def _planned(flags: argparse.Namespace, adjacency: Adjacency, delta: float) -> tuple[Release, ...]:
    multiplier = 1.0 if flags.noise_multiplier is None else flags.noise_multiplier
    try:
        sensitivity = clipped_sensitivity(
            l2_bound_squared=flags.clip**2, dimension=flags.dimension, adjacency=adjacency
        )
        release = Release(
            mechanism=flags.noise,
            adjacency=adjacency,
            adversary=READERS,
            dimension=flags.dimension,
            sensitivity=sensitivity,
            variance=Fraction(multiplier * multiplier) * sensitivity.l2_squared,
            statistical_distance=SAMPLER_DISTANCE,
        )
    except (OverflowError, ValueError) as error:
        raise InputError(
            f"no release is like that: {error}; give other --noise-multiplier, --dimension or --clip"
        ) from error
    planned = (release,) * flags.releases
    return planned if flags.epsilon is None else sized(planned, epsilon=flags.epsilon, delta=delta)


def _figures(releases: Sequence[Release], delta: float, *, clip: int) -> dict[str, Any]:
    """Say what like releases cost together; deviations in units of the sensitivity and of the clip."""
    release = releases[0]
    assert release.sensitivity is not None  # a release of noise
    assert release.variance is not None
    deviation = math.sqrt(release.variance)
    return {
        "mechanism": release.mechanism,
        "adjacency": release.adjacency,
        "delta": delta,
        "releases": len(releases),
        "claimed_epsilon": epsilon_of(releases, delta),
        "claimed_epsilon_of_one": epsilon_of(releases[:1], delta),
        "noise_standard_deviation_in_sensitivities": deviation / math.sqrt(release.sensitivity.l2_squared),
        "noise_standard_deviation_in_clips": deviation / clip,
        "continuous_reference": {
            "gaussian_exact_epsilon": gaussian_reference(releases, delta),
            "opacus_rdp_epsilon": opacus_rdp_reference(releases, delta),
            "opacus_prv_epsilon": opacus_prv_reference(releases, delta),
        },
    }
