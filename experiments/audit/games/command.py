"""``fedprllm audit --game domain``, ``linkage`` and ``reconstruction``: plays a game, writes and shows its figures."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console

from experiments import inputs
from experiments.audit.configurations import method_of
from experiments.audit.games import MEMBERSHIP, domain, linkage, reconstruction
from experiments.audit.games.board import PROPAGATION, Board, Played
from experiments.audit.games.domain import play_domain
from experiments.audit.games.linkage import play_linkage
from experiments.audit.games.reconstruction import play_reconstruction
from experiments.audit.out_folder import PRIVATE, RESULT, SCHEMA, write_result
from experiments.console import PhaseBars
from experiments.result import environment, peak_memory_bytes
from fedprllm_secure.errors import InputError

PLAYS: Mapping[str, Callable[[Board], Played]] = MappingProxyType(
    {"domain": play_domain, "linkage": play_linkage, "reconstruction": play_reconstruction}
)
# Of membership alone: coins about windows, protocols side by side, noise.
OF_MEMBERSHIP = (
    "payload", "protocol", "assumed_colluders", "dp", "epsilon", "delta", "noise_multiplier", "noise", "rank", "clip",
    "public_data", "public_windows", "adjacency", "knowledge", "attacks", "targets", "canaries", "runs",
    "reference_runs", "strangers",
)  # fmt: skip
OF_GAMES = ("victims", "domains", "label_field")
TAKES = {
    MEMBERSHIP: (*OF_MEMBERSHIP, "labelled_runs", "population"),
    "domain": ("victims", "domains", "label_field", "labelled_runs"),
    "linkage": ("victims",),
    "reconstruction": ("victims", "population"),
}


def refuse_flags_of_other_games(flags: argparse.Namespace) -> None:
    """Refuse flags that another game takes.

    Raises:
        InputError: one is given.
    """
    for name in (*OF_MEMBERSHIP, "labelled_runs", "population", *OF_GAMES):
        if name in flags.given and name not in TAKES[flags.game]:
            games = ", ".join(game for game, taken in TAKES.items() if name in taken)
            raise InputError(
                f"--{name.replace('_', '-')} does not go with --game {flags.game}; it goes with --game {games}"
            )


def run_game(flags: argparse.Namespace, config: dict[str, Any]) -> int:
    """Play the game that ``--game`` names; returns the exit status.

    Raises:
        InputError: flags do not go together, or the text does not do.
    """
    _check(flags)
    model = inputs.open_model(flags)
    started = time.perf_counter()
    with (
        PhaseBars(quiet=flags.json) as bars,
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(os.cpu_count()) as workers,
    ):
        board = Board(
            flags=flags,
            model=model,
            length=inputs.window_length(flags, model),
            votes=method_of(flags, payload="votes"),
            statistics=method_of(flags, payload="statistics"),
            victims=_victims(flags),
            folder=Path(folder),
            workers=workers,
            progress=bars.update,
        )
        played = PLAYS[flags.game](board)
    result = {
        "schema": SCHEMA,
        "config": config,
        "note": PRIVATE,
        "model": {"source": flags.model, "sha256": model.checkpoint.sha256, "blocks": model.num_blocks},
        "game": {
            "name": flags.game,
            "adversaries": dict(played.adversaries),
            "adjacency": played.adjacency,
            "victims": board.victims,
            "propagation": PROPAGATION,
        },
        "windows": played.windows,
        "figures": dict(played.figures),
        "remarks": list(played.lines),
        "peak_memory_bytes": peak_memory_bytes(model.device),
        "environment": environment(model.device),
        "seconds": {"total": time.perf_counter() - started},
    }
    flags.out.mkdir(parents=True, exist_ok=True, mode=0o700)
    played.draw(flags.out / flags.game)
    write_result(flags.out, result)
    _show(flags, played, result)
    return 0


def _check(flags: argparse.Namespace) -> None:
    if inputs.is_cut(flags.data):
        raise InputError(f"--data {flags.data}: an audit draws its own windows from text; give text, not cut windows")
    if flags.pruner == "magnitude":
        raise InputError(
            f"--pruner magnitude does not go with --game {flags.game}: its prune masks are the same whatever the text"
        )


def _victims(flags: argparse.Namespace) -> int:
    """Give how many clients are attacked: as many as asked for, or about as many as are usual, in whole runs."""
    if flags.victims is not None:
        return int(flags.victims)
    if flags.game == "domain":
        return domain.default_victims(flags.clients, flags.domains)
    return {"linkage": linkage, "reconstruction": reconstruction}[flags.game].default_victims(flags.clients)


def _show(flags: argparse.Namespace, played: Played, result: Mapping[str, Any]) -> None:
    if flags.json:
        print(json.dumps(result, indent=2))
        return
    console = Console()
    for table in played.tables:
        console.print(table)
    for seen, adversary in played.adversaries.items():
        console.print(f"{seen}: seen by the {adversary}", highlight=False)
    console.print(f"adjacency {played.adjacency}", highlight=False)
    for line in played.lines:
        console.print(line, highlight=False)
    console.print(f"{PRIVATE}; {flags.out / RESULT}, {flags.game}.png", highlight=False)
    sys.stdout.flush()
