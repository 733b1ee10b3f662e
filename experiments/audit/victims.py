"""Victims: worlds whose coins are to be told, taken through real sessions; what each adversary sees is cut from those.

Every client of every world decides by the real payload on kept statistics and submits through the real protocols, noise
and all. What a server sees is what its role made of the bytes it received (`experiments.audit.held`): what a protocol
hides cannot be in a view, because no other way leads there. Coins never reach this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.audit.ahead import Check
from experiments.audit.held import Held, SessionHolder
from experiments.audit.matrix import What
from experiments.audit.statistics import AuditBlock, KeptStatistics
from experiments.audit.worlds_rows import votes_dtype, windows_of
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
    """What could be seen of a block, over some runs.

    Attributes:
        masks: by matrix, each client's prune mask, uint8 (runs * clients, out, in); None where the server sees none.
        totals: by matrix, the votes in the server's totals, (runs, out, in): integers, or float32 under noise.
        released: by matrix, what leaves the server, as ``totals``; other than those under central noise alone.
        choice: by matrix, the global prune mask, uint8 (runs, out, in).
        colluders: by matrix, the votes that colluders submitted, added up, as ``totals``; None without colluders.
    """

    masks: Rows | None = field(repr=False)
    totals: Rows = field(repr=False)
    released: Rows = field(repr=False)
    choice: Rows = field(repr=False)
    colluders: Rows | None = field(default=None, repr=False)

    def rows(self) -> dict[str, Rows]:
        """Give everything that is there, by attribute; the very same object where two are the same."""
        names = ("masks", "totals", "released", "choice", "colluders")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class VoteSessions:
    """The sessions of one protocol, with or without noise, over worlds of the same clients."""

    def __init__(
        self,
        statistics: KeptStatistics,
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
    """Runs taken through several protocols at once: clients decide once and submit to each."""

    def __init__(self, contributions: np.ndarray, groups: np.ndarray, *, sessions: Mapping[str, VoteSessions]) -> None:
        """Prepare.

        Args:
            contributions: int64 (runs, clients, slots), as :class:`~experiments.audit.worlds.Worlds` has them.
            groups: int64 (contributions, windows of each).
            sessions: by configuration.
        """
        self._windows, self._sessions = windows_of(contributions, groups), dict(sessions)

    def runs(self, block: AuditBlock) -> Iterator[dict[str, SeenBlock]]:
        """Take one run after another through a session of this block in every configuration.

        Configurations without noise must agree on everything that they show; they share the arrays.

        Raises:
            AssertionError: they do not: a protocol added up wrongly.
        """
        payload = next(iter(self._sessions.values())).payload
        for windows in self._windows:
            decisions = [None if (own < 0).all() else payload.decide(block.view(own)) for own in windows]
            found: dict[str, SeenBlock] = {}
            exact: SeenBlock | None = None
            for name, sessions in self._sessions.items():
                held = sessions.hold(block, decisions)
                found[name] = _seen(sessions, block, held, None if sessions.noises else exact)
                if not sessions.noises and (exact is None or exact.masks is None):
                    exact = found[name]
            yield found

    def block(self, block: AuditBlock, check: Check = lambda: None) -> dict[str, SeenBlock]:
        """Take all runs; ``check`` is called after each. See :meth:`runs`."""
        return gathered(self.runs(block), runs=len(self._windows), check=check)


def gathered(
    each: Iterable[Mapping[str, SeenBlock]], *, runs: int, check: Check = lambda: None
) -> dict[str, SeenBlock]:
    """Join what was seen of a block run by run; arrays that configurations share, they share in the end.

    Args:
        each: what :meth:`Victims.runs` yields, at least one.
        runs: how many come.
        check: called after each.

    Raises:
        ValueError: another number of runs comes.
    """
    first: Mapping[str, SeenBlock] = {}
    places: dict[tuple[str, str], Rows] = {}
    run = -1
    for run, seen in enumerate(each):
        rows = {(name, kind): own for name, block in seen.items() for kind, own in block.rows().items()}
        if run == 0:
            first, room = seen, {id(own): _room(own, runs) for own in rows.values()}
            places = {place: room[id(own)] for place, own in rows.items()}
        for place, own in {id(own): (place, own) for place, own in rows.items()}.values():
            for matrix, array in own.items():
                places[place][matrix][run * len(array) : (run + 1) * len(array)] = array
        check()
    if run + 1 != runs:
        raise ValueError(f"runs={runs} must be as many as come, {run + 1}")
    return {
        name: replace(block, **{kind: places[name, kind] for kind in block.rows()}) for name, block in first.items()
    }


def _room(rows: Rows, runs: int) -> Rows:
    return {name: np.empty((runs * len(each), *each.shape[1:]), each.dtype) for name, each in rows.items()}


def _seen(sessions: VoteSessions, block: AuditBlock, held: Held, exact: SeenBlock | None) -> SeenBlock:
    """Put together what a session shows; where ``exact`` shows it too, check that it is equal and share the arrays."""
    clients = sessions.num_clients
    totals = _votes(sessions, block, held.seen.totals, of=clients)
    if exact is None:
        chosen = sessions.payload.choose(block.view(), held.left, survivors=clients)
        choice: Rows = {name: each.cpu().numpy().view(np.uint8)[None] for name, each in chosen.items()}
    else:
        _require_equal(exact.totals, totals, "the totals of")
        totals, choice = exact.totals, exact.choice
    masks: Rows | None = None
    if held.vectors:
        own = [_votes(sessions, block, held.vectors[client], of=1) for client in sorted(held.vectors)]
        masks = {name: np.concatenate([each[name] for each in own]) for name in totals}
        if exact is not None and exact.masks is not None:
            _require_equal(exact.masks, masks, "a client's votes on")
            masks = exact.masks
    is_central = bool(sessions.noises) and not sessions.noises[0].is_distributed
    colluding = [_votes(sessions, block, vectors, of=1) for vectors in held.colluding.values()]
    return SeenBlock(
        masks=masks,
        totals=totals,
        released=_votes(sessions, block, held.left, of=clients) if is_central else totals,
        choice=choice,
        colluders={name: np.add.reduce([each[name] for each in colluding], dtype=totals[name].dtype) for name in totals}
        if colluding
        else None,
    )


def _votes(sessions: VoteSessions, block: AuditBlock, sums: Mapping[str, Any], *, of: int) -> Rows:
    """Turn sums of ``of`` clients' vectors into votes, (1, out, in) a matrix, of a dtype that holds them.

    Raises:
        AssertionError: whole votes are out of range, where the dtype would make others of them.
    """
    dtype, found = np.float32 if sessions.noises else votes_dtype(of), {}
    for matrix in block.matrices:
        votes = sessions.votes(sums[matrix.name], clients=of)
        if not sessions.noises:
            largest = votes.view(f"u{votes.itemsize}").max(initial=0)  # a vote below 0 is then above all others
            assert largest <= of, f"protocol {sessions.method.protocol}: votes of {of} clients beyond [0, {of}]"
        found[matrix.name] = votes.astype(dtype, copy=False).reshape(1, *matrix.shape)
    return found


def _require_equal(known: Rows, found: Rows, what: str) -> None:
    for name, each in found.items():
        assert np.array_equal(known[name], each), f"protocols disagree on {what} {name}"
