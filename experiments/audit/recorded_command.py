"""``fedprllm audit RUN_DIR``: what could be told of the coins of one finished run."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console

from experiments import inputs
from experiments.audit.one_thread import one_thread
from experiments.audit.out_folder import FILES, PRIVATE, RESULT, SCHEMA, write_result
from experiments.audit.recorded import RecordedRun
from experiments.audit.recorded_game import RecordedGame, pairs_and_others, play
from experiments.audit.recorded_report import ADJACENCY, chances, least_chance, run_reports
from experiments.audit.recorded_texts import windows_apart
from experiments.audit.report import (
    LEVEL,
    CellReport,
    as_json,
    blind_alarms,
    claims_in_doubt,
    dimension_of,
    fate,
)
from experiments.audit.show import show_attacks
from experiments.audit.statistics import window_statistics
from experiments.console import PhaseBars
from experiments.result import environment, peak_memory_bytes
from fedprllm_secure.errors import InputError
from fedprllm_secure.method import Method
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.schedule import Schedule

CHOSEN = "nothing was chosen: every attack is listed, in its own direction, at a cutoff settled beforehand"
LEAST = {"labelled_runs": 8, "reference_runs": 8, "strangers": 2}


def run_recorded(flags: argparse.Namespace, config: dict[str, Any], *, files_hmac: str) -> int:
    """Audit the run that ``RUN_DIR`` names; returns the exit status.

    Args:
        flags: of the command.
        config: those that name the audit.
        files_hmac: keyed digest of the run's files.

    Raises:
        InputError: the run was made without coins or transcript, or its files, model or text do not go together.
    """
    _refuse_too_few(flags)
    run = RecordedRun.read(flags.run_dir)
    model = _model(run, flags)
    started = time.perf_counter()
    with PhaseBars(quiet=flags.json) as bars:
        game = _game(run, flags, model, progress=bars.update)
        with one_thread():
            audit = play(game, attacks=flags.attacks, progress=bars.update)
    population = game.statistics.energies[game.contributions.population]
    effective = dimension_of(population)
    reports = run_reports(game, audit, seed=flags.seed)
    result = {
        "schema": SCHEMA,
        "config": config,
        FILES: files_hmac,
        "note": PRIVATE,
        "run": {"config": dict(run.config), "coins": len(run.coins.slots)},
        "model": {"source": flags.model or run.config["model"], "sha256": model.checkpoint.sha256},
        "game": {
            "adjacency": ADJACENCY,
            "knowledge": "exact: both windows of every pair, and the slot that one of them fills",
            "propagation": _propagation(run),
            "choice": CHOSEN,
        },
        "population": len(population),
        "effective_dimension": effective,
        "level": LEVEL,
        "baseline_alarms": blind_alarms(reports),
        "p_values_holm": chances(reports),
        "claims_p_values_holm": claims_in_doubt(reports),
        "cells": as_json(reports),
        "not_seen": game.not_seen(),
        "peak_memory_bytes": peak_memory_bytes(model.device),
        "environment": environment(model.device),
        "seconds": {"total": time.perf_counter() - started},
    }
    write_result(flags.out, result)
    _show(flags, reports, result)
    return 0


def _refuse_too_few(flags: argparse.Namespace) -> None:
    for name, least in LEAST.items():
        if getattr(flags, name) < least:
            raise InputError(f"--{name.replace('_', '-')} {getattr(flags, name)} must be at least {least}")


def _model(run: RecordedRun, flags: argparse.Namespace) -> StreamedModel:
    model = inputs.open_model(run.flags(flags))
    if model.checkpoint.sha256 != run.coins.model_sha256:
        raise InputError(
            f"--model {run.flags(flags).model} is another model than that of {run.folder}, whose digest is "
            f"{run.coins.model_sha256}"
        )
    return model


def _game(
    run: RecordedRun, flags: argparse.Namespace, model: StreamedModel, *, progress: Callable[[str, int, int], None]
) -> RecordedGame:
    """Cut the attacker's windows, make statistics of all of them, and draw its worlds."""
    generator = np.random.Generator(np.random.PCG64([flags.seed, 1]))
    wanted = flags.strangers + flags.population
    apart = windows_apart(run, run.flags(flags), model, wanted=wanted, generator=generator)
    places = run.clients * run.per_client
    if min(flags.population, len(apart) - flags.strangers) < places:
        raise InputError(
            f"--population {flags.population}, beside --strangers {flags.strangers}, must leave at least {places} "
            f"windows, those of a run; --data has {len(apart)} that share no text with the run's"
        )
    ids, contributions = pairs_and_others(run, apart, strangers=flags.strangers)
    statistics = window_statistics(
        model,
        ids,
        Method(sparsity=run.method().sparsity, schedule=Schedule("one-shot", "dense"), payload="statistics"),
        public=None,
        cache=flags.cache,
        batch_windows=flags.batch_windows,
        progress=progress,
    )
    return RecordedGame.drawn(
        run,
        statistics,
        contributions,
        labelled=flags.labelled_runs,
        reference=flags.reference_runs,
        generator=generator,
    )


def _propagation(run: RecordedRun) -> str:
    how = run.config["propagate"]
    if how == "dense":
        return "dense: the attacker's worlds are exact for every block"
    return (
        f"{how}: the attacker's worlds are exact for block 0 alone; they pass statistics of the unpruned model into "
        "later blocks, and an attacker that follows the run could do better there"
    )


def _show(flags: argparse.Namespace, reports: list[CellReport], result: dict[str, Any]) -> None:
    if flags.json:
        print(json.dumps(result, indent=2))
        return
    console = Console()
    show_attacks(reports, console=console)
    in_doubt = claims_in_doubt(reports)
    for each in reports:
        seen = f"{each.cell.configuration.name}, {each.cell.adversary} sees {each.cell.job}"
        console.print(f"{seen}; {fate(each, in_doubt)}", highlight=False)
    for adversary, why in result["not_seen"].items():
        console.print(f"{adversary}: not audited, {why}", highlight=False)
    for name in ("propagation", "choice"):
        console.print(result["game"][name], highlight=False)
    console.print(least_chance(result["p_values_holm"]), highlight=False)
    console.print(f"{PRIVATE}; {flags.out / RESULT}", highlight=False)
    sys.stdout.flush()
