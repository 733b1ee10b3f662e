"""The words in which a ledger refuses: what is spent, what it would be, the budget, and what would do instead."""

from __future__ import annotations

import math

from fedprllm_secure.privacy.budget import Budget
from fedprllm_secure.privacy.ledger_book import Account, Spent

LEAST_LEFT = 1e-3  # a share below this is none, or rounding


def overspending(name: str, account: Account, *, spent: Spent, added: int) -> str:
    """Say that releases would overspend a budget.

    Args:
        name: the data set that they are made from.
        account: whose budget it is.
        spent: what would be spent.
        added: how many of the charges in it are new, the last ones.
    """
    where = f"data set {account.name!r}"
    if name != account.name:
        where = f"a release of data set {name!r} counts for {where} too"
    before = spent.first(len(spent.charges) - added)
    what = "this release" if added == 1 else f"these {added} releases"
    return (
        f"{where}: budget {account.budget}, spent {_amount(before)} by {len(before.charges)}; with {what} it would be "
        f"{_amount(spent)}{_because(spent)}: refused; {_what_would_do(before, spent)}"
    )


def too_late(account: Account, budget: Budget) -> str:
    """Say that an account's budget stays, and this other one is not taken."""
    return (
        f"data set {account.name!r} has the budget {account.budget}, which was fixed before its first release and "
        f"stays: {budget} is another"
    )


def overspent(account: Account, spent: Spent) -> str:
    """Say that earlier releases are beyond a new budget."""
    return (
        f"data set {account.name!r}: budget {account.budget}, and earlier releases of its text took "
        f"{_amount(spent)}{_because(spent)}; no budget undoes a release"
    )


def other_windows(former: Account, digests: tuple[str, ...]) -> str:
    """Say that a name belongs to other windows."""
    same = len(set(former.windows) & set(digests))
    return (
        f"data set {former.name!r} was opened with {len(former.windows)} windows, and these {len(digests)} are not the "
        f"same ({same} are); give them another name: what two data sets share is recognised and counts for both"
    )


def _what_would_do(before: Spent, after: Spent) -> str:
    if after.why_infinite:
        return f"release noisy totals about {after.budget.adjacency} instead"
    if math.isinf(after.share) and math.isinf(after.epsilon):
        return "make more noise, or allow a larger delta"
    if math.isinf(after.share):
        return "make all releases of it with one kind of mechanism, which adds up in one way"
    if before.left < LEAST_LEFT:
        return "nothing is left, and nothing is refunded: use text that no release has touched"
    # Both yardsticks go with the inverse square of the noise, nearly.
    factor = math.sqrt((after.share - before.share) / before.left)
    return f"about {factor:.3g} times the noise would fit, or fewer releases; nothing is refunded"


def _amount(spent: Spent) -> str:
    share = "" if math.isinf(spent.share) else f" ({spent.share:.1%} of it)"
    return f"epsilon {spent.epsilon:.4g}{share}"


def _because(spent: Spent) -> str:
    if spent.why_infinite:
        return f" ({spent.why_infinite})"
    if not math.isinf(spent.share):
        return ""
    if math.isinf(spent.epsilon):
        return " (nothing is proven of noise this small at a delta this small)"
    return " (of kinds that no one proven rule adds up)"
