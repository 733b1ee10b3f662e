"""An audit in the terminal: adversaries against protocols, and every attack once."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from attacks.leakage.figures import Measured
from attacks.leakage.intervals import Interval
from experiments.audit.matrix import Configuration
from experiments.audit.report import CellReport
from experiments.audit.show import measured, show_attacks, show_cells
from fedprllm_secure.privacy.target import PrivacyTarget
from tests.experiments.audit.planted_audit import audit_of, reports_of

PLAIN, ADDITIVE = Configuration("plain"), Configuration("additive")


def central(epsilon: float) -> Configuration:
    """Additive under central noise."""
    privacy = PrivacyTarget(place="central", adjacency="window-replace", delta=1e-5, epsilon=epsilon)
    return Configuration("additive", privacy)


def cells(reports: list[CellReport]) -> str:
    """Print the matrix."""
    console = Console(file=io.StringIO(), width=200)
    show_cells(reports, title="the title", console=console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def attacks(reports: list[CellReport]) -> str:
    """Print the attacks."""
    console = Console(file=io.StringIO(), width=200)
    show_attacks(reports, console=console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_matrix_has_every_adversary_and_protocol() -> None:
    """What each sees, its AUC and the attack; adversaries that are none of these protocols' are left out."""
    text = cells(reports_of(audit_of(PLAIN, ADDITIVE, seeing={"strong": True})))

    assert "the title" in text
    for says in ("plain", "additive", "server and colluders", "public observer", "totals less colluders"):
        assert says in text
    assert "key holder" not in text
    assert "readers" not in text
    assert text.count("AUC 1.000") == text.count("by strong") == 5
    assert "no claim" not in text


@pytest.mark.parametrize(
    ("epsilon", "says"), [(0.1, "epsilon 0.1: EXCEEDED by "), (30, "epsilon 30: these coins cannot exceed it")]
)
def test_the_matrix_says_how_claims_fare(epsilon: float, says: str) -> None:
    """Against an attack that sees all; where nothing is claimed, why."""
    text = cells(reports_of(audit_of(central(epsilon), seeing={"strong": True})))

    assert text.count(says) == 2
    assert text.count("no claim: the noise is not claimed to hold against this adversary") == 2


def test_a_claim_that_holds_is_not_exceeded() -> None:
    """An attack that sees nothing exceeds none."""
    text = cells(reports_of(audit_of(central(0.5), seeing={"weak": False})))

    assert text.count(": not exceeded") == 2


def test_every_thing_that_is_seen_is_listed_once() -> None:
    """With its attacks, what could not be made, and rates that so few coins do not show."""
    audit = audit_of(ADDITIVE, Configuration("bfv"), seeing={"strong": True, "weak": False}, refused={"o": "few rows"})
    text = attacks(reports_of(audit))

    for job in ("totals", "totals less colluders", "masks", "prune mask"):
        assert text.count(f" {job}: ") == 1
    assert text.count(" strong ") == 4
    assert text.count("o not made: few rows") == 4
    assert text.count("plain score predicted") == 3
    assert text.count("true positive rate at 0.1 % not given: needs 3688 runs with a non-member ") == 4


def test_attacks_are_set_beside_the_simple_one() -> None:
    """By how much each does better, with the interval, and nothing for the simple one itself."""
    (report, *_) = reports_of(audit_of(ADDITIVE, seeing={"blind": False, "simple-test": False}))
    (blind,) = (each for each in report.reports if each.attack == "blind")
    difference = blind.against_simple.difference  # type: ignore[union-attr]
    text = attacks([report])

    assert "less simple-test's" in text
    assert text.count(f"AUC {measured(difference, sign='+')}") == 1
    assert difference.interval is not None
    assert "not compared" not in text


def test_why_nothing_is_compared_is_said_once() -> None:
    """For all attacks on a thing alike."""
    (report, *_) = reports_of(audit_of(PLAIN, seeing={"strong": True, "weak": False}))
    refusing = reports_of(audit_of(PLAIN, seeing={"strong": True}, refused={"simple-test": "too few rows"}))[0]

    assert attacks([report]).count("not compared with simple-test: simple-test is not among --attacks") == 1
    assert "not compared with simple-test: simple-test was not made: too few rows" in attacks([refusing])


def test_turned_attacks_are_marked() -> None:
    """Whose scores were found to point the wrong way."""
    (report, *_) = reports_of(audit_of(PLAIN, seeing={"strong": True}))
    turned = replace(report, reports=(replace(report.best, is_reversed=True),))

    assert "strong (turned)" in attacks([turned])
    assert "turned" not in attacks([report])


def test_figures_say_why_they_are_missing() -> None:
    """Value and interval, value alone, or the reason."""
    assert measured(Measured(0.75, Interval(0.7, 0.8))) == "0.750 [0.700, 0.800]"
    assert measured(Measured(0.75, None, "one run")) == "0.750"
    assert measured(Measured(None, None, "too few")) == "too few"
    assert measured(Measured(0.5, Interval(-0.25, 1.0)), sign="+") == "+0.500 [-0.250, +1.000]"
