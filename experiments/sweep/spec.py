"""What a sweep asks for: for each flag one value or several, from flags, a YAML file or a Python mapping.

A YAML file is a mapping of flag names to a value or a list, and may have a section ``audit:`` of the same kind (or
``audit: true``). A single value is read as on the command line (``seed: 0-4`` names five), an entry of a list is taken
as it is, commas and all. Values are read as the text that stands there: ``2:4`` is a pattern and no time of day.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.sweep.commands import LISTS, audit_actions, known, name_of, prune_actions
from experiments.sweep.values import NOT_GIVEN, split_values
from fedprllm_secure.errors import InputError

AUDIT = "audit"
Values = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """What is asked.

    Attributes:
        prune: by name of a flag of ``fedprllm prune``, its values as text; the cells are all combinations.
        audit: likewise of ``fedprllm audit``, less what the cells say; None for no audit. A flag with several values
            makes several audits of each cell.
    """

    prune: Values
    audit: Values | None = None

    def __post_init__(self) -> None:
        """Check that every flag has a value.

        Raises:
            InputError: one has none.
        """
        for name, values in [*self.prune.items(), *(self.audit or {}).items()]:
            if not values:
                raise InputError(f"--{name} names no value")

    @classmethod
    def of(cls, prune: Mapping[str, Any], *, audit: Mapping[str, Any] | bool | None = None) -> SweepSpec:
        """Take Python values: a flag's one value, or a sequence of them, each as the command line takes it.

        None stands for a flag that is not given, True and False for one that is on or off.

        >>> SweepSpec.of({"model": "demo", "protocol": ["plain", "ckks"], "seed": range(2)}).prune["seed"]
        ('0', '1')

        Raises:
            InputError: there is no such flag, or no value.
        """
        wanted = {} if audit is True else (audit or None)
        return cls(
            {name_of(known(n, prune_actions(), where="the sweep")): _texts(value) for n, value in prune.items()},
            None
            if wanted is None
            else {name_of(known(n, audit_actions(), where="the audit")): _texts(value) for n, value in wanted.items()},
        )

    @classmethod
    def read(cls, file: Path) -> SweepSpec:
        """Read a YAML file.

        Raises:
            InputError: it cannot be read, is no such mapping, or names a flag that there is not.
        """
        try:
            # Of this loader every scalar is the text that stands there.
            content = yaml.load(file.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - makes text, lists, mappings
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file} cannot be read ({getattr(error, 'strerror', None) or error})") from error
        except yaml.YAMLError as error:
            raise InputError(f"{file} is no YAML ({' '.join(str(error).split())})") from error
        if not isinstance(content, dict) or not content:
            raise InputError(f"{file} must be a mapping of flag names to values, and not empty")
        audit = content.pop(AUDIT, None)
        if audit in ("true", "false"):
            audit = {} if audit == "true" else None
        if audit is not None and not isinstance(audit, dict):
            raise InputError(f"{file}: {AUDIT} must be true, false or a mapping of flag names to values")
        return cls(
            _read(content, prune_actions(), where=str(file)),
            None if audit is None else _read(audit, audit_actions(), where=f"{file}, section {AUDIT},"),
        )

    @classmethod
    def of_flags(cls, flags: argparse.Namespace) -> SweepSpec:
        """Take the flags of ``fedprllm sweep``; they win over those of its file.

        Raises:
            InputError: as :meth:`read`, or nothing is asked for.
        """
        base = cls({}) if flags.file is None else cls.read(flags.file)
        prune = dict(base.prune) | _given(flags, prune_actions(), prefix="")
        audit = _given(flags, audit_actions(), prefix="audit-")
        is_audited = flags.audit or bool(audit) or base.audit is not None
        return cls(prune, dict(base.audit or {}) | audit if is_audited else None)


def flag_dest(name: str, *, prefix: str) -> str:
    """Name the place of a swept flag among the parsed flags of a sweep."""
    return f"swept {prefix}{name}"


def _given(flags: argparse.Namespace, actions: Mapping[str, argparse.Action], *, prefix: str) -> dict[str, Any]:
    given = {name: getattr(flags, flag_dest(name, prefix=prefix), None) for name in actions}
    return {n: split_values(actions[n], text, lists=LISTS) for n, text in given.items() if text is not None}


def _read(content: Mapping[str, Any], actions: Mapping[str, argparse.Action], *, where: str) -> Values:
    found: dict[str, tuple[str, ...]] = {}
    for name, value in content.items():
        action = known(name, actions, where=where)
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            values = tuple(dict.fromkeys(entry or NOT_GIVEN for entry in value))
        elif isinstance(value, str):
            values = split_values(action, value or NOT_GIVEN, lists=LISTS)
        else:
            raise InputError(f"{where} {name} must be a value or a list of values")
        if name_of(action) in found:
            raise InputError(f"{where} names --{name_of(action)} twice")
        found[name_of(action)] = values
    return found


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return (_text(value),)
    return tuple(dict.fromkeys(_text(each) for each in value))


def _text(value: Any) -> str:
    if value is None:
        return NOT_GIVEN
    return str(value).lower() if isinstance(value, bool) else str(value)
