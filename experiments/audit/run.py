"""An audit of votes: victims' sessions and the attacker's own worlds, matrix by matrix, shown to every attack.

One population of the attacker's worlds serves every view, target and attack; no more than two blocks' rows of victims
and two matrices' rows of the attacker's worlds are in memory at a time: what is attacked, and what is being made.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from attacks.evidence import Kind, MatrixSight
from experiments.audit.ahead import Check, one_ahead
from experiments.audit.game import Audit, Game, Scored
from experiments.audit.jobs import Job, OwnRows
from experiments.audit.matrix import Configuration, What, cells_of
from experiments.audit.one_thread import one_thread
from experiments.audit.scoring import AttackScores
from experiments.audit.session_crew import Assignment, crew_size, seen_blocks
from experiments.audit.victims import SeenBlock, VoteSessions
from experiments.audit.worlds_rows import MatrixRows
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.payloads.centring import AS_THEY_ARE
from fedprllm_secure.thresholds import Thresholds

if TYPE_CHECKING:
    from experiments.audit.recorded_game import RecordedGame

Progress = Callable[[str, int, int], None]
KINDS: Mapping[What, Kind] = {
    "masks": "masks",
    "totals": "totals",
    "less": "totals",
    "released": "totals",
    "choice": "choice",
}


def audit_votes(
    game: Game,
    methods: Mapping[Configuration, Method],
    *,
    thresholds: Callable[[Configuration], Thresholds],
    attacks: Sequence[str],
    progress: Progress = lambda *_: None,
) -> Audit:
    """Hold all sessions of all configurations and score.

    Args:
        game: the worlds.
        methods: how each configuration prunes: votes, with dense propagation.
        thresholds: of each configuration's sessions.
        attacks: names.
        progress: receives (phase, done, total).

    Raises:
        InputError: a configuration cannot be run by so few clients, or its privacy target cannot be met.
    """
    assignment = Assignment(
        statistics=game.statistics.kept,
        configurations={each.name: (method, thresholds(each)) for each, method in methods.items()},
        num_clients=game.plan.clients,
        colluders=game.colluders,
        contributions=game.worlds.contributions,
        groups=game.contributions.groups,
    )
    with tempfile.TemporaryDirectory() as folder:
        sessions = assignment.sessions(Path(folder) / "here")
        cells = [cell for each in methods for cell in cells_of(each, colluders=game.colluders)]
        jobs = game.jobs(cells, sessions, KINDS)
        scorings = {name: AttackScores(game.setting(job), attacks) for name, job in jobs.items()}

        def blocks(check: Check) -> Iterator[dict[str, SeenBlock]]:
            size = crew_size(assignment)
            return seen_blocks(assignment, sessions, Path(folder), size=size, check=check)

        show_all(game.statistics.model, lambda check: _sights(game, sessions, jobs, blocks, check), scorings, progress)
        scored = {name: Scored(job, scorings[name].scores(), scorings[name].refused) for name, job in jobs.items()}
        return Audit(cells, scored, sessions)


def show_all(
    model: StreamedModel,
    make: Callable[[Check], Iterator[dict[str, MatrixSight]]],
    scorings: Mapping[str, AttackScores],
    progress: Progress,
) -> None:
    """Show every matrix of a model to all attacks of all jobs, while the next is being made.

    Args:
        model: whose matrices they are.
        make: yields what is seen of one matrix after another, by job; see :func:`one_ahead`.
        scorings: by job.
        progress: receives ("audit", matrices done, all matrices).
    """
    done, total = 0, sum(len(prunable_matrices(model, index)) for index in range(model.num_blocks))
    progress("audit", done, total)
    # Attacks share the cores by themselves: neither BLAS nor torch is to start threads of its own beside them.
    with one_thread(), threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as workers:
        for sights in one_ahead(make):
            for name, sight in sights.items():
                scorings[name].see(sight, workers)
            done += 1
            progress("audit", done, total)


def _sights(
    game: Game,
    sessions: Mapping[str, VoteSessions],
    jobs: Mapping[str, Job],
    make_blocks: Callable[[Check], Iterator[dict[str, SeenBlock]]],
    check: Check,
) -> Iterator[dict[str, MatrixSight]]:
    """Yield what is seen of each matrix, by job, while the next block goes through its sessions."""
    votes = replace(next(iter(sessions.values())).payload, centre=AS_THEY_ARE)
    # Where a client may have nothing, what it then counts as is its configuration's; rows are made for each such case.
    empty_votes = {
        name: sessions[job.configuration].empty_vote if game.plan.is_zero_out else 0.0 for name, job in jobs.items()
    }

    def checked(own: Check) -> Iterator[dict[str, SeenBlock]]:
        def both() -> None:
            check()
            own()

        return make_blocks(both)

    blocks = one_ahead(checked)
    with torch.no_grad(), closing(blocks):
        for index, seen in enumerate(blocks):
            with game.statistics.block(index) as block:
                for matrix in block.matrices:
                    found: dict[str, MatrixSight] = {}
                    for empty_vote in dict.fromkeys(empty_votes.values()):
                        maker = MatrixRows(block, matrix, votes, game.contributions.held, empty_vote)
                        alike = {name: job for name, job in jobs.items() if empty_votes[name] == empty_vote}
                        found |= matrix_sights(game, maker, seen, alike, check)
                    yield found


def matrix_sights(
    game: Game | RecordedGame,
    maker: MatrixRows,
    seen: Mapping[str, SeenBlock],
    jobs: Mapping[str, Job],
    check: Check = lambda: None,
) -> dict[str, MatrixSight]:
    """Put together, by job, what was seen of a matrix and the rows of the attacker's own worlds."""
    counts = tuple({job.clients for job in jobs.values() if job.what != "masks"})
    labelled = OwnRows.of(maker, game.labelled, counts=counts, check=check)
    reference = OwnRows.of(maker, game.reference, counts=counts, check=check)
    place = game.statistics.channels[maker.block.index, maker.block.view().source(maker.matrix)]
    alone = maker.alone(game.contributions.known)
    return {
        name: job.sight(
            maker,
            seen,
            channels=np.arange(place.start, place.stop),
            labelled=labelled,
            reference=reference,
            alone=alone,
            generator=game.generator,
        )
        for name, job in jobs.items()
    }
