"""Peak memory of client, server and simulation, added up from the sizes of what each must hold at once.

An estimate, rather low: what libraries take beside is read from this process; allocators, logits and other
short-lived copies are not counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# Of the matrix at hand, beside its weights: a score and its partitioned copy (4 each), a mask and comparisons (1 each).
DECIDING_BYTES = 4 + 4 + 4 + 1 + 1
SELECTING_BYTES = 4 + 4 + 4 + 8 + 1 + 1  # at the server: totals, the tie order, a partition, places of ties
CHUNKS = 3  # a message in the making, its copy, and its packed content
BLOCK_COPIES = 2  # as it is, and as it is pruned
WIDEST_COPIES = 6  # of a batch inside a block: gate, up, their product, attention's three


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What decides memory.

    Attributes:
        block_weights: weights of the largest block.
        block_bytes: bytes of it as computed with.
        matrix_weights: weights of the largest matrix.
        outer_bytes: embedding, final norm and head as computed with.
        hidden_bytes: hidden states of one window.
        batch_bytes: of a batch of windows at the widest place in a block.
        entries: of the largest session.
        content_bytes: what a client submits in it.
    """

    block_weights: int
    block_bytes: int
    matrix_weights: int
    outer_bytes: int
    hidden_bytes: int
    batch_bytes: int
    entries: int
    content_bytes: int


def peak_memory(
    sizes: Sizes, *, clients: int, per_client: int, rows: int, variants: int, hidden_memory: int
) -> dict[str, int]:
    """Add up peaks in bytes, beyond libraries.

    Args:
        sizes: of model and sessions.
        clients: size of the roster.
        per_client: windows of each.
        rows: windows of all parties of a simulation.
        variants: prune masks that a simulation makes of each block.
        hidden_memory: bytes of hidden states past which they lie on disk.

    Returns:
        ``client`` and ``server`` of a deployment, where all clients may be amid their submissions at once, and
        ``simulation``, in which one client submits after the other.
    """
    inside = sizes.batch_bytes * WIDEST_COPIES
    deciding = sizes.block_weights + sizes.matrix_weights * DECIDING_BYTES
    selecting = sizes.matrix_weights * SELECTING_BYTES
    sums = 4 * sizes.entries + sizes.content_bytes
    at_client = min(hidden_memory, per_client * sizes.hidden_bytes) + BLOCK_COPIES * sizes.block_bytes
    client = max(sizes.outer_bytes, at_client + max(inside, deciding) + CHUNKS * (1 << 20))
    server = sizes.block_bytes + max(sums + clients * sizes.content_bytes, sums + selecting)
    held = min(hidden_memory, rows * sizes.hidden_bytes) + BLOCK_COPIES * sizes.block_bytes
    masks = sizes.block_weights * variants
    simulation = held + max(inside, masks + deciding + sums + sizes.content_bytes, masks + sums + selecting)
    return {"client": client, "server": server, "simulation": max(simulation, sizes.outer_bytes)}


def resident_bytes() -> int:
    """Read how much memory this process holds now; 0 where the system does not say."""
    status = Path("/proc/self/status")
    found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else 0
