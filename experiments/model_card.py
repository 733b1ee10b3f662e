"""The model card of a pruned model: how it was made, what is claimed of it, and nothing of where private text lies."""

from __future__ import annotations

import argparse
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
        "---\nlibrary_name: transformers\ntags: [pruned, federated]\n---\n\n"
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
