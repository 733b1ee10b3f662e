"""Canaries: slots of a run of which a coin decided which of two windows is in, so that an audit has coins to tell.

A slot is a client's window at a position. Its pair is the window that was cut for it and a fresh one, cut from further
text of the same source and the same client's part, that no client holds. A fair coin says which of the two the client
really uses. Slots and coins come from the operating system's generator; they are decided before the run starts, kept
beside its resume state, and lie in the end in ``DIR/coins.json``, which only its owner reads, apart from the
transcript. This is the replace game: members and non-members are the same candidates under different coins.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from fedprllm_secure.data import Windows
from fedprllm_secure.durable import write_durably
from fedprllm_secure.errors import InputError

SCHEMA = 1
FILE = "coins.json"
NOTE = (
    "secret: coin 1 says that the client used the first window of the pair (the one cut for it), 0 the second; it "
    "undoes what a protocol or noise hides"
)


@dataclass(frozen=True, slots=True)
class Slot:
    """A client's window in question.

    Attributes:
        client: whose it is.
        position: which of its windows, from 0.
        windows: token ids of the window cut for it and of its partner.
        coin: 1 where the client uses the first, 0 the second.

    Raises:
        ValueError: a count is negative, the windows are no pair of different windows, or the coin is neither 0 nor 1.
    """

    client: int
    position: int
    windows: tuple[tuple[int, ...], tuple[int, ...]] = field(repr=False)
    coin: int = field(repr=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.client < 0 or self.position < 0:
            raise ValueError(f"client={self.client} and position={self.position} must be at least 0")
        if len(self.windows) != 2 or self.windows[0] == self.windows[1]:
            raise ValueError(f"windows of client {self.client}, position {self.position} must be two different ones")
        if self.coin not in (0, 1):
            raise ValueError("coin must be 0 or 1")

    @property
    def used(self) -> tuple[int, ...]:
        """The window that the client really uses."""
        return self.windows[0] if self.coin else self.windows[1]


@dataclass(frozen=True, slots=True)
class Coins:
    """How the coins of a run fell.

    Attributes:
        model_sha256: digest of the run's model.
        window_length: tokens a window.
        slots: in order of client and position.

    Raises:
        ValueError: there is no slot, one is listed twice, or a window has another length.
    """

    model_sha256: str
    window_length: int
    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        """Check the slots."""
        if not self.slots or len({(slot.client, slot.position) for slot in self.slots}) < len(self.slots):
            raise ValueError(f"slots={len(self.slots)} must be different ones, at least 1")
        if any(len(window) != self.window_length for slot in self.slots for window in slot.windows):
            raise ValueError(f"windows must have window_length_tokens={self.window_length} tokens each")

    def used(self, cut: Windows) -> Windows:
        """Put into every slot the window that its client uses.

        Args:
            cut: all clients' windows as they were cut.

        Raises:
            InputError: the coins are about other windows.
        """
        ids = cut.ids.clone()
        for slot in self.slots:
            is_known = slot.client < cut.num_clients and slot.position < cut.per_client
            if not is_known or cut.of(slot.client)[slot.position].tolist() != list(slot.windows[0]):
                raise InputError(
                    f"{FILE}: client {slot.client} has another window {slot.position} now; start over with --overwrite"
                )
            ids[slot.client * cut.per_client + slot.position] = torch.tensor(slot.used)
        return Windows(ids, num_clients=cut.num_clients, per_client=cut.per_client, length=cut.length)

    def save(self, file: Path) -> None:
        """Write the coins so that only their owner reads them."""
        slots = [
            {"client": slot.client, "position": slot.position, "windows": slot.windows, "coin": slot.coin}
            for slot in self.slots
        ]
        written = {
            "schema": SCHEMA,
            "note": NOTE,
            "model_sha256": self.model_sha256,
            "window_length_tokens": self.window_length,
            "slots": slots,
        }
        write_durably(file, (json.dumps(written) + "\n").encode(), mode=0o600)

    @classmethod
    def read(cls, file: Path) -> Coins:
        """Read coins that :meth:`save` wrote.

        Raises:
            InputError: the file cannot be read or holds no coins.
        """
        try:
            written = json.loads(file.read_text())
            if written["schema"] != SCHEMA:
                raise ValueError(f"schema={written['schema']} must be {SCHEMA}")
            return cls(
                model_sha256=str(written["model_sha256"]),
                window_length=int(written["window_length_tokens"]),
                slots=tuple(_read_slot(slot) for slot in written["slots"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{file} holds no coins of a run ({error}); fedprllm prune --canaries K --save-transcript makes it"
            ) from error


def _read_slot(written: dict[str, Any]) -> Slot:
    first, second = (tuple(map(int, window)) for window in written["windows"])
    return Slot(int(written["client"]), int(written["position"]), (first, second), int(written["coin"]))


def refuse_too_many(wanted: int, *, clients: int, per_client: int) -> None:
    """Refuse more slots than there are.

    Raises:
        InputError: as said.
    """
    if wanted > clients * per_client:
        raise InputError(
            f"--canaries {wanted} must be at most {clients * per_client}, the windows of {clients} clients with "
            f"{per_client} each"
        )


class Partners:
    """Windows that stand ready to be the second of a pair: no client's, and each a different one."""

    def __init__(self, cut: Windows, further: Sequence[Tensor], *, wanted: int) -> None:
        """Sort out what can be a partner.

        Args:
            cut: all clients' windows as they were cut.
            further: int64 (windows, length) of further text: of each client's part, or one for all clients.
            wanted: slots to draw.

        Raises:
            InputError: there are not enough partners.
        """
        self._cut, self._wanted = cut, wanted
        seen = {tuple(window) for window in cut.ids.tolist()}
        self._pools = [list(_new(pool, seen)) for pool in further]
        slots_of_a_pool = len(cut.ids) // len(further)
        ready = sum(min(len(pool), slots_of_a_pool) for pool in self._pools)
        if ready < wanted:
            raise InputError(
                f"--canaries {wanted} needs as many further windows, different from the clients' {len(cut.ids)} and "
                f"from each other; --data has {ready} to pair with theirs: give more text, or lower --canaries, "
                "--clients, --windows-per-client or --window-length"
            )

    def draw(self, *, model_sha256: str, generator: Random | None = None) -> Coins:
        """Draw slots and coins.

        Args:
            model_sha256: digest of the run's model.
            generator: draws them; the operating system's if None, as it must be outside tests.
        """
        generator = generator or secrets.SystemRandom()
        pools = [list(pool) for pool in self._pools]
        places = [
            (client, position) for client in range(self._cut.num_clients) for position in range(self._cut.per_client)
        ]
        generator.shuffle(places)
        slots: list[Slot] = []
        for client, position in places:
            pool = pools[client % len(pools)]
            if not pool or len(slots) == self._wanted:
                continue
            first = tuple(self._cut.of(client)[position].tolist())
            slots.append(Slot(client, position, (first, pool.pop(0)), generator.randrange(2)))
        slots.sort(key=lambda slot: (slot.client, slot.position))
        return Coins(model_sha256, self._cut.length, tuple(slots))


def _new(windows: Tensor, seen: set[tuple[int, ...]]) -> Iterable[tuple[int, ...]]:
    """Yield the windows that were not seen, and remember them."""
    for window in map(tuple, windows.tolist()):
        if window not in seen:
            seen.add(window)
            yield window
