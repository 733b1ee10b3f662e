"""Expected seconds of a run: measured rates times how often each phase happens. An estimate, and labelled as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.plan.measured_block import BlockRates, measure_block
from experiments.plan.measured_protocol import ProtocolRates, measure_protocol
from experiments.plan.sessions import Counts, PlannedRun
from experiments.result import environment
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How much a run does.

    Attributes:
        weights: prunable weights of the model.
        outer_weights: of embedding and head.
        tokens: tokens a window.
        rows: windows of all parties.
        client_rows: windows of one client.
        deciding: parties that decide alone on every block.
        selections: selections over every block: the server's, and those of baselines.
        passes: how often the blocks are read.
        evaluated: windows of evaluation text, 0 where nothing is evaluated.
        variants: models that are evaluated.
        contents: for each session the bytes of a client's submission.
        clients: size of the roster.
        peers: clients that each one masks with, or seals for.
    """

    weights: int
    outer_weights: int
    tokens: int
    rows: int
    client_rows: int
    deciding: int
    selections: int
    passes: int
    evaluated: int
    variants: int
    contents: Sequence[int]
    clients: int
    peers: int


def expected_seconds(work: Work, block: BlockRates, protocol: ProtocolRates) -> dict[str, dict[str, float]]:
    """Estimate the seconds of a simulation in this process, and of one client and the server of a deployment."""
    token_weights = work.tokens * work.weights
    through = {phase: block.per_token_and_weight(phase) * token_weights for phase in ("calibrate", "propagate")}
    once = {phase: block.per_weight(phase) * work.weights for phase in ("load", "decide", "select")}
    client = sum(protocol.client_seconds(peers=work.peers, content=content) for content in work.contents)
    server = sum(protocol.server_seconds(peers=work.peers, content=content) for content in work.contents)
    forward = block.per_token_and_weight("calibrate") * work.tokens * (work.weights + work.outer_weights)
    simulation = {
        "load": once["load"] * work.passes,
        "calibrate": through["calibrate"] * work.rows,
        "propagate": through["propagate"] * work.rows,
        "decide": once["decide"] * work.deciding,
        "protocol": (client + server) * work.clients,
        "select": once["select"] * work.selections,
        "evaluation": forward * work.evaluated * work.variants + once["load"] * (work.evaluated > 0),
    }
    return {
        "simulation": simulation | {"total": sum(simulation.values())},
        "client": {
            "prune": once["load"] + once["decide"] + sum(through.values()) * work.client_rows,
            "protocol": client,
        },
        "server": {"protocol": server * work.clients, "select": once["select"]},
    }


def measured_seconds(
    model: StreamedModel,
    planned: PlannedRun,
    *,
    counts: Counts,
    peers: int,
    length: int,
    contents: Sequence[int],
    variants: int,
    evaluated: int,
    is_dense_evaluated: bool,
) -> dict[str, Any]:
    """Measure this machine for some seconds and estimate a run from it.

    Args:
        model: opened, or a stand-in.
        planned: the run's sessions.
        counts: how many of what there is.
        peers: clients that each one has to do with.
        length: tokens a window.
        contents: for each session the bytes of a client's submission.
        variants: prune masks that are made of each block.
        evaluated: windows of evaluation text.
        is_dense_evaluated: whether the unpruned model is evaluated too.
    """
    weights = [sum(matrix.numel for matrix in prunable_matrices(model, index)) for index in range(model.num_blocks)]
    largest = max((spec for vectors in planned.vectors for spec in vectors), key=lambda spec: spec.length)
    block = measure_block(planned.method, block_weights=max(weights), length=length, device=model.device)
    protocol = measure_protocol(planned.method.protocol, largest, peers=peers)
    is_dense = planned.method.schedule.propagate == "dense"
    submits = planned.payload.submits_decision
    streams = range(len(planned.parties.streams))
    work = Work(
        weights=sum(weights),
        outer_weights=model.vocabulary_size * model.hidden_size,
        tokens=length,
        rows=len(planned.parties.ids),
        client_rows=counts.per_client,
        deciding=sum(submits or planned.parties.variant(number) is not None for number in streams),
        selections=1 + counts.magnitude + (counts.central and is_dense),
        passes=2 if planned.method.is_surveyed else 1,
        evaluated=evaluated,
        variants=variants + is_dense_evaluated,
        contents=contents,
        clients=counts.clients,
        peers=peers,
    )
    return {
        "how": _how(block, protocol),
        "measured_block_seconds": block.seconds,
        **expected_seconds(work, block, protocol),
        "environment": environment(model.device),
    }


def _how(block: BlockRates, protocol: ProtocolRates) -> str:
    sizes = " and ".join(f"{pair[0].peers + 1}" for pair in protocol.corners)
    return (
        f"an estimate: one block of {block.weights:,} random weights pruned on {block.rows} windows of {block.tokens} "
        f"tokens, and sessions of {sizes} clients with up to {protocol.corners[-1][1].content:,} bytes each, measured "
        "here and scaled by weights, tokens, bytes and clients; other work on this machine, and attention over long "
        "windows, are not in it"
    )
