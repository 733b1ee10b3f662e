"""The words behind the noise: AES-256 in counter mode under a key that nobody chose."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
from itertools import count

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols.noise import NOISES, SystemWords, top_k
from protocols.noise.stream import PIECE_BYTES

KEY = bytes(range(32))


def oracle(key, length):
    """Return the first words of a stream: AES-ECB of each counter, taken apart by hand."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    content = b"".join(block.update(counter.to_bytes(16, "big")) for counter in range(length // 2 + 1))
    return [int.from_bytes(content[8 * word : 8 * word + 8], "little") for word in range(length)]


def test_the_cipher_is_aes_256():
    """FIPS 197, appendix C.3, through the oracle's cipher."""
    block = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor()

    assert block.update(bytes.fromhex("00112233445566778899aabbccddeeff")).hex() == "8ea2b7ca516745bfeafc49904b496089"


@pytest.mark.parametrize("counts", [(5,), (1, 0, 2, 3), (PIECE_BYTES // 8 + 3, 4)], ids=["one", "odd", "pieces"])
def test_words_are_the_stream_of_the_key(monkeypatch, counts):
    """However they are asked for, words come from the counter 0 on, each once, under the system's key."""
    asked = []
    monkeypatch.setattr(os, "urandom", lambda size: asked.append(size) or KEY[:size])
    source = SystemWords()
    words = [source.words(size) for size in counts]

    assert asked == [32]
    assert [len(part) for part in words] == list(counts)
    assert all(part.dtype == np.uint64 for part in words)
    assert np.concatenate(words).tolist() == oracle(KEY, sum(counts))


def test_no_words_repeat():
    """Two sources, and two calls of one, give different words."""
    first, second = SystemWords(), SystemWords()
    words = np.concatenate([first.words(1000), first.words(1000), second.words(1000)])

    assert len(np.unique(words)) == 3000


def test_half_of_the_bits_are_set():
    """Over a million words the share of ones is 1/2 within seven standard errors."""
    ones = np.bitwise_count(SystemWords().words(10**6)).sum(dtype=np.int64)

    assert abs(ones - 32 * 10**6) < 7 * np.sqrt(64 * 10**6) / 2


def test_a_forked_process_starts_a_stream_of_its_own(monkeypatch):
    """A source that finds itself in another process takes a new key, once."""
    keys = (bytes([number] * 32) for number in count(1))
    monkeypatch.setattr(os, "urandom", lambda size: next(keys))
    source = SystemWords()
    before = source.words(2).tolist()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    after = [*source.words(2).tolist(), *source.words(1).tolist()]

    assert before == oracle(bytes([1] * 32), 2)
    assert after == oracle(bytes([2] * 32), 3)


def test_a_source_cannot_be_copied_and_shows_no_key(monkeypatch):
    """Neither pickling nor a deep copy repeats the words, and no text holds the key."""
    monkeypatch.setattr(os, "urandom", lambda size: KEY)
    source = SystemWords()
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(source)
    with pytest.raises(TypeError, match="pickle"):
        copy.deepcopy(source)

    assert KEY.hex() not in repr(source)
    assert repr(KEY) not in repr(source)
    assert not hasattr(source, "__dict__")
    assert not any(isinstance(getattr(source, name), bytes) for name in SystemWords.__slots__)


def test_negative_counts_are_refused():
    """A number of words is at least 0."""
    with pytest.raises(ValueError, match="count=-1 must be at least 0"):
        SystemWords().words(-1)


def test_nothing_that_ships_takes_a_seed():
    """A source takes no argument; samplers take one only as a source of words, and make a fresh one by default."""
    assert not inspect.signature(SystemWords).parameters
    for law in NOISES.values():
        assert list(inspect.signature(law).parameters) == ["variance"]
        assert list(inspect.signature(law.sample).parameters) == ["self", "length", "source"]
        assert inspect.signature(law.sample).parameters["source"].default is None
    assert list(inspect.signature(top_k).parameters) == ["scores", "k", "epsilon_each", "sensitivity", "source"]
    assert inspect.signature(top_k).parameters["source"].default is None
