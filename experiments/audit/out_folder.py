"""The folder that an audit writes: a finished audit, or nothing yet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.result import write_json
from experiments.run_folder import holds_another
from fedprllm_secure.errors import InputError

SCHEMA = 1
RESULT = "audit.json"
FILES = "files_hmac"  # in the result: keyed digest of the files that it is about
PICTURES = ("matrix", "roc", "domain", "linkage", "reconstruction")
PRIVATE = "this report is made of private text: no epsilon covers it"


def is_finished(out: Path, config: dict[str, Any], *, files_hmac: str | None, overwrite: bool) -> bool:
    """Say whether ``out`` holds this audit; clear another one under ``--overwrite``.

    Args:
        out: the folder.
        config: flags that name the audit.
        files_hmac: keyed digest of the files that it is about; None where it is about none.
        overwrite: whether another audit may go.

    Raises:
        InputError: it holds another one, or something else.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if not out.exists() or not any(out.iterdir()):
        return False
    file = out / RESULT
    if not file.exists():
        if all(entry.name == "error.log" or entry.stem.startswith(PICTURES) for entry in out.iterdir()):
            return False
        raise InputError(f"--out {out} holds other files ({min(entry.name for entry in out.iterdir())}); name a folder")
    try:
        held = json.loads(file.read_text())
        former = dict(held["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is no audit ({error}); name another folder") from error
    if overwrite:
        file.unlink()
        return False
    for name in sorted({*former, *config}):
        if former.get(name) != config.get(name):
            raise holds_another(out, "an audit", name, former.get(name), config.get(name))
    if held.get(FILES) != files_hmac:
        raise InputError(
            f"--out {out} holds an audit of files that have changed since, or whose key lies in another --cache; name "
            "another folder or add --overwrite"
        )
    return True


def write_result(out: Path, result: Mapping[str, Any]) -> None:
    """Write the report, and make the folder where there is none; both are for this user alone."""
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(out / RESULT, result, mode=0o600)
