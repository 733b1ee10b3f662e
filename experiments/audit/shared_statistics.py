"""An audit of shared statistics: one session for all blocks, exact or clipped and noisy; one vector a row.

Victims' vectors go through the real protocol and noise, and what the server sees is computed from the bytes it
received, as in the audit of votes. The attacker makes its own sums of contributions, with noise of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from attacks.evidence import Kind, Setting, StatisticsSight
from experiments.audit.game import Audit, Game, Scored
from experiments.audit.held import Held, SessionHolder
from experiments.audit.jobs import MOST_MASK_ROWS, Job, mask_rows
from experiments.audit.matrix import Configuration, What, cells_of
from experiments.audit.run import Progress
from experiments.audit.scoring import AttackScores
from experiments.audit.sharing import Vectors, exact_sharing, noisy_sharing
from experiments.audit.worlds import Worlds
from experiments.audit.worlds_rows import windows_of
from fedprllm_secure.method import Method
from fedprllm_secure.privacy.session_noise import SessionNoise, plan_noise
from fedprllm_secure.thresholds import Thresholds

KINDS: Mapping[What, Kind] = {
    "masks": "statistics",
    "totals": "statistics",
    "less": "statistics",
    "released": "statistics",
}


class StatisticsSessions:
    """The sessions of one configuration."""

    def __init__(self, game: Game, method: Method, *, thresholds: Thresholds, folder: Path) -> None:
        """Prepare.

        Args:
            game: its statistics were surveyed with public text where there is noise.
            method: of statistics.
            thresholds: of every session.
            folder: a fresh one, for the numbers of sessions.

        Raises:
            InputError: a target of differential privacy cannot be met.
        """
        self.method, self._windows_of_client = method, game.plan.windows_per_client
        self._clients = game.plan.clients
        self.noises: list[SessionNoise] = []
        sizes = {"num_clients": self._clients, "per_client": self._windows_of_client}
        if method.privacy is None:
            self.sharing = exact_sharing(game.statistics, method, **sizes)
        else:
            exact = [game.statistics.federation.residual_sensitivity(method.privacy.adjacency, method.rank)]
            self.noises = plan_noise(
                method.privacy,
                exact,
                protocol=method.protocol,
                thresholds=thresholds,
                num_clients=self._clients,
            )
            self.sharing = noisy_sharing(game.statistics, method, self.noises[0], **sizes)
        self._holder = SessionHolder(
            game.statistics,
            num_clients=self._clients,
            method=method,
            thresholds=thresholds,
            colluders=game.colluders,
            folder=folder,
        )

    def noise_sd(self, what: What, *, clients: int) -> float:
        """Give the standard deviation of the noise on every entry of what is seen of these clients."""
        if not self.noises:
            return 0.0
        noise = self.noises[0]
        if noise.is_distributed:
            return float(clients * noise.added) ** 0.5
        return float(noise.full) ** 0.5 if what == "released" else 0.0

    def client(self, windows: NDArray[np.int64]) -> Vectors:
        """Give what a client with these windows submits, negative numbers none; zeros without any."""
        own = windows[windows >= 0]
        if len(own):
            return self.sharing.vectors(own)
        return {spec.name: torch.zeros(spec.length, dtype=torch.int64) for spec in self.sharing.contents.specs}

    def hold(self, windows: NDArray[np.int64]) -> Held:
        """Hold a session of clients with these windows, (clients, windows)."""
        return self._holder.hold(self.sharing.contents, [self.client(own) for own in windows])


def audit_statistics(
    game: Game,
    methods: Mapping[Configuration, Method],
    *,
    thresholds: Callable[[Configuration], Thresholds],
    attacks: Sequence[str],
    progress: Progress = lambda *_: None,
) -> Audit:
    """Hold all sessions of all configurations and score; what the public sees of the pruned model is not played.

    Args:
        game: the worlds.
        methods: how each configuration prunes: statistics, with dense propagation.
        thresholds: of each configuration's sessions.
        attacks: names.
        progress: receives (phase, done, total).

    Raises:
        InputError: a configuration cannot be run by so few clients, or its privacy target cannot be met.
    """
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        sessions = {
            each.name: StatisticsSessions(game, method, thresholds=thresholds(each), folder=Path(folder) / str(number))
            for number, (each, method) in enumerate(methods.items())
        }
        cells = [
            replace(cell, job=f"{cell.job.removesuffix(f' of {each.name}')} of {each.name}")  # units may differ
            for each in methods
            for cell in cells_of(each, colluders=game.colluders)
            if cell.what != "choice"
        ]
        jobs = game.jobs(cells, sessions, KINDS)
        seen, units = {}, {name: _units(game, each) for name, each in sessions.items()}
        progress("audit", 0, len(sessions) + len(jobs))
        for done, (name, each) in enumerate(sessions.items(), start=1):
            seen[name] = _seen(game, each)
            progress("audit", done, len(sessions) + len(jobs))
        scored = {}
        for done, (name, job) in enumerate(jobs.items(), start=len(sessions) + 1):
            unit = units[job.configuration]
            scoring = AttackScores(_setting(game, job, unit), attacks)
            sight = _sight(game, job, sessions[job.configuration], seen[job.configuration][job.what], unit)
            with ThreadPoolExecutor(1) as workers:
                scoring.see(sight, workers)
            scored[name] = Scored(job, scoring.scores(), scoring.refused)
            progress("audit", done, len(sessions) + len(jobs))
        return Audit(cells, scored, sessions)


def _seen(game: Game, sessions: StatisticsSessions) -> dict[What, NDArray[np.float64]]:
    """Take every world through a session; gives rows (rows, entries) by what is seen."""
    rows: dict[What, list[NDArray[np.float64]]] = {"masks": [], "totals": [], "less": [], "released": []}
    row = sessions.sharing.row
    for windows in windows_of(game.worlds.contributions, game.contributions.groups):
        held = sessions.hold(windows)
        totals = row(held.seen.totals)
        rows["totals"].append(totals)
        rows["released"].append(row(held.left))
        rows["less"].append(totals - sum(row(each) for each in held.colluding.values()))
        rows["masks"] += [row(held.vectors[client]) for client in sorted(held.vectors)]
    return {what: np.stack(found) for what, found in rows.items() if found}


def _units(game: Game, sessions: StatisticsSessions) -> NDArray[np.float64]:
    """Give each entry's root mean square among the attacker's contributions, float64 (entries,); 1 where all are 0."""
    unit = np.sqrt((_rows_of(game.contributions.groups[game.contributions.population], sessions) ** 2).mean(0))
    unit[unit == 0] = 1.0
    return unit


def _setting(game: Game, job: Job, unit: NDArray[np.float64]) -> Setting:
    """Give what the attacker knows of a job.

    The noise is as great on every entry, but not in the entries' units; the setting has one figure for all, the root
    mean square of what it is in these. Rows of single clients are those of every client, up to as many as are kept.
    """
    setting = game.setting(job)
    noise_sd = job.noise_sd * float(np.sqrt((1 / unit**2).mean()))
    return replace(setting, noise_sd=noise_sd, coins=mask_rows(game.labelled) if job.what == "masks" else setting.coins)


def _sight(
    game: Game,
    job: Job,
    sessions: StatisticsSessions,
    observed: NDArray[np.float64],
    unit: NDArray[np.float64],
) -> StatisticsSight:
    """Give what is seen, in units of each entry."""
    contributions = game.contributions
    labelled, reference = (_own_rows(game, job, sessions, worlds) for worlds in (game.labelled, game.reference))
    return StatisticsSight(
        name="statistics",
        rows=np.concatenate([observed, labelled]) / unit,
        reference=reference / unit,
        contributions=_rows_of(contributions.known, sessions) / unit,
        population=_rows_of(contributions.groups[contributions.population], sessions) / unit,
    )


def _rows_of(contributions: NDArray[np.int64], sessions: StatisticsSessions) -> NDArray[np.float64]:
    """Give what contributions, (contributions, windows), would each share alone, (contributions, entries)."""
    return np.stack([sessions.sharing.row(sessions.client(own)) for own in contributions])


def _own_rows(game: Game, job: Job, sessions: StatisticsSessions, worlds: Worlds) -> NDArray[np.float64]:
    """Make the attacker's own rows, with noise of its own: what its clients would share, single or added up."""
    windows = windows_of(worlds.contributions, game.contributions.held)
    if job.what == "masks":
        rows = _rows_of(windows.reshape(-1, windows.shape[-1])[:MOST_MASK_ROWS], sessions)
    else:
        rows = np.stack([_rows_of(clients[: job.clients], sessions).sum(0) for clients in windows])
    return rows + job.noise_sd * game.generator.standard_normal(rows.shape)
