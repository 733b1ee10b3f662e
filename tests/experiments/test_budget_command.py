"""``fedprllm budget`` says what was spent and what a plan would cost, and charges nothing."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from rich.console import Console

from experiments.budget_command import add_budget_flags, run
from experiments.cli import guarded
from experiments.flags import OneLineParser
from experiments.ledger_names import ledger_of
from fedprllm_secure.privacy import ADJACENCIES, MEANINGS, READERS, SERVER_ALONE, Release, Sensitivity
from fedprllm_secure.privacy.budget import Budget, BudgetRefused
from fedprllm_secure.privacy.ledger import Ledger
from tests.experiments.conftest import Ran

DELTA = 1e-5
RELEASE = Release(
    mechanism="skellam",
    adjacency="window-replace",
    adversary=READERS,
    dimension=100,
    sensitivity=Sensitivity(l1=500, l2_squared=2500),
    variance=Fraction(2500 * 16),
    statistical_distance=0.0,
)
PLAN = ("--plan", "--delta=1e-5", "--adjacency=window-replace")


def parser() -> OneLineParser:
    """The command's own parser."""
    found = OneLineParser(prog="fedprllm budget")
    add_budget_flags(found)
    return found


def budget(*arguments: object) -> Ran:
    """Run the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            flags = parser().parse_args([str(argument) for argument in arguments])
        except SystemExit as stop:
            return Ran(int(stop.code or 0), out.getvalue(), err.getvalue())
        status = guarded(lambda: run(flags), out=None)
    return Ran(status, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no line breaks."""
    monkeypatch.setenv("COLUMNS", "250")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger of three data sets: two that share a window, and one without a budget."""
    ledger = Ledger(tmp_path / "own" / "ledger.json")
    windows = torch.arange(40).view(10, 4)
    ledger.open_account("clinic", windows[:6], budget=Budget(3.0, DELTA, "window-replace"))
    ledger.open_account("ward", windows[5:], budget=Budget(8.0, DELTA, "window-replace"))
    ledger.open_account("public", windows + 100)
    ledger.charge("clinic", RELEASE, identity=b"1")
    ledger.charge("ward", replace(RELEASE, adversary=SERVER_ALONE, adjacency="client-replace"), identity=b"2")
    ledger.mark(b"2", "failed")
    ledger.charge("public", exact(), identity=b"3")
    return ledger


def exact() -> Release:
    """A release without noise."""
    return Release(mechanism="exact", adjacency="client-replace", adversary=SERVER_ALONE, dimension=3)


@pytest.fixture
def untouched(ledger: Ledger) -> Callable[[], bool]:
    """Say whether the ledger's bytes are as they were."""
    former = ledger.file.read_bytes()
    return lambda: ledger.file.read_bytes() == former


def test_every_data_set_is_shown(ledger: Ledger, untouched: Callable[[], bool]) -> None:
    """Budget, releases, what was spent and what is left, as JSON."""
    ran = budget("--ledger", ledger.file, "--json")
    shown = json.loads(ran.stdout)
    clinic, ward, public = shown["data_sets"]

    assert (ran.status, ran.stderr) == (0, "")
    assert shown["ledger"] == str(ledger.file)
    assert [found["data_set"] for found in (clinic, ward, public)] == ["clinic", "ward", "public"]
    assert clinic["budget"] == {"epsilon": 3.0, "delta": DELTA, "adjacency": "window-replace"}
    assert clinic["windows"] == 6
    assert clinic["spent"]["epsilon"] == ledger.spent("clinic").epsilon
    assert clinic["spent"]["share"] == ledger.spent("clinic").share
    assert clinic["spent"]["share"] + clinic["spent"]["share_left"] == 1
    assert [release["data_set"] for release in clinic["releases"]] == ["clinic", "ward"]
    assert sum(release["share"] for release in clinic["releases"]) == pytest.approx(clinic["spent"]["share"])
    assert clinic["releases"][0]["epsilon_alone"] == ledger.spent("clinic").first(1).epsilon
    assert ward["releases"][1]["state"] == "failed"
    assert (public["budget"], public["spent"]) == (None, None)
    assert [release["mechanism"] for release in public["releases"]] == ["exact"]
    assert untouched()


