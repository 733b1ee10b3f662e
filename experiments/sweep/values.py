"""What a flag of a sweep names: one value of the command that is swept, or several.

A value is text as that command's own command line takes it, which also checks it. Several stand with commas between
them; those of a flag whose one value is a list with commas already (``--baselines``) with semicolons. Whole numbers
may be a range: ``0-4`` is 0, 1, 2, 3, 4. Does not know which flags there are.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from typing import Any

from experiments.flags import baseline_list, not_negative, positive
from fedprllm_secure.errors import InputError

NOT_GIVEN = "none"
MOST_OF_A_RANGE = 10_000


def split_values(
    action: argparse.Action, text: str, *, lists: Iterable[Callable[[str], Any]] = (baseline_list,)
) -> tuple[str, ...]:
    """Split what a flag of a sweep names into values, each as the swept command takes it.

    Args:
        action: the flag of the swept command.
        text: what was given.
        lists: readers of flags whose one value is a list with commas.

    Raises:
        InputError: it names no value, or a range is upside down.
    """
    flag = action.option_strings[0]
    is_list = action.type in tuple(lists)
    parts = [part.strip() for part in text.split(";" if is_list else ",")]
    if not is_list and not all(parts):
        raise InputError(f"{flag} {text!r} names no value" + (" between two commas" if any(parts) else ""))
    if action.type in (positive, not_negative):
        parts = [value for part in parts for value in _range(flag, part)]
    return tuple(dict.fromkeys(parts))


def _range(flag: str, text: str) -> list[str]:
    """Count a range of whole numbers up; anything else stays as it is."""
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    if not found:
        return [text]
    first, last = int(found[1]), int(found[2])
    if first > last or last - first >= MOST_OF_A_RANGE:
        raise InputError(f"{flag} {text} must be a range from the smaller number to the larger, such as 0-4")
    return [str(number) for number in range(first, last + 1)]


def is_switch(action: argparse.Action) -> bool:
    """Say whether a flag takes no value: it is on or off."""
    return action.nargs == 0


def argument(action: argparse.Action, value: str) -> list[str]:
    """Compose the argument that gives a flag a value; none where the value says that it is not given.

    Raises:
        InputError: a flag that is on or off is given something else.
    """
    if is_switch(action):
        if value not in ("true", "false"):
            raise InputError(f"{action.option_strings[0]} {value!r} must be true or false")
        if value == "true":
            return [action.option_strings[0]]
        return [flag for flag in action.option_strings if flag.startswith("--no-")]
    if value == NOT_GIVEN and not (action.choices and NOT_GIVEN in action.choices):
        return [f"{action.option_strings[0]}="] if action.type is baseline_list else []
    return [f"{action.option_strings[0]}={value}"]
