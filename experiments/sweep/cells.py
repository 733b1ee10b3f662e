"""The cells of a sweep: every combination of its flags' values, less what does not apply, each with a name.

A flag that a cell's other flags leave without meaning is dropped from it, and cells that are then alike are one:
``--epsilon none,1,3`` with three protocols makes nine cells, of which three are without noise and stand once each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from experiments.demo import DEMO_MODEL
from experiments.flags import configuration
from experiments.prune_command import effective_configuration
from experiments.sweep.commands import parse_prune
from experiments.sweep.spec import SweepSpec
from experiments.sweep.values import NOT_GIVEN
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.checkpoint import Checkpoint, model_folder

NAME_DIGITS = 16
# They change how a result is reached, and so what it costs.
OF_THE_WAY = ("device", "batch_windows", "hidden_memory")

Flags = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a sweep.

    Attributes:
        name: a digest of its flags and of the model; of nothing that is made of private text.
        flags: those of ``fedprllm prune`` that it is given, as text.
        config: what decides its result, as ``result.json`` has it.
    """

    name: str
    flags: Flags
    config: Mapping[str, Any] = field(repr=False)

    def parsed(self, out: str) -> argparse.Namespace:
        """Read its flags, with results going to ``out``."""
        return parse_prune(self.flags, out=out)


def cells_of(spec: SweepSpec, *, digest_of: Callable[[str], str | None]) -> list[Cell]:
    """List the cells in the order of the flags' values, the last flag changing fastest.

    Args:
        spec: what is asked.
        digest_of: gives the digest of a model by its source (:func:`model_digest`).

    Raises:
        InputError: a value is none of its flag's, a flag that every run needs is missing, or a flag applies to no cell.
    """
    found: dict[str, Cell] = {}
    used: set[str] = set()
    for combination in product(*spec.prune.values()):
        flags = applicable(dict(zip(spec.prune, combination, strict=True)))
        used |= set(flags)
        cell = _cell(flags, digest_of)
        found.setdefault(cell.name, cell)
    for name, values in spec.prune.items():
        if name not in used and values != (NOT_GIVEN,):
            raise InputError(f"--{name} {','.join(values)} applies to no cell of this sweep")
    return list(found.values())


def _cell(flags: Flags, digest_of: Callable[[str], str | None]) -> Cell:
    parsed = parse_prune(flags, out=".")
    config = cell_config(flags)
    way = {name: getattr(parsed, name) for name in OF_THE_WAY}
    named = json.dumps({"config": config, "way": way, "model": digest_of(parsed.model)}, sort_keys=True)
    return Cell(hashlib.sha256(named.encode()).hexdigest()[:NAME_DIGITS], flags, config)


def cell_config(flags: Flags) -> dict[str, Any]:
    """Give what decides a cell's result, as ``result.json`` has it."""
    parsed = parse_prune(flags, out=".")
    try:
        return effective_configuration(parsed)
    except InputError:  # the run will refuse it and say why; the cell needs a name all the same
        return configuration(parsed)


def model_digest(source: str) -> str | None:
    """Give the digest of a model; None for one that cannot be read, which its cells will say."""
    try:
        return Checkpoint(model_folder(DEMO_MODEL if source == "demo" else source)).sha256
    except InputError:
        return None


def applicable(flags: Flags) -> Flags:
    """Drop the flags that have no meaning for a cell.

    ``--epsilon none`` where ``--dp`` asks for noise is the cell without it: unless ``--noise-multiplier`` finds the
    noise, ``--dp`` goes as well.
    """
    kept = dict(flags)
    sized = kept.get("epsilon", ""), kept.get("noise-multiplier", NOT_GIVEN)
    if sized == (NOT_GIVEN, NOT_GIVEN):
        kept.pop("dp", None)
    kept = {name: value for name, value in kept.items() if value != NOT_GIVEN or name == "baselines"}
    for names, has_meaning in RULES:
        if not has_meaning(kept):
            kept = {name: value for name, value in kept.items() if name not in names}
    return kept


def _adds_noise(flags: Flags) -> bool:
    return flags.get("dp", NOT_GIVEN) != NOT_GIVEN


def _payload(flags: Flags) -> str:
    return flags.get("payload", "votes")


def _is_pattern(flags: Flags) -> bool:
    return ":" in flags.get("sparsity", "")


def _fits_schedule(flags: Flags) -> bool:
    """Say whether ``--propagate`` names something that the schedule and the payload allow."""
    if flags.get("schedule", "one-shot") == "iterative":
        return flags.get("propagate") == "global"
    return flags.get("propagate") in (("dense",) if _payload(flags) == "statistics" else ("local", "dense"))


# Flags, and what must hold of a cell for them to have a meaning; later rules see what earlier ones left.
RULES: tuple[tuple[tuple[str, ...], Callable[[Flags], bool]], ...] = (
    (("epsilon", "delta", "noise-multiplier", "noise", "adjacency"), _adds_noise),
    (("rank", "clip"), lambda flags: _adds_noise(flags) and _payload(flags) == "statistics"),
    (("scale",), lambda flags: not _adds_noise(flags) and _payload(flags) == "votes"),
    (("group", "local-group"), lambda flags: not _is_pattern(flags) and _payload(flags) != "units"),
    (("ties",), lambda flags: _payload(flags) != "statistics"),
    (("propagate",), _fits_schedule),
    (("graph",), lambda flags: flags.get("protocol", "plain") == "additive"),
    (("neighbours",), lambda flags: flags.get("graph", "complete") == "sparse"),
    (("client-field",), lambda flags: flags.get("partition", "iid") == "natural"),
    (("label-field",), lambda flags: flags.get("partition", "iid").startswith("dirichlet")),
    (("local-only-clients",), lambda flags: "local" in flags.get("baselines", "local")),
)
