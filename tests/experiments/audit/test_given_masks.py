"""``fedprllm audit --masks``: masks that others made, scored without coins, claims or bounds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from experiments.audit.given_command import read_texts
from experiments.audit.given_masks import NOTE, WITHOUT_COINS, GivenMasks, described, score
from experiments.audit.statistics import WindowStatistics
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.payloads import Votes
from fedprllm_secure.sparsity import Sparsity
from tests.experiments.audit.tiny_audit import survey
from tests.experiments.conftest import LENGTH, VOCABULARY, Inputs, Ran, run_main
from tests.fedprllm_secure.tiny_models import CPU

PAYLOAD = Votes(sparsity=Sparsity.parse("0.5"))
CANDIDATES, OTHERS = 4, 32


@pytest.fixture(scope="module")
def own_model(inputs: Inputs) -> StreamedModel:
    """The tiny model with a tokenizer."""
    return StreamedModel(inputs.model, device=CPU)


@pytest.fixture(scope="module")
def windows() -> Tensor:
    """Candidates first, then others."""
    generator = torch.Generator().manual_seed(5)
    return torch.randint(2, VOCABULARY, (CANDIDATES + OTHERS, LENGTH), generator=generator)


@pytest.fixture(scope="module")
def statistics(own_model: StreamedModel, windows: Tensor, tmp_path_factory: pytest.TempPathFactory) -> WindowStatistics:
    """Statistics of all windows."""
    return survey(own_model, windows, tmp_path_factory.mktemp("kept"))


def write_masks(statistics: WindowStatistics, file: Path, clients: list[list[int]]) -> Path:
    """Write the mask of a client with these windows, or what is chosen from the totals of several."""
    found: dict[str, np.ndarray] = {}
    for block in statistics.blocks():
        votes: dict[str, np.ndarray] = {}
        for own in clients:
            for name, each in PAYLOAD.decide(block.view(np.array(own))).pruned.items():
                votes[name] = votes.get(name, 0) + each.prune_mask.numpy().astype(np.int64)
        if len(clients) > 1:
            flat = {name: each.reshape(-1) for name, each in votes.items()}
            chosen = PAYLOAD.choose(block.view(), flat, survivors=len(clients))
            votes = {name: each.numpy() for name, each in chosen.items()}
        found |= {name: each.astype(np.uint8) for name, each in votes.items()}
    save_file(found, file)
    return file


@pytest.fixture(scope="module")
def files(statistics: WindowStatistics, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Masks of three clients with two windows each: candidates 2, none, and 0, each with a window of others."""
    folder, last = tmp_path_factory.mktemp("masks"), CANDIDATES + OTHERS - 1
    held = [[2, last], [last - 4, last - 2], [last - 6, 0]]
    return [write_masks(statistics, folder / f"{n}.safetensors", [own]) for n, own in enumerate(held)]


