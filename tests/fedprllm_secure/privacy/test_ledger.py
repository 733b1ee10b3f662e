"""The ledger charges before anything leaves, counts every window wherever it is, and gives nothing back."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprllm_secure.errors import InputError
from fedprllm_secure.privacy import Release, epsilon_of
from fedprllm_secure.privacy.budget import Budget, BudgetRefused, Yardstick
from fedprllm_secure.privacy.ledger import Ledger
from fedprllm_secure.privacy.ledger_book import FAILED, STATES, Account, Book, Charge
from tests.fedprllm_secure.privacy.releases import chosen, exact, noisy

DELTA = 1e-5
WINDOWS = torch.arange(60).view(10, 6)
BUDGET = Budget(3.0, DELTA, "window-replace")


def released(multiplier: float = 4.0, adjacency: str = "window-replace") -> Release:
    """A release of noise this many times its sensitivity: at 4 it takes an eighth of epsilon 3, nearly."""
    variance = Fraction(multiplier * multiplier) * 2500
    return noisy(l1=500, l2_squared=2500, variance=variance, adjacency=adjacency)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger with the data set ``a``: all ten windows under epsilon 3."""
    ledger = Ledger(tmp_path / "own" / "ledger.json")
    ledger.open_account("a", WINDOWS, budget=BUDGET)
    return ledger


@pytest.fixture
def unchanged(ledger: Ledger) -> Callable[[], None]:
    """Check that the ledger's bytes are those of the time of the last check."""
    former = [ledger.file.read_bytes()]

    def check(*, but: bool = False) -> None:
        found = ledger.file.read_bytes()
        assert (found == former[0]) != but
        former[0] = found

    return check


def test_charges_add_up_and_the_last_is_refused_before_anything_changes(
    ledger: Ledger, unchanged: Callable[..., None]
) -> None:
    """What was claimed of all of them is told; the release that would overspend leaves the file as it is."""
    for number in range(8):
        assert ledger.spent("a").share == pytest.approx(number * 0.1209, rel=1e-2)
        assert ledger.spent("a").epsilon == epsilon_of([released()] * number, DELTA)
        ledger.charge("a", released(), identity=bytes([number]))
        unchanged(but=True)
    spent = ledger.would_spend("a", [released()])
    refusal = (
        r"data set 'a': budget epsilon 3 at delta 1e-05 about window-replace, spent epsilon 2\.943 \(96\.7% of it\) by "
        r"8; with this release it would be epsilon 3\.147 \(108\.8% of it\): refused; about 1\.91 times the noise "
        "would fit, or fewer releases; nothing is refunded"
    )

    assert spent.share > 1 > ledger.spent("a").share
    for refused in (
        lambda: ledger.charge("a", released(), identity=b"more"),
        lambda: ledger.check("a", [released()]),
    ):
        with pytest.raises(BudgetRefused, match=refusal):
            refused()
    with pytest.raises(BudgetRefused, match=r"with these 2 releases it would be epsilon 3\.3"):
        ledger.check("a", [released()] * 2)
    with pytest.raises(BudgetRefused, match=r"epsilon 3\.0\d+ \(100\.[1-9]% of it\): refused"):
        ledger.check("a", [released(7)])  # a little is too much
    unchanged()
    ledger.check("a", [released(4 * 1.93)])
    unchanged()
    ledger.charge("a", released(4 * 1.93), identity=b"quieter")
    with pytest.raises(BudgetRefused, match="nothing is left, and nothing is refunded: use text that no release"):
        ledger.charge("a", released(), identity=b"more")


