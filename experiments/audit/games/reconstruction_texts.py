"""The windows of the game of reconstruction: the attacker's texts, and the clients' with planted tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from experiments.audit.games.board import Board
from experiments.audit.games.planted import COPIES, PER_CLIENT, Planted, plant, rare_tokens
from experiments.audit.games.texts import own_windows
from experiments.audit.worlds import operating_system_generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Who holds which windows.

    Attributes:
        ids: int64 (windows, tokens): the population's, then the clients', once for every number of copies.
        population: int64 (texts, windows of each), by number.
        victims: by number of copies, int64 (runs, clients, windows of each).
        planted: the clients' text.
        texts: int64 (texts, tokens), the population's.
    """

    ids: torch.Tensor = field(repr=False)
    population: np.ndarray = field(repr=False)
    victims: Mapping[int, np.ndarray] = field(repr=False)
    planted: Planted = field(repr=False)
    texts: np.ndarray = field(repr=False)


def laid_out(board: Board) -> Layout:
    """Cut windows and plant tokens in the clients'; coins and places by the operating system's generator."""
    each = board.windows_per_client
    of_run = board.clients * each
    own = board.flags.population // of_run * board.clients  # whole texts of a run, too
    ids = own_windows(board, parts=board.victims + own, per_part=each)
    texts = ids.reshape(len(ids), -1).numpy()
    clients, population = texts[: board.victims], texts[board.victims :]
    counts = np.bincount(population.reshape(-1), minlength=board.model.vocabulary_size)
    rare = rare_tokens(counts, clients, count=board.clients * PER_CLIENT)
    planted = plant(clients, rare, clients=board.clients, generator=operating_system_generator())
    every = np.concatenate([population, *planted.texts.values()])
    numbers = np.arange(len(every) * each).reshape(-1, each)
    victims = {
        copies: numbers[own + place * board.victims :][: board.victims].reshape(-1, board.clients, each)
        for place, copies in enumerate(COPIES)
    }
    return Layout(
        ids=torch.from_numpy(every.reshape(-1, board.length)),
        population=numbers[:own],
        victims=victims,
        planted=planted,
        texts=population,
    )
