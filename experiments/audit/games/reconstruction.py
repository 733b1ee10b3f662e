"""The game of reconstruction: which tokens a client's text holds, and how far its prune masks give activations away.

Histograms of tokens come from the energies that enter block 0, which a server of statistics has outright and a server
of prune masks by inverting them. Beside them stands, for every matrix of the model, how near inverted masks come to
the log-energies that made them. Tokens planted by fair coins say whether a single rare word is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch

from attacks.channels import Alignment
from attacks.inversion import MaskInverter
from experiments.audit.games.board import PLAIN, Board, Played
from experiments.audit.games.histograms import LEAST_ERROR, Seen, counts_of, told
from experiments.audit.games.planted import COPIES, PER_CLIENT
from experiments.audit.games.reconstruction_pictures import draw_reconstruction
from experiments.audit.games.reconstruction_tables import histogram_table, inversion_table
from experiments.audit.games.reconstruction_texts import Layout, laid_out
from experiments.audit.games.recovery import MatrixRecovery, channels_of, log_energies, recovered
from experiments.audit.sharing import exact_sharing
from experiments.audit.statistics import WindowStatistics
from experiments.audit.token_energies import token_energies
from experiments.audit.victims import Victims
from experiments.audit.worlds_rows import MatrixRows
from fedprllm_secure.errors import InputError

VICTIMS = 24
FIT = 0.02  # most that energies may differ from histograms times the table, as a share
ADVERSARIES = {
    "statistics of a client": "server of the protocol plain, which sees the statistics of every client",
    "statistics of all clients": "server of any protocol, which sees the totals of statistics",
    "prune masks of a client": "server of the protocol plain, which sees the prune masks of every client",
}
ADJACENCY = "none: a histogram is no question about neighbouring data sets, and a planted token is no unit of a claim"


def default_victims(clients: int) -> int:
    """Give about ``VICTIMS`` clients in whole runs, two runs at least."""
    return max(VICTIMS // clients, 2) * clients


def play_reconstruction(board: Board) -> Played:
    """Play.

    Raises:
        InputError: victims or population do not come out even, the text is too short, or block 0 mixes tokens.
    """
    _check(board)
    table = token_energies(board.model)
    layout = laid_out(board)
    statistics = board.survey(layout.ids, is_kept=False)  # tokens are planted anew in every command
    source = _first_source(statistics, layout, table)
    with board.side_by_side():
        of_client, of_run = _of_statistics(board, statistics, layout, table, source)
        recoveries, of_masks = _of_masks(board, statistics, layout, table, source)
        generator = np.random.Generator(np.random.PCG64([board.flags.seed, 3]))
        figures = {
            name: told(board, name, seen, generator=generator)
            for name, seen in zip(ADVERSARIES, (of_client, of_run, of_masks), strict=True)
        }
    written = {
        "histograms": {name: each.as_json() for name, each in figures.items()},
        "mask_inversion": [each.as_json() for each in recoveries],
    }
    return Played(
        adversaries=ADVERSARIES,
        adjacency=ADJACENCY,
        figures=written,
        tables=[histogram_table(figures), inversion_table(recoveries)],
        lines=(
            f"{PER_CLIENT} rare tokens are asked about in every client's text; by the population's histogram alone the "
            "AUC of telling them is 0.5",
        ),
        draw=partial(draw_reconstruction, written),
        windows=len(layout.ids),
    )


def _check(board: Board) -> None:
    if board.clients < 2:
        raise InputError(f"--clients {board.clients} must be at least 2: a total of one client is its statistics")
    if board.victims % board.clients or board.victims < 2 * board.clients:
        raise InputError(
            f"--victims {board.victims} must be --clients {board.clients} times the runs, at least two runs"
        )
    least = 2 * board.clients * board.windows_per_client
    if board.flags.population < least:
        raise InputError(
            f"--population {board.flags.population} must be at least {least}: two texts as long as a run's"
        )


def _first_source(statistics: WindowStatistics, layout: Layout, table: np.ndarray) -> str:
    """Find the input of block 0 whose energies are histograms times the table.

    Raises:
        InputError: there is none.
    """
    truth = counts_of(layout.texts[:2], len(table)) @ table
    for (block, source), place in statistics.channels.items():
        if block == 0 and place.stop - place.start == table.shape[1]:
            energies = statistics.energies[layout.population[:2], place].sum(1)
            if np.abs(energies - truth).max() <= FIT * truth.mean():
                return source
    raise InputError(
        "--game reconstruction: what enters block 0 is no sum over the text's tokens in this model and precision; try "
        "--dtype float32 with --hidden-dtype float32"
    )


def _of_statistics(
    board: Board, statistics: WindowStatistics, layout: Layout, table: np.ndarray, source: str
) -> tuple[Seen, Seen]:
    """Take all runs through sessions of statistics; gives what the server has of every client, and of every run."""
    sizes = {"num_clients": board.clients, "per_client": board.windows_per_client}
    sharing = exact_sharing(statistics, board.statistics, **sizes)
    sessions = board.statistics_sessions(statistics)
    name = _vector_name(statistics, source)
    unit = 2.0 ** -sharing.contents.public["exponents"][name]
    clients: dict[int, np.ndarray] = {}
    totals: dict[int, np.ndarray] = {}
    for copies, every in layout.victims.items():
        held = [sessions.hold(sharing.contents, [sharing.vectors(windows) for windows in run]) for run in every]
        own = [each.vectors[client][name] for each in held for client in range(board.clients)]
        clients[copies] = np.stack(own).astype(np.float64) * unit
        totals[copies] = np.stack([each.seen.totals[name] for each in held]).astype(np.float64) * unit
    place = statistics.channels[0, source]
    known = counts_of(layout.texts, len(table)) @ table
    off = np.log(statistics.energies[layout.population, place].sum(1)) - np.log(known)
    error = np.maximum(np.sqrt((off**2).mean(0)), LEAST_ERROR)
    coins, asked = layout.planted.coins, layout.planted.tokens
    of_client = _seen(layout, table, clients, error=error, is_scale_known=True, asked=asked, coins=coins)
    runs = board.victims // board.clients
    of_run = _seen(
        layout,
        table,
        totals,
        error=error,
        is_scale_known=True,
        asked=asked.reshape(runs, -1),
        coins=coins.reshape(runs, -1),
    )
    return of_client, of_run


def _vector_name(statistics: WindowStatistics, source: str) -> str:
    with statistics.block(0) as block:
        matrix = next(each for each in block.matrices if block.view().source(each) == source)
    return f"{matrix.name}.input"


def _seen(
    layout: Layout,
    table: np.ndarray,
    energies: dict[int, np.ndarray],
    *,
    error: np.ndarray,
    is_scale_known: bool,
    asked: np.ndarray,
    coins: np.ndarray,
) -> Seen:
    """Put a view together; rows are of a client, or of as many as make up a run."""
    rows = len(asked)
    each = layout.population.size * layout.ids.shape[1] // len(layout.texts)
    together = len(layout.planted.tokens) // rows
    truth = {
        copies: counts_of(texts.reshape(rows, each * together), len(table))
        for copies, texts in layout.planted.texts.items()
    }
    return Seen(
        energies=energies,
        truth=truth,
        table=table,
        population=counts_of(layout.texts.reshape(-1, each * together), len(table)),
        error=error,
        is_scale_known=is_scale_known,
        asked=asked,
        coins=coins,
    )


def _of_masks(
    board: Board, statistics: WindowStatistics, layout: Layout, table: np.ndarray, source: str
) -> tuple[list[MatrixRecovery], Seen]:
    """Take all runs through sessions of votes, and invert every mask that the server sees."""
    sessions = board.vote_sessions(statistics)
    groups = np.arange(len(statistics.energies))[:, None]
    victims = {copies: Victims(runs, groups, sessions={PLAIN: sessions}) for copies, runs in layout.victims.items()}
    first = COPIES[0]
    truth = log_energies(statistics, layout.victims[first].reshape(-1, board.windows_per_client))
    own = log_energies(statistics, layout.population)
    found: list[MatrixRecovery] = []
    aligned = Alignment(statistics.energies.shape[1])
    with torch.no_grad():
        for block in statistics.blocks():
            wanted = COPIES if block.index == 0 else (first,)
            masks = {copies: victims[copies].block(block)[PLAIN].masks for copies in wanted}
            for matrix in block.matrices:
                maker = MatrixRows(block, matrix, sessions.payload, groups)
                reference = np.stack([maker.mask(windows) for windows in layout.population])
                inverter = MaskInverter.fit(reference, maker.log_weights())
                rows = {copies: _rows(each, matrix.name) for copies, each in masks.items()}
                estimates = {copies: recovered(board, inverter, each) for copies, each in rows.items()}
                channels = channels_of(statistics, block, matrix)
                found.append(
                    MatrixRecovery.of(
                        block.index,
                        matrix.name,
                        found=estimates[first],
                        truth=truth[:, channels],
                        prior=own[:, channels].mean(0),
                        live=inverter.live,
                        masks=rows[first],
                        bits_reproduced=inverter.reproduced(rows[first], estimates[first] / 2),
                    )
                )
                if block.index == 0 and block.view().source(matrix) == source:
                    named = {f"copies {copies}": each for copies, each in estimates.items()}
                    aligned.add(
                        channels,
                        inverter.live.astype(np.float64),
                        own=recovered(board, inverter, reference),
                        **named,
                    )
                board.progress("audit", len(found), board.num_matrices)
    return found, _seen_of_masks(statistics, layout, table, source, aligned, own)


def _rows(masks: Mapping[str, np.ndarray] | None, name: str) -> np.ndarray:
    assert masks is not None  # plain shows them
    return masks[name]


def _seen_of_masks(
    statistics: WindowStatistics,
    layout: Layout,
    table: np.ndarray,
    source: str,
    aligned: Alignment,
    own: np.ndarray,
) -> Seen:
    """Turn recovered log-energies into energies up to a factor; the attacker learns their error from its own masks."""
    place = statistics.channels[0, source]
    channels = aligned.seen
    off = aligned.averaged("own") - aligned.applied(own)
    error = np.maximum(np.sqrt((off**2).mean(0)), LEAST_ERROR)
    energies = {copies: np.exp(aligned.averaged(f"copies {copies}")) for copies in layout.victims}
    return _seen(
        layout,
        table[:, channels - place.start],
        energies,
        error=error,
        is_scale_known=False,
        asked=layout.planted.tokens,
        coins=layout.planted.coins,
    )
