"""How many neighbours a sparse graph needs, and how many of them must open what a client masked.

In the random k-regular graph of `protocols.additive.graph` a client's neighbours are k of the n - 1 others, so the
number of corrupt ones among them is hypergeometric, and so is the number of those that drop out. With k neighbours and
recovery threshold t, all probabilities over the draw of the graph and as exact fractions, a session over n clients of
which `corrupt` help the server and `dropped` leave

    keeps its secrets    if  P[a client has >= t corrupt neighbours]       <= 2**-40 / n
    stays connected      if  n * ((corrupt + dropped) / n) ** (k / 2)      <= 2**-40
    reaches its end      if  P[a client has < t neighbours that stay]      <= 2**-30 / n

which is what Bell et al. 2020 (section 4) ask for against a server that follows the protocol: `Claim.SEMI_HONEST`. A
lying server also shows clients different survivor lists and chooses who drops out: `Claim.LYING` asks besides that

    2 t > k + c          where P[a client has > c corrupt neighbours]      <= 2**-40 / n
    t - k / 2 > c'       where P[> c' corrupt clients among k / 2 in line] <= 2**-40 / n

By the first, no client's two secrets are both opened: two disjoint sets of t - c honest neighbours would be needed. The
second is for the Harary graph: a stretch of its circle is cut off where the clients at its end, who have half of their
neighbours outside, are declared lost; t shares of their keys would be needed, from those k / 2 outside and the corrupt
among the k / 2 inside. That no other set is easier to cut off is argued here, not proved. Both take the graph to be
drawn by nobody: see `SessionPlan.beacon`.

At least one client counts as corrupt: each knows what it holds itself, and under t = 1 a share is the secret.

Pure counting; knows no session.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from math import comb

SECRECY_BITS = 40
LIVENESS_BITS = 30
FEWEST_CORRUPT = 1


class Claim(enum.Enum):
    """What a server may do without learning more than the sum."""

    SEMI_HONEST = "semi-honest"
    LYING = "lying"


def smallest_graph(
    num_clients: int,
    corrupt: int,
    dropped: int,
    claim: Claim,
    *,
    choosing: bool = True,
    neighbours: int | None = None,
    recovery_threshold: int | None = None,
) -> tuple[int, int]:
    """Return the smallest even number of neighbours and the smallest recovery threshold that support a claim.

    One of the two may be given, and the other is the smallest that goes with it.

    Args:
        num_clients: Size of the roster.
        corrupt: Clients that help the server.
        dropped: Clients that may leave.
        claim: What the server may do.
        choosing: Whether a lying server also chooses who drops out, as it can on any network; False shows what the
            choice costs.
        neighbours: Number of neighbours, if it is given; may then be odd.
        recovery_threshold: Recovery threshold, if it is given.

    Raises:
        ValueError: If counts are out of range, or not even num_clients - 1 neighbours, or not those given, are enough:
            take the complete graph.

    >>> smallest_graph(10_000, 500, 500, Claim.SEMI_HONEST)
    (38, 21)
    """
    _check_counts(num_clients, corrupt, dropped)
    if neighbours is not None and not 2 <= neighbours < num_clients:
        raise ValueError(f"neighbours={neighbours} must be between 2 and {num_clients - 1}")
    for degree in range(2, num_clients, 2) if neighbours is None else (neighbours,):
        if not _stays_connected(num_clients, corrupt, dropped, degree):
            continue
        smallest = _smallest_threshold(num_clients, corrupt, degree, claim, choosing=choosing)
        threshold = smallest if recovery_threshold is None else recovery_threshold
        if smallest <= threshold <= _largest_threshold(num_clients, dropped, degree):
            return degree, threshold
    given = {"neighbours": neighbours, "recovery_threshold": recovery_threshold}
    fixed = [f"{name}={value}" for name, value in given.items() if value is not None]
    raise ValueError(
        f"no sparse graph over {num_clients} clients{' with ' if fixed else ''}{' and '.join(fixed)} supports a "
        f"{claim.value} server with {corrupt} corrupt and {dropped} dropped clients; use the complete graph"
    )


def supports(
    num_clients: int, neighbours: int, recovery_threshold: int, corrupt: int, dropped: int, claim: Claim
) -> bool:
    """Return whether a graph meets every condition of a claim.

    Raises:
        ValueError: If counts are out of range.
    """
    _check_counts(num_clients, corrupt, dropped)
    smallest = _smallest_threshold(num_clients, corrupt, neighbours, claim, choosing=True)
    largest = _largest_threshold(num_clients, dropped, neighbours)
    return _stays_connected(num_clients, corrupt, dropped, neighbours) and smallest <= recovery_threshold <= largest


def _check_counts(num_clients: int, corrupt: int, dropped: int) -> None:
    if num_clients < 3:
        raise ValueError(f"num_clients={num_clients} must be at least 3")
    if corrupt < 0 or dropped < 0 or corrupt + dropped >= num_clients:
        raise ValueError(f"corrupt={corrupt} and dropped={dropped} must leave someone of {num_clients} clients")


def _stays_connected(num_clients: int, corrupt: int, dropped: int, neighbours: int) -> bool:
    lost, half = max(corrupt, FEWEST_CORRUPT) + dropped, neighbours // 2
    return num_clients * lost**half << SECRECY_BITS <= num_clients**half


def _smallest_threshold(num_clients: int, corrupt: int, neighbours: int, claim: Claim, *, choosing: bool) -> int:
    corrupt = max(corrupt, FEWEST_CORRUPT)
    at_most = _exceeded_rarely(num_clients, corrupt, neighbours)
    if claim is Claim.SEMI_HONEST:
        return at_most + 1
    smallest = (neighbours + at_most) // 2 + 1
    if choosing:
        half = neighbours // 2
        smallest = max(smallest, neighbours - half + _exceeded_rarely(num_clients, corrupt, half) + 1)
    return smallest


def _exceeded_rarely(num_clients: int, marked: int, draws: int) -> int:
    """Return the smallest c for which more than c marked clients are drawn with probability <= 2**-40 / n."""
    return _rare_tail(_weights(num_clients - 1, marked, draws), comb(num_clients - 1, draws), num_clients, SECRECY_BITS)


def _largest_threshold(num_clients: int, dropped: int, neighbours: int) -> int:
    """Return the largest t for which fewer than t neighbours stay with probability <= 2**-30 / n."""
    weights, total = _weights(num_clients - 1, dropped, neighbours), comb(num_clients - 1, neighbours)
    return neighbours - _rare_tail(weights, total, num_clients, LIVENESS_BITS)


def _rare_tail(weights: Sequence[int], total: int, num_clients: int, bits: int) -> int:
    tail = 0
    for count in reversed(range(len(weights))):
        tail += weights[count]
        if tail * num_clients << bits > total:
            return count
    return 0


def _weights(population: int, marked: int, draws: int) -> list[int]:
    """Return for each count how many of the comb(population, draws) draws hold so many marked ones."""
    fewest, most = max(0, draws - (population - marked)), min(draws, marked)
    weights = [0] * (draws + 1)
    weight = comb(marked, fewest) * comb(population - marked, draws - fewest)
    for count in range(fewest, most + 1):
        weights[count] = weight
        unmarked_left = population - marked - draws + count + 1
        if count < most:
            weight = weight * (marked - count) * (draws - count) // ((count + 1) * unmarked_left)
    return weights
