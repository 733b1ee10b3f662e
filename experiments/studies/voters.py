"""Draws of clients that voted in real runs, for studies that ask what becomes of the votes.

Votes, weights and inner products of inputs are held in memory for the whole model, on the CPU.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from torch import Tensor

from experiments import inputs
from experiments.bench.output_error import OutputError
from experiments.flags import OneLineParser, add_prune_flags, positive
from experiments.sweep.commands import prune_actions
from experiments.sweep.values import split_values
from fedprllm_secure.errors import InputError
from fedprllm_secure.federation import Federation
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.work import WorkFolder

SEEDS, CLIENTS, PER_CLIENT, EVAL_WINDOWS = "0-4", 8, 2, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Whose text and what model, and how much of it.

    Attributes:
        model: a name as ``--model`` takes it.
        data: clients' text, as ``--data`` takes it.
        eval_data: text for perplexity, or None where the data have their own.
        clients: in each draw.
        windows_per_client: to calibrate on.
        eval_windows: to measure perplexity on.
        seeds: one a draw.
        sparsity: how much goes; a plain fraction, as votes compete in groups.
    """

    model: str = "demo"
    data: str = "demo"
    eval_data: str | None = None
    clients: int = CLIENTS
    windows_per_client: int = PER_CLIENT
    eval_windows: int = EVAL_WINDOWS
    seeds: Sequence[int]
    sparsity: str

    def __post_init__(self) -> None:
        """Check what is asked.

        Raises:
            InputError: the sparsity is none, or a pattern.
        """
        if Sparsity.parse(self.sparsity).is_pattern:
            raise InputError(f"--sparsity {self.sparsity} must be a fraction: under N:M no comparison group is chosen")

    def __str__(self) -> str:
        """Say it in a line, for tables."""
        return (
            f"Model {self.model}, text {self.data}, {self.clients} clients x {self.windows_per_client} windows, "
            f"one-shot, Wanda by row, server group layer unless said, sparsity {self.sparsity}, {self.eval_windows} "
            f"evaluation windows, seeds {', '.join(map(str, self.seeds))}; mean ± half a 95 % interval over draws."
        )

    def flags(self, seed: int) -> argparse.Namespace:
        """Write one draw as flags of ``fedprllm prune``."""
        parser = OneLineParser()
        add_prune_flags(parser)
        asked: dict[str, object] = {
            "--model": self.model,
            "--data": self.data,
            "--clients": self.clients,
            "--windows-per-client": self.windows_per_client,
            "--eval-windows": self.eval_windows,
            "--sparsity": self.sparsity,
            "--seed": seed,
            "--device": "cpu",
            "--out": ".",
        }
        if self.eval_data is not None:
            asked["--eval-data"] = self.eval_data
        return parser.parse_args([f"{flag}={value}" for flag, value in asked.items()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One draw of clients and what came of its votes.

    Attributes:
        seed: of the draw.
        model: unpruned.
        calibration: the clients' windows, int64 (windows, tokens).
        evaluation: windows of other text, likewise.
        sparsity: how much goes.
        voters: clients in every sum.
        votes: totals, int32 (out, in), by matrix name.
        prune_masks: what the layer group removes, bool (out, in), by matrix name.
        outputs: inner products of what enters the unpruned model's matrices on the clients' windows.
    """

    seed: int
    model: StreamedModel
    calibration: Tensor
    evaluation: Tensor
    sparsity: Sparsity
    voters: int
    votes: Mapping[str, Tensor]
    prune_masks: Mapping[str, Tensor]
    outputs: OutputError


def draws(setting: Setting) -> Iterator[Draw]:
    """Let the clients of each draw vote in a real run, and give what is to be looked at.

    Raises:
        InputError: model or text cannot be read, or there is no text for perplexity.
    """
    for number, seed in enumerate(setting.seeds, 1):
        Console(stderr=True).print(f"draw {number} of {len(setting.seeds)}", highlight=False)
        flags = setting.flags(seed)
        model = inputs.open_model(flags)
        length = inputs.window_length(flags, model)
        windows = inputs.client_windows(flags, model, length, [])
        evaluation = inputs.evaluation_windows(flags, model, length)
        if evaluation is None:
            raise InputError("--eval-data must name the text for perplexity")
        method = Method(sparsity=Sparsity.parse(setting.sparsity))
        with tempfile.TemporaryDirectory() as folder:
            work = WorkFolder(Path(folder) / "work")
            Federation(model, windows, method, work).run()
            places = [(block, m) for block in range(model.num_blocks) for m in prunable_matrices(model, block)]
            yield Draw(
                seed=seed,
                model=model,
                calibration=windows.ids,
                evaluation=evaluation[0],
                sparsity=method.sparsity,
                voters=setting.clients,
                votes={m.name: work.totals(block, m) for block, m in places},
                prune_masks={m.name: work.prune_mask(block, m) for block, m in places},
                outputs=OutputError(model, windows.ids),
            )


def blocks_by_matrix(model: StreamedModel) -> dict[str, int]:
    """Tell the block of every prunable matrix, by name."""
    return {m.name: block for block in range(model.num_blocks) for m in prunable_matrices(model, block)}


def add_voter_flags(parser: argparse.ArgumentParser, *, sparsity: str, minutes: float) -> None:
    """Add the flags that say whose votes are studied.

    Args:
        parser: of the study.
        sparsity: by default.
        minutes: that the study takes as it is, on two cores.
    """
    parser.description = f"{parser.description} As it is, it takes about {minutes:g} minutes on two cores."
    parser.add_argument("--model", default="demo", metavar="MODEL", help="as prune takes it (default demo)")
    parser.add_argument("--data", default="demo", metavar="TEXT", help="the clients' text (default demo)")
    parser.add_argument("--eval-data", metavar="TEXT", help="text for perplexity, where --data has none of its own")
    parser.add_argument("--clients", type=positive, default=CLIENTS, metavar="N", help=f"default {CLIENTS}")
    parser.add_argument(
        "--windows-per-client", type=positive, default=PER_CLIENT, metavar="N", help=f"default {PER_CLIENT}"
    )
    parser.add_argument(
        "--eval-windows", type=positive, default=EVAL_WINDOWS, metavar="N", help=f"default {EVAL_WINDOWS}"
    )
    parser.add_argument(
        "--seeds",
        type=seed_list,
        default=seed_list(SEEDS),
        metavar="LIST",
        help=f"draws of clients, at least two, which intervals need (default {SEEDS})",
    )
    parser.add_argument("--sparsity", default=sparsity, metavar="S", help=f"share removed (default {sparsity})")


def seed_list(text: str) -> tuple[int, ...]:
    """Read the seeds of draws, such as ``0-4`` or ``0,2,5``."""
    try:
        seeds = [int(value) for value in split_values(prune_actions()["seed"], text)]
    except ValueError:
        seeds = []
    if len(seeds) < 2 or min(seeds) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be at least two different whole numbers, such as 0-4")
    return tuple(seeds)
