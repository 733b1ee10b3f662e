"""What there is to attack in an audit of votes, each thing once, and how its rows come about.

Several adversaries of several protocols may see the very same thing (the exact totals, say): it is attacked once. The
attacker's own worlds serve all: their clients' masks, added up, chosen from, less what colluders know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.evidence import NOT_IN_PLAY, Kind, MatrixSight, Setting
from experiments.audit.ahead import Check
from experiments.audit.matrix import What
from experiments.audit.victims import SeenBlock
from experiments.audit.worlds import Worlds
from experiments.audit.worlds_rows import MatrixRows, votes_dtype

MOST_MASK_ROWS = 1024
Rows = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Truth:
    """How the coins of a job's observed rows fell.

    Attributes:
        coins: int8 (rows, targets), ``NOT_IN_PLAY`` where the row says nothing of the coin.
        runs: int64 (rows,), which run a row is of.
    """

    coins: np.ndarray = field(repr=False)
    runs: np.ndarray = field(repr=False)

    @property
    def in_play(self) -> np.ndarray:
        """Whether a coin decides about a row, bool (rows, targets)."""
        return self.coins != NOT_IN_PLAY


@dataclass(frozen=True, slots=True)
class OwnRows:
    """The attacker's own rows of one matrix.

    Attributes:
        masks: uint8 (some clients, out, in), of the first worlds.
        totals: by number of clients added up, (worlds, out, in), in the smallest dtype that suits.
    """

    masks: Rows = field(repr=False)
    totals: Mapping[int, Rows] = field(repr=False)

    @classmethod
    def of(cls, maker: MatrixRows, worlds: Worlds, *, counts: tuple[int, ...], check: Check = lambda: None) -> OwnRows:
        """Make them; every client's mask once.

        Args:
            maker: of the matrix.
            worlds: at least one.
            counts: numbers of clients, each from 1 to those of a world.
            check: called between worlds.

        Raises:
            ValueError: a count is none of a world's clients.
        """
        clients, shape = worlds.contributions.shape[1], maker.matrix.shape
        if not all(1 <= count <= clients for count in counts):
            raise ValueError(f"counts={counts} must be from 1 to the {clients} clients of a world")
        dtype = np.float32 if maker.empty_vote else votes_dtype(clients)
        kept = min(len(worlds) * clients, MOST_MASK_ROWS)
        masks = np.empty((kept, *shape), np.float32 if maker.empty_vote else np.uint8)
        totals: dict[int, Rows] = {count: np.empty((len(worlds), *shape), dtype) for count in counts}
        for world in range(len(worlds)):
            check()
            total = np.zeros(shape, dtype)
            for client, mask in enumerate(maker.clients(worlds, world)):
                total += mask
                if client + 1 in totals:
                    totals[client + 1][world] = total
                row = world * clients + client
                if row < kept:
                    masks[row] = mask
        return cls(masks, totals)


def mask_rows(worlds: Worlds) -> np.ndarray:
    """Give the coins of the kept masks' rows, int8 (rows, targets)."""
    return worlds.client_rows()[0][:MOST_MASK_ROWS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One thing that is seen.

    Attributes:
        name: what it is.
        what: where it is found in a block (:class:`~experiments.audit.victims.SeenBlock`); ``less`` are totals less
            what colluders submitted.
        configuration: name of the first configuration whose sessions show it.
        kind: of rows.
        clients: whose vectors a row adds up.
        noise_sd: of its entries, in votes.
        truth: of the observed rows.
    """

    name: str
    what: What
    configuration: str
    kind: Kind
    clients: int
    noise_sd: float
    truth: Truth = field(repr=False)

    def observed(self, seen: Mapping[str, SeenBlock], matrix: str) -> Rows:
        """Cut the observed rows of a matrix out of what was seen of its block."""
        block = seen[self.configuration]
        if self.what == "masks":
            assert block.masks is not None  # a configuration that shows them
            return block.masks[matrix]
        if self.what == "less":
            assert block.colluders is not None  # a configuration with colluders
            if (block.totals[matrix].dtype.kind != "f") and (block.totals[matrix] < block.colluders[matrix]).any():
                raise ValueError(f"totals of {matrix} must be at least what colluders submitted")
            return block.totals[matrix] - block.colluders[matrix]
        found: Rows = {"totals": block.totals, "released": block.released, "choice": block.choice}[self.what][matrix]
        return found

    def setting(
        self, *, slots_of_client: int, labelled: Worlds, energies: Rows, population: Rows, targets: np.ndarray
    ) -> Setting:
        """Give what the attacker knows."""
        if self.what == "masks":
            coins = mask_rows(labelled)
        else:
            coins = np.where(labelled.clients_of < self.clients, labelled.coins, NOT_IN_PLAY)
        return Setting(
            kind=self.kind,
            clients=self.clients,
            slots=slots_of_client * self.clients,
            noise_sd=self.noise_sd,
            energies=energies,
            population=population,
            targets=targets,
            coins=coins.astype(np.int8),
            observed=len(self.truth.coins),
            in_play=self.truth.in_play,
        )

    def sight(
        self,
        maker: MatrixRows,
        seen: Mapping[str, SeenBlock],
        *,
        channels: np.ndarray,
        labelled: OwnRows,
        reference: OwnRows,
        alone: Rows,
        generator: np.random.Generator,
    ) -> MatrixSight:
        """Give what is seen of one matrix."""
        observed = self.observed(seen, maker.matrix.name)
        own = [self._own(maker, rows, generator) for rows in (labelled, reference)]
        return MatrixSight(
            name=maker.matrix.name,
            log_weights=maker.log_weights(),
            channels=channels,
            sparsity=float(maker.payload.sparsity.fraction),
            rows=self._joined(observed, own[0]),
            reference=own[1],
            alone=alone,
        )

    def _joined(self, observed: Rows, own: Rows) -> Rows:
        """Join rows; whole votes in the dtype of the attacker's own, which is no larger than the clients need.

        Raises:
            ValueError: observed votes are out of range.
        """
        if observed.dtype.kind == "f" or own.dtype == observed.dtype:
            return np.concatenate([observed, own])
        if observed.min(initial=0) < 0 or observed.max(initial=0) > self.clients:
            raise ValueError(f"observed votes of {self.name} must be in [0, {self.clients}]")
        return np.concatenate([observed, own], dtype=own.dtype, casting="unsafe")

    def _own(self, maker: MatrixRows, rows: OwnRows, generator: np.random.Generator) -> Rows:
        # Single clients' votes, under noise too, are of every client, not of the first alone.
        totals = rows.masks if self.what == "masks" else rows.totals[self.clients]
        if self.noise_sd:
            noise = generator.standard_normal(totals.shape, np.float32) * np.float32(self.noise_sd)
            totals = totals + noise
        return maker.choice(totals, clients=self.clients) if self.kind == "choice" else totals
