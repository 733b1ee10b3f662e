"""Each flag of ``prune`` reaches what it is for: the command does what the same settings do from Python."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, MixtralConfig, MixtralForCausalLM

from fedprllm_secure import StreamedModel, evaluation, propagation
from fedprllm_secure import prune as prune_from_python
from fedprllm_secure.data import read_windows
from fedprllm_secure.hidden_states import HiddenStates
from fedprllm_secure.method import Method
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.sparsity import Sparsity

CPU = torch.device("cpu")
SETTINGS = {
    "pruner": ({"pruner": "magnitude"}, {"pruner": "magnitude"}),
    "group": ({"group": "row"}, {"group": "row"}),
    "local group": ({"local_group": "layer"}, {"local_group": "layer"}),
    "ties by position": ({"ties": "position"}, {"ties": "position"}),
    "random ties": ({"ties": "random"}, {"ties": "random"}),
    "random ties of a seed": ({"ties": "random", "seed": 5}, {"ties": "random", "seed": 5}),
    "dense": ({"propagate": "dense"}, {"schedule": Schedule("one-shot", "dense")}),
    "iterative": ({"schedule": "iterative"}, {"schedule": Schedule("iterative", "global")}),
    "sparsity": ({"sparsity": "0.35"}, {"sparsity": Sparsity.parse("0.35")}),
    "pattern": ({"sparsity": "1:4"}, {"sparsity": Sparsity.parse("1:4")}),
}


@pytest.fixture(scope="module")
def windows_file(inputs) -> Path:
    """The windows already cut: the same for the command and for Python, whatever the seed."""
    return inputs.folder / "windows.safetensors"


@pytest.fixture(scope="module")
def masks_from_python(inputs, windows_file, tmp_path_factory):
    """Prune from Python and read the prune masks."""
    model = StreamedModel(inputs.model, device=CPU)
    windows = read_windows(windows_file, num_clients=3, per_client=2, length=16, vocabulary_size=300)

    def run(**settings) -> dict[str, torch.Tensor]:
        place = tmp_path_factory.mktemp("python")
        method = Method(**({"sparsity": Sparsity.parse("0.5")} | settings))
        prune_from_python(model, windows, method, folder=place / "run").save_prune_masks(place / "masks")
        return load_file(place / "masks")

    return run


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Compare prune masks."""
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("flags", "settings"), SETTINGS.values(), ids=SETTINGS.keys())
def test_a_flag_does_what_the_setting_does(prune, masks_from_python, windows_file, tmp_path, flags, settings):
    """The command's prune masks are those from Python, and others than without the flag."""
    ran = prune(tmp_path / "run", data=windows_file, window_length=None, baselines="", **flags)
    found = load_file(tmp_path / "run" / "prune_masks.safetensors")

    assert ran.status == 0, ran.stderr
    assert same(found, masks_from_python(**settings))
    assert not same(found, masks_from_python())


def test_random_ties_depend_on_the_seed(masks_from_python):
    """Two seeds give two sets of prune masks, so that the runs above tell them apart."""
    assert not same(masks_from_python(ties="random"), masks_from_python(ties="random", seed=5))


def survivors(out: Path) -> list[frozenset[int]]:
    """Read from the transcript whose votes came, by block."""
    blocks = sorted((out / "transcript").iterdir())
    names = [[file.name for file in block.iterdir() if "-submit-received-" in file.name] for block in blocks]
    return [frozenset(int(re.search(r"client-(\d+)", name)[1]) for name in block) for block in names]


def test_who_leaves_is_drawn_anew_by_seed_and_by_block(prune, tmp_path):
    """The same clients leave when a run is repeated; other ones in another block, or under another seed."""
    asked = {"dropout": "0.5", "clients": 8, "windows_per_client": 1, "save_transcript": True, "baselines": ""}
    found = {}
    for seed in (0, 1, 0):
        out = tmp_path / f"{seed}-{len(found)}"
        assert prune(out, seed=seed, **asked).status == 0
        found[out.name] = survivors(out)
        counted = json.loads((out / "result.json").read_text())["protocol"]["survivors_by_block"]
        assert counted == [len(block) for block in found[out.name]]
    first, second, again = found.values()

    assert first == again
    assert first[0] != first[1]
    assert second[0] != second[1]
    assert first[0] != second[0]
    assert first[1] != second[1]


@pytest.fixture
def kept_dtypes(monkeypatch) -> dict[str, list[torch.dtype]]:
    """Watch in which dtypes hidden states are kept while pruning and while measuring."""
    seen: dict[str, list[torch.dtype]] = {"prune": [], "evaluate": []}
    for place, module in (("prune", propagation), ("evaluate", evaluation)):

        def make(rows, shape, dtype, *, place=place, **options):
            seen[place].append(dtype)
            return HiddenStates(rows, shape, dtype, **options)

        monkeypatch.setattr(module, "HiddenStates", make)
    return seen


@pytest.mark.parametrize(("asked", "kept"), [("bfloat16", torch.bfloat16), ("auto", torch.float32)])
def test_hidden_states_are_kept_as_asked(prune, cli, inputs, kept_dtypes, tmp_path, asked, kept):
    """--hidden-dtype reaches pruning and both places that measure perplexity."""
    assert prune(tmp_path / "run", hidden_dtype=asked, baselines="").status == 0
    assert kept_dtypes == {"prune": [kept], "evaluate": [kept]}

    flags = {"--model": inputs.model, "--eval-data": inputs.eval_text, "--eval-windows": 2, "--device": "cpu"}
    ran = cli("evaluate", *(f"{name}={value}" for name, value in flags.items()), f"--hidden-dtype={asked}", "--json")
    assert ran.status == 0
    assert kept_dtypes["evaluate"] == [kept, kept]


@pytest.fixture(scope="module")
def mixtral(inputs, tmp_path_factory) -> Path:
    """A Mixtral of two blocks with four experts, of which two see a token, beside the tiny model's tokenizer."""
    folder = tmp_path_factory.mktemp("mixtral")
    AutoTokenizer.from_pretrained(inputs.model).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    MixtralForCausalLM(MixtralConfig(**shape, **heads, num_local_experts=4, num_experts_per_tok=2)).save_pretrained(
        folder
    )
    return folder


@pytest.mark.parametrize("schedule", ["one-shot", "iterative"])
def test_votes_for_want_of_tokens_are_counted_of_clients_alone(prune, mixtral, tmp_path, schedule):
    """A text of one and the same token reaches two of four experts in every block, whoever reads it."""
    file = tmp_path / "windows.safetensors"
    save_file({"windows": torch.full((6, 4), 7)}, file)
    places = {"model": mixtral, "data": file, "public_data": file, "eval_data": file, "window_length": None}
    ran = prune(tmp_path / "run", schedule=schedule, **places)

    assert ran.status == 0, ran.stderr
    # Three clients, two blocks, two experts, three matrices each; the baselines' are not among them.
    assert json.loads(ran.stdout)["protocol"]["expert_votes_by_magnitude"] == 3 * 2 * 2 * 3
