"""Encryption in several processes: threads gain nothing, since the library's functions hold the interpreter's lock.

The processes are started for one submission and end with it. Each is given the session's key through a pipe, makes the
secret key from it, and encrypts with randomness of its own. They are spawned, not forked, since the caller may run
threads; so its main module must be importable without side effects, as for any use of `multiprocessing`.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor

from protocols.homomorphic.ciphertexts import KeyHolder
from protocols.homomorphic.keys import SessionKey
from protocols.homomorphic.parameters import Parameters
from protocols.packing import Words

LEAST_CIPHERTEXTS = 4096  # two seconds of one core's work; starting the processes takes about half a second
_BATCH = 32

_holder: KeyHolder | None = None  # of a worker process, never of the caller's


def _start(parameters: Parameters, key: SessionKey) -> None:
    global _holder
    _holder = KeyHolder(parameters, key)


def _encrypt(batch: list[Words]) -> list[bytes]:
    assert _holder is not None
    return [_holder.encrypt(words) for words in batch]


def encrypt_in_processes(
    contents: Iterable[Words], parameters: Parameters, key: SessionKey, *, workers: int
) -> Iterator[bytes]:
    """Yield the ciphertexts of these contents in their order, a few batches a worker ahead of the consumer.

    Args:
        contents: As `KeyHolder.encrypt`, one for each ciphertext; consumed as needed.
        parameters: Parameters of the session.
        key: Key of the session.
        workers: Number of processes.
    """
    source = iter(contents)
    spawn = multiprocessing.get_context("spawn")
    waiting: deque[Future[list[bytes]]] = deque()
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start, initargs=(parameters, key)) as pool:
        while True:
            while len(waiting) < 3 * workers and (batch := list(itertools.islice(source, _BATCH))):
                waiting.append(pool.submit(_encrypt, batch))
            if not waiting:
                return
            yield from waiting.popleft().result()
