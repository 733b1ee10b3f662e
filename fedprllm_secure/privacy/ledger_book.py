"""What a ledger says: accounts of named data sets, charges, and what the charges come to for the worst window.

Values only, as JSON holds them; windows are known by their HMACs. Under a client adjacency every charge of the ledger
counts for every account, since the ledger is one client's. Under a window adjacency a charge counts for the windows
that are in the data set it was made from, whatever the data sets are called: an overlap is counted, and a reordered
copy is the same windows. A window is known by its very token ids: the same text cut at another place, to another
length or by another tokenizer is not recognised. Knows neither files nor keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedprllm_secure.privacy.adjacency import is_window_level
from fedprllm_secure.privacy.budget import Budget, Yardstick, counted_as, why_not_covered
from fedprllm_secure.privacy.claim import epsilon_of
from fedprllm_secure.privacy.release import Release

# A charge counts in full in every state: what was sent cannot be fetched back, and what failed may have been sent.
CHARGED, SENT, FINISHED, FAILED = "charged", "sent", "finished", "failed"
STATES = (CHARGED, SENT, FINISHED, FAILED)


@dataclass(frozen=True, slots=True)
class Account:
    """A named data set.

    Attributes:
        name: what its owner calls it.
        opened: when, UTC.
        budget: what releases that touch it may cost; None promises nothing.
        windows: HMACs, sorted, as often as each is there; none before the data set was first used.
    """

    name: str
    opened: str
    budget: Budget | None
    windows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Charge:
    """One release from a data set.

    Attributes:
        account: name of the data set.
        identity: HMAC of what identifies the message bytes.
        time: when it was charged, UTC.
        state: one of :data:`STATES`.
        release: as it was made.
    """

    account: str
    identity: str
    time: str
    state: str
    release: Release


@dataclass(frozen=True, slots=True)
class Spent:
    """What charges take of a budget: for the window for which they take most.

    Attributes:
        budget: which.
        charges: those that count, oldest first.
        releases: theirs, as they count.
        yardstick: what they are measured in; None before the first.
        why_infinite: why they cost infinitely much; empty where they do not.
    """

    budget: Budget
    charges: tuple[Charge, ...] = ()
    releases: tuple[Release, ...] = ()
    yardstick: Yardstick | None = None
    why_infinite: str = ""

    def first(self, count: int) -> Spent:
        """Go back to the first charges."""
        return Spent(self.budget, self.charges[:count], self.releases[:count], self.yardstick)

    @property
    def epsilon(self) -> float:
        """What may be claimed of all of them, had their parameters been fixed beforehand."""
        return epsilon_of(self.releases, self.budget.delta)

    @property
    def share(self) -> float:
        """The share of the budget that they take, whatever led to each; up to 1 is within."""
        return 0.0 if self.yardstick is None else self.yardstick.share(self.budget, self.releases)

    @property
    def left(self) -> float:
        """The share that is left."""
        return max(0.0, 1.0 - self.share)

    @property
    def adversaries(self) -> tuple[str, ...]:
        """Whom the claims hold against; all together hold only against one that every claim covers."""
        return tuple(dict.fromkeys(release.adversary for release in self.releases))


@dataclass(frozen=True, slots=True)
class Book:
    """Everything a ledger says.

    Attributes:
        accounts: by name.
        charges: oldest first.
    """

    accounts: Mapping[str, Account]
    charges: tuple[Charge, ...]

    def with_account(self, account: Account) -> Book:
        """Add or replace an account."""
        return replace(self, accounts={**self.accounts, account.name: account})

    def with_charges(self, charges: Sequence[Charge]) -> Book:
        """Add charges."""
        return replace(self, charges=(*self.charges, *charges))

    def touches(self, name: str, account: Account) -> bool:
        """Say whether a release from the data set ``name`` counts for ``account``."""
        assert account.budget is not None
        if name == account.name or not is_window_level(account.budget.adjacency):
            return True
        return not set(account.windows).isdisjoint(self.accounts[name].windows)

    def spent(self, account: Account) -> Spent:
        """Add up what counts for an account that has a budget."""
        budget = account.budget
        assert budget is not None
        first = next((charge for charge in self.charges if self.touches(charge.account, account)), None)
        if first is None:
            return Spent(budget)
        yardstick = Yardstick.best(budget, counted_as(first.release, budget.adjacency))
        found = (self._spent(budget, yardstick, times) for times in self._kinds_of_window(account))
        return max(found, key=lambda spent: spent.share)

    def _spent(self, budget: Budget, yardstick: Yardstick, times: Mapping[str, int]) -> Spent:
        """Add up what counts for a window that is in each data set so many times."""
        charges = tuple(charge for charge in self.charges if times.get(charge.account))
        counted, reasons = [], []
        for charge in charges:
            repeated = times[charge.account] > 1
            counted.append(counted_as(charge.release, budget.adjacency, repeated=repeated))
            reasons.append(why_not_covered(charge.release, budget.adjacency, repeated=repeated))
        return Spent(budget, charges, tuple(counted), yardstick, next(filter(None, reasons), ""))

    def _kinds_of_window(self, account: Account) -> Iterator[dict[str, int]]:
        """Say, for each kind of window in an account, how often it is in each data set that was charged."""
        assert account.budget is not None
        charged = dict.fromkeys(charge.account for charge in self.charges)
        if not is_window_level(account.budget.adjacency):
            yield dict.fromkeys(charged, 1)
            return
        if not account.windows:  # before its first use a data set shares nothing that is known
            yield {account.name: 1}
            return
        counts = {name: Counter(self.accounts[name].windows) for name in charged}
        kinds = dict.fromkeys(tuple(counts[name][window] for name in charged) for window in account.windows)
        for kind in kinds:
            yield dict(zip(charged, kind, strict=True))

    def to_content(self) -> dict[str, Any]:
        """Give plain JSON."""
        accounts = [
            {
                "name": account.name,
                "opened": account.opened,
                "budget": account.budget.to_record() if account.budget else None,
                "windows": list(account.windows),
            }
            for account in self.accounts.values()
        ]
        charges = [
            {
                "account": charge.account,
                "identity": charge.identity,
                "time": charge.time,
                "state": charge.state,
                "release": charge.release.to_record(),
            }
            for charge in self.charges
        ]
        return {"accounts": accounts, "charges": charges}

    @classmethod
    def of_content(cls, content: Mapping[str, Any]) -> Book:
        """Read what :meth:`to_content` wrote.

        Raises:
            KeyError: a field is missing.
            TypeError: a value has another type.
            ValueError: a value is out of range.
        """
        accounts = {}
        for record in content["accounts"]:
            budget = None if record["budget"] is None else Budget.of_record(record["budget"])
            account = Account(record["name"], record["opened"], budget, tuple(record["windows"]))
            accounts[account.name] = account
        charges = []
        for record in content["charges"]:
            release = Release.of_record(record["release"])
            charges.append(Charge(record["account"], record["identity"], record["time"], record["state"], release))
            if record["account"] not in accounts or record["state"] not in STATES:
                raise ValueError(f"a charge of {record['account']!r} in state {record['state']!r}")
        return cls(accounts, tuple(charges))


NO_BOOK = Book({}, ())
