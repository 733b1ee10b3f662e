"""Victims: worlds whose coins are to be told, taken through real sessions; what each adversary sees is cut from those.

Every client of every world decides by the real payload on kept statistics and submits through the real protocols, noise
and all. What a server sees is what its role made of the bytes it received (`experiments.audit.held`): what a protocol
hides cannot be in a view, because no other way leads there. Coins never reach this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.audit.ahead import Check
from experiments.audit.held import Held, SessionHolder
from experiments.audit.matrix import What
from experiments.audit.statistics import AuditBlock, WindowStatistics
from experiments.audit.worlds_rows import windows_of
from fedprllm_secure.errors import InputError
from fedprllm_secure.method import Method
from fedprllm_secure.models.matrices import prunable_matrices
from fedprllm_secure.payloads import Decision, PartyView, Votes
from fedprllm_secure.privacy.session_noise import SessionNoise, plan_noise
from fedprllm_secure.sessions import Contents
from fedprllm_secure.surveyed import without_weights
from fedprllm_secure.thresholds import Thresholds
from protocols import PROTOCOLS

Rows = Mapping[str, NDArray[Any]]  # by matrix, (rows, out, in)


@dataclass(slots=True, kw_only=True)
class SeenBlock:
    """What could be seen of a block, over all worlds.

    Attributes:
        masks: by matrix, each client's prune mask, uint8 (worlds * clients, out, in); None where the server sees none.
        totals: by matrix, the votes in the server's totals, (worlds, out, in): integers, or float32 under noise.
        released: by matrix, what leaves the server, as ``totals``; other than those under central noise alone.
        choice: by matrix, the global prune mask, uint8 (worlds, out, in).
        colluders: by matrix, the votes that colluders submitted, added up, as ``totals``; None without colluders.
        is_shared: whether totals and choice are another configuration's.
        has_shared_masks: whether masks are.
    """

    masks: Rows | None = field(repr=False)
    totals: Rows = field(repr=False)
    released: Rows = field(repr=False)
    choice: Rows = field(repr=False)
    colluders: Rows | None = field(default=None, repr=False)
    is_shared: bool = False
    has_shared_masks: bool = False


class VoteSessions:
    """The sessions of one protocol, with or without noise, over worlds of the same clients."""

    def __init__(
        self,
        statistics: WindowStatistics,
        *,
        num_clients: int,
        method: Method,
        thresholds: Thresholds,
        colluders: int,
        folder: Path,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            statistics: of all windows.
            num_clients: clients of every world.
            method: of votes, with dense propagation.
            thresholds: of every session.
            colluders: how many clients, the last ones, tell the server what they submitted.
            folder: a fresh one, for the numbers of sessions.

        Raises:
            InputError: the payload is not votes, or a target of differential privacy cannot be met.
        """
        model = statistics.model
        protocol = PROTOCOLS[method.protocol]
        payload = method.make_payload(largest_bound=protocol.largest_bound(num_clients)).in_model(model)
        if not isinstance(payload, Votes):
            raise InputError(f"payload={method.payload} must be votes: statistics have victims of their own")
        self.method, self.num_clients = method, num_clients
        self.payload = payload.centred() if method.privacy is not None else payload
        self._holder = SessionHolder(
            statistics,
            num_clients=num_clients,
            method=method,
            thresholds=thresholds,
            colluders=colluders,
            folder=folder,
        )
        self.noises: list[SessionNoise] = []
        if method.privacy is not None:
            exact = []
            for index in range(model.num_blocks):
                view = PartyView(prunable_matrices(model, index), without_weights)
                length = sum(spec.length for spec in self.payload.specs(view))
                exact.append((self.payload.sensitivity(view, method.privacy.adjacency), length))
            self.noises = plan_noise(
                method.privacy, exact, protocol=method.protocol, thresholds=thresholds, num_clients=num_clients
            )

    @property
    def empty_vote(self) -> float:
        """What a client that contributes nothing counts as on every weight."""
        low, step = self.payload.centre
        return low / step

    def noise_sd(self, what: What, *, clients: int) -> float:
        """Give the standard deviation of the noise, in votes, on something that is seen of these clients."""
        if not self.noises:
            return 0.0
        noise = self.noises[0]
        if noise.is_distributed:
            variance = clients * max(float(each.added) for each in self.noises)
        else:
            variance = max(float(each.full) for each in self.noises) if what in ("released", "choice") else 0.0
        return float(variance**0.5) / self.payload.centre[1]

    def contents(self, block: AuditBlock) -> Contents:
        """Describe the session of a block."""
        noise = self.noises[block.index] if self.noises else None
        return Contents(block.index, self.payload.specs(block.view()), self.payload.public(), noise)

    def hold(self, block: AuditBlock, decisions: Sequence[Decision | None]) -> Held:
        """Hold one session.

        Args:
            block: the block.
            decisions: each client's; None for one that contributes the zero vector (zero-out).
        """
        contents = self.contents(block)
        zeros = {spec.name: torch.zeros(spec.length, dtype=torch.int64) for spec in contents.specs}
        vectors = [zeros if each is None else self.payload.vectors(block.view(), each) for each in decisions]
        return self._holder.hold(contents, vectors)

    def votes(self, entries: NDArray[Any], *, clients: int) -> NDArray[Any]:
        """Turn a sum of ``clients`` vectors back into votes."""
        low, step = self.payload.centre
        if (low, step) == (0, 1):
            return entries
        return ((entries + clients * low) / step).astype(np.float32)


