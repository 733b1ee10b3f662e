"""The overview: every protocol, noise, audits, and a page."""

from __future__ import annotations

import json

import pytest

from experiments.studies import overview
from experiments.sweep import read_sweep
from fedprllm_secure.errors import InputError

SMALL = {
    "targets": "6", "runs": "16", "labelled-runs": "8", "reference-runs": "8", "population": "8", "strangers": "2",
    "attacks": "score-test,whitened",
}  # fmt: skip


@pytest.fixture
def small(inputs, monkeypatch):
    """Give flags of a tiny overview, whose audits are small too."""
    monkeypatch.setattr(overview, "AUDIT", SMALL)
    monkeypatch.setattr(overview, "NOISY_AUDIT", SMALL)
    return {
        "model": str(inputs.model),
        "data": str(inputs.text),
        "public_data": str(inputs.public_text),
        "eval_data": str(inputs.eval_text),
        "clients": "3",
        "windows_per_client": "2",
        "window_length": "16",
        "eval_windows": "4",
        "public_windows": "32",
        "sparsity": "0.5",
        "epsilon": "8",
        "delta": "1e-5",
        "seed": "0",
    }


def test_every_protocol_and_noise_are_run_audited_and_shown(small, tmp_path, capsys):
    """Masks are the same under all protocols; the noisy run has a claim; each has its attack; the page says so."""
    page = overview.run(out=tmp_path, jobs=1, **small)

    exact = read_sweep(tmp_path / "protocols")
    (noisy,) = read_sweep(tmp_path / "noise")
    assert [row["state"] for row in (*exact, noisy)] == ["done"] * 4
    masks = [(tmp_path / "protocols" / "cells" / row["cell"] / "prune_masks.safetensors").read_bytes() for row in exact]
    assert len(masks) == 3
    assert masks[0] == masks[1] == masks[2]
    results = [json.loads(file.read_text()) for file in (tmp_path / "noise").glob("cells/*/result.json")]
    assert results[0]["privacy"]["epsilon"] == pytest.approx(8, rel=0.05)
    audits = [json.loads(file.read_text()) for file in sorted(tmp_path.glob("*/audits/*/audit.json"))]
    assert len(audits) == 2
    written = page.read_text()
    assert "plain (no DP), additive (no DP) and ckks (no DP) gave the same prune masks, bit for bit" in written
    assert str(page) in capsys.readouterr().out.replace("\n", "")


def test_nothing_to_show_is_an_error(small, tmp_path):
    """Where no run has a result the first one's reason is said, and no page is written."""
    with pytest.raises(InputError, match=r"no run of the study has a result; the first says: .*no-such-model"):
        overview.run(out=tmp_path, jobs=1, **(small | {"model": "no-such-model"}))
    assert not (tmp_path / "report").exists()
