"""Prune masks that somebody else made, and windows scored against them.

Descriptive alone: whoever calls chose the windows, no coin was tossed, and no chance or bound can follow. Knows nothing
of flags or text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attacks import ATTACKS
from attacks.evidence import Kind, MatrixSight, Setting
from attacks.leakage.curves import roc
from attacks.leakage.samples import Samples
from experiments.audit.jobs import OwnRows
from experiments.audit.one_thread import one_thread
from experiments.audit.recorded import read_tensors
from experiments.audit.run import Progress
from experiments.audit.statistics import AuditBlock, WindowStatistics
from experiments.audit.worlds import Slots, Worlds, reference_worlds
from experiments.audit.worlds_rows import MatrixRows
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.payloads import Votes

NOTE = "descriptive: candidates were chosen by whoever calls, no coin was tossed"
WITHOUT_COINS = (
    "similarity", "contested-similarity", "score-test", "margin-likelihood", "inverted", "whitened",
)  # fmt: skip
TOLERANCE = 0.01  # of the share of weights that a mask removes


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenMasks:
    """Masks, and how they are said to have been made.

    Attributes:
        files: one a client, or one that was chosen from the totals of all.
        kind: which of the two.
        clients: behind each mask.
        per_client: windows of each client.
        payload: votes, as every client is said to have cast them.
    """

    files: tuple[Path, ...]
    kind: Kind
    clients: int
    per_client: int
    payload: Votes = field(repr=False)

    def rows(self, matrix: PrunableMatrix) -> np.ndarray:
        """Read the masks of a matrix, uint8 (files, out, in).

        Raises:
            InputError: a file does not fit, or removes another share of the weights than is said.
        """
        found = []
        for file in self.files:
            mask = read_tensors(file, (matrix,))[matrix.name]
            if mask.dtype != np.uint8 or mask.max() > 1:
                raise InputError(f"{file}: {matrix.name} must be uint8 of 0 and 1, 1 = removed")
            if abs(mask.mean() - float(self.payload.sparsity.fraction)) > TOLERANCE:
                raise InputError(
                    f"{file}: {matrix.name} removes {mask.mean():.3f} of the weights; give the --sparsity that made it"
                )
            found.append(mask)
        return np.stack(found)


def score(
    masks: GivenMasks,
    statistics: WindowStatistics,
    *,
    known: int,
    attacks: Sequence[str],
    worlds: int,
    seed: int,
    progress: Progress = lambda *_: None,
) -> dict[str, np.ndarray]:
    """Score windows against masks.

    Args:
        masks: what is given.
        statistics: of the windows to be scored, then of the attacker's own.
        known: how many are to be scored.
        attacks: names.
        worlds: how many rows of its own the attacker makes.
        seed: of those.
        progress: receives (phase, done, total).

    Returns:
        by attack, float64 (masks, windows to be scored), higher = the window is more likely behind the mask.
    """
    numbers = np.arange(len(statistics.energies))
    setting = Setting(
        kind=masks.kind,
        clients=masks.clients,
        slots=masks.clients * masks.per_client,
        noise_sd=0.0,
        energies=statistics.energies[:known],
        population=statistics.energies[known:],
        targets=np.empty((0, 2), np.int64),
        coins=np.empty((0, 0), np.int8),
        observed=len(masks.files),
        in_play=np.empty((len(masks.files), 0), bool),
    )
    own = reference_worlds(
        np.random.Generator(np.random.PCG64([seed, 1])),
        worlds,
        slots=Slots(clients=masks.clients, per_client=masks.per_client, in_play=1),
        population=numbers[known:],
        is_zero_out=False,
    )
    scorings = {name: ATTACKS[name].start(setting) for name in attacks}
    with torch.no_grad(), one_thread():
        progress("audit", 0, statistics.model.num_blocks)
        for block in statistics.blocks():
            for sight in _sights(masks, statistics, block, own, numbers[:known, None]):
                for scoring in scorings.values():
                    scoring.see(sight)
            progress("audit", block.index + 1, statistics.model.num_blocks)
    return {name: scoring.scores() for name, scoring in scorings.items()}


def _sights(
    masks: GivenMasks, statistics: WindowStatistics, block: AuditBlock, own: Worlds, known: np.ndarray
) -> Iterator[MatrixSight]:
    groups = np.arange(len(statistics.energies))[:, None]
    for matrix in block.matrices:
        maker = MatrixRows(block, matrix, masks.payload, groups)
        rows = OwnRows.of(maker, own, counts=(masks.clients,))
        is_choice = masks.kind == "choice"
        place = statistics.channels[block.index, block.view().source(matrix)]
        yield MatrixSight(
            name=matrix.name,
            log_weights=maker.log_weights(),
            channels=np.arange(place.start, place.stop),
            sparsity=float(masks.payload.sparsity.fraction),
            rows=masks.rows(matrix),
            reference=maker.choice(rows.totals[masks.clients], clients=masks.clients) if is_choice else rows.masks,
            alone=maker.alone(known),
        )


def described(scores: np.ndarray, *, candidates: int) -> dict[str, Any]:
    """Describe an attack's scores (masks, windows), of candidates first: the best mask of each, and how they compare.

    A window's score is its best over the masks.
    """
    best = scores.max(0)
    numbers = np.arange(len(best))
    samples = Samples(scores=best, members=numbers < candidates, runs=np.zeros_like(numbers), targets=numbers)
    return {
        "auc": float(roc(samples).auc()),
        "auc_is": NOTE,
        "candidates": _each(scores[:, :candidates]),
        "non_members": _each(scores[:, candidates:]),
    }


def _each(scores: np.ndarray) -> list[dict[str, Any]]:
    return [{"best_mask": int(each.argmax()), "scores": each.tolist()} for each in scores.T]
