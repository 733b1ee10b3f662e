"""A Merkle tree over the roster, split as in RFC 6962 (section 2.1), and paths that show one leaf of it.

    leaf of an advertisement   SHA-256(0x00 || message)
    leaf of an absent client   SHA-256(0x02)
    inner node                 SHA-256(0x01 || left || right)

The left part is the largest power of two below the size. Seen from the leaves, neighbours are paired level by level,
and an odd one at the end moves up as it is. There is one leaf for every roster index, in roster order, whether its
client advertised or not, so that two sets of present clients can never give one root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

NODE_BYTES = 32
ABSENT_LEAF = hashlib.sha256(b"\x02").digest()


def leaf(message: bytes | None) -> bytes:
    """Return the leaf of an advertise message, or of a client without one."""
    return ABSENT_LEAF if message is None else hashlib.sha256(b"\x00" + message).digest()


def path_length(index: int, num_clients: int) -> int:
    """Return the number of nodes in the path of a leaf."""
    length = 0
    while num_clients > 1:
        length += index ^ 1 < num_clients
        index, num_clients = index // 2, (num_clients + 1) // 2
    return length


def root_of(found: bytes, index: int, path: Sequence[bytes], num_clients: int) -> bytes:
    """Return the root that a leaf and its path lead to.

    Args:
        found: The leaf.
        index: Its position.
        path: `path_length` nodes, from the leaves up.
        num_clients: Number of leaves.
    """
    nodes = iter(path)
    while num_clients > 1:
        if index ^ 1 < num_clients:
            found = _inner(next(nodes), found) if index % 2 else _inner(found, next(nodes))
        index, num_clients = index // 2, (num_clients + 1) // 2
    return found


class MerkleTree:
    """All levels of a tree, leaves first."""

    def __init__(self, advertisements: Mapping[int, bytes], num_clients: int) -> None:
        """Build the tree over the advertise messages by roster index."""
        self._levels = [[leaf(advertisements.get(index)) for index in range(num_clients)]]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            paired = [_inner(below[left], below[left + 1]) for left in range(0, len(below) - 1, 2)]
            self._levels.append(paired + below[len(below) - len(below) % 2 :])

    @property
    def root(self) -> bytes:
        """The root, 32 bytes."""
        return self._levels[-1][0]

    def path(self, index: int) -> list[bytes]:
        """Return the nodes beside the way from a leaf to the root, from the leaves up."""
        nodes = []
        for level in self._levels:
            if index ^ 1 < len(level):
                nodes.append(level[index ^ 1])
            index //= 2
        return nodes


def _inner(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
