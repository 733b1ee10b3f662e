"""The game of linkage: whether a client is known again in another run, by the prune masks of both.

Two runs have the same clients in different order. Each client has some windows in both, from none to all; the others
are of its own text, too. With the very same windows the masks are the same bit by bit, so that identification is
certain by construction; with fewer in common it measures what masks give away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.table import Table

from attacks.linkage import Linkage, Linked
from experiments.audit.games.board import PLAIN, Board, Played
from experiments.audit.games.linkage_pictures import draw_linkage
from experiments.audit.games.texts import own_windows
from experiments.audit.statistics import WindowStatistics
from experiments.audit.victims import Victims
from experiments.audit.worlds import operating_system_generator
from fedprllm_secure.errors import InputError

VICTIMS = 64
QUARTERS = (0, 1, 2, 3, 4)  # of a client's windows that both runs have
ADVERSARIES = {"masks": "server of two runs of the protocol plain, which sees the prune mask of every client in both"}
ADJACENCY = "none: the game compares no neighbouring data sets, so that no epsilon bounds its figures"
BY_CONSTRUCTION = "by construction: the same windows make the same prune mask, bit by bit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two runs of the same clients, the second once for every share of windows in common.

    Attributes:
        first: int64 (clients, windows of each).
        seconds: by quarters in common, likewise; client ``same[i]`` of the first run is client i here.
        same: int64 (clients,).
    """

    first: np.ndarray = field(repr=False)
    seconds: dict[int, np.ndarray] = field(repr=False)
    same: np.ndarray

    @property
    def worlds(self) -> np.ndarray:
        """All runs, int64 (1 + shares, clients, windows of each)."""
        return np.stack([self.first, *self.seconds.values()])


@dataclass(frozen=True, slots=True)
class Share:
    """How well clients are known again at one share of windows in common.

    Attributes:
        shared: the share.
        identified: float64 (pairs of runs,), share of clients whose nearest mask was their own.
        equal_errors: float64 (pairs of runs,), equal error rate of one cutoff on the distance.
        chance: what guessing identifies.
    """

    shared: float
    identified: np.ndarray
    equal_errors: np.ndarray
    chance: float

    @classmethod
    def of(cls, linked: Sequence[Linked]) -> Share:
        """Take what all pairs tell."""
        identified = np.array([each.identification_rate for each in linked])
        errors = np.array([each.equal_error_rate for each in linked])
        return cls(linked[0].shared, identified, errors, linked[0].chance)

    def as_json(self) -> dict[str, Any]:
        """Give it as JSON can hold it."""
        return {
            "shared": self.shared,
            "is_by_construction": self.shared == 1.0,
            "pairs_of_runs": len(self.identified),
            "identification_rate": _spread(self.identified),
            "equal_error_rate": _spread(self.equal_errors),
            "chance": self.chance,
            "identification_rate_by_pair": self.identified.tolist(),
            "equal_error_rate_by_pair": self.equal_errors.tolist(),
        }


