"""The three modes of ``fedprllm audit``: which flags each takes, and which files it is about.

Runs that are played, one finished run (RUN_DIR), and prune masks that others made (``--masks``). A flag that a mode has
no use for is refused even where its value is the default one: whoever gives it expects that it does something.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments.audit.flags import NOT_OF_GIVEN_MASKS, OF_GIVEN_MASKS, OF_PLAYED_RUNS
from experiments.audit.recorded import MASKS, RESULT, TRANSCRIPT, VOTES
from experiments.canaries import FILE as COINS
from fedprllm_secure.errors import InputError


def refuse_flags_of_other_modes(flags: argparse.Namespace) -> None:
    """Refuse a command that lacks what its mode needs, or gives what only another mode takes.

    Raises:
        InputError: as said.
    """
    if flags.run_dir is not None:
        _refuse(flags, (*OF_PLAYED_RUNS, *OF_GIVEN_MASKS), f"RUN_DIR: {flags.run_dir} has settings of its own")
        return
    if flags.masks is not None:
        unused = (*NOT_OF_GIVEN_MASKS, *(() if flags.kind == "choice" else ("clients",)))
        _refuse(flags, unused, f"--masks and --kind {flags.kind}")
        _require(flags, ("model", "candidates", "non_members"))
        return
    _refuse(flags, OF_GIVEN_MASKS, "runs that are played; it goes with --masks")
    _require(flags, ("model", "data"))


def files_of(flags: argparse.Namespace) -> tuple[Path, ...]:
    """Name the files that an audit is about, whose content decides its result; none where runs are played.

    Of a run those are its result, its coins, its prune masks and votes (a file that is not there counts as none), and
    every file of its transcript, in order of their paths. Of given masks, the masks and the texts that are files.
    """
    if flags.run_dir is not None:
        transcript = (file for file in (flags.run_dir / TRANSCRIPT).rglob("*") if file.is_file())
        return (*(flags.run_dir / name for name in (RESULT, COINS, MASKS, VOTES)), *sorted(transcript))
    if flags.masks is not None:
        texts = (Path(each).expanduser() for each in (flags.candidates, flags.non_members))
        return (*map(Path, flags.masks), *(text for text in texts if text.is_file()))
    return ()


def _refuse(flags: argparse.Namespace, names: Sequence[str], mode: str) -> None:
    for name in names:
        if name in flags.given:
            raise InputError(f"--{name.replace('_', '-')} does not go with {mode}")


def _require(flags: argparse.Namespace, names: Sequence[str]) -> None:
    missing = [f"--{name.replace('_', '-')}" for name in names if getattr(flags, name) is None]
    if missing:
        raise InputError(f"the following arguments are required: {', '.join(missing)} (see fedprllm audit --help)")
