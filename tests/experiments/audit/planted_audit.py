"""Audits whose scores are planted: attacks that see every coin, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from experiments.audit.game import Audit, Scored
from experiments.audit.jobs import Job, Truth
from experiments.audit.matrix import Configuration, What, cells_of
from experiments.audit.report import CellReport, cell_reports
from fedprllm_secure.privacy.adjacency import Adjacency
from fedprllm_secure.privacy.release import Sensitivity
from fedprllm_secure.privacy.session_noise import SessionNoise, plan_noise
from fedprllm_secure.privacy.target import PrivacyTarget
from tests.experiments.audit.tiny_audit import CLIENTS, thresholds

RUNS, TARGETS = 60, 4
CLOSED = -1  # the coin of a target that is not in play in a run


@dataclass(frozen=True)
class Sessions:
    """Sessions of which only the noise is looked at."""

    noises: list[SessionNoise] = field(default_factory=list)

    def noise_sd(self, what: What, *, clients: int) -> float:
        """Say none."""
        return 0.0


def sessions_of(protocol: str, privacy: PrivacyTarget | None) -> Sessions:
    """Size noise for a target."""
    if privacy is None:
        return Sessions()
    moves = Sensitivity(l1=500, l2_squared=2500)
    return Sessions(
        plan_noise(privacy, [(moves, 100)], protocol=protocol, thresholds=thresholds(protocol), num_clients=CLIENTS)
    )


def truth() -> Truth:
    """Toss coins of a fixed generator; the last target is in play in every other run."""
    coins = np.random.default_rng(0).integers(0, 2, (RUNS, TARGETS)).astype(np.int8)
    coins[::2, -1] = CLOSED
    return Truth(coins, np.arange(RUNS))


def audit_of(
    *configurations: Configuration, seeing: Mapping[str, bool], refused: Mapping[str, str] | None = None
) -> Audit:
    """Make an audit of attacks that see every coin, or nothing."""
    cells = [cell for each in configurations for cell in cells_of(each, colluders=1)]
    generator = np.random.default_rng(1)
    scored = {}
    for cell in cells:
        known = truth()
        scores = {
            name: np.where(sees, known.coins.astype(np.float64), 0) + 0.1 * generator.random(known.coins.shape)
            for name, sees in seeing.items()
        }
        job = Job(
            name=cell.job,
            what=cell.what,
            configuration=cell.configuration.name,
            kind="choice" if cell.what == "choice" else "totals",
            clients=2 if cell.what == "less" else CLIENTS,
            noise_sd=0.0,
            truth=known,
        )
        scored[cell.job] = Scored(job, scores, refused or {})
    return Audit(cells, scored, {each.name: sessions_of(each.protocol, each.privacy) for each in configurations})


def reports_of(audit: Audit, adjacency: Adjacency = "window-replace") -> list[CellReport]:
    """Report it: contributions of 6 dimensions, two a client."""
    return cell_reports(audit, adjacency=adjacency, effective=6.0, slots_of_client=2, seed=0)
