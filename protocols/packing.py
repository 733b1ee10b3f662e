"""Several small integers in one 64-bit word, by positional notation.

Entry i of a vector is digit i % lanes, in base `radix`, of word i // lanes:

    word = sum(entry[i] * radix**i for i in range(lanes)),   radix = summands * bound + 1

so adding words adds entries, and no sum of `summands` vectors carries into the next lane. Votes (bound 1) take 64 lanes
for one summand, 20 for eight and 10 for sixty-four.

Signed entries are packed by the same formula modulo 2**64. Where a sum may lie in [-reach, reach], the radix is 2 *
reach + 1, and whoever splits a sum adds `offset` = reach to every lane first, in one addition a word:

    digit i of word + shift  =  entry[i] + offset,   shift = offset * (radix**lanes - 1) / (radix - 1)

A sum of noise can, rarely, reach past any bound; then a lane moves its neighbour by one, and the top lane takes the
word out of its range, which is refused unless it wraps back into it. How rarely is for the maker of the noise to say.
Pure integer arithmetic; knows neither clients nor protocols.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD_CAPACITY = 2**64
BLOCK_WORDS = 2**14  # a million votes a block: larger blocks gain little speed, and temporaries stay at a few MB

Words = NDArray[np.uint64]
Integers = NDArray[Any]  # any integer or bool dtype; checked where used, since numpy has no type for "integer"


@dataclass(frozen=True, slots=True)
class Layout:
    """How many digits of which base share a word.

    Attributes:
        radix: Base of the digits, in [2, 2**64).
        lanes: Digits a word; radix**lanes is at most 2**64.
        offset: What is added to an entry to make it a digit: 0, or, for signed entries, (radix - 1) / 2.
    """

    radix: int
    lanes: int
    offset: int = 0

    def __post_init__(self) -> None:
        """Check that every word fits 64 bits.

        Raises:
            ValueError: If radix, lanes or offset is out of range or a word could overflow.
        """
        if not 2 <= self.radix < WORD_CAPACITY:
            raise ValueError(f"radix={self.radix} must be in [2, 2**64)")
        if self.lanes < 1:
            raise ValueError(f"lanes={self.lanes} must be at least 1")
        if self.radix**self.lanes > WORD_CAPACITY:
            raise ValueError(f"lanes={self.lanes} of radix={self.radix} must fit a word of 64 bits")
        if self.offset and 2 * self.offset + 1 != self.radix:
            raise ValueError(f"offset={self.offset} must be 0 or half of radix={self.radix} less one")

    @classmethod
    def for_sum(
        cls, summands: int, bound: int, capacity: int = WORD_CAPACITY, *, signed: bool = False, headroom: int = 0
    ) -> Layout:
        """Return the densest layout in which a sum of vectors cannot overflow a lane.

        Args:
            summands: Largest number of vectors that are added.
            bound: Largest entry of one vector.
            capacity: Number of distinct words the protocol can carry.
            signed: Whether entries reach down to -bound.
            headroom: How far, with signed entries, noise may take a sum past summands * bound.

        Raises:
            ValueError: If an argument is out of range or a single lane does not fit the capacity.
        """
        if summands < 1:
            raise ValueError(f"summands={summands} must be at least 1")
        if bound < 1:
            raise ValueError(f"bound={bound} must be at least 1")
        if headroom < 0 or (headroom and not signed):
            raise ValueError(f"headroom={headroom} must be at least 0, and 0 for entries without sign")
        reach = summands * bound + headroom
        radix = 2 * reach + 1 if signed else reach + 1
        most = min(capacity, WORD_CAPACITY - 1)  # a radix is below 2**64
        if radix > most:
            room = (most - 1) // 2 - headroom if signed else most - 1
            raise ValueError(f"bound={bound} must be at most {max(0, room // summands)} for {summands} summands a word")
        lanes = 1
        while radix ** (lanes + 1) <= capacity:
            lanes += 1
        return cls(radix, lanes, reach if signed else 0)

    def shift(self, lanes: int | None = None) -> int:
        """Return the word whose first `lanes` digits (all, if not given) are `offset` and whose others are 0."""
        count = self.lanes if lanes is None else lanes
        return self.offset * ((self.radix**count - 1) // (self.radix - 1))

    def words(self, length: int) -> int:
        """Return the number of words that hold `length` entries."""
        return -(-length // self.lanes)


@dataclass(frozen=True, slots=True)
class PackedVector:
    """A vector that its owner has already packed, for instance on a GPU.

    Its maker answers for every entry being within the vector's bound: a layout for several summands leaves room for
    more.

    Attributes:
        words: uint64 (layout.words(length),).
        layout: How the entries are packed.
        length: Number of entries.
    """

    words: Words = field(repr=False)
    layout: Layout
    length: int

    def __post_init__(self) -> None:
        """Check the words against the layout.

        Raises:
            ValueError: As `check_words`.
        """
        check_words(self.words, self.layout, self.length)


def check_entries(values: Integers, bound: int, lowest: int = 0) -> None:
    """Refuse anything but a vector of integers in [lowest, bound].

    Raises:
        ValueError: If the array has another shape than (length,), another dtype than integer or bool, or an entry out
            of range, or a bool that is neither 0 nor 1; the entry itself is not named.
    """
    if values.ndim != 1:
        raise ValueError(f"values with shape {values.shape} must have shape (length,)")
    if values.dtype.kind not in "biu":
        raise ValueError(f"values with dtype {values.dtype} must be integers or bool")
    if values.size == 0:
        return
    if values.dtype.kind == "b":
        if int(values.view(np.uint8).max()) > 1:  # such as a view of other bytes has
            raise ValueError("values with dtype bool must be bytes 0 or 1")
        return
    if int(values.max()) > bound or (values.dtype.kind == "i" and int(values.min()) < lowest):
        raise ValueError(f"values must be in [{lowest}, {bound}]")


def check_words(words: Words, layout: Layout, length: int) -> None:
    """Refuse words that `pack` could not have made.

    Raises:
        ValueError: If shape or dtype is wrong, a word is out of the layout's range, or a lane past the last entry is
            not zero.
    """
    if words.dtype != np.uint64 or words.shape != (layout.words(length),):
        raise ValueError(
            f"words with shape {words.shape} and dtype {words.dtype} must be uint64 ({layout.words(length)},)"
        )
    if words.size == 0:
        return
    capacity = layout.radix**layout.lanes
    if capacity < WORD_CAPACITY and int(_shifted(words, layout).max()) >= capacity:
        raise ValueError(f"words must be below {layout.radix}**{layout.lanes}")
    used = length - layout.lanes * (len(words) - 1)
    last = int(_shifted(words[-1:], layout)[0])
    if not 0 <= last - (layout.shift() - layout.shift(used)) < layout.radix**used:
        raise ValueError("the lanes past the last entry must be zero")


def _shifted(words: Words, layout: Layout) -> Words:
    """Return words whose digits are entries + offset."""
    return words + np.uint64(layout.shift()) if layout.offset else words


def pack(values: Integers, layout: Layout, *, bound: int | None = None) -> Words:
    """Pack a vector into words.

    Args:
        values: Integers or bools (length,).
        layout: Radix and lanes.
        bound: Largest entry allowed (with signed entries also the largest below zero); the layout's own if not given.

    Returns:
        uint64 (layout.words(length),), zero in the lanes past the last entry.

    Raises:
        ValueError: As `check_entries`, or if the bound does not fit a lane.

    >>> pack(np.array([1, 0, 2]), Layout(radix=10, lanes=2)).tolist()
    [1, 2]
    """
    most = layout.radix - 1 - layout.offset
    largest = most if bound is None else bound
    if not 1 <= largest <= most:
        raise ValueError(f"bound={bound} must be between 1 and {most}")
    check_entries(values, largest, -largest if layout.offset else 0)
    return pack_unchecked(values, layout)


def pack_unchecked(values: Integers, layout: Layout) -> Words:
    """Pack integers modulo 2**64, also such as a lane cannot hold alone: noise is not cut to fit.

    Args:
        values: Integers or bools (length,).
        layout: Radix and lanes.
    """
    words = np.empty(layout.words(len(values)), np.uint64)
    step = BLOCK_WORDS * layout.lanes
    for first in range(0, len(values), step):
        block = values[first : first + step]
        target = words[first // layout.lanes :][: layout.words(len(block))]
        if (layout.radix, layout.lanes) == (2, 64):
            _pack_bits(block, target)
        else:
            _pack_digits(block, layout, target)
    return words


def _pack_bits(values: Integers, target: Words) -> None:
    packed = np.packbits(values, bitorder="little")
    content = np.zeros(8 * len(target), np.uint8)
    content[: len(packed)] = packed
    target[:] = content.view("<u8")


def _pack_digits(values: Integers, layout: Layout, target: Words) -> None:
    whole = len(values) // layout.lanes
    digits, merged = _merge(values[: whole * layout.lanes], layout)
    digits = digits.reshape(whole, layout.lanes // merged)  # (words, digits of radix**merged)
    target[:whole] = 0
    for place in reversed(range(digits.shape[1])):
        target[:whole] *= np.uint64(layout.radix**merged)
        target[:whole] += digits[:, place].astype(np.uint64)
    if whole < len(target):
        rest = values[whole * layout.lanes :].tolist()
        target[whole] = sum(int(digit) * layout.radix**lane for lane, digit in enumerate(rest)) % WORD_CAPACITY


def _merge(values: Integers, layout: Layout) -> tuple[Integers, int]:
    """Merge neighbouring one-byte entries into digits of radix**2 or radix**4, while the lanes of a word allow it.

    Two entries of one byte are one number of two bytes, and so on: contiguous passes over narrow numbers instead of a
    gather and a 64-bit multiplication an entry (twice as fast).

    Returns:
        The digits, and how many entries each holds.
    """
    merged = 1
    if values.dtype.itemsize > 1 or layout.radix > 256 or layout.offset:  # an entry of 255 at most: radix**4 fits
        return values, merged
    digits: Integers = np.ascontiguousarray(values).view(np.uint8)
    for wide, bits in (("<u2", 8), ("<u4", 16)):
        if layout.lanes % (2 * merged):
            break
        pairs = digits.view(wide)
        high = pairs >> bits
        high *= layout.radix**merged
        digits = pairs & (2**bits - 1)
        digits += high
        merged *= 2
    return digits, merged


def unpack(words: Words, layout: Layout, length: int) -> Integers:
    """Return the entries that were packed.

    Args:
        words: uint64 (layout.words(length),).
        layout: Radix and lanes they were packed with.
        length: Number of entries.

    Returns:
        (length,) in the smallest unsigned dtype that holds a digit; int64 for signed entries.

    Raises:
        ValueError: As `check_words`.
    """
    check_words(words, layout, length)
    if layout.offset:
        signed = np.zeros(length, np.int64)
        _add_digits(signed, words, layout)
        return signed
    values = np.empty(length, np.min_scalar_type(layout.radix - 1))
    for first in range(0, len(words), BLOCK_WORDS):
        entries = values[first * layout.lanes : (first + BLOCK_WORDS) * layout.lanes]
        entries[:] = _digits(words[first : first + BLOCK_WORDS], layout, values.dtype)[: len(entries)]
    return values


def accumulate(totals: Integers, words: Words, layout: Layout) -> None:
    """Add packed entries to totals in place.

    Args:
        totals: int32 or int64 (length,), large enough for the sums.
        words: uint64 (layout.words(length),).
        layout: Radix and lanes they were packed with.

    Raises:
        ValueError: As `check_words`.
    """
    check_words(words, layout, len(totals))
    _add_digits(totals, words, layout)


def _add_digits(totals: Integers, words: Words, layout: Layout) -> None:
    dtype = np.min_scalar_type(layout.radix - 1)
    for first in range(0, len(words), BLOCK_WORDS):
        target = totals[first * layout.lanes : (first + BLOCK_WORDS) * layout.lanes]
        block = _shifted(words[first : first + BLOCK_WORDS], layout)
        digits = _digits(block, layout, dtype)[: len(target)]
        if layout.offset:
            digits = (digits.astype(np.uint64, copy=False) - np.uint64(layout.offset)).view(np.int64)
        # The cast loses nothing: an entry is within the bound of one vector, and the totals hold the sum of several.
        target += digits.astype(totals.dtype, copy=False)


def _digits(words: Words, layout: Layout, dtype: np.dtype[Any]) -> Integers:
    if (layout.radix, layout.lanes) == (2, 64):
        return np.unpackbits(words.astype("<u8", copy=False).view(np.uint8), bitorder="little")
    digits = np.empty((len(words), layout.lanes), dtype)  # (words, lanes)
    remaining = words.copy()
    for lane in range(layout.lanes):
        quotient = remaining // np.uint64(layout.radix)
        digits[:, lane] = remaining - quotient * np.uint64(layout.radix)
        remaining = quotient
    return digits.reshape(-1)
