"""Does the tasks of a sweep: in this process, or in several others, each with a memory of its own for shared work.

Tasks that share work go to the same process one after another as long as there are others for the rest. A process that
dies takes its task with it, not the sweep. None outlives the one that started it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

import torch

from experiments.cli import UNEXPECTED
from experiments.processes import CONTEXT, available_cores, how_it_ended, serve_parent
from experiments.sweep.tasks import Outcome, Task, perform
from fedprllm_secure.shared_work import SharedWork


class Watcher(Protocol):
    """Is told how the work goes on."""

    def started(self, task: Task) -> None:
        """Take note that a task was begun."""
        ...

    def progressed(self, task: Task, phase: str, done: int, total: int) -> None:
        """Take note of how far it is."""
        ...

    def finished(self, task: Task, outcome: Outcome) -> None:
        """Take note of what came of it."""
        ...


@dataclass(frozen=True, slots=True)
class _Bars:
    """Passes a run's progress on; what it would say stands in its result."""

    report: Callable[[str, int, int], None]

    def update(self, phase: str, done: int, total: int) -> None:
        self.report(phase, done, total)

    def say(self, line: str) -> None:
        pass


def work_off(tasks: Sequence[Task], *, jobs: int, shared_bytes: int, watcher: Watcher) -> None:
    """Do all tasks.

    Args:
        tasks: in the order in which they are to be begun, as far as shared work lets it.
        jobs: processes at a time; 1 is this one.
        shared_bytes: most memory for shared work, each.
        watcher: is told how it goes on, in this process.

    Raises:
        KeyboardInterrupt: the user interrupted; tasks under way continue when they are next done.
    """
    if jobs > 1:
        _Crew(tasks, jobs=jobs, shared_bytes=shared_bytes, watcher=watcher).work()
        return
    shared, queue = SharedWork(most_bytes=shared_bytes), Queue(tasks)
    task = queue.next_for(None)
    while task is not None:
        watcher.started(task)
        current = task
        bars = _Bars(lambda phase, done, total: watcher.progressed(current, phase, done, total))  # noqa: B023 - now
        watcher.finished(task, perform(task, shared=shared, bars=bars))
        task = queue.next_for(task.likeness)


class Queue:
    """Tasks that wait, by what they share."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        """Take them all, in order."""
        self._waiting: dict[str, list[Task]] = {}
        self._taken: set[str] = set()  # by some process, at least once
        for task in tasks:
            self._waiting.setdefault(task.likeness, []).append(task)

    def next_for(self, likeness: str | None) -> Task | None:
        """Give the next task for a process whose last one was like this; None when none is left.

        Another one alike comes first, then the first of a kind that nobody has begun, then one of the kind of which
        most are left.
        """
        if likeness not in self._waiting:
            new = [kind for kind in self._waiting if kind not in self._taken]
            if not self._waiting:
                return None
            likeness = new[0] if new else max(self._waiting, key=lambda kind: len(self._waiting[kind]))
        assert likeness is not None  # a key by now
        self._taken.add(likeness)
        task = self._waiting[likeness].pop(0)
        if not self._waiting[likeness]:
            del self._waiting[likeness]
        return task


@dataclass(slots=True)
class _Worker:
    """Another process, and what it is at."""

    process: BaseProcess
    connection: Connection
    task: Task | None = None
    last: str | None = field(default=None)


class _Crew:
    """Several processes."""

    def __init__(self, tasks: Sequence[Task], *, jobs: int, shared_bytes: int, watcher: Watcher) -> None:
        self._queue, self._watcher, self._shared_bytes = Queue(tasks), watcher, shared_bytes
        self._threads = max(1, available_cores() // jobs)
        self._jobs = min(jobs, len(tasks))
        self._workers: list[_Worker] = []

    def work(self) -> None:
        """Do all tasks."""
        try:
            self._workers = [self._start() for _ in range(self._jobs)]
            for worker in list(self._workers):
                self._give(worker)
            while self._workers:
                by_connection = {worker.connection: worker for worker in self._workers}
                for ready in wait(list(by_connection)):
                    self._hear(by_connection[ready])  # type: ignore[index] # only connections were waited for
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()

    def _start(self) -> _Worker:
        here, there = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_serve, args=(there, self._shared_bytes, self._threads), daemon=True)
        process.start()
        there.close()
        return _Worker(process, here)

    def _give(self, worker: _Worker) -> None:
        """Give a worker its next task, or let it go."""
        worker.task = self._queue.next_for(worker.last)
        if worker.task is None:
            self._workers.remove(worker)
            worker.connection.close()
            worker.process.join()
            return
        worker.last = worker.task.likeness
        self._watcher.started(worker.task)
        with contextlib.suppress(OSError):  # one that is gone is noticed when its answer is waited for
            worker.connection.send(worker.task)

    def _hear(self, worker: _Worker) -> None:
        """Take what a worker says: how far it is, what came of its task, or that it is gone."""
        assert worker.task is not None  # one without a task was let go
        try:
            said = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            self._watcher.finished(worker.task, _lost(worker.process))
            self._workers.remove(worker)
            replacement = self._start()
            self._workers.append(replacement)
            self._give(replacement)
            return
        if isinstance(said, Outcome):
            self._watcher.finished(worker.task, said)
            self._give(worker)
        else:
            self._watcher.progressed(worker.task, *said)


def _lost(process: BaseProcess) -> Outcome:
    return Outcome(UNEXPECTED, f"fedprllm: the process that was at it ended ({how_it_ended(process)})", 0.0)


def _serve(connection: Connection, shared_bytes: int, threads: int) -> None:
    """Be a worker: do tasks until there are no more."""
    serve_parent()
    torch.set_num_threads(threads)
    shared = SharedWork(most_bytes=shared_bytes)
    bars = _Bars(lambda phase, done, total: connection.send((phase, done, total)))
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            task = connection.recv()
            connection.send(perform(task, shared=shared, bars=bars))