class Victims:
    """Worlds taken through several protocols at once: clients decide once and submit to each."""

    def __init__(self, contributions: np.ndarray, groups: np.ndarray, *, sessions: Mapping[str, VoteSessions]) -> None:
        """Prepare.

        Args:
            contributions: int64 (worlds, clients, slots), as :class:`~experiments.audit.worlds.Worlds` has them.
            groups: int64 (contributions, windows of each).
            sessions: by configuration.
        """
        self._windows, self._sessions = windows_of(contributions, groups), dict(sessions)

    def block(self, block: AuditBlock, check: Check = lambda: None) -> dict[str, SeenBlock]:
        """Take every world through a session of this block in every configuration.

        Configurations without noise must agree on everything that they show; they share the arrays. ``check`` is called
        between worlds.

        Raises:
            AssertionError: they do not: a protocol added up wrongly.
        """
        found: dict[str, SeenBlock] = {}
        payload = next(iter(self._sessions.values())).payload
        with ThreadPoolExecutor(len(self._sessions)) as side:  # sessions of one world side by side
            for world, windows in enumerate(self._windows):
                check()
                decisions = [None if (own < 0).all() else payload.decide(block.view(own)) for own in windows]
                coming = {name: side.submit(each.hold, block, decisions) for name, each in self._sessions.items()}
                for name, sessions in self._sessions.items():
                    held = coming.pop(name).result()
                    if world == 0:
                        found[name] = self._room(name, found, block, held)
                    _store(found[name], sessions, block, world, held)
        return found

    def _room(self, name: str, found: Mapping[str, SeenBlock], block: AuditBlock, held: Held) -> SeenBlock:
        """Make room for what a configuration shows; without noise, that of the first such configuration."""
        sessions, worlds = self._sessions[name], len(self._windows)
        exact = next((found[other] for other in found if not self._sessions[other].noises), None)
        if sessions.noises:
            exact = None

        def rows(count: int, kind: Any) -> Rows:
            return {matrix.name: np.zeros((count, *matrix.shape), kind) for matrix in block.matrices}

        dtype, clients = (np.float32 if sessions.noises else np.int32), sessions.num_clients
        totals = rows(worlds, dtype) if exact is None else exact.totals
        masks = None
        if held.vectors:
            masks = exact.masks if exact is not None else None
            masks = masks or rows(worlds * clients, np.float32 if sessions.noises else np.uint8)
        is_central = bool(sessions.noises) and not sessions.noises[0].is_distributed
        return SeenBlock(
            masks=masks,
            totals=totals,
            released=rows(worlds, dtype) if is_central else totals,
            choice=rows(worlds, np.uint8) if exact is None else exact.choice,
            colluders=None if not held.colluding else rows(worlds, dtype),
            is_shared=exact is not None,
            has_shared_masks=exact is not None and masks is exact.masks,
        )


def _store(into: SeenBlock, sessions: VoteSessions, block: AuditBlock, world: int, held: Held) -> None:
    """Put a session's rows where they belong, or check that they are what another configuration put there."""
    clients = sessions.num_clients
    chosen = None
    if not into.is_shared:
        chosen = sessions.payload.choose(block.view(), held.left, survivors=clients)
    for matrix in block.matrices:
        name, shape = matrix.name, matrix.shape
        totals = sessions.votes(held.seen.totals[name], clients=clients).reshape(shape)
        if into.is_shared:
            assert np.array_equal(into.totals[name][world], totals), f"protocols disagree on the totals of {name}"
        else:
            assert chosen is not None  # just chosen
            into.totals[name][world] = totals
            into.choice[name][world] = chosen[name].cpu().numpy()
            if into.released is not into.totals:
                into.released[name][world] = sessions.votes(held.left[name], clients=clients).reshape(shape)
        for vectors in held.colluding.values():
            assert into.colluders is not None  # there is room where there are colluders
            into.colluders[name][world] += sessions.votes(vectors[name], clients=1).reshape(shape)
        for client, vectors in held.vectors.items():
            assert into.masks is not None  # there is room where vectors are seen
            mask, row = sessions.votes(vectors[name], clients=1).reshape(shape), world * clients + client
            if into.has_shared_masks:
                assert np.array_equal(into.masks[name][row], mask), f"protocols disagree on client {client}, {name}"
            else:
                into.masks[name][row] = mask