def test_a_charge_is_on_disk_before_it_returns(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another ledger object that reads the file at once finds it."""
    ledger.charge("a", released(), identity=b"1")
    (charge,) = Ledger(ledger.file).book().charges

    assert (charge.account, charge.release, charge.state) == ("a", released(), "charged")
    assert charge.time.endswith("+00:00")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        ledger.charge("a", released(), identity=b"2")
    monkeypatch.undo()
    assert len(ledger.book().charges) == 1


def test_the_same_bytes_again_are_free(ledger: Ledger, unchanged: Callable[..., None]) -> None:
    """Also when nothing is left."""
    ledger.charge("a", released(1.4), identity=b"1")
    unchanged(but=True)
    for _ in range(3):
        ledger.charge("a", released(1.4), identity=b"1")
    unchanged()
    with pytest.raises(BudgetRefused):
        ledger.charge("a", released(1.4), identity=b"2")


def test_the_same_bytes_are_no_other_release(ledger: Ledger, unchanged: Callable[..., None]) -> None:
    """Neither with other noise nor of another data set."""
    ledger.open_account("b", WINDOWS + 100, budget=BUDGET)
    ledger.charge("a", released(), identity=b"1")
    unchanged(but=True)

    for name, release in (("a", released(5)), ("b", released())):
        with pytest.raises(BudgetRefused, match=rf"data set '{name}': this message was charged .* another release of"):
            ledger.charge(name, release, identity=b"1")
    unchanged()


def test_a_failed_session_is_not_refunded(ledger: Ledger) -> None:
    """What became of a message is noted, and counts as before."""
    ledger.charge("a", released(), identity=b"1")
    before = ledger.spent("a")
    for state in STATES:
        ledger.mark(b"1", state)

        assert ledger.book().charges[0].state == state
        assert (ledger.spent("a").share, ledger.spent("a").epsilon) == (before.share, before.epsilon)
    ledger.mark(b"1", FAILED)
    assert ledger.spent("a").charges[0].state == "failed"


def test_only_a_charged_message_can_be_marked(ledger: Ledger) -> None:
    """A state has one of four names, and belongs to a charge."""
    with pytest.raises(ValueError, match="state=refunded must be one of charged, sent, finished, failed"):
        ledger.mark(b"1", "refunded")
    with pytest.raises(ValueError, match="identity must be that of a charged message"):
        ledger.mark(b"1", FAILED)


def test_an_overlap_counts_for_both(ledger: Ledger) -> None:
    """A data set that shares one window is charged with it, under either name; one that shares none is not."""
    ledger.open_account("b", torch.cat([WINDOWS[9:], WINDOWS + 100]), budget=Budget(8.0, DELTA, "window-replace"))
    ledger.open_account("c", WINDOWS + 200, budget=BUDGET)
    ledger.charge("b", released(2), identity=b"1")

    assert ledger.spent("a").releases == (released(2),)
    assert ledger.spent("c").share == 0
    before = ledger.file.read_bytes()
    with pytest.raises(BudgetRefused, match=r"a release of data set 'b' counts for data set 'a' too: budget epsilon 3"):
        ledger.charge("b", released(1.6), identity=b"2")
    assert ledger.file.read_bytes() == before
    ledger.charge("c", released(1.6), identity=b"3")
    assert len(ledger.spent("a").charges) == 1


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_a_reordered_copy_is_not_new(ledger: Ledger, dtype: torch.dtype) -> None:
    """Windows in another order, of another integer type and under another name are the same windows."""
    ledger.open_account("copy", WINDOWS.flip(0).to(dtype), budget=BUDGET)
    ledger.charge("a", released(1.4), identity=b"1")

    assert ledger.spent("copy").share == ledger.spent("a").share > 0.9
    with pytest.raises(BudgetRefused):
        ledger.charge("copy", released(1.4), identity=b"2")


def test_other_windows_are_new(ledger: Ledger) -> None:
    """Longer and shorter windows, other joins of the same tokens and a changed token are no overlap."""
    others = {
        "longer": torch.cat([WINDOWS, torch.zeros(10, 1, dtype=torch.int64)], dim=1),
        "shorter": WINDOWS[:, :-1],
        "joined": WINDOWS.view(5, 12),
        "changed": WINDOWS + 1000 * torch.eye(10, dtype=torch.int64)[:, :6] + 1000,
    }
    for name, windows in others.items():
        ledger.open_account(name, windows, budget=BUDGET)
    ledger.charge("a", released(), identity=b"1")

    assert [ledger.spent(name).share for name in others] == [0, 0, 0, 0]


def test_a_name_keeps_its_windows(ledger: Ledger, unchanged: Callable[..., None]) -> None:
    """The same windows in any order open it again; others are refused, and the message says how many are the same."""
    written = ledger.file.stat().st_mtime_ns
    assert ledger.open_account("a", WINDOWS.flip(0)).budget == BUDGET
    assert ledger.file.stat().st_mtime_ns == written  # not even written again
    with pytest.raises(InputError, match=r"opened with 10 windows, and these 4 are not the same \(4 are\); give them"):
        ledger.open_account("a", WINDOWS[:4])
    with pytest.raises(InputError, match=r"these 12 are not the same \(10 are\)"):
        ledger.open_account("a", torch.cat([WINDOWS, WINDOWS[:2]]))
    unchanged()


def test_a_window_that_is_there_twice_is_not_covered_by_a_claim_about_one_row(tmp_path: Path) -> None:
    """Under a window adjacency such a data set cannot be charged; a claim about the whole client covers it."""
    ledger = Ledger(tmp_path / "ledger.json")
    ledger.open_account("twice", torch.cat([WINDOWS, WINDOWS[:1]]), budget=BUDGET)
    ledger.open_account("once", WINDOWS[:1], budget=BUDGET)

    with pytest.raises(BudgetRefused, match="a window is in the data set more than once"):
        ledger.charge("twice", released(), identity=b"1")
    ledger.charge("once", released(), identity=b"2")
    ledger.charge("twice", released(adjacency="client-replace"), identity=b"3")
    assert ledger.spent("twice").share == 2 * ledger.spent("twice").first(1).share


def test_every_release_of_a_client_counts_under_a_client_adjacency(tmp_path: Path) -> None:
    """Whatever data set it was made from; and a claim about windows is none about the client."""
    ledger = Ledger(tmp_path / "ledger.json")
    budget = Budget(3.0, DELTA, "client-replace")
    ledger.open_account("a", WINDOWS, budget=budget)
    ledger.open_account("b", WINDOWS + 100, budget=budget)
    ledger.charge("a", released(2, "client-replace"), identity=b"1")

    assert ledger.spent("b").share == ledger.spent("a").share > 0.4
    with pytest.raises(
        BudgetRefused, match=r"epsilon inf \(a claim about window-replace says nothing about client-repla"
    ):
        ledger.charge("b", released(100), identity=b"2")
    with pytest.raises(BudgetRefused, match=r"a release of data set 'b' counts for data set 'a' too: budget"):
        ledger.charge("b", released(1.6, "client-replace"), identity=b"3")


def test_an_exact_release_is_recorded_and_ends_every_budget(tmp_path: Path) -> None:
    """Without a budget nothing is promised and it may be made; afterwards no budget covers its windows."""
    ledger = Ledger(tmp_path / "ledger.json")
    ledger.open_account("a", WINDOWS)
    ledger.open_account("far", WINDOWS + 100, budget=BUDGET)
    ledger.charge("a", replace(exact(), adjacency="window-replace"), identity=b"1")

    for name, windows in (("a", WINDOWS), ("part", WINDOWS[:1])):
        with pytest.raises(
            BudgetRefused, match=r"earlier releases of its text took epsilon inf \(an exact release has"
        ):
            ledger.open_account(name, windows, budget=Budget(30.0, DELTA, "window-replace"))
    with pytest.raises(BudgetRefused, match="an exact release has no epsilon"):
        ledger.open_account("client", WINDOWS + 200, budget=Budget(30.0, DELTA, "client-replace"))
    with pytest.raises(
        BudgetRefused, match=r"it would be epsilon inf \(an exact release has no epsilon\): refused; rele"
    ):
        ledger.charge("far", exact(), identity=b"2")
    with pytest.raises(InputError, match="data set 'a' has no budget; fix one before its first release"):
        ledger.spent("a")
    assert ledger.spent("far").share == 0


def test_kinds_that_do_not_add_up_are_refused_with_the_reason(ledger: Ledger) -> None:
    """Noise that is measured as a Gaussian, then choices that have no such measure."""
    ledger.charge("a", released(), identity=b"1")
    with pytest.raises(BudgetRefused, match=r"of kinds that no one proven rule adds up\): refused; make all releases"):
        ledger.charge("a", chosen(picks=1, epsilon_each=Fraction(1, 9), adjacency="window-replace"), identity=b"2")


def test_noise_of_which_nothing_is_proven_is_refused_with_the_reason(ledger: Ledger) -> None:
    """Here a sampler so far from its law that delta is used up."""
    with pytest.raises(
        BudgetRefused, match=r"nothing is proven of noise this small .*: refused; make more noise, or all"
    ):
        ledger.charge("a", replace(released(), statistical_distance=1e-6), identity=b"1")


def test_a_budget_is_fixed_before_the_first_release(ledger: Ledger, unchanged: Callable[..., None]) -> None:
    """Until then it may be changed; then it stays, whether the first release was of this data set or of an overlap."""
    higher = Budget(29.0, DELTA, "window-replace")
    ledger.open_account("b", WINDOWS[:1])
    ledger.open_account("a", WINDOWS, budget=higher)
    ledger.open_account("a", None, budget=BUDGET)

    assert ledger.account("a").budget == BUDGET
    ledger.charge("b", released(), identity=b"1")
    unchanged(but=True)
    with pytest.raises(
        BudgetRefused, match=r"'a' has the budget epsilon 3 .* fixed before its first release and stays"
    ):
        ledger.open_account("a", None, budget=higher)
    ledger.open_account("a", WINDOWS, budget=BUDGET)
    unchanged()
    with pytest.raises(
        BudgetRefused, match=r"'b': budget epsilon 0\.1 .* and earlier releases of its text took epsilon"
    ):
        ledger.open_account("b", None, budget=Budget(0.1, DELTA, "window-replace"))
    ledger.open_account("b", None, budget=higher)
    unchanged(but=True)


def test_a_budget_may_come_before_the_windows(tmp_path: Path) -> None:
    """It is fixed by name; what the data set shares with others counts once its windows are known."""
    ledger = Ledger(tmp_path / "ledger.json")
    ledger.open_account("later", None, budget=BUDGET)
    ledger.open_account("a", WINDOWS, budget=Budget(8.0, DELTA, "window-replace"))
    ledger.charge("a", released(2), identity=b"1")

    assert ledger.spent("later").share == 0
    assert 0.4 < ledger.would_spend("later", [released(2)]).share < 0.5
    ledger.check("later", [released(2)])
    with pytest.raises(BudgetRefused):
        ledger.check("later", [released(1)])
    with pytest.raises(InputError, match="data set 'later' has no windows yet"):
        ledger.charge("later", released(2), identity=b"2")
    ledger.open_account("later", WINDOWS[:2])
    assert ledger.account("later").budget == BUDGET
    assert 0.4 < ledger.spent("later").share < 0.5
    ledger.charge("a", released(2), identity=b"3")
    assert ledger.spent("later").share > 0.9


def test_what_is_asked_for_must_be_there(ledger: Ledger) -> None:
    """Unknown names are refused, and the known ones listed."""
    for ask in (
        lambda: ledger.charge("b", released(), identity=b"1"),
        lambda: ledger.check("b", [released()]),
        lambda: ledger.spent("b"),
        lambda: ledger.account("b"),
    ):
        with pytest.raises(InputError, match="has no data set 'b'; it has 'a'"):
            ask()
    with pytest.raises(ValueError, match="identity must be at least one byte"):
        ledger.charge("a", released(), identity=b"")


@pytest.mark.parametrize("name", ["", "x" * 301, "two\nlines", "\x1b[2J"])
def test_a_data_set_has_a_name(ledger: Ledger, name: str) -> None:
    """One that can be printed."""
    with pytest.raises(InputError, match="must have a name of 1 to 300 printable characters"):
        ledger.open_account(name, WINDOWS, budget=BUDGET)


def test_the_file_tells_no_one_whether_a_text_is_in_it(ledger: Ledger, tmp_path: Path) -> None:
    """No plain hash of a window or message, nor the key; another ledger names the same windows otherwise."""
    ledger.charge("a", released(), identity=b"message")
    text = ledger.file.read_text()
    key = ledger.file.with_name("ledger.json.key").read_bytes()
    other = Ledger(tmp_path / "other" / "ledger.json")
    other.open_account("a", WINDOWS, budget=BUDGET)
    named, named_elsewhere = ({*found.account("a").windows} for found in (ledger, other))
    row = WINDOWS[0].numpy()

    assert key.hex() not in text
    assert b"message".hex() not in text
    for guess in (row.tobytes(), b"\x06" + bytes(7) + row.tobytes(), b"message"):
        for algorithm in ("sha256", "sha1", "md5", "blake2b"):
            assert hashlib.new(algorithm, guess).hexdigest() not in text
    assert len(named) == 10
    assert named.isdisjoint(named_elsewhere)
    assert [entry["windows"] for entry in json.loads(text)["accounts"]] == [sorted(named)]


def test_total_says_whom_it_holds_against(ledger: Ledger) -> None:
    """Each release's adversary once, in order."""
    for number, adversary in enumerate(["server with 1 colluding client", "the server alone", "the server alone"]):
        ledger.charge("a", replace(released(), adversary=adversary), identity=bytes([number]))

    assert ledger.spent("a").adversaries == ("server with 1 colluding client", "the server alone")


SETS = {"a": "01234", "b": "4567", "c": "0789", "d": "9"}
BOOK = st.lists(st.tuples(st.sampled_from(sorted(SETS)), st.sampled_from([3.0, 5.0, 9.0])), max_size=8)


@settings(deadline=None, max_examples=80)
@given(BOOK)
def test_what_is_spent_is_the_worst_window(charges: list[tuple[str, float]]) -> None:
    """By a slow count over windows: for each the squared mu of every release of a data set that has it."""
    book = Book({name: Account(name, "", BUDGET, tuple(windows)) for name, windows in SETS.items()}, ())
    book = book.with_charges([Charge(name, "", "", "charged", released(size)) for name, size in charges])
    most = Yardstick(None).limit(BUDGET, 0.0)
    for name, windows in SETS.items():
        totals = [
            sum(released(size).gaussian_mu ** 2 for charged, size in charges if window in SETS[charged])
            for window in windows
        ]

        assert book.spent(book.accounts[name]).share == pytest.approx(max(totals) / most)
    assert Book.of_content(json.loads(json.dumps(book.to_content()))) == book


def test_infinite_is_not_written(ledger: Ledger) -> None:
    """The file is plain JSON, which has no infinities."""
    ledger.open_account("b", WINDOWS + 100)
    ledger.charge("b", exact(), identity=b"1")

    assert "Infinity" not in ledger.file.read_text()
    assert math.isinf(epsilon_of([ledger.book().charges[0].release], DELTA))
