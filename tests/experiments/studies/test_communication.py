"""The study of communication: what is measured is what is computed, and both are written down."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from experiments.plan.shapes import write_stand_in
from experiments.studies import communication
from experiments.studies.communication import PAYLOADS, run, write_tiny
from fedprllm_secure.models.streamed import StreamedModel
from protocols import PROTOCOLS


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """One small study: the tiny model in place of the demo, one large model, three clients."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(communication, "DEMO_MODEL", write_tiny(folder / "demo"))
        patch.setattr(communication, "LARGE", ("llama-7b",))
        return folder, run(out=folder, clients=(3, 5))


def test_small_models_are_measured_and_large_ones_computed(studied):
    """Every protocol on votes, every payload under one, for each roster."""
    _, rows = studied

    for row in rows:
        assert (row.measured_bytes is None) == (row.model == "llama-7b")
        assert row.measured_bytes in (None, row.computed_bytes)
    for model in ("tiny", "demo", "llama-7b"):
        of_model = [row for row in rows if row.model == model]
        assert {row.protocol for row in of_model if row.payload == "votes"} == set(PROTOCOLS)
        assert {row.payload for row in of_model} == set(PAYLOADS)
        assert {row.clients for row in of_model} == {3, 5}


def test_figures_of_llama_7b(studied):
    """One bit a vote plain; more where it is protected; far less for other payloads."""
    _, rows = studied
    found = {(row.protocol, row.payload): row for row in rows if row.model == "llama-7b" and row.clients == 3}

    assert found["plain", "votes"].parameters == 6_738_415_616
    assert found["plain", "votes"].bits_per_weight == pytest.approx(1, rel=1e-3)
    assert found["additive", "votes"].bits_per_weight == pytest.approx(2, rel=1e-3)  # 32 lanes of radix 4
    votes = [found[protocol, "votes"].computed_bytes for protocol in PROTOCOLS]
    assert votes == sorted(votes)
    assert found["additive", "statistics"].computed_bytes == pytest.approx(745_472 * 8, rel=1e-2)


def test_table_and_picture_are_written(studied):
    """JSON Lines hold every row, Markdown a line for each; both pictures are drawn."""
    folder, rows = studied

    lines = (folder / "communication.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [asdict(row) for row in rows]
    assert len((folder / "communication.md").read_text().splitlines()) == len(rows) + 6
    assert (folder / "communication.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "communication.svg").read_text()


def test_a_formula_that_is_wrong_is_noticed(tmp_path, monkeypatch):
    """Measured bytes that are not those computed end the study."""
    model = StreamedModel(write_tiny(tmp_path / "tiny"), device=communication.CPU)
    true = communication.bytes_by_step

    def wrong(traffic):
        steps = true(traffic)
        steps["reveal"]["server_in_bytes"] += 1
        return steps

    monkeypatch.setattr(communication, "bytes_by_step", wrong)
    method = communication._method("additive", "votes")
    with pytest.raises(RuntimeError, match=r"tiny, additive, votes: measured .* must be"):
        communication.row_of("tiny", model, method, 3, is_run=True)


def test_a_stand_in_costs_what_its_model_costs(tmp_path):
    """Computed from shapes or from the model itself, the row is the same."""
    model = StreamedModel(write_tiny(tmp_path / "tiny"), device=communication.CPU)
    (tmp_path / "stand-in").mkdir()
    stand_in = StreamedModel(write_stand_in(model.config, tmp_path / "stand-in"), device=communication.CPU)
    method = communication._method("bfv", "votes")

    rows = [communication.row_of("tiny", each, method, 4, is_run=False) for each in (model, stand_in)]

    assert rows[0] == rows[1]
