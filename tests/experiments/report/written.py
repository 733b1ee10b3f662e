"""Result files as commands write them, made up: runs, audits and sweeps with figures that a test chooses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

MATRICES = tuple(f"model.layers.{block}.{kind}" for block in range(2) for kind in ("self_attn.q_proj", "mlp.up_proj"))
SHA = "ab" * 32
ENVIRONMENT = {
    "python": "3.11.0",
    "platform": "Linux",
    "device": "cpu",
    "threads": 1,
    "versions": {"torch": "2.0", "flwr": None},
}
STEPS = ("advertise", "share", "submit", "confirm", "reveal")


def config(**changed: Any) -> dict[str, Any]:
    """Give the configuration of a run."""
    found: dict[str, Any] = {
        "adjacency": None,
        "baselines": ["dense", "central", "local", "public", "magnitude"],
        "clients": 4,
        "data": "texts.txt",
        "delta": None,
        "dp": "none",
        "epsilon": None,
        "group": "layer",
        "local_group": "row",
        "model": "tiny",
        "noise": "skellam",
        "noise_multiplier": None,
        "partition": "iid",
        "payload": "votes",
        "propagate": "local",
        "protocol": "plain",
        "pruner": "wanda",
        "scale": False,
        "schedule": "one-shot",
        "seed": 0,
        "sparsity": "0.5",
        "ties": "magnitude",
        "windows_per_client": 2,
    }
    return found | changed


def result(
    *, value: float | None = 20.0, claimed: float | None = None, sends: int = 1000, **changed: Any
) -> dict[str, Any]:
    """Give a ``result.json``; flags make its configuration, and so what it says."""
    of = config(**changed)
    is_private = of["dp"] != "none"
    apart = {"central": {"perplexity": 19.0}, "local": {"perplexity": 23.0, "clients": [22.0, 24.0]}}
    steps = {
        step: {
            "client_up_max_bytes": sends if step == "submit" else 10,
            "client_down_max_bytes": 5,
            "server_in_bytes": 4 * sends,
            "server_out_bytes": 20,
        }
        for step in STEPS
    }
    found: dict[str, Any] = {
        "schema": 1,
        "config": of,
        "notes": ["a note"],
        "model": {"source": of["model"], "sha256": SHA, "type": "llama", "blocks": 2},
        "data": {
            "source": of["data"],
            "clients": of["clients"],
            "windows_per_client": of["windows_per_client"],
            "window_length_tokens": 16,
            "partition": of["partition"],
        },
        "sparsity": {
            "asked": of["sparsity"],
            "prunable_weights": 8000,
            "achieved_fraction": 0.5,
            "fraction_by_matrix": dict.fromkeys(MATRICES, 0.5),
        },
        "perplexity": {
            "context_tokens": 16,
            "windows": 6,
            "dense": {"perplexity": 15.0},
            "federated": {"perplexity": value},
            "public": {"perplexity": 21.0},
            "result": "federated",
            **({} if is_private else apart),
        },
        "protocol": {
            "name": of["protocol"],
            "payload": of["payload"],
            "protects": "protects as it says",
            "survivors_by_block": [of["clients"]] * 2,
            "seconds_by_step": {step: {"client_max_seconds": 0.01, "server_seconds": 0.02} for step in STEPS},
        },
        "privacy": {"dp": "none", "claim": "none: nothing"},
        "seconds": {"pruning": 2.0, "total": 3.0},
        "bytes": steps,
        "peak_memory_bytes": {"host": 700_000_000},
        "environment": ENVIRONMENT,
    }
    if is_private:
        found["simulation_only"] = {"note": "not covered", "perplexity": apart}
        found["privacy"] = {
            "dp": of["dp"],
            "claim": f"({claimed}, {of['delta']})-differential privacy about {of['adjacency']}",
            "epsilon": claimed,
            "delta": of["delta"],
            "adjacency": of["adjacency"],
            "adjacency_means": "one contribution is zero",
            "adversary": "the server",
            "mechanism": "skellam",
            "releases": 1,
            "releases_of_an_uninterrupted_run": 1,
            "noise_multiplier": 2.5,
            "continuous_reference": {"gaussian_epsilon": 0.9, "opacus_rdp_epsilon": None, "opacus_prv_epsilon": 0.95},
            "wrap_probability": 0.0,
            "ledger": "none: a simulation",
            "not_covered": ["timing"],
        }
    return found


def private(epsilon: float, **changed: Any) -> dict[str, Any]:
    """Give a ``result.json`` of a run with noise."""
    flags = {"dp": "distributed", "epsilon": epsilon, "delta": 1e-5, "adjacency": "client-zero-out"}
    return result(claimed=epsilon, **flags | {"protocol": "additive"} | changed)


def measured(value: float | None, *, width: float = 0.05) -> dict[str, Any]:
    """Give a figure with its interval."""
    if value is None:
        return {"value": None, "interval": None, "reason": "too few"}
    return {"value": value, "interval": {"low": value - width, "high": value + width}, "reason": None}


def attack(name: str, auc: float | None) -> dict[str, Any]:
    """Give an attack's report."""
    return {
        "attack": name,
        "is_reversed": False,
        "members": 32,
        "non_members": 32,
        "runs": 8,
        "auc": measured(auc),
        "rates": [{"fpr": 0.1, "tpr": measured(0.6)}, {"fpr": 0.01, "tpr": measured(None)}],
        "one_run": {"epsilon": 1.5, "ceiling": 3.04},
        "delta": 0.0,
    }


