"""The model card of a pruned model: how it was made, what is claimed of it, and nothing of where private text lies.

Its head tells ``fedprllm evaluate`` that the model was pruned, and in which windows its perplexity was measured.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What a model card, which is published, says of a run: the method, and nothing of where private text lies.
CARD_FLAGS = frozenset(
    {
        "clients",
        "dropout",
        "group",
        "local_group",
        "partition",
        "payload",
        "propagate",
        "protocol",
        "pruner",
        "scale",
        "schedule",
        "sparsity",
        "ties",
        "window_length",
        "windows_per_client",
    }
)


FILE = "README.md"
TAGS = "tags: [pruned, federated]"
WINDOW_LENGTH = "window_length_tokens"


def model_card(flags: argparse.Namespace, result: Mapping[str, Any]) -> str:
    """Write the card of a result."""
    found = result["perplexity"].get(result["perplexity"].get("result", ""), {})
    measured = f"{found['perplexity']:.3f}" if found else "not measured"
    command = " ".join(
        _written(name, value)
        for name, value in result["config"].items()
        if name in CARD_FLAGS and value not in (None, False)
    )
    return (
        f"---\nlibrary_name: transformers\n{TAGS}\n{WINDOW_LENGTH}: {result['data']['window_length_tokens']}\n---\n\n"
        f"# {Path(str(flags.model)).name}, {flags.sparsity} pruned by {flags.clients} clients\n\n"
        f"Base model: `{flags.model}` (sha256 `{result['model']['sha256']}`). Weights removed: "
        f"{result['sparsity']['achieved_fraction']:.4f} of the prunable ones. Perplexity on the evaluation text: "
        f"{measured}.\n\nMade by federated pruning (FedPrLLM, arXiv 2505.13547) with protocol `{flags.protocol}`, "
        f"{_privacy(result['privacy'])}\n\n"
        f"Configuration: `{command}`\n"
    )


def _privacy(privacy: Mapping[str, Any]) -> str:
    if privacy["dp"] == "none":
        return "without differential privacy: the prune mask carries information on the calibration text."
    return (
        f"with {privacy['mechanism']} noise (dp {privacy['dp']}). Claim against {privacy['adversary']}: "
        f"{privacy['claim']} ({privacy['adjacency']}: {privacy['adjacency_means']})."
    )


def _written(name: str, value: Any) -> str:
    flag = "--" + name.replace("_", "-")
    if value is True:
        return flag
    return f"{flag} {','.join(value) if isinstance(value, list) else value}"


def is_pruned(folder: Path) -> bool:
    """Say whether a folder holds a model with a card of this kind."""
    return TAGS in _head(folder)


def window_length_of(folder: Path) -> int | None:
    """Read the window length, in tokens, of the run that made a model; None where no card of this kind says one."""
    said = [re.fullmatch(rf"{WINDOW_LENGTH}: (\d+)", line) for line in _head(folder)]
    return next((int(found[1]) for found in said if found), None) if is_pruned(folder) else None


def _head(folder: Path) -> list[str]:
    """List the lines between the first two ``---`` of a folder's card, if it has one."""
    file = folder / FILE
    lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
    return lines[1 : lines.index("---", 1)] if lines[:1] == ["---"] and "---" in lines[1:] else []
