"""What a server tries that chooses the runs: asking twice, and a model of its own making."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments.transcripts import read_transcript
from fedprllm_secure.privacy import Budget, Ledger
from protocols import PROTOCOLS
from protocols.replay import replay
from tests.experiments.conftest import LENGTH, VOCABULARY, Inputs, Ran

Prune = Callable[..., Ran]
FEW: dict[str, Any] = {"baselines": "", "eval_data": None, "public_data": None, "window_length": None}


@pytest.fixture
def two_runs(tmp_path: Path) -> list[dict[str, Any]]:
    """The flags of a run over four clients, and of one over the first three of them, whose ledgers know their text."""
    ids = torch.randint(2, VOCABULARY, (8, LENGTH), generator=torch.Generator().manual_seed(6))
    (tmp_path / "ledgers").mkdir(mode=0o700)
    found = []
    for clients in (4, 3):
        file = tmp_path / f"of-{clients}.safetensors"
        save_file({"windows": ids[: 2 * clients].contiguous()}, file)
        found.append({"data": file, "clients": clients, "data_set": "notes", "ledger": tmp_path / "ledgers" / "l.json"})
    return found


def ledger(tmp_path: Path, client: int) -> Ledger:
    """Open a client's ledger."""
    return Ledger(tmp_path / "ledgers" / f"l-{client:04d}.json")


def test_two_runs_that_differ_by_one_client_are_charged_twice(
    prune: Prune, tmp_path: Path, two_runs: list[dict[str, Any]]
) -> None:
    """Their difference is the votes of the client that left, which nothing forbids; the others' ledgers count both."""
    votes = []
    for number, flags in enumerate(two_runs):
        asked = FEW | flags | {"save_votes": True, "save_transcript": number == 0 or None}
        assert prune(tmp_path / str(number), protocol="plain", **asked).status == 0
        votes.append(load_file(tmp_path / str(number) / "votes.safetensors"))
    seen: dict[str, np.ndarray] = {}
    for session in read_transcript(tmp_path / "0" / "transcript"):
        seen |= replay(PROTOCOLS[session.protocol], session.plan, session.entries()).vectors(3)
    charged = [[charge.release.mechanism for charge in ledger(tmp_path, client).book().charges] for client in range(4)]

    for name, vector in seen.items():
        np.testing.assert_array_equal((votes[0][name] - votes[1][name]).numpy().reshape(-1), vector)
    assert charged == [["exact"] * 4] * 3 + [["exact"] * 2]


def test_a_client_with_a_budget_is_in_neither_run(prune: Prune, tmp_path: Path, two_runs: list[dict[str, Any]]) -> None:
    """An exact release has no finite epsilon, so a ledger with a budget refuses it before anything is sent."""
    ids = load_file(two_runs[0]["data"])["windows"][2:4]
    ledger(tmp_path, 1).open_account("notes", ids, budget=Budget(epsilon=8.0, delta=1e-5, adjacency="client-zero-out"))
    for number, flags in enumerate(two_runs):
        ran = prune(tmp_path / str(number), **FEW, **flags)
        assert ran.status == 4
        assert not (tmp_path / str(number) / "result.json").exists()

    assert [len(ledger(tmp_path, client).book().charges) for client in range(3)] == [0, 0, 0]


def test_crafted_weights_are_refused_by_the_pinned_digest_alone(prune: Prune, inputs: Inputs, tmp_path: Path) -> None:
    """A model that a server made for all clients alike passes every check among them; --model-sha256 refuses it.

    Its first matrix has weights of one size, so each row of a client's prune mask is the ranking of its inputs' norms.
    """
    crafted = tmp_path / "crafted"
    shutil.copytree(inputs.model, crafted)
    weights, name = load_file(crafted / "model.safetensors"), "model.layers.0.self_attn.q_proj"
    weights[f"{name}.weight"] = weights[f"{name}.weight"].sign()
    save_file(weights, crafted / "model.safetensors", metadata={"format": "pt"})
    asked = FEW | {"window_length": LENGTH, "protocol": "additive", "save_votes": True}
    assert prune(tmp_path / "taken in", model=crafted, **asked).status == 0
    votes = load_file(tmp_path / "taken in" / "votes.safetensors")[name]
    assert prune(tmp_path / "true", **asked).status == 0
    true = json.loads((tmp_path / "true" / "result.json").read_text())["model"]["sha256"]
    ran = prune(tmp_path / "pinned", model=crafted, model_sha256=true, **asked)

    assert (votes == votes[0]).all()  # every row tells the same: which inputs are small, and nothing of the weights
    assert ran.status == 2
    assert f"--model-sha256 {true}: the model's digest is" in ran.line
    assert not (tmp_path / "pinned").exists()
