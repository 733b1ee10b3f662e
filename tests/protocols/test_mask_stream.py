"""Key streams against AES of counters, block by block; any split of the work gives the same words."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.additive import mask_stream
from protocols.additive.mask_stream import PIECE_WORDS, add_streams

KEYS = [bytes([value] * 16) for value in range(1, 7)]


def oracle(key, start, length):
    """Return words of a stream: AES-ECB of each counter, taken apart by hand."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    content = b"".join(block.update(counter.to_bytes(16, "big")) for counter in range((start + length) // 2 + 1))
    words = [int.from_bytes(content[8 * word : 8 * word + 8], "little") for word in range(start, start + length)]
    return np.array(words, np.uint64)


def streamed(length, added, subtracted=(), start=0):
    """Return the streams' sum, from zero."""
    words = np.zeros(length, np.uint64)
    add_streams(words, added, subtracted, start=start)
    return words


def test_the_cipher_is_aes_in_counter_mode():
    """FIPS 197, appendix C.1, through the oracle's cipher; the first block is AES of the counter 0."""
    key = bytes(range(16))
    plain = bytes.fromhex("00112233445566778899aabbccddeeff")
    vector = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(plain)

    assert vector.hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"
    assert streamed(4, [key]).astype("<u8").tobytes().hex() == (
        "c6a13b37878f5b826f4f8162a1c8d879" + "7346139595c0b41e497bbde365f42d0a"
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(length=st.integers(0, 70), start=st.integers(0, 40), plus=st.integers(0, 3), minus=st.integers(0, 3))
def test_streams_equal_the_oracle(length, start, plus, minus):
    """Sums and differences of streams, from odd and even words on, are those of the oracle modulo 2**64."""
    added, subtracted = KEYS[:plus], KEYS[3 : 3 + minus]
    expected = np.full(length, 2**64 - 1, np.uint64)
    words = expected.copy()
    add_streams(words, added, subtracted, start=start)
    for key in added:
        expected += oracle(key, start, length)
    for key in subtracted:
        expected -= oracle(key, start, length)

    np.testing.assert_array_equal(words, expected)


@pytest.mark.parametrize("start", [0, 1, PIECE_WORDS - 1, PIECE_WORDS, 131072])
def test_a_stream_is_read_from_any_word_on(start):
    """Chunks of a stream, of any sizes, are the stream; piece c of 64 KiB starts at block 4096 c."""
    whole = streamed(start + 2 * PIECE_WORDS + 3, KEYS[:1])
    np.testing.assert_array_equal(streamed(2 * PIECE_WORDS + 3, KEYS[:1], start=start), whole[start:])

    np.testing.assert_array_equal(whole[start : start + 3], oracle(KEYS[0], start, 3))


@pytest.mark.parametrize("cores", [1, 2, 3, 8])
def test_the_number_of_cores_changes_nothing(monkeypatch, cores):
    """However the vector is cut among threads, and streams into batches, the words are the same."""
    expected = sum(oracle(key, 5, 200) for key in KEYS[:3]) - oracle(KEYS[3], 5, 200)
    long = streamed(5 * PIECE_WORDS + 7, KEYS[:3], KEYS[3:4], start=5)
    monkeypatch.setattr(mask_stream, "_num_cores", lambda: cores)
    monkeypatch.setattr(mask_stream, "WORTH_A_THREAD_BYTES", 1)
    monkeypatch.setattr(mask_stream, "STREAMS_AT_ONCE", 2)
    started = []
    work = mask_stream._add_to_range
    monkeypatch.setattr(mask_stream, "_add_to_range", lambda *args: (started.append(len(args[0])), work(*args)))
    again = streamed(5 * PIECE_WORDS + 7, KEYS[:3], KEYS[3:4], start=5)

    assert len(started) == min(cores, 6)
    assert sum(started) == len(again)
    np.testing.assert_array_equal(again, long)
    np.testing.assert_array_equal(again[:200], expected)


@pytest.mark.parametrize("cores", [4, 5])
@pytest.mark.parametrize("last", [1, PIECE_WORDS])
def test_pieces_that_do_not_divide_among_cores_are_all_masked(monkeypatch, cores, last):
    """Seven pieces for four or five threads: no word is left as it was."""
    length = 6 * PIECE_WORDS + last
    expected = streamed(length, KEYS[:1])
    monkeypatch.setattr(mask_stream, "_num_cores", lambda: cores)
    monkeypatch.setattr(mask_stream, "WORTH_A_THREAD_BYTES", 1)
    masked = streamed(length, KEYS[:1])

    assert np.count_nonzero(masked) == length
    np.testing.assert_array_equal(masked, expected)


def test_ranges_that_leave_words_bare_are_an_error(monkeypatch):
    """Whatever became of the arithmetic, words without a mask never pass in silence."""
    monkeypatch.setattr(mask_stream, "_num_cores", lambda: 2)
    monkeypatch.setattr(mask_stream, "WORTH_A_THREAD_BYTES", 1)
    monkeypatch.setattr(mask_stream, "pairwise", lambda stops: iter([(0, PIECE_WORDS)]))
    with pytest.raises(AssertionError, match=f"masks for {PIECE_WORDS} of {2 * PIECE_WORDS} words would leave"):
        streamed(2 * PIECE_WORDS, KEYS)


def test_errors_of_threads_reach_the_caller(monkeypatch):
    """A range that fails in another thread fails the call: words are never left half masked in silence."""

    def fail(words, signed, start):
        if start:
            raise MemoryError("no room")

    monkeypatch.setattr(mask_stream, "_num_cores", lambda: 2)
    monkeypatch.setattr(mask_stream, "WORTH_A_THREAD_BYTES", 1)
    monkeypatch.setattr(mask_stream, "_add_to_range", fail)
    with pytest.raises(MemoryError, match="no room"):
        streamed(2 * PIECE_WORDS, KEYS)


def test_adding_and_subtracting_cancel():
    """A stream added at one end and subtracted at the other is gone."""
    words = np.arange(1000, dtype=np.uint64)
    add_streams(words, KEYS[:3], start=7)
    assert not np.array_equal(words, np.arange(1000))
    add_streams(words, (), KEYS[:3], start=7)

    np.testing.assert_array_equal(words, np.arange(1000))


def test_words_are_uniform():
    """Each bit of a word is set about half of the time (five standard deviations)."""
    bits = np.unpackbits(streamed(2**14, KEYS[:1]).view(np.uint8)).reshape(-1, 64).sum(axis=0, dtype=np.int64)

    assert np.abs(bits - 2**13).max() < 5 * 64


@pytest.mark.parametrize(
    ("words", "keys", "start", "match"),
    [
        (np.zeros(4, np.int64), KEYS, 0, "dtype int64 must be contiguous uint64"),
        (np.zeros((2, 2), np.uint64), KEYS, 0, r"shape \(2, 2\)"),
        (np.zeros(8, np.uint64)[::2], KEYS, 0, "must be contiguous"),
        (np.zeros(4, np.uint64), [bytes(32)], 0, "a key of 32 bytes must have 16 bytes"),
        (np.zeros(4, np.uint64), KEYS, -1, "start=-1 must be at least 0"),
    ],
)
def test_bad_arguments_are_refused(words, keys, start, match):
    """Neither other arrays nor other keys are taken."""
    with pytest.raises(ValueError, match=match):
        add_streams(words, keys, start=start)
    with pytest.raises(ValueError, match=match):
        add_streams(words, (), keys, start=start)
