"""The smaller model computes what the masked full-size one computes, and transformers loads it as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma3Config, LlamaConfig, PreTrainedConfig, PreTrainedModel

from fedprllm_secure.artifacts import save_model
from fedprllm_secure.errors import InputError
from fedprllm_secure.evaluation import dense, perplexities
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.models.units import unit_kinds
from fedprllm_secure.smaller_model import check_smaller_model, save_smaller_model
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.variants import MaskSource, masked
from tests.fedprllm_secure.tiny_models import CPU, random_windows, reference_model
from tests.fedprllm_secure.unit_models import (
    GROUPS,
    NEURONS,
    SHAPE,
    UNGROUPED_FAMILIES,
    UNIT_FAMILIES,
    open_random,
    save_random,
    unit_prune_masks,
)

IDS = random_windows(1, 3, 20, seed=4).ids
# Six heads do not divide this, which LLaMA's and Gemma 2's configurations refuse.
ODD_WIDTH = {"hidden_size": 32, "head_dim": 8}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def mask_source(masks: dict[str, Tensor]) -> MaskSource:
    """Look prune masks up by name."""
    return lambda _, matrix: masks[matrix.name]


def pruned(model: StreamedModel, *, heads: int = 1, neurons: int = 11) -> MaskSource:
    """Remove random units, other ones in every block."""
    return mask_source(unit_prune_masks(model, heads=heads, neurons=neurons, blocks=range(model.num_blocks)))


def save_both(model: StreamedModel, prune_mask: MaskSource, folder: Path) -> tuple[Path, Path]:
    """Save the masked full-size model and the smaller one."""
    save_model(model, masked(prune_mask), folder / "masked", card="# Masked\n")
    save_smaller_model(model, prune_mask, folder / "smaller", card="# Smaller\n")
    return folder / "masked", folder / "smaller"


def logits(network: PreTrainedModel) -> Tensor:
    """Compute logits as users do."""
    with torch.no_grad():
        return network(input_ids=IDS).logits


def assert_same_model(masked_folder: Path, smaller_folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Compare logits and generated text of both, and give the smaller one."""
    full, smaller = reference_model(masked_folder, dtype), reference_model(smaller_folder, dtype)
    expected = logits(full)
    assert expected.abs().max() > 0.05
    torch.testing.assert_close(logits(smaller), expected, atol=1e-5, rtol=1e-5)
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    assert torch.equal(smaller.generate(IDS, **options), full.generate(IDS, **options))
    return smaller


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """Read every tensor of a checkpoint folder."""
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def settings_of(folder: Path) -> dict[str, Any]:
    """Read ``config.json``."""
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("family", UNIT_FAMILIES)
def test_logits_and_generated_text_are_those_of_the_masked_model(family: str, tmp_path: Path) -> None:
    """To float tolerance, in every family; and they are not those of the dense model."""
    model = open_random(UNIT_FAMILIES[family](), tmp_path / "dense")
    masked_folder, smaller_folder = save_both(model, pruned(model), tmp_path)
    smaller = assert_same_model(masked_folder, smaller_folder)
    assert not torch.allclose(logits(reference_model(tmp_path / "dense", torch.float32)), logits(smaller), atol=1e-3)
    assert type(smaller) is type(reference_model(tmp_path / "dense", torch.float32))


