"""How the ledgers of simulated clients are named after the file that ``--ledger`` names."""

from __future__ import annotations

import re
from pathlib import Path


def ledger_of(file: Path, client: int) -> Path:
    """Name a client's: ``ledger.json`` becomes ``ledger-0003.json`` for client 3."""
    return file.with_name(f"{file.stem}-{client:04d}{file.suffix}")


def ledgers_named_after(file: Path) -> list[Path]:
    """List the clients' ledgers that stand beside a file, in order of clients."""
    name = re.compile(rf"{re.escape(file.stem)}-(\d{{4,}}){re.escape(file.suffix)}")
    folder = file.expanduser().parent
    found = {entry: name.fullmatch(entry.name) for entry in (folder.iterdir() if folder.is_dir() else ())}
    numbers = {file.with_name(entry.name): int(match[1]) for entry, match in found.items() if match}
    return sorted(numbers, key=lambda entry: numbers[entry])
