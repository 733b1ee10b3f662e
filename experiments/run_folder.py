"""The folder that ``--out`` names: a finished result, an unfinished run to continue, or nothing yet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from experiments.canaries import FILE as COINS
from fedprllm_secure.errors import InputError
from fedprllm_secure.work import OtherRun, WorkFolder

# What a run writes into its folder; nothing else there is ever touched.
OWN_NAMES = ("result.json", "prune_masks.safetensors", "votes.safetensors", "model", "transcript", COINS, "work")
HARMLESS_NAMES = frozenset({"error.log"})


def is_finished(out: Path, config: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Say whether ``out`` already holds the result of this configuration.

    Raises:
        InputError: it holds another one, or something else.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if not out.exists():
        return False
    file = out / "result.json"
    if not file.exists():
        _refuse_foreign(out)
        return False
    try:
        former = dict(json.loads(file.read_text())["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is not a result ({error}); name another folder") from error
    if overwrite:
        return False
    for name in sorted({*former, *config}):
        if former.get(name) != config.get(name):
            raise holds_another(out, "a run", name, former.get(name), config.get(name))
    return True


def _refuse_foreign(out: Path) -> None:
    """Refuse a folder without a result unless all that it holds is an unfinished run.

    Raises:
        InputError: something else is there.
    """
    names = {entry.name.removesuffix(".partial") for entry in out.iterdir()} - HARMLESS_NAMES
    foreign = names - set(OWN_NAMES) if _is_own_work(out / "work") else names
    if foreign:
        raise InputError(f"--out {out} holds other files ({min(foreign)}); name an empty folder")


def _is_own_work(folder: Path) -> bool:
    """Say whether a folder is the state of a run, even of one that was killed before it had written its key."""
    if not folder.is_dir():
        return False
    return (folder / "key").is_file() or all(entry.name == "key.partial" for entry in folder.iterdir())


def refuse_inputs_inside(out: Path, sources: Mapping[str, str | None]) -> None:
    """Refuse an input that lies in the folder that a run writes, and may clear.

    Args:
        out: the folder that ``--out`` names.
        sources: what each flag names.

    Raises:
        InputError: one lies there.
    """
    for flag, source in sources.items():
        if source is None or not Path(source).expanduser().exists():
            continue
        if Path(source).expanduser().resolve().is_relative_to(out.resolve()):
            raise InputError(f"{flag} {source} lies inside --out {out}; name another folder for the results")


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
    if (out / "result.json").exists():
        remove_results(out)
    try:
        return _claimed(out, config, texts, model_sha256)
    except OtherRun as other:
        if not overwrite:
            if other.former != other.now:
                raise holds_another(out, "a run", other.name, other.former, other.now) from other
            changed = f"what {other.name} names has changed since the run began"
            raise InputError(f"--out {out}: {changed}; add --overwrite") from other
        with WorkFolder(out / "work").locked():
            remove_results(out)
        return _claimed(out, config, texts, model_sha256)


def _claimed(out: Path, config: Mapping[str, Any], texts: Mapping[str, Tensor | None], model_sha256: str) -> WorkFolder:
    work = WorkFolder(out / "work")
    work.claim("command", config, texts=texts, digests={"--model": model_sha256})
    return work


def remove_results(out: Path) -> None:
    """Remove what a run wrote; the result first, so that a kill amid this leaves nothing that looks done."""
    for name in OWN_NAMES:
        for place in (out / name, out / f"{name}.partial"):
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)


def holds_another(out: Path, kind: str, name: str, former: Any, now: Any) -> InputError:
    """Say in an error that a folder holds the result of other flags.

    Args:
        out: the folder.
        kind: what it holds, such as "a run".
        name: of the flag that differs, with underscores.
        former: its value there.
        now: its value here.
    """
    flag, before, after = "--" + name.replace("_", "-"), _written(former), _written(now)
    if before is None or after is None:
        told = f"{_given(flag, former, before)}, not {_given(flag, now, after)}"
    else:
        told = f"with {flag} {before}, not {after}"
    return InputError(f"--out {out} holds {kind} {told}; name another folder or add --overwrite")


def _given(flag: str, value: Any, written: str | None) -> str:
    if written is None:
        return f"with {flag}" if value else f"without {flag}"
    return f"with {flag} {written}"


def _written(value: Any) -> str | None:
    """Write a flag's value as it is given; None for one that is given without, or not at all."""
    if isinstance(value, bool) or value is None:
        return None
    return (",".join(map(str, value)) if isinstance(value, list) else str(value)) or "''"
