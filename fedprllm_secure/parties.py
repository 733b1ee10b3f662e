"""Who calibrates in a run: the clients, and the pseudo-clients of the baselines that stand beside them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedprllm_secure.calibration import InputEnergy, Stream
from fedprllm_secure.data.windows import Windows
from fedprllm_secure.errors import InputError
from fedprllm_secure.schedule import Schedule

CENTRAL, PUBLIC, MAGNITUDE = "central", "public", "magnitude"
YARDSTICK_WINDOWS = 8


def local_variant(client: int) -> str:
    """Name the variant in which a client prunes alone."""
    return f"local-{client}"


def yardstick_windows(length: int, vocabulary_size: int) -> Tensor:
    """Draw windows of uniform tokens, always the same: public, and enough to tell how large activations get."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, vocabulary_size, (YARDSTICK_WINDOWS, length), generator=generator)


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
        streams: whose rows are whose, a party each, in order.
        segments: the rows whose sums are kept apart: a party each, or a window each.
        num_clients: how many of the streams are clients.
        all_clients: the rows of all clients together.
        public: number of the party whose text is public, if there is one.
    """

    def __init__(
        self,
        windows: Windows,
        baselines: Baselines,
        schedule: Schedule,
        *,
        yardstick: Tensor | None = None,
        synthetic: Tensor | None = None,
        by_window: bool = False,
    ) -> None:
        """Lay the windows out.

        Args:
            windows: the clients'.
            baselines: which pseudo-clients there are.
            schedule: what flows on.
            yardstick: windows of a public party that is no baseline; not used where there is a public baseline.
            synthetic: windows that are nobody's and no baseline, made from public ones; they follow those.
            by_window: whether sums are kept for every window.

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
        pseudo: list[tuple[str | None, Tensor]] = []
        if baselines.central and schedule.propagate != "dense":
            pseudo.append((CENTRAL, windows.ids))
        if baselines.public is not None:
            if baselines.public.shape[1] != windows.length:
                raise InputError(f"public windows have {baselines.public.shape[1]} tokens, clients' {windows.length}")
            pseudo.append((PUBLIC, baselines.public))
        elif yardstick is not None:
            pseudo.append((None, yardstick))
        self.public = self.num_clients + len(pseudo) - 1 if pseudo and pseudo[-1][0] in (PUBLIC, None) else None
        if synthetic is not None:
            pseudo.append((None, synthetic))
        self._alone: frozenset[int] = frozenset(baselines.local_only)
        if schedule.propagate == "global":  # clients go on from the server's block; one alone needs rows of its own
            pseudo += [(local_variant(client), windows.of(client)) for client in baselines.local_only]
            self._alone = frozenset()
        self._pseudo = [name for name, _ in pseudo]
        named = parts + [(name or "public text", ids) for name, ids in pseudo]
        self.streams: list[Stream] = []
        start = 0
        for name, ids in named:
            self.streams.append(Stream(name, start, start + len(ids)))
            start += len(ids)
        self._by_window = by_window
        self.segments = self.streams
        if by_window:
            self.segments = [Stream(s.name, row, row + 1) for s in self.streams for row in range(s.start, s.stop)]
        self.ids = torch.cat([ids for _, ids in named])
        self.all_clients = Stream("all clients", 0, self.streams[self.num_clients - 1].stop)

    def is_client(self, number: int) -> bool:
        """Say whether a stream is a client's."""
        return number < self.num_clients

    def energies(self, sums: InputEnergy, number: int) -> dict[str, Tensor | None]:
        """Give what a party's windows sent into each source, (in,)."""
        stream = self.streams[number]
        return sums.of(slice(stream.start, stream.stop) if self._by_window else slice(number, number + 1))

    def clients_energies(self, sums: InputEnergy) -> dict[str, Tensor | None]:
        """Give what the windows of all clients together sent into each source, (in,)."""
        return sums.of(slice(0, self.all_clients.stop if self._by_window else self.num_clients))

    def variant(self, number: int) -> str | None:
        """Name the variant that a party's own decisions make; None for a party that is no baseline."""
        if not self.is_client(number):
            return self._pseudo[number - self.num_clients]
        return local_variant(number) if number in self._alone else None
