"""Rare tokens planted in clients' text by fair coins, to measure whether a reconstruction tells that they are there.

In every run each client is asked about some tokens of its own, which its text does not hold. A coin of the operating
system's decides of each whether it is planted there; where it is, it takes the place of other tokens, once in one
variant of the text and several times in the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fedprllm_secure.errors import InputError

PER_CLIENT = 8  # tokens that are asked about in a client's text
COPIES = (1, 4)


@dataclass(frozen=True, slots=True)
class Planted:
    """Texts with planted tokens.

    Attributes:
        texts: by number of copies, int64 (clients, tokens).
        tokens: int64 (clients, ``PER_CLIENT``), the tokens that are asked about.
        coins: bool (clients, ``PER_CLIENT``), whether each is planted.
    """

    texts: dict[int, np.ndarray] = field(repr=False)
    tokens: np.ndarray
    coins: np.ndarray = field(repr=False)


def rare_tokens(population: np.ndarray, texts: np.ndarray, *, count: int) -> np.ndarray:
    """Find the tokens that the population has least of, among those that no client's text holds.

    Args:
        population: int64 (vocabulary,), how often each token occurs there.
        texts: int64 (clients, tokens).
        count: how many are wanted.

    Raises:
        InputError: fewer tokens are absent.
    """
    absent = np.setdiff1d(np.arange(len(population)), texts)
    if len(absent) < count:
        raise InputError(
            f"--game reconstruction plants {count} tokens that the clients' text does not hold, and only {len(absent)} "
            "are absent; lower --victims, --clients or --windows-per-client"
        )
    return absent[np.argsort(population[absent], kind="stable")[:count]]


def plant(texts: np.ndarray, rare: np.ndarray, *, clients: int, generator: np.random.Generator) -> Planted:
    """Plant tokens in clients' text, at places that all copies of all tokens share without meeting.

    Args:
        texts: int64 (clients of all runs, tokens).
        rare: int64 (clients of a run * ``PER_CLIENT``,), the tokens that a run is asked about.
        clients: of a run.
        generator: of who is asked about what, of coins and places.

    Raises:
        InputError: a text is too short for so many copies.
    """
    needed = PER_CLIENT * max(COPIES)
    if texts.shape[1] < 2 * needed:
        raise InputError(
            f"--windows-per-client and --window-length give a client {texts.shape[1]} tokens; --game reconstruction "
            f"plants up to {needed} and needs twice as many"
        )
    runs = len(texts) // clients
    tokens = np.stack([generator.permutation(rare) for _ in range(runs)]).reshape(len(texts), PER_CLIENT)
    coins = generator.integers(0, 2, tokens.shape).astype(bool)
    places = np.stack([generator.choice(texts.shape[1], needed, replace=False) for _ in texts])
    places = places.reshape(len(texts), PER_CLIENT, max(COPIES))
    found = {}
    for copies in COPIES:
        planted = texts.copy()
        for client, (own, fell, where) in enumerate(zip(tokens, coins, places, strict=True)):
            planted[client, where[fell, :copies]] = own[fell, None]
        found[copies] = planted
    return Planted(found, tokens, coins)