def test_tables_say_what_counts_and_against_whom(ledger: Ledger) -> None:
    """One line a data set, then the releases that count for each; adversaries that differ are pointed out."""
    shown = budget("--ledger", ledger.file).stdout
    rows = [[cell.strip() for cell in line.strip("│\n").split("│")] for line in shown.splitlines() if "│" in line]
    spent = ledger.spent("clinic")

    assert rows[0] == [
        "clinic",
        "6",
        "epsilon 3 at delta 1e-05 about window-replace",
        "2",
        f"epsilon {spent.epsilon:.4g}",
        f"{spent.left:.1%}",
    ]
    assert rows[2] == ["public", "10", "none: nothing is promised", "1", "", ""]
    assert rows[4][1:] == ["ward", "skellam", "client-replace", SERVER_ALONE, "0.9263", "12.1%", "failed"]
    assert "releases that count for 'public'" in shown
    assert (
        f"'clinic': the total holds only against an adversary that every release's claim covers ({READERS}; " in shown
    )
    assert "'public': the total" not in shown
    assert "Every state counts in full." in shown


def test_one_data_set_can_be_asked_for(ledger: Ledger) -> None:
    """By name; another name is refused, and the known ones listed."""
    shown = json.loads(budget("--ledger", ledger.file, "--data-set=ward", "--json").stdout)
    missing = budget("--ledger", ledger.file, "--data-set=attic")

    assert [found["data_set"] for found in shown["data_sets"]] == ["ward"]
    assert missing.status == 2
    assert missing.line.endswith("has no data set 'attic'; it has 'clinic', 'ward', 'public'")


def test_a_missing_ledger_is_bad_input(tmp_path: Path) -> None:
    """One line, and nothing is begun."""
    ran = budget("--ledger", tmp_path / "none" / "ledger.json")

    assert ran.status == 2
    assert "no ledger at" in ran.line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [(), (*PLAN, "--epsilon=1", "--data-set=a")], ids=["show", "plan"])
