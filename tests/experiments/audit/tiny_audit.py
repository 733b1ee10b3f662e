"""A tiny model's windows, and the methods, sessions and worlds of audits over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.audit.statistics import AuditBlock, WindowStatistics, window_statistics
from experiments.audit.victims import VoteSessions
from fedprllm_secure.data import Windows
from fedprllm_secure.federation import Federation
from fedprllm_secure.method import Method
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Baselines
from fedprllm_secure.privacy.target import PrivacyTarget
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.thresholds import Thresholds
from fedprllm_secure.work import WorkFolder
from protocols import PROTOCOLS, SessionPlan, TranscriptEntry
from protocols.replay import ServerView, replay
from tests.fedprllm_secure.tiny_models import VOCABULARY

CLIENTS, PER_CLIENT, LENGTH, WINDOWS = 3, 2, 12, 14


def draw_ids(count: int, seed: int = 0) -> Tensor:
    """Draw windows (windows, tokens)."""
    return torch.randint(0, VOCABULARY, (count, LENGTH), generator=torch.Generator().manual_seed(seed))


def target(place: str, adjacency: str = "window-replace", multiplier: float = 1.0) -> PrivacyTarget:
    """Give a target of so much noise."""
    return PrivacyTarget(place=place, adjacency=adjacency, delta=1e-5, noise_multiplier=multiplier)


def method(payload: str, protocol: str = "plain", privacy: PrivacyTarget | None = None) -> Method:
    """Give a method that audits can play."""
    return Method(
        sparsity=Sparsity.parse("0.5"),
        schedule=Schedule("one-shot", "dense"),
        payload=payload,
        protocol=protocol,
        privacy=privacy,
        rank=6,
    )


def thresholds(protocol: str) -> Thresholds:
    """Choose thresholds as the command does."""
    return Thresholds.choose(protocol, CLIENTS, assumed_colluders=None if protocol == "plain" else 1)


def survey(
    model: StreamedModel,
    ids: Tensor,
    cache: Path,
    *,
    privacy: PrivacyTarget | None = None,
    public: Tensor | None = None,
    steps: list[tuple[str, int, int]] | None = None,
) -> WindowStatistics:
    """Make statistics or read kept ones; what is reported of progress goes to ``steps``."""
    return window_statistics(
        model,
        ids,
        method("statistics", privacy=privacy),
        public=public,
        cache=cache,
        batch_windows=4,
        progress=lambda *step: (steps if steps is not None else []).append(step),
    )


def vote_sessions(
    statistics: WindowStatistics,
    folder: Path,
    *,
    protocol: str = "plain",
    privacy: PrivacyTarget | None = None,
    colluders: int = 0,
) -> VoteSessions:
    """Prepare sessions of votes."""
    return VoteSessions(
        statistics,
        num_clients=CLIENTS,
        method=method("votes", protocol, privacy),
        thresholds=thresholds(protocol),
        colluders=colluders,
        folder=folder,
    )


def masks_of(sessions: VoteSessions, block: AuditBlock, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Let the payload decide for every client, (clients, windows): by matrix, int64 (clients, out, in)."""
    decisions = [sessions.payload.decide(block.view(own)) for own in windows]
    return {
        matrix.name: np.stack([each.pruned[matrix.name].prune_mask.numpy() for each in decisions]).astype(np.int64)
        for matrix in block.matrices
    }


@dataclass
class RecordedRun:
    """A run of the federation, with its transcript.

    Attributes:
        work: what it left.
        plans: of its sessions, by block.
        entries: all messages, by block.
    """

    work: WorkFolder
    plans: dict[int, SessionPlan] = field(default_factory=dict)
    entries: dict[int, list[TranscriptEntry]] = field(default_factory=dict)

    def begin(self, place: int, plan: SessionPlan) -> None:
        """Take a session's plan down."""
        self.plans[place], self.entries[place] = plan, []

    def add(self, place: int, entry: TranscriptEntry) -> None:
        """Take a message down."""
        self.entries[place].append(entry)

    def seen(self, place: int, protocol: str) -> ServerView:
        """Compute what the server saw of a session."""
        return replay(PROTOCOLS[protocol], self.plans[place], self.entries[place])


def full_run(
    model: StreamedModel, ids: Tensor, how: Method, folder: Path, *, public: Tensor | None = None
) -> RecordedRun:
    """Prune a model by a run of the federation in which the clients hold these windows, one after the other."""
    run = RecordedRun(WorkFolder(folder))
    windows = Windows(ids, num_clients=CLIENTS, per_client=len(ids) // CLIENTS, length=ids.shape[1])
    Federation(
        model,
        windows,
        how,
        run.work,
        thresholds=thresholds(how.protocol),
        baselines=Baselines(public=public),
        transcript=run,
    ).run()
    return run


def same_rows(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> bool:
    """Say whether arrays are equal by name."""
    return found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in expected)
