"""Tells whether the text of a sweep's cells is still the one that they were made of: a table never mixes two.

What is kept of text is a digest under a key that stays on this machine (:mod:`experiments.audit.machine_key`): a plain
one would let anyone who has the sweep's folder test a guess. Text that is no file here, such as the demo's, has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from experiments.audit.machine_key import keyed_digest
from experiments.audit.statistics import CACHE
from experiments.shared_inputs import files_of
from experiments.sweep.folder import Entry, Texts
from fedprllm_secure.errors import InputError

SOURCES = ("data", "public-data", "eval-data")
NO_FILE = "none"


def texts_of(entries: Iterable[Entry], *, begun: Mapping[str, Texts | None]) -> dict[str, Texts | None]:
    """Give of which text each cell and audit is made, which those that were begun must have been made of as well.

    Nothing is known of what was begun before digests were kept (None), and nothing here tells whether a text is one
    that another machine took a digest of: what was noted stays as it is.

    Args:
        entries: cells and audits.
        begun: by name, what was noted of those that were begun.

    Returns:
        By name, the digest of what each flag names.

    Raises:
        InputError: a text has changed since, or cannot be read, or no key can be kept.
    """

    @cache
    def digest(source: str) -> str:
        files = files_of(source)
        return keyed_digest(files, CACHE) if files else NO_FILE

    key = keyed_digest([], CACHE)
    found: dict[str, Texts | None] = {}
    changed: dict[str, list[Entry]] = {}
    for entry in entries:
        now = {"key": key, **{name: digest(entry.flags[name]) for name in SOURCES if name in entry.flags}}
        before = found[entry.name] = begun.get(entry.name, now)
        if before is None or before["key"] != key:
            continue
        for name in SOURCES:
            if before.get(name) != now.get(name):
                changed.setdefault(f"--{name} {entry.flags.get(name)}", []).append(entry)
    if changed:
        source, made = next(iter(changed.items()))
        raise InputError(
            f"{source} is not what it was when this sweep began: {len(made)} of its cells and audits (first: "
            f"{made[0].name}) are of the former text, and one table never mixes two; name another --out"
        )
    return found
