"""Which key streams hide a vector: a client's self mask, and one pairwise mask for each peer.

    submission of u = packed words + self mask of u
                      + sum of pair masks with peers above u - sum of pair masks with peers below u    modulo 2**64

(Bonawitz et al. 2017, section 4), so that in a sum over both ends of a pair their mask is gone. The client of a
submission and the server that finishes a lost client's part use the same lists. Draws nothing, sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocols.derivation import KeyTable


@dataclass(frozen=True, slots=True)
class PairSecrets:
    """What a client has agreed on with its peers.

    Attributes:
        client: Roster index of the client.
        by_peer: X25519 output of the two masking keys, by the roster index of the peer.
    """

    client: int
    by_peer: Mapping[int, bytes] = field(repr=False)

    def keys(self, table: KeyTable, vector: str, number: int) -> tuple[list[bytes], list[bytes]]:
        """Return the keys of the streams that this client adds, and of those that it subtracts.

        Args:
            table: Keys of the session.
            vector: Name of the vector.
            number: Its position in the plan.
        """
        added: list[bytes] = []
        subtracted: list[bytes] = []
        for peer, secret in self.by_peer.items():
            key = table.pair(secret, self.client, peer, vector, number)
            (added if peer > self.client else subtracted).append(key)
        return added, subtracted
