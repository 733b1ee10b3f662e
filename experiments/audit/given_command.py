"""``fedprllm audit --masks``: prune masks that somebody else made, and candidate texts scored against them.

Half of the non-members make the attacker's own rows, the others are scored beside the candidates: text in both would be
compared with itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from attacks import ATTACKS
from experiments import inputs
from experiments.audit.given_masks import NOTE, WITHOUT_COINS, GivenMasks, described, score
from experiments.audit.out_folder import FILES, PRIVATE, RESULT, SCHEMA, write_result
from experiments.audit.statistics import window_statistics
from experiments.console import PhaseBars
from experiments.result import environment, peak_memory_bytes
from fedprllm_secure.data import cut_evaluation, read_documents, read_windows, windows_shape
from fedprllm_secure.errors import InputError
from fedprllm_secure.method import Method
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.payloads import Votes
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.sparsity import Sparsity

LARGEST = 1 << 20  # windows of a file


def run_given_masks(flags: argparse.Namespace, config: dict[str, Any], *, files_hmac: str) -> int:
    """Score candidates against given masks; returns the exit status.

    Args:
        flags: of the command.
        config: those that name the audit.
        files_hmac: keyed digest of the masks and texts.

    Raises:
        InputError: files do not fit the model, or there are too few windows.
    """
    masks = _masks(flags)
    names = [name for name in WITHOUT_COINS if name in flags.attacks and masks.kind in ATTACKS[name].kinds]
    if not names:
        raise InputError(f"--attacks must name some of {', '.join(WITHOUT_COINS)}, which need no coins")
    model = inputs.open_model(flags)
    length = inputs.window_length(flags, model)
    candidates, others = (read_texts(each, model, length) for each in (flags.candidates, flags.non_members))
    compared, population = others[1::2], others[0::2]
    if len(population) < masks.clients * masks.per_client or not len(compared) or not len(candidates):
        raise InputError(
            f"--non-members {flags.non_members} has {len(others)} windows, of which every other one makes the "
            f"attacker's own rows; {2 * masks.clients * masks.per_client} are needed, and --candidates has "
            f"{len(candidates)}, of which 1 is needed"
        )
    started = time.perf_counter()
    with PhaseBars(quiet=flags.json) as bars:
        statistics = window_statistics(
            model,
            torch.cat([candidates, compared, population]),
            Method(sparsity=masks.payload.sparsity, schedule=Schedule("one-shot", "dense"), payload="statistics"),
            public=None,
            cache=flags.cache,
            batch_windows=flags.batch_windows,
            progress=bars.update,
        )
        scores = score(
            masks,
            statistics,
            known=len(candidates) + len(compared),
            attacks=names,
            worlds=flags.reference_runs,
            seed=flags.seed,
            progress=bars.update,
        )
    result = {
        "schema": SCHEMA,
        "config": config,
        FILES: files_hmac,
        "note": f"{NOTE}; {PRIVATE}",
        "model": {"source": flags.model, "sha256": model.checkpoint.sha256, "blocks": model.num_blocks},
        "masks": [str(file) for file in masks.files],
        "windows": {"candidates": len(candidates), "compared": len(compared), "population": len(population)},
        "attacks": {name: described(each, candidates=len(candidates)) for name, each in scores.items()},
        "attacks_not_made": {
            name: "needs coins, or another kind of rows" for name in flags.attacks if name not in names
        },
        "peak_memory_bytes": peak_memory_bytes(model.device),
        "environment": environment(model.device),
        "seconds": {"total": time.perf_counter() - started},
    }
    write_result(flags.out, result)
    _show(flags, result)
    return 0


def _masks(flags: argparse.Namespace) -> GivenMasks:
    is_choice = flags.kind == "choice"
    if is_choice and len(flags.masks) > 1:
        raise InputError(f"--kind choice takes one file of --masks, not {len(flags.masks)}")
    method = Method(
        sparsity=Sparsity.parse(flags.sparsity),
        pruner=flags.pruner,
        **({"group": flags.group} if flags.group else {}),
        local_group=flags.local_group,
        schedule=Schedule("one-shot", "dense"),
        ties=flags.ties,
    )
    return GivenMasks(
        files=tuple(map(Path, flags.masks)),
        kind=flags.kind,
        clients=flags.clients if is_choice else 1,
        per_client=flags.windows_per_client,
        payload=Votes.of(method, largest_bound=1),
    )


def read_texts(source: str, model: StreamedModel, length: int) -> Tensor:
    """Read all windows of a file, or cut all of its text, int64 (windows, tokens).

    Raises:
        InputError: it cannot be read.
    """
    if inputs.is_cut(source):
        rows, _ = windows_shape(Path(source))
        return read_windows(
            Path(source), num_clients=1, per_client=rows, length=length, vocabulary_size=model.vocabulary_size
        ).ids
    return cut_evaluation(
        read_documents(source, split="train"),
        inputs.open_tokenizer(model),
        length=length,
        limit=LARGEST,
        vocabulary_size=model.vocabulary_size,
    )


def _show(flags: argparse.Namespace, result: Mapping[str, Any]) -> None:
    if flags.json:
        print(json.dumps(result, indent=2))
        return
    console = Console()
    table = Table("attack", "AUC", *(f"candidate {n}" for n in range(min(8, result["windows"]["candidates"]))))
    for name, each in result["attacks"].items():
        best = [f"{max(one['scores']):.4g} (mask {one['best_mask']})" for one in each["candidates"][:8]]
        table.add_row(name, f"{each['auc']:.3f}", *best)
    console.print(table)
    console.print(f"{result['note']}; {flags.out / RESULT}", highlight=False)
    sys.stdout.flush()
