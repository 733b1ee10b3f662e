"""The folder that an audit writes: a finished audit, or nothing yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fedprllm_secure.errors import InputError

SCHEMA = 1
RESULT = "audit.json"
PICTURES = ("matrix", "roc")
PRIVATE = "this report is made of private text: no epsilon covers it"


def is_finished(out: Path, config: dict[str, Any], *, overwrite: bool) -> bool:
    """Say whether ``out`` holds this audit; clear another one under ``--overwrite``.

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
        former = dict(json.loads(file.read_text())["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is no audit ({error}); name another folder") from error
    if overwrite:
        file.unlink()
        return False
    for name in sorted({*former, *config}):
        if former.get(name) != config.get(name):
            flag = "--" + name.replace("_", "-")
            raise InputError(
                f"--out {out} holds an audit with {flag} {former.get(name)}, not {config.get(name)}; name another "
                "folder or add --overwrite"
            )
    return True
