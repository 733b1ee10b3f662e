"""What ``fedprllm prune`` writes and prints on a tiny model."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from experiments import console
from experiments.model_card import is_pruned, window_length_of
from fedprllm_secure.federation import Federation
from fedprllm_secure.hidden_states import HiddenStates
from fedprllm_secure.work import BlockRecord, WorkFolder
from protocols import Step

KEYS = {
    "schema",
    "config",
    "model",
    "data",
    "sparsity",
    "perplexity",
    "protocol",
    "privacy",
    "seconds",
    "bytes",
    "peak_memory_bytes",
    "environment",
}
SHAPES = {
    "self_attn.q_proj": (32, 32),
    "self_attn.k_proj": (16, 32),
    "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 32),
    "mlp.gate_proj": (64, 32),
    "mlp.up_proj": (64, 32),
    "mlp.down_proj": (32, 64),
}
MATRICES = {f"model.layers.{block}.{name}": shape for block in range(2) for name, shape in SHAPES.items()}
STEPS = ["advertise", "share", "submit", "confirm", "reveal"]


@pytest.fixture(scope="module")
def full(prune, tmp_path_factory):
    """One run that saves everything: (folder, what it printed)."""
    out = tmp_path_factory.mktemp("full") / "run"
    ran = prune(out, save_model=True, save_votes=True, save_transcript=True)
    assert ran.status == 0, ran.stderr
    return out, ran


@pytest.fixture(scope="module")
def result(full):
    """The finished run's result.json."""
    return json.loads((full[0] / "result.json").read_text())


def perplexity_by_transformers(folder: Path, inputs, *, windows: int = 6, length: int = 16) -> float:
    """Measure perplexity the plain way: whole model, one window at a time, float64 sum."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(inputs.model)
    ids = torch.tensor(tokenizer(inputs.eval_text.read_text())["input_ids"][: windows * length]).view(windows, length)
    total = 0.0
    with torch.no_grad():
        for window in ids:
            logits = model(input_ids=window[None]).logits[0, :-1].double()
            total += float(torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum"))
    return math.exp(total / (windows * (length - 1)))


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Remember every file's modification time and bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_only_the_files_of_the_contract_remain(full):
    """A finished folder holds the artefacts asked for, and neither work state nor half-written files."""
    found = {path.name for path in full[0].iterdir()}

    assert found == {"result.json", "prune_masks.safetensors", "votes.safetensors", "model", "transcript"}


def test_artefacts_are_saved_only_when_asked_for(prune, tmp_path):
    """Without the save flags a run leaves the result and the prune masks."""
    assert prune(tmp_path / "run", baselines="").status == 0

    assert {path.name for path in (tmp_path / "run").iterdir()} == {"result.json", "prune_masks.safetensors"}


def test_result_has_the_keys_of_the_contract(result):
    """result.json has every key of the contract."""
    assert set(result) >= KEYS
    assert result["schema"] == 1


def test_result_describes_the_run(result, inputs):
    """Model, data, protocol and privacy say what was run."""
    assert result["config"]["clients"] == 3
    assert result["config"]["sparsity"] == "0.5"
    assert result["model"]["blocks"] == 2
    assert result["model"]["context_tokens"] == 64
    assert len(result["model"]["sha256"]) == 64
    assert result["data"]["clients"] == 3
    assert result["data"]["windows_per_client"] == 2
    assert result["data"]["window_length_tokens"] == 16
    assert result["perplexity"]["windows"] == 6
    assert result["perplexity"]["context_tokens"] == 16
    assert result["protocol"]["name"] == "plain"
    assert result["protocol"]["payload"] == "votes"
    assert result["protocol"]["survivors_by_block"] == [3, 3]
    assert result["privacy"]["dp"] == "none"
    assert result["protocol"]["protects"] == "protects nothing: the server sees every client's vectors"


def test_private_text_is_not_in_the_result(full, inputs):
    """No line of a client's text, and no plain hash of it, stands in result.json."""
    written = (full[0] / "result.json").read_text()

    assert not any(line in written for line in inputs.text.read_text().splitlines())
    assert "windows_sha256" not in written


