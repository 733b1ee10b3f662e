"""A run that is interrupted anywhere continues to the result of an uninterrupted one."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from fedprllm_secure.data import Partition, cut_windows, read_documents, split_documents
from fedprllm_secure.federation import Federation
from fedprllm_secure.work import WorkFolder

ASKED = {"save_votes": True, "save_transcript": True}
ROOT = Path(__file__).parents[2]
FIRST_BLOCK = "work/block-0000.safetensors"
# Key, settings of command and federation; session number, hidden states, totals of two blocks; masks, votes, result.
RENAMES = 12
SECONDS = [random.Random(7).uniform(0.01, 0.3) for _ in range(4)]


def run_forked(runs: list[dict]) -> list[int]:
    """Run commands by forked_runs.py and return their statuses."""
    ran = subprocess.run(
        [sys.executable, Path(__file__).with_name("forked_runs.py")],
        input=json.dumps(runs),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def outcome(out: Path) -> dict[str, object]:
    """Read what must not depend on interruptions: masks, votes, perplexities and sparsity."""
    result = json.loads((out / "result.json").read_text())
    return {
        "masks": (out / "prune_masks.safetensors").read_bytes(),
        "votes": (out / "votes.safetensors").read_bytes(),
        "perplexity": result["perplexity"],
        "sparsity": result["sparsity"],
        "survivors": result["protocol"]["survivors_by_block"],
        "transcript": sorted(str(path.relative_to(out)) for path in (out / "transcript").rglob("*")),
        "work": (out / "work").exists(),
    }


@pytest.fixture(scope="module")
def whole(prune, tmp_path_factory):
    """The outcome of an uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert prune(out, **ASKED).status == 0
    return outcome(out)


@pytest.fixture(scope="module")
def interrupted(inputs, tmp_path_factory):
    """Runs that were killed and then repeated: by kill, (folder, status of the killed run, status of the next)."""
    place = tmp_path_factory.mktemp("interrupted")
    kills = [["rename", number] for number in range(1, RENAMES + 1)]
    kills += [["SIGKILL", seconds] for seconds in SECONDS] + [["SIGINT", FIRST_BLOCK]]
    runs = []
    for number, kill in enumerate(kills):
        arguments = inputs.arguments(place / str(number), **ASKED)
        runs += [{"arguments": arguments, "kill": kill}, {"arguments": arguments, "kill": None}]
    statuses = run_forked(runs)
    pairs = zip(statuses[::2], statuses[1::2], strict=True)
    return {tuple(kill): (place / str(n), *pair) for n, (kill, pair) in enumerate(zip(kills, pairs, strict=True))}


@pytest.mark.parametrize("number", range(1, RENAMES + 1))
def test_run_killed_before_a_rename_continues(interrupted, whole, number):
    """A run killed just before any of its renames gives, run again, the uninterrupted result."""
    out, killed, again = interrupted["rename", number]

    assert killed == -signal.SIGKILL
    assert again == 0
    assert outcome(out) == whole


@pytest.mark.parametrize("seconds", SECONDS)
def test_run_killed_at_any_moment_continues(interrupted, whole, seconds):
    """A run killed at a random moment gives, run again, the uninterrupted result."""
    out, killed, again = interrupted["SIGKILL", seconds]

    assert killed in (-signal.SIGKILL, 0)
    assert again == 0
    assert outcome(out) == whole


def test_interrupted_run_says_so_and_continues(interrupted, whole):
    """SIGINT ends a run with status 130, and the same command finishes it."""
    out, stopped, again = interrupted["SIGINT", FIRST_BLOCK]

    assert stopped == 130
    assert again == 0
    assert outcome(out) == whole


@pytest.fixture
def after_first_block(prune, inputs, tmp_path, monkeypatch):
    """A run of copied inputs that was stopped when block 0 had been stored: (folder, the inputs' places)."""
    places = {}
    for name in ("model", "private.txt", "public.txt"):
        source, places[name] = inputs.folder / name, tmp_path / name
        shutil.copytree(source, places[name]) if source.is_dir() else shutil.copy(source, places[name])
    original = WorkFolder.save_block

    def save_block(self, *rest):
        original(self, *rest)
        raise KeyboardInterrupt

    asked = {"model": places["model"], "data": places["private.txt"], "public_data": places["public.txt"], **ASKED}
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "save_block", save_block)
        ran = prune(tmp_path / "run", **asked)
    assert ran.status == 130
    assert ran.line == "interrupted; the same command continues"
    return tmp_path / "run", places, asked


