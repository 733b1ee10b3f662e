"""How many clients must stay, how many may help the server, and who masks with whom: what a run promises clients."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Literal, get_args

from fedprllm_secure.errors import InputError
from protocols import Claim, smallest_graph

GraphRule = Literal["complete", "sparse"]
GRAPHS: tuple[GraphRule, ...] = get_args(GraphRule)
# Shares of a large roster that a sparse graph is sized for where nothing else is said.
DEFAULT_CORRUPT, DEFAULT_DROPPED = Fraction(1, 20), Fraction(1, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What a session needs to be opened.

    Attributes:
        recovery_threshold: clients (in a sparse graph: neighbours of each client) that it takes to open the totals.
        minimum_survivors: fewest clients whose sum may be opened.
        assumed_colluders: clients assumed to help the server.
        neighbours: clients that each one masks with; 0 for all.
        beacon: 32 bytes from which a sparse graph is drawn.
    """

    recovery_threshold: int = 1
    minimum_survivors: int = 1
    assumed_colluders: int = 0
    neighbours: int = 0
    beacon: bytes = field(default=b"", repr=False)

    def public(self) -> dict[str, int]:
        """List the numbers; the beacon is drawn anew when a run is continued."""
        return {
            "recovery_threshold": self.recovery_threshold,
            "minimum_survivors": self.minimum_survivors,
            "assumed_colluders": self.assumed_colluders,
            "neighbours": self.neighbours,
        }

    @classmethod
    def choose(
        cls,
        protocol: str,
        num_clients: int,
        *,
        graph: GraphRule = "complete",
        neighbours: int | None = None,
        recovery_threshold: int | None = None,
        minimum_survivors: int | None = None,
        assumed_colluders: int | None = None,
    ) -> Thresholds:
        """Fill in what is not given.

        ``plain`` opens whatever came. Otherwise two thirds of the clients open the totals (floor(2n/3) + 1, which keeps
        a lying server with up to a third of the clients from opening two sums), and as many must be in the sum. A
        sparse graph is sized for a server that follows the protocol, 5 % colluders and 5 % dropouts; the beacon of a
        simulation is drawn from the operating system's generator.

        Args:
            protocol: a name in :data:`~protocols.PROTOCOLS`.
            num_clients: size of the roster.
            graph: who masks with whom.
            neighbours: of each client in a sparse graph.
            recovery_threshold: as the attribute.
            minimum_survivors: as the attribute.
            assumed_colluders: as the attribute.

        Raises:
            InputError: a sparse graph is asked of a protocol without one, or is none for so few clients.
        """
        if graph == "complete":
            if neighbours is not None:
                raise InputError("--neighbours goes with --graph sparse")
            colluders = assumed_colluders or 0
            default = 1 if protocol == "plain" else 2 * num_clients // 3 + 1
            recovery = default if recovery_threshold is None else recovery_threshold
            fewest = recovery if protocol == "plain" else max(recovery, colluders + 2)
            return cls(
                recovery_threshold=recovery,
                minimum_survivors=fewest if minimum_survivors is None else minimum_survivors,
                assumed_colluders=colluders,
            )
        if protocol != "additive":
            raise InputError(f"--graph sparse goes with --protocol additive, not {protocol}")
        colluders = ceil(DEFAULT_CORRUPT * num_clients) if assumed_colluders is None else assumed_colluders
        survivors = (
            num_clients - ceil(DEFAULT_DROPPED * num_clients) if minimum_survivors is None else minimum_survivors
        )
        degree, threshold = neighbours, recovery_threshold
        if degree is None or threshold is None:
            try:
                found = smallest_graph(num_clients, colluders, num_clients - survivors, Claim.SEMI_HONEST)
            except ValueError as error:
                raise InputError(f"--graph sparse with {num_clients} clients: {error}") from error
            degree = found[0] if degree is None else degree
            threshold = found[1] if threshold is None else threshold
        return cls(
            recovery_threshold=threshold,
            minimum_survivors=survivors,
            assumed_colluders=colluders,
            neighbours=degree,
            beacon=secrets.token_bytes(32),
        )
