"""Random 64-bit words: AES-256-CTR under a key from the operating system.

Noise that hides a client must not be guessed, so its words come from a cipher and never from a seed. A stream of b
blocks is within b**2 / 2**129 of uniform (a permutation against a function), beyond what the cipher itself gives away:
2**-65 for the 6.5e9 words of a model of seven billion weights. Masks of a session use AES-128; noise protects a
release for as long as the release exists, hence the longer key, which costs a tenth of a nanosecond a word.

Knows nothing of laws or of what the words are for. Time and memory access depend on the words in the samplers built
on it; an observer of the machine itself is outside the claim.
"""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES = 32
WORD_BYTES = 8
BLOCK_BYTES = 16
PIECE_BYTES = 2**16  # fits a core's cache: longer calls of the cipher take twice the time a byte

_ZEROS = memoryview(bytes(PIECE_BYTES))


class WordSource(Protocol):
    """Where a sampler takes its randomness from."""

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return the next `count` words, uniform and independent: uint64 (count,)."""


class SystemWords:
    """A source with a fresh key of its own, which nobody can choose, read or repeat.

    SECURITY: a process that was forked off starts a stream of its own: parent and child never draw the same noise.
    """

    __slots__ = ("_cipher", "_process")

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        key = algorithms.AES(os.urandom(KEY_BYTES))
        self._cipher: CipherContext = Cipher(key, modes.CTR(bytes(BLOCK_BYTES))).encryptor()

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return the next words of the stream.

        Args:
            count: Number of words, at least 0.

        Returns:
            uint64 (count,), the caller's own.

        Raises:
            ValueError: If count is negative.
        """
        if count < 0:
            raise ValueError(f"count={count} must be at least 0")
        if os.getpid() != self._process:
            self._start()
        num_bytes = count * WORD_BYTES
        output = np.empty(num_bytes + BLOCK_BYTES - 1, np.uint8)  # the cipher wants room for one more partial block
        target = output.data
        for first in range(0, num_bytes, PIECE_BYTES):
            zeros = _ZEROS[: num_bytes - first]
            self._cipher.update_into(zeros, target[first : first + len(zeros) + BLOCK_BYTES - 1])
        return output[:num_bytes].view("<u8").astype(np.uint64, copy=False)