def test_no_plain_digest_of_the_text_is_in_the_result(prune, inputs, tmp_path):
    """Whoever guesses a client's text cannot check the guess against result.json."""
    file = inputs.folder / "windows.safetensors"
    ran = prune(tmp_path / "run", data=file, window_length=None, baselines="", save_votes=True)
    ids = load_file(file)["windows"]
    texts = [file.read_bytes()]
    for dtype in (torch.int64, torch.int32, torch.int16):
        for client in [ids, *ids.split(2), *ids]:
            texts.append(client.to(dtype).numpy().tobytes())
    digests = {hashlib.new(name, text).hexdigest() for name in ("sha256", "sha1", "md5") for text in texts}
    found = set(re.findall(r"[0-9a-f]{32,}", ran.stdout))

    assert found  # the model's
    assert not found & digests


def test_seconds_by_phase_are_of_all_blocks(prune, tmp_path, monkeypatch):
    """What a phase took is added up over blocks, also where a block lacks the phase."""
    original = WorkFolder.save_block

    def save_block(self, index, record, *rest):
        record.seconds = [{"calibrate": 2.0, "pruning": 16.0}, {"calibrate": 4.0, "pruning": 32.0, "select": 8.0}][
            index
        ]
        original(self, index, record, *rest)

    monkeypatch.setattr(WorkFolder, "save_block", save_block)
    seconds = json.loads(prune(tmp_path / "run", baselines="").stdout)["seconds"]

    assert (seconds["calibrate"], seconds["pruning"], seconds["select"]) == (6.0, 48.0, 8.0)


def test_result_measures_seconds_bytes_and_memory(result):
    """Seconds by phase, bytes by protocol step and peak memory are positive numbers."""
    assert {"calibrate", "decide", "protocol", "select", "pruning", "total"} <= set(result["seconds"])
    assert all(value >= 0 for value in result["seconds"].values())
    assert result["seconds"]["total"] >= result["seconds"]["pruning"] > 0
    assert list(result["bytes"]) == STEPS
    submitted = result["bytes"]["submit"]
    assert submitted["client_up_max_bytes"] > 0
    assert submitted["server_in_bytes"] >= submitted["client_up_max_bytes"]
    assert result["peak_memory_bytes"]["host"] > 0
    assert {"python", "platform", "device", "threads", "versions"} <= set(result["environment"])


def test_submitted_bytes_are_those_of_every_block(result):
    """The bytes of a step are summed over blocks: under plain a vote of either block takes one bit."""
    packed = sum(math.prod(shape) for shape in MATRICES.values()) // 8

    assert packed <= result["bytes"]["submit"]["client_up_max_bytes"] < 2 * packed


def test_prune_masks_are_keyed_by_tensor_name(full):
    """prune_masks holds a uint8 mask (out, in) of zeros and ones for every prunable matrix."""
    masks = load_file(full[0] / "prune_masks.safetensors")

    assert {name: tuple(mask.shape) for name, mask in masks.items()} == MATRICES
    assert all(mask.dtype == torch.uint8 and int(mask.max()) == 1 for mask in masks.values())