def cell(configuration: str = "plain", adversary: str = "server", **changed: Any) -> dict[str, Any]:
    """Give a cell of an ``audit.json``."""
    auc = changed.pop("auc", 0.9)
    return {
        "protocol": configuration.split(",")[0],
        "configuration": configuration,
        "adversary": adversary,
        "sees": f"what {adversary} sees of {configuration}",
        "claim": None,
        "no_claim": "no differential privacy",
        "attacks": [attack("whitened", auc), attack("blind", 0.5)],
        "attacks_not_made": {},
        "roc": {
            "false_positive_rates": [0.0, 0.1, 1.0],
            "true_positive_rates": [0.3, 0.7, 1.0],
            "coins": 64,
            "independent_non_members": 8,
        },
    } | changed


def audit(cells: list[dict[str, Any]] | None = None, **changed: Any) -> dict[str, Any]:
    """Give an ``audit.json``, all of whose claims were tested and stand."""
    cells = [cell(), cell("additive", auc=0.7)] if cells is None else cells
    tried = [
        f"{each['configuration']}; {each['adversary']}; {found['attack']}"
        for each in cells
        for found in each.get("attacks", ())
        if each.get("claim") is not None
    ]
    of_runs = ("baselines", "schedule", "propagate", "partition")
    flags = {name: value for name, value in config().items() if name not in of_runs}
    return {
        "schema": 1,
        "config": flags | {"protocol": ["plain", "additive"], "group": None} | changed,
        "model": {"source": "tiny", "sha256": SHA},
        "game": {"adjacency": "window-replace", "knowledge": "exact"},
        "level": 0.05,
        "baseline_alarms": [],
        "claims_p_values_holm": dict.fromkeys(tried, 1.0),
        "cells": cells,
        "environment": ENVIRONMENT,
    }


def put(folder: Path, content: dict[str, Any], *, votes: bool = False) -> Path:
    """Write a run's or an audit's folder; a run's with votes, if wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "audit.json" if "cells" in content or "figures" in content else "result.json"
    (folder / name).write_text(json.dumps(content))
    if votes:
        draw = np.random.default_rng(0)
        tensors = {matrix: draw.integers(0, 5, (8, 6)).astype(np.int32) for matrix in MATRICES}
        save_file(tensors, folder / "votes.safetensors")
    return folder


def put_sweep(folder: Path, cells: dict[str, dict[str, Any] | str], audits: dict[str, dict[str, Any] | str]) -> Path:
    """Write a sweep's folder; a cell that is a string failed with it."""
    folder.mkdir(parents=True)
    entries: dict[str, list[dict[str, Any]]] = {"cells": [], "audits": []}
    for part, of in (("cells", cells), ("audits", audits)):
        for name, content in of.items():
            is_failed = isinstance(content, str)
            entries[part].append(
                {
                    "name": name,
                    "flags": {"protocol": "additive"},
                    "state": "failed" if is_failed else "done",
                    "error": content if is_failed else None,
                }
            )
            if not isinstance(content, str):
                put(folder / part / name, content)
    (folder / "sweep.json").write_text(json.dumps({"schema": 1, **entries}))
    return folder
