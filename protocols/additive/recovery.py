"""From revealed shares back to secrets, each verified, and from the sum of submissions to the totals.

A rebuilt masking key must have the advertised public key, a rebuilt seed the advertised commitment; so a bad share can
stop a session but never change a total. Which share of several is bad shows only by trying: at most `ATTEMPTS` sets of
shares are tried for a secret, first those that leave out one, then two and so on, those last whose holders were caught
before. Where enough others are there, one bad share is thus survived for certain up to a threshold of 1023, two up to
43; past that, it depends on which are bad. Else `UnusableTotals` names the client whose secret it is. Whether that
client dealt bad shares or others revealed bad ones cannot be told apart by the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, islice

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols.additive.bodies import Advertisement, commitment_to
from protocols.additive.mask_stream import add_streams
from protocols.additive.pairwise_masks import PairSecrets
from protocols.additive.shamir import SECRET_BYTES, join
from protocols.derivation import KeyTable, agree
from protocols.packing import Words
from protocols.wire import Frame

ATTEMPTS = 1024


def rebuild(
    shares: Mapping[int, int], threshold: int, is_right: Callable[[bytes], bool], suspects: set[int]
) -> bytes | None:
    """Return the secret that `is_right` accepts, or None if no set of shares that was tried gives it.

    Args:
        shares: Shares by x, at least `threshold` of them.
        threshold: Shares that give the secret.
        is_right: Verifies a candidate of 32 bytes.
        suspects: The x whose shares were found bad before; added to.
    """
    ordered = sorted(shares, key=lambda point: (point in suspects, point))
    for points in islice(_sets(ordered, threshold), ATTEMPTS):
        value = join({point: shares[point] for point in points})
        if value < 2 ** (8 * SECRET_BYTES) and is_right(secret := value.to_bytes(SECRET_BYTES, "little")):
            suspects.update(set(ordered[:threshold]) - set(points))
            return secret
    return None


def _sets(ordered: list[int], threshold: int) -> Iterator[tuple[int, ...]]:
    """Yield each set of `threshold` points once, in ascending order within, those that leave out fewest first."""
    for left_out in range(len(ordered) - threshold + 1):
        candidates, newest = ordered[: threshold + left_out - 1], ordered[threshold + left_out - 1]
        for absent in combinations(reversed(candidates), left_out):
            yield tuple(sorted({*candidates, newest}.difference(absent)))


@dataclass(frozen=True, slots=True)
class Recovery:
    """Takes the masks off a sum.

    Attributes:
        table: Keys of the session.
        advertisements: What each client advertised.
        threshold: Shares that give a secret.
        suspects: The x whose shares were found bad.
    """

    table: KeyTable
    advertisements: Mapping[int, Advertisement]
    threshold: int
    suspects: set[int]

    def seed(self, client: int, shares: Mapping[int, int]) -> bytes | None:
        """Return the self-mask seed of a survivor, or None if the shares do not give it."""
        commitment = self.advertisements[client].commitment
        return rebuild(shares, self.threshold, lambda seed: commitment_to(seed) == commitment, self.suspects)

    def pairs(self, client: int, shares: Mapping[int, int], peers: list[int], frame: Frame) -> PairSecrets | None:
        """Return what a lost client had agreed on with these peers, or None if the shares do not give its key."""
        public_key = self.advertisements[client].masking_key

        def is_right(candidate: bytes) -> bool:
            return X25519PrivateKey.from_private_bytes(candidate).public_key().public_bytes_raw() == public_key

        secret = rebuild(shares, self.threshold, is_right, self.suspects)
        if secret is None:
            return None
        key = X25519PrivateKey.from_private_bytes(secret)
        agreed = {peer: agree(key, self.advertisements[peer].masking_key, frame=frame, client=peer) for peer in peers}
        return PairSecrets(client, agreed)

    def unmask(
        self, words: Words, seeds: Mapping[int, bytes], lost: list[PairSecrets], vector: str, number: int
    ) -> None:
        """Take all masks off the sum of the survivors' submissions, in place.

        What a survivor masked with a lost client stands alone in the sum. The lost client would have put in the very
        opposite; so it is added here in its place, around nothing.

        Args:
            words: uint64 (num_words,).
            seeds: Self-mask seeds of the survivors.
            lost: What each lost client had agreed on with its peers among the survivors.
            vector: Name of the vector.
            number: Its position in the plan.
        """
        added: list[bytes] = []
        subtracted = [self.table.self_mask(seed, client, vector, number) for client, seed in seeds.items()]
        for pairs in lost:
            plus, minus = pairs.keys(self.table, vector, number)
            added += plus
            subtracted += minus
        add_streams(words, added, subtracted)