def default_victims(clients: int) -> int:
    """Give about ``VICTIMS`` clients in whole pairs of runs, two pairs at least."""
    return max(VICTIMS // clients, 2) * clients


def possible_quarters(per_client: int) -> tuple[int, ...]:
    """List the quarters that are whole windows of a client."""
    return tuple(quarters for quarters in QUARTERS if quarters * per_client % 4 == 0)


def play_linkage(board: Board) -> Played:
    """Play.

    Raises:
        InputError: there are too few clients or pairs of runs, or the text is too short.
    """
    each = board.windows_per_client
    if board.clients < 2:
        raise InputError(f"--clients {board.clients} must be at least 2: one client is always found")
    if board.victims % board.clients or board.victims < 2 * board.clients:
        raise InputError(
            f"--victims {board.victims} must be --clients {board.clients} times the pairs of runs, at least two pairs"
        )
    ids = own_windows(board, parts=board.victims, per_part=2 * each).reshape(-1, board.length)
    statistics = board.survey(ids)
    generator = operating_system_generator()
    held = np.arange(len(ids)).reshape(-1, board.clients, 2 * each)
    pairs = [drawn(generator, windows, quarters=possible_quarters(each)) for windows in held]
    with board.side_by_side():
        shares = _linked(board, statistics, pairs)
    return _told(shares, each=each, windows=len(ids))


def drawn(generator: np.random.Generator, held: np.ndarray, *, quarters: Sequence[int]) -> Pair:
    """Draw two runs of clients.

    Args:
        generator: of who is who, and of which windows are in common.
        held: int64 (clients, twice the windows of a client in a run).
        quarters: of a client's windows that both runs have, a second run for each.
    """
    each = held.shape[1] // 2
    mixed = generator.permuted(held, axis=1)
    same = generator.permutation(len(held))
    first, fresh = mixed[:, :each], mixed[:, each:]
    seconds = {}
    for count in quarters:
        kept = count * each // 4
        seconds[count] = np.concatenate([first[:, :kept], fresh[:, : each - kept]], axis=1)[same]
    return Pair(first=first, seconds=seconds, same=same)


def _linked(board: Board, statistics: WindowStatistics, pairs: Sequence[Pair]) -> list[Share]:
    """Take all runs of all pairs through sessions, and compare."""
    sessions = {PLAIN: board.vote_sessions(statistics)}
    groups = np.arange(len(statistics.energies))[:, None]
    victims = [Victims(pair.worlds, groups, sessions=sessions) for pair in pairs]
    linkages = [
        {quarters: Linkage(pair.same, first_clients=board.clients, shared=quarters / 4) for quarters in pair.seconds}
        for pair in pairs
    ]
    done, total = 0, statistics.model.num_blocks * len(pairs)
    with torch.no_grad():
        for block in statistics.blocks():
            for number, linkage in enumerate(linkages):
                masks = victims[number].block(block)[PLAIN].masks
                assert masks is not None  # plain shows them
                for matrix in block.matrices:
                    runs = masks[matrix.name].astype(bool).reshape(-1, board.clients, *matrix.shape)
                    for second, each in zip(runs[1:], linkage.values(), strict=True):
                        each.see(runs[0], second)
                done += 1
                board.progress("linking block", done, total)
    return [Share.of([linkage[quarters].result() for linkage in linkages]) for quarters in pairs[0].seconds]


def _told(shares: Sequence[Share], *, each: int, windows: int) -> Played:
    missing = [quarters for quarters in QUARTERS if quarters not in possible_quarters(each)]
    not_played = {
        f"{quarters / 4:g}": f"{25 * quarters} % of --windows-per-client {each} is no whole number of windows"
        for quarters in missing
    }
    figures = {"shares": [share.as_json() for share in shares], "shares_not_played": not_played}
    lines = [f"100 % is certain {BY_CONSTRUCTION}"]
    if missing:
        lines.append(
            f"not played: {', '.join(f'{25 * quarters} %' for quarters in missing)} in common, which "
            f"--windows-per-client {each} does not divide into; a multiple of 4 plays all"
        )
    return Played(
        adversaries=ADVERSARIES,
        adjacency=ADJACENCY,
        figures=figures,
        tables=[_table(shares)],
        lines=lines,
        draw=partial(draw_linkage, figures),
        windows=windows,
    )


def _table(shares: Sequence[Share]) -> Table:
    pairs = len(shares[0].identified)
    table = Table(
        "windows in common",
        "identified",
        "by guessing",
        "equal error rate",
        title=f"clients known again by their prune mask, {pairs} pairs of runs, mean ± standard deviation",
    )
    for share in shares:
        note = " (by construction)" if share.shared == 1.0 else ""
        table.add_row(
            f"{100 * share.shared:g} %{note}",
            _written(share.identified),
            f"{share.chance:.3f}",
            _written(share.equal_errors),
        )
    return table


def _spread(values: np.ndarray) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "standard_deviation": float(values.std(ddof=1)),
        "least": float(values.min()),
        "greatest": float(values.max()),
    }


def _written(values: np.ndarray) -> str:
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"
