"""``fedprllm prune``: several clients with private text prune one model together, and the user sees what came of it."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from experiments import canaries, inputs, shared_inputs
from experiments.console import PhaseBars, show_prune_result
from experiments.flags import configuration
from experiments.model_card import model_card
from experiments.privacy_flags import (
    Ledgers,
    advice,
    assumed_colluders,
    privacy_target,
    refuse_what_does_not_go_together,
)
from experiments.prune_result import SCALED, prune_result
from experiments.result import write_json
from experiments.run_folder import is_finished, open_work, refuse_inputs_inside
from experiments.transcripts import TranscriptWriter
from fedprllm_secure.artifacts import save_model, save_prune_masks, save_votes
from fedprllm_secure.data import Windows
from fedprllm_secure.errors import InputError
from fedprllm_secure.evaluation import Variant, dense
from fedprllm_secure.federation import Federation
from fedprllm_secure.method import Method
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Baselines
from fedprllm_secure.payloads.units import refuse_groups
from fedprllm_secure.privacy import BudgetRefused
from fedprllm_secure.schedule import Propagation, Schedule
from fedprllm_secure.shared_evaluation import shared_perplexities
from fedprllm_secure.shared_work import SharedWork
from fedprllm_secure.smaller_model import check_smaller_model, save_smaller_model
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.thresholds import Thresholds
from fedprllm_secure.variants import DENSE_KEY, KeyedVariant, masked, masks_key, scaled, scaled_key
from fedprllm_secure.work import FEDERATED, WorkFolder
from protocols import Step


def run(flags: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    with PhaseBars(quiet=flags.json) as bars:
        result, is_new = prune_once(flags, bars=bars)
    note = "" if is_new else "already done; nothing was run"
    show_prune_result(result, flags.out, as_json=flags.json, note=note)
    return 0


class Bars(Protocol):
    """Shows how far a run is."""

    def update(self, phase: str, done: int, total: int) -> None:
        """Set a phase's progress."""
        ...

    def say(self, line: str) -> None:
        """Show a line that the user should see before the work."""
        ...


def effective_configuration(flags: argparse.Namespace) -> dict[str, Any]:
    """Give the flags that decide a result, with the values that defaults hang on others for.

    Raises:
        InputError: flags of the method are out of range or do not go together.
    """
    method = method_of(flags)
    config = configuration(flags) | {"propagate": method.schedule.propagate}
    if not method.sparsity.is_pattern:
        config |= {"group": method.group, "local_group": method.local_group}
    return config


