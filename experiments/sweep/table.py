"""One tidy row a cell, pandas-ready: flags, figures with their unit in the name, versions, and what went wrong.

A cell with several audits has a row for each. Columns:

- ``cell``, ``state`` (done, failed, missing), ``status``, ``error``; the flags of ``fedprllm prune`` under their own
  names with underscores, as they took effect; ``model_digest``, ``commit``, ``device_name``, ``torch_threads``,
  ``python``, ``version_*``;
- ``perplexity_*`` and ``bits_per_byte_*`` by variant, ``perplexity_result`` of the pruned model that counts;
  those of variants that a privacy claim does not cover end in ``_simulation_only``;
- ``sparsity_achieved_fraction``, ``weights_removed``, ``weights_prunable``, ``survivors_min``, ``sessions``;
- ``bytes_client_up_max``, ``bytes_client_down_max``, ``bytes_server_in``, ``bytes_server_out``: summed over steps, of
  the client with the most; ``bytes_client_submit_max`` and ``bits_per_weight_submit`` of its submission alone;
- ``seconds_*`` by phase, ``seconds_total`` of the cell as it ran, ``seconds_shared`` what making the work took that it
  took over from other cells (their sum is about what the cell costs on its own), ``seconds_client_max`` and
  ``seconds_server`` of the protocol; ``peak_memory_bytes`` of the process while the cell ran, shared work included,
  and ``peak_memory_bytes_device``;
- ``claimed_epsilon``, ``claimed_delta``, ``claim``, ``claim_adversary``, ``releases_made``,
  ``noise_multiplier_found``, ``ledger_charged``: False for noise that no ledger remembers, which is a simulation and
  no claim about anybody;
- ``audit``, ``audit_state``, ``audit_error``, ``audit_exact_for`` (all blocks of a cell that propagates densely, as
  audits do; else the first), ``audit_*`` of the audit's own flags; ``audit_auc_<adversary>`` with
  ``_low`` and ``_high``, ``audit_attack_<adversary>``, and ``audit_epsilon_lower_bound_one_run_<adversary>`` and
  ``..._clopper_pearson_<adversary>``, of the strongest attack on what each adversary sees.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow
import pyarrow.parquet

from experiments.result import finite
from experiments.sweep.audit_columns import audit_columns
from experiments.sweep.cells import cell_config
from experiments.sweep.folder import DONE, MISSING, PARQUET, TABLE, Entry, SweepFolder, read_result
from fedprllm_secure.durable import partial_name, publish, write_durably

COVERED = ("dense", "central", "federated", "scaled", "public", "magnitude")


def read_rows(folder: SweepFolder) -> list[dict[str, Any]]:
    """Read the rows of a sweep, in the order of its cells, from the results that are there; all have all columns.

    Raises:
        InputError: the folder holds no sweep that this version reads.
    """
    cells, audits = folder.entries()
    by_name = {audit.name: audit for audit in audits}
    rows = []
    for cell in cells:
        row = _cell_row(folder, cell)
        rows += [row | audit_columns(folder, by_name[name], row, note=None) for name in cell.audits]
        if not cell.audits:
            rows.append(row | audit_columns(folder, None, row, note=cell.not_audited))
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: finite(row.get(name)) for name in names} for row in rows]


def write_table(folder: SweepFolder) -> list[dict[str, Any]]:
    """Write the rows as JSON Lines and as Parquet, and return them."""
    rows = read_rows(folder)
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    write_durably(folder.path / TABLE, lines.encode())
    partial = partial_name(folder.path / PARQUET)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), partial)
    publish(partial, folder.path / PARQUET)
    return rows


def _cell_row(folder: SweepFolder, cell: Entry) -> dict[str, Any]:
    found = read_result(folder.cell(cell.name), "result.json")
    state = DONE if found is not None else cell.state if cell.state != DONE else MISSING
    row: dict[str, Any] = {"cell": cell.name, "state": state, "status": cell.status, "error": cell.error}
    config = found["config"] if found is not None else cell_config(cell.flags)
    row |= {name: ",".join(value) if isinstance(value, list) else value for name, value in config.items()}
    row["commit"] = cell.commit
    return row if found is None else row | result_columns(found)


def result_columns(result: Mapping[str, Any]) -> dict[str, Any]:
    """Give the columns of what ``result.json`` says of a run, less its configuration."""
    environment, protocol = result["environment"], result["protocol"]
    versions = {f"version_{name.replace('-', '_')}": version for name, version in environment["versions"].items()}
    simulated = result.get("simulation_only", {}).get("perplexity", {})
    return {
        "model_digest": result["model"]["sha256"],
        "model_dtype": result["model"]["dtype"],
        "window_length_tokens": result["data"]["window_length_tokens"],
        "device_name": environment["device"],
        "torch_threads": environment["threads"],
        "python": environment["python"],
        **versions,
        **_perplexities(result["perplexity"], ""),
        **_perplexities(simulated, "_simulation_only"),
        "sparsity_achieved_fraction": result["sparsity"]["achieved_fraction"],
        "weights_removed": result["sparsity"]["removed_weights"],
        "weights_prunable": result["sparsity"]["prunable_weights"],
        "sessions": protocol["sessions"],
        "survivors_min": min(protocol["survivors_by_block"]),
        **_bytes(result["bytes"], result["sparsity"]["prunable_weights"]),
        **{f"seconds_{phase}": seconds for phase, seconds in result["seconds"].items()},
        **_summed(
            protocol["seconds_by_step"], {"client_max_seconds": "client_max", "server_seconds": "server"}, "seconds"
        ),
        "peak_memory_bytes": result["peak_memory_bytes"]["host"],
        "peak_memory_bytes_device": result["peak_memory_bytes"].get("device"),
        **_privacy(result["privacy"]),
    }


def _perplexities(found: Mapping[str, Any], ending: str) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name in COVERED:
        if name in found:
            columns[f"perplexity_{name}{ending}"] = found[name]["perplexity"]
            if "bits_per_byte" in found[name]:
                columns[f"bits_per_byte_{name}{ending}"] = found[name]["bits_per_byte"]
    if "local" in found:
        columns[f"perplexity_local_mean{ending}"] = found["local"]["perplexity"]
        columns[f"perplexity_local_standard_deviation{ending}"] = found["local"]["standard_deviation"]
    if "result" in found:
        columns["perplexity_result"] = found[found["result"]]["perplexity"]
        columns["evaluation_windows"] = found["windows"]
    return columns


def _bytes(steps: Mapping[str, Mapping[str, float]], weights: int) -> dict[str, Any]:
    names = {f"{where}_bytes": where for where in ("client_up_max", "client_down_max", "server_in", "server_out")}
    submitted = steps["submit"]["client_up_max_bytes"]
    return {
        **_summed(steps, names, "bytes"),
        "bytes_client_submit_max": submitted,
        "bits_per_weight_submit": 8 * submitted / weights,
    }


def _summed(steps: Mapping[str, Mapping[str, float]], names: Mapping[str, str], unit: str) -> dict[str, float]:
    return {f"{unit}_{short}": sum(step[name] for step in steps.values()) for name, short in names.items()}


def _privacy(privacy: Mapping[str, Any]) -> dict[str, Any]:
    if privacy["dp"] == "none":
        return {"claim": privacy["claim"]}
    return {
        "claim": privacy["claim"],
        "claimed_epsilon": privacy["epsilon"],
        "claimed_delta": privacy["delta"],
        "claim_adversary": privacy["adversary"],
        "releases_made": privacy["releases"],
        "noise_multiplier_found": privacy.get("noise_multiplier_as_one_release"),
        "ledger_charged": not privacy["ledger"].startswith("none"),
    }
