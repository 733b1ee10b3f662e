"""``fedprllm prune``: several clients with private text prune one model together, and the user sees what came of it."""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from experiments import inputs
from experiments.console import PhaseBars, show_prune_result
from experiments.flags import configuration
from experiments.result import environment, peak_memory_bytes, write_json
from fedprllm_secure.artifacts import count_sparsity, save_model, save_prune_masks, save_votes
from fedprllm_secure.data import Windows
from fedprllm_secure.errors import InputError
from fedprllm_secure.evaluation import Perplexity, Variant, dense, mean_and_spread, perplexities
from fedprllm_secure.federation import CENTRAL, MAGNITUDE, PUBLIC, Baselines, Federation, Method, local_variant
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.variants import masked, scaled
from fedprllm_secure.work import FEDERATED, WorkFolder
from protocols import Step

SCHEMA = 1
SCALED = "scaled"


def run(flags: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    method = _method(flags)
    config = configuration(flags)
    out: Path = flags.out
    if _is_finished(out, config, overwrite=flags.overwrite):
        shutil.rmtree(out / "work", ignore_errors=True)  # left by a kill between the result and the clearing up
        finished = json.loads((out / "result.json").read_text())
        show_prune_result(finished, out, as_json=flags.json, note="already done; nothing was run")
        return 0
    model = inputs.open_model(flags)
    length = inputs.window_length(flags, model)
    windows = inputs.client_windows(flags, model, length)
    evaluation = inputs.evaluation_windows(flags, model, length)
    baselines, notes = _baselines(flags, model, windows)
    if evaluation is None:
        notes.append("perplexity is not measured: name a text with --eval-data")
    texts = {"--data": windows.ids, "--public-data": baselines.public}
    work = _open_work(out, config, texts, model, overwrite=flags.overwrite)
    started = time.perf_counter()
    with PhaseBars(quiet=flags.json) as bars:
        federation = Federation(
            model,
            windows,
            method,
            work,
            baselines=baselines,
            batch_windows=flags.batch_windows,
            hidden_dtype=inputs.DTYPES.get(flags.hidden_dtype),
            hidden_memory_bytes=flags.hidden_memory,
            dropouts=_dropouts(flags),
            transcript=_transcript(out / "transcript") if flags.save_transcript else None,
            progress=bars.update,
        )
        federation.run()
        pruning_seconds = time.perf_counter() - started
        variants = _variants(flags, model, work)
        measured = {}
        if evaluation is not None:
            measured = perplexities(
                model,
                evaluation[0],
                variants,
                batch_windows=flags.batch_windows,
                hidden_dtype=inputs.DTYPES.get(flags.hidden_dtype),
                hidden_memory_bytes=flags.hidden_memory,
                folder=work.folder,
                progress=bars.update,
            )
    result = _result(flags, config, model, windows, evaluation, measured, work, notes)
    result["seconds"]["pruning"] = pruning_seconds
    result["seconds"]["total"] = time.perf_counter() - started
    _write_artifacts(flags, model, work, variants, result)
    show_prune_result(result, out, as_json=flags.json)
    return 0


def _method(flags: argparse.Namespace) -> Method:
    sparsity = Sparsity.parse(flags.sparsity)
    for name, value in (("--group", flags.group), ("--local-group", flags.local_group)):
        if sparsity.is_pattern and value is not None:
            raise InputError(
                f"{name} {value} does not go with --sparsity {flags.sparsity}: under N:M the weights that compete are "
                "M consecutive inputs of a row"
            )
    return Method(
        sparsity=sparsity,
        pruner=flags.pruner,
        group=flags.group or "layer",
        local_group=flags.local_group or "row",
        schedule=Schedule.of(flags.schedule, flags.propagate),
        ties=flags.ties,
        seed=flags.seed,
        payload=flags.payload,
        protocol=flags.protocol,
    )


def _is_finished(out: Path, config: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Say whether ``out`` already holds this result.

    Raises:
        InputError: it holds another one, or something else.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    file = out / "result.json"
    if overwrite or not out.exists() or not any(out.iterdir()):
        return False
    if not file.exists():
        if not (out / "work").exists() and not (out / "error.log").exists():
            raise InputError(f"--out {out} holds other files; name an empty folder or add --overwrite")
        return False
    try:
        former = dict(json.loads(file.read_text())["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is not a result ({error}); add --overwrite to replace it") from error
    _refuse_other(out, former, config)
    return True


def _refuse_other(out: Path, former: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    for name in sorted({*former, *config}):
        if former.get(name) != config.get(name):
            flag = "--" + name.replace("_", "-")
            raise InputError(
                f"--out {out} holds a run with {flag} {former.get(name)}, not {config.get(name)}; name another folder "
                "or add --overwrite"
            )


def _open_work(
    out: Path, config: Mapping[str, Any], texts: Mapping[str, Tensor | None], model: StreamedModel, *, overwrite: bool
) -> WorkFolder:
    """Open the resume state, and make sure that it belongs to this configuration, model and text.

    An unfinished run of the same configuration is continued even under ``--overwrite``: the same command resumes.

    Raises:
        InputError: it belongs to another.
    """
    folder = out / "work"
    former = json.loads((folder / "run.json").read_text()) if (folder / "run.json").exists() else None
    key = (folder / "key").read_bytes() if former else secrets.token_bytes(32)
    # Private text leaves no plain hash behind, not even here: the key is local and goes with the folder.
    named = {
        flag: None if ids is None else hmac.new(key, ids.numpy().tobytes(), hashlib.sha256).hexdigest()
        for flag, ids in texts.items()
    }
    state = {"config": dict(config), "named": {**named, "--model": model.checkpoint.sha256}}
    if former == state and not (out / "result.json").exists():
        return WorkFolder(folder)
    if former is not None and not overwrite:
        _refuse_other(out, former["config"], config)
        changed = next(
            (flag for flag, digest in state["named"].items() if former["named"].get(flag) != digest), "--data"
        )
        raise InputError(f"--out {out}: what {changed} names has changed since the run began; add --overwrite")
    if out.exists():
        (out / "result.json").unlink(missing_ok=True)  # first, so that a kill amid this leaves nothing that looks done
        for entry in out.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    work = WorkFolder(folder)
    (folder / "key").touch(mode=0o600)
    (folder / "key").write_bytes(key)
    write_json(folder / "run.json", state)
    return work


def _baselines(flags: argparse.Namespace, model: StreamedModel, windows: Windows) -> tuple[Baselines, list[str]]:
    notes = []
    public: Tensor | None = None
    if "public" in flags.baselines:
        public = inputs.public_windows(flags, model, windows.length, len(windows.ids))
        if public is None:
            notes.append("public-only is not measured: name a public text with --public-data")
    alone = min(flags.local_only_clients, windows.num_clients) if "local" in flags.baselines else 0
    return (
        Baselines(
            central="central" in flags.baselines,
            local_only=tuple(range(alone)),
            public=public,
            magnitude="magnitude" in flags.baselines,
        ),
        notes,
    )


def _dropouts(flags: argparse.Namespace) -> Callable[[int], Mapping[Step, frozenset[int]]]:
    if flags.dropout is None:
        return lambda _: {}
    rate, step = flags.dropout

    def leaving(block: int) -> Mapping[Step, frozenset[int]]:
        draws = np.random.default_rng([flags.seed, block]).random(flags.clients)
        return {step: frozenset(int(client) for client in np.flatnonzero(draws < rate))}

    return leaving


def _transcript(folder: Path) -> Callable[[int, Any], None]:
    counts: dict[int, int] = {}

    def write(block: int, entry: Any) -> None:
        place = folder / f"block-{block:04d}"
        if block not in counts:  # what an interrupted try at this block left belongs to no finished session
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True, mode=0o700)
        number = counts[block] = counts.get(block, -1) + 1
        name = f"{number:06d}-{entry.step.name.lower()}-{entry.direction.value}-client-{entry.client}.bin"
        (place / name).write_bytes(entry.message)

    return write


def _variants(flags: argparse.Namespace, model: StreamedModel, work: WorkFolder) -> dict[str, Variant]:
    def stored(name: str) -> Variant:
        return masked(lambda index, matrix: work.prune_mask(index, matrix, name))

    variants: dict[str, Variant] = {"dense": dense} if "dense" in flags.baselines else {}
    variants |= {name: stored(name) for name in work.variants() if name != FEDERATED}
    variants[FEDERATED] = stored(FEDERATED)
    if flags.scale:
        variants[SCALED] = scaled(model, work)
    return variants


def _result(
    flags: argparse.Namespace,
    config: dict[str, Any],
    model: StreamedModel,
    windows: Windows,
    evaluation: tuple[Tensor, int | None] | None,
    measured: Mapping[str, Perplexity],
    work: WorkFolder,
    notes: list[str],
) -> dict[str, Any]:
    records = [work.record(index) for index in range(model.num_blocks)]
    phases = {phase for record in records for phase in record.seconds}
    seconds = {phase: sum(record.seconds.get(phase, 0.0) for record in records) for phase in sorted(phases)}
    steps = records[0].bytes_by_step
    return {
        "schema": SCHEMA,
        "config": config,
        "notes": notes,
        "model": {
            "source": flags.model,
            "sha256": model.checkpoint.sha256,
            "type": model.config.model_type,
            "blocks": model.num_blocks,
            "dtype": str(model.dtype).removeprefix("torch."),
            "context_tokens": model.context_length,
        },
        "data": {
            "source": flags.data,
            "clients": windows.num_clients,
            "windows_per_client": windows.per_client,
            "window_length_tokens": windows.length,
            "partition": flags.partition,
        },
        "sparsity": {"asked": flags.sparsity, **count_sparsity(model, work)},
        "perplexity": _perplexity(flags, windows, evaluation, measured),
        "protocol": {
            "name": flags.protocol,
            "payload": flags.payload,
            "sessions": len(records),
            "survivors_by_block": [len(record.survivors) for record in records],
            "expert_votes_by_magnitude": sum(record.unseen_experts for record in records),
        },
        "privacy": {
            "dp": "none",
            "adversary": "the server sees every client's prune mask" if flags.protocol == "plain" else "the server",
            "claim": "none: prune masks reveal calibration text, and nothing here bounds how much",
        },
        "seconds": seconds,
        "bytes": {
            step: {name: sum(record.bytes_by_step[step][name] for record in records) for name in figures}
            for step, figures in steps.items()
        },
        "peak_memory_bytes": peak_memory_bytes(model.device),
        "environment": environment(model.device),
    }


def _perplexity(
    flags: argparse.Namespace,
    windows: Windows,
    evaluation: tuple[Tensor, int | None] | None,
    measured: Mapping[str, Perplexity],
) -> dict[str, Any]:
    if evaluation is None:
        return {}
    ids, covered = evaluation
    named = {FEDERATED: "scaled" if flags.scale else "federated"}
    values: dict[str, Any] = {
        "context_tokens": ids.shape[1],
        "windows": len(ids),
        "covered_bytes": covered,
    }
    order = ["dense", CENTRAL, FEDERATED, SCALED, PUBLIC, MAGNITUDE]
    for name in order:
        if name in measured:
            values[name] = _figures(measured[name], covered)
    alone = [
        measured[name].value for client in range(windows.num_clients) if (name := local_variant(client)) in measured
    ]
    if alone:
        mean, spread = mean_and_spread(alone)
        values["local"] = {"perplexity": mean, "standard_deviation": spread, "clients": alone}
    values["result"] = named[FEDERATED]
    return values


def _figures(perplexity: Perplexity, covered: int | None) -> dict[str, float]:
    figures = {"perplexity": perplexity.value}
    if covered:
        figures["bits_per_byte"] = perplexity.bits_per_byte(covered)
    return figures


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
        save_votes(model, work, out / "votes.safetensors", metadata=metadata)
    if flags.save_model:
        chosen = variants[SCALED if flags.scale else FEDERATED]
        save_model(model, chosen, out / "model", card=_model_card(flags, result))
    write_json(out / "result.json", result)
    (out / "error.log").unlink(missing_ok=True)
    work.clear()


def _model_card(flags: argparse.Namespace, result: Mapping[str, Any]) -> str:
    found = result["perplexity"].get(result["perplexity"].get("result", ""), {})
    measured = f"{found['perplexity']:.3f}" if found else "not measured"
    command = " ".join(_written(name, value) for name, value in result["config"].items() if value not in (None, False))
    return (
        "---\nlibrary_name: transformers\ntags: [pruned, federated]\n---\n\n"
        f"# {Path(str(flags.model)).name}, {flags.sparsity} pruned by {flags.clients} clients\n\n"
        f"Base model: `{flags.model}` (sha256 `{result['model']['sha256']}`). Weights removed: "
        f"{result['sparsity']['achieved_fraction']:.4f} of the prunable ones. Perplexity on the evaluation text: "
        f"{measured}.\n\nMade by federated pruning (FedPrLLM, arXiv 2505.13547) with protocol `{flags.protocol}`, "
        "without differential privacy: the prune mask carries information on the calibration text.\n\n"
        f"Configuration: `{command}`\n"
    )


def _written(name: str, value: Any) -> str:
    flag = "--" + name.replace("_", "-")
    if value is True:
        return flag
    return f"{flag} {','.join(value) if isinstance(value, list) else value}"