@pytest.mark.parametrize("family", UNIT_FAMILIES)
def test_only_sizes_change(family: str, tmp_path: Path) -> None:
    """Every stored tensor is the original one less whole rows or columns, and only sizes change in the settings."""
    model = open_random(UNIT_FAMILIES[family](), tmp_path / "dense")
    prune_mask = pruned(model)
    save_smaller_model(model, prune_mask, tmp_path / "smaller", card="# Smaller\n")
    before, after = settings_of(tmp_path / "dense"), settings_of(tmp_path / "smaller")
    sizes = {"num_attention_heads": 6, "num_key_value_heads": 3, "intermediate_size": NEURONS - 11}
    head_size = before.get("head_dim") or before["hidden_size"] // 8
    assert after == before | sizes | {"head_dim": head_size}
    expected = load_tensors(tmp_path / "dense")
    for index in range(model.num_blocks):
        for kind in unit_kinds(model, index):
            for member in kind.members:
                mask = prune_mask(index, member.matrix)
                kept = ~mask.all(1 - member.axis)
                name = member.matrix.tensor_name
                expected[name] = expected[name].index_select(member.axis, kept.nonzero()[:, 0])
                bias = f"{member.matrix.name}.bias"
                if member.axis == 0 and bias in expected:
                    expected[bias] = expected[bias][kept]
    found = load_tensors(tmp_path / "smaller")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_the_folder_holds_what_a_model_needs_and_its_card(tmp_path: Path) -> None:
    """Side files are copied, nothing else; what was there before, or half-written, goes."""
    model = open_random(UNIT_FAMILIES["qwen2"](), tmp_path / "dense")
    (tmp_path / "dense" / "tokenizer.json").write_text("{}")
    (tmp_path / "dense" / "notes.txt").write_text("private")
    (tmp_path / "smaller").mkdir()
    (tmp_path / "smaller" / "old.safetensors").write_text("")
    (tmp_path / "smaller.partial").mkdir()
    (tmp_path / "smaller.partial" / "older.safetensors").write_text("")
    save_smaller_model(model, pruned(model), tmp_path / "smaller", card="# Smaller\n")
    names = {file.name for file in (tmp_path / "smaller").iterdir()}
    assert names == {"README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    assert (tmp_path / "smaller" / "README.md").read_text() == "# Smaller\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dense", "smaller"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_what_it_is(dtype: torch.dtype, tmp_path: Path) -> None:
    """Weights keep dtype and bits, though the model is computed in float32 here."""
    save_random(UNIT_FAMILIES["llama"](**ODD_WIDTH), tmp_path / "dense", dtype)
    model = StreamedModel(tmp_path / "dense", device=CPU)
    assert model.dtype == torch.float32
    masked_folder, smaller_folder = save_both(model, pruned(model), tmp_path)
    assert settings_of(smaller_folder)["dtype"] == str(dtype).removeprefix("torch.")
    assert {tensor.dtype for tensor in load_tensors(smaller_folder).values()} == {dtype}
    assert AutoModelForCausalLM.from_pretrained(smaller_folder).dtype == dtype
    assert_same_model(masked_folder, smaller_folder)


def test_shards_stay_apart_and_their_index_is_right(tmp_path: Path) -> None:
    """File by file, with the totals of what is left."""
    save_random(UNIT_FAMILIES["llama"](), tmp_path / "dense", max_shard_size="30KB")
    model = StreamedModel(tmp_path / "dense", device=CPU)
    masked_folder, smaller_folder = save_both(model, pruned(model), tmp_path)
    index, former = (
        json.loads((folder / "model.safetensors.index.json").read_text()) for folder in (smaller_folder, masked_folder)
    )
    tensors = load_tensors(smaller_folder).values()
    assert len(set(index["weight_map"].values())) > 2
    assert index["weight_map"] == former["weight_map"]
    assert index["metadata"] == {
        "total_size": sum(tensor.nbytes for tensor in tensors),
        "total_parameters": sum(tensor.numel() for tensor in tensors),
    }
    assert_same_model(masked_folder, smaller_folder)


@pytest.mark.parametrize("metadata", [{}, {"metadata": {}}, {"metadata": {"total_size": 1, "by": "me"}}])
def test_only_totals_that_an_index_states_are_corrected(metadata: dict[str, Any], tmp_path: Path) -> None:
    """Older ones have no count of parameters, and some no totals at all."""
    save_random(UNIT_FAMILIES["llama"](), tmp_path / "dense", max_shard_size="30KB")
    file = tmp_path / "dense" / "model.safetensors.index.json"
    index = {"weight_map": json.loads(file.read_text())["weight_map"]} | metadata
    file.write_text(json.dumps(index))
    model = StreamedModel(tmp_path / "dense", device=CPU)
    save_smaller_model(model, pruned(model), tmp_path / "smaller", card="")
    if metadata.get("metadata"):
        total = sum(tensor.nbytes for tensor in load_tensors(tmp_path / "smaller").values())
        index["metadata"] = {"total_size": total, "by": "me"}
    assert json.loads((tmp_path / "smaller" / file.name).read_text()) == index


@pytest.mark.parametrize(
    "changes",
    [{"tie_word_embeddings": True}, {"attention_bias": True, "mlp_bias": True}],
    ids=["tied", "biases"],
)
def test_tied_embeddings_and_biases_are_kept(changes: dict[str, bool], tmp_path: Path) -> None:
    """Embeddings are none of the units' business; a bias entry goes with its row."""
    model = open_random(LlamaConfig(**SHAPE, **changes), tmp_path / "dense")
    masked_folder, smaller_folder = save_both(model, pruned(model), tmp_path)
    assert_same_model(masked_folder, smaller_folder)
    assert ("lm_head.weight" in load_tensors(smaller_folder)) != changes.get("tie_word_embeddings", False)


def test_a_model_within_a_larger_configuration_shrinks(tmp_path: Path) -> None:
    """Gemma 3 with images keeps its text settings in a section of their own."""
    text = UNIT_FAMILIES["gemma3"]()
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    tokens = {"mm_tokens_per_image": 1, "image_token_index": 5, "boi_token_index": 6, "eoi_token_index": 7}
    config = Gemma3Config(text_config=text, vision_config=vision | {"image_size": 14, "patch_size": 14}, **tokens)
    model = open_random(config, tmp_path / "dense")
    masked_folder, smaller_folder = save_both(model, pruned(model), tmp_path)
    full, smaller = (AutoModelForCausalLM.from_pretrained(folder) for folder in (masked_folder, smaller_folder))
    ids = IDS.clamp_min(8)
    with torch.no_grad():
        torch.testing.assert_close(smaller(input_ids=ids).logits, full(input_ids=ids).logits, atol=1e-5, rtol=1e-5)
    assert settings_of(smaller_folder)["text_config"]["intermediate_size"] == NEURONS - 11
    assert settings_of(smaller_folder)["vision_config"] == settings_of(tmp_path / "dense")["vision_config"]


@pytest.mark.parametrize("rope", [None, LLAMA3_ROPE], ids=["plain", "llama3"])
def test_llama_of_any_number_of_heads_is_saved_as_mistral(rope: dict[str, Any] | None, tmp_path: Path) -> None:
    """Its configuration refuses six heads of a LLaMA of width 32, though Mistral's layers, the same, compute it."""
    extra = {"rope_parameters": rope} if rope else {}
    model = open_random(LlamaConfig(**(SHAPE | ODD_WIDTH | extra)), tmp_path / "dense")
    masked_folder, smaller_folder = save_both(model, pruned(model), tmp_path)
    smaller = assert_same_model(masked_folder, smaller_folder)
    assert type(smaller).__name__ == "MistralForCausalLM"
    found = settings_of(smaller_folder)
    assert (found["model_type"], found["architectures"]) == ("mistral", ["MistralForCausalLM"])
    assert found["sliding_window"] is None
    assert not any(name.startswith("_") for name in found)


@pytest.mark.parametrize(("width", "expected"), [(32, "mistral"), (48, "llama")])
def test_settings_of_older_transformers_are_kept(width: int, expected: str, tmp_path: Path) -> None:
    """Rotary positions as version 4 wrote them, and what LLaMA's files leave to its defaults, which are its own."""
    save_random(LlamaConfig(**(SHAPE | {"hidden_size": width, "max_position_embeddings": 2048})), tmp_path / "dense")
    before = settings_of(tmp_path / "dense")
    for name in ("rope_parameters", "rms_norm_eps", "head_dim", "dtype", "max_position_embeddings", "hidden_act"):
        before.pop(name)
    before |= {"rope_theta": 700.0, "rope_scaling": {"type": "linear", "factor": 2.0}, "torch_dtype": "float32"}
    (tmp_path / "dense" / "config.json").write_text(json.dumps(before))
    model = StreamedModel(tmp_path / "dense", device=CPU)
    masked_folder, smaller_folder = save_both(model, pruned(model), tmp_path)
    assert_same_model(masked_folder, smaller_folder)
    after = settings_of(smaller_folder)
    assert after["model_type"] == expected
    assert (after["rope_theta"], after["rope_scaling"]) == (700.0, {"type": "linear", "factor": 2.0})
    assert after.get("max_position_embeddings", 2048) == 2048
    if expected == "llama":
        assert after.keys() - before.keys() == {"head_dim"}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (UNIT_FAMILIES["gemma2"](**ODD_WIDTH), r"'gemma2' cannot be saved .*The hidden size \(32\) is not a multiple"),
        (LlamaConfig(**(SHAPE | ODD_WIDTH), attention_bias=True), r"'llama' cannot be saved .*is not a multiple"),
        (LlamaConfig(**(SHAPE | ODD_WIDTH), mlp_bias=True), r"'llama' cannot be saved .*is not a multiple"),
        # A setting that LLaMA does not read and Mistral does.
        (LlamaConfig(**(SHAPE | ODD_WIDTH), sliding_window=4), r"'llama' cannot be saved .*is not a multiple"),
        (UNGROUPED_FAMILIES["opt"](), r"'opt' cannot be saved .*transformers would build .*, not \(36"),
        (
            UNGROUPED_FAMILIES["gptj"](num_attention_heads=4),
            r"'gptj' cannot be saved without 1 key-value heads and 11 n",
        ),
    ],
    ids=["gemma2", "attention bias", "mlp bias", "window", "opt", "gptj"],
)
def test_sizes_that_transformers_does_not_load_are_refused(
    config: PreTrainedConfig, reason: str, tmp_path: Path
) -> None:
    """Nothing is written, and the message says why and what would do."""
    model = open_random(config, tmp_path / "dense")
    with pytest.raises(InputError, match=f"{reason}.*; leave out --save-model .* another number of heads$"):
        save_smaller_model(model, pruned(model), tmp_path / "smaller", card="")
    with pytest.raises(InputError, match=reason.replace("11 n", "10 n")):
        check_smaller_model(model, Sparsity.parse("0.25"))
    assert not list(tmp_path.glob("smaller*"))