def test_votes_have_the_keys_of_the_masks(full):
    """Votes holds int32 totals between 0 and the number of clients, under the same keys and shapes."""
    votes = load_file(full[0] / "votes.safetensors")

    assert {name: tuple(total.shape) for name, total in votes.items()} == MATRICES
    assert all(total.dtype == torch.int32 for total in votes.values())
    assert all(int(total.min()) >= 0 and int(total.max()) <= 3 for total in votes.values())
    # Each client removes half of each row.
    assert all(int(total.sum()) == 3 * total.numel() // 2 for total in votes.values())


def test_most_voted_weights_are_removed(full):
    """No weight that stays has more votes than one that goes, within a matrix."""
    masks = load_file(full[0] / "prune_masks.safetensors")
    votes = load_file(full[0] / "votes.safetensors")

    for name, mask in masks.items():
        removed = mask.bool()
        assert int(votes[name][removed].min()) >= int(votes[name][~removed].max())


def test_sparsity_is_exact_and_counted(full, result):
    """Exactly half of every matrix goes, and the result counts it."""
    masks = load_file(full[0] / "prune_masks.safetensors")
    total = sum(math.prod(shape) for shape in MATRICES.values())

    assert all(int(mask.sum()) == mask.numel() // 2 for mask in masks.values())
    assert result["sparsity"]["prunable_weights"] == total
    assert result["sparsity"]["removed_weights"] == total // 2
    assert result["sparsity"]["achieved_fraction"] == 0.5
    assert result["sparsity"]["fraction_by_matrix"] == dict.fromkeys(MATRICES, 0.5)


def test_saved_model_loads_and_reproduces_the_perplexity(full, result, inputs):
    """AutoModelForCausalLM measures on DIR/model the perplexity that the run printed."""
    measured = perplexity_by_transformers(full[0] / "model", inputs)

    assert measured == pytest.approx(result["perplexity"]["federated"]["perplexity"], rel=1e-4)


def test_dense_perplexity_is_that_of_the_model(result, inputs):
    """The dense baseline is the perplexity of the unpruned model, measured the plain way."""
    assert perplexity_by_transformers(inputs.model, inputs) == pytest.approx(
        result["perplexity"]["dense"]["perplexity"], rel=1e-4
    )


def test_saved_model_is_zero_where_the_masks_say(full, inputs):
    """The saved weights are the original ones with zeros under the prune masks."""
    masks = load_file(full[0] / "prune_masks.safetensors")
    saved = load_file(full[0] / "model" / "model.safetensors")
    original = load_file(inputs.model / "model.safetensors")

    assert set(saved) == set(original)
    for name, weight in original.items():
        mask = masks.get(name.removesuffix(".weight"))
        assert torch.equal(saved[name], weight if mask is None else weight.masked_fill(mask.bool(), 0))


def test_saved_model_has_a_card_and_a_tokenizer(full, result):
    """DIR/model holds a model card with the base model's digest, and the tokenizer."""
    card = (full[0] / "model" / "README.md").read_text()

    assert result["model"]["sha256"] in card
    assert "--sparsity 0.5" in card
    assert AutoTokenizer.from_pretrained(full[0] / "model")("votes")["input_ids"]


def test_card_states_the_perplexity_and_no_private_place(full, result, inputs):
    """A published card says what was measured, and not where anyone's text lies."""
    card = (full[0] / "model" / "README.md").read_text()

    assert f"Perplexity on the evaluation text: {result['perplexity']['federated']['perplexity']:.3f}." in card
    for text in (inputs.text, inputs.public_text, inputs.eval_text, full[0]):
        assert str(text) not in card
        assert text.name not in card or text == full[0]
    assert "--data" not in card


def test_saved_model_of_an_interrupted_run_is_replaced(prune, full, tmp_path, monkeypatch):
    """A run stopped between its model and its result saves the model anew."""

    def stopped(file, value):
        raise KeyboardInterrupt

    out = tmp_path / "run"
    asked = {"save_model": True, "save_votes": True, "save_transcript": True}
    with monkeypatch.context() as patch:
        patch.setattr("experiments.prune_command.write_json", stopped)
        assert prune(out, **asked).status == 130
    assert (out / "model" / "model.safetensors").exists()
    (out / "model" / "model.safetensors").write_bytes(b"old")
    (out / "model" / "stale.txt").write_text("old")

    ran = prune(out, **asked)
    assert ran.status == 0, ran.stderr
    names = {path.name for path in (full[0] / "model").iterdir()}
    assert {path.name for path in (out / "model").iterdir()} == names
    for name in names - {"README.md"}:
        assert (out / "model" / name).read_bytes() == (full[0] / "model" / name).read_bytes()


def test_scaled_model_reproduces_its_perplexity(prune, inputs, tmp_path):
    """With --scale the saved model is the scaled one, and the result names it."""
    out = tmp_path / "run"
    assert prune(out, scale=True, save_model=True, save_votes=True, baselines="").status == 0
    found = json.loads((out / "result.json").read_text())["perplexity"]
    votes = load_file(out / "votes.safetensors")
    masks = load_file(out / "prune_masks.safetensors")
    saved = load_file(out / "model" / "model.safetensors")
    original = load_file(inputs.model / "model.safetensors")

    assert perplexity_by_transformers(out / "model", inputs) == pytest.approx(found["scaled"]["perplexity"], rel=1e-4)
    assert found["result"] == "scaled"
    for name, total in votes.items():
        expected = original[f"{name}.weight"] * (3 - total) / 3
        torch.testing.assert_close(saved[f"{name}.weight"], expected.masked_fill(masks[name].bool(), 0))


def test_transcript_holds_every_step_of_every_block(full):
    """The transcript has a folder a block, with messages of all five steps in the order they were seen."""
    blocks = sorted(path.name for path in (full[0] / "transcript").iterdir())
    names = sorted(path.name for path in (full[0] / "transcript" / "block-0000").glob("*.bin"))
    steps = [name.split("-")[1] for name in names]

    assert blocks == ["block-0000", "block-0001"]
    assert [int(name.split("-")[0]) for name in names] == list(range(len(names)))
    assert list(dict.fromkeys(steps)) == STEPS
    assert sum("-submit-received-" in name for name in names) >= 3


def test_transcript_is_readable_by_its_owner_alone(full):
    """Folders of the transcript, which holds private messages, have mode 0700."""
    for place in (full[0] / "transcript").iterdir():
        assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_json_is_the_result(full, result):
    """--json prints result.json on stdout, and nothing on stderr."""
    assert json.loads(full[1].stdout) == result
    assert full[1].stderr == ""


def test_terminal_shows_every_variant(full, prune):
    """Without --json tables name every variant, every step of the protocol, and the folder."""
    shown = prune(full[0], save_model=True, save_votes=True, save_transcript=True, json=None).stdout

    for name in ("dense", "central", "federated", "local-only", "public-only", "magnitude"):
        assert name in shown
    for step in Step:
        assert step.name.lower() in shown
    assert "already done" in shown


def test_all_baselines_stand_beside_the_result(result):
    """Every baseline has a perplexity; local-only has its mean, spread and each client's."""
    perplexity = result["perplexity"]

    for name in ("dense", "central", "federated", "public", "magnitude"):
        assert perplexity[name]["perplexity"] > 1
        assert perplexity[name]["bits_per_byte"] > 0
    alone = perplexity["local"]["clients"]
    assert len(alone) == 3
    assert perplexity["local"]["perplexity"] == pytest.approx(sum(alone) / 3)
    assert perplexity["local"]["standard_deviation"] == pytest.approx(torch.tensor(alone).double().std().item())


def test_bits_per_byte_follow_from_the_perplexity(result):
    """Bits per byte are the bits of all predicted tokens over the bytes of text covered."""
    perplexity = result["perplexity"]
    bits = math.log2(perplexity["dense"]["perplexity"]) * 6 * 15

    assert perplexity["dense"]["bits_per_byte"] == pytest.approx(bits / perplexity["covered_bytes"], rel=1e-6)


def test_local_only_clients_limits_who_prunes_alone(prune, tmp_path):
    """--local-only-clients 1 measures a single client, with no spread."""
    ran = prune(tmp_path / "run", local_only_clients=1, baselines="local")
    alone = json.loads(ran.stdout)["perplexity"]["local"]

    assert len(alone["clients"]) == 1
    assert alone["standard_deviation"] == 0


def test_no_baselines_measures_the_result_alone(prune, tmp_path):
    """--baselines '' leaves the federated perplexity only."""
    perplexity = json.loads(prune(tmp_path / "run", baselines="").stdout)["perplexity"]

    assert {name for name, value in perplexity.items() if isinstance(value, dict)} == {"federated"}


@pytest.mark.parametrize("chosen", ["dense", "central", "local", "public", "magnitude"])
def test_each_baseline_can_stand_alone(prune, tmp_path, full, result, chosen):
    """A single baseline is the same with and without the others."""
    perplexity = json.loads(prune(tmp_path / "run", baselines=chosen).stdout)["perplexity"]

    assert {name for name, value in perplexity.items() if isinstance(value, dict)} == {chosen, "federated"}
    assert perplexity[chosen] == result["perplexity"][chosen]
    assert perplexity["federated"] == result["perplexity"]["federated"]


def test_without_public_text_public_only_is_noted(prune, tmp_path):
    """Where no public text is named, the result says that public-only was not measured."""
    found = json.loads(prune(tmp_path / "run", public_data=None, baselines="public").stdout)

    assert "public" not in found["perplexity"]
    assert any("--public-data" in note for note in found["notes"])


def test_without_evaluation_text_no_perplexity_is_claimed(prune, tmp_path):
    """Where no evaluation text is named, perplexity is empty and a note says what would do."""
    ran = prune(tmp_path / "run", eval_data=None, save_model=True, baselines="")
    found = json.loads(ran.stdout)

    assert found["perplexity"] == {}
    assert any("--eval-data" in note for note in found["notes"])
    assert "not measured" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_finished_folder_is_not_run_again(full, prune):
    """The same command on a finished folder exits 0, prints the same result and touches no file."""
    before = snapshot(full[0])
    again = prune(full[0], save_model=True, save_votes=True, save_transcript=True)

    assert again.status == 0
    assert json.loads(again.stdout) == json.loads(full[1].stdout)
    assert snapshot(full[0]) == before


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("sparsity", "0.6", "--sparsity"),
        ("clients", "2", "--clients"),
        ("group", "row", "--group"),
        ("seed", "1", "--seed"),
        ("ties", "position", "--ties"),
        ("scale", True, "--scale"),
        ("pruner", "magnitude", "--pruner"),
        ("save_votes", None, "--save-votes"),
        ("dropout", "0.1", "--dropout"),
        ("baselines", "dense", "--baselines"),
        ("window_length", "8", "--window-length"),
    ],
)
def test_other_flag_on_a_finished_folder_is_refused(full, prune, name, value, flag):
    """Another configuration exits 2, names the flag that differs and --overwrite, and touches no file."""
    before = snapshot(full[0])
    ran = prune(full[0], **{"save_model": True, "save_votes": True, "save_transcript": True, name: value})

    assert ran.status == 2
    assert re.search(rf"holds a run with(out)? {flag}[ ,]", ran.line)
    assert "--overwrite" in ran.line
    assert snapshot(full[0]) == before


