"""Sessions in processes of their own: what is seen is what one process sees, and none outlives its use."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.audit import session_crew
from experiments.audit.session_crew import Assignment, crew_size, seen_blocks
from experiments.audit.statistics import WindowStatistics
from experiments.audit.victims import SeenBlock
from fedprllm_secure.errors import InputError
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.privacy.budget import BudgetRefused
from fedprllm_secure.thresholds import Thresholds
from protocols import Step, UnusableTotals
from tests.experiments.audit.test_victims import GROUPS, WORLDS
from tests.experiments.audit.tiny_audit import CLIENTS, method, target, thresholds


def nothing() -> None:
    """Let it go on."""


@pytest.fixture
def assignment(statistics: WindowStatistics) -> Assignment:
    """Three runs under three protocols, one of them with noise."""
    configurations = {name: (method("votes", name), thresholds(name)) for name in ("plain", "ckks")}
    noisy = method("votes", "additive", target("distributed"))
    return Assignment(
        statistics=statistics.kept,
        configurations=configurations | {"noisy": (noisy, thresholds("additive"))},
        num_clients=CLIENTS,
        colluders=1,
        contributions=WORLDS,
        groups=GROUPS,
    )


def seen_with(assignment: Assignment, folder: Path, *, size: int) -> list[dict[str, SeenBlock]]:
    """Take all runs through the sessions of all blocks in so many processes."""
    sessions = assignment.sessions(folder / f"here-{size}")
    return list(seen_blocks(assignment, sessions, folder, size=size, check=nothing))


def test_processes_show_what_this_one_shows(assignment: Assignment, tmp_path: Path) -> None:
    """Run by run in their order, with the same arrays shared; noise is drawn anew in every process."""
    here, there = (seen_with(assignment, tmp_path, size=size) for size in (0, 2))

    assert len(here) == len(there) == assignment.statistics.model.num_blocks
    for one, other in zip(here, there, strict=True):
        for name in ("plain", "ckks"):
            assert one[name].rows().keys() == other[name].rows().keys()
            for kind, rows in one[name].rows().items():
                assert all(np.array_equal(rows[matrix], other[name].rows()[kind][matrix]) for matrix in rows)
        assert other["ckks"].totals is other["plain"].totals
        assert other["ckks"].masks is other["plain"].masks
        for matrix, exact in other["plain"].totals.items():
            noise = other["noisy"].totals[matrix] - exact
            assert len({run.tobytes() for run in noise}) == len(WORLDS)
            assert not np.array_equal(one["noisy"].totals[matrix], other["noisy"].totals[matrix])


def test_what_a_protocol_refuses_there_is_refused_here(assignment: Assignment, tmp_path: Path) -> None:
    """With the protocol's reason."""
    few = Thresholds(recovery_threshold=1, minimum_survivors=1, assumed_colluders=0)
    refused = replace(assignment, configurations={"few": (method("votes", "additive"), few)})

    with pytest.raises(InputError, match="--protocol additive: "):
        list(seen_blocks(refused, {}, tmp_path, size=1, check=nothing))


def test_a_process_that_fails_says_why(assignment: Assignment, tmp_path: Path) -> None:
    """With what went wrong there."""
    wrong = replace(assignment, groups=GROUPS[:2])

    with pytest.raises(RuntimeError, match=r"(?s)a process that held sessions failed:.*IndexError"):
        list(seen_blocks(wrong, {}, tmp_path, size=1, check=nothing))


def test_no_process_outlives_its_use(assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is killed is reported, and so is that nobody waits any longer; the others end with it."""
    monkeypatch.setattr(session_crew, "_PATIENCE", 0.01)
    blocks = seen_blocks(assignment, {}, tmp_path, size=2, check=nothing)
    next(blocks)
    first, _ = children = multiprocessing.active_children()
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"a process that held sessions ended \(signal 9, as when memory runs out\)"):
        list(blocks)
    assert not any(each.is_alive() for each in children)

    def stop() -> None:
        raise KeyboardInterrupt

    with session_crew._crew(assignment, tmp_path / "again", 1) as (member,), pytest.raises(KeyboardInterrupt):
        member.take(stop)  # long before the process has started
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    "error",
    [
        InputError("no such flag"),
        BudgetRefused("spent"),
        UnusableTotals("too much noise", session=b"12345678", step=Step.REVEAL, client=3),
        OSError(errno.ENOSPC, "No space left on device", "numbers"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_that_have_an_exit_status_keep_it(error: Exception) -> None:
    """They arrive as what they were, whatever their constructor asks for."""
    found = pickle.loads(pickle.dumps(session_crew._Failure.of(error))).exception()

    assert type(found) is type(error)
    assert str(found) == str(error)
    for name in ("errno", "strerror", "filename", "session", "step", "client"):
        assert getattr(found, name, None) == getattr(error, name, None)


def test_few_votes_are_sent_in_this_process(assignment: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others would still be starting; a daemon may start none; there are no more processes than cores or runs."""
    matrices = [each for index in range(2) for each in prunable_matrices(assignment.statistics.model, index)]
    assert assignment.votes == len(WORLDS) * CLIENTS * 3 * sum(each.numel for each in matrices)
    assert crew_size(assignment) == 0
    monkeypatch.setattr(session_crew, "LEAST_VOTES", assignment.votes)
    monkeypatch.setattr(session_crew, "available_cores", lambda: 2)
    assert crew_size(assignment) == 2
    monkeypatch.setattr(session_crew, "available_cores", lambda: 64)
    assert crew_size(assignment) == len(WORLDS)
    monkeypatch.setattr(session_crew, "MOST_PROCESSES", 2)
    assert crew_size(assignment) == 2
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(assignment.statistics.model, "device", torch.device("meta"))
        assert crew_size(assignment) == 0
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    assert crew_size(assignment) == 0


def test_a_model_opens_its_folder_again(statistics: WindowStatistics) -> None:
    """What another process is given of it is where it lies, on which device, in which dtype."""
    model = StreamedModel(statistics.model.checkpoint.folder, device=statistics.model.device, dtype=torch.float64)
    again = pickle.loads(pickle.dumps(model))

    assert again.checkpoint.sha256 == model.checkpoint.sha256
    assert (again.device, again.dtype, again.num_blocks) == (model.device, model.dtype, model.num_blocks)
    assert len(pickle.dumps(model)) < 2000
