"""Worlds: which contribution stands in which slot of a run, and the coins that decided it.

A run has clients, a client has slots, a slot holds one contribution: a window, or in games about clients all of a
client's windows. A target is a coin about one slot: its first candidate or its second (replace), or the candidate or
nothing (zero-out). Which target is asked about in which slot is drawn anew for every world; the attacker knows that,
and not how the coin fell. Slots without a target hold contributions of others. Knows nothing of models.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import numpy as np

from attacks.evidence import NOT_IN_PLAY, NOTHING

EMPTY = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """The slots of a run.

    Attributes:
        clients: number of clients.
        per_client: slots of each.
        in_play: how many slots of a run are asked about.
    """

    clients: int
    per_client: int
    in_play: int

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: a number is below 1, or more slots are asked about than there are.
        """
        if min(self.clients, self.per_client, self.in_play) < 1 or self.in_play > self.clients * self.per_client:
            raise ValueError(
                f"clients={self.clients}, per_client={self.per_client} and in_play={self.in_play} must be at least 1, "
                "and in_play no more than there are slots"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Worlds:
    """Some worlds.

    Attributes:
        contributions: int64 (worlds, clients, slots of a client): a contribution's number, or ``EMPTY``.
        coins: int8 (worlds, targets): 1 first, 0 second, ``NOT_IN_PLAY``.
        clients_of: int64 (worlds, targets): the client whose slot is asked about, or ``NOT_IN_PLAY``.
    """

    contributions: np.ndarray = field(repr=False)
    coins: np.ndarray = field(repr=False)
    clients_of: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        """Number of worlds."""
        return len(self.coins)

    @property
    def num_clients(self) -> int:
        """Clients of each world."""
        return int(self.contributions.shape[1])

    def client_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Give coins as rows that are clients see them.

        Returns:
            int8 (worlds * clients, targets), ``NOT_IN_PLAY`` where a target's slot is another client's; and the same as
            bool, whether in play.
        """
        own = self.clients_of[:, None, :] == np.arange(self.num_clients)[None, :, None]
        coins = np.where(own, self.coins[:, None, :], NOT_IN_PLAY).astype(np.int8)
        coins = coins.reshape(-1, self.coins.shape[1])
        return coins, coins != NOT_IN_PLAY


def operating_system_generator() -> np.random.Generator:
    """Make a generator seeded by the operating system: victims' coins are nobody's to know or to draw again."""
    return np.random.Generator(np.random.PCG64(secrets.randbits(256)))


def draw_worlds(
    generator: np.random.Generator, count: int, *, slots: Slots, targets: np.ndarray, others: np.ndarray
) -> Worlds:
    """Draw worlds.

    Args:
        generator: of coins and places.
        count: how many.
        slots: of each world.
        targets: int64 (targets, 2), the contributions of each coin; the second may be ``NOTHING``.
        others: int64, contributions for slots that are not asked about; drawn without repetition within a world.

    Raises:
        ValueError: there are too few targets or others.
    """
    places = slots.clients * slots.per_client
    free = places - slots.in_play
    if len(targets) < slots.in_play or len(others) < free:
        raise ValueError(
            f"targets={len(targets)} and others={len(others)} must be at least {slots.in_play} and {free}, one a slot"
        )
    contributions = np.full((count, places), EMPTY, np.int64)
    coins = np.full((count, len(targets)), NOT_IN_PLAY, np.int8)
    clients_of = np.full((count, len(targets)), NOT_IN_PLAY, np.int64)
    for world in range(count):
        order = generator.permutation(places)
        asked = generator.choice(len(targets), slots.in_play, replace=False)
        fell = generator.integers(0, 2, slots.in_play)
        chosen = targets[asked, 1 - fell]
        contributions[world, order[: slots.in_play]] = np.where(chosen == NOTHING, EMPTY, chosen)
        contributions[world, order[slots.in_play :]] = generator.choice(others, free, replace=False)
        coins[world, asked] = fell
        clients_of[world, asked] = order[: slots.in_play] // slots.per_client
    shape = (count, slots.clients, slots.per_client)
    return Worlds(contributions=contributions.reshape(shape), coins=coins, clients_of=clients_of)


def reference_worlds(
    generator: np.random.Generator, count: int, *, slots: Slots, population: np.ndarray, is_zero_out: bool
) -> Worlds:
    """Draw worlds of an attacker's own windows alone, for rates: like victims' worlds, with coins of their own.

    Under zero-out a slot that is asked about is empty half the time, as it is in a victim's world.

    Raises:
        ValueError: there are too few contributions for a world.
    """
    places = slots.clients * slots.per_client
    if len(population) < places:
        raise ValueError(f"population={len(population)} must be at least {places}, one a slot")
    picks = np.stack([generator.choice(population, places, replace=False) for _ in range(count)])
    if is_zero_out:
        for world in picks:
            asked = generator.permutation(places)[: slots.in_play]
            world[asked[generator.integers(0, 2, slots.in_play) == 0]] = EMPTY
    none = np.empty((count, 0))
    return Worlds(
        contributions=picks.reshape(count, slots.clients, slots.per_client),
        coins=none.astype(np.int8),
        clients_of=none.astype(np.int64),
    )