def test_overwrite_replaces_what_the_folder_holds(prune, tmp_path):
    """--overwrite runs anew and leaves nothing of the former run."""
    out = tmp_path / "run"
    prune(out, save_votes=True, save_model=True, save_transcript=True, baselines="")
    ran = prune(out, sparsity="0.6", overwrite=True, baselines="")

    assert ran.status == 0
    assert {path.name for path in out.iterdir()} == {"result.json", "prune_masks.safetensors"}
    assert json.loads((out / "result.json").read_text())["config"]["sparsity"] == "0.6"


def test_two_to_four_keeps_two_of_every_four(prune, tmp_path):
    """--sparsity 2:4 removes exactly two of every four consecutive inputs of a row."""
    assert prune(tmp_path / "run", sparsity="2:4", baselines="").status == 0

    for mask in load_file(tmp_path / "run" / "prune_masks.safetensors").values():
        assert bool((mask.view(mask.shape[0], -1, 4).sum(2) == 2).all())


@pytest.mark.parametrize(("group", "dimension"), [("row", 1), ("column", 0)])
def test_group_is_exact(prune, tmp_path, group, dimension):
    """--group row and column remove the same share of every row or column."""
    assert prune(tmp_path / "run", group=group, baselines="").status == 0

    for mask in load_file(tmp_path / "run" / "prune_masks.safetensors").values():
        assert set(mask.sum(dimension).tolist()) == {mask.shape[dimension] // 2}


@pytest.mark.parametrize("changed", [{"schedule": "iterative"}, {"propagate": "dense"}], ids=["iterative", "dense"])
def test_propagation_changes_only_later_blocks(full, prune, tmp_path, changed):
    """Every schedule starts from the same block 0 and then goes its own way; its baselines are measured too."""
    ran = prune(tmp_path / "run", **changed)
    one = load_file(full[0] / "prune_masks.safetensors")
    other = load_file(tmp_path / "run" / "prune_masks.safetensors")
    same = {name: torch.equal(one[name], other[name]) for name in one}

    assert all(same[name] for name in one if ".0." in name)
    assert not all(same[name] for name in one if ".1." in name)
    assert {"dense", "central", "local", "public", "magnitude"} <= set(json.loads(ran.stdout)["perplexity"])


def test_dropout_counts_the_survivors(prune, tmp_path):
    """Clients that leave before submit are missing from the totals, and the result says how many stayed."""
    ran = prune(tmp_path / "run", dropout="0.3@submit", clients=6, save_votes=True, baselines="")
    survivors = json.loads(ran.stdout)["protocol"]["survivors_by_block"]
    votes = load_file(tmp_path / "run" / "votes.safetensors")

    assert len(survivors) == 2
    assert min(survivors) < 6
    for name, total in votes.items():
        assert int(total.sum()) == survivors[int(name.split(".")[2])] * total.numel() // 2


def test_dropout_is_drawn_from_seed_and_block(prune, tmp_path):
    """The same seed loses the same clients; the default step is submit."""
    runs = [
        prune(tmp_path / str(n), dropout=rate, clients=6, baselines="") for n, rate in enumerate(["0.3", "0.3@submit"])
    ]
    survivors = [json.loads(ran.stdout)["protocol"]["survivors_by_block"] for ran in runs]

    assert survivors[0] == survivors[1]


def test_natural_partition_gives_a_file_to_a_client(prune, inputs, tmp_path):
    """--partition natural on a folder of .txt runs with a client a file."""
    ran = prune(tmp_path / "run", data=inputs.folder / "natural", partition="natural", clients=4, baselines="")

    assert ran.status == 0
    assert json.loads(ran.stdout)["data"] == {
        "source": str(inputs.folder / "natural"),
        "clients": 4,
        "windows_per_client": 2,
        "window_length_tokens": 16,
        "partition": "natural",
    }


@pytest.mark.parametrize(
    "changed",
    [{"partition": "natural", "client_field": "who"}, {"partition": "dirichlet:0.5", "label_field": "topic"}],
    ids=["natural", "dirichlet"],
)
def test_rows_with_fields_are_partitioned(prune, inputs, tmp_path, changed):
    """A .jsonl file is split by the field named."""
    assert prune(tmp_path / "run", data=inputs.folder / "rows.jsonl", baselines="", **changed).status == 0


def test_text_field_belongs_to_the_text_that_has_fields(prune, inputs, tmp_path):
    """--text-field for a .jsonl of private text leaves a plain .txt for --eval-data usable."""
    ran = prune(tmp_path / "run", data=inputs.folder / "rows.jsonl", text_field="text", baselines="")

    assert ran.status == 0, ran.stderr


def test_cut_windows_need_no_tokenizer(prune, inputs, tmp_path):
    """Windows already cut are taken as they are, at their own length."""
    windows = inputs.folder / "windows.safetensors"
    ran = prune(tmp_path / "run", data=windows, eval_data=windows, public_data=windows, window_length=None)
    found = json.loads(ran.stdout)

    assert found["data"]["window_length_tokens"] == 16
    assert found["perplexity"]["windows"] == 6
    assert found["perplexity"]["covered_bytes"] is None
    assert "bits_per_byte" not in found["perplexity"]["federated"]
    # Public windows are the clients' here, and so is what the central party holds.
    assert found["perplexity"]["public"] == found["perplexity"]["central"]


def test_one_client_is_its_own_local_pruning(prune, tmp_path):
    """With one client, federated, central and local-only row pruning are one and the same."""
    perplexity = json.loads(prune(tmp_path / "run", clients=1, group="row").stdout)["perplexity"]

    assert perplexity["federated"] == perplexity["central"]
    assert perplexity["local"]["perplexity"] == perplexity["federated"]["perplexity"]


def test_many_clients_do_not_overflow_the_votes(prune, tmp_path):
    """Votes of 130 clients are counted past the 127 of a signed byte."""
    file = tmp_path / "windows.safetensors"
    save_file({"windows": torch.arange(2, 132)[:, None].repeat(1, 2)}, file)
    ran = prune(
        tmp_path / "run", data=file, clients=130, windows_per_client=1, window_length=2, save_votes=True, baselines=""
    )

    assert ran.status == 0, ran.stderr
    votes = load_file(tmp_path / "run" / "votes.safetensors")
    assert max(int(total.max()) for total in votes.values()) > 127
    assert all(int(total.sum()) == 130 * total.numel() // 2 for total in votes.values())


@pytest.mark.parametrize("highest", [0, 1, 255, 256, 32_767, 32_768, 2**31 - 1])
def test_totals_of_any_size_survive_the_resume_state(tmp_path, highest):
    """Totals are stored in the smallest type that holds them and come back as int32, unchanged."""
    totals = torch.tensor([[0, 1, 2], [3, 4, 5]]).clamp(max=highest).to(torch.int64)
    totals[1, 2] = highest
    matrix = SimpleNamespace(name="m", shape=(2, 3))
    prune_mask = totals > 2
    work = WorkFolder(tmp_path / "work")
    states = HiddenStates(1, (1, 1), torch.float32, memory_limit_bytes=1 << 20)
    work.save_states(1, states)
    work.save_block(0, BlockRecord(survivors=[0]), {"m": totals}, {"federated": {"m": prune_mask}})

    assert work.totals(0, matrix).tolist() == totals.tolist()
    assert work.totals(0, matrix).dtype == torch.int32
    assert work.prune_mask(0, matrix).tolist() == prune_mask.tolist()
    assert work.finished_blocks() == 1


def test_spilled_hidden_states_give_the_same_result(full, prune, tmp_path):
    """--hidden-memory 0 keeps hidden states on disk and changes no byte of the masks."""
    assert prune(tmp_path / "run", hidden_memory=0, baselines="").status == 0

    expected = (full[0] / "prune_masks.safetensors").read_bytes()
    assert (tmp_path / "run" / "prune_masks.safetensors").read_bytes() == expected


def test_half_precision_masks_are_saved_with_the_checkpoint_dtype(prune, inputs, tmp_path):
    """--dtype bfloat16 computes in half precision and leaves the saved weights in the checkpoint's dtype."""
    ran = prune(tmp_path / "run", dtype="bfloat16", save_model=True, baselines="")

    assert json.loads(ran.stdout)["model"]["dtype"] == "bfloat16"
    saved = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.float32}


def test_digest_of_the_result_pins_the_model(prune, result, tmp_path):
    """--model-sha256 accepts the digest that a result prints, in either case."""
    assert prune(tmp_path / "run", model_sha256=result["model"]["sha256"].upper(), baselines="").status == 0


def test_work_state_is_private_while_running(prune, tmp_path, monkeypatch):
    """DIR/work has mode 0700 and its key 0600 while the run goes on, and is gone at the end."""
    seen = []
    original = Federation.run

    def run(self):
        modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (tmp_path / "run/work", tmp_path / "run/work/key")]
        seen.append(modes)
        original(self)

    monkeypatch.setattr(Federation, "run", run)
    old = os.umask(0)
    try:
        assert prune(tmp_path / "run", baselines="").status == 0
    finally:
        os.umask(old)

    assert seen == [[0o700, 0o600]]
    assert not (tmp_path / "run" / "work").exists()


