"""Who calibrates in a run: the clients, and the pseudo-clients of the baselines that stand beside them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedprllm_secure.calibration import Stream
from fedprllm_secure.data.windows import Windows
from fedprllm_secure.errors import InputError
from fedprllm_secure.schedule import Schedule

CENTRAL, PUBLIC, MAGNITUDE = "central", "public", "magnitude"


def local_variant(client: int) -> str:
    """Name the variant in which a client prunes alone."""
    return f"local-{client}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """Which prune masks to make beside the federated one, in the same run.

    Attributes:
        central: one party that holds all clients' windows.
        local_only: clients that prune alone, by number.
        public: windows (windows, tokens) of a public corpus, pruned without any client.
        magnitude: smallest weights, no data.
    """

    central: bool = False
    local_only: tuple[int, ...] = ()
    public: Tensor | None = None
    magnitude: bool = False


class Parties:
    """Clients first, then pseudo-clients, their windows one after the other in one run of rows.

    Attributes:
        ids: token ids of all rows, int64 (rows, tokens).
        streams: whose rows are whose, in order.
        num_clients: how many of the streams are clients.
        all_clients: the rows of all clients together.
    """

    def __init__(self, windows: Windows, baselines: Baselines, schedule: Schedule) -> None:
        """Lay the windows out.

        Raises:
            InputError: public windows have another length than the clients' or there are none, or a client that is to
                prune alone is none of the clients.
        """
        self.num_clients = windows.num_clients
        strangers = [client for client in baselines.local_only if not 0 <= client < self.num_clients]
        if strangers:
            raise InputError(f"local_only={strangers[0]} must be one of the {self.num_clients} clients, from 0")
        if baselines.public is not None and len(baselines.public) == 0:
            raise InputError("public windows must be at least one; give None for no public baseline")
        parts = [(f"client {client}", windows.of(client)) for client in range(self.num_clients)]
        pseudo: list[tuple[str, Tensor]] = []
        if baselines.central and schedule.propagate != "dense":
            pseudo.append((CENTRAL, windows.ids))
        if baselines.public is not None:
            if baselines.public.shape[1] != windows.length:
                raise InputError(f"public windows have {baselines.public.shape[1]} tokens, clients' {windows.length}")
            pseudo.append((PUBLIC, baselines.public))
        self._alone: frozenset[int] = frozenset(baselines.local_only)
        if schedule.propagate == "global":  # clients go on from the server's block; one alone needs rows of its own
            pseudo += [(local_variant(client), windows.of(client)) for client in baselines.local_only]
            self._alone = frozenset()
        self._pseudo = [name for name, _ in pseudo]
        self.streams: list[Stream] = []
        start = 0
        for name, ids in parts + pseudo:
            self.streams.append(Stream(name, start, start + len(ids)))
            start += len(ids)
        self.ids = torch.cat([ids for _, ids in parts + pseudo])
        self.all_clients = Stream("all clients", 0, self.streams[self.num_clients - 1].stop)

    def is_client(self, number: int) -> bool:
        """Say whether a stream is a client's."""
        return number < self.num_clients

    def variant(self, number: int) -> str | None:
        """Name the variant that a party's own decisions make; None for a client that is no baseline."""
        if not self.is_client(number):
            return self._pseudo[number - self.num_clients]
        return local_variant(number) if number in self._alone else None
