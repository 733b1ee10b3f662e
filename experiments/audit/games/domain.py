"""The game of domains: what a client's text is about, told from its prune masks; and what a total is a mixture of.

Every client of a run holds windows of one domain. Which one is dealt by the operating system from a deck in which each
domain is as often as any other, and each window is used once: so clients are independent of one another, as
Clopper-Pearson intervals want it. The attacker makes clients of its own, of other windows of the same domains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.table import Table

from attacks.channels import Alignment
from attacks.domain import DomainAccuracy, DomainModel, MixtureModel
from attacks.inversion import MaskInverter
from attacks.mean_inversion import MeanInverter
from experiments.audit.games.board import PLAIN, Board, Played
from experiments.audit.games.domain_pictures import draw_domains
from experiments.audit.games.recovery import channels_of, log_energies, recovered
from experiments.audit.games.texts import DomainTexts, domain_windows
from experiments.audit.report import LEVEL
from experiments.audit.statistics import WindowStatistics
from experiments.audit.victims import SeenBlock, Victims
from experiments.audit.worlds import operating_system_generator
from experiments.audit.worlds_rows import MatrixRows
from fedprllm_secure.errors import InputError

VICTIMS = 96
LEAST_SPREAD = 1e-3  # nats; a channel without any would weigh without bound
ADVERSARIES = {
    "masks": "server of the protocol plain, which sees the prune mask of every client",
    "totals": "server of any protocol, which sees the totals of votes",
}
ADJACENCY = "none: the game compares no neighbouring data sets, so that no epsilon bounds its figures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """Who holds what: runs of clients that hold windows of one domain each.

    Attributes:
        domains: int64 (runs, clients).
        windows: int64 (runs, clients, windows of each), by number.
    """

    domains: np.ndarray = field(repr=False)
    windows: np.ndarray = field(repr=False)

    def proportions(self, count: int) -> np.ndarray:
        """Give each run's share of clients of each of ``count`` domains, float64 (runs, domains)."""
        return np.stack([np.bincount(each, minlength=count) for each in self.domains]) / self.domains.shape[1]


@dataclass(frozen=True, slots=True)
class DomainFigures:
    """What was told.

    Attributes:
        names: of the domains.
        accuracy: over clients.
        told: int64 (domains, domains), clients of each domain (a row) by what was told (a column).
        errors: float64 (runs,), total variation of the proportions told from the true ones.
        prior_errors: likewise of the mean proportions of the attacker's own runs.
    """

    names: tuple[str, ...]
    accuracy: DomainAccuracy
    told: np.ndarray
    errors: np.ndarray
    prior_errors: np.ndarray

    def as_json(self) -> dict[str, Any]:
        """Give them as JSON can hold them."""
        accuracy = self.accuracy
        return {
            "domains": list(self.names),
            "clients": accuracy.rows,
            "correct": accuracy.correct,
            "accuracy": accuracy.accuracy,
            "accuracy_interval": list(accuracy.interval),
            "interval": f"Clopper-Pearson at {accuracy.level:g}",
            "prior_accuracy": accuracy.prior_accuracy,
            "told": self.told.tolist(),
            "runs": len(self.errors),
            "total_variation": _spread(self.errors),
            "prior_total_variation": _spread(self.prior_errors),
            "total_variation_by_run": self.errors.tolist(),
            "prior_total_variation_by_run": self.prior_errors.tolist(),
        }