def test_work_left_behind_by_a_finished_run_goes_away(prune, tmp_path, monkeypatch):
    """A run stopped between its result and its clean-up is finished, and the same command removes DIR/work."""

    def stopped(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "clear", stopped)
        assert prune(tmp_path / "run", baselines="").status == 130

    assert prune(tmp_path / "run", baselines="").status == 0
    assert not (tmp_path / "run" / "work").exists()


@pytest.mark.parametrize("name", ["federated", "local"])
def test_infinite_perplexity_is_valid_json_and_a_table(capsys, full, result, name):
    """A model pruned to infinite perplexity is shown as null in JSON and as inf in the table."""
    spoiled = json.loads(json.dumps(result))
    spoiled["perplexity"][name] |= {"perplexity": math.inf}
    if name == "local":
        spoiled["perplexity"][name] |= {"standard_deviation": math.nan}
    console.show_prune_result(spoiled, full[0], as_json=True)
    printed = capsys.readouterr().out

    assert "Infinity" not in printed
    assert "NaN" not in printed
    assert json.loads(printed)["perplexity"][name]["perplexity"] is None
    console.show_prune_result(json.loads(printed), full[0], as_json=False)
    assert "inf" in capsys.readouterr().out


def test_evaluate_agrees_with_prune(cli, full, result, inputs):
    """``evaluate`` under the saved prune masks measures the perplexity that ``prune`` printed."""
    masks = full[0] / "prune_masks.safetensors"
    flags = ["--model", inputs.model, "--eval-data", inputs.eval_text, "--eval-windows", "6", "--window-length", "16"]
    ran = cli("evaluate", *flags, "--prune-masks", masks, "--device", "cpu", "--json")
    found = json.loads(ran.stdout)

    assert ran.status == 0
    assert found["context_tokens"] == 16
    assert found["windows"] == 6
    for name, key in (("dense", "dense"), (str(masks), "federated")):
        assert found["perplexity"][name]["perplexity"] == pytest.approx(result["perplexity"][key]["perplexity"])
        assert found["perplexity"][name]["bits_per_byte"] == pytest.approx(result["perplexity"][key]["bits_per_byte"])
        assert found["perplexity"][name]["predicted_tokens"] == 90


