"""``fedprllm audit``: what each adversary of each protocol learns of single windows or clients, measured."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments import inputs
from experiments.audit.flags import NOT_OF_GIVEN_MASKS, OF_GIVEN_MASKS, OF_PLAYED_RUNS, audit_defaults
from experiments.audit.game import Game
from experiments.audit.given_masks import run_given_masks
from experiments.audit.matrix import ADVERSARIES, Configuration
from experiments.audit.one_thread import one_thread
from experiments.audit.out_folder import PRIVATE, RESULT, SCHEMA, is_finished
from experiments.audit.pictures import Cell as PictureCell
from experiments.audit.pictures import draw_matrix, draw_roc
from experiments.audit.plan import AuditPlan, Contributions
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
from experiments.result import environment, peak_memory_bytes, write_json
from fedprllm_secure.errors import InputError
from fedprllm_secure.method import Method
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.privacy.adjacency import is_window_level
from fedprllm_secure.privacy.target import PrivacyTarget
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.thresholds import Thresholds

AUDITS = {"votes": audit_votes, "statistics": audit_statistics}
MOST_CURVES = 6  # of a picture


def run(flags: argparse.Namespace) -> int:
    """Run the command; returns the exit status.

    Raises:
        InputError: flags are missing, or do not go together.
    """
    _refuse_flags_of_other_modes(flags)
    config = configuration(flags)
    config.pop("cache")
    if is_finished(flags.out, config, overwrite=flags.overwrite):
        result = json.loads((flags.out / RESULT).read_text())
        print(json.dumps(result, indent=2) if flags.json else f"already done; see {flags.out / RESULT}")
        return 0
    if flags.run_dir is not None:
        return run_recorded(flags, config)
    if flags.masks is not None:
        return run_given_masks(flags, config)
    plan, target = _plan(flags), _target(flags)
    configurations = _configurations(flags, target)
    thresholds = {each: _thresholds(flags, each) for each in configurations}
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
            _method(flags, payload="statistics", privacy=target if is_basis else None),
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
    write_json(flags.out / RESULT, result)
    _show(flags, reports, result)
    return 0


def _refuse_flags_of_other_modes(flags: argparse.Namespace) -> None:
    """Refuse a command that lacks what its mode needs, or gives what only another mode takes.

    Raises:
        InputError: as said.
    """
    if flags.run_dir is not None:
        _refuse(flags, (*OF_PLAYED_RUNS, *OF_GIVEN_MASKS), f"RUN_DIR: {flags.run_dir} has settings of its own")
        return
    if flags.masks is not None:
        unused = (*NOT_OF_GIVEN_MASKS, *(() if flags.kind == "choice" else ("clients",)))
        _refuse(flags, unused, f"--masks and --kind {flags.kind}")
        _require(flags, ("model", "candidates", "non_members"))
        return
    _refuse(flags, OF_GIVEN_MASKS, "runs that are played; it goes with --masks")
    _require(flags, ("model", "data"))


def _refuse(flags: argparse.Namespace, names: Sequence[str], mode: str) -> None:
    defaults = audit_defaults()
    for name in names:
        if getattr(flags, name) != getattr(defaults, name):
            raise InputError(f"--{name.replace('_', '-')} does not go with {mode}")


def _require(flags: argparse.Namespace, names: Sequence[str]) -> None:
    missing = [f"--{name.replace('_', '-')}" for name in names if getattr(flags, name) is None]
    if missing:
        raise InputError(f"the following arguments are required: {', '.join(missing)} (see fedprllm audit --help)")


def _thresholds(flags: argparse.Namespace, configuration: Configuration) -> Thresholds:
    colluders = None if configuration.protocol == "plain" else flags.assumed_colluders
    return Thresholds.choose(configuration.protocol, flags.clients, assumed_colluders=colluders)


def _plan(flags: argparse.Namespace) -> AuditPlan:
    is_client_level = not is_window_level(flags.adjacency)
    places = flags.clients * (1 if is_client_level else flags.windows_per_client)
    return AuditPlan(
        adjacency=flags.adjacency,
        knowledge=flags.knowledge,
        clients=flags.clients,
        windows_per_client=flags.windows_per_client,
        targets=flags.targets,
        canaries=flags.canaries or min(places, flags.targets),
        runs=flags.runs,
        labelled_runs=flags.labelled_runs,
        reference_runs=flags.reference_runs,
        population=flags.population,
        strangers=flags.strangers,
        seed=flags.seed,
    )


def _target(flags: argparse.Namespace) -> PrivacyTarget | None:
    """Read the target of differential privacy.

    Raises:
        InputError: a flag is missing, or goes without ``--dp``.
    """
    if flags.dp == "none":
        given = [name for name in ("epsilon", "delta", "noise_multiplier") if getattr(flags, name) is not None]
        if given:
            raise InputError(f"--{given[0].replace('_', '-')} goes with --dp central or --dp distributed")
        if flags.adjacency == "window-zero-out" and flags.payload == "votes":
            raise InputError("--adjacency window-zero-out has no meaning for votes: a client with a window less votes")
        return None
    if flags.payload == "votes" and (flags.rank or flags.clip or flags.public_data or flags.public_windows):
        raise InputError("--rank, --clip, --public-data and --public-windows go with --payload statistics")
    if flags.delta is None or (flags.epsilon is None) == (flags.noise_multiplier is None):
        raise InputError(f"--dp {flags.dp} needs --delta, and either --epsilon or --noise-multiplier")
    return PrivacyTarget(
        place=flags.dp,
        adjacency=flags.adjacency,
        delta=flags.delta,
        noise=flags.noise,
        epsilon=flags.epsilon,
        noise_multiplier=flags.noise_multiplier,
    )


def _configurations(flags: argparse.Namespace, target: PrivacyTarget | None) -> dict[Configuration, Method]:
    """List what is played: the plain baseline first, then each protocol, with noise where noise is asked for.

    Raises:
        InputError: noise is asked for that no protocol named can carry.
    """
    configurations = [Configuration("plain")]
    for protocol in flags.protocol:
        # Under `plain` clients' shares of noise protect nothing; it stays the baseline without noise.
        privacy = None if target is None or (target.place == "distributed" and protocol == "plain") else target
        configurations.append(Configuration(protocol, privacy))
    if target is not None and all(each.privacy is None for each in configurations):
        raise InputError("--dp distributed does not go with --protocol plain alone; add additive, ckks or bfv")
    return {
        each: _method(flags, payload=flags.payload, protocol=each.protocol, privacy=each.privacy)
        for each in dict.fromkeys(configurations)
    }


def _method(
    flags: argparse.Namespace, *, payload: str, protocol: str = "plain", privacy: PrivacyTarget | None = None
) -> Method:
    return Method(
        sparsity=Sparsity.parse(flags.sparsity),
        pruner=flags.pruner,
        **({"group": flags.group} if flags.group and payload == "votes" else {}),
        local_group=flags.local_group,
        schedule=Schedule("one-shot", "dense"),
        ties=flags.ties,
        payload=payload,
        protocol=protocol,
        privacy=privacy,
        **({"rank": flags.rank} if flags.rank else {}),
        clip=flags.clip,
    )


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
