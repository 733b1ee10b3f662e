"""``fedprllm study``: one question each, answered by a table and a picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.studies import column, communication, dropout, noniid, overview, paper, payloads, scaling, ties
from fedprllm_secure.errors import InputError


@dataclass(frozen=True, slots=True)
class Study:
    """A study and its own flags.

    Attributes:
        run: called with ``out``, a folder that exists, and each of its own flags by name.
        add_flags: adds them to its parser.
    """

    run: Callable[..., Any]
    add_flags: Callable[[argparse.ArgumentParser], None] = lambda _: None

    @property
    def summary(self) -> str:
        """The first line of what its module says."""
        return (sys.modules[self.run.__module__].__doc__ or "").splitlines()[0]


STUDIES: Mapping[str, Study] = {
    "overview": Study(overview.run, overview.add_flags),
    "communication": Study(communication.run, communication.add_flags),
    "paper": Study(paper.run, paper.add_flags),
    "noniid": Study(noniid.run, noniid.add_flags),
    "dropout": Study(dropout.run, dropout.add_flags),
    "ties": Study(ties.run, ties.add_flags),
    "payloads": Study(payloads.run, payloads.add_flags),
    "scaling": Study(scaling.run, scaling.add_flags),
    "column": Study(column.run, column.add_flags),
}
SHARED = frozenset({"command", "name", "list", "out"})


def add_study_flags(parser: argparse.ArgumentParser) -> None:
    """Give every study a parser of its own, so that none takes the flags of another."""
    parser.add_argument("--list", action="store_true", help="name the studies and what each asks")
    names = parser.add_subparsers(dest="name", metavar="NAME")
    for name, study in STUDIES.items():
        own = names.add_parser(name, help=study.summary, description=study.summary)
        own.add_argument("--out", type=Path, required=True, metavar="DIR", help="where table and picture go")
        study.add_flags(own)


def run(flags: argparse.Namespace) -> int:
    """Run a study by name, or list them; returns the exit status.

    Raises:
        InputError: no study is named.
    """
    if flags.list:
        for name, study in STUDIES.items():
            print(f"{name}: {study.summary}")
        return 0
    if flags.name is None:
        raise InputError(f"study needs a name, one of {', '.join(STUDIES)} (--list says what each asks)")
    flags.out.mkdir(parents=True, exist_ok=True)
    own = {flag: value for flag, value in vars(flags).items() if flag not in SHARED}
    STUDIES[flags.name].run(out=flags.out, **own)
    return 0
