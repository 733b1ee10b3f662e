"""Uniform 64-bit words from AES-128-CTR, added to a vector in place.

A stream is one key: its block b is AES-128(key, b as 16 bytes, big-endian), its word w the bytes 8 w ... 8 w + 7 of all
blocks end to end, little-endian; 64 KiB piece c starts at block 4096 c (NIST SP 800-38A, counter from 0). It is read
from any word on, so that a vector can be masked chunk by chunk without a second stream under the key. Adding and
subtracting is modulo 2**64, exact and uniform.

Speed: of the vector, one piece that fits a core's cache takes all streams before the next one; long vectors are cut
among the cores, since neither the cipher nor the addition holds the interpreter's lock. The result does not depend on
how. Knows neither clients nor keys' origin.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from protocols.packing import Words

KEY_BYTES = 16
WORD_BYTES = 8
BLOCK_BYTES = 16
PIECE_BYTES = 2**16
PIECE_WORDS = PIECE_BYTES // WORD_BYTES
STREAMS_AT_ONCE = 512  # a cipher's state takes about a kilobyte
WORTH_A_THREAD_BYTES = 2**21  # of key stream: below a quarter of a millisecond's work, starting a thread costs more

_ZEROS = memoryview(bytes(PIECE_BYTES))


def add_streams(words: Words, added: Sequence[bytes], subtracted: Sequence[bytes] = (), *, start: int = 0) -> None:
    """Add and subtract key streams in place, modulo 2**64.

    Args:
        words: uint64 (num_words,), contiguous: the words [start, start + num_words) of a vector.
        added: AES-128 keys of the streams to add, 16 bytes each.
        subtracted: AES-128 keys of the streams to subtract.
        start: Position of the first word in the streams.

    Raises:
        ValueError: If a key has another length, start is negative, or words have another dtype or shape.
    """
    _check(words, added, subtracted, start)
    signed = [(key, True) for key in added] + [(key, False) for key in subtracted]
    pieces = -(-len(words) // PIECE_WORDS)
    work = len(words) * WORD_BYTES * len(signed)
    workers = max(1, min(_num_cores(), pieces, work // WORTH_A_THREAD_BYTES))
    if workers == 1:
        _add_to_range(words, signed, start)
        return
    stops = [pieces * worker // workers * PIECE_WORDS for worker in range(workers + 1)]
    ranges = [(words[first:last], start + first) for first, last in pairwise(stops)]
    if (covered := sum(len(part) for part, _ in ranges)) != len(words):
        raise AssertionError(f"masks for {covered} of {len(words)} words would leave others bare")
    with ThreadPoolExecutor(workers - 1) as pool:
        others = [pool.submit(_add_to_range, part, signed, first) for part, first in ranges[1:]]
        _add_to_range(ranges[0][0], signed, ranges[0][1])
        for other in others:
            other.result()


def _check(words: Words, added: Sequence[bytes], subtracted: Sequence[bytes], start: int) -> None:
    if words.dtype != np.uint64 or words.ndim != 1 or not words.flags.c_contiguous:
        raise ValueError(
            f"words with shape {words.shape} and dtype {words.dtype} must be contiguous uint64 (num_words,)"
        )
    if start < 0:
        raise ValueError(f"start={start} must be at least 0")
    for key in (*added, *subtracted):
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of {len(key)} bytes must have {KEY_BYTES} bytes")


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _add_to_range(words: Words, signed: Sequence[tuple[bytes, bool]], start: int) -> None:
    output = bytearray(PIECE_BYTES + BLOCK_BYTES - 1)  # the cipher wants room for one more partial block
    stream = np.frombuffer(output, "<u8", PIECE_WORDS)
    for first in range(0, len(signed), STREAMS_AT_ONCE):
        ciphers = [(_cipher(key, start), is_added) for key, is_added in signed[first : first + STREAMS_AT_ONCE]]
        for offset in range(0, len(words), PIECE_WORDS):
            target = words[offset : offset + PIECE_WORDS]
            zeros, drawn = _ZEROS[: WORD_BYTES * len(target)], stream[: len(target)]
            for cipher, is_added in ciphers:
                cipher.update_into(zeros, output)
                if is_added:
                    np.add(target, drawn, out=target)
                else:
                    np.subtract(target, drawn, out=target)
    stream.fill(0)


def _cipher(key: bytes, word: int) -> CipherContext:
    block, skipped = divmod(word * WORD_BYTES, BLOCK_BYTES)
    cipher = Cipher(algorithms.AES(key), modes.CTR(block.to_bytes(BLOCK_BYTES, "big"))).encryptor()
    if skipped:
        cipher.update(bytes(skipped))
    return cipher