def test_the_ledgers_of_simulated_clients_are_pointed_at(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A simulation names them after ``--ledger``; what has another name, or is a ledger's key or lock, is not one."""
    own = tmp_path / "own"
    for client in (0, 10000, 2):
        Ledger(ledger_of(own / "client.json", client)).open_account("a", None)
    (own / "client-x.json").touch()
    (own / "other-0000.json").touch()
    ran = budget("--ledger", own / "client.json", *arguments)

    assert ran.status == 2
    assert ran.line.endswith(
        f"no ledger at {own / 'client.json'}; each simulated client has its own: client-0000.json to "
        f"client-10000.json (--ledger {own / 'client-0000.json'})"
    )
    assert budget("--ledger", own / "client-0002.json").status == 0
    alone = budget("--ledger", own / "other.json").line
    assert alone.endswith(f"its own: other-0000.json (--ledger {own / 'other-0000.json'})")
    assert "each simulated client" not in budget("--ledger", own / "none.json").line


def test_tables_are_whole_in_a_narrow_terminal(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a pipe a line is as long as it must be; a terminal folds cells; one data set is not 'data sets'."""
    monkeypatch.setenv("COLUMNS", "80")
    piped = budget("--ledger", ledger.file, "--data-set=ward").stdout
    assert "…" not in piped
    assert f"│ {READERS} " in piped
    assert "│ epsilon 8 at delta 1e-05 about window-replace │" in piped
    assert "1 data set" in " ".join(piped.split())
    assert "1 data sets" not in " ".join(piped.split())
    assert "3 data sets" in " ".join(budget("--ledger", ledger.file).stdout.split())

    monkeypatch.setattr(Console, "is_terminal", True)
    folded = budget("--ledger", ledger.file).stdout
    assert "…" not in folded
    rows = [line for line in folded.splitlines() if line.startswith("│")]
    assert len(rows) > 7
    assert set(map(len, rows)) <= {*range(81)}


def test_a_plan_stands_beside_the_references() -> None:
    """At z = 1, delta 1e-5 the continuous Gaussian costs 4.3772; ours a little more, and Renyi and PRV more."""
    figures = json.loads(budget(*PLAN, "--noise-multiplier=4", "--releases=16", "--json").stdout)
    reference = figures["continuous_reference"]

    assert reference["gaussian_exact_epsilon"] == pytest.approx(4.377178096, rel=1e-8)
    assert reference["opacus_rdp_epsilon"] == pytest.approx(4.7285, rel=1e-4)
    assert reference["opacus_prv_epsilon"] == pytest.approx(4.3874, rel=1e-4)
    assert 4.377178096 < figures["claimed_epsilon"] < 4.3773
    assert figures["claimed_epsilon_of_one"] == pytest.approx(0.927, abs=1e-2)
    assert figures["noise_standard_deviation_in_sensitivities"] == pytest.approx(4)
    assert figures["noise_standard_deviation_in_clips"] == pytest.approx(8)
    assert (figures["releases"], figures["mechanism"], figures["delta"]) == (16, "skellam", DELTA)


def test_noise_is_sized_for_an_epsilon() -> None:
    """The claim of all releases together meets it; the same noise given as a multiplier has the same claim."""
    flags = ("--plan", "--delta=1e-5", "--adjacency=client-zero-out", "--noise=discrete-gaussian", "--releases=3")
    sized = json.loads(budget(*flags, "--epsilon=2", "--json").stdout)
    multiplier = sized["noise_standard_deviation_in_sensitivities"]
    given = json.loads(budget(*flags, f"--noise-multiplier={multiplier!r}", "--json").stdout)

    assert 1.9999 < sized["claimed_epsilon"] <= 2
    assert sized["noise_standard_deviation_in_clips"] == pytest.approx(multiplier)
    assert given["claimed_epsilon"] == pytest.approx(sized["claimed_epsilon"], rel=1e-6)
    assert sized["mechanism"] == "discrete-gaussian"


def test_a_plan_is_held_against_a_budget(ledger: Ledger, untouched: Callable[[], bool]) -> None:
    """Delta and adjacency come from it; what is spent, would be and is left is shown, and nothing charged."""
    flags = ("--ledger", ledger.file, "--data-set=ward", "--plan", "--noise-multiplier=4", "--releases=2")
    ran = budget(*flags, "--json")
    figures = json.loads(ran.stdout)
    table = budget(*flags).stdout

    assert ran.status == 0
    assert (figures["delta"], figures["adjacency"]) == (DELTA, "window-replace")
    assert figures["before"]["share"] == ledger.spent("ward").share
    assert figures["after"]["share"] == pytest.approx(2 * figures["before"]["share"], rel=1e-3)
    assert figures["after"]["share_left"] == 1 - figures["after"]["share"]
    assert "plan: 2 releases about window-replace, delta 1e-05" in table
    assert "claim (skellam, proven)" in table
    assert f"left after this plan                      │ {figures['after']['share_left']:.1%} of the budget" in table
    assert untouched()


def test_a_plan_over_budget_is_refused(ledger: Ledger, untouched: Callable[[], bool]) -> None:
    """In one line; here for the budget of another data set that has one of the windows."""
    flags = parser().parse_args(
        ["--ledger", str(ledger.file), "--data-set=ward", "--plan", "--noise-multiplier=4", "--releases=7"]
    )
    with pytest.raises(BudgetRefused, match=r"of data set 'ward' counts for data set 'clinic' too: budget epsilon 3"):
        run(flags)
    assert untouched()


def test_a_budget_is_opened_before_its_first_release(tmp_path: Path) -> None:
    """A new ledger is begun; a plan is held against the budget, and it is shown as not yet used."""
    file = tmp_path / "own" / "ledger.json"
    amount = ("--epsilon=8", "--delta=1e-5", "--adjacency=client-replace")
    opened = budget("--ledger", file, "--data-set=clinic", "--open", *amount)
    told = budget("--ledger", file, "--data-set=ward", "--open", *amount, "--json")
    plan = ("--ledger", file, "--data-set=clinic", "--plan", "--json")

    assert opened == Ran(0, "data set 'clinic' has the budget epsilon 8 at delta 1e-05 about client-replace\n", "")
    assert json.loads(told.stdout)["budget"] == {"epsilon": 8.0, "delta": DELTA, "adjacency": "client-replace"}
    assert 0.3 < json.loads(budget(*plan, "--noise-multiplier=1").stdout)["after"]["share"] < 0.4
    assert "not yet used" in budget("--ledger", file).stdout
    with pytest.raises(BudgetRefused):
        run(parser().parse_args([*map(str, plan), "--noise-multiplier=0.5"]))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "--ledger is needed: name the ledger to show, or add --plan"),
        (("--ledger=x", "--epsilon=1"), "--epsilon belongs to a plan or a new budget; add --plan or --open"),
        (("--ledger=x", "--noise-multiplier=1"), "--noise-multiplier belongs to a plan; add --plan"),
        (("--ledger=x", "--open", "--data-set=a", "--epsilon=1", "--delta=0.1"), "--open needs --adjacency"),
        (
            ("--ledger=x", "--open", "--data-set=a", "--epsilon=99", "--delta=0.1", PLAN[2]),
            "epsilon=99 must be at most 30",
        ),
        (("--open", "--data-set=a"), "--open needs --ledger"),
        (("--ledger=x", "--open"), "--open needs --data-set"),
        (("--plan", "--epsilon=1", "--adjacency=client-replace"), "--plan needs --delta"),
        (("--plan", "--epsilon=1", "--delta=1e-5"), "--plan needs --adjacency"),
        (PLAN, "--plan needs --epsilon or --noise-multiplier, and not both"),
        ((*PLAN, "--epsilon=1", "--noise-multiplier=1"), "--plan needs --epsilon or --noise-multiplier, and not both"),
        ((*PLAN, "--epsilon=1", "--ledger=x"), "--ledger and --data-set go together in a plan"),
        ((*PLAN, "--epsilon=1", "--delta=1e-40"), "epsilon=1.0 at delta=1e-40 cannot be reached with any noise"),
        ((*PLAN, "--noise-multiplier=1e30"), "no release is like that: variance must be a fraction above 0"),
        ((*PLAN, "--noise-multiplier=1e300"), "no release is like that: cannot convert Infinity"),
        ((*PLAN, "--epsilon=0"), "argument --epsilon: '0' must be a number above 0"),
        ((*PLAN, "--epsilon=inf"), "argument --epsilon: 'inf' must be a number above 0"),
        ((*PLAN, "--epsilon=few"), "argument --epsilon: 'few' must be a number above 0"),
        (("--plan", "--delta=2", "--adjacency=client-replace", "--epsilon=1"), "delta=2.0 must be above 0 and below 1"),
        (("--plan", "--open"), "argument --open: not allowed with argument --plan"),
        (("--plan", "--adjacency=client"), "argument --adjacency: invalid choice: 'client'"),
    ],
    ids=str,
)
def test_flags_that_do_not_go_together_are_bad_input(arguments: tuple[str, ...], complaint: str) -> None:
    """One line that says what would do."""
    ran = budget(*arguments)

    assert ran.status == 2
    assert complaint in ran.line
    assert ran.stdout == ""


def test_help_teaches_what_an_epsilon_is_about() -> None:
    """Each adjacency with its meaning, that nothing is refunded, and what an exact release costs."""
    ran = budget("--help")
    told = " ".join(ran.stdout.split())

    assert ran.status == 0
    for adjacency in ADJACENCIES:
        assert f"{adjacency}: {MEANINGS[adjacency]}" in told
    assert "nothing is refunded: not after a failed session" in told
    assert "An exact release (dp none) costs infinitely much" in told
    assert max(map(len, parser().epilog.splitlines())) <= 120
