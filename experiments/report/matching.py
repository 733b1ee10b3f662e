"""Finds, for a run, the audit's cells of the same setting: what was played is what was run, but for seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.audit.matrix import PUBLIC, READERS, SERVER
from experiments.report.audited import Cell
from experiments.report.audits import Audit
from experiments.report.runs import Run

# Adversaries that nobody helps, by where the noise is added: chosen here, not by what they reach.
BY_PLACE = {"none": SERVER, "distributed": SERVER, "central": READERS}
SAME = ("clients", "windows_per_client", "window_length", "dtype", "payload", "pruner", "ties")
SAME_NOISE = ("dp", "epsilon", "noise_multiplier", "delta", "noise", "adjacency", "rank", "clip")
DIFFERS = "audits play dense propagation; a run with local propagation shows the same in its first block alone"


def cell_of(run: Run, audits: Sequence[Audit]) -> tuple[Audit, Cell] | None:
    """Find what the adversary that nobody helps saw of the same setting; the audit of most runs, if there are several.

    Args:
        run: whose setting it is.
        audits: to search.
    """
    found = [
        (audit, cell) for audit in audits if _is_same(run, audit) for cell in audit.cells if _is_of(run, audit, cell)
    ]
    return max(found, key=lambda pair: pair[1].best.runs, default=None)


def _is_same(run: Run, audit: Audit) -> bool:
    """Say whether an audit's setting, but for protocol and noise, is the run's."""
    config = audit.config if audit.run_config is None else audit.run_config
    if audit.model_sha256 != run.model_sha256 or str(config.get("sparsity")) != run.sparsity:
        return False
    if str(config.get("data")) != run.data or config.get("partition", "iid") != run.config.get("partition"):
        return False
    if not all(config.get(name) == run.config.get(name) for name in SAME):
        return False
    return _groups(config) == _groups(run.config)


def _groups(config: Mapping[str, Any]) -> tuple[str, str]:
    """Give the comparison groups at server and client, defaults filled in; those of statistics are settled."""
    if config.get("payload") == "statistics":
        return "row", "row"
    return str(config.get("group") or "layer"), str(config.get("local_group") or "row")


def _is_of(run: Run, audit: Audit, cell: Cell) -> bool:
    """Say whether a cell is of the run's protocol and noise, and of its adversary that nobody helps."""
    place = str(run.privacy.entries.get("dp", "none"))
    if cell.protocol != run.protocol or cell.adversary != BY_PLACE.get(place, PUBLIC):
        return False
    config = audit.config if audit.run_config is None else audit.run_config
    # An audit with noise plays the plain baseline without; its configuration is then named by the protocol alone.
    if cell.configuration == cell.protocol:
        return not run.is_private
    return run.is_private and all(config.get(name) == run.config.get(name) for name in SAME_NOISE)
