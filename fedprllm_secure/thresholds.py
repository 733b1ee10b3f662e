"""How many clients must stay, how many may help the server, and who masks with whom: what a run promises clients."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
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
FEWEST_CLIENTS = 3  # of two, each learns the other's vectors
FEWEST_UNKNOWN = 2  # beside those that know their own vectors: a sum of one is that one's vector
FLAGS = ("recovery_threshold", "minimum_survivors", "assumed_colluders", "neighbours")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What a session needs to be opened.

    Attributes:
        recovery_threshold: clients (in a sparse graph: neighbours of each client) that it takes to open the totals.
        minimum_survivors: fewest clients whose sum may be opened.
        assumed_colluders: clients assumed to help the server.
        neighbours: clients that each one masks with; 0 for all.
        beacon: 32 bytes from which a sparse graph is drawn. In a simulation the process draws it, which shows what a
            session computes and costs; that a lying server did not choose it is for a deployment to see to.
        defaults: names of those of the numbers that nobody gave.
    """

    recovery_threshold: int = 1
    minimum_survivors: int = 1
    assumed_colluders: int = 0
    neighbours: int = 0
    beacon: bytes = field(default=b"", repr=False)
    defaults: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    def public(self) -> dict[str, int]:
        """List the numbers; the beacon is drawn anew when a run is continued."""
        return {
            "recovery_threshold": self.recovery_threshold,
            "minimum_survivors": self.minimum_survivors,
            "assumed_colluders": self.assumed_colluders,
            "neighbours": self.neighbours,
        }

    def in_flags(self, reason: str) -> str:
        """Return a protocol's complaint with the flags that mend it in place of field names, and defaults named so."""

        def flag(found: re.Match[str]) -> str:
            name, value = found.groups()
            note = " (the default)" if name in self.defaults else ""
            return f"--{name.replace('_', '-')} {value}{note}"

        return re.sub(rf"\b({'|'.join(FLAGS)})=(\d+)", flag, reason)

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
        a lying server with up to a third of the clients from opening two sums); as many must be in the sum, and at
        least two beside those that collude, or beside the one that reads it. A sparse graph is sized for a server that
        follows the protocol, 5 % colluders and 5 % dropouts.

        Args:
            protocol: a name in :data:`~protocols.PROTOCOLS`.
            num_clients: size of the roster.
            graph: who masks with whom.
            neighbours: of each client in a sparse graph.
            recovery_threshold: as the attribute.
            minimum_survivors: as the attribute.
            assumed_colluders: as the attribute.

        Raises:
            InputError: there are too few clients to protect any, or for so many colluders; a number is beyond the
                clients there are, or a sparse graph is asked of a protocol without one, or is none for so few clients.
        """
        if protocol != "plain" and num_clients < FEWEST_CLIENTS:
            raise InputError(
                f"--protocol {protocol} takes at least {FEWEST_CLIENTS} clients, not --clients {num_clients}: of two, "
                "each learns the other's vectors"
            )
        given = dict(zip(FLAGS, (recovery_threshold, minimum_survivors, assumed_colluders, neighbours), strict=True))
        _check_sizes(given, num_clients)
        found = (
            _complete(protocol, num_clients, given) if graph == "complete" else _sparse(protocol, num_clients, given)
        )
        beacon = b"" if graph == "complete" else secrets.token_bytes(32)
        return cls(**found, beacon=beacon, defaults=frozenset(name for name, value in given.items() if value is None))


def _check_sizes(given: Mapping[str, int | None], num_clients: int) -> None:
    limits = {name: num_clients for name in FLAGS} | {
        "assumed_colluders": num_clients - 1,
        "neighbours": num_clients - 1,
    }
    for name, most in limits.items():
        value = given[name]
        if value is not None and value > most:
            raise InputError(f"--{name.replace('_', '-')} {value} must be at most {most} with --clients {num_clients}")


def _complete(protocol: str, num_clients: int, given: Mapping[str, int | None]) -> dict[str, int]:
    if given["neighbours"] is not None:
        raise InputError("--neighbours goes with --graph sparse")
    colluders = given["assumed_colluders"] or 0
    if protocol != "plain" and colluders + FEWEST_UNKNOWN > num_clients:
        raise InputError(
            f"--assumed-colluders {colluders} of --clients {num_clients} leave fewer than {FEWEST_UNKNOWN} others to "
            f"hide each other in a sum; --assumed-colluders {num_clients // 3} or --clients {3 * colluders} would do"
        )
    recovery = given["recovery_threshold"]
    if recovery is None:
        recovery = 1 if protocol == "plain" else 2 * num_clients // 3 + 1
    survivors = given["minimum_survivors"]
    if survivors is None:
        survivors = recovery if protocol == "plain" else max(recovery, max(colluders, 1) + FEWEST_UNKNOWN)
    return dict(zip(FLAGS, (recovery, survivors, colluders, 0), strict=True))


def _sparse(protocol: str, num_clients: int, given: Mapping[str, int | None]) -> dict[str, int]:
    if protocol != "additive":
        raise InputError(f"--graph sparse goes with --protocol additive, not {protocol}")
    colluders, survivors = given["assumed_colluders"], given["minimum_survivors"]
    if colluders is None:
        colluders = ceil(DEFAULT_CORRUPT * num_clients)
    if survivors is None:
        survivors = num_clients - ceil(DEFAULT_DROPPED * num_clients)
    degree, threshold = given["neighbours"], given["recovery_threshold"]
    if degree is None or threshold is None:
        try:
            degree, threshold = smallest_graph(
                num_clients,
                colluders,
                num_clients - survivors,
                Claim.SEMI_HONEST,
                neighbours=degree,
                recovery_threshold=threshold,
            )
        except ValueError as error:
            reason = Thresholds().in_flags(str(error))
            raise InputError(f"--graph sparse with {num_clients} clients: {reason}") from error
    return dict(zip(FLAGS, (threshold, survivors, colluders, degree), strict=True))