@pytest.mark.parametrize("family", UNGROUPED_FAMILIES)
def test_neurons_alone_shrink_anywhere(family: str, tmp_path: Path) -> None:
    """Where no head goes, the number and size of heads need no settings."""
    model = open_random(UNGROUPED_FAMILIES[family](), tmp_path / "dense")
    assert check_smaller_model(model, Sparsity.parse("0.2")) == family
    masked_folder, smaller_folder = save_both(model, pruned(model, heads=0), tmp_path)
    assert_same_model(masked_folder, smaller_folder)
    assert "head_dim" not in settings_of(smaller_folder)


@pytest.mark.parametrize(
    ("changes", "sparsity", "expected"),
    [({}, "0.3", "llama"), (ODD_WIDTH, "0.3", "mistral"), (ODD_WIDTH, "0.5", "llama")],
)
def test_the_type_is_known_before_the_run(
    changes: dict[str, int], sparsity: str, expected: str, tmp_path: Path
) -> None:
    """It follows from the model and the sparsity alone."""
    model = open_random(UNIT_FAMILIES["llama"](**changes), tmp_path / "dense")
    removed = [Sparsity.parse(sparsity).count(size) for size in (GROUPS, NEURONS)]
    save_smaller_model(model, pruned(model, heads=removed[0], neurons=removed[1]), tmp_path / "smaller", card="")
    assert check_smaller_model(model, Sparsity.parse(sparsity)) == expected
    assert settings_of(tmp_path / "smaller")["model_type"] == expected


