"""The ledger of a client: what was released of its data sets, and that no more is than their budgets allow.

A release is charged, and the charge is on disk, before its message leaves; nothing is ever refunded, for a message that
may have left cannot be fetched back. Charging the same bytes again is free: they say nothing new. A charge that would
overspend any budget it counts for is refused before anything changes, also where it is made under another data set's
name (:mod:`.ledger_book` says what counts, :mod:`.budget` why the sum is a bound). A budget is fixed before the first
release that counts for it, and stays.

A refusal shows: a client that stays away from a session because its data sets overlap says so by its absence, which no
epsilon covers. Knows no protocol; its file is :mod:`.ledger_file`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from torch import Tensor

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy import refusals
from fedprllm_secure.privacy.budget import Budget, BudgetRefused
from fedprllm_secure.privacy.ledger_book import CHARGED, NO_BOOK, STATES, Account, Book, Charge, Spent
from fedprllm_secure.privacy.ledger_file import PATIENCE_SECONDS, LedgerFile
from fedprllm_secure.privacy.release import Release

LONGEST_NAME = 300


class Ledger:
    """One client's ledger."""

    def __init__(self, file: Path, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Name the file; it is begun with the first account.

        Args:
            file: the ledger; its key and lock lie beside it.
            patience_seconds: how long to wait for another process that is at work on it.
        """
        self._file = LedgerFile(file, patience_seconds=patience_seconds)

    @property
    def file(self) -> Path:
        """Where it is."""
        return self._file.path

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes out for the length of a ``with``; every method does so for its own length.

        Raises:
            InputError: another process does not let go, or others may write in the folder.
        """
        return self._file.locked()

    def book(self) -> Book:
        """Read all accounts and charges.

        Raises:
            InputError: there is no ledger, or it cannot be trusted (:meth:`.ledger_file.LedgerFile.read`).
        """
        with self._existing():
            content = self._file.read()
            try:
                return NO_BOOK if content is None else Book.of_content(content)
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{self.file} holds what this release cannot read: {error}") from error

    @contextmanager
    def _existing(self) -> Iterator[None]:
        if not self._file.exists:  # asked before the lock leaves a file behind
            raise InputError(f"no ledger at {self.file}; check the path, or open a data set's account there first")
        with self.locked():
            yield

    def open_account(self, name: str, windows: Tensor | None, *, budget: Budget | None = None) -> Account:
        """Open the account of a data set, or make sure that it is what it was.

        Args:
            name: what its owner calls it.
            windows: token ids, integers (windows, tokens), in any order; None fixes a budget before there are any.
            budget: what releases that touch it may cost; None keeps the one it has, or promises nothing.

        Raises:
            InputError: the name holds other windows, or is no name; the ledger cannot be trusted.
            BudgetRefused: the account has another budget that releases already count for, or earlier releases have
                overspent this one.
        """
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
            raise InputError(
                f"data set {name[:LONGEST_NAME]!r} must have a name of 1 to {LONGEST_NAME} printable characters"
            )
        with self.locked():
            book = self.book() if self._file.exists else NO_BOOK
            self._file.begin(NO_BOOK.to_content())
            digests = () if windows is None else tuple(sorted(self._file.window_digests(windows)))
            former = book.accounts.get(name, Account(name, _now(), None, ()))
            if digests and former.windows not in ((), digests):
                raise InputError(refusals.other_windows(former, digests))
            if former.budget is not None and budget not in (None, former.budget) and book.spent(former).charges:
                raise BudgetRefused(refusals.too_late(former, budget))
            account = replace(former, budget=budget or former.budget, windows=digests or former.windows)
            opened = book.with_account(account)
            if account.budget is not None and (spent := opened.spent(account)).share > 1:
                raise BudgetRefused(refusals.overspent(account, spent))
            if opened != book:
                self._file.write(opened.to_content())
            return account

    def account(self, name: str) -> Account:
        """Find the account of a data set.

        Raises:
            InputError: there is none; the ledger cannot be trusted.
        """
        return self._account(self.book(), name)

    def spent(self, name: str) -> Spent:
        """Say what was spent of a data set's budget.

        Raises:
            InputError: there is no such account, or it has no budget; the ledger cannot be trusted.
        """
        return self.would_spend(name, ())

    def would_spend(self, name: str, releases: Sequence[Release]) -> Spent:
        """Say what would be spent of a data set's budget after these releases too.

        Raises:
            InputError: as :meth:`spent`.
        """
        book = self.book()
        account = self._account(book, name)
        if account.budget is None:
            raise InputError(f"data set {name!r} has no budget; fix one before its first release")
        return book.with_charges(_planned(name, releases)).spent(account)

    def check(self, name: str, releases: Sequence[Release]) -> None:
        """Refuse early what :meth:`charge` would refuse if these releases were made one after the other.

        Before a data set has windows, what it shares with others is not known and not counted.

        Raises:
            InputError: there is no such account; the ledger cannot be trusted.
            BudgetRefused: they would overspend a budget.
        """
        self._refuse_overspending(self.book(), _planned(name, releases))

    def charge(self, name: str, release: Release, *, identity: bytes) -> None:
        """Charge a release; when this returns, the charge is on disk and the message may leave.

        Args:
            name: the data set that it is made from.
            release: what is released.
            identity: what identifies the bytes of the message, such as their digest: the same bytes are charged once.

        Raises:
            InputError: there is no such account, or it has no windows yet; the ledger cannot be trusted.
            BudgetRefused: it would overspend a budget, or the same bytes were charged as another release.
            ValueError: the identity is empty.
        """
        if not identity:
            raise ValueError("identity must be at least one byte")
        with self._existing():
            book = self.book()
            charge = Charge(name, self._file.identity_digest(identity), _now(), CHARGED, release)
            for former in book.charges:
                if former.identity == charge.identity:
                    if (former.account, former.release) != (name, release):
                        raise BudgetRefused(
                            f"data set {name!r}: this message was charged {former.time} as another release of "
                            f"{former.account!r}; noise and text belong to a message once and for all"
                        )
                    return
            if not self._account(book, name).windows:
                raise InputError(f"data set {name!r} has no windows yet; open its account with them before a release")
            self._refuse_overspending(book, [charge])
            self._file.write(book.with_charges([charge]).to_content())

    def mark(self, identity: bytes, state: str) -> None:
        """Note what became of a charged message; it counts in full all the same.

        Args:
            identity: as it was charged.
            state: one of :data:`.ledger_book.STATES`.

        Raises:
            ValueError: the state is unknown, or the message was never charged.
        """
        if state not in STATES:
            raise ValueError(f"state={state} must be one of {', '.join(STATES)}")
        with self._existing():
            book = self.book()
            digest = self._file.identity_digest(identity)
            if all(charge.identity != digest for charge in book.charges):
                raise ValueError("identity must be that of a charged message")
            charges = (replace(charge, state=state) if charge.identity == digest else charge for charge in book.charges)
            self._file.write(replace(book, charges=tuple(charges)).to_content())

    def _account(self, book: Book, name: str) -> Account:
        if name not in book.accounts:
            known = ", ".join(map(repr, book.accounts)) or "none"
            raise InputError(f"{self.file} has no data set {name!r}; it has {known}")
        return book.accounts[name]

    def _refuse_overspending(self, book: Book, charges: Sequence[Charge]) -> None:
        after = book.with_charges(charges)
        for name in dict.fromkeys(charge.account for charge in charges):
            self._account(book, name)
            for account in book.accounts.values():
                if account.budget is not None and book.touches(name, account):
                    spent = after.spent(account)
                    if spent.share > 1:
                        added = sum(charge in charges for charge in spent.charges)
                        raise BudgetRefused(refusals.overspending(name, account, spent=spent, added=added))


def _planned(name: str, releases: Sequence[Release]) -> list[Charge]:
    return [Charge(name, "", _now(), CHARGED, release) for release in releases]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