def test_evaluate_prints_a_table(cli, inputs):
    """Without --json ``evaluate`` prints the dense perplexity as a table."""
    ran = cli(
        "evaluate", "--model", inputs.model, "--eval-data", inputs.eval_text, "--eval-windows", 2, "--device", "cpu"
    )

    assert ran.status == 0
    assert "2 windows of 64 tokens" in ran.stdout


def test_a_pruned_model_is_evaluated_as_the_run_did(cli, full, result, inputs):
    """Its card says in which windows; it is not called dense, and the run's perplexity is found again."""
    flags = ["--model", full[0] / "model", "--eval-data", inputs.eval_text, "--eval-windows", "6", "--device", "cpu"]
    found = json.loads(cli("evaluate", *flags, "--json").stdout)
    other = cli("evaluate", *flags, "--window-length", "8")

    assert found["context_tokens"] == 16
    assert list(found["perplexity"]) == ["as saved"]
    key = result["perplexity"]["result"]
    assert found["perplexity"]["as saved"]["perplexity"] == pytest.approx(result["perplexity"][key]["perplexity"])
    assert "windows of 8 tokens" in other.stdout


@pytest.mark.parametrize(
    "card",
    [
        None,
        "",
        "---",
        "# Pruned\n",
        "---\ntags: [pruned]\nwindow_length_tokens: 16\n---\n",
        "---\ntags: [pruned, federated]\n",
        "# Of a card\n---\ntags: [pruned, federated]\n---\n",
    ],
)
def test_a_card_of_another_kind_says_nothing(tmp_path, card):
    """Other models have cards too, or none."""
    if card is not None:
        (tmp_path / "README.md").write_text(card)

    assert not is_pruned(tmp_path)
    assert window_length_of(tmp_path) is None


def test_a_card_without_a_window_length_leaves_the_default(tmp_path):
    """The model is known to be pruned all the same."""
    (tmp_path / "README.md").write_text("---\ntags: [pruned, federated]\n---\nwindow_length_tokens: 16\n")

    assert is_pruned(tmp_path)
    assert window_length_of(tmp_path) is None


def test_units_by_a_pattern_leave_nothing_behind(prune, tmp_path):
    """They are refused by name before a folder is made."""
    ran = prune(tmp_path / "run", payload="units", sparsity="2:4")

    assert ran.status == 2
    assert "sparsity=2:4 does not go with payload=units" in ran.line
    assert list(tmp_path.iterdir()) == []