def test_streaming_the_smaller_model_measures_the_masked_one(tmp_path: Path) -> None:
    """Its perplexity is what the run reports of its prune masks."""
    model = open_random(UNIT_FAMILIES["qwen3"](), tmp_path / "dense")
    prune_mask = pruned(model)
    save_smaller_model(model, prune_mask, tmp_path / "smaller", card="")
    expected = perplexities(model, IDS, {"masked": masked(prune_mask)})["masked"]
    found = perplexities(StreamedModel(tmp_path / "smaller", device=CPU), IDS, {"smaller": dense})["smaller"]
    assert found.nats == pytest.approx(expected.nats, rel=1e-6)


def test_other_numbers_in_other_blocks_are_refused(tmp_path: Path) -> None:
    """A configuration has one size for all blocks."""
    model = open_random(UNIT_FAMILIES["llama"](), tmp_path / "dense")
    masks = unit_prune_masks(model, heads=1, neurons=11, blocks=[0])
    masks |= unit_prune_masks(model, heads=1, neurons=12, blocks=[1])
    with pytest.raises(InputError, match=r"^12 neurons of block 1 are removed and 11 of block 0; a smaller model must"):
        save_smaller_model(model, mask_source(masks), tmp_path / "smaller", card="")


def test_prune_masks_of_single_weights_are_refused(tmp_path: Path) -> None:
    """Those of the payload ``votes`` remove no units."""
    model = open_random(UNIT_FAMILIES["llama"](), tmp_path / "dense")
    with pytest.raises(InputError, match="does not remove whole heads"):
        save_smaller_model(model, lambda _, m: torch.rand(m.shape) < 0.5, tmp_path / "smaller", card="")


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder appears when it is whole."""
    model = open_random(UNIT_FAMILIES["llama"](), tmp_path / "dense")
    save_smaller_model(model, pruned(model), tmp_path / "smaller", card="first")

    def full_disk(*_: object) -> dict[str, Tensor]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(model.checkpoint), "read", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_smaller_model(model, pruned(model), tmp_path / "smaller", card="second")
    assert (tmp_path / "smaller" / "README.md").read_text() == "first"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dense", "smaller"]
