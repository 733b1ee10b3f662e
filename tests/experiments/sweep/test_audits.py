"""Audits of cells: one for all that differ in their protocol, and its figures in their rows."""

from __future__ import annotations

import pytest

from experiments.sweep import SweepSpec, read_sweep
from experiments.sweep.audits import match_audits
from experiments.sweep.cells import cells_of
from experiments.sweep.folder import Entry
from tests.experiments.sweep.conftest import NOISE
from tests.experiments.sweep.test_cells import BASE

SMALL = {
    "targets": 4,
    "runs": 20,
    "labelled_runs": 16,
    "reference_runs": 8,
    "population": 16,
    "strangers": 4,
    "attacks": "similarity",
}


def matched(audit: dict[str, object], **flags: object) -> tuple[list[Entry], list[Entry]]:
    """Match audits to the cells of a sweep of the demo; returns cells and audits."""
    spec = SweepSpec.of(BASE | flags, audit=audit)
    cells = cells_of(spec, digest_of=lambda _: "digest")
    entries = [Entry(name=cell.name, flags=dict(cell.flags)) for cell in cells]
    audits = match_audits(list(zip(cells, entries, strict=True)), spec.audit, digest_of=lambda _: "digest")
    return entries, audits


def test_protocols_stand_in_one_audit():
    """Cells that differ in their protocol or in what no attacker sees share an audit; others do not."""
    cells, audits = matched({"runs": 8}, protocol=["plain", "ckks"], sparsity=["0.5", "0.7"], eval_windows=[1, 2])

    assert len(cells) == 8
    assert [audit.flags["sparsity"] for audit in audits] == ["0.5", "0.7"]
    assert all(audit.protocols == ["plain", "ckks"] for audit in audits)
    assert all(audit.flags["protocol"] == "plain,ckks" and audit.flags["runs"] == "8" for audit in audits)
    by_sparsity = {audit.flags["sparsity"]: audit.name for audit in audits}
    assert all(cell.audits == [by_sparsity[cell.flags["sparsity"]]] for cell in cells)


def test_adjacency_is_that_of_the_cell():
    """A claim is audited in its own game; cells without noise in the one that was asked for."""
    _, audits = matched({"adjacency": "window-replace"}, epsilon=["none", 3], **NOISE)

    assert [audit.flags["adjacency"] for audit in audits] == ["window-replace", "client-zero-out"]


def test_swept_audit_flags_make_several_audits():
    """Each value of an audit flag is an audit of every cell."""
    (cell,), audits = matched({"knowledge": ["exact", "near"]})

    assert cell.audits == [audit.name for audit in audits]
    assert len(audits) == 2


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"payload": "units"}, "an audit plays votes and statistics, not units"),
        (
            {"partition": "dirichlet:0.5", "label-field": "topic"},
            "an audit plays clients whose text is cut at random, not --partition dirichlet:0.5",
        ),
        ({"epsilon": 3, **NOISE, "dp": "distributed"}, "distributed noise does not go with the protocol plain"),
    ],
)
def test_cell_without_an_audit_says_why(flags, reason):
    """What no audit plays is said and not passed over."""
    (cell,), audits = matched({}, **flags)

    assert audits == []
    assert cell.not_audited == reason


def test_rows_have_the_figures_of_their_audit(sweep, tmp_path):
    """The AUC of each adversary stands in the row of its protocol; an audit that fails stands beside its cell."""
    audit = SMALL | {"cache": str(tmp_path / "cache")}
    one = {"clients": 3, "windows_per_client": 1}
    assert sweep(tmp_path / "sweep", protocol=["plain", "additive"], audit=audit, **one) == 0

    plain, additive = read_sweep(tmp_path / "sweep")
    assert plain["audit"] == additive["audit"]
    assert (plain["audit_state"], plain["audit_exact_for"]) == ("done", "the first block")
    assert plain["audit_runs"] == "20"
    assert all(0 <= row["audit_auc_server"] <= 1 for row in (plain, additive))
    assert additive["audit_auc_server_low"] <= additive["audit_auc_server"] <= additive["audit_auc_server_high"]
    assert plain["audit_auc_server_and_colluders"] is None
    assert additive["audit_auc_server_and_colluders"] is not None
    assert plain["audit_attack_server"] == "similarity"
    assert sweep(tmp_path / "failing", audit=audit | {"targets": 10_000}, propagate="dense", **one) == 2
    (failing,) = read_sweep(tmp_path / "failing")
    assert (failing["state"], failing["audit_state"]) == ("done", "failed")
    assert failing["audit_exact_for"] == "all blocks"
    assert failing["audit_error"]
