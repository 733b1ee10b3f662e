"""``fedprllm report`` on real runs: what it prints, and that what the commands write is what it reads."""

from __future__ import annotations

import numpy as np

from attacks.leakage.claims import Claim, Game
from attacks.leakage.report import leakage_reports
from experiments.audit.curve_points import curve_points
from experiments.audit.matrix import Cell, Configuration
from experiments.audit.report import CellReport, as_json
from experiments.report.audits import Audit
from experiments.result import write_json
from tests.attacks.leakage.simulated import gaussian
from tests.experiments.report.written import audit, put, result


def test_report_of_a_real_run(prune, cli, tmp_path):
    """Its page's path is printed; its votes and its command are in it."""
    assert prune(tmp_path / "run", save_votes=True).status == 0

    ran = cli("report", tmp_path / "run", "--out", tmp_path / "out")

    assert (ran.status, ran.stderr) == (0, "")
    assert ran.stdout.strip() == str(tmp_path / "out" / "report.html")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "fedprllm prune --model" in text
    assert "figures/agreement-0.png" in text
    assert "At sparsity 0.5 perplexity is" in text


def test_what_cannot_be_read_is_a_line_and_the_rest_goes_on(cli, tmp_path):
    """On stderr, and in the report."""
    put(tmp_path / "good", result())
    (put(tmp_path / "bad", result()) / "result.json").write_text("{")

    ran = cli("report", tmp_path / "bad", tmp_path / "good", "--out", tmp_path / "out")

    assert ran.status == 0
    assert "bad/result.json: cut short or no JSON" in ran.line
    assert "cut short or no JSON" in (tmp_path / "out" / "report.md").read_text()


def test_nothing_to_report_is_bad_input(cli, tmp_path):
    """One line, and nothing is written."""
    ran = cli("report", tmp_path / "none", "--out", tmp_path / "out")

    assert ran.status == 2
    assert "nothing to report" in ran.line
    assert not (tmp_path / "out").exists()


def test_a_real_audit_is_read(tmp_path):
    """Cells as the audit writes them, curve included."""
    claim = Claim(2.0, 1e-5, Game("window-replace", "server"))
    reports = leakage_reports(
        {"whitened": gaussian(np.random.default_rng(0), runs=40, shift=1.0)},
        game=claim.game,
        claim=claim,
        level=0.05,
        generator=np.random.default_rng(1),
        replicates=50,
    )
    strongest = gaussian(np.random.default_rng(2), runs=40, shift=1.0)
    cell = Cell(Configuration("additive"), "server", "totals", "totals", True)
    found = as_json([CellReport(cell, reports, strongest, claim, "", None, {})])
    folder = put(tmp_path / "audit", audit([]))
    write_json(folder / "audit.json", audit([]) | {"cells": found})

    read = Audit.read(folder, name="A1")

    assert read.cells[0].best.auc.value == reports[0].auc.value
    assert read.cells[0].claim.epsilon == 2.0
    assert read.cells[0].curve.false == tuple(curve_points(strongest)["false_positive_rates"])


def test_points_of_a_curve_are_the_highest_of_their_place():
    """No point lies off the curve, both rates rise to 1, and many coins make few points."""
    one = gaussian(np.random.default_rng(0), runs=20_000, shift=1.0)
    found = curve_points(one)
    false, true = np.array(found["false_positive_rates"]), np.array(found["true_positive_rates"])
    inside, outside = np.sort(one.scores[one.members]), np.sort(one.scores[~one.members])

    assert len(false) < 300
    assert (np.diff(false) >= 0).all()
    assert (false[-1], true[-1]) == (1, 1)
    for rate, height in list(zip(false, true, strict=True))[::20]:
        taken = round(rate * len(outside))
        cutoff = -np.inf if taken == len(outside) else outside[len(outside) - taken - 1]
        assert height == np.round((inside > cutoff).mean(), 6) or height == 1
    assert found["coins"] == len(one)