def prune_once(
    flags: argparse.Namespace, *, bars: Bars, shared: SharedWork | None = None
) -> tuple[dict[str, Any], bool]:
    """Make the result that flags ask for, or read it where it is already there.

    Args:
        flags: of ``fedprllm prune``.
        bars: shows progress.
        shared: keeps what runs of this process compute alike; nothing by default.

    Returns:
        What ``result.json`` says, and whether it was made just now.

    Raises:
        InputError: as ``fedprllm prune`` refuses.
        BudgetRefused: a client's ledger refuses.
        protocols.ProtocolError: a session failed.
    """
    shared = shared or SharedWork()
    shared.begin_run()
    method = method_of(flags)
    refuse_flags_of_other_payloads(flags)
    if flags.canaries is not None:
        canaries.refuse_too_many(flags.canaries, clients=flags.clients, per_client=flags.windows_per_client)
    refuse_what_does_not_go_together(flags, method.privacy)
    config = effective_configuration(flags)
    out: Path = flags.out
    sources = {"--data": flags.data, "--public-data": flags.public_data, "--eval-data": flags.eval_data}
    refuse_inputs_inside(out, {"--model": flags.model} | sources)
    if is_finished(out, config, overwrite=flags.overwrite):
        shutil.rmtree(out / "work", ignore_errors=True)  # left by a kill between the result and the clearing up
        return json.loads((out / "result.json").read_text()), False
    thresholds = thresholds_of(flags)
    ledgers = Ledgers(flags.ledger, flags.clients) if flags.ledger else None
    model = shared_inputs.open_model(flags, shared)
    if flags.save_model and flags.payload == "units":
        check_smaller_model(model, method.sparsity)
    length = inputs.window_length(flags, model)
    notes, private_notes = inputs.shared_text(flags), list[str]()
    windows, partners = _windows(flags, model, length, private_notes, shared)
    evaluation = shared_inputs.evaluation_windows(flags, model, length, shared)
    baselines = _baselines(flags, model, windows, notes, shared)
    if evaluation is None:
        notes.append("perplexity is not measured: name a text with --eval-data")
    texts = {"--data": windows.ids, "--public-data": baselines.public}
    is_new = not (out / "work").exists()
    work = open_work(out, config, texts=texts, model_sha256=model.checkpoint.sha256, overwrite=flags.overwrite)
    started = time.perf_counter()
    with work.locked():
        with _clearing_if_refused(work, is_new=is_new):
            if partners is not None:
                windows = _coins(partners, model, work).used(windows)
                notes.append(
                    f"a coin decided for {flags.canaries} of the {len(windows.ids)} windows whether it or a fresh one "
                    f"is in; {canaries.FILE} says how they fell"
                )
            federation = Federation(
                model,
                windows,
                method,
                work,
                thresholds=thresholds,
                baselines=baselines,
                batch_windows=flags.batch_windows,
                hidden_dtype=inputs.DTYPES.get(flags.hidden_dtype),
                hidden_memory_bytes=flags.hidden_memory,
                dropouts=dropouts_of(flags),
                transcript=(
                    TranscriptWriter(out / "transcript", protocol=flags.protocol) if flags.save_transcript else None
                ),
                charge=None if ledgers is None else ledgers.charge,
                progress=bars.update,
                shared=shared,
            )
            advised = advice(federation)
            if ledgers is not None:
                name = flags.data_set or f"{flags.data} ({flags.partition})"
                ledgers.open(name, windows, method.privacy, federation.releases_left)
        for line in advised:
            bars.say(line)
            notes.append(line)
        done_before = federation.finished_blocks()
        federation.run()
        evaluation_started = time.perf_counter()
        variants = _variants(flags, model, work)
        measured = {}
        if evaluation is not None:
            measured = shared_perplexities(
                model,
                evaluation[0],
                variants,
                shared=shared,
                batch_windows=flags.batch_windows,
                hidden_dtype=inputs.DTYPES.get(flags.hidden_dtype),
                hidden_memory_bytes=flags.hidden_memory,
                folder=work.folder,
                progress=bars.update,
            )
        if undecided := sum(work.record(index).undecided_weights for index in range(model.num_blocks)):
            private_notes.append(
                f"{undecided:,} weights lie so near the cutoff that the fixed point of shared statistics could have "
                "moved them across it"
            )
        if max(work.sessions_by_place().values()) > 1 and (method.privacy is not None or ledgers is not None):
            notes.append(
                "the run was interrupted amid a session and held it again: that is one more release, and claim and "
                "ledgers count it"
            )
        if done_before:
            notes.append(
                f"continued after block {done_before - 1}: seconds by phase are of all blocks, total is of this attempt"
            )
        result = prune_result(flags, config, federation, evaluation, measured, notes, private_notes)
        now = time.perf_counter()
        result["seconds"]["evaluation"] = now - evaluation_started
        result["seconds"]["total"] = now - started
        if shared.is_on:
            result["seconds"]["shared"] = shared.saved_seconds  # what this run took over from others had taken them
        _write_artifacts(flags, model, work, {name: variant for name, (variant, _) in variants.items()}, result)
    return result, True


def thresholds_of(flags: argparse.Namespace) -> Thresholds:
    """Choose the thresholds of a run's sessions.

    Raises:
        InputError: flags do not go with each other or with so few clients.
    """
    return Thresholds.choose(
        flags.protocol,
        flags.clients,
        graph=flags.graph,
        neighbours=flags.neighbours,
        recovery_threshold=flags.recovery_threshold,
        minimum_survivors=flags.minimum_survivors,
        assumed_colluders=assumed_colluders(flags),
    )


def method_of(flags: argparse.Namespace) -> Method:
    """Read how to prune.

    Raises:
        InputError: flags do not go together.
    """
    sparsity = Sparsity.parse(flags.sparsity)
    for name, value in (("--group", flags.group), ("--local-group", flags.local_group)):
        if sparsity.is_pattern and value is not None:
            raise InputError(
                f"{name} {value} does not go with --sparsity {flags.sparsity}: under N:M the weights that compete are "
                "M consecutive inputs of a row"
            )
    shares_votes = flags.payload != "statistics"
    # A client that shares no prune mask has no pruned block of its own to go on from.
    needs_dense = not shares_votes and flags.schedule == "one-shot"
    propagate: Propagation | None = flags.propagate or ("dense" if needs_dense else None)
    return Method(
        sparsity=sparsity,
        pruner=flags.pruner,
        **({"group": flags.group} if flags.group else {}),
        local_group=flags.local_group or "row",
        schedule=Schedule.of(flags.schedule, propagate),
        ties=flags.ties,
        seed=flags.seed,
        payload=flags.payload,
        protocol=flags.protocol,
        privacy=privacy_target(flags),
        **({"rank": flags.rank} if flags.rank else {}),
        clip=flags.clip,
    )


