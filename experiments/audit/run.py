"""An audit of votes: victims' sessions and the attacker's own worlds, matrix by matrix, shown to every attack.

One population of the attacker's worlds serves every view, target and attack; no more than one block's rows of victims
and one matrix's rows of the attacker's worlds are in memory at a time.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from attacks.evidence import Kind
from experiments.audit.game import Audit, Game, Scored
from experiments.audit.jobs import Job, OwnRows
from experiments.audit.matrix import Configuration, What, cells_of
from experiments.audit.scoring import AttackScores
from experiments.audit.victims import SeenBlock, Victims, VoteSessions
from experiments.audit.worlds_rows import MatrixRows
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import prunable_matrices
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
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        sessions = {
            configuration.name: VoteSessions(
                game.statistics,
                num_clients=game.plan.clients,
                method=method,
                thresholds=thresholds(configuration),
                colluders=game.colluders,
                folder=Path(folder) / str(number),
            )
            for number, (configuration, method) in enumerate(methods.items())
        }
        cells = [cell for each in methods for cell in cells_of(each, colluders=game.colluders)]
        jobs = game.jobs(cells, sessions, KINDS)
        scorings = {name: AttackScores(game.setting(job), attacks) for name, job in jobs.items()}
        _show_all(game, sessions, jobs, scorings, progress)
        scored = {name: Scored(job, scorings[name].scores(), scorings[name].refused) for name, job in jobs.items()}
        return Audit(cells, scored, sessions)


def _show_all(
    game: Game,
    sessions: Mapping[str, VoteSessions],
    jobs: Mapping[str, Job],
    scorings: Mapping[str, AttackScores],
    progress: Progress,
) -> None:
    """Take every block through its sessions and show every matrix to all attacks of all jobs."""
    victims = Victims(game.worlds.contributions, game.contributions.groups, sessions=sessions)
    votes = replace(next(iter(sessions.values())).payload, centre=AS_THEY_ARE)
    # Where a client may have nothing, what it then counts as is its configuration's; rows are made for each such case.
    empty_votes = {
        name: sessions[job.configuration].empty_vote if game.plan.is_zero_out else 0.0 for name, job in jobs.items()
    }
    model = game.statistics.model
    done, total = 0, sum(len(prunable_matrices(model, index)) for index in range(model.num_blocks))
    progress("audit", done, total)
    with ThreadPoolExecutor(os.cpu_count()) as workers, threadpool_limits(1):  # attacks share the cores by themselves
        for block in game.statistics.blocks():
            seen = victims.block(block)
            for matrix in block.matrices:
                for empty_vote in dict.fromkeys(empty_votes.values()):
                    maker = MatrixRows(block, matrix, votes, game.contributions.held, empty_vote)
                    alike = {name: job for name, job in jobs.items() if empty_votes[name] == empty_vote}
                    show_matrix(game, maker, seen, alike, scorings, workers)
                done += 1
                progress("audit", done, total)


def show_matrix(
    game: Game | RecordedGame,
    maker: MatrixRows,
    seen: Mapping[str, SeenBlock],
    jobs: Mapping[str, Job],
    scorings: Mapping[str, AttackScores],
    workers: Executor,
) -> None:
    """Show a matrix to all attacks of jobs: what was seen of it, and the rows of the attacker's own worlds."""
    counts = tuple({job.clients for job in jobs.values()})
    labelled = OwnRows.of(maker, game.labelled, counts=counts)
    reference = OwnRows.of(maker, game.reference, counts=counts)
    place = game.statistics.channels[maker.block.index, maker.block.view().source(maker.matrix)]
    alone = maker.alone(game.contributions.known)
    for name, job in jobs.items():
        scorings[name].see(
            job.sight(
                maker,
                seen,
                channels=np.arange(place.start, place.stop),
                labelled=labelled,
                reference=reference,
                alone=alone,
                generator=game.generator,
            ),
            workers,
        )
