"""Tells whether the text of a sweep's cells is still the one that they were made of: a table never mixes two.

What is kept of text is a digest under a key that stays on this machine (:mod:`experiments.audit.machine_key`): a plain
one would let anyone who has the sweep's folder test a guess. Text that is no file here, such as the demo's, has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from experiments.audit.machine_key import keyed_digest
from experiments.audit.statistics import CACHE
from experiments.shared_inputs import files_of
from experiments.sweep.folder import Entry
from fedprllm_secure.errors import InputError

SOURCES = ("data", "public-data", "eval-data")


def note_texts(entries: Iterable[Entry], *, former: Mapping[str, str | None], key_folder: Path | None = None) -> None:
    """Note of which text each cell and audit is made, which those that were begun must have been made of as well.

    A digest that another machine took says nothing here: its name tells so, and it is replaced.

    Args:
        entries: cells and audits; their ``text`` is set.
        former: by name, what earlier starts of this sweep noted of those that were begun.
        key_folder: holds the key; by default the one of audits.

    Raises:
        InputError: a text has changed since, or cannot be read.
    """
    folder = CACHE if key_folder is None else key_folder

    @cache
    def digest(sources: tuple[str, ...]) -> str | None:
        files = [file for source in sources for file in files_of(source)]
        return f"{keyed_digest([], folder)[:8]}:{keyed_digest(files, folder)}" if files else None

    changed = []
    for entry in entries:
        entry.text = digest(tuple(entry.flags[name] for name in SOURCES if name in entry.flags))
        before = former.get(entry.name)
        if before is not None and entry.text != before and _is_same_machine(before, entry.text):
            changed.append(entry)
    if changed:
        texts = sorted({changed[0].flags[name] for name in SOURCES if name in changed[0].flags})
        raise InputError(
            f"{' or '.join(texts)} is not what it was when this sweep began: {len(changed)} of its cells and audits "
            f"(first: {changed[0].name}) are of the former text, and one table never mixes two; name another --out"
        )


def _is_same_machine(before: str, now: str | None) -> bool:
    return now is None or before.split(":")[0] == now.split(":")[0]
