"""What ``result.json`` of a pruning run says."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from experiments.inputs import is_cut
from experiments.privacy_section import privacy_section
from experiments.result import environment, peak_memory_bytes
from fedprllm_secure.artifacts import count_sparsity
from fedprllm_secure.data import Windows
from fedprllm_secure.evaluation import Perplexity, mean_and_spread
from fedprllm_secure.federation import Federation
from fedprllm_secure.parties import CENTRAL, MAGNITUDE, PUBLIC, local_variant
from fedprllm_secure.work import FEDERATED, BlockRecord

SCHEMA = 1
SCALED = "scaled"


def prune_result(
    flags: argparse.Namespace,
    config: dict[str, Any],
    federation: Federation,
    evaluation: tuple[Tensor, int | None] | None,
    measured: Mapping[str, Perplexity],
    notes: list[str],
    private_notes: list[str],
) -> dict[str, Any]:
    """Assemble the result of a run whose blocks are all finished.

    Args:
        flags: of the command.
        config: the flags that decide the result.
        federation: the run.
        evaluation: windows (windows, tokens) and the bytes that they cover.
        measured: perplexities by variant.
        notes: what the user should know.
        private_notes: likewise, of what depends on private text.
    """
    model, windows, work = federation.model, federation.windows, federation.work
    records = [work.record(index) for index in range(model.num_blocks)]
    phases = {phase for record in records for phase in record.seconds}
    seconds = {phase: sum(record.seconds.get(phase, 0.0) for record in records) for phase in sorted(phases)}
    result = {
        "schema": SCHEMA,
        "config": config,
        "notes": notes + private_notes,
        "model": {
            "source": flags.model,
            "sha256": model.checkpoint.sha256,
            "type": model.config.model_type,
            "blocks": model.num_blocks,
            "dtype": str(model.dtype).removeprefix("torch."),
            "context_tokens": model.context_length,
        },
        "data": {
            "source": flags.data,
            "clients": windows.num_clients,
            "windows_per_client": windows.per_client,
            "window_length_tokens": windows.length,
            "partition": "as cut" if is_cut(flags.data) else flags.partition,
        },
        "sparsity": {"asked": flags.sparsity, **_sparsity(federation)},
        "perplexity": _perplexity(flags, windows, evaluation, measured),
        "protocol": {
            "name": flags.protocol,
            "payload": flags.payload,
            "protects": federation.claim(),
            **federation.thresholds.public(),
            "sessions": len(records),
            "survivors_by_block": [len(record.survivors) for record in records],
            "expert_votes_by_magnitude": sum(record.unseen_experts for record in records),
            "seconds_by_step": _summed(records, "_seconds"),
        },
        "privacy": privacy_section(flags, federation),
        "seconds": seconds,
        "bytes": _summed(records, "_bytes"),
        "peak_memory_bytes": peak_memory_bytes(model.device),
        "environment": environment(model.device),
    }
    if federation.method.privacy is not None:
        _set_apart(result, private_notes, has_transcript=flags.save_transcript, has_coins=flags.canaries is not None)
    return result


def _set_apart(result: dict[str, Any], private_notes: list[str], *, has_transcript: bool, has_coins: bool) -> None:
    """Move what depends on private text, but not through noisy totals, out of the way of what the claim covers."""
    alone: dict[str, Any] = {"note": "not covered by epsilon: a deployment has none of it"}
    found = {name: result["perplexity"].pop(name) for name in (CENTRAL, "local") if name in result["perplexity"]}
    if found:
        alone["perplexity"] = found
    alone["expert_votes_by_magnitude"] = result["protocol"].pop("expert_votes_by_magnitude")
    result["notes"] = [note for note in result["notes"] if note not in private_notes]
    alone["notes"] = private_notes
    if has_transcript:
        alone["transcript"] = "transcript/ holds what the server saw before any noise of its own"
    if has_coins:
        alone["coins"] = "coins.json holds windows of clients, and which of them they used"
    result["simulation_only"] = alone


def _sparsity(federation: Federation) -> dict[str, Any]:
    """Count what was removed, and, where totals are of exact votes, what all clients would have removed besides."""
    is_voted = federation.method.payload == "votes" and federation.method.privacy is None
    return count_sparsity(federation.model, federation.work, is_voted=is_voted)


def _summed(records: Sequence[BlockRecord], suffix: str) -> dict[str, dict[str, float]]:
    """Sum over sessions what the names with this suffix say of each step."""
    return {
        step: {
            name: sum(record.cost_by_step[step][name] for record in records)
            for name in figures
            if name.endswith(suffix)
        }
        for step, figures in records[0].cost_by_step.items()
    }


def _perplexity(
    flags: argparse.Namespace,
    windows: Windows,
    evaluation: tuple[Tensor, int | None] | None,
    measured: Mapping[str, Perplexity],
) -> dict[str, Any]:
    if evaluation is None:
        return {}
    ids, covered = evaluation
    values: dict[str, Any] = {
        "context_tokens": ids.shape[1],
        "windows": len(ids),
        "covered_bytes": covered,
    }
    order = ["dense", CENTRAL, FEDERATED, SCALED, PUBLIC, MAGNITUDE]
    for name in order:
        if name in measured:
            values[name] = _figures(measured[name], covered)
    alone = [
        measured[name].value for client in range(windows.num_clients) if (name := local_variant(client)) in measured
    ]
    if alone:
        mean, spread = mean_and_spread(alone)
        values["local"] = {"perplexity": mean, "standard_deviation": spread, "clients": alone}
    values["result"] = SCALED if flags.scale else FEDERATED
    return values


def _figures(perplexity: Perplexity, covered: int | None) -> dict[str, float]:
    figures = {"perplexity": perplexity.value}
    if covered:
        figures["bits_per_byte"] = perplexity.bits_per_byte(covered)
    return figures
