"""Sessions of many runs in processes of their own.

The encryption library holds the interpreter's lock, so that in one process sessions and attacks wait for each other
instead of sharing the cores. Each process opens sessions of its own, with keys of its own, of its share of the runs;
what is seen of a run comes back through a pipe and nowhere else.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from experiments.audit.ahead import Check
from experiments.audit.statistics import KeptStatistics
from experiments.audit.victims import SeenBlock, Victims, VoteSessions, gathered
from experiments.processes import CONTEXT, available_cores, how_it_ended, serve_parent
from fedprllm_secure.errors import InputError
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.thresholds import Thresholds
from protocols import ProtocolError

LEAST_VOTES = 10**9  # some ten seconds of one core's work; starting the processes takes some three
MOST_PROCESSES = 8  # each takes two thirds of a gigabyte; the attacks take the rest of the cores
_PATIENCE = 0.5  # seconds between two looks at whether anybody still waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Runs, and how their sessions are held.

    Attributes:
        statistics: of all windows.
        configurations: by name, how clients and server prune, and the thresholds of the sessions.
        num_clients: of every run.
        colluders: how many of them, the last ones, tell the server what they submitted.
        contributions: int64 (runs, clients, slots).
        groups: int64 (contributions, windows of each).
    """

    statistics: KeptStatistics
    configurations: Mapping[str, tuple[Method, Thresholds]]
    num_clients: int
    colluders: int
    contributions: np.ndarray = field(repr=False)
    groups: np.ndarray = field(repr=False)

    @property
    def votes(self) -> int:
        """How many votes are sent in all sessions."""
        model = self.statistics.model
        weights = sum(each.numel for index in range(model.num_blocks) for each in prunable_matrices(model, index))
        return len(self.contributions) * self.num_clients * weights * len(self.configurations)

    def sessions(self, folder: Path) -> dict[str, VoteSessions]:
        """Prepare sessions of every configuration; see :class:`~experiments.audit.victims.VoteSessions`."""
        return {
            name: VoteSessions(
                self.statistics,
                num_clients=self.num_clients,
                method=method,
                thresholds=thresholds,
                colluders=self.colluders,
                folder=folder / str(number),
            )
            for number, (name, (method, thresholds)) in enumerate(self.configurations.items())
        }

    def victims(self, sessions: Mapping[str, VoteSessions], runs: slice = slice(None)) -> Victims:
        """Give the runs, or some of them, to be taken through such sessions."""
        return Victims(self.contributions[runs], self.groups, sessions=sessions)


def crew_size(assignment: Assignment) -> int:
    """Say in how many processes to hold these sessions; 0 for none but this one.

    A daemon, such as a process of a sweep, may start none. On another device than a CPU each would hold a block of its
    own there all the time.
    """
    is_elsewhere = assignment.statistics.model.device.type != "cpu"
    if assignment.votes < LEAST_VOTES or is_elsewhere or multiprocessing.current_process().daemon:
        return 0
    return min(available_cores(), MOST_PROCESSES, len(assignment.contributions))


def seen_blocks(
    assignment: Assignment, sessions: Mapping[str, VoteSessions], folder: Path, *, size: int, check: Check
) -> Iterator[dict[str, SeenBlock]]:
    """Take all runs through the sessions of one block after another.

    Args:
        assignment: the runs.
        sessions: of every configuration, to be held in this process if there is no other.
        folder: for the numbers of other processes' sessions.
        size: number of processes, 0 for this one alone.
        check: called between runs.

    Raises:
        InputError: a protocol refuses a session.
        ProtocolError: a session was aborted.
        OSError: a process could not write what it keeps of sessions.
        RuntimeError: another process ended, or failed otherwise.
    """
    model = assignment.statistics.model
    if not size:
        victims = assignment.victims(sessions)
        for index in range(model.num_blocks):
            with torch.no_grad(), assignment.statistics.block(index) as block:  # on the device only meanwhile
                seen = victims.block(block, check)
            yield seen
        return
    runs = len(assignment.contributions)
    with _crew(assignment, folder, size) as crew:
        for _ in range(model.num_blocks):
            yield gathered((crew[run % size].take(check) for run in range(runs)), runs=runs, check=check)


@dataclass(frozen=True, slots=True)
class _Failure:
    """What went wrong in another process, in parts: an exception itself need not survive a pipe.

    Attributes:
        kind: the exception's class.
        arguments: what it is made of, as ``pickle`` would take them.
        state: its attributes.
    """

    kind: type[Exception]
    arguments: tuple[Any, ...]
    state: dict[str, Any]

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        """Take an exception apart; of one that nobody expects, its traceback is what there is to say."""
        if isinstance(error, InputError | ProtocolError | OSError):
            return cls(type(error), tuple(error.__reduce__()[1]), error.__dict__)
        return cls(RuntimeError, (f"a process that held sessions failed:\n{traceback.format_exc()}",), {})

    def exception(self) -> Exception:
        """Put it together again, without running its constructor, which may want other arguments."""
        made = self.kind.__new__(self.kind, *self.arguments)
        made.__dict__.update(self.state)
        return made


@dataclass(frozen=True, slots=True)
class _Member:
    """Another process."""

    process: BaseProcess
    connection: Connection

    def take(self, check: Callable[[], None]) -> dict[str, SeenBlock]:
        """Wait for what is seen of its next run."""
        while not self.connection.poll(_PATIENCE):
            check()
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise RuntimeError(f"a process that held sessions ended ({how_it_ended(self.process)})") from None
        if isinstance(said, _Failure):
            raise said.exception()
        found: dict[str, SeenBlock] = said
        return found


@contextmanager
def _crew(assignment: Assignment, folder: Path, size: int) -> Iterator[list[_Member]]:
    members: list[_Member] = []
    try:
        for number in range(size):
            here, there = CONTEXT.Pipe(duplex=False)
            share = slice(number, None, size)
            process = CONTEXT.Process(
                target=_serve, args=(there, assignment, share, folder / f"process-{number}"), daemon=True
            )
            process.start()
            there.close()
            members.append(_Member(process, here))
        yield members
    finally:
        for member in members:
            member.process.kill()
            member.process.join()
            member.connection.close()


def _serve(connection: Connection, assignment: Assignment, runs: slice, folder: Path) -> None:
    """Hold the sessions of some runs, block by block, and send what is seen; the pipe says when to go on."""
    serve_parent()
    torch.set_num_threads(1)
    statistics = assignment.statistics
    with closing(connection), torch.no_grad(), threadpool_limits(1):
        try:
            victims = assignment.victims(assignment.sessions(folder), runs)
            for index in range(statistics.model.num_blocks):
                with statistics.block(index) as block:
                    for seen in victims.runs(block):
                        connection.send(seen)
        except Exception as error:
            connection.send(_Failure.of(error))
