"""What an audit says of one cell of a sweep, as columns of its row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from experiments.sweep.commands import audit_actions
from experiments.sweep.folder import DONE, MISSING, Entry, SweepFolder, read_result

RESULT = "audit.json"


def audit_columns(
    folder: SweepFolder, audit: Entry | None, row: Mapping[str, Any], *, note: str | None
) -> dict[str, Any]:
    """Give the columns.

    Args:
        folder: of the sweep.
        audit: that the cell is audited by; None for none.
        row: of the cell: its protocol, and whether it adds noise.
        note: why there is no audit.
    """
    if audit is None:
        return {} if note is None else {"audit_error": note}
    found = read_result(folder.audit(audit.name), RESULT)
    state = DONE if found is not None else audit.state if audit.state != DONE else MISSING
    own = {f"audit_{name.replace('-', '_')}": audit.flags[name] for name in audit_actions() if name in audit.flags}
    columns: dict[str, Any] = {"audit": audit.name, "audit_state": state, "audit_error": audit.error, **own}
    columns["audit_exact_for"] = "all blocks" if row.get("propagate") == "dense" else "the first block"
    is_noisy = row.get("dp", "none") != "none"
    for cell in found["cells"] if found is not None else []:
        # Without noise a configuration goes by its protocol; with noise its name says more.
        if cell["protocol"] == row.get("protocol") and (cell["configuration"] != cell["protocol"]) == is_noisy:
            columns |= _view(cell)
    return columns


def _view(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Give the figures of the strongest attack on what one adversary sees: the first, chosen on runs of its own."""
    name = re.sub(r"[^a-z0-9]+", "_", cell["adversary"])
    if not cell["attacks"]:
        return {}
    best = cell["attacks"][0]
    interval = best["auc"]["interval"] or {}
    return {
        f"audit_attack_{name}": best["attack"],
        f"audit_auc_{name}": best["auc"]["value"],
        f"audit_auc_{name}_low": interval.get("low"),
        f"audit_auc_{name}_high": interval.get("high"),
        f"audit_epsilon_lower_bound_one_run_{name}": best["one_run"]["epsilon"],
        f"audit_epsilon_lower_bound_clopper_pearson_{name}": best["clopper_pearson"]["epsilon"],
    }