@contextmanager
def _clearing_if_refused(work: WorkFolder, *, is_new: bool) -> Iterator[None]:
    """Leave nothing of a run that was refused before it began, so that the mended command finds its folder free."""
    try:
        yield
    except (InputError, BudgetRefused):
        if is_new:
            work.clear()
        raise


def _windows(
    flags: argparse.Namespace, model: StreamedModel, length: int, notes: list[str], shared: SharedWork
) -> tuple[Windows, canaries.Partners | None]:
    """Cut the clients' windows and, for canaries, the windows to pair some of them with."""
    if flags.canaries is None:
        return shared_inputs.client_windows(flags, model, length, notes, shared), None
    windows, further = inputs.windows_and_further(flags, model, length, notes, canaries=flags.canaries)
    return windows, canaries.Partners(windows, further, wanted=flags.canaries)


def _coins(partners: canaries.Partners, model: StreamedModel, work: WorkFolder) -> canaries.Coins:
    """Read the coins that an interrupted try at this run has drawn, or draw them and remember them first."""
    file = work.folder / canaries.FILE
    if not file.exists():
        partners.draw(model_sha256=model.checkpoint.sha256).save(file)
    return canaries.Coins.read(file)


def refuse_flags_of_other_payloads(flags: argparse.Namespace) -> None:
    """Refuse flags that mean nothing for the payload.

    Raises:
        InputError: one is given.
    """
    if flags.payload == "units":
        refuse_groups({"--group": flags.group, "--local-group": flags.local_group})
    if flags.scale and flags.payload != "votes":
        raise InputError(f"--scale goes with --payload votes, not {flags.payload}: it needs the votes on every weight")


def _baselines(
    flags: argparse.Namespace, model: StreamedModel, windows: Windows, notes: list[str], shared: SharedWork
) -> Baselines:
    public: Tensor | None = None
    if "public" in flags.baselines or inputs.makes_prior(flags):
        public = shared_inputs.public_windows(flags, model, windows.length, len(windows.ids), shared)
        if public is None:
            notes.append("public-only is not measured: name a public text with --public-data")
    alone = min(flags.local_only_clients, windows.num_clients) if "local" in flags.baselines else 0
    return Baselines(
        central="central" in flags.baselines,
        local_only=tuple(range(alone)),
        public=public,
        magnitude="magnitude" in flags.baselines,
    )


def dropouts_of(flags: argparse.Namespace) -> Callable[[int], Mapping[Step, frozenset[int]]]:
    """Give the simulated dropouts of ``--dropout``, by block, drawn from seed and block."""
    if flags.dropout is None:
        return lambda _: {}
    rate, step = flags.dropout

    def leaving(block: int) -> Mapping[Step, frozenset[int]]:
        draws = np.random.default_rng([flags.seed, block]).random(flags.clients)
        return {step: frozenset(int(client) for client in np.flatnonzero(draws < rate))}

    return leaving


def _variants(flags: argparse.Namespace, model: StreamedModel, work: WorkFolder) -> dict[str, KeyedVariant]:
    """List the variants to evaluate, each with what gives the key of its weights."""

    def stored(name: str) -> KeyedVariant:
        return masked(lambda index, matrix: work.prune_mask(index, matrix, name)), partial(masks_key, work, name)

    variants: dict[str, KeyedVariant] = {"dense": (dense, lambda: DENSE_KEY)} if "dense" in flags.baselines else {}
    variants |= {name: stored(name) for name in work.variants() if name != FEDERATED}
    variants[FEDERATED] = stored(FEDERATED)
    if flags.scale:
        variants[SCALED] = scaled(model, work), partial(scaled_key, model, work)
    return variants


def _write_artifacts(
    flags: argparse.Namespace,
    model: StreamedModel,
    work: WorkFolder,
    variants: Mapping[str, Variant],
    result: dict[str, Any],
) -> None:
    out: Path = flags.out
    metadata = {"model_sha256": model.checkpoint.sha256, "sparsity": flags.sparsity}
    save_prune_masks(model, work, out / "prune_masks.safetensors", metadata=metadata)
    if flags.save_votes:
        save_votes(model, work, out / "votes.safetensors", metadata=metadata, are_noisy=flags.dp != "none")
    if flags.save_model:
        card = model_card(flags, result)
        if flags.payload == "units":
            save_smaller_model(model, work.prune_mask, out / "model", card=card)
        else:
            save_model(model, variants[SCALED if flags.scale else FEDERATED], out / "model", card=card)
    if flags.canaries is not None:
        canaries.Coins.read(work.folder / canaries.FILE).save(out / canaries.FILE)
    write_json(out / "result.json", result)
    (out / "error.log").unlink(missing_ok=True)
    work.clear()
