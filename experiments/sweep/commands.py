"""The flags of ``fedprllm prune`` and ``fedprllm audit`` that a sweep sets, and how one cell's are read."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping
from functools import cache
from typing import Any, NoReturn

from experiments.audit.flags import add_audit_flags, attack_list
from experiments.flags import add_prune_flags, baseline_list
from experiments.sweep.values import argument
from fedprllm_secure.errors import InputError

# What the sweep says itself, or what has no meaning for a cell.
NOT_SWEPT = frozenset({"help", "out", "overwrite", "json", "dry_run"})
# What an audit of a cell takes from the cell.
OF_CELL = (
    "model", "model_sha256", "dtype", "device", "batch_windows", "window_length", "data", "text_field", "clients",
    "windows_per_client", "seed", "sparsity", "pruner", "group", "local_group", "ties", "payload", "dp", "epsilon",
    "delta", "noise_multiplier", "noise", "rank", "clip", "public_data", "public_windows",
)  # fmt: skip
# What is audited is a cell, not a run or masks that lie somewhere; hidden states play no part.
NOT_OF_CELLS = frozenset(
    {"run_dir", "masks", "kind", "candidates", "non_members", "protocol", "hidden_dtype", "hidden_memory"}
)
LISTS = (baseline_list, attack_list)


class CellParser(argparse.ArgumentParser):
    """A parser of one cell, whose complaint is an error to handle."""

    def error(self, message: str) -> NoReturn:
        """Raise the complaint.

        Raises:
            InputError: always.
        """
        raise InputError(message)


@cache
def prune_parser() -> CellParser:
    """Make the parser of ``fedprllm prune``."""
    parser = CellParser(prog="fedprllm prune", allow_abbrev=False)
    add_prune_flags(parser)
    return parser


@cache
def audit_parser() -> CellParser:
    """Make the parser of ``fedprllm audit``."""
    parser = CellParser(prog="fedprllm audit", allow_abbrev=False)
    add_audit_flags(parser)
    return parser


@cache
def prune_actions() -> dict[str, argparse.Action]:
    """List the flags of prune that can be swept, by name without dashes in front."""
    return {
        name_of(action): action
        for action in prune_parser()._actions
        if action.option_strings and action.dest not in NOT_SWEPT
    }


@cache
def audit_actions() -> dict[str, argparse.Action]:
    """List the flags of audit that a sweep can set beside those that its cells say."""
    return {
        name_of(action): action
        for action in audit_parser()._actions
        if action.option_strings and action.dest not in {*NOT_SWEPT, *NOT_OF_CELLS, *OF_CELL}
    }


def name_of(action: argparse.Action) -> str:
    """Give a flag's name without the dashes in front."""
    return action.option_strings[0].removeprefix("--")


def known(name: str, actions: Mapping[str, argparse.Action], *, where: str) -> argparse.Action:
    """Find a flag by its name; underscores are taken for dashes.

    Raises:
        InputError: there is none; the message names the nearest.
    """
    dashed = name.strip().removeprefix("--").replace("_", "-")
    if dashed in actions:
        return actions[dashed]
    nearest = difflib.get_close_matches(dashed, actions, n=1, cutoff=0.0)
    raise InputError(f"{where} names the unknown flag {name!r}; the nearest is {nearest[0]!r}")


def parse_prune(values: Mapping[str, str], *, out: str) -> argparse.Namespace:
    """Read one cell's flags of prune.

    Raises:
        InputError: a value is none of its flag's, or a flag that prune needs is missing.
    """
    actions = prune_actions()
    arguments = [part for name, value in values.items() for part in argument(actions[name], value)]
    return prune_parser().parse_args([*arguments, f"--out={out}"])


def parse_audit(values: Mapping[str, Any], *, out: str) -> argparse.Namespace:
    """Read one audit's flags.

    Raises:
        InputError: a value is none of its flag's.
    """
    actions = {name_of(action): action for action in audit_parser()._actions if action.option_strings}
    arguments = [part for name, value in values.items() for part in argument(actions[name], value)]
    return audit_parser().parse_args([*arguments, f"--out={out}"])
