"""The folder that ``--out`` names: a finished result, an unfinished run to continue, or nothing yet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fedprllm_secure.errors import InputError
from fedprllm_secure.work import OtherRun, WorkFolder


def is_finished(out: Path, config: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Say whether ``out`` already holds the result of this configuration.

    Raises:
        InputError: it holds another one, or something else, and may not be overwritten.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    file = out / "result.json"
    if overwrite or not out.exists() or not any(out.iterdir()):
        return False
    if not file.exists():
        if not (out / "work").exists() and not (out / "error.log").exists():
            raise InputError(f"--out {out} holds other files; name an empty folder or add --overwrite")
        return False
    try:
        former = dict(json.loads(file.read_text())["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is not a result ({error}); add --overwrite to replace it") from error
    for name in sorted({*former, *config}):
        if former.get(name) != config.get(name):
            raise _holds_another(out, name, former.get(name), config.get(name))
    return True


def open_work(
    out: Path, config: Mapping[str, Any], *, texts: Mapping[str, Tensor | None], model_sha256: str, overwrite: bool
) -> WorkFolder:
    """Open the resume state, and make sure that it belongs to this configuration, model and text.

    An unfinished run of the same configuration is continued even under ``--overwrite``: the same command resumes.

    Args:
        out: the folder that ``--out`` names.
        config: the flags that decide the result.
        texts: token ids by the flag that names them.
        model_sha256: digest of the model.
        overwrite: whether another run's state may go.

    Raises:
        InputError: it belongs to another.
    """
    if (out / "result.json").exists() or not (out / "work" / "run.json").exists():
        _empty(out)
    try:
        return _claimed(out, config, texts, model_sha256)
    except OtherRun as other:
        if not overwrite:
            if other.former != other.now:
                raise _holds_another(out, other.name, other.former, other.now) from other
            changed = f"what {other.name} names has changed since the run began"
            raise InputError(f"--out {out}: {changed}; add --overwrite") from other
        _empty(out)
        return _claimed(out, config, texts, model_sha256)


def _claimed(out: Path, config: Mapping[str, Any], texts: Mapping[str, Tensor | None], model_sha256: str) -> WorkFolder:
    work = WorkFolder(out / "work")
    work.claim(config, texts=texts, digests={"--model": model_sha256})
    return work


def _empty(out: Path) -> None:
    if not out.exists():
        return
    (out / "result.json").unlink(missing_ok=True)  # first, so that a kill amid this leaves nothing that looks done
    for entry in out.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _holds_another(out: Path, name: str, former: Any, now: Any) -> InputError:
    flag = "--" + name.replace("_", "-")
    return InputError(
        f"--out {out} holds a run with {flag} {former}, not {now}; name another folder or add --overwrite"
    )
