"""What a privacy claim compares, and whom it holds against.

A claim of (epsilon, delta) is about two inputs that differ in one client's or one window's contribution, and about an
adversary. Neither has a default: noise sized for a zero-out epsilon of 1 / 3 / 8 gives 2.15 / 6.71 / 19.1 when the
contribution is replaced instead. Knows no mechanism and no number.
"""

from __future__ import annotations

from typing import Literal, get_args

from fedprllm_secure.errors import InputError

Adjacency = Literal["client-zero-out", "client-replace", "window-zero-out", "window-replace"]
ADJACENCIES: tuple[Adjacency, ...] = get_args(Adjacency)

MEANINGS: dict[Adjacency, str] = {
    "client-zero-out": "one client's contribution is the zero vector instead; the number of clients is public",
    "client-replace": "one client's contribution is that of any other text instead; the number of clients is public",
    "window-zero-out": (
        "one window's contribution (one pre-cut token sequence: not a document, not a person) is the zero vector "
        "instead; the number of windows is public"
    ),
    "window-replace": (
        "one window (one pre-cut token sequence: not a document, not a person) is any other window instead; the number "
        "of windows is public"
    ),
}

READERS = "readers of the output; the server is trusted"
SERVER_ALONE = "the server alone, if it follows the protocol"


def server_with_colluders(colluders: int, *, may_lie: bool = True) -> str:
    """Name the adversary of noise that clients add: the server and clients that tell it what they know.

    Args:
        colluders: clients that may help the server, at least 0.
        may_lie: whether the server may also depart from the protocol.

    Raises:
        InputError: it is negative.
    """
    if colluders < 0:
        raise InputError(f"assumed_colluders={colluders} must be at least 0")
    server = "server" if may_lie else "server that follows the protocol,"
    return f"{server} with {colluders} colluding client{'s' * (colluders != 1)}"


def check_adjacency(adjacency: str) -> Adjacency:
    """Return one of the four names.

    Raises:
        InputError: it is none of them.
    """
    for known in ADJACENCIES:
        if adjacency == known:
            return known
    raise InputError(f"adjacency={adjacency} must be one of {', '.join(ADJACENCIES)}")


def is_window_level(adjacency: Adjacency) -> bool:
    """Whether neighbours differ in one window instead of a whole client."""
    return adjacency.startswith("window")


def is_replace(adjacency: Adjacency) -> bool:
    """Whether the contribution becomes another one instead of the zero vector."""
    return adjacency.endswith("replace")
