"""``fedprllm audit``: what each adversary of each protocol learns of single windows or clients, measured."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments import inputs
from experiments.audit.configurations import configurations_of, method_of, plan_of, target_of, thresholds_of
from experiments.audit.game import Game
from experiments.audit.games import MEMBERSHIP
from experiments.audit.games.command import refuse_flags_of_other_games, run_game
from experiments.audit.given_command import run_given_masks
from experiments.audit.machine_key import keyed_digest
from experiments.audit.matrix import ADVERSARIES
from experiments.audit.modes import files_of, refuse_flags_of_other_modes
from experiments.audit.one_thread import one_thread
from experiments.audit.out_folder import PRIVATE, RESULT, SCHEMA, is_finished, write_result
from experiments.audit.pictures import Cell as PictureCell
from experiments.audit.pictures import draw_matrix, draw_roc
from experiments.audit.plan import Contributions
from experiments.audit.recorded_command import run_recorded
from experiments.audit.report import (
    LEVEL,
    CellReport,
    as_json,
    blind_alarms,
    cell_reports,
    claims_in_doubt,
    dimension_of,
)
from experiments.audit.run import audit_votes
from experiments.audit.shared_statistics import audit_statistics
from experiments.audit.show import show_attacks, show_cells
from experiments.audit.statistics import WindowStatistics, window_statistics
from experiments.audit.texts import audit_texts
from experiments.console import PhaseBars
from experiments.flags import configuration
from experiments.result import environment, peak_memory_bytes
from fedprllm_secure.models.streamed import StreamedModel

AUDITS = {"votes": audit_votes, "statistics": audit_statistics}
MOST_CURVES = 6  # of a picture


def run(flags: argparse.Namespace) -> int:
    """Run the command; returns the exit status.

    Raises:
        InputError: flags are missing, or do not go together.
    """
    refuse_flags_of_other_modes(flags)
    if flags.run_dir is None and flags.masks is None:
        refuse_flags_of_other_games(flags)
    config = configuration(flags)
    for name in ("cache", "given"):
        config.pop(name)
    files = files_of(flags)
    files_hmac = keyed_digest(files, flags.cache) if files else None
    if is_finished(flags.out, config, files_hmac=files_hmac, overwrite=flags.overwrite):
        result = json.loads((flags.out / RESULT).read_text())
        print(json.dumps(result, indent=2) if flags.json else f"already done; see {flags.out / RESULT}")
        return 0
    if files_hmac is not None:
        run_on_files = run_recorded if flags.run_dir is not None else run_given_masks
        return run_on_files(flags, config, files_hmac=files_hmac)
    if flags.game != MEMBERSHIP:
        return run_game(flags, config)
    plan, target = plan_of(flags), target_of(flags)
    configurations = configurations_of(flags, target)
    thresholds = {each: thresholds_of(flags, each) for each in configurations}
    model = inputs.open_model(flags)
    length = inputs.window_length(flags, model)
    started = time.perf_counter()
    texts = audit_texts(flags, model, length, **plan.windows_needed())
    contributions = Contributions.of(plan, texts)
    with PhaseBars(quiet=flags.json) as bars:
        is_basis = flags.payload == "statistics" and target is not None
        statistics = window_statistics(
            model,
            texts.ids,
            method_of(flags, payload="statistics", privacy=target if is_basis else None),
            public=inputs.public_windows(flags, model, length, 0) if is_basis else None,
            cache=flags.cache,
            batch_windows=flags.batch_windows,
            progress=bars.update,
        )
        with one_thread():
            audit = AUDITS[flags.payload](
                Game(statistics, contributions, plan, colluders=flags.assumed_colluders),
                configurations,
                thresholds=thresholds.__getitem__,
                attacks=flags.attacks,
                progress=bars.update,
            )
    of_population = statistics.energies[contributions.groups[contributions.population]].sum(1)
    effective = dimension_of(of_population)
    reports = cell_reports(
        audit,
        adjacency=plan.adjacency,
        effective=effective,
        slots_of_client=plan.slots.per_client,
        seed=plan.seed,
    )
    result = _result(flags, config, model, statistics, reports, effective)
    result["seconds"] = {"total": time.perf_counter() - started}
    flags.out.mkdir(parents=True, exist_ok=True, mode=0o700)
    _draw(flags.out, reports)
    write_result(flags.out, result)
    _show(flags, reports, result)
    return 0


def _result(
    flags: argparse.Namespace,
    config: dict[str, Any],
    model: StreamedModel,
    statistics: WindowStatistics,
    reports: list[CellReport],
    effective: float,
) -> dict[str, Any]:
    alarms = blind_alarms(reports)
    return {
        "schema": SCHEMA,
        "config": config,
        "note": PRIVATE,
        "model": {"source": flags.model, "sha256": model.checkpoint.sha256, "blocks": model.num_blocks},
        "game": {
            "name": flags.game,
            "adjacency": flags.adjacency,
            "knowledge": flags.knowledge,
            "propagation": "dense: exact for every block; a run with another propagation agrees in block 0 alone",
        },
        "windows": len(statistics.federation.windows.ids),
        "effective_dimension": effective,
        "level": LEVEL,
        "baseline_alarms": alarms,
        "claims_p_values_holm": claims_in_doubt(reports),
        "cells": as_json(reports),
        "peak_memory_bytes": peak_memory_bytes(model.device),
        "environment": environment(model.device),
    }


def _draw(out: Path, reports: list[CellReport]) -> None:
    """Draw the matrix, and the ROC curves of everything that is seen."""
    names = list(dict.fromkeys(each.cell.configuration.name for each in reports))
    present = [name for name in ADVERSARIES if any(each.cell.adversary == name for each in reports)]
    cells = {
        (each.cell.configuration.name, each.cell.adversary): PictureCell(
            each.best.auc,
            each.best.attack if each.claim is None else f"epsilon {each.claim.epsilon:.3g}, {each.best.attack}",
        )
        for each in reports
    }
    draw_matrix(cells, out / "matrix", protocols=names, adversaries=present, title="AUC of the strongest attack")
    # A claim's curve stands only beside what it is about; what nothing is claimed of has a picture of its own.
    for number, claim in enumerate(dict.fromkeys(each.claim for each in reports)):
        curves = list({each.cell.job: each.strongest for each in reports if each.claim == claim}.items())
        for part in range(0, len(curves), MOST_CURVES):
            stem = "roc" + ("" if claim is None else f"-claim-{number}") + (f"-{part // MOST_CURVES}" if part else "")
            title = "Strongest attacks" if claim is None else f"Strongest attacks, claimed epsilon {claim.epsilon:.3g}"
            draw_roc(dict(curves[part : part + MOST_CURVES]), out / stem, title=title, claim=claim, level=LEVEL)


def _show(flags: argparse.Namespace, reports: list[CellReport], result: dict[str, Any]) -> None:
    if flags.json:
        print(json.dumps(result, indent=2))
        return
    console = Console()
    show_attacks(reports, console=console)
    title = f"{flags.adjacency}, attacker's knowledge {flags.knowledge}: strongest attack on each view"
    show_cells(reports, title=title, console=console)
    console.print(
        f"effective dimension {result['effective_dimension']:.1f}; intervals at {100 * (1 - LEVEL):.0f} %, all figures "
        f"on runs on which nothing was chosen",
        highlight=False,
    )
    for job in result["baseline_alarms"]:
        console.print(f"[bold]the blind baseline beats chance on {job}: the game itself leaks[/bold]")
    console.print(f"{PRIVATE}; {flags.out / RESULT}, matrix.png, roc.png", highlight=False)
    sys.stdout.flush()
