"""How fast the server of `additive` takes masks off a sum, beside what this machine's cipher and adder can do.

What is timed is `Recovery.unmask`, the server's own call for it, on secrets as they stand once they are rebuilt: every
key is derived and every key stream made and added. The limit, in the same run and in turn with it, is AES-128-CTR over
64 KiB that stay in a core's cache, and an addition, in as many threads; medians of both.
"""

from __future__ import annotations

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols import PROTOCOLS, SessionPlan
from protocols.additive.pairwise_masks import PairSecrets
from protocols.additive.recovery import Recovery
from protocols.derivation import KeyTable

RUNS = 7
PIECE_BYTES = 1 << 16
LIMIT_BYTES = 1 << 29  # of key stream a thread: some tenths of a second


@dataclass(frozen=True, slots=True)
class Unmasking:
    """What taking the masks off one vector took.

    Attributes:
        clients: Size of the roster.
        lost: Clients that shared and did not submit.
        streams: Key streams taken off: a self mask of each survivor, its pairwise mask with each lost client.
        stream_bytes: Their length together.
        seconds: Median time.
        limit: Median bytes a second of the limit in the same run.
    """

    clients: int
    lost: int
    streams: int
    stream_bytes: int
    seconds: float
    limit: float

    @property
    def rate(self) -> float:
        """Bytes of key stream a second."""
        return self.stream_bytes / self.seconds

    @property
    def share(self) -> float:
        """Rate as a share of the limit."""
        return self.rate / self.limit


def aes_and_add_rate(threads: int) -> float:
    """Return bytes a second of the loop that masking cannot beat: a key stream made and added to words, all in cache.

    Args:
        threads: How many run the loop at once, each with its own cipher and words.
    """
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        for done in [pool.submit(_aes_and_add) for _ in range(threads)]:
            done.result()
        return threads * LIMIT_BYTES / (time.perf_counter() - started)


def _aes_and_add() -> None:
    zeros, buffer = bytes(PIECE_BYTES), bytearray(PIECE_BYTES + 15)  # the cipher asks for a block to spare
    words, stream = np.zeros(PIECE_BYTES // 8, np.uint64), np.frombuffer(buffer, np.uint64, PIECE_BYTES // 8)
    cipher = Cipher(algorithms.AES(os.urandom(16)), modes.CTR(bytes(16))).encryptor()
    for _ in range(LIMIT_BYTES // PIECE_BYTES):
        cipher.update_into(zeros, buffer)
        np.add(words, stream, out=words)


def measure_unmasking(plan: SessionPlan, lost: int, *, threads: int) -> Unmasking:
    """Time taking the masks off the first vector of a session, and the limit, in turn.

    Args:
        plan: Of `additive`, with a complete graph.
        lost: How many clients shared and did not submit.
        threads: In which the limit is measured: as many as unmasking uses, one a core.
    """
    vector, clients = plan.vectors[0], len(plan.roster)
    words = np.zeros(PROTOCOLS["additive"].layout(plan, vector).words(vector.length), np.uint64)
    survivors = range(lost, clients)
    seeds = {client: os.urandom(32) for client in survivors}
    pairs = [PairSecrets(client, {peer: os.urandom(32) for peer in survivors}) for client in range(lost)]
    recovery = Recovery(KeyTable(plan.digest, os.urandom(32)), {}, plan.recovery_threshold, set())
    streams = len(seeds) * (1 + lost)
    repeats = max(1, threads * LIMIT_BYTES // (streams * words.nbytes))  # so that both are timed for about as long
    seconds, limits = [], []
    for _ in range(RUNS + 1):  # the first run warms up and is dropped
        limits.append(aes_and_add_rate(threads))
        started = time.perf_counter()
        for _ in range(repeats):
            recovery.unmask(words, seeds, pairs, vector.name, 0)
        seconds.append((time.perf_counter() - started) / repeats)
    return Unmasking(
        clients=clients,
        lost=lost,
        streams=streams,
        stream_bytes=streams * words.nbytes,
        seconds=statistics.median(seconds[1:]),
        limit=statistics.median(limits[1:]),
    )
