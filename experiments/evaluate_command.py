"""``fedprllm evaluate``: perplexity of a model, as it is and under prune masks that a run saved."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments import inputs
from experiments.console import PhaseBars
from experiments.model_card import is_pruned, window_length_of
from experiments.result import finite
from fedprllm_secure.artifacts import mask_model_sha256, saved_masks
from fedprllm_secure.errors import InputError
from fedprllm_secure.evaluation import Variant, dense, perplexities

# What the model itself is called: one that a run pruned is not dense.
DENSE, AS_SAVED = "dense", "as saved"


def run(flags: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    model = inputs.open_model(flags)
    folder = model.checkpoint.folder
    if flags.window_length is None:
        flags.window_length = window_length_of(folder)
    length = inputs.window_length(flags, model)
    evaluation = inputs.evaluation_windows(flags, model, length)
    if evaluation is None:
        raise InputError("--eval-data is needed: name a text to measure perplexity on")
    ids, covered = evaluation
    variants: dict[str, Variant] = {AS_SAVED if is_pruned(folder) else DENSE: dense}
    variants |= {str(file): saved_masks(model, file) for file in flags.prune_masks}
    for file in flags.prune_masks:
        if mask_model_sha256(file) not in (None, model.checkpoint.sha256):
            print(f"note: {file} was made for a model with another digest", file=sys.stderr)
    with PhaseBars(quiet=flags.json) as bars:
        measured = perplexities(
            model,
            ids,
            variants,
            batch_windows=flags.batch_windows,
            hidden_dtype=inputs.DTYPES.get(flags.hidden_dtype),
            hidden_memory_bytes=flags.hidden_memory,
            progress=bars.update,
        )
    figures: dict[str, dict[str, Any]] = {
        name: {
            "perplexity": found.value,
            "bits_per_byte": found.bits_per_byte(covered) if covered else None,
            "predicted_tokens": found.tokens,
        }
        for name, found in measured.items()
    }
    if flags.json:
        found = {"context_tokens": length, "windows": len(ids), "perplexity": figures}
        print(json.dumps(finite(found), indent=2))
        return 0
    table = Table("model", "perplexity", "bits per byte", title=f"{len(ids)} windows of {length} tokens")
    for name, row in figures.items():
        bits = "" if row["bits_per_byte"] is None else f"{row['bits_per_byte']:.4f}"
        table.add_row(name, f"{row['perplexity']:.3f}", bits)
    Console().print(table)
    return 0
