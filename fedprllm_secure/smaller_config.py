"""The configuration of a model with fewer heads and neurons, checked to describe exactly the tensors that are left.

Nothing here knows a family's layers: the configuration is edited, transformers builds an empty network from it, and
that network must differ from the original in the shrunk tensors only.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig

from fedprllm_secure.errors import InputError
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.models.units import Kind, UnitKind

# Where configurations keep the number of neurons.
NEURON_COUNTS = ("intermediate_size", "ffn_dim", "n_inner")
# LLaMA's configuration takes only numbers of heads that divide the hidden size, though its layers compute with any.
# Mistral's layers are the same ones without biases, and its configuration takes any number.
STAND_INS: Mapping[str, Mapping[str, Any]] = {
    "llama": {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None}
}
# Settings that say which class reads the others.
CLASS_SETTINGS = frozenset({"model_type", "architectures", "transformers_version"})
Shape = tuple[int, ...]


def smaller_config(
    model: StreamedModel, kinds: Sequence[UnitKind], *, removed: Mapping[Kind, int], shapes: Mapping[str, Shape]
) -> dict[str, Any]:
    """Make the contents of the smaller model's ``config.json``.

    Args:
        model: the full model.
        kinds: the units of a block.
        removed: how many units of each kind go, in every block.
        shapes: the tensors that shrink, by name in memory.

    Raises:
        InputError: transformers does not build a network of these shapes from any configuration of the architecture.
    """
    stored = json.loads((model.checkpoint.folder / "config.json").read_text())
    config = _read(stored)  # not the model's own, which says how it is computed here
    changes = _changes(config, kinds, removed)
    candidates = [_changed(stored, config, changes)]
    if config.model_type in STAND_INS:
        # The settings of the class are spelt out: those that a file leaves to its defaults, another would fill its way.
        candidates.append(stored | config.to_diff_dict() | changes | STAND_INS[config.model_type])
    reasons = []
    for candidate in candidates:
        try:
            found = _read(candidate)
            _check_settings(found, config, changes)
            _check_tensors(found, config, shapes)
        except (StrictDataclassError, RuntimeError, TypeError, ValueError) as error:
            reasons.append(" ".join(str(error).split())[:200])
        else:
            return candidate
    raise InputError(
        f"{model.checkpoint.folder}: a model of type {config.model_type!r} cannot be saved without "
        f"{removed['heads']} key-value heads and {removed['neurons']} neurons of every block ({reasons[0]}); leave out "
        "--save-model (the prune masks are written all the same), or choose a sparsity that leaves another number of "
        "heads"
    )


def _changes(config: PreTrainedConfig, kinds: Sequence[UnitKind], removed: Mapping[Kind, int]) -> dict[str, Any]:
    """List the settings that change; where an architecture does not read one, the tensors it builds show it."""
    text = config.get_text_config()
    found: dict[str, Any] = {}
    for kind in kinds:
        left = kind.count - removed[kind.kind]
        if left == kind.count:
            continue
        if kind.kind == "heads":
            shared = text.num_attention_heads // kind.count
            found |= {"num_attention_heads": left * shared, "head_dim": kind.output.width // shared}
            if hasattr(text, "num_key_value_heads"):
                found["num_key_value_heads"] = left
        else:
            found |= {name: left for name in NEURON_COUNTS if hasattr(text, name)}
    return found


def _changed(stored: Mapping[str, Any], config: PreTrainedConfig, changes: Mapping[str, Any]) -> dict[str, Any]:
    if config.get_text_config() is config:
        return {**stored, **changes}
    return {**stored, "text_config": {**stored.get("text_config", {}), **changes}}


def _read(settings: Mapping[str, Any]) -> PreTrainedConfig:
    """Read settings as transformers reads a ``config.json`` that holds them."""
    return CONFIG_MAPPING[settings["model_type"]].from_dict(copy.deepcopy(dict(settings)))


def _check_settings(found: PreTrainedConfig, original: PreTrainedConfig, changes: Mapping[str, Any]) -> None:
    """Refuse a configuration in which anything but the changes reads otherwise than in the original."""
    before, after = original.get_text_config().to_dict(), found.get_text_config().to_dict()
    for name in before.keys() & after.keys() - changes.keys() - CLASS_SETTINGS:
        if before[name] != after[name]:
            raise ValueError(f"transformers would read {name}={after[name]}, not {before[name]}")


def _check_tensors(found: PreTrainedConfig, original: PreTrainedConfig, shapes: Mapping[str, Shape]) -> None:
    """Refuse a configuration whose network has other tensors than the original, but for ``shapes``."""
    expected, built = _tensor_shapes(original) | dict(shapes), _tensor_shapes(found)
    for name in sorted(expected.keys() | built.keys()):
        if expected.get(name) != built.get(name):
            raise ValueError(f"transformers would build {name} as {built.get(name)}, not {expected.get(name)}")


def _tensor_shapes(config: PreTrainedConfig) -> dict[str, Shape]:
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    return {name: tuple(tensor.shape) for name, tensor in [*network.named_parameters(), *network.named_buffers()]}