def test_finished_blocks_are_not_pruned_again(prune, after_first_block, whole, monkeypatch):
    """After a stop, only blocks without stored totals are pruned, each in one session with a number never used."""
    out, _, asked = after_first_block
    blocks, numbers = [], []
    prune_block, next_number = Federation._prune_block, WorkFolder.next_session_number
    monkeypatch.setattr(
        Federation, "_prune_block", lambda self, index, *rest: (blocks.append(index), prune_block(self, index, *rest))
    )
    monkeypatch.setattr(
        WorkFolder, "next_session_number", lambda self: numbers.append(next_number(self)) or numbers[-1]
    )

    assert prune(out, **asked).status == 0
    assert blocks == [1]
    assert numbers == [2]  # 0 and 1 were taken together when the stopped run began
    assert outcome(out)["masks"] == whole["masks"]


def test_session_that_was_opened_is_never_opened_again(prune, tmp_path, monkeypatch):
    """A session number is taken for good before its first message: a stop in mid-session uses a new one."""
    numbers = []
    next_number = WorkFolder.next_session_number

    def stop_once(self):
        numbers.append(next_number(self))
        if len(numbers) == 1:
            raise KeyboardInterrupt
        return numbers[-1]

    monkeypatch.setattr(WorkFolder, "next_session_number", stop_once)

    assert prune(tmp_path / "run", baselines="").status == 130
    assert prune(tmp_path / "run", baselines="").status == 0
    assert numbers == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "flag"), [("private.txt", "--data"), ("public.txt", "--public-data"), ("model", "--model")]
)
def test_changed_input_is_refused(prune, after_first_block, name, flag):
    """An input whose content changed since the run began exits 2 and names its flag and --overwrite."""
    out, places, asked = after_first_block
    if name == "model":
        weights = load_file(places[name] / "model.safetensors")
        weights["model.norm.weight"] += 1
        save_file(weights, places[name] / "model.safetensors", metadata={"format": "pt"})
    else:
        places[name].write_text(places[name].read_text()[::-1])
    ran = prune(out, **asked)

    assert ran.status == 2
    assert f"what {flag} names has changed since the run began; add --overwrite" in ran.line
    assert not (out / "result.json").exists()


def test_changed_input_may_be_overwritten(prune, after_first_block):
    """--overwrite starts over on changed text."""
    out, places, asked = after_first_block
    places["private.txt"].write_text(places["private.txt"].read_text()[::-1])

    assert prune(out, overwrite=True, **asked).status == 0


def test_changed_flag_is_refused_in_mid_run(prune, after_first_block):
    """Another configuration on an unfinished run exits 2 and names the flag."""
    out, _, asked = after_first_block
    ran = prune(out, **{**asked, "sparsity": "0.6"})

    assert ran.status == 2
    assert "with --sparsity 0.5, not 0.6" in ran.line


def test_resume_state_holds_no_plain_hash_of_the_text(after_first_block, inputs):
    """What is stored of private text is keyed: the same text gives another digest in another folder."""
    out, _, _ = after_first_block
    command = json.loads((out / "work" / "command.json").read_text())["named"]["--data"]
    federation = json.loads((out / "work" / "federation.json").read_text())["named"]["windows"]
    tokenizer = AutoTokenizer.from_pretrained(inputs.model)
    parts = split_documents(read_documents(inputs.text, split="train"), Partition("iid"), num_clients=3, seed=0)
    ids = cut_windows(parts, tokenizer, length=16, per_client=2, vocabulary_size=10**6).ids
    named = f"{ids.dtype} {tuple(ids.shape)} ".encode() + ids.numpy().tobytes()
    key = (out / "work" / "key").read_bytes()

    assert command == federation == hmac.new(key, named, hashlib.sha256).hexdigest()
    assert len(key) == 32
