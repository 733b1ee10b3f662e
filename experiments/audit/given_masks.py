"""``fedprllm audit --masks``: prune masks that somebody else made, and candidate texts scored against them.

Descriptive alone: whoever calls chose the candidates, no coin was tossed, and no chance or bound can follow. Half of
the non-members make the attacker's own rows, the others are scored beside the candidates: text in both would be
compared with itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from attacks import ATTACKS
from attacks.evidence import Kind, MatrixSight, Setting
from attacks.leakage.curves import roc
from attacks.leakage.samples import Samples
from experiments import inputs
from experiments.audit.jobs import OwnRows
from experiments.audit.one_thread import one_thread
from experiments.audit.out_folder import PRIVATE, RESULT, SCHEMA
from experiments.audit.recorded import read_tensors
from experiments.audit.run import Progress
from experiments.audit.statistics import AuditBlock, WindowStatistics, window_statistics
from experiments.audit.worlds import Slots, Worlds, reference_worlds
from experiments.audit.worlds_rows import MatrixRows
from experiments.console import PhaseBars
from experiments.result import environment, peak_memory_bytes, write_json
from fedprllm_secure.data import cut_evaluation, read_documents, read_windows, windows_shape
from fedprllm_secure.errors import InputError
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import PrunableMatrix
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.payloads import Votes
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.sparsity import Sparsity

NOTE = "descriptive: candidates were chosen by whoever calls, no coin was tossed"
WITHOUT_COINS = (
    "similarity", "contested-similarity", "score-test", "margin-likelihood", "inverted", "whitened",
)  # fmt: skip
LARGEST = 1 << 20  # windows of a file
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


def run_given_masks(flags: argparse.Namespace, config: dict[str, Any]) -> int:
    """Score candidates against given masks; returns the exit status.

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
    flags.out.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(flags.out / RESULT, result)
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
