"""Models of which nothing but shapes is there: by the name of a published shape, or from a configuration alone.

A stand-in is a model folder whose weight file has the header of the real one and nothing but a hole after it: it takes
no room on disk, and whatever reads headers only cannot tell it from the model. Nobody must compute with it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.core_model_loading import revert_weight_conversion

from fedprllm_secure.errors import InputError
from fedprllm_secure.models.checkpoint import DTYPE_NAMES, INDEX, WEIGHTS

CONFIG = "config.json"
SHARD_BYTES = 1 << 30
STORED = torch.float16  # as published checkpoints are, where a configuration does not say


def _of_family(
    family: str, hidden: int, layers: int, ffn: int, heads: int, groups: int, vocabulary: int, context: int
) -> PretrainedConfig:
    return AutoConfig.for_model(
        family,
        hidden_size=hidden,
        num_hidden_layers=layers,
        intermediate_size=ffn,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        vocab_size=vocabulary,
        max_position_embeddings=context,
    )


# Touvron et al. 2023 (arXiv 2302.13971 and 2307.09288), Llama team 2024 (2407.21783), Qwen team 2024 (2412.15115), and
# the configurations published with the weights: hidden, layers, FFN, heads, key-value heads, vocabulary, context.
SHAPES: Mapping[str, Callable[[], PretrainedConfig]] = {
    "llama-7b": partial(_of_family, "llama", 4096, 32, 11008, 32, 32, 32000, 2048),
    "llama-13b": partial(_of_family, "llama", 5120, 40, 13824, 40, 40, 32000, 2048),
    "llama-2-70b": partial(_of_family, "llama", 8192, 80, 28672, 64, 8, 32000, 4096),
    "llama-3.1-8b": partial(_of_family, "llama", 4096, 32, 14336, 32, 8, 128256, 131072),
    "llama-3.1-70b": partial(_of_family, "llama", 8192, 80, 28672, 64, 8, 128256, 131072),
    "qwen2.5-0.5b": partial(_of_family, "qwen2", 896, 24, 4864, 14, 2, 151936, 32768),
    "qwen2.5-1.5b": partial(_of_family, "qwen2", 1536, 28, 8960, 12, 2, 151936, 131072),
    "qwen2.5-7b": partial(_of_family, "qwen2", 3584, 28, 18944, 28, 4, 152064, 131072),
    "qwen2.5-72b": partial(_of_family, "qwen2", 8192, 80, 29568, 64, 8, 152064, 131072),
}


def published_shape(name: str) -> PretrainedConfig:
    """Give the configuration of a published shape.

    Raises:
        InputError: the name is not known; the message lists those that are.
    """
    if name not in SHAPES:
        raise InputError(f"--model-shape {name} must be one of {', '.join(SHAPES)}")
    return SHAPES[name]()


def shape_of_model(source: str) -> PretrainedConfig | None:
    """Read the configuration of a model whose weights are not all here; None for a folder that has them.

    Of a hub model nothing but the configuration is downloaded.

    Raises:
        InputError: there is no such folder and no such hub model, or its configuration cannot be read.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if _has_weights(folder):
            return None
        problem = f"--model {source} has no readable {CONFIG}"
    else:
        # A hub name is "owner/name" or "name"; anything else can only have been meant as a path.
        if source.startswith((".", "/", "~")) or source.count("/") > 1:
            raise InputError(
                f"--model {source}: there is no such folder; give a model folder or a hub name (owner/name)"
            )
        problem = (
            f"--model {source}: neither a local folder nor a hub model whose {CONFIG} could be downloaded; check the "
            "name and the network, or give a folder or a published shape (--model-shape)"
        )
    try:
        return AutoConfig.from_pretrained(folder if folder.is_dir() else source)
    except Exception as error:  # for a wrong value or an unreachable hub, classes of other libraries come through
        raise InputError(f"{problem} ({str(error).splitlines()[0][:200]})") from error


def _has_weights(folder: Path) -> bool:
    if (folder / WEIGHTS).exists():
        return True
    if not (folder / INDEX).exists():
        return False
    try:
        names = set(json.loads((folder / INDEX).read_text())["weight_map"].values())
    except (ValueError, KeyError, AttributeError):
        return True  # whoever opens it says what is wrong with it
    return all((folder / name).exists() for name in names)


def write_stand_in(config: PretrainedConfig, folder: Path) -> Path:
    """Write a stand-in for a model of this configuration into a folder.

    Raises:
        InputError: the configuration is of no causal language model.
    """
    try:
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config)
    except ValueError as error:
        raise InputError(f"model type {config.model_type!r} is no causal language model of transformers") from error
    stored = revert_weight_conversion(network, network.state_dict())
    config.save_pretrained(folder)
    dtype = _dtype_of(config)
    shards = _shards({name: tuple(tensor.shape) for name, tensor in stored.items()}, dtype)
    weight_map: dict[str, str] = {}
    for number, shapes in enumerate(shards, start=1):
        file = folder / f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_hole(file, shapes, dtype)
        weight_map |= dict.fromkeys(shapes, file.name)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def _shards(shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> list[dict[str, tuple[int, ...]]]:
    """Share tensors out to files: a file is mapped when its header is checked, and may be no larger than memory."""
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    room = SHARD_BYTES
    for name, shape in shapes.items():
        size = torch.Size(shape).numel() * dtype.itemsize
        if size > room and shards[-1]:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][name] = shape
        room -= size
    return shards


def _dtype_of(config: PretrainedConfig) -> torch.dtype:
    dtype: Any = getattr(config, "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else STORED


def _write_hole(file: Path, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> None:
    header: dict[str, Any] = {}
    offset = 0
    for name, shape in shapes.items():
        size = torch.Size(shape).numel() * dtype.itemsize
        header[name] = {"dtype": DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with file.open("wb") as opened:
        opened.write(struct.pack("<Q", len(encoded)) + encoded)
        opened.truncate(8 + len(encoded) + offset)