@pytest.fixture(scope="module")
def arguments(windows: Tensor, inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Flags of the command but for masks and out."""
    folder = tmp_path_factory.mktemp("windows")
    save_file({"windows": windows[:CANDIDATES].numpy()}, folder / "candidates.safetensors")
    save_file({"windows": windows[CANDIDATES:].numpy()}, folder / "others.safetensors")
    return {
        "--model": inputs.model,
        "--candidates": folder / "candidates.safetensors",
        "--non-members": folder / "others.safetensors",
        "--window-length": LENGTH,
        "--reference-runs": 24,
        "--cache": folder / "kept",
        "--device": "cpu",
    }


@pytest.fixture(scope="module")
def audit(arguments: dict[str, object]) -> Callable[..., Ran]:
    """Run the command: ``audit(files, out, **{"--flag": value})``; None drops a flag."""

    def command(files: list[Path], out: Path, **changed: object) -> Ran:
        flags = arguments | {"--json": True} | changed
        words = [word for name, value in flags.items() if value is not None for word in (name, value)]
        return run_main("audit", "--out", out, *(word for word in words if word is not True), "--masks", *files)

    return command


def test_every_attack_names_the_client_of_a_candidate(audit: Any, files: list[Path], tmp_path: Path) -> None:
    """Candidates behind a mask are found there by all attacks; nothing is claimed, and every figure says what it is."""
    found = json.loads(audit(files, tmp_path / "out").stdout)
    assert set(found["attacks"]) == set(WITHOUT_COINS)
    assert found["windows"] == {"candidates": CANDIDATES, "compared": OTHERS // 2, "population": OTHERS // 2}
    for each in found["attacks"].values():
        assert (each["candidates"][2]["best_mask"], each["candidates"][0]["best_mask"]) == (0, 2)
        assert len(each["candidates"]) == CANDIDATES
        assert len(each["non_members"]) == OTHERS // 2
        assert each["auc_is"] == NOTE
        assert 0.5 < each["auc"] <= 1
    assert {"learned", "lira-online", "rmia", "blind"} <= set(found["attacks_not_made"])
    assert found["note"].startswith(NOTE)
    text = (tmp_path / "out" / "audit.json").read_text()
    assert 'claim"' not in text
    assert '"one_run"' not in text


def test_a_chosen_mask_is_scored_as_one_of_many_clients(statistics: WindowStatistics, tmp_path: Path) -> None:
    """Of a choice among four clients, those attacks that can read one tell candidates within from those without."""
    last = CANDIDATES + OTHERS - 1
    file = write_masks(statistics, tmp_path / "mask.safetensors", [[2], [0], [last], [last - 2]])
    masks = GivenMasks(files=(file,), kind="choice", clients=4, per_client=1, payload=PAYLOAD)
    known = CANDIDATES + OTHERS // 2
    found = score(masks, statistics, known=known, attacks=["score-test", "inverted"], worlds=40, seed=0)
    for each in found.values():
        assert each.shape == (1, known)
        inside, outside = each[0, [0, 2]], np.delete(each[0], [0, 2])
        assert (inside[:, None] > outside).mean() > 0.8


def test_figures_of_scores(arguments: dict[str, object]) -> None:
    """A window's score is its best over the masks; the AUC counts pairs of a candidate and a non-member."""
    scores = np.array([[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 1.0, 3.5]])
    found = described(scores, candidates=2)
    assert [each["best_mask"] for each in found["candidates"]] == [1, 0]
    assert found["candidates"][0]["scores"] == [1.0, 3.0]
    assert [each["scores"] for each in found["non_members"]] == [[2.0, 1.0], [0.0, 3.5]]
    best, others = [3.0, 5.0], [2.0, 3.5]
    assert found["auc"] == np.mean([[one > other for other in others] for one in best])


def test_text_is_cut_as_the_model_reads_it(own_model: StreamedModel, inputs: Inputs, windows: Tensor) -> None:
    """All whole windows of a text file, each different."""
    found = read_texts(str(inputs.public_text), own_model, LENGTH)
    assert found.shape[1] == LENGTH
    assert len(found) > 20


def test_tables(audit: Any, files: list[Path], tmp_path: Path) -> None:
    """The table names attacks, candidates and masks, and says that figures are descriptive."""
    ran = audit(files, tmp_path / "out", **{"--json": None, "--attacks": "similarity,learned"})
    assert ran.status == 0, ran.stderr
    said = " ".join(ran.stdout.split())
    for text in ("similarity", "candidate 3", "(mask 2)", NOTE):
        assert text in said


def test_masks_that_changed_are_not_done_already(audit: Any, files: list[Path], tmp_path: Path) -> None:
    """The same flags name other files now; that is said, until the audit may be replaced."""
    copies = [Path(shutil.copy(file, tmp_path / file.name)) for file in files]
    flags = {"--attacks": "similarity"}
    assert audit(copies, tmp_path / "out", **flags).status == 0
    assert audit(copies, tmp_path / "out", **flags).status == 0
    shutil.copy(files[1], copies[0])
    refused(audit(copies, tmp_path / "out", **flags), "of files that have changed since")
    assert audit(copies, tmp_path / "out", **flags, **{"--overwrite": True}).status == 0


def refused(ran: Ran, message: str) -> None:
    """Check the error."""
    assert ran.status == 2
    assert message in ran.line


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--candidates": None}, "the following arguments are required: --candidates"),
        ({"--clients": 5}, "--clients does not go with --masks and --kind masks"),
        ({"--runs": 5}, "--runs does not go with --masks"),
        ({"--runs": 64}, "--runs does not go with --masks"),
        ({"--clients": 8}, "--clients does not go with --masks and --kind masks"),
        ({"--protocol": "plain,additive,ckks"}, "--protocol does not go with --masks"),
        ({"--kind": "choice"}, "--kind choice takes one file of --masks, not 3"),
        ({"--attacks": "learned"}, "--attacks must name some of similarity, "),
        ({"--sparsity": "0.25"}, "removes 0.500 of the weights; give the --sparsity that made it"),
        ({"--windows-per-client": 17}, "has 32 windows, of which every other one makes"),
    ],
)
def test_flags_that_do_not_go(
    audit: Any, files: list[Path], tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    """What is missing, of another mode or not so is refused."""
    refused(audit(files, tmp_path / "out", **changed), message)


def test_masks_go_with_no_run_and_candidates_with_masks(cli: Any, tmp_path: Path, files: list[Path]) -> None:
    """Modes do not mix."""
    refused(cli("audit", tmp_path, "--out", tmp_path / "out", "--masks", files[0]), "--masks does not go with RUN_DIR")
    ran = cli("audit", "--out", tmp_path / "out", "--candidates", "a.txt")
    refused(ran, "--candidates does not go with runs that are played; it goes with --masks")


def test_files_that_are_no_masks_are_refused(audit: Any, files: list[Path], tmp_path: Path) -> None:
    """Not there, of other shapes, or of other values."""
    refused(audit([tmp_path / "none.safetensors"], tmp_path / "out"), "none.safetensors cannot be read")
    first = {name: np.ascontiguousarray(mask[:1]) for name, mask in load_file(files[0]).items()}
    save_file(first, tmp_path / "first.safetensors")
    refused(audit([tmp_path / "first.safetensors"], tmp_path / "out"), "has shape (1, ")
    doubled = {name: mask * 2 for name, mask in load_file(files[0]).items()}
    save_file(doubled, tmp_path / "doubled.safetensors")
    refused(audit([tmp_path / "doubled.safetensors"], tmp_path / "out"), "must be uint8 of 0 and 1, 1 = removed")
