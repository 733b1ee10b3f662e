"""Which audits match the cells of a sweep: one for all cells that differ only in what no attacker's view depends on.

An audit plays its own runs of a configuration; cells that differ in their protocol alone stand in one audit, which
attacks what all protocols show at once. Audits play dense propagation: they are exact for all blocks of cells that
propagate so, and for the first block of others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import product

from experiments.sweep.cells import NAME_DIGITS, Cell
from experiments.sweep.commands import OF_CELL
from experiments.sweep.folder import Entry
from experiments.sweep.spec import Values
from experiments.sweep.values import NOT_GIVEN
from protocols import PROTOCOLS

# An audit decides nothing by them.
WITHOUT_MEANING = ("model-sha256",)


def match_audits(
    cells: Sequence[tuple[Cell, Entry]], asked: Values, *, digest_of: Callable[[str], str | None]
) -> list[Entry]:
    """List the audits that the cells need, and note in each cell's entry which those are.

    Args:
        cells: each with its entry.
        asked: values of the audit's own flags.
        digest_of: gives the digest of a model.
    """
    found: dict[str, tuple[dict[str, str], list[Entry]]] = {}
    for cell, entry in cells:
        entry.not_audited = _refused(cell.flags)
        for combination in product(*asked.values()) if entry.not_audited is None else []:
            flags = _audit_flags(cell.flags, dict(zip(asked, combination, strict=True)))
            key = json.dumps(flags, sort_keys=True)
            found.setdefault(key, (flags, []))[1].append(entry)
    audits = []
    for flags, entries in found.values():
        wanted = {entry.flags.get("protocol", "plain") for entry in entries}
        protocols = [name for name in PROTOCOLS if name in wanted]
        flags = flags | {"protocol": ",".join(protocols)}
        named = json.dumps({"flags": flags, "model": digest_of(flags["model"])}, sort_keys=True)
        audit = Entry(name=hashlib.sha256(named.encode()).hexdigest()[:NAME_DIGITS], flags=flags, protocols=protocols)
        audits.append(audit)
        for entry in entries:
            entry.audits.append(audit.name)
    return audits


def _refused(flags: Mapping[str, str]) -> str | None:
    """Say why a cell has no audit; None where it has one."""
    if flags.get("payload") == "units":
        return "an audit plays votes and statistics, not units"
    if (partition := flags.get("partition", "iid")) != "iid":
        return f"an audit plays clients whose text is cut at random, not --partition {partition}"
    if flags.get("dp") == "distributed" and flags.get("protocol", "plain") == "plain":
        return "distributed noise does not go with the protocol plain"
    return None


def _audit_flags(cell: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    """Compose an audit's flags of a cell's and of those that were asked for; of both, a cell's adjacency counts."""
    names = [name.replace("_", "-") for name in OF_CELL]
    flags = {name: cell[name] for name in names if name in cell and name not in WITHOUT_MEANING}
    flags |= {name: value for name, value in asked.items() if value != NOT_GIVEN}
    if "adjacency" in cell:
        flags["adjacency"] = cell["adjacency"]
    if "assumed-colluders" in cell and "assumed-colluders" not in asked:
        flags["assumed-colluders"] = cell["assumed-colluders"]
    return flags
