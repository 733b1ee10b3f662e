"""What the terminal shows of a result: rows in order, labels and figures."""

from __future__ import annotations

import pytest

from experiments import console
from experiments.console import PhaseBars, perplexity_table, show_prune_result

PERPLEXITY = {
    "windows": 6,
    "context_tokens": 16,
    "covered_bytes": 100,
    "result": "federated",
    "dense": {"perplexity": 50.0},
    "central": {"perplexity": 20.0, "bits_per_byte": 1.25},
    "federated": {"perplexity": 30.0, "bits_per_byte": 1.5},
    "scaled": {"perplexity": None},
    "public": {"perplexity": 10.0},
    "local": {"perplexity": 40.0, "standard_deviation": 2.5, "clients": [38.0, 40.0, 42.0]},
}


def bytes_of(up: int, down: int) -> dict[str, int]:
    """Bytes of one protocol step."""
    return {
        "client_up_max_bytes": up,
        "client_down_max_bytes": down,
        "server_in_bytes": 3 * up,
        "server_out_bytes": 2 * down,
    }


RESULT = {
    "perplexity": {},
    "sparsity": {"achieved_fraction": 0.5, "prunable_weights": 1000},
    "data": {"clients": 3, "windows_per_client": 2, "window_length_tokens": 16},
    "bytes": {"submit": bytes_of(200, 30), "reveal": bytes_of(50, 5)},
    "seconds": {"total": 1.25},
    "peak_memory_bytes": {"host": 2_000_000},
    "privacy": {"dp": "none", "claim": "none"},
    "protocol": {
        "name": "plain",
        "protects": "protects nothing",
        "seconds_by_step": {
            "submit": {"client_max_seconds": 0.25, "server_seconds": 1.5},
            "reveal": {"client_max_seconds": 0.5, "server_seconds": 0.01},
        },
    },
    "notes": ["mind the gap"],
}


def test_rows_come_best_first_after_the_unpruned_model():
    """The unpruned model leads even where it is the worst, and what is infinite comes last."""
    table = perplexity_table(PERPLEXITY)
    labels, values, bits = (list(column.cells) for column in table.columns)

    assert [label.split(" ")[0].rstrip(",") for label in labels] == [
        "dense",
        "public-only",
        "central",
        "federated",
        "local-only",
        "federated",
    ]
    assert labels[-1] == "federated, scaled"
    assert values == ["50.000", "10.000", "20.000", "30.000", "40.000 ± 2.500", "inf"]
    assert bits == ["", "", "1.2500", "1.5000", "", ""]


def test_local_pruning_says_of_how_many_clients_it_is():
    """The label of a mean names what it is a mean of; no other row has such a label."""
    labels = list(perplexity_table(PERPLEXITY).columns[0].cells)

    assert "local-only, mean ± standard deviation over 3 clients" in labels
    assert sum("mean" in label for label in labels) == 1


def test_result_stands_out():
    """The row that the run is about is bold, and no other."""
    table = perplexity_table(PERPLEXITY)
    bold = [label for label, row in zip(table.columns[0].cells, table.rows, strict=True) if row.style == "bold"]

    assert bold == ["federated"]


@pytest.fixture
def wide(monkeypatch):
    """A terminal in which no line breaks."""
    monkeypatch.setenv("COLUMNS", "200")


def test_cost_is_shown_by_step_and_in_all(capsys, wide, tmp_path):
    """200 bytes submitted for 1000 weights are 1.6 bits each; every step has its row, and their sum one more."""
    show_prune_result(RESULT, tmp_path, as_json=False, note="already done")
    shown = capsys.readouterr().out

    rows = [[cell.strip() for cell in line.strip("│\n").split("│")] for line in shown.splitlines() if "│" in line]

    assert "cost of protocol plain: a client submits 1.60 bits a weight" in shown
    assert rows == [
        ["submit", "200 B", "30 B", "600 B", "60 B", "0.25 s", "1.50 s"],
        ["reveal", "50 B", "5 B", "150 B", "10 B", "0.50 s", "0.01 s"],
        ["all", "250 B", "35 B", "750 B", "70 B", "0.75 s", "1.51 s"],
    ]
    assert "50.00% of 1,000 prunable weights by 3 clients x 2 windows of 16 tokens" in shown
    assert "host 2 MB" in shown
    assert [line.split()[1:] for line in shown.splitlines() if line.startswith("note")] == [
        ["mind", "the", "gap"],
        ["already", "done"],
    ]
    assert "perplexity" not in shown


def test_progress_in_a_file_is_a_line_now_and_then(monkeypatch, capsys):
    """A log of long work says how far it is; short work says nothing in between, and quiet work nothing at all."""
    for quiet, is_terminal in ((False, False), (True, False), (False, True)):
        now = 1000.0
        monkeypatch.setenv("FORCE_COLOR" if is_terminal else "NO_COLOR", "1")
        monkeypatch.setattr(console.time, "monotonic", lambda: now)  # noqa: B023 - read while it is this one
        with PhaseBars(quiet=quiet) as bars:
            for done in range(4):
                bars.update("audit", done, 4)
                now += 20.0

        said = [line for line in capsys.readouterr().err.splitlines() if line.endswith("/4") and "━" not in line]
        assert said == ([] if quiet or is_terminal else ["attacking matrix 2/4"])
