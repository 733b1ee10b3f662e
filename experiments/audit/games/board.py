"""What every game is played on: model, flags, the way clients prune, and sessions of the protocol ``plain``.

What a server of ``plain`` sees is every client's vector; the totals are the same under every protocol, of which the
games of membership make sure.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from threadpoolctl import threadpool_limits
from torch import Tensor

from experiments.audit.held import SessionHolder
from experiments.audit.one_thread import one_thread
from experiments.audit.run import Progress
from experiments.audit.statistics import WindowStatistics, window_statistics
from experiments.audit.victims import VoteSessions
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.thresholds import Thresholds

PROPAGATION = "dense: exact for every block; a run with another propagation agrees in block 0 alone"
PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The ground of a game.

    Attributes:
        flags: of the command.
        model: the public model.
        length: tokens a window.
        votes: how clients prune who share prune masks, under ``plain`` with dense propagation.
        statistics: how they prune who share statistics, likewise.
        victims: clients that are attacked, over all runs.
        folder: an empty one for the numbers of sessions.
        workers: share the cores.
        progress: receives (phase, done, total).
    """

    flags: argparse.Namespace
    model: StreamedModel
    length: int
    votes: Method
    statistics: Method
    victims: int
    folder: Path
    workers: Executor = field(repr=False)
    progress: Progress = field(repr=False)

    @property
    def clients(self) -> int:
        """Clients of a run."""
        return int(self.flags.clients)

    @property
    def windows_per_client(self) -> int:
        """Windows of a client."""
        return int(self.flags.windows_per_client)

    @property
    def num_matrices(self) -> int:
        """Prunable matrices of the model."""
        return sum(len(prunable_matrices(self.model, index)) for index in range(self.model.num_blocks))

    def survey(self, ids: Tensor, *, is_kept: bool = True) -> WindowStatistics:
        """Pass windows through the model, or read what an earlier audit of them kept.

        Args:
            ids: int64 (windows, tokens).
            is_kept: whether statistics outlive the command; False for windows that no other command will ask for.
        """
        return window_statistics(
            self.model,
            ids,
            self.statistics,
            public=None,
            cache=self.flags.cache if is_kept else self.folder / "cache",
            batch_windows=self.flags.batch_windows,
            progress=self.progress,
        )

    def vote_sessions(self, statistics: WindowStatistics) -> VoteSessions:
        """Prepare sessions of prune masks."""
        return VoteSessions(
            statistics,
            num_clients=self.clients,
            method=self.votes,
            thresholds=Thresholds.choose(PLAIN, self.clients),
            colluders=0,
            folder=self.folder / "votes",
        )

    def statistics_sessions(self, statistics: WindowStatistics) -> SessionHolder:
        """Prepare sessions of statistics."""
        return SessionHolder(
            statistics,
            num_clients=self.clients,
            method=self.statistics,
            thresholds=Thresholds.choose(PLAIN, self.clients),
            colluders=0,
            folder=self.folder / "statistics",
        )

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """Leave the cores to the workers for the length of a ``with``: a thread for each, none within."""
        with one_thread(), threadpool_limits(1):
            yield

    def in_parts(self, work: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, *, parts: int = 8) -> np.ndarray:
        """Apply ``work`` to pieces of rows side by side; gives its rows in their order."""
        pieces = np.array_split(rows, min(parts, len(rows)))
        return np.concatenate(list(self.workers.map(work, pieces)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of a game.

    Attributes:
        adversaries: who learns what is told, by view: for ``audit.json`` and the terminal.
        adjacency: whose epsilon the game could be compared with; why with none.
        figures: what was measured, as JSON can hold it.
        tables: for the terminal.
        lines: below them.
        draw: writes pictures, given their path without an ending.
        windows: how many were passed through the model.
    """

    adversaries: Mapping[str, str]
    adjacency: str
    figures: Mapping[str, Any] = field(repr=False)
    tables: Sequence[Table] = field(repr=False)
    lines: Sequence[str]
    draw: Callable[[Path], list[Path]] = field(repr=False)
    windows: int
