"""Puts a plan together, as JSON can hold it; bytes carry the names they have in ``result.json``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from experiments.flags import configuration
from experiments.plan.counts import evaluated_windows
from experiments.plan.memory import Sizes, peak_memory, resident_bytes
from experiments.plan.seconds import measured_seconds
from experiments.plan.sessions import Counts, Leaving, PlannedRun
from experiments.privacy_flags import advice
from experiments.privacy_section import claim
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.privacy import MEANINGS, epsilon_of
from fedprllm_secure.privacy.references import noise_multipliers
from fedprllm_secure.thresholds import Thresholds
from protocols import Step
from protocols.costs import Presence, Traffic

if TYPE_CHECKING:
    from fedprllm_secure.federation import Federation

SCHEMA = 1
Figures = dict[str, dict[str, int]]


def forecast(
    flags: argparse.Namespace,
    model: StreamedModel,
    planned: PlannedRun,
    counts: Counts,
    thresholds: Thresholds,
    *,
    length: int,
    leaving: Leaving,
    notes: list[str],
) -> dict[str, Any]:
    """Say what a run will cost and promise.

    Args:
        flags: of the command.
        model: opened, or a stand-in.
        planned: its sessions.
        counts: how many of what there is.
        thresholds: who must stay.
        length: tokens a window.
        leaving: by block, the clients that leave at each step.
        notes: what the user should know.
    """
    traffic = planned.traffic(leaving)
    if not planned.are_inputs_known:
        notes.append("experts are counted with an input for each matrix: there may be fewer entries, never more")
    if thresholds.neighbours:
        notes.append(
            "bytes of one client are those of one draw of the sparse graph: another differs by a few nodes of 32 bytes "
            "in share, and by nothing over all clients"
        )
    blocks = [prunable_matrices(model, index) for index in range(model.num_blocks)]
    weights = [sum(matrix.numel for matrix in block) for block in blocks]
    contents = [max(each[Step.SUBMIT].bytes_up.values(), default=0) for each in traffic]
    entries = [sum(spec.length for spec in vectors) for vectors in planned.vectors]
    steps = bytes_by_step(traffic)
    sizes = _sizes(flags, model, planned, length=length, entries=max(entries), content=max(contents))
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "config": configuration(flags),
        "model": {
            "source": flags.model or flags.model_shape,
            "type": model.config.model_type,
            "blocks": model.num_blocks,
            "parameters": _parameters(model),
            "prunable_weights": sum(weights),
            "dtype": str(model.dtype).removeprefix("torch."),
            "window_length_tokens": length,
        },
        "payload": {
            "name": flags.payload,
            "entries": sum(entries),
            "sessions": len(entries),
            "entries_of_largest_session": max(entries),
            "submitted_bits_per_entry": 8 * sum(contents) / sum(entries),
            "submitted_bits_per_weight": 8 * sum(contents) / sum(weights),
        },
        "protocol": {
            "name": flags.protocol,
            "protects": planned.claim,
            "clients": counts.clients,
            **thresholds.public(),
            "tolerated_losses": tolerated_losses(thresholds, counts.clients),
        },
        "privacy": _privacy(planned, thresholds),
        "bytes": steps,
        "bytes_total": {name: sum(figures[name] for figures in steps.values()) for name in steps["submit"]},
        "peak_memory_bytes": {
            "how": "an estimate from sizes, rather low; the server's with every client amid its submission",
            "libraries": resident_bytes(),
            **peak_memory(
                sizes,
                clients=counts.clients,
                per_client=counts.per_client,
                rows=len(planned.parties.ids),
                variants=_variants(flags, counts),
                hidden_memory=flags.hidden_memory,
            ),
        },
        "seconds": None,
        "notes": notes + _ends(planned, leaving),
    }
    if getattr(flags, "measure", True):
        found["seconds"] = measured_seconds(
            model,
            planned,
            counts=counts,
            peers=thresholds.neighbours or counts.clients - 1,
            length=length,
            contents=contents,
            variants=_variants(flags, counts),
            evaluated=evaluated_windows(flags),
            is_dense_evaluated="dense" in flags.baselines,
        )
    return found


def bytes_by_step(traffic: Sequence[Traffic]) -> Figures:
    """Sum over sessions, by step, the bytes of the client with the most and of the server, as ``result.json`` does."""
    return {
        step.name.lower(): {
            "client_up_max_bytes": sum(max(each[step].bytes_up.values(), default=0) for each in traffic),
            "client_down_max_bytes": sum(max(each[step].bytes_down.values(), default=0) for each in traffic),
            "server_in_bytes": sum(each[step].server_bytes_in for each in traffic),
            "server_out_bytes": sum(each[step].server_bytes_out for each in traffic),
        }
        for step in Step
    }


def tolerated_losses(thresholds: Thresholds, clients: int) -> dict[str, int]:
    """Say how many clients may be gone by the end of each step, those that left before among them."""
    needed = dict.fromkeys(Step, thresholds.minimum_survivors)
    if not thresholds.neighbours:
        needed |= dict.fromkeys((Step.CONFIRM, Step.REVEAL), thresholds.recovery_threshold)
    return {step.name.lower(): clients - count for step, count in needed.items()}


def _ends(planned: PlannedRun, leaving: Leaving) -> list[str]:
    """Say where the simulated dropouts will end a session, and with it the run."""
    for place, plan in enumerate(planned.plans):
        step = Presence.of(plan, leaving(place)).short_at(plan)
        if step is not None:
            return [f"--dropout ends session {place} at {step.name.lower()}: too few clients are left; the run aborts"]
    return []


def _privacy(planned: PlannedRun, thresholds: Thresholds) -> dict[str, Any]:
    target = planned.method.privacy
    if target is None:
        return {
            "dp": "none",
            "claim": "none: totals and prune mask tell of the calibration text, and nothing bounds how much",
        }
    releases = planned.releases
    epsilon = epsilon_of(releases, target.delta)
    found = {
        "dp": target.place,
        "claim": claim(epsilon, target),
        "epsilon": epsilon,
        "delta": target.delta,
        "adjacency": target.adjacency,
        "adjacency_means": MEANINGS[target.adjacency],
        "adversary": releases[0].adversary,
        "assumed_colluders": thresholds.assumed_colluders if target.place == "distributed" else None,
        "mechanism": releases[0].mechanism,
        "releases": len(releases),
        # Looks at what a planned run has as well as a federation.
        "what_the_noise_leaves": advice(cast("Federation", planned)),
    }
    if planned.noises:
        found["noise_multiplier"] = min(multiplier for multiplier, _ in noise_multipliers(releases))
    return found


def _sizes(
    flags: argparse.Namespace, model: StreamedModel, planned: PlannedRun, *, length: int, entries: int, content: int
) -> Sizes:
    blocks = [prunable_matrices(model, index) for index in range(model.num_blocks)]
    largest = max(blocks, key=lambda block: sum(matrix.numel for matrix in block))
    weights = sum(matrix.numel for matrix in largest)
    kept: torch.dtype = {"auto": model.dtype}.get(flags.hidden_dtype) or getattr(torch, flags.hidden_dtype)
    widest = max(side for matrix in largest for side in matrix.shape)
    return Sizes(
        block_weights=weights,
        block_bytes=weights * model.dtype.itemsize,
        matrix_weights=max(matrix.numel for matrix in largest),
        outer_bytes=2 * model.vocabulary_size * model.hidden_size * model.dtype.itemsize,
        hidden_bytes=length * model.hidden_size * kept.itemsize,
        batch_bytes=flags.batch_windows * length * widest * model.dtype.itemsize,
        entries=entries,
        content_bytes=content,
    )


def _variants(flags: argparse.Namespace, counts: Counts) -> int:
    """Count the prune masks that are made of each block."""
    named: Mapping[str, int] = {
        "federated": 1,
        "scaled": int(flags.scale),
        "central": int(counts.central),
        "public": int("public" in flags.baselines and counts.public is not None),
        "magnitude": int(counts.magnitude),
        "local": counts.local_only,
    }
    return sum(named.values())


def _parameters(model: StreamedModel) -> int:
    return sum(torch.Size(tensor.shape).numel() for tensor in model.checkpoint.tensors.values())