def default_victims(clients: int, domains: int) -> int:
    """Give about ``VICTIMS`` clients such that whole runs hold each domain equally often."""
    step = math.lcm(clients, domains)
    return max(VICTIMS // step, 1) * step


def play_domain(board: Board) -> Played:
    """Play.

    Raises:
        InputError: victims do not come out even, or the text does not do.
    """
    domains = board.flags.domains
    _check(board, domains)
    texts = domain_windows(board, domains=domains, count=board.victims // domains * board.windows_per_client)
    statistics = board.survey(texts.ids)
    deal = dealt(texts, runs=board.victims // board.clients, clients=board.clients, each=board.windows_per_client)
    generator = np.random.Generator(np.random.PCG64([board.flags.seed, 2]))
    own = drawn(texts, generator, runs=board.flags.labelled_runs, clients=board.clients, each=board.windows_per_client)
    with board.side_by_side():
        clients, totals = _estimates(board, statistics, deal, own)
    figures = measure(texts.names, deal, own, clients=clients, totals=totals)
    return Played(
        adversaries=ADVERSARIES,
        adjacency=ADJACENCY,
        figures=figures.as_json(),
        tables=_tables(figures),
        lines=(
            "both sides' windows are of the same domains and of different pieces of text; of one long document both "
            "may hold some",
        ),
        draw=partial(draw_domains, figures.as_json()),
        windows=len(texts.ids),
    )


def _check(board: Board, domains: int) -> None:
    if domains < 2:
        raise InputError(f"--domains {domains} must be at least 2")
    if board.clients < 2:
        raise InputError(f"--clients {board.clients} must be at least 2: a total of one client is its mask")
    if board.victims % math.lcm(board.clients, domains):
        raise InputError(
            f"--victims {board.victims} must be a multiple of --clients {board.clients} and of --domains {domains}"
        )
    if board.flags.labelled_runs < 2 * domains:
        raise InputError(
            f"--labelled-runs {board.flags.labelled_runs} must be at least {2 * domains}, twice --domains, to learn "
            "what totals are mixtures of"
        )


def dealt(texts: DomainTexts, *, runs: int, clients: int, each: int) -> Deal:
    """Deal domains and windows to victims by the operating system's generator; every window is used once."""
    generator = operating_system_generator()
    deck = np.repeat(np.arange(len(texts.names)), runs * clients // len(texts.names))
    domains = generator.permutation(deck)
    windows = np.empty((len(domains), each), np.int64)
    for domain, held in enumerate(texts.victims):
        windows[domains == domain] = generator.permutation(held).reshape(-1, each)
    return Deal(domains=domains.reshape(runs, clients), windows=windows.reshape(runs, clients, each))


def drawn(texts: DomainTexts, generator: np.random.Generator, *, runs: int, clients: int, each: int) -> Deal:
    """Draw the attacker's own runs: domains at will, and windows anew for every client."""
    domains = generator.integers(0, len(texts.names), (runs, clients))
    windows = [generator.choice(texts.own[domain], each, replace=False) for domain in domains.reshape(-1)]
    return Deal(domains=domains, windows=np.stack(windows).reshape(runs, clients, each))


def _estimates(board: Board, statistics: WindowStatistics, deal: Deal, own: Deal) -> tuple[Alignment, Alignment]:
    """Estimate log-energies behind every client's mask, and their means behind every total, of victims and own runs."""
    channels = statistics.energies.shape[1]
    clients, totals = Alignment(channels), Alignment(channels)
    sessions = board.vote_sessions(statistics)
    groups = np.arange(len(statistics.energies))[:, None]
    victims = Victims(deal.windows, groups, sessions={PLAIN: sessions})
    spread = log_energies(statistics, own.windows.reshape(-1, own.windows.shape[-1])).std(0) / 2
    done = 0
    with torch.no_grad():
        for block in statistics.blocks():
            seen = victims.block(block)[PLAIN]
            for matrix in block.matrices:
                maker = MatrixRows(block, matrix, sessions.payload, groups)
                _add(board, maker, seen, own, clients, totals, channels_of(statistics, block, matrix), spread)
                done += 1
                board.progress("audit", done, board.num_matrices)
    return clients, totals


def _add(
    board: Board,
    maker: MatrixRows,
    seen: SeenBlock,
    own: Deal,
    clients: Alignment,
    totals: Alignment,
    channels: np.ndarray,
    spread: np.ndarray,
) -> None:
    """Add what one matrix tells."""
    assert seen.masks is not None  # plain shows them
    name, runs = maker.matrix.name, len(own.domains)
    masks = np.stack([maker.mask(windows) for windows in own.windows.reshape(-1, own.windows.shape[-1])])
    of_runs = masks.reshape(runs, -1, *masks.shape[1:]).sum(1, dtype=np.int32)
    inverter = MaskInverter.fit(masks, maker.log_weights())
    clients.add(
        channels,
        inverter.live.astype(np.float64),
        victims=recovered(board, inverter, seen.masks[name]),
        own=recovered(board, inverter, masks),
    )
    mean = MeanInverter.fit(
        of_runs,
        maker.log_weights(),
        trials=own.domains.shape[1],
        spread=np.maximum(spread[channels], LEAST_SPREAD),
    )
    totals.add(channels, mean.information, victims=mean.invert(seen.totals[name]), own=mean.invert(of_runs))


def measure(names: tuple[str, ...], deal: Deal, own: Deal, *, clients: Alignment, totals: Alignment) -> DomainFigures:
    """Learn from the attacker's own runs and tell the victims'."""
    truth = deal.domains.reshape(-1)
    model = DomainModel(clients.averaged("own"), own.domains.reshape(-1))
    accuracy = model.accuracy(clients.averaged("victims"), truth, level=1 - LEVEL)
    guessed = model.domains[model.probabilities(clients.averaged("victims")).argmax(1)]
    told = np.zeros((len(names), len(names)), np.int64)
    np.add.at(told, (truth, guessed), 1)
    mixture = MixtureModel(totals.averaged("own"), own.proportions(len(names)))
    errors, prior_errors = mixture.errors(totals.averaged("victims"), deal.proportions(len(names)))
    return DomainFigures(names, accuracy, told, errors, prior_errors)


def _spread(values: np.ndarray) -> dict[str, float | None]:
    deviation = float(values.std(ddof=1)) if len(values) > 1 else None
    return {"mean": float(values.mean()), "standard_deviation": deviation}


def _tables(figures: DomainFigures) -> Sequence[Table]:
    """Lay figures out: one table of what was told, one of the summary."""
    accuracy = figures.accuracy
    low, high = accuracy.interval
    summary = Table("what is told", "seen", "figure", "without looking", title="domains of clients' text")
    summary.add_row(
        "domain of a client",
        "its prune mask",
        f"{accuracy.accuracy:.3f} [{low:.3f}, {high:.3f}] right, {accuracy.correct} of {accuracy.rows}",
        f"{accuracy.prior_accuracy:.3f}",
    )
    summary.add_row(
        "proportions of domains",
        "totals",
        f"{_written(figures.errors)} total variation from the truth, {len(figures.errors)} runs",
        _written(figures.prior_errors),
    )
    told = Table("domain", *figures.names, title="clients of a domain (rows) by what was told (columns)")
    for name, row in zip(figures.names, figures.told, strict=True):
        told.add_row(name, *map(str, row))
    return [summary, told]


def _written(values: np.ndarray) -> str:
    spread = _spread(values)
    deviation = spread["standard_deviation"]
    return f"{spread['mean']:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")
