"""The command line that makes a result again, from the configuration that the result carries."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from typing import Any

from experiments.audit.flags import add_audit_flags
from experiments.flags import add_prune_flags

# What a run of units fills in itself, and refuses as flags.
FILLED_IN_FOR_UNITS = ("group", "local_group")


def prune_command(config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Give the command of a pruning run, but for where results go, and the flags that this version does not know.

    Args:
        config: of ``result.json``.
    """
    skip = FILLED_IN_FOR_UNITS if config.get("payload") == "units" else ()
    parser = argparse.ArgumentParser()
    add_prune_flags(parser)
    return command_of("prune", parser, {name: value for name, value in config.items() if name not in skip})


def audit_command(config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Give the command of an audit; as of :func:`prune_command`.

    Args:
        config: of ``audit.json``.
    """
    parser = argparse.ArgumentParser()
    add_audit_flags(parser)
    return command_of("audit", parser, config)


def command_of(name: str, parser: argparse.ArgumentParser, config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Give a command, and the names of flags that its parser does not know.

    Args:
        name: of the command.
        parser: of its flags; what has its default value is left out.
        config: values by flag.
    """
    actions = {action.dest: action for action in parser._actions}
    unknown = sorted(set(config) - set(actions))
    words = ["fedprllm", name]
    for dest, action in actions.items():
        if dest in config and config[dest] != action.default:
            words += _words(action, config[dest])
    return " ".join([*map(shlex.quote, words), "--out", "DIR"]), unknown


def _words(action: argparse.Action, value: Any) -> list[str]:
    """Write one flag; an argument without one stands alone."""
    if value is None:
        return []
    flag = next((option for option in action.option_strings if option.startswith("--")), "")
    if value is True:
        return [flag]
    if value is False:
        return [f"--no-{flag.removeprefix('--')}"] if isinstance(action, argparse.BooleanOptionalAction) else []
    if not flag:
        return [str(value)]
    if isinstance(value, list) and action.nargs == "+":
        return [flag, *map(str, value)]
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    # With "=", so that no value is taken for a flag.
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]
