"""``fedprllm audit RUN_DIR``: what could be told of the coins of one finished run.

There is no other run to choose on: every attack is reported, in its own direction, at a cutoff settled beforehand, and
the bound is that for one run. Figures of several attacks are no reason to believe the best of them; p-values corrected
for their number stand beside.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console

from attacks.leakage.claims import Claim, Game
from attacks.leakage.plan import plan_beforehand
from attacks.leakage.report import leakage_report
from attacks.leakage.selection import holm
from experiments import inputs
from experiments.audit.game import Audit
from experiments.audit.matrix import Cell
from experiments.audit.one_thread import one_thread
from experiments.audit.out_folder import PRIVATE, RESULT, SCHEMA
from experiments.audit.recorded import RecordedRun
from experiments.audit.recorded_game import RecordedGame, pairs_and_others, play
from experiments.audit.recorded_texts import windows_apart
from experiments.audit.report import (
    LEVEL,
    CellReport,
    as_json,
    blind_alarms,
    claim_of,
    claims_in_doubt,
    dimension_of,
    fate,
    samples_of,
)
from experiments.audit.show import show_attacks
from experiments.audit.statistics import window_statistics
from experiments.console import PhaseBars
from experiments.result import environment, peak_memory_bytes, write_json
from fedprllm_secure.errors import InputError
from fedprllm_secure.method import Method
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.privacy.adjacency import Adjacency
from fedprllm_secure.schedule import Schedule

ADJACENCY: Adjacency = "window-replace"  # what the coins of a run decide
CHOSEN = "nothing was chosen: every attack is listed, in its own direction, at a cutoff settled beforehand"
LEAST = {"labelled_runs": 8, "reference_runs": 8, "strangers": 2}


def run_recorded(flags: argparse.Namespace, config: dict[str, Any]) -> int:
    """Audit the run that ``RUN_DIR`` names; returns the exit status.

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
    flags.out.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(flags.out / RESULT, result)
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


def run_reports(game: RecordedGame, audit: Audit, *, seed: int) -> list[CellReport]:
    """Report every attack on every view, in the order in which attacks are named; nothing is chosen."""
    found = []
    for cell in audit.cells:
        scored = audit.scored[cell.job]
        claim, why = _claim(cell, game, audit)
        samples = samples_of(scored)
        reports = tuple(
            leakage_report(
                each,
                plan_beforehand(),
                attack=name,
                game=Game(ADJACENCY, cell.adversary) if claim is None else claim.game,
                claim=claim,
                level=LEVEL,
                generator=np.random.default_rng([seed, 2]),
            )
            for name, each in samples.items()
        )
        found.append(
            CellReport(
                cell=cell,
                reports=reports,
                strongest=samples[reports[0].attack],  # the first named: no choice was made
                claim=claim,
                no_claim=why,
                predicted_auc=None,
                refused=scored.refused,
            )
        )
    return found


def _claim(cell: Cell, game: RecordedGame, audit: Audit) -> tuple[Claim | None, str]:
    """Give what the run claims against an adversary: its own figure, which counts sessions that were held again."""
    claim, why = claim_of(cell, audit.sessions[cell.configuration.name], ADJACENCY)
    if claim is None:
        return None, why
    epsilon = game.run.result["privacy"]["epsilon"]
    if epsilon is None:
        return None, "the run's noise is too small for any claim"
    return replace(claim, epsilon=float(epsilon)), ""


def chances(reports: list[CellReport]) -> dict[str, float]:
    """Give the chance, at most, of as many right guesses without seeing anything, corrected for all attacks (Holm)."""
    return holm({f"{each.cell.job}; {report.attack}": report.p_value for each in reports for report in each.reports})


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
    lowest = min(result["p_values_holm"], key=result["p_values_holm"].__getitem__)
    console.print(
        f"least chance of so many right guesses by luck, corrected for {len(result['p_values_holm'])} tries: "
        f"{result['p_values_holm'][lowest]:.2g} ({lowest})",
        highlight=False,
    )
    console.print(f"{PRIVATE}; {flags.out / RESULT}", highlight=False)
    sys.stdout.flush()
